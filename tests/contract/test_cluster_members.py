"""A node joins a cluster that serves, is known to all, and is forgotten again."""

from __future__ import annotations

import secrets
from dataclasses import replace

import pytest

from cachewright.engines.adapter import EngineRefused
from cachewright.engines.nodes_conf import own_line
from cachewright.model.commands import Peer
from cachewright.model.facts import ClusterFact, OpenSlot
from cachewright.model.status import Role
from tests.contract.engine_lab import Engine, Lab, wait_until


def cluster_of(engine: Engine) -> ClusterFact:
    fact = engine.observe().cluster
    assert fact is not None
    return fact


def newcomer(lab: Lab, members: list[Engine]) -> Engine:
    """Return a primary without slots whose map names the whole cluster."""
    engine = lab.engine()
    own = Peer(
        engine_id=secrets.token_hex(20),
        address=engine.launch.address,
        port=engine.launch.port,
        role=Role.PRIMARY,
        primary_engine_id=None,
        slots=(),
        epoch=len(members) + 1,
    )
    peers = (*members[0].launch.peers, own)
    engine.launch = replace(engine.launch, peers=peers, engine_id=own.engine_id)
    return engine


def serving(lab: Lab, shards: int) -> list[Engine]:
    engines = lab.cluster(shards, 0)
    for engine in engines:
        engine.start()
        engine.admit()
    for engine in engines:
        wait_until(lambda one=engine: cluster_of(one).is_ok, bool)  # type: ignore[misc] # a lambda
    return engines


def introduce(engine: Engine, others: list[Engine]) -> None:
    places = [(other.launch.address, other.launch.port) for other in others]
    engine.call(lambda admin: engine.adapter.cluster.introduce(admin, places))


def lead(engine: Engine) -> None:
    engine.call(engine.adapter.cluster.lead)


def own_flags(engine: Engine) -> bytes:
    said = engine.administer("CLUSTER", "NODES")
    assert isinstance(said, bytes)
    return own_line(said).split()[2]


def forget(engine: Engine, *engine_ids: str) -> None:
    engine.call(lambda admin: engine.adapter.cluster.forget(admin, engine_ids))


def test_a_newcomer_is_introduced_and_forgotten(lab: Lab) -> None:
    engines = serving(lab, 3)
    old_ids = {engine.launch.engine_id for engine in engines}
    assert all(cluster_of(engine).known_ids == old_ids for engine in engines)
    assert all(cluster_of(engine).owner_ids == old_ids for engine in engines)
    fresh = newcomer(lab, engines)
    fresh.start()
    new_id = fresh.launch.engine_id
    lead(fresh)
    lead(fresh)  # once more changes nothing
    assert cluster_of(fresh).known_ids == old_ids | {new_id}
    assert new_id not in cluster_of(engines[0]).known_ids
    introduce(fresh, engines)
    introduce(fresh, engines)  # once more changes nothing
    for engine in (*engines, fresh):
        wait_until(
            lambda one=engine: cluster_of(one),  # type: ignore[misc] # a lambda
            lambda seen: seen.known_ids == old_ids | {new_id} and seen.known_nodes == 4,
        )
        assert cluster_of(engine).owner_ids == old_ids
    wait_until(lambda: cluster_of(fresh).is_ok, bool)
    assert cluster_of(fresh).own_slots == ()
    assert fresh.process is not None
    fresh.process.kill()
    fresh.wait()
    for engine in engines:
        forget(engine, new_id, "0" * 40)
        forget(engine, new_id)
        assert cluster_of(engine).known_ids == old_ids


def test_who_owns_nothing_serves_as_soon_as_it_leads(lab: Lab) -> None:
    """A primary that begins as one waits for two seconds; a replica does not."""
    engines = serving(lab, 2)
    fresh = newcomer(lab, engines)
    fresh.start()
    wait_until(lambda: cluster_of(fresh).is_ok, bool)
    assert own_flags(fresh) == b"myself,slave"
    lead(fresh)
    assert own_flags(fresh) == b"myself,master"
    assert cluster_of(fresh).is_ok


def test_a_replica_of_somebody_does_not_lead(lab: Lab) -> None:
    primary, replica = lab.cluster(1, 1)
    for engine in (primary, replica):
        engine.start()
        engine.admit()
    lead(replica)
    assert own_flags(replica) == b"myself,slave"


def test_a_node_does_not_forget_itself(lab: Lab) -> None:
    engine, _ = serving(lab, 2)
    with pytest.raises(EngineRefused):
        forget(engine, engine.launch.engine_id)


def test_open_slots_are_seen_on_both_sides(lab: Lab) -> None:
    source, target = serving(lab, 2)
    ids = (source.launch.engine_id, target.launch.engine_id)
    target.administer("CLUSTER", "SETSLOT", 5, "IMPORTING", ids[0])
    source.administer("CLUSTER", "SETSLOT", 5, "MIGRATING", ids[1])
    assert cluster_of(source).open_slots == (OpenSlot(slot=5, peer_id=ids[1], is_import=False),)
    assert cluster_of(target).open_slots == (OpenSlot(slot=5, peer_id=ids[0], is_import=True),)
    assert cluster_of(target).owner_ids == set(ids)
    for engine in (source, target):
        engine.administer("CLUSTER", "SETSLOT", 5, "STABLE")
        assert cluster_of(engine).open_slots == ()


def test_keys_of_all_databases_are_counted(lab: Lab) -> None:
    engine = lab.started()
    assert engine.observe().keys == 0
    engine.admit()
    client = engine.client()
    for number in range(3):
        client("SET", f"k{number}", "v")
    client("SELECT", 1)
    client("SET", "k", "v", "EX", 100)
    assert engine.observe().keys == 4


def test_commands_that_are_sent_on_to_an_owner_are_counted(lab: Lab) -> None:
    one, other = serving(lab, 2)
    assert (cluster_of(one).sent_on, cluster_of(other).sent_on) == (0, 0)
    for _ in range(2):
        with pytest.raises(EngineRefused, match="MOVED 15495 "):
            one.administer("GET", "a")
    assert one.administer("GET", "b") is None
    assert (cluster_of(one).sent_on, cluster_of(other).sent_on) == (2, 0)
