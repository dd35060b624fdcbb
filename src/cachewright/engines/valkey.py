"""How do Valkey and Redis do it: hold, admit, observe, follow, save, stop?

One adapter for all their versions; what differs between versions is settled in the files that they
start from (`render`, `acl`). Decides nothing, keeps no state.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Mapping
from pathlib import Path

from cachewright.engines import acl, cluster_view, render, replica_writes, resp
from cachewright.engines.home import Home, Restored
from cachewright.engines.text import check_address, check_port
from cachewright.engines.valkey_cluster import ValkeyCluster
from cachewright.engines.valkey_pulse import ValkeyPinger
from cachewright.engines.valkey_roles import ValkeyRoles
from cachewright.engines.valkey_slots import ValkeySlots
from cachewright.model import errors
from cachewright.model.builds import Build
from cachewright.model.commands import Launch, Promotion
from cachewright.model.engines import EngineName, capabilities_of
from cachewright.model.facts import ClusterFact, EngineFact, RefusedSetting
from cachewright.model.parameters import FOREIGN_SETTINGS, RENAME_COMMANDS, is_immediate
from cachewright.model.status import Role

_OFF = b"off"
_MOVER_PREFIX = acl.MOVER_PREFIX.encode()
#: What an engine says while it reads a snapshot; `INFO` works then, `CLUSTER` does not.
_LOADING = "LOADING"
#: What it says to whatever comes while a script or a function runs.
_BUSY = "BUSY"
_MAP_OPTION = "--cluster-config-file"
_MEMORY = "maxmemory"
_CLIENTS = "maxclients"
#: One line a database that holds keys.
_SENT_ON = re.compile(rb"^errorstat_MOVED:count=([0-9]+)", re.MULTILINE)
_KEYS = re.compile(rb"^db[0-9]+:keys=([0-9]+)", re.MULTILINE)


class ValkeyAdapter:
    """The adapter for Valkey (8.0 and later) and Redis (7.0)."""

    log_name = render.LOG_NAME
    snapshot_name = render.SNAPSHOT_NAME
    items = None
    roles = ValkeyRoles()
    pinger = ValkeyPinger()
    cluster = ValkeyCluster()
    slots = ValkeySlots()

    def files(self, launch: Launch) -> dict[str, bytes]:
        """Return configuration, users and (in cluster mode) the cluster's nodes."""
        return render.render_files(launch)

    def argv(self, build: Build, launch: Launch, home: Home) -> tuple[str, ...]:
        """Return the command line; the configuration's full path shows people whose node it is."""
        elsewhere = () if home.map_file is None else (_MAP_OPTION, str(home.map_file))
        return (build.server, str(home.folder / render.CONFIG_NAME), *elsewhere)

    def unusable(self, launch: Launch) -> tuple[RefusedSetting, ...]:
        """Return nothing: the rows of its settings say which versions have them."""
        return ()

    async def connect(
        self,
        address: str,
        port: int,
        password: str,
        *,
        timeout_s: float,
        tls: ssl.SSLContext | None = None,
        folder: Path | None = None,
    ) -> resp.AdminConnection:
        """Connect as the administrator; works while the engine is held, loading or busy."""
        if tls is not None:
            raise errors.Bug("Valkey and Redis are not started with TLS")
        return await resp.open_connection(
            address,
            port,
            user=acl.ADMIN_USER,
            password=password,
            timeout_s=timeout_s,
            socket=None if folder is None else folder / render.SOCKET_NAME,
        )

    async def observe(self, admin: resp.AdminConnection) -> EngineFact:
        """Return what the engine says of itself, in one round trip.

        (Two on the first call of a connection, which asks whether cluster mode is on: an engine
        counts a `CLUSTER` command that it cannot answer among its users' errors.)

        Raises:
            EngineRefused: it is there and cannot say, such as `BUSY` during a slow script.
        """
        if admin.is_cluster is None:
            answer = await admin.command("INFO", "cluster")
            admin.is_cluster = _field(_bytes(answer), b"cluster_enabled") == b"1"
        questions = _QUESTIONS + (_CLUSTER_QUESTIONS if admin.is_cluster else ())
        replies = await admin.pipeline(questions)
        info, public, replication, bind = (resp.reply_or_raise(r) for r in replies[:4])
        cluster = _parse_cluster(replies[4], replies[5], _bytes(info)) if admin.is_cluster else None
        return _parse_fact(
            _bytes(info),
            is_held=_is_off(public) or _is_off(replication),
            bind=_parse_bind(bind),
            cluster=cluster,
        )

    async def admit(
        self, admin: resp.AdminConnection, bind: tuple[str, ...], launch: Launch
    ) -> None:
        """Switch clients and replicas on, then listen on `bind`.

        In this order, so that an address refuses connections until it serves. Replicas come after
        the port of a replica of a cluster: until then it is held, and admitted once more.
        """
        await admin.command("ACL", "SETUSER", acl.PUBLIC_USER, "on")
        await self._open(admin, launch)
        await admin.command("ACL", "SETUSER", acl.REPLICATION_USER, "on")
        await self.bind(admin, bind)

    async def _open(self, admin: resp.AdminConnection, launch: Launch) -> None:
        """Listen on the port; nothing happens where that is so already."""
        try:
            await admin.command("CONFIG", "SET", "port", launch.port)
        except resp.EngineRefused as refused:
            raise _taken(launch.address) from refused

    async def hold(self, admin: resp.AdminConnection) -> None:
        """Switch clients and replicas off and end their connections.

        Off first: nobody can come back in between.
        """
        users = (acl.PUBLIC_USER, acl.REPLICATION_USER)
        replies = await admin.pipeline(
            [("ACL", "SETUSER", user, "off") for user in users]
            + [("CLIENT", "KILL", "USER", user) for user in users]
        )
        for reply in replies:
            resp.reply_or_raise(reply)

    async def bind(self, admin: resp.AdminConnection, bind: tuple[str, ...]) -> None:
        """Listen on exactly `bind`; connections that exist stay.

        Does nothing where that is so already: the engine reopens all its listeners, and a
        connection that waits to be accepted at that moment is lost. If one address cannot be
        bound, all stays as it was, and the refusal names the addresses that were to be added.
        """
        wanted = " ".join(check_address("bind", address) for address in bind)
        present = _parse_bind(await admin.command("CONFIG", "GET", "bind"))
        if set(present) == set(bind):
            return
        try:
            await admin.command("CONFIG", "SET", "bind", wanted)
        except resp.EngineRefused as refused:
            added = " or ".join(address for address in bind if address not in present)
            raise _taken(added) from refused

    async def follow(self, admin: resp.AdminConnection, address: str, port: int) -> None:
        """Replicate from the primary there; an engine that does so already is left alone."""
        await admin.command(
            "REPLICAOF", check_address("address", address), check_port("port", port)
        )

    async def promote(self, admin: resp.AdminConnection, how: Promotion) -> None:
        """Make a replica a primary; one that is a primary already is left alone.

        In cluster mode the command only begins it: a vote of the other primaries takes
        milliseconds, and an observation shows how it went.
        """
        role = _list(await admin.command("ROLE"))[0]
        if role == b"master":
            return
        if how is Promotion.STANDALONE:
            await admin.command("REPLICAOF", "NO", "ONE")
        else:
            await admin.command("CLUSTER", "FAILOVER", how.value.upper())

    async def configure(
        self, admin: resp.AdminConnection, settings: Mapping[str, str]
    ) -> tuple[RefusedSetting, ...]:
        """Set all at once; where the engine refuses, one by one, to learn which it refuses.

        `CONFIG SET` of several settings takes all or none of them.

        Raises:
            EngineRefused: it takes none as long as a script runs.
        """
        told = {name: value for name, value in settings.items() if name not in FOREIGN_SETTINGS}
        refused: list[RefusedSetting] = []
        if RENAME_COMMANDS in settings:
            refused += await self._permit(admin, settings)
        if not told:
            return tuple(refused)
        flat = [word for pair in told.items() for word in pair]
        if not isinstance(await _reply_of(admin, "CONFIG", "SET", *flat), resp.EngineRefused):
            return tuple(refused)
        for name, value in told.items():
            reply = await _reply_of(admin, "CONFIG", "SET", name, value)
            if isinstance(reply, resp.EngineRefused):
                refused.append(RefusedSetting(name=name, value=value, reason=str(reply)))
        return tuple(refused)

    async def _permit(
        self, admin: resp.AdminConnection, settings: Mapping[str, str]
    ) -> tuple[RefusedSetting, ...]:
        """Give clients the permissions anew, all at once; who is connected stays."""
        info = _bytes(await admin.command("INFO", "server"))
        engine = EngineName.VALKEY if _field(info, b"valkey_version") else EngineName.REDIS
        capabilities = capabilities_of(engine, _version(info))
        rules = acl.public_rules(capabilities, settings)
        reply = await _reply_of(admin, "ACL", "SETUSER", acl.PUBLIC_USER, *rules)
        if not isinstance(reply, resp.EngineRefused):
            return ()
        value = settings[RENAME_COMMANDS]
        return (RefusedSetting(name=RENAME_COMMANDS, value=value, reason=str(reply)),)

    async def restore(self, admin: resp.AdminConnection, launch: Launch) -> Restored:
        """Let it run with what `launch` says, and let nobody in who was let in for a while."""
        users = _list(await admin.command("ACL", "USERS"))
        left = [user for user in map(_bytes, users) if user.startswith(_MOVER_PREFIX)]
        if left:
            await admin.command("ACL", "DELUSER", *left)
        _, memory = _pair(await admin.command("CONFIG", "GET", _MEMORY))
        line = (launch.engine, launch.engine_version)
        told = {name: value for name, value in launch.settings if is_immediate(*line, name)}
        refused = await self.configure(admin, told | {_CLIENTS: str(launch.maxclients)})
        return Restored(maxmemory_bytes=int(_bytes(memory)), refused=refused)

    async def close_writers(self, admin: resp.AdminConnection) -> int:
        """Close the clients that wrote to this replica since the last call."""
        return await replica_writes.close_writers(admin)

    async def shutdown(self, admin: resp.AdminConnection, *, saves: bool, timeout_s: float) -> None:
        """End the engine; with `saves` only after the whole set is in the snapshot.

        Replicas that lag are not waited for: a snapshot has everything. While it loads a snapshot
        the engine saves nothing and leaves the file as it is.
        """
        how: tuple[str, ...] = ("SAVE", "NOW") if saves else ("NOSAVE", "NOW", "FORCE")
        try:
            await admin.command("SHUTDOWN", *how, timeout_s=timeout_s)
        except resp.EngineClosed:
            return


def _taken(address: str) -> resp.EngineRefused:
    return resp.EngineRefused(
        f"cannot listen on {address}: taken by another process, or not of this host"
    )


async def _reply_of(admin: resp.AdminConnection, *words: str) -> resp.Reply:
    """Return the answer to one command; a refusal is one too, unless it is none of this command."""
    (reply,) = await admin.pipeline([words])
    if isinstance(reply, resp.EngineRefused) and reply.code == _BUSY:
        raise reply
    return reply


_QUESTIONS: tuple[tuple[str, ...], ...] = (
    ("INFO", "server", "memory", "persistence", "replication", "keyspace", "errorstats"),
    ("ACL", "GETUSER", acl.PUBLIC_USER),
    ("ACL", "GETUSER", acl.REPLICATION_USER),
    ("CONFIG", "GET", "bind"),
)
_CLUSTER_QUESTIONS: tuple[tuple[str, ...], ...] = (("CLUSTER", "INFO"), ("CLUSTER", "NODES"))


def _parse_fact(
    info: bytes, *, is_held: bool, bind: tuple[str, ...], cluster: ClusterFact | None
) -> EngineFact:
    is_replica = _field(info, b"role") == b"slave"
    primary_host = _field(info, b"master_host")
    return EngineFact(
        version=_version(info),
        role=Role.REPLICA if is_replica else Role.PRIMARY,
        is_held=is_held,
        is_loading=_number(info, b"loading") != 0 or _number(info, b"async_loading") != 0,
        is_in_sync=is_replica
        and _field(info, b"master_link_status") == b"up"
        and _field(info, b"master_sync_in_progress") == b"0",
        primary=(primary_host.decode(), _number(info, b"master_port")) if is_replica else None,
        replication_id=_field(info, b"master_replid").decode(),
        second_replication_id=_field(info, b"master_replid2").decode(),
        second_offset=_number(info, b"second_repl_offset"),
        # On a replica: what it has applied, not what it has received.
        offset=_number(info, b"slave_repl_offset" if is_replica else b"master_repl_offset"),
        used_memory_bytes=_number(info, b"used_memory"),
        keys=sum(map(int, _KEYS.findall(info))),
        bind=bind,
        cluster=cluster,
    )


def _version(info: bytes) -> str:
    """Return the engine's own version; Valkey says one of Redis too, for clients that look."""
    return (_field(info, b"valkey_version") or _field(info, b"redis_version")).decode()


def _parse_cluster(info: resp.Reply, nodes: resp.Reply, common: bytes) -> ClusterFact | None:
    """Return what a node says of its cluster; `None` while it loads, when it cannot say."""
    for reply in (info, nodes):
        if isinstance(reply, resp.EngineRefused):
            if reply.code == _LOADING:
                return None
            raise reply
    said = _bytes(info)
    view = cluster_view.parse_view(_bytes(nodes))
    return ClusterFact(
        is_ok=_field(said, b"cluster_state") == b"ok",
        slots_assigned=_number(said, b"cluster_slots_assigned"),
        known_nodes=_number(said, b"cluster_known_nodes"),
        current_epoch=_number(said, b"cluster_current_epoch"),
        config_epoch=_number(said, b"cluster_my_epoch"),
        own_slots=view.own_slots,
        known_ids=view.known_ids,
        owner_ids=view.owner_ids,
        open_slots=view.open_slots,
        sent_on=sum(map(int, _SENT_ON.findall(common))),
    )


def _parse_bind(reply: resp.Reply) -> tuple[str, ...]:
    """Return the addresses out of `["bind", "127.0.0.1 127.0.0.2"]`."""
    _, value = _pair(reply)
    return tuple(_bytes(value).decode().split())


def _is_off(user: resp.Reply) -> bool:
    """Tell whether a reply to `ACL GETUSER`, `["flags", [...], ...]`, is of a user that is off."""
    if user is None:
        return True  # there is no such user
    _, flags = _pair(user)
    return _OFF in _list(flags)


def _bytes(reply: resp.Reply) -> bytes:
    if not isinstance(reply, bytes):
        raise resp.EngineUnreachable("what answers there is not such an engine")
    return reply


def _pair(reply: resp.Reply) -> tuple[resp.Reply, resp.Reply]:
    """Return the first name and value of a reply that is a flat list of such pairs."""
    name, value, *_ = [*_list(reply), None, None]
    return name, value


def _list(reply: resp.Reply) -> list[resp.Reply]:
    if not isinstance(reply, list):
        raise resp.EngineUnreachable("what answers there is not such an engine")
    return reply


def _field(info: bytes, name: bytes) -> bytes:
    """Return the value of a line `name:value` of INFO, empty when there is none.

    Searched, not parsed: a dozen of two hundred lines are wanted, once a second for every node.
    """
    start = info.find(b"\n" + name + b":")
    if start < 0:
        return info[len(name) + 1 : info.find(b"\r")] if info.startswith(name + b":") else b""
    start += len(name) + 2
    return info[start : info.find(b"\r", start)]


def _number(info: bytes, name: bytes) -> int:
    """Return the value of a line of INFO as a number, 0 when there is no such line."""
    return int(_field(info, name) or 0)
