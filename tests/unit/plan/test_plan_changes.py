"""The story of planned changes: restarts, nodes that come and go, parameters that change."""

from __future__ import annotations

import contextlib
import dataclasses
from typing import Any

import msgspec
import pytest

from cachewright.model.commands import (
    AdmitNode,
    ApplySettings,
    BindNode,
    HandOver,
    PlaceGroup,
    PromoteNode,
    ReleaseNodes,
    RemoveNode,
    StartNode,
    StopNode,
)
from cachewright.model.groups import NodeSpec, RestartCause
from cachewright.model.settings import Limits
from cachewright.model.status import Event, GroupState, NodeState, Role
from cachewright.plan.events import of_change
from cachewright.plan.group import plan_group
from cachewright.plan.plan import Plan
from cachewright.plan.restarts import CLIENTS_LEARN
from cachewright.plan.shutdown import plan_stop
from cachewright.plan.status import is_broken
from tests.property.plan.groups import CREATED_AT, make_group
from tests.property.plan.world import REFUSED_SETTING, Life, Refused
from tests.unit.plan.plan_story import Story


def story(replicas: int) -> Story:
    return Story(make_group(shards=1, replicas=replicas, cluster_enabled=False))


def stops(plan: Plan) -> dict[str | None, bool]:
    """Return who is stopped, and whether it saves."""
    return {
        step.node_id: step.command.saves
        for step in plan.steps
        if isinstance(step.command, StopNode)
    }


def handovers(plan: Plan) -> dict[str | None, str]:
    """Return who hands over, and to whom."""
    return {
        step.node_id: step.command.to_key.partition(".")[2]
        for step in plan.steps
        if isinstance(step.command, HandOver)
    }


# Restarts


def test_a_primary_alone_saves_its_data_for_its_own_restart() -> None:
    one = story(replicas=0)
    one.world.write(1)
    one.restart("demo-001")
    assert stops(one.look()) == {"demo-001": True}
    one.round()
    assert one.status is not None
    assert one.status.nodes[0].state is NodeState.REBOOTING
    one.settle()
    assert one.world.engines["demo-001"].data == {1}
    assert "Cache node 0001 restarted" in one.said
    assert not any("does not serve fully" in text for text in one.said)


def test_a_primary_with_replicas_is_succeeded_by_one_that_has_everything() -> None:
    one = story(replicas=1)
    one.world.write(1)
    one.world.engines["demo-002"].lags = True
    one.restart("demo-001")
    assert handovers(one.look()) == {"demo-001": "demo-002"}
    assert stops(one.look()) == {}
    one.settle()
    assert one.world.engines["demo-001"].generation == 2
    assert one.world.engines["demo-002"].generation == 1
    assert one.world.engines["demo-002"].serves_writes()
    assert one.world.engines["demo-002"].data == {1}
    assert one.world.engines["demo-001"].role is Role.REPLICA
    assert "Failover from primary node demo-001 to replica node demo-002 completed" in one.said


def test_a_primary_waits_for_a_replica_that_could_succeed_it() -> None:
    one = story(replicas=1)
    one.world.engines["demo-002"].is_in_sync = False
    one.restart("demo-001")
    assert (stops(one.look()), handovers(one.look())) == ({}, {})
    one.world.tick()
    assert handovers(one.look()) == {"demo-001": "demo-002"}


def test_nodes_of_a_shard_restart_one_by_one_and_the_primary_last() -> None:
    one = story(replicas=2)
    order: list[str | None] = []
    one.restart("demo-001", "demo-002", "demo-003")
    for _ in range(30):
        stopped = stops(one.round())
        assert len(stopped) <= 1
        order += stopped
    assert order == ["demo-002", "demo-003", "demo-001"]
    assert all(e.generation == 2 for e in one.world.engines.values())


def test_a_replica_that_is_due_itself_is_no_successor() -> None:
    one = story(replicas=2)
    one.restart("demo-001", "demo-002")
    while not handovers(plan := one.round()):
        assert set(stops(plan)) <= {"demo-002"}
    one.settle()
    assert one.world.engines["demo-002"].generation == 2
    # Both replicas had everything then; a story in which one is still due:
    two = story(replicas=1)
    two.restart("demo-001", "demo-002")
    two.world.engines["demo-002"].is_silent = True
    assert handovers(two.look()) == {}


def test_nobody_who_leaves_or_is_due_takes_over_from_a_primary_that_leaves() -> None:
    one = story(replicas=2)
    one.change(lambda nodes: nodes[2:])
    assert handovers(one.look()) == {"demo-001": "demo-003"}
    two = story(replicas=2)
    two.restart("demo-002")
    two.remove("demo-001")
    assert handovers(two.look()) == {"demo-001": "demo-003"}


def test_a_shard_with_two_primaries_hands_nothing_over() -> None:
    one = story(replicas=2)
    second = one.world.engines["demo-002"]
    second.role, second.follows = Role.PRIMARY, None
    one.wish("demo-003")
    assert handovers(one.look()) == {}


def test_nothing_is_handed_over_while_another_shard_elects() -> None:
    one = Story(make_group(shards=3, replicas=1, cluster_enabled=True))
    one.restart("demo-0002-001", shard=1)
    one.world.kill("demo-0001-001")
    kinds = [type(step.command) for step in one.look().steps]
    assert PromoteNode in kinds
    assert HandOver not in kinds


def test_a_replica_leaves_before_another_one_restarts() -> None:
    one = story(replicas=2)
    one.restart("demo-002")
    one.remove("demo-003")
    order: list[str | None] = []
    for _ in range(20):
        stopped = stops(one.round())
        assert len(stopped) <= 1
        order += stopped
    assert order == ["demo-003", "demo-002"]


def test_the_one_that_has_applied_most_takes_over() -> None:
    one = story(replicas=2)
    one.world.write(1)
    one.world.engines["demo-002"].lags = True
    one.world.tick()
    one.restart("demo-001")
    assert handovers(one.look()) == {"demo-001": "demo-003"}


def test_one_shard_hands_over_at_a_time_and_the_others_go_on() -> None:
    one = Story(make_group(shards=3, replicas=1, cluster_enabled=True))
    one.restart_all()
    seen: list[str | None] = []
    for _ in range(40):
        plan = one.round()
        assert len(handovers(plan)) <= 1
        seen += handovers(plan)
    assert sorted(filter(None, seen)) == ["demo-0001-001", "demo-0002-001", "demo-0003-001"]
    assert all(e.generation == 2 for e in one.world.engines.values())


# Tests of failover, and wishes for a primary


def test_a_test_of_failover_tells_its_events_in_order_and_leaves_the_group_available() -> None:
    one = story(replicas=1)
    told = len(one.said)
    one.restart("demo-001", cause=RestartCause.TEST_FAILOVER)
    states: set[GroupState] = set()
    kinds: list[type] = []
    for _ in range(12):
        plan = one.round()
        states.add(plan.status.state)
        if one.world.engines["demo-001"].generation == 1 or not one.world.engines["demo-001"].bind:
            assert any("127.64.1.2" in e.bind for e in one.world.engines.values())
        kinds += [type(step.command) for step in plan.steps if step.node_id == "demo-001"]
    # Nobody is sent to read from it before it has been replaced.
    assert kinds[:3] == [HandOver, StopNode, StartNode]
    failover = "Failover from primary node demo-001 to replica node demo-002 completed"
    assert one.said[told:] == [
        failover,
        failover,
        "Recovering cache nodes 0001",
        "Finished recovery for cache nodes 0001",
    ]
    assert states == {GroupState.AVAILABLE}
    assert one.world.engines["demo-001"].generation == 2


def test_a_reboot_is_told_as_a_reboot() -> None:
    one = story(replicas=1)
    told = len(one.said)
    one.restart("demo-001")
    assert one.round().status.state is GroupState.MODIFYING
    one.settle()
    assert "Cache node 0001 restarted" in one.said[told:]
    assert not [text for text in one.said[told:] if "ecover" in text or "serve" in text]


def test_a_wish_for_a_primary_is_met_without_a_restart() -> None:
    one = story(replicas=2)
    told = len(one.said)
    one.wish("demo-003")
    assert handovers(one.look()) == {"demo-001": "demo-003"}
    one.settle()
    assert one.world.engines["demo-003"].serves_writes()
    assert all(e.generation == 1 for e in one.world.engines.values())
    failover = "Failover from primary node demo-001 to replica node demo-003 completed"
    assert one.said[told : told + 2] == [failover, failover]
    assert not [text for text in one.said[told:] if "restarted" in text or "serve" in text]


def test_who_has_just_handed_over_takes_a_moment_to_follow() -> None:
    one = story(replicas=1)
    one.wish("demo-002")
    for step in one.look().steps:
        one.world.execute(step.command)
    plan = one.look()
    assert [node.role for node in plan.status.nodes] == [Role.REPLICA, Role.PRIMARY]
    assert all(node.state is NodeState.AVAILABLE for node in plan.status.nodes)
    assert not [event for event in plan.events if "Recovering" in event.message]
    one.status = plan.status
    assert one.look().status.nodes[0].state is NodeState.AVAILABLE
    one.wait(CLIENTS_LEARN.total_seconds())
    assert one.look().status.nodes[0].state is NodeState.MODIFYING


def test_a_wish_is_met_again_when_its_node_is_back() -> None:
    one = story(replicas=2)
    one.wish("demo-002")
    one.settle()
    one.world.kill("demo-002")
    one.settle()
    assert one.world.engines["demo-002"].serves_writes()


def test_a_wish_waits_until_its_node_is_able() -> None:
    one = story(replicas=1)
    one.wish("demo-002")
    one.world.engines["demo-002"].is_in_sync = False
    assert handovers(one.look()) == {}


def test_a_wish_counts_only_where_failover_is_not_automatic() -> None:
    one = story(replicas=1)
    one.wish("demo-002", automatic_failover=True)
    assert one.look().steps == ()


def test_the_primary_endpoint_goes_along_and_the_reader_follows() -> None:
    one = story(replicas=1)
    primary, reader = "127.64.1.1", "127.64.1.2"
    one.wish("demo-002")
    one.round()
    assert primary in one.world.engines["demo-002"].bind
    assert primary not in one.world.engines["demo-001"].bind
    one.settle()
    assert reader in one.world.engines["demo-001"].bind
    assert reader not in one.world.engines["demo-002"].bind


def test_an_endpoint_that_cannot_move_is_told() -> None:
    one = story(replicas=1)
    holder = next(e for e in one.world.engines.values() if "127.64.1.2" in e.bind)
    holder.bind = (holder.place.address,)
    observed = one.world.observe()
    arguments: Any = {"now": CREATED_AT, "limits": Limits()}
    moving = plan_group(one.world.group, one.status, observed, **arguments)
    assert moving.status.state is GroupState.AVAILABLE
    stuck = msgspec.structs.replace(observed, obstacle="the address is in use")
    told = plan_group(one.world.group, one.status, stuck, **arguments)
    assert (told.status.state, told.status.reason) == (
        GroupState.MODIFYING,
        "the address is in use",
    )


def test_a_group_that_does_not_serve_fully_waits_for_its_endpoint() -> None:
    """Whoever is to listen may never get the address: nobody says so before it does."""
    one = story(replicas=1)
    holder = next(e for e in one.world.engines.values() if "127.64.1.2" in e.bind)
    holder.bind = (holder.place.address,)
    assert one.status is not None
    broken = dataclasses.replace(one.status, state=GroupState.MODIFYING, is_broken=True)
    arguments: Any = {"now": CREATED_AT, "limits": Limits()}
    seen = plan_group(one.world.group, broken, one.world.observe(), **arguments).status
    assert (seen.state, seen.reason) == (
        GroupState.MODIFYING,
        "endpoint 127.64.1.2 is not listened on yet",
    )


def test_only_the_named_node_is_restarted() -> None:
    one = story(replicas=2)
    one.restart("demo-003")
    one.settle()
    generations = {node_id: e.generation for node_id, e in one.world.engines.items()}
    assert generations == {"demo-001": 1, "demo-002": 1, "demo-003": 2}


def test_a_silent_primary_that_is_to_restart_is_waited_for() -> None:
    """What it holds may be all there is: silence is not death."""
    one = story(replicas=0)
    one.restart("demo-001")
    one.world.engines["demo-001"].is_silent = True
    assert one.look().steps == ()


def test_a_silent_replica_may_be_restarted_while_its_primary_serves() -> None:
    one = story(replicas=1)
    one.restart("demo-002")
    one.world.engines["demo-002"].is_silent = True
    assert stops(one.look()) == {"demo-002": False}


def test_replicas_that_lost_their_primary_for_a_moment_restart_one_by_one() -> None:
    one = story(replicas=2)
    one.restart("demo-002", "demo-003")
    for node_id in ("demo-002", "demo-003"):
        one.world.engines[node_id].is_in_sync = False
    assert stops(one.look()) == {"demo-002": False}


def test_a_crash_is_as_good_as_a_restart_that_was_asked_for() -> None:
    one = story(replicas=1)
    one.restart("demo-002")
    one.world.kill("demo-002")
    one.settle()
    assert one.world.engines["demo-002"].generation == 2


# Nodes that come and go


def test_a_replica_joins_while_the_group_serves() -> None:
    one = story(replicas=0)
    one.world.write(1)
    one.change(lambda nodes: (*nodes, NodeSpec(node_id="demo-late", zone="us-east-1b")))
    plan = one.round()
    assert [type(step.command) for step in plan.steps] == [PlaceGroup]
    assert plan.status.state is GroupState.MODIFYING
    assert plan.status.reason == "adding demo-late"
    one.settle()
    assert one.world.engines["demo-late"].data == {1}
    assert one.said.count("Cache cluster created") == 2
    assert not any("does not serve fully" in text for text in one.said)


def test_a_replica_gives_up_the_reader_endpoint_before_it_ends() -> None:
    one = story(replicas=2)
    reader = "127.64.1.2"
    holder = next(n for n, e in one.world.engines.items() if reader in e.bind)
    one.remove(holder)
    kinds: list[type] = []
    for _ in range(12):
        plan = one.round()
        kinds += [type(step.command) for step in plan.steps if step.node_id == holder]
        kinds += [type(s.command) for s in plan.steps if isinstance(s.command, ReleaseNodes)]
    assert kinds == [BindNode, StopNode, RemoveNode, ReleaseNodes]
    assert holder not in one.world.engines
    assert any(reader in e.bind for e in one.world.engines.values())
    assert one.status is not None
    assert one.status.state is GroupState.AVAILABLE


def test_a_node_that_leaves_and_became_the_primary_hands_over_first() -> None:
    one = story(replicas=2)
    one.world.write(1)
    one.world.tick()
    one.world.kill("demo-001")
    one.world.engines["demo-003"].data = frozenset()
    one.round()
    assert one.world.engines["demo-002"].serves_writes()
    one.remove("demo-002")
    told = [step for step in one.look().steps if step.node_id == "demo-002"]
    assert told == [], "nobody else has its data yet"
    one.settle()
    assert "demo-002" not in one.world.engines
    primary = next(e for e in one.world.engines.values() if e.serves_writes())
    assert primary.data == {1}


def test_nodes_of_a_shard_leave_one_by_one() -> None:
    one = story(replicas=3)
    one.remove("demo-002")
    one.remove("demo-003")
    ended: list[str | None] = []
    while "demo-002" in one.world.engines or "demo-003" in one.world.engines:
        told = [*stops(one.round())]
        assert len(told) <= 1
        ended += told
    assert ended == ["demo-002", "demo-003"]


def test_a_node_that_leaves_with_the_only_copy_serves_until_another_has_it() -> None:
    """It became the saver of a stop: its primary died before anybody had looked."""
    one = story(replicas=1)
    one.world.write(1)
    one.world.tick()
    one.world.kill("demo-001")
    one.remove("demo-002")
    for stage in plan_stop(one.world.group, one.status, one.world.observe()):
        for step in stage:
            one.world.execute(step.command)
    one.run(lambda status: len(status.nodes) == 1 and status.state is GroupState.AVAILABLE)
    assert "demo-002" not in one.world.engines
    assert one.world.engines["demo-001"].data == {1}


def test_nothing_leaves_while_no_primary_is_known() -> None:
    one = story(replicas=2)
    one.world.engines["demo-001"].is_silent = True
    one.remove("demo-002")
    assert stops(one.look()) == {}


def test_a_node_that_leaves_with_the_only_data_serves_before_it_goes() -> None:
    """All ended, and the snapshot of the stop lies with the one that leaves."""
    one = story(replicas=1)
    one.world.write(1)
    one.world.tick()
    one.remove("demo-002")
    one.world.kill("demo-001")
    for stage in plan_stop(one.world.group, one.status, one.world.observe()):
        for step in stage:
            one.world.execute(step.command)
    one.settle()
    assert set(one.world.engines) == {"demo-001"}
    assert one.world.engines["demo-001"].serves_writes()
    assert one.world.engines["demo-001"].data == {1}


# Append-only files


def keeping(replicas: int) -> Story:
    one = story(replicas)
    one.set_parameters(appendonly="yes")
    one.settle()
    return one


def kill_all(one: Story) -> None:
    for node_id in one.world.engines:
        one.world.kill(node_id)


def fates(one: Story) -> list[str]:
    return [text for text in one.said if text.startswith("Shard 0001 comes")]


def test_a_shard_that_ends_as_a_whole_comes_back_from_its_file() -> None:
    one = keeping(replicas=1)
    one.world.write(1)
    kill_all(one)
    one.settle()
    assert one.world.engines["demo-001"].serves_writes()
    assert [e.data for e in one.world.engines.values()] == [{1}, {1}]
    assert fates(one) == ["Shard 0001 comes back from the append-only file"]


def test_the_last_primary_has_most_in_its_file() -> None:
    one = keeping(replicas=1)
    one.world.kill("demo-001")
    one.settle()
    one.world.write(1)
    kill_all(one)
    one.world.engines["demo-001"].file = frozenset()
    one.settle()
    assert one.world.engines["demo-002"].serves_writes()
    assert one.world.engines["demo-001"].data == {1}


def test_a_last_primary_whose_file_is_behind_does_not_count() -> None:
    """It took over and ended before what it had copied was in its file."""
    one = keeping(replicas=1)
    one.world.kill("demo-001")
    one.settle()
    one.world.write(1)
    one.round()  # the other one has it as well
    kill_all(one)
    last = one.world.engines["demo-002"]
    last.file, last.is_file_behind = frozenset(), True
    one.settle()
    assert one.world.engines["demo-001"].serves_writes()
    assert [e.data for e in one.world.engines.values()] == [{1}, {1}]


@pytest.mark.parametrize("minutes", [0, 6])
def test_who_may_have_the_only_file_is_not_started_for_a_while(minutes: int) -> None:
    """As a replica it would start without it."""
    one = keeping(replicas=1)
    one.world.write(1)
    one.round()
    one.world.engines["demo-002"].is_file_behind = True
    one.world.kill("demo-001")
    for _ in range(3):
        started = [s.node_id for s in one.round().steps if isinstance(s.command, StartNode)]
        assert started == []
    assert one.world.engines["demo-002"].serves_writes()
    if minutes:
        one.wait(60 * minutes)
    else:
        one.world.engines["demo-002"].is_file_behind = False
    one.settle()
    assert one.world.engines["demo-001"].role is Role.REPLICA
    assert one.world.engines["demo-001"].data == {1}


def test_a_file_that_cannot_be_loaded_is_left_for_another_copy() -> None:
    one = keeping(replicas=1)
    one.world.write(1)
    one.world.tick()
    kill_all(one)
    one.world.engines["demo-001"].starts_to_fail = 100
    for _ in range(8):
        one.round(may_fail=True)
    assert one.world.engines["demo-002"].serves_writes()
    assert one.world.engines["demo-002"].data == {1}


def test_nobody_starts_empty_while_there_is_a_file() -> None:
    one = keeping(replicas=0)
    one.world.write(1)
    kill_all(one)
    one.world.engines["demo-001"].starts_to_fail = 10
    for _ in range(10):
        one.round(may_fail=True)
    assert one.status is not None
    assert one.status.reason == "the engine ended at once"
    one.settle()
    assert one.world.engines["demo-001"].data == {1}
    assert not [text for text in fates(one) if "lost" in text]


def test_who_was_started_empty_makes_room_for_a_file() -> None:
    """It was about to follow a primary that then ended and left its file."""
    one = keeping(replicas=1)
    one.world.write(1)
    one.world.kill("demo-002")
    assert StartNode in [type(step.command) for step in one.round().steps]
    one.world.kill("demo-001")
    assert stops(one.look()) == {"demo-002": False}
    one.settle()
    assert one.world.engines["demo-001"].serves_writes()
    assert {frozenset(e.data) for e in one.world.engines.values()} == {frozenset({1})}


def test_a_snapshot_of_a_stop_goes_before_a_file() -> None:
    one = keeping(replicas=1)
    one.world.write(1)
    kill_all(one)
    one.world.engines["demo-002"].saved = frozenset({1, 2})
    one.settle()
    assert one.world.engines["demo-002"].serves_writes()
    assert one.world.engines["demo-002"].data == {1, 2}


def test_who_joins_a_living_primary_never_loads_its_file() -> None:
    one = keeping(replicas=1)
    one.world.write(1)
    one.world.kill("demo-002")
    (step,) = (s for s in one.look().steps if isinstance(s.command, StartNode))
    assert isinstance(step.command, StartNode)
    assert not step.command.launch.loads_append_only_file


def test_without_a_file_the_data_is_lost_and_that_is_said() -> None:
    one = story(replicas=0)
    one.world.write(1)
    kill_all(one)
    one.settle()
    assert fates(one) == [
        "Shard 0001 comes back empty: all nodes ended without a graceful stop, the data is lost"
    ]


# Parameters


def test_a_value_reaches_every_running_node_at_once_and_is_told_once() -> None:
    one = story(replicas=1)
    one.set_parameters(timeout="30")
    plan = one.round()
    assert [type(step.command) for step in plan.steps] == [ApplySettings, ApplySettings]
    assert all(n.parameter_state.value == "applying" for n in plan.status.nodes)
    one.settle()
    assert one.status is not None
    assert all(n.parameter_state.value == "in-sync" for n in one.status.nodes)
    assert one.said.count("Updated parameter timeout to 30") == 2
    assert all(e.generation == 1 for e in one.world.engines.values())


def test_what_the_engine_takes_at_its_start_waits_for_a_reboot() -> None:
    one = story(replicas=0)
    one.set_parameters(databases="32")
    one.settle()
    assert one.status is not None
    assert one.status.nodes[0].parameter_state.value == "pending-reboot"
    one.restart("demo-001")
    one.settle()
    launched = one.world.engines["demo-001"].launched
    assert launched is not None
    assert dict(launched.settings)["databases"] == "32"
    assert one.status.nodes[0].parameter_state.value == "in-sync"


def test_a_refused_value_is_told_once_and_leaves_the_node_as_it_was() -> None:
    one = story(replicas=0)
    one.set_parameters(**dict([REFUSED_SETTING]), timeout="30")
    one.settle()
    launched = one.world.engines["demo-001"].launched
    assert launched is not None
    assert dict(launched.settings)["timeout"] == "30"
    assert dict(launched.settings)["activedefrag"] == "no"
    told = [text for text in one.said if "keeps parameter activedefrag" in text]
    assert len(told) == 1
    assert one.status is not None
    assert one.status.nodes[0].parameter_state.value == "applying"
    one.restart("demo-001")
    one.settle()
    assert [text for text in one.said if "keeps parameter activedefrag" in text] == told


def test_an_engine_that_does_not_take_a_value_at_its_start_starts_with_defaults() -> None:
    one = story(replicas=0)
    one.world.kill("demo-001")
    one.set_parameters(**dict([REFUSED_SETTING]), timeout="30")
    for _ in range(12):
        plan = one.look()
        one.status = plan.status
        for step in plan.steps:
            with contextlib.suppress(Refused):  # as the engine refuses to start
                one.world.execute(step.command)
        one.world.tick()
    engine = one.world.engines["demo-001"]
    assert engine.life is Life.RUNNING
    assert engine.launched is not None
    assert dict(engine.launched.settings)["timeout"] == "30"
    assert [r.name for r in engine.launched.refused] == ["activedefrag"]


# Whether a group serves, as it is told

BEGINNING = "Replication group demo does not serve fully"
END = "Replication group demo serves fully again"


def told_of_service(one: Story) -> list[str]:
    return [text.split(":")[0] for text in one.said if "serve" in text]


def test_a_problem_that_goes_over_into_a_restart_is_told_with_beginning_and_end() -> None:
    one = story(replicas=0)
    one.world.engines["demo-001"].starts_to_fail = 1
    one.world.kill("demo-001")
    one.round(may_fail=True)
    assert told_of_service(one) == [BEGINNING]
    one.restart("demo-001")
    one.round()
    assert one.status is not None
    assert one.status.is_changing
    assert told_of_service(one) == [BEGINNING]
    one.settle()
    assert told_of_service(one) == [BEGINNING, END]


@pytest.mark.parametrize(
    ("was_broken", "problem", "change", "broken"),
    [
        (False, "", "", False),
        (False, "x", "", True),
        (False, "x", "restarting", False),
        (False, "", "restarting", False),
        (True, "x", "", True),
        (True, "x", "restarting", True),
        (True, "", "restarting", False),
        (True, "", "", False),
    ],
)
def test_a_problem_within_a_change_is_part_of_it_unless_it_was_there_before(
    was_broken: bool, problem: str, change: str, broken: bool
) -> None:
    one = story(replicas=0)
    assert one.status is not None
    before = dataclasses.replace(one.status, is_broken=was_broken)
    assert is_broken(before, problem, change) is broken
    assert not is_broken(dataclasses.replace(before, was_available=False), problem, change)
    assert not is_broken(None, problem, change)


def test_what_a_change_leaves_broken_is_told_with_its_beginning() -> None:
    """Nobody hears of an end alone."""
    one = story(replicas=0)
    assert one.status is not None
    changing = dataclasses.replace(one.status, state=GroupState.MODIFYING, changing_from=1)
    broken = dataclasses.replace(changing, changing_from=None, is_broken=True, reason="x")
    seen = one.world.observe()
    said: list[Event] = []
    for before, now in ((changing, broken), (broken, broken), (broken, one.status)):
        said += of_change(one.world.group, before, now, seen, CREATED_AT)
    assert [event.message for event in said] == [f"{BEGINNING}: x", END]


@pytest.mark.parametrize("replicas", [1, 2])
@pytest.mark.parametrize("victim", [1, 2, 3])
def test_an_endpoint_that_the_living_take_is_no_news(replicas: int, victim: int) -> None:
    one = story(replicas=replicas)
    one.world.kill(f"demo-00{min(victim, replicas + 1)}")
    one.settle()
    assert not [text for text in one.said if "endpoint" in text]


@pytest.mark.parametrize("is_silent", [False, True])
def test_a_group_whose_primary_nobody_can_reach_is_not_called_available(is_silent: bool) -> None:
    """Its promotion was cut after the role and before the address.

    A replica that is just starting, and does not answer yet, does not have that address.
    """
    one = story(replicas=1)
    primary, replica = one.world.engines["demo-001"], one.world.engines["demo-002"]
    primary.bind = (primary.place.address,)
    replica.is_silent = is_silent
    plan = one.look()
    assert (plan.status.state, plan.status.reason) == (
        GroupState.MODIFYING,
        "endpoint 127.64.1.1 is not listened on yet",
    )
    one.round(may_fail=True)  # it cannot have the address of the silent one as well
    replica.answers()
    one.settle()
    assert told_of_service(one) == [BEGINNING, END]


def test_readers_keep_their_node_until_another_one_is_admitted() -> None:
    reader = "127.64.1.2"
    one = story(replicas=1)
    one.world.kill("demo-002")
    for _ in range(4):
        plan = one.round()
        if not one.world.engines["demo-002"].is_held:
            break
        assert reader in one.world.engines["demo-001"].bind
    assert [type(s.command) for s in plan.steps] == [AdmitNode]
    one.settle()
    assert reader in one.world.engines["demo-002"].bind
