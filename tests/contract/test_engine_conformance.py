"""Every engine in every version does what its adapter promises: held, admitted, followed, ended."""

from __future__ import annotations

import asyncio
import functools
import itertools
import resource
import signal
import socket
import time
from dataclasses import replace
from pathlib import Path

import hiredis
import pytest

from cachewright.engines import acl
from cachewright.engines.adapter import (
    AdminConnection,
    EngineRefused,
    EngineUnreachable,
    PingAnswer,
)
from cachewright.model.commands import Promotion
from cachewright.model.engines import capabilities_of
from cachewright.model.facts import EngineFact
from cachewright.model.slots import SLOT_COUNT, SlotRange, covers_all
from cachewright.model.status import Role
from tests.contract.engine_lab import (
    ADMIN_PASSWORD,
    CALL_TIMEOUT_S,
    PORT,
    REPLICATION_PASSWORD,
    SETTLE_TIMEOUT_S,
    Engine,
    Lab,
    free_address,
    wait_until,
)

# --- held and admitted ----------------------------------------------------------------------


def test_an_engine_starts_held(lab: Lab) -> None:
    """Nobody but the administrator gets anything out of it (safety law 2)."""
    engine = lab.started()
    fact = engine.observe()
    assert fact.is_held
    assert fact.role is Role.PRIMARY
    assert fact.version == lab.build.version
    assert fact.bind == (engine.launch.address,)
    client = engine.client()
    for arguments in (("PING",), ("SET", "k", "v"), ("PSYNC", "?", "-1"), ("INFO",), ("MONITOR",)):
        assert str(client(*arguments)).startswith("NOAUTH")
    for attempt in (
        ("AUTH", "anything"),
        ("AUTH", acl.PUBLIC_USER, ""),
        ("AUTH", acl.REPLICATION_USER, REPLICATION_PASSWORD),
        ("HELLO", "2", "AUTH", acl.REPLICATION_USER, REPLICATION_PASSWORD),
    ):
        assert isinstance(client(*attempt), hiredis.ReplyError)
        assert str(client("PING")).startswith("NOAUTH")


def test_admission_lets_clients_in_and_can_be_repeated(lab: Lab) -> None:
    """A second admission takes nothing from those who are connected."""
    engine = lab.started()
    engine.observe()
    early = engine.client()
    engine.admit()
    assert not engine.observe().is_held
    assert early("SET", "k", "v") == b"OK"
    subscriber, waiting, composing = engine.client(), engine.client(), engine.client()
    subscriber("SUBSCRIBE", "news")
    waiting.send("BLPOP", "queue", 0)
    composing("MULTI")
    composing("INCR", "counter")
    engine.admit()
    assert early("PUBLISH", "news", "hello") == 1
    assert subscriber.receive() == [b"message", b"news", b"hello"]
    assert composing("EXEC") == [1]
    early("RPUSH", "queue", "job")
    assert waiting.receive() == [b"queue", b"job"]


@pytest.mark.parametrize("user", [acl.PUBLIC_USER, acl.REPLICATION_USER])
def test_half_an_admission_is_done_again(lab: Lab, user: str) -> None:
    engine = lab.started()
    engine.administer("ACL", "SETUSER", user, "on")
    assert engine.observe().is_held
    engine.admit()
    assert not engine.observe().is_held


def test_holding_shuts_out_who_is_connected(lab: Lab) -> None:
    engine = lab.started()
    engine.admit()
    client = engine.client()
    assert client("PING") == b"PONG"
    engine.call(engine.adapter.hold)
    assert engine.observe().is_held
    with pytest.raises(ConnectionError):
        client("PING")
    assert str(engine.client()("PING")).startswith("NOAUTH")
    engine.admit()
    assert engine.client()("PING") == b"PONG"


def test_a_restart_holds_again(lab: Lab) -> None:
    """Admission is of the process, not of the folder."""
    engine = lab.started()
    engine.admit()
    assert engine.process is not None
    engine.process.kill()
    engine.wait()
    engine.start()
    assert engine.observe().is_held


# --- addresses --------------------------------------------------------------------------------


def test_an_endpoint_comes_and_goes_without_touching_connections(lab: Lab) -> None:
    engine = lab.started()
    engine.observe()
    own, endpoint = engine.launch.address, free_address()
    with pytest.raises(ConnectionRefusedError):
        engine.client(endpoint)
    engine.admit(endpoint)
    assert engine.observe().bind == (own, endpoint)
    through_own, through_endpoint = engine.client(), engine.client(endpoint)
    assert through_endpoint("SET", "k", "v") == b"OK"
    engine.call(lambda admin: engine.adapter.bind(admin, (own,)))
    assert through_endpoint("GET", "k") == through_own("GET", "k") == b"v"
    with pytest.raises(ConnectionRefusedError):
        engine.client(endpoint)


def test_an_engine_that_listens_nowhere_is_still_its_administrators(lab: Lab) -> None:
    engine = lab.started()
    engine.admit()
    client = engine.client()
    engine.call(lambda admin: engine.adapter.bind(admin, ()))
    assert engine.observe().bind == ()
    with pytest.raises(ConnectionRefusedError):
        engine.client()
    assert client("PING") == b"PONG"
    engine.call(lambda admin: engine.adapter.bind(admin, (engine.launch.address,)))
    assert engine.client()("PING") == b"PONG"


def test_binding_what_is_bound_does_not_reopen_the_listeners(lab: Lab) -> None:
    engine = lab.started()
    endpoint = free_address()
    engine.admit(endpoint)
    before = engine.administer("INFO", "commandstats")
    engine.call(lambda admin: engine.adapter.bind(admin, (endpoint, engine.launch.address)))
    after = engine.administer("INFO", "commandstats")
    calls = [
        next(line for line in str(said).split("\\r\\n") if "config|set" in line)
        for said in (before, after)
    ]
    assert calls[0] == calls[1]


def test_an_address_that_cannot_be_bound_changes_nothing(lab: Lab) -> None:
    engine = lab.started()
    engine.admit()
    own, taken = engine.launch.address, free_address()
    with (
        socket.create_server((taken, PORT)),
        pytest.raises(EngineRefused, match="taken by another process"),
    ):
        engine.call(lambda admin: engine.adapter.bind(admin, (own, taken)))
    assert engine.observe().bind == (own,)
    assert engine.client()("PING") == b"PONG"


# --- replication ------------------------------------------------------------------------------


def test_a_replica_follows_an_admitted_primary_only(lab: Lab) -> None:
    primary, replica = lab.started(), lab.started()
    place = (primary.launch.address, primary.launch.port)

    def follow() -> None:
        replica.call(lambda admin: replica.adapter.follow(admin, *place))

    primary.administer("SET", "k", "v")
    follow()
    wait_until(replica.log, lambda log: "AUTH" in log)
    fact = replica.observe()
    assert (fact.role, fact.primary, fact.is_in_sync) == (Role.REPLICA, place, False)
    assert replica.administer("DBSIZE") == 0
    primary.admit()
    fact = wait_until(replica.observe, lambda seen: seen.is_in_sync)
    assert fact.is_held
    assert replica.administer("GET", "k") == b"v"
    source = primary.observe()
    assert source.replication_id == fact.replication_id
    follow()
    primary.administer("SET", "k", "w")
    wait_until(lambda: replica.administer("GET", "k"), lambda value: value == b"w")
    stats = str(primary.administer("INFO", "stats"))
    assert "sync_full:1\\r" in stats, "a repeated follow started a second full sync"
    replication = str(primary.administer("INFO", "replication"))
    assert f"slave0:ip={replica.launch.address},port={PORT},state=online" in replication
    wait_until(
        lambda: (primary.observe().offset, replica.observe().offset),
        lambda offsets: offsets[0] == offsets[1] > 0,
    )


def test_a_held_primary_that_came_back_empty_does_not_wipe_its_replica(lab: Lab) -> None:
    """The most repeated data loss of this field (safety law 2)."""
    primary, replica = lab.started(), lab.started()
    primary.admit()
    replica.call(
        lambda admin: replica.adapter.follow(admin, primary.launch.address, primary.launch.port)
    )
    wait_until(replica.observe, lambda seen: seen.is_in_sync)
    primary.administer("SET", "k", "v")
    wait_until(lambda: replica.administer("GET", "k"), lambda value: value == b"v")
    assert primary.process is not None
    primary.process.kill()
    primary.wait()
    attempts = replica.log().count("Unable to AUTH")
    primary.start()
    wait_until(lambda: replica.log().count("Unable to AUTH"), lambda now: now > attempts)
    assert replica.administer("GET", "k") == b"v"


def test_a_promoted_replica_keeps_its_data_and_takes_writes(lab: Lab) -> None:
    primary, replica = lab.started(), lab.started()
    primary.admit()
    replica.call(
        lambda admin: replica.adapter.follow(admin, primary.launch.address, primary.launch.port)
    )
    wait_until(replica.observe, lambda seen: seen.is_in_sync)
    replica.admit()
    primary.administer("SET", "k", "v")
    wait_until(lambda: replica.administer("GET", "k"), lambda value: value == b"v")
    lineage = replica.observe().replication_id
    for _ in range(2):
        replica.promote(Promotion.STANDALONE)
    fact = replica.observe()
    assert fact.role is Role.PRIMARY
    assert fact.second_replication_id == lineage
    client = replica.client()
    assert client("GET", "k") == b"v"
    assert client("SET", "k", "w") == b"OK"


# --- clusters ---------------------------------------------------------------------------------


def test_a_cluster_forms_from_what_is_written_down(lab: Lab) -> None:
    """Three shards of two nodes: every slot served, every replica in sync, nobody introduced."""
    engines = lab.cluster(3, 1)
    for engine in engines:
        engine.start()
    for engine in engines:
        engine.admit()

    def look() -> list[EngineFact]:
        return [engine.observe() for engine in engines]

    facts = wait_until(
        look,
        lambda seen: all(
            fact.cluster is not None
            and fact.cluster.is_ok
            and (fact.role is Role.PRIMARY or fact.is_in_sync)
            for fact in seen
        ),
    )
    clusters = [fact.cluster for fact in facts if fact.cluster is not None]
    assert {(c.slots_assigned, c.known_nodes) for c in clusters} == {(SLOT_COUNT, 6)}
    assert covers_all(itertools.chain.from_iterable(c.own_slots for c in clusters))
    primaries, replicas = facts[0::2], facts[1::2]
    assert {fact.role for fact in primaries} == {Role.PRIMARY}
    assert [c.config_epoch for c in clusters[0::2]] == [1, 2, 3]
    assert [fact.primary for fact in replicas] == [(e.launch.address, PORT) for e in engines[0::2]]
    # These keys are in the first, second and last third of the slots: 3300, 7365 and 15495.
    for engine, key in zip(engines[0::2], ("b", "c", "a"), strict=True):
        assert engine.client()("SET", key, "v") == b"OK"
    client = engines[0].client()
    assert str(client("GET", "a")) == f"MOVED 15495 {engines[4].launch.address}:{PORT}"
    for text in ("CLUSTER INFO", "CLUSTER NODES", "CLUSTER SLOTS", "CLUSTER SHARDS",
                 "CLUSTER KEYSLOT a", "CLUSTER COUNTKEYSINSLOT 1", "CLUSTER GETKEYSINSLOT 1 1",
                 "CLUSTER MYID", f"CLUSTER REPLICAS {engines[0].launch.engine_id}"):  # fmt: skip
        assert not isinstance(client(*text.split()), hiredis.ReplyError), text
    if capabilities_of(lab.build.engine, lab.build.version).atomic_slot_migration:
        _move_a_slot(engines)
    _lose_primaries(engines)


def test_clients_hear_of_a_replica_before_anything_was_written(lab: Lab) -> None:
    """Who knows a primary alone has nobody to ask when it dies.

    Engines leave a replica out until it has applied something: by default a ping each ten seconds.
    """
    primary, replica = lab.cluster(1, 1)
    for engine in (primary, replica):
        engine.start()
        engine.admit()
    client = primary.client()

    def known() -> str:
        return repr(client("CLUSTER", "SLOTS"))

    wait_until(known, lambda said: replica.launch.address in said)
    # By chance the ping of ten seconds may be the next thing as well.
    name = "repl-ping-replica-period"
    assert primary.administer("CONFIG", "GET", name) == [name.encode(), b"1"]


def _lose_primaries(engines: list[Engine]) -> None:
    """A majority votes for the first successor; the second one has none and takes over."""
    engines[0].administer("SET", "b", "kept")
    wait_until(
        lambda: (engines[0].observe().offset, engines[1].observe().offset),
        lambda offsets: offsets[0] == offsets[1],
    )
    for primary, replica, how in (
        (engines[0], engines[1], Promotion.FORCE),
        (engines[2], engines[3], Promotion.TAKEOVER),
    ):
        assert primary.process is not None
        primary.process.kill()
        primary.wait()
        replica.promote(how)
        fact = wait_until(replica.observe, lambda seen: seen.role is Role.PRIMARY)
        assert fact.cluster is not None
        assert fact.cluster.own_slots, how
    assert engines[1].client()("GET", "b") == b"kept"


def _move_a_slot(engines: list[Engine]) -> None:
    """The replication user may do what a moving slot needs, with keys of every kind in it."""
    source, target = engines[0], engines[2]
    client = source.client()
    tag = "{k126}"  # slot 58
    for text in (f"SET {tag}s v", f"HSET {tag}h f v", f"RPUSH {tag}l v", f"SADD {tag}t v",
                 f"ZADD {tag}z 1 v", f"XADD {tag}x * f v", f"XGROUP CREATE {tag}x g $",
                 f"EXPIRE {tag}s 100", "FUNCTION FLUSH"):  # fmt: skip
        assert not isinstance(client(*text.split()), hiredis.ReplyError), text
    source.administer(
        "CLUSTER", "MIGRATESLOTS", "SLOTSRANGE", 0, 99, "NODE", target.launch.engine_id
    )
    wait_until(
        lambda: source.administer("CLUSTER", "GETSLOTMIGRATIONS"),
        lambda moves: "success" in repr(moves) or "failed" in repr(moves),
    )
    cluster = target.observe().cluster
    assert cluster is not None
    assert cluster.own_slots[0] == SlotRange(0, 99), target.log()
    assert target.client()("GET", f"{tag}s") == b"v"
    assert target.administer("CLUSTER", "COUNTKEYSINSLOT", 58) == 6


# --- ends and beginnings ----------------------------------------------------------------------


def test_a_saving_stop_brings_the_data_back_once_it_is_asked_for(lab: Lab) -> None:
    engine = lab.started()
    engine.admit()
    assert engine.client()("SET", "k", "v") == b"OK"
    engine.shutdown(saves=True)
    engine.start(loads_saved_data=True)
    wait_until(engine.observe, lambda fact: not fact.is_loading)
    assert engine.administer("GET", "k") == b"v"
    engine.shutdown(saves=True)
    engine.start(loads_saved_data=False)
    assert engine.administer("DBSIZE") == 0


def test_only_a_saving_stop_writes_a_snapshot(lab: Lab) -> None:
    """Neither a stop without nor a signal from outside leaves one or replaces one."""
    engine = lab.started()
    snapshot = engine.folder / engine.adapter.snapshot_name
    engine.administer("SET", "k", "v")
    engine.shutdown(saves=False)
    assert not snapshot.exists()
    engine.start()
    engine.administer("SET", "k", "v")
    engine.shutdown(saves=True)
    saved = snapshot.read_bytes()
    engine.start(loads_saved_data=True)
    engine.administer("FLUSHALL")
    assert engine.process is not None
    engine.process.send_signal(signal.SIGTERM)
    engine.wait()
    assert snapshot.read_bytes() == saved


def test_settings_are_taken_at_run_time_and_refusals_are_told(lab: Lab) -> None:
    """One bad value does not keep the good ones from being taken."""
    engine = lab.started()
    good = {"maxmemory-policy": "allkeys-lru", "timeout": "30"}
    assert engine.call(lambda admin: engine.adapter.configure(admin, good)) == ()
    mixed = {"timeout": "60", "maxmemory-policy": "none such", "no-such-setting": "1"}
    refused = engine.call(lambda admin: engine.adapter.configure(admin, mixed))
    assert {(r.name, r.value) for r in refused} == {
        ("maxmemory-policy", "none such"),
        ("no-such-setting", "1"),
    }
    assert all(setting.reason for setting in refused)
    assert engine.administer("CONFIG", "GET", "timeout") == [b"timeout", b"60"]
    assert engine.administer("CONFIG", "GET", "maxmemory-policy") == [
        b"maxmemory-policy",
        b"allkeys-lru",
    ]


def test_an_engine_that_cannot_save_says_so_and_lives_on(lab: Lab) -> None:
    engine = lab.started()
    engine.admit()
    client = engine.client()
    client("SET", "k", "v" * 100_000)
    assert engine.process is not None
    unlimited = resource.prlimit(engine.process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(engine.process.pid, resource.RLIMIT_FSIZE, (4096, unlimited[1]))
    with pytest.raises(EngineRefused, match="SHUTDOWN"):
        engine.shutdown(saves=True)
    assert client("PING") == b"PONG"
    assert client("SET", "another", "v") == b"OK"
    resource.prlimit(engine.process.pid, resource.RLIMIT_FSIZE, unlimited)
    engine.shutdown(saves=True)
    assert (engine.folder / engine.adapter.snapshot_name).stat().st_size > 100_000


def test_no_secret_is_shown_to_other_users(lab: Lab) -> None:
    """Not in the command line, not in the environment, not in a file that others can read."""
    engine = lab.cluster(1, 0)[0]
    engine.start()
    engine.admit()
    assert engine.process is not None
    proc = Path(f"/proc/{engine.process.pid}")
    shown = (proc / "cmdline").read_bytes() + (proc / "environ").read_bytes()
    engine.shutdown(saves=True)
    for password in (ADMIN_PASSWORD, REPLICATION_PASSWORD):
        assert password.encode() not in shown
        assert password not in engine.log()
    modes = {path.name: path.stat().st_mode & 0o777 for path in engine.folder.iterdir()}
    assert {"engine.conf", "users.acl", "nodes.conf", "engine.log", "dump.rdb"} <= set(modes)
    assert set(modes.values()) == {0o600}


# --- answers that are not death -----------------------------------------------------------------


def test_loading_is_seen_as_loading(lab: Lab) -> None:
    engine = lab.cluster(1, 0)[0]
    clustered = engine.launch
    # Filled without cluster mode, where a fresh primary takes writes at once.
    engine.launch = replace(clustered, peers=())
    engine.start()
    engine.administer("EVAL", "for i = 1, 3000 do redis.call('SET', i, i) end", 0)
    engine.shutdown(saves=True)
    engine.launch = clustered
    engine.extra = b"key-load-delay 1000\nloading-process-events-interval-bytes 1024\n"
    engine.start(loads_saved_data=True)
    fact = engine.observe()
    assert fact.is_loading
    assert fact.is_held
    # Redis 7.0 cannot say while it loads.
    assert fact.cluster is None or fact.cluster.slots_assigned == SLOT_COUNT
    assert engine.call(functools.partial(ping, engine)) is PingAnswer.ALIVE
    engine.administer("CONFIG", "SET", "key-load-delay", 0)
    fact = wait_until(engine.observe, lambda seen: not seen.is_loading)
    assert fact.cluster is not None
    assert engine.administer("DBSIZE") == 3000


async def ping(engine: Engine, admin: AdminConnection) -> PingAnswer:
    answered: asyncio.Future[PingAnswer] = asyncio.get_running_loop().create_future()
    engine.adapter.pinger.ping(admin, answered.set_result)
    return await asyncio.wait_for(answered, SETTLE_TIMEOUT_S)


def test_a_slow_script_is_an_answer(lab: Lab) -> None:
    engine = lab.started(settings=(("lua-time-limit", "20"),))
    engine.admit()
    client = engine.client()
    client.send("EVAL", "while true do end", 0)

    async def observe_until_refused(admin: AdminConnection) -> None:
        deadline = time.monotonic() + SETTLE_TIMEOUT_S
        while time.monotonic() < deadline:
            await engine.adapter.observe(admin)

    async def while_busy(admin: AdminConnection) -> None:
        with pytest.raises(EngineRefused, match=r"^BUSY "):
            await observe_until_refused(admin)
        assert await ping(engine, admin) is PingAnswer.BUSY
        await admin.command("SCRIPT", "KILL")

    engine.call(while_busy)
    assert isinstance(client.receive(), hiredis.ReplyError)
    assert engine.call(functools.partial(ping, engine)) is PingAnswer.ALIVE
    assert not engine.observe().is_loading


def test_a_ping_tells_who_lets_us_in_no_more_and_when_the_connection_has_ended(lab: Lab) -> None:
    engine = lab.started()

    async def ask(admin: AdminConnection) -> None:
        other = await engine.connect()
        await admin.command("ACL", "SETUSER", acl.ADMIN_USER, "-ping")
        assert await ping(engine, other) is PingAnswer.REFUSED
        await admin.command("ACL", "SETUSER", acl.ADMIN_USER, "+ping")
        asked = asyncio.create_task(ping(engine, other))
        await asyncio.sleep(0)
        other.close()
        assert await asked is PingAnswer.LOST
        with pytest.raises(EngineUnreachable, match="closed"):
            await ping(engine, other)
        await admin.command("CONFIG", "SET", "replica-serve-stale-data", "no")
        await admin.command("REPLICAOF", engine.launch.address, 1)
        with pytest.raises(EngineRefused, match="MASTERDOWN"):
            await admin.command("GET", "a")
        assert await ping(engine, admin) is PingAnswer.ALIVE

    engine.call(ask)


def test_a_frozen_engine_is_silent_and_not_dead(lab: Lab) -> None:
    engine = lab.started()
    engine.observe()
    assert engine.process is not None

    async def while_frozen() -> None:
        admin = await engine.connect(timeout_s=0.2)
        assert engine.process is not None
        engine.process.send_signal(signal.SIGSTOP)
        with pytest.raises(EngineUnreachable, match=r"no answer within 0\.2 s"):
            await engine.adapter.observe(admin)
        assert admin.is_closed
        with pytest.raises(EngineUnreachable):
            await engine.adapter.connect(engine.launch.address, PORT, ADMIN_PASSWORD, timeout_s=0.2)

    try:
        asyncio.run(while_frozen())
    finally:
        engine.process.send_signal(signal.SIGCONT)
    assert engine.observe().is_held


def test_a_stop_of_a_frozen_engine_is_not_taken_for_done(lab: Lab) -> None:
    engine = lab.started()
    engine.observe()
    assert engine.process is not None
    engine.process.send_signal(signal.SIGSTOP)

    async def stop() -> None:
        admin = AdminConnection(0.2)
        await asyncio.get_running_loop().create_connection(
            lambda: admin, engine.launch.address, PORT
        )
        await engine.adapter.shutdown(admin, saves=False, timeout_s=0.2)

    with pytest.raises(EngineUnreachable):
        asyncio.run(stop())
    assert engine.process.poll() is None


def test_who_cannot_be_reached_or_lets_nobody_in(lab: Lab) -> None:
    engine = lab.started(maxclients=1)
    engine.observe()

    async def connect(address: str, password: str) -> AdminConnection:
        return await engine.adapter.connect(address, PORT, password, timeout_s=CALL_TIMEOUT_S)

    with pytest.raises(EngineUnreachable, match="Connection refused"):
        asyncio.run(connect(free_address(), ADMIN_PASSWORD))
    with pytest.raises(EngineRefused, match="WRONGPASS"):
        asyncio.run(connect(engine.launch.address, "wrong"))
    engine.client().send("PING")
    with pytest.raises(EngineRefused, match="max number of clients"):
        asyncio.run(connect(engine.launch.address, ADMIN_PASSWORD))
