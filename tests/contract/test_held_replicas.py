"""What does a client get from a replica of a cluster that is not admitted yet? The way to go on."""

from __future__ import annotations

from cachewright.engines.resp import AdminConnection
from cachewright.model.parameters import RENAME_COMMANDS
from tests.contract.engine_lab import PORT, Engine, Lab, wait_until

#: What has no key and is open all the same: what is said on a connection, the map, transactions.
_WITHOUT_KEYS = {
    "asking", "auth", "cluster|nodes", "cluster|shards", "cluster|slots", "command", "discard",
    "echo", "exec", "hello", "lolwut", "multi", "ping", "quit", "readwrite", "reset", "select",
    "unwatch", "wait", "waitaof",
}  # fmt: skip


def _held_replica(lab: Lab) -> tuple[Engine, Engine]:
    primary, replica = lab.cluster(1, 1)
    for engine in (primary, replica):
        engine.start()
    primary.admit()
    assert replica.observe().is_held
    return primary, replica


def test_a_held_replica_of_a_cluster_sends_clients_on(lab: Lab) -> None:
    """Who knew it as a primary learns who is one now; `NOAUTH` would have ended the request."""
    primary, replica = _held_replica(lab)
    client = replica.client()
    moved = f"MOVED 15495 {primary.launch.address}:{PORT}"
    for words in ("SET a 1", "GET a", "EVAL return(1) 1 a", "LPUSH a 1", "EXISTS a"):
        assert str(client(*words.split())) == moved
    assert client("MULTI") == b"OK"
    assert str(client("GET", "a")) == moved
    assert str(client("EXEC")).startswith("EXECABORT")
    assert client("PING") == b"PONG"
    assert not isinstance(client("CLUSTER", "SLOTS"), Exception)
    for words in (
        "READONLY",
        "DBSIZE",
        "SCAN 0",
        "KEYS *",
        "FLUSHALL",
        "PSYNC ? -1",
        "SUBSCRIBE a",
    ):
        assert str(client(*words.split())).startswith("NOPERM"), words
    replica.admit()
    wait_until(replica.observe, lambda fact: fact.is_in_sync)
    assert not replica.observe().is_held
    assert client("READONLY") == b"OK"
    assert client("GET", "a") is None
    assert str(client("CONFIG", "GET", "*")).startswith("NOPERM")


def test_nothing_is_answered_from_what_a_held_replica_holds(lab: Lab) -> None:
    """A command that a new version brings is not open by not being looked at."""
    _, replica = _held_replica(lab)
    listed = replica.administer("COMMAND", "LIST")
    assert isinstance(listed, list)
    is_open = {
        name
        for name in (str(one, "ascii") for one in listed)
        if _is_open_without_a_key(replica, name)
    }
    about_itself = {name for name in is_open if name.startswith(("client|", "command|"))}
    assert is_open - about_itself - _WITHOUT_KEYS == set()


def _is_open_without_a_key(engine: Engine, name: str) -> bool:
    info = engine.administer("COMMAND", "INFO", name)
    assert isinstance(info, list)
    _, arity, flags, first_key, *_, subcommands = info[0]
    if first_key or subcommands or b"movablekeys" in flags:
        return False
    words = name.split("|")
    words += ["1"] * (abs(arity) - len(words))
    return engine.administer("ACL", "DRYRUN", "default", *words) == b"OK"


def test_settings_do_not_open_a_held_replica(lab: Lab) -> None:
    _, replica = _held_replica(lab)

    async def block(admin: AdminConnection) -> None:
        assert await replica.adapter.configure(admin, {RENAME_COMMANDS: "keys blocked"}) == ()

    replica.call(block)
    assert str(replica.client()("DBSIZE")).startswith("NOPERM")
    assert replica.observe().is_held
