"""When may a failover be tested, what does that write down, and when is it enough for a day?"""

from __future__ import annotations

import asyncio
import dataclasses
import datetime
from pathlib import Path

import pytest

from cachewright.kit.clock import ManualClock
from cachewright.model.errors import ClientFault
from cachewright.model.groups import GroupSpec, RestartCause
from cachewright.model.settings import Limits
from cachewright.model.status import GroupState, NodeState, NodeStatus
from cachewright.service import cluster_changes, failover_tests, inputs, replication_groups, views
from cachewright.store import furniture, records
from tests.unit.service.service_world import World, code_of, run, status_of

STATE = "InvalidReplicationGroupState"
NOT_AVAILABLE = "TestFailoverNotAvailableFault"


async def failover(world: World, shard_id: str = "0001", name: str = "demo") -> views.GroupView:
    request = inputs.TestFailover(replication_group_id=name, node_group_id=shard_id)
    return await failover_tests.test(world.service, request)


async def refusal(world: World, shard_id: str = "0001", name: str = "demo") -> tuple[str, str]:
    before = world.records.revision
    with pytest.raises(ClientFault) as caught:
        await failover(world, shard_id, name)
    assert world.records.revision == before
    return caught.value.code, caught.value.message


async def pair(world: World) -> GroupSpec:
    return await world.create_available(num_cache_clusters=2, automatic_failover_enabled=True)


async def put_status(world: World, spec: GroupSpec, **nodes: dict[str, object]) -> None:
    """Write a status in which the nodes with these numbers at the end are otherwise."""
    status = status_of(spec, GroupState.AVAILABLE)
    changed: list[NodeStatus] = []
    for node in status.nodes:
        changes = nodes.get(f"n{node.node_id[-3:]}", {})
        changed.append(dataclasses.replace(node, **changes))  # type: ignore[arg-type] # fields of a status
    changes_of = records.ChangeSet()
    after = dataclasses.replace(status, nodes=tuple(changed))
    changes_of.put(records.STATUS + spec.uid, after)
    await world.records.commit(changes_of)


def test_the_primary_of_now_is_asked_to_restart_and_the_event_comes_first(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        spec = (await world.create(num_cache_clusters=3, automatic_failover_enabled=True)).spec
        await world.settle(spec, primary="demo-002")
        view = await failover(world, name="DEMO")
        written = world.records.spec(spec.uid)
        assert written is not None
        assert written.value == view.spec
        assert view.spec.generation == 2
        asked = {node.node_id: (node.restarts, node.restart_cause) for node in view.spec.nodes()}
        assert asked == {
            "demo-001": (0, RestartCause.REBOOT),
            "demo-002": (2, RestartCause.TEST_FAILOVER),
            "demo-003": (0, RestartCause.REBOOT),
        }
        event = world.events()[-1]
        assert (event.source_id, event.message) == (
            "demo",
            "Test Failover API called for node group 0001",
        )
        assert world.woken[-1] == spec.uid
        # The group stays available, only the old primary does not.
        assert view.state is GroupState.AVAILABLE
        assert view.node_state("demo-002") is NodeState.MODIFYING
        assert view.node_state("demo-001") is NodeState.AVAILABLE

    run(tmp_path, scenario)


def test_only_the_named_shard_fails_over(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        await world.create_available(num_node_groups=3, replicas_per_node_group=1)
        view = await failover(world, "0002")
        asked = [node.node_id for node in view.spec.nodes() if node.restarts]
        assert asked == ["demo-0002-001"]

    run(tmp_path, scenario)


def test_it_needs_automatic_failover_and_a_replica(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        await world.create_available(num_cache_clusters=2)
        code, text = await refusal(world)
        assert (code, "automatic failover disabled" in text) == (NOT_AVAILABLE, True)
        await world.create_available(replication_group_id="bare", num_node_groups=2)
        code, text = await refusal(world, "0002", "bare")
        assert (code, "has no replica" in text) == (NOT_AVAILABLE, True)

    run(tmp_path, scenario)


@pytest.mark.parametrize("shard_id", ["0002", "1", "", "\u0660\u0660\u0660\u0661", "x" * 5_000])
def test_a_shard_that_is_not_there_is_not_found(tmp_path: Path, shard_id: str) -> None:
    async def scenario(world: World) -> None:
        await pair(world)
        code, text = await refusal(world, shard_id)
        assert code == "NodeGroupNotFoundFault"
        assert len(text) < 300

    run(tmp_path, scenario)


def test_a_group_that_is_not_there_is_not_found(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        assert (await refusal(world, name="nobody"))[0] == "ReplicationGroupNotFoundFault"

    run(tmp_path, scenario)


@pytest.mark.parametrize("state", [None, GroupState.CREATING, GroupState.MODIFYING])
def test_only_an_available_group_fails_over(tmp_path: Path, state: GroupState | None) -> None:
    async def scenario(world: World) -> None:
        spec = (await world.create(num_cache_clusters=2, automatic_failover_enabled=True)).spec
        if state is not None:
            await world.settle(spec, state)
        assert await refusal(world) == (
            STATE,
            "Replication group must be in available state to test failover.",
        )

    run(tmp_path, scenario)


def test_a_group_that_is_being_deleted_does_not_fail_over(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        await pair(world)
        request = inputs.DeleteReplicationGroup(replication_group_id="demo")
        await replication_groups.delete(world.service, request)
        assert (await refusal(world))[0] == STATE

    run(tmp_path, scenario)


def test_one_test_of_a_group_at_a_time_until_its_old_primary_is_back(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        before = await world.create_available(num_node_groups=2, replicas_per_node_group=1)
        spec = (await failover(world, "0001")).spec
        code, text = await refusal(world, "0002")
        assert (code, "demo-0001-001" in text) == (STATE, True)
        # The loop has looked at it, and the old primary is not away yet.
        await put_status(world, spec, n001={"restarts": 0})
        assert (await refusal(world, "0002"))[0] == STATE
        # It is away.
        away = {"state": NodeState.MODIFYING, "role": None}
        status = status_of(spec, GroupState.AVAILABLE)
        nodes = tuple(
            dataclasses.replace(node, **away) if node.node_id == "demo-0001-001" else node  # type: ignore[arg-type] # fields of a status
            for node in status.nodes
        )
        changes = records.ChangeSet()
        changes.put(records.STATUS + spec.uid, dataclasses.replace(status, nodes=nodes))
        await world.records.commit(changes)
        assert (await refusal(world, "0002"))[0] == STATE
        await world.settle(spec)
        assert (await failover(world, "0002")).spec.generation == before.generation + 2

    run(tmp_path, scenario)


def test_another_group_may_fail_over_meanwhile(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        await pair(world)
        await world.create_available(
            replication_group_id="other", num_cache_clusters=2, automatic_failover_enabled=True
        )
        await failover(world)
        await failover(world, name="other")

    run(tmp_path, scenario)


def test_a_shard_whose_primary_or_replica_is_away_does_not_fail_over(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        spec = await pair(world)
        await put_status(world, spec, n001={"role": None})
        code, text = await refusal(world)
        assert (code, "has no primary now" in text) == (STATE, True)
        await put_status(world, spec, n002={"state": NodeState.MODIFYING})
        code, text = await refusal(world)
        assert (code, "demo-002" in text) == (STATE, True)

    run(tmp_path, scenario)


def test_callers_at_once_begin_one_test(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        await pair(world)
        codes = await asyncio.gather(*(code_of(failover(world)) for _ in range(8)))
        assert sorted(codes) == [STATE] * 7 + ["accepted"]
        assert len(furniture.test_failovers(world.records).value) == 1

    run(tmp_path, scenario)


def test_a_primary_that_loses_its_role_meanwhile_is_not_restarted(tmp_path: Path) -> None:
    """The status changes between reading and writing, as it does in a failover of its own."""

    async def scenario(world: World) -> None:
        spec = await pair(world)
        commit, has_moved = world.records.commit, False

        async def moves_first(changes: records.ChangeSet) -> int:
            nonlocal has_moved
            if not has_moved:
                has_moved = True
                moved = records.ChangeSet()
                status = status_of(spec, GroupState.AVAILABLE, primary="demo-002")
                moved.put(records.STATUS + spec.uid, status)
                await commit(moved)
            return await commit(changes)

        world.records.commit = moves_first  # type: ignore[method-assign] # a race, made certain
        view = await failover(world)
        assert [node.node_id for node in view.spec.nodes() if node.restarts] == ["demo-002"]

    run(tmp_path, scenario)


def test_so_many_tests_a_day_of_all_groups_and_no_more(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        clock = world.clock
        assert isinstance(clock, ManualClock)
        spec = await pair(world)
        for _ in range(3):
            spec = (await failover(world)).spec
            await world.settle(spec)
            clock.advance(60.0)
        code, text = await refusal(world)
        assert (code, "at most 3" in text) == ("APICallRateForCustomerExceeded", True)
        # A group's end forgets nothing, and another group has no more left.
        await world.forget(spec)
        await pair(world)
        assert (await refusal(world))[0] == "APICallRateForCustomerExceeded"
        clock.advance(datetime.timedelta(hours=24).total_seconds() - 3 * 60 + 1)
        await failover(world)
        assert len(furniture.test_failovers(world.records).value) == 3

    run(tmp_path, scenario, limits=Limits(test_failovers_per_day=3))


def test_what_is_refused_does_not_count(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        await pair(world)
        await refusal(world, "0002")
        await refusal(world, name="nobody")
        assert furniture.test_failovers(world.records).value == ()

    run(tmp_path, scenario)


def test_the_limit_may_be_none_at_all(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        await pair(world)
        assert (await refusal(world))[0] == "APICallRateForCustomerExceeded"

    run(tmp_path, scenario, limits=Limits(test_failovers_per_day=0))


def test_a_reboot_after_a_test_is_a_reboot_again(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        await pair(world)
        await world.settle((await failover(world)).spec, primary="demo-002")
        cluster = await cluster_changes.reboot(world.service, "demo-001", ("0001",))
        assert cluster.node.restart_cause is RestartCause.REBOOT
        assert cluster.state is NodeState.REBOOTING
        assert cluster.group.state is GroupState.MODIFYING

    run(tmp_path, scenario)
