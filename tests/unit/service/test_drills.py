"""Which primary does a drill end, and when does it refuse?"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from cachewright.model.errors import ClientFault
from cachewright.model.groups import Deletion, GroupSpec
from cachewright.model.status import GroupState, NodeState
from cachewright.service import drills, inputs, replication_groups
from cachewright.store import records
from tests.unit.service.service_world import CLUSTER_OFFERS, World, code_of, run, status_of

STATE = "InvalidReplicationGroupState"


async def begin(
    world: World, name: str = "demo", shard_id: str | None = None, *, accepts_loss: bool = False
) -> drills.Drill:
    return await drills.begin(world.service, name, shard_id=shard_id, accepts_loss=accepts_loss)


async def refusal(world: World, name: str = "demo", shard_id: str | None = None) -> tuple[str, str]:
    before = world.records.revision
    with pytest.raises(ClientFault) as caught:
        await begin(world, name, shard_id)
    assert world.records.revision == before
    return caught.value.code, caught.value.message


async def set_state(world: World, spec: GroupSpec, node_id: str, state: NodeState) -> None:
    status = status_of(spec, GroupState.AVAILABLE)
    nodes = tuple(
        dataclasses.replace(node, state=state) if node.node_id == node_id else node
        for node in status.nodes
    )
    changes = records.ChangeSet()
    changes.put(records.STATUS + spec.uid, dataclasses.replace(status, nodes=nodes))
    await world.records.commit(changes)


def test_a_drill_names_the_primary_of_now_and_says_so(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        spec = await world.create_available(num_cache_clusters=2)
        await world.settle(spec, primary="demo-002")
        drill = await begin(world, "DEMO")
        assert (drill.uid, drill.group_name) == (spec.uid, "demo")
        assert (drill.shard_id, drill.node_id) == ("0001", "demo-002")
        event = world.events()[-1]
        assert (event.source_id, event.message) == (
            "demo",
            "Drill: primary demo-002 of shard 0001 is ended",
        )
        # Nothing is asked of the group.
        written = world.records.spec(spec.uid)
        assert written is not None
        assert written.value == spec

    run(tmp_path, scenario)


def test_the_named_shard_is_drilled_else_the_first(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        await world.create_available(num_node_groups=2, replicas_per_node_group=1)
        assert (await begin(world)).node_id == "demo-0001-001"
        assert (await begin(world, shard_id="0002")).node_id == "demo-0002-001"
        assert (await begin(world, "demo-0002-002", "0002")).group_name == "demo"
        for unknown in ("0003", "", "x" * 5_000):
            assert (await refusal(world, shard_id=unknown))[0] == "NodeGroupNotFoundFault"
        assert (await refusal(world, "nobody"))[0] == "ReplicationGroupNotFoundFault"

    run(tmp_path, scenario)


def test_data_without_a_replica_is_only_lost_if_that_is_accepted(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        await world.create_available()
        code, text = await refusal(world)
        assert (code, "would lose its data" in text) == (STATE, True)
        assert (await begin(world, accepts_loss=True)).node_id == "demo-001"
        spec = await world.create_available(replication_group_id="two", num_cache_clusters=2)
        await set_state(world, spec, "two-002", NodeState.MODIFYING)
        assert (await refusal(world, "two"))[0] == STATE

    run(tmp_path, scenario)


def test_a_group_that_is_not_available_is_left_alone(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        spec = (await world.create(num_cache_clusters=2)).spec
        assert (await refusal(world))[0] == STATE
        await world.settle(spec, GroupState.MODIFYING)
        assert (await refusal(world))[0] == STATE
        await world.settle(spec)
        await set_state(world, spec, "demo-001", NodeState.MODIFYING)
        code, text = await refusal(world)
        assert (code, "has no available primary" in text) == (STATE, True)
        await world.settle(spec)
        request = inputs.DeleteReplicationGroup(replication_group_id="demo")
        await replication_groups.delete(world.service, request)
        assert (await refusal(world))[0] == STATE

    run(tmp_path, scenario)


def test_a_group_whose_other_shard_is_in_trouble_is_left_alone(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        spec = await world.create_available(num_node_groups=2, replicas_per_node_group=1)
        status = status_of(spec, GroupState.AVAILABLE)
        changes = records.ChangeSet()
        troubled = dataclasses.replace(status, state=GroupState.MODIFYING)
        changes.put(records.STATUS + spec.uid, troubled)
        await world.records.commit(changes)
        code, text = await refusal(world)
        assert (code, "must be in available state" in text) == (STATE, True)

    run(tmp_path, scenario)


@pytest.mark.parametrize("prefix", [records.SPEC, records.STATUS])
def test_what_changes_meanwhile_is_looked_at_again(tmp_path: Path, prefix: str) -> None:
    async def scenario(world: World) -> None:
        spec = await world.create_available(num_cache_clusters=2)
        commit, has_moved = world.records.commit, False

        async def moves_first(changes: records.ChangeSet) -> int:
            nonlocal has_moved
            if not has_moved:
                has_moved = True
                moved = records.ChangeSet()
                if prefix == records.STATUS:
                    status = status_of(spec, GroupState.AVAILABLE, primary="demo-002")
                    moved.put(prefix + spec.uid, status)
                else:
                    gone = Deletion(requested_at=world.clock.now())
                    moved.put(prefix + spec.uid, dataclasses.replace(spec, deletion=gone))
                await commit(moved)
            return await commit(changes)

        world.records.commit = moves_first  # type: ignore[method-assign] # a race, made certain
        if prefix == records.STATUS:
            assert (await begin(world)).node_id == "demo-002"
        else:
            assert await code_of(begin(world)) == STATE
        assert sum("Drill" in event.message for event in world.events()) == (
            prefix == records.STATUS
        )

    run(tmp_path, scenario)


def test_only_replication_groups_are_drilled(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        await world.create_available_cluster()
        code, text = await refusal(world, "cache")
        assert (code, "not a replication group" in text) == ("InvalidParameterCombination", True)

    run(tmp_path, scenario, offers=CLUSTER_OFFERS)
