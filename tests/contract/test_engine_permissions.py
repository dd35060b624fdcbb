"""What clients of an admitted engine may do, in every version: what ElastiCache lets them."""

from __future__ import annotations

import re

import hiredis

from cachewright.engines import acl
from cachewright.model.builds import Build
from cachewright.model.engines import capabilities_of
from tests.contract.engine_lab import (
    ADMIN_PASSWORD,
    REPLICATION_PASSWORD,
    Engine,
)

#: ElastiCache user guide, "Restricted commands"; and what belongs to the same families.
# fmt: off
CLOSED = [
    "acl|setuser", "acl|deluser", "acl|load", "acl|save", "bgrewriteaof", "bgsave", "save",
    "cluster|addslots", "cluster|addslotsrange", "cluster|bumpepoch", "cluster|delslots",
    "cluster|delslotsrange", "cluster|failover", "cluster|flushslots", "cluster|forget",
    "cluster|links", "cluster|meet", "cluster|setslot", "cluster|replicate", "cluster|reset",
    "cluster|saveconfig", "cluster|set-config-epoch", "config|get", "config|set",
    "config|rewrite", "config|resetstat", "config|help", "debug", "migrate", "module|list",
    "module|load", "module|loadex", "module|unload", "psync", "replicaof", "shutdown",
    "slaveof", "sync", "failover", "replconf", "script|debug", "pfdebug", "pfselftest",
]
# fmt: on
CLOSED_SLOT_MIGRATION = (
    "cluster|migrateslots",
    "cluster|cancelslotmigrations",
    "cluster|syncslots",
)
#: Commands that engines count among the administrator's and that ElastiCache leaves to clients.
# fmt: off
OPEN = {
    "acl|dryrun", "acl|getuser", "acl|list", "acl|log", "acl|users", "client|kill",
    "client|list", "client|no-evict", "client|pause", "client|unblock", "client|unpause",
    "cluster|count-failure-reports", "cluster|replicas", "cluster|slaves", "cluster|flushslot",
    "cluster|getslotmigrations", "commandlog|get", "commandlog|len", "commandlog|reset",
    "lastsave", "latency|doctor", "latency|graph", "latency|histogram", "latency|history",
    "latency|latest", "latency|reset", "monitor", "role", "slowlog|get", "slowlog|len",
    "slowlog|reset",
}
# fmt: on


REFUSAL = re.compile(r"NOPERM |ERR (DEBUG|MODULE) command not allowed")


def closed_in(build: Build) -> list[str]:
    has_migration = capabilities_of(build.engine, build.version).atomic_slot_migration
    return [*CLOSED, *(CLOSED_SLOT_MIGRATION if has_migration else ())]


def test_closed_commands_are_refused_to_clients(admitted: Engine) -> None:
    """By the user's permissions, and when it is tried (some settings refuse even before those)."""
    client = admitted.client()
    not_refused = {}
    for name in closed_in(admitted.build):
        info = client("COMMAND", "INFO", name)
        assert isinstance(info, list), name
        arity = abs(info[0][1])
        words = name.split("|")
        words += ["1"] * (arity - len(words))
        permission = client("ACL", "DRYRUN", acl.PUBLIC_USER, *words)
        reply = client(*words)
        if permission == b"OK" or not REFUSAL.match(str(reply)):
            not_refused[name] = (permission, reply)
    assert not_refused == {}


def test_every_command_of_administrators_is_closed_or_known_to_be_open(admitted: Engine) -> None:
    """A command that a new version brings does not become open by not being looked at."""
    client = admitted.client()
    listed = client("ACL", "CAT", "admin")
    assert isinstance(listed, list)
    assert {name.decode() for name in listed} - OPEN - set(closed_in(admitted.build)) == set()


def test_scripts_cannot_do_what_their_caller_cannot(admitted: Engine) -> None:
    reply = admitted.client()("EVAL", "return redis.call('CONFIG', 'GET', 'dir')", 0)
    assert isinstance(reply, hiredis.ReplyError)


def test_inspection_stays_open(admitted: Engine) -> None:
    client = admitted.client()
    for text in (
        "INFO", "CLIENT LIST", "CLIENT INFO", "CLIENT GETNAME", "SLOWLOG GET", "LATENCY LATEST",
        "MEMORY STATS", "COMMAND COUNT", "ACL WHOAMI", "ACL CAT", "ACL LIST", "ACL USERS",
        "ACL GETUSER default", "ACL GENPASS", "ACL LOG", "ACL DRYRUN default PING", "ROLE",
        "DBSIZE", "KEYS *", "FLUSHALL", "SWAPDB 0 1", "FUNCTION LIST", "SCRIPT FLUSH",
        "PUBSUB CHANNELS", "OBJECT HELP", "MEMORY PURGE", "LASTSAVE", "HELLO 3", "HELLO 2",
        "CLIENT NO-EVICT off", "RESET", "MONITOR",
    ):  # fmt: skip
        reply = client(*text.split())
        assert not isinstance(reply, hiredis.ReplyError), f"{text}: {reply}"


def test_clients_never_see_a_password(admitted: Engine) -> None:
    """Not among the users, and not when the administrator signs in before a monitor's eyes."""
    watching = admitted.client()
    watching("MONITOR")
    admitted.observe()
    watching("PING")  # everything that came before has been shown now
    seen = [watching.receive() for _ in range(4)]
    client = admitted.client()
    said = repr([seen, client("ACL", "LIST"), client("SLOWLOG", "GET", -1), client("ACL", "LOG")])
    assert '"info" "server"' in said.lower()
    for password in (ADMIN_PASSWORD, REPLICATION_PASSWORD):
        assert password not in said
