"""Which files does an engine start from? Turns a `Launch` into the engine's own words.

The only place where our words become the engine's. What a launch may set is a closed list
(`parameters.ENGINE_SETTINGS`); everything that safety depends on is written here and cannot be
overridden: who listens where, that nothing is saved or loaded behind our back, that clients cannot
change settings, load modules or write files.
"""

from __future__ import annotations

from typing import NamedTuple

from cachewright.engines import acl, nodes_conf
from cachewright.engines.text import UnusableLaunch, check_address, check_port, check_text, quoted
from cachewright.model.commands import Launch
from cachewright.model.engines import EngineName, capabilities_of, version_key
from cachewright.model.parameters import ENGINE_SETTINGS, FOREIGN_SETTINGS

CONFIG_NAME = "engine.conf"
USERS_NAME = "users.acl"
NODES_NAME = "nodes.conf"
LOG_NAME = "engine.log"
#: Where an engine listens for its administrator alone, in the folder of its node.
SOCKET_NAME = "admin.sock"
SNAPSHOT_NAME = "dump.rdb"

#: Failover is the controller's; the engine's own election is the backstop, and late enough not
#: to compete with it: two issuers cost each other a whole timeout.
NODE_TIMEOUT_MS = 15_000
#: The engine's own default; the kernel lowers it to `net.core.somaxconn`.
_BACKLOG = 511
_NEVER = (99,)
#: Of a name that is refused, for the error.
_SHOWN_MAX = 64


class _Row(NamedTuple):
    """A setting with its value, and the versions that know it: from `since` to before `until`."""

    name: str
    value: str
    redis_since: tuple[int, ...] = (7, 0)
    valkey_since: tuple[int, ...] = (8, 0)
    valkey_until: tuple[int, ...] = _NEVER


_DEFAULTS: tuple[_Row, ...] = (
    # A second thread halves the throughput of a node that owns fewer than four cores.
    _Row("io-threads", "1"),
)

_FIXED: tuple[_Row, ...] = (
    _Row("daemonize", "no"),
    _Row("always-show-logo", "no"),
    _Row("loglevel", "notice"),
    _Row("logfile", LOG_NAME),
    _Row("aclfile", USERS_NAME),
    _Row("tcp-backlog", str(_BACKLOG)),
    # The way in that is left where no client shall be able to connect.
    _Row("unixsocket", SOCKET_NAME),
    _Row("unixsocketperm", "600"),
    # Who may connect is said by `bind` and the users; this would refuse other hosts on top.
    _Row("protected-mode", "no"),
    _Row("enable-protected-configs", "no"),
    _Row("enable-debug-command", "no"),
    _Row("enable-module-command", "no"),
    # A payload that a client made up is checked before it is trusted. Valkey 9.1 always does.
    _Row("sanitize-dump-payload", "clients", valkey_until=(9, 1)),
    _Row("hide-user-data-from-log", "yes", redis_since=_NEVER),
    # After a crash a primary's successor waits for its end, not for a test of all memory.
    _Row("crash-memcheck-enabled", "no"),
    # The only snapshot is the one that SHUTDOWN SAVE makes: a signal from outside must not
    # replace it by whatever is in memory at that moment, and no timer may.
    _Row("dir", "."),
    _Row("dbfilename", SNAPSHOT_NAME),
    _Row("save", ""),
    _Row("shutdown-on-sigterm", "nosave now force"),
    _Row("shutdown-on-sigint", "nosave now force"),
    # Compression halves the speed of a full sync and of a saving stop.
    _Row("rdbcompression", "no"),
    # A fresh replica loads from the socket at once; one that has data keeps it on disk until the
    # new set has arrived whole, so that a primary that dies meanwhile does not take it along.
    _Row("repl-diskless-sync", "yes"),
    _Row("repl-diskless-sync-delay", "0"),
    _Row("repl-diskless-load", "on-empty-db"),
    _Row("rdb-del-sync-files", "yes"),
    # `CLUSTER SLOTS` leaves a replica out that has applied nothing yet, not even a ping; and a
    # client that has not heard of it knows nobody when the only primary dies.
    _Row("repl-ping-replica-period", "1"),
    _Row("dual-channel-replication-enabled", "yes", redis_since=_NEVER),
)

_FIXED_CLUSTER: tuple[_Row, ...] = (
    _Row("cluster-enabled", "yes"),
    _Row("cluster-config-file", NODES_NAME),
    _Row("cluster-node-timeout", str(NODE_TIMEOUT_MS)),
    # Replicas stay in the shard that they were made for, whatever happens to other shards.
    _Row("cluster-allow-replica-migration", "no"),
    # The file is written anew for every start: a full disk is no reason to stop serving.
    _Row("cluster-config-save-behavior", "best-effort", redis_since=_NEVER, valkey_since=(9, 1)),
)


def render_files(launch: Launch) -> dict[str, bytes]:
    """Return every file of a node by name; all of them are to be readable by the owner alone.

    Raises:
        UnusableLaunch: a value cannot be written safely, or does not fit the others.
    """
    files = {CONFIG_NAME: _render_config(launch), USERS_NAME: acl.render_users(launch)}
    if launch.peers:
        files[NODES_NAME] = nodes_conf.render_nodes_conf(launch)
    return files


def _render_config(launch: Launch) -> bytes:
    asked = dict(launch.settings)
    if len(asked) != len(launch.settings):
        raise UnusableLaunch("a setting is there twice")
    for name in asked:
        if name not in ENGINE_SETTINGS:
            raise UnusableLaunch(f"a launch may not set {name[:_SHOWN_MAX]!a}")
    for name in FOREIGN_SETTINGS & set(asked):
        del asked[name]
    settings = {row.name: row.value for row in _DEFAULTS} | asked | _own_settings(launch)
    return "".join(f"{name} {quoted(name, value)}\n" for name, value in settings.items()).encode(
        "ascii"
    )


def _own_settings(launch: Launch) -> dict[str, str]:
    """Return what this file answers for, by the engine's names."""
    address = check_address("address", launch.address)
    port = check_port("port", launch.port)
    rows = _FIXED + (_FIXED_CLUSTER if launch.peers else ())
    settings = {row.name: row.value for row in rows if _knows(launch, row)}
    # Without it the source address of a connection is the kernel's choice, and on loopback every
    # peer would see 127.0.0.1.
    settings |= {"bind": address, "bind-source-addr": address, "port": f"{port:d}"}
    if launch.peers:
        bus_port = nodes_conf.bus_port(port)
        settings |= {"cluster-announce-ip": address, "cluster-port": f"{bus_port:d}"}
    if nodes_conf.is_replica(launch):
        settings |= _closed_port(port)
    settings |= {
        "maxmemory": f"{_count('maxmemory_bytes', launch.maxmemory_bytes):d}",
        "maxclients": f"{_count('maxclients', launch.maxclients):d}",
    }
    password = check_text("replication_password", launch.replication_password).decode()
    spelling = "primary" if _has_primary_spelling(launch) else "master"
    settings |= {f"{spelling}user": acl.REPLICATION_USER, f"{spelling}auth": password}
    return settings


def _closed_port(port: int) -> dict[str, str]:
    """Return how a replica of a cluster starts: nobody can connect to it before it is admitted.

    Clients ask for the map anew and go elsewhere where they are refused the connection, and
    nowhere else: those that read from replicas stay with an error, whatever it says.
    """
    announced = dict.fromkeys(("cluster-announce-port", "replica-announce-port"), f"{port:d}")
    return {"port": "0"} | announced


def _has_primary_spelling(launch: Launch) -> bool:
    return capabilities_of(launch.engine, launch.engine_version).primary_spelling


def _knows(launch: Launch, row: _Row) -> bool:
    version = version_key(launch.engine_version)
    if launch.engine is EngineName.REDIS:
        return row.redis_since <= version
    return row.valkey_since <= version < row.valkey_until


def _count(field: str, value: int) -> int:
    if value < 1:
        raise UnusableLaunch(f"{field} is not positive: {value:d}")
    return value
