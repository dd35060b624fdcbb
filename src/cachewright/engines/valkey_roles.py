"""How do the roles of two living Valkey or Redis engines change hands?

Single acts in the engines' words; their order, and what is checked between them, is the agent's.
"""

from __future__ import annotations

from cachewright.engines import acl, resp
from cachewright.engines.home import ClientSeen, RoleSeen
from cachewright.engines.text import check_address, check_port
from cachewright.model.status import Role

_PRIMARY = b"master"
_CONNECTED = b"connected"
_OFFSET = b"\nmaster_repl_offset:"
_BLOCKED = "b"
_NO_TRANSACTION = "-1"


class ValkeyRoles:
    """Changes of roles, for all versions of Valkey and Redis."""

    async def seen(self, admin: resp.AdminConnection) -> RoleSeen:
        """Return what `ROLE` says."""
        reply = await admin.command("ROLE")
        match reply:
            case [b"master", int(offset), _]:
                return RoleSeen(role=Role.PRIMARY, offset=offset)
            case [b"slave", bytes(address), int(port), bytes(state), int(offset)]:
                return RoleSeen(
                    role=Role.REPLICA,
                    offset=offset,
                    primary=(address.decode(), port),
                    is_linked=state == _CONNECTED,
                )
        raise resp.EngineUnreachable("what answers there is not such an engine")

    async def pause_writes(self, admin: resp.AdminConnection, pause_ms: int) -> int:
        """Pause writes, expiry and eviction; both commands are carried out back to back."""
        paused, info = await admin.pipeline(
            [("CLIENT", "PAUSE", pause_ms, "WRITE"), ("INFO", "replication")]
        )
        resp.reply_or_raise(paused)
        return _offset(info)

    async def resume_writes(self, admin: resp.AdminConnection) -> None:
        """End a pause; nothing happens where there is none."""
        await admin.command("CLIENT", "UNPAUSE")

    async def step_down(self, admin: resp.AdminConnection, address: str, port: int) -> int:
        """Follow another engine, and close its clients, none of which has a word in between.

        Subscribers stay, and so do the administrator's connections.
        """
        target = (check_address("address", address), check_port("port", port))
        told, info, _ = await admin.pipeline(
            [
                ("REPLICAOF", *target),
                ("INFO", "replication"),
                ("CLIENT", "KILL", "TYPE", "normal", "USER", acl.PUBLIC_USER),
            ]
        )
        resp.reply_or_raise(told)
        return _offset(info)

    async def clients(self, admin: resp.AdminConnection) -> tuple[ClientSeen, ...]:
        """Return the public user's connections."""
        told = await admin.command("CLIENT", "LIST", "TYPE", "normal")
        if not isinstance(told, bytes):
            raise resp.EngineUnreachable("what answers there is not such an engine")
        lines = (_fields(line) for line in told.decode().splitlines())
        return tuple(_client(fields) for fields in lines if fields["user"] == acl.PUBLIC_USER)

    async def begin_hand_over(self, admin: resp.AdminConnection) -> None:
        """Begin the engines' own coordinated failover."""
        await admin.command("CLUSTER", "FAILOVER")


def _fields(line: str) -> dict[str, str]:
    """Return `id=3 addr=127.0.0.1:5000 ...` by name; no value has a space."""
    return {name: value for name, _, value in (field.partition("=") for field in line.split(" "))}


def _client(fields: dict[str, str]) -> ClientSeen:
    address, _, port = fields["addr"].rpartition(":")
    half_done = (fields["qbuf"], fields["obl"], fields["oll"], fields["omem"])
    return ClientSeen(
        client_id=int(fields["id"]),
        descriptor=int(fields["fd"]),
        place=(address, int(port)),
        is_whole=fields["multi"] == _NO_TRANSACTION and set(half_done) == {"0"},
        is_blocked=_BLOCKED in fields["flags"],
    )


def _offset(info: resp.Reply) -> int:
    said = resp.reply_or_raise(info)
    if not isinstance(said, bytes) or _OFFSET not in said:
        raise resp.EngineUnreachable("what answers there is not such an engine")
    return int(said.partition(_OFFSET)[2].split(None, 1)[0])
