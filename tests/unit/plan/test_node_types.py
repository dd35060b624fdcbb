"""The story of another node type: told to engines that run, and said when the last has it."""

from __future__ import annotations

import itertools

import msgspec
import pytest

from cachewright.model import node_types
from cachewright.model.commands import ApplySettings
from cachewright.model.facts import RefusedSetting, Unknown
from cachewright.model.groups import GroupKind
from cachewright.model.status import GroupState, SourceType
from tests.property.plan.groups import make_group
from tests.property.plan.world import Life
from tests.unit.plan.plan_story import Story

LARGE = "cache.m6g.large"
MICRO = "cache.t4g.micro"
DONE = f"Succeeded applying modification to cache node type to {LARGE}."


def test_a_node_type_reaches_all_nodes_at_once_while_they_serve() -> None:
    one = Story(make_group(shards=2, replicas=2, cluster_enabled=True))
    told = len(one.said)
    one.edit(node_type=LARGE)
    plan = one.round()
    commands = [step.command for step in plan.steps]
    assert len(commands) == 6
    for command in commands:
        assert isinstance(command, ApplySettings)
        assert command.maxclients == 65_000
        assert (
            "replica 685454274 685454274 60" in dict(command.settings)["client-output-buffer-limit"]
        )
    assert (plan.status.state, plan.status.node_type) == (GroupState.MODIFYING, MICRO)
    assert plan.status.reason == f"changing the node type to {LARGE}"
    one.settle()
    assert one.status is not None
    assert (one.status.state, one.status.node_type) == (GroupState.AVAILABLE, LARGE)
    assert one.said[told:] == [DONE]
    memory_bytes = node_types.node_type_of(LARGE)
    assert memory_bytes is not None
    for engine in one.world.engines.values():
        assert engine.generation == 1
        assert engine.launched is not None
        assert engine.launched.maxmemory_bytes == memory_bytes.memory_bytes * 75 // 100
        assert engine.launched.maxclients == 65_000


def test_a_group_changes_until_the_last_node_has_it() -> None:
    one = Story(make_group(shards=1, replicas=1, cluster_enabled=False))
    one.world.engines["demo-002"].is_silent = True
    one.edit(node_type=LARGE)
    for _ in range(4):
        assert one.round(may_fail=True).status.state is GroupState.MODIFYING
    assert DONE not in one.said
    one.world.engines["demo-002"].answers()
    one.settle()
    assert one.said.count(DONE) == 1


def test_who_is_down_has_it_with_its_next_start() -> None:
    one = Story(make_group(shards=1, replicas=1, cluster_enabled=False))
    one.edit(node_type=LARGE)
    one.world.engines["demo-002"].starts_to_fail = 5
    one.world.kill("demo-002")
    for _ in range(4):
        plan = one.round(may_fail=True)
    assert one.world.engines["demo-002"].life is Life.STOPPED
    assert plan.status.node_type == LARGE
    one.world.engines["demo-002"].starts_to_fail = 0
    one.settle()
    launched = one.world.engines["demo-002"].launched
    assert launched is not None
    assert launched.maxclients == 65_000


def test_a_host_that_does_not_answer_says_nothing_of_its_nodes() -> None:
    one = Story(make_group(shards=1, replicas=0, cluster_enabled=False))
    one.edit(node_type=LARGE)
    one.world.host_is_silent = True
    assert isinstance(one.world.observe().of("demo-001").process, Unknown)
    assert one.look().status.node_type == MICRO


def test_a_single_node_tells_it_of_its_cluster() -> None:
    one = Story(make_group(shards=1, replicas=0, cluster_enabled=False))
    one.edit(kind=GroupKind.SINGLE_NODE, node_type=LARGE)
    one.round()
    (event,) = one.look().events
    assert (event.source_type, event.message) == (SourceType.CACHE_CLUSTER, DONE)


def test_a_node_type_that_changes_back_changes_at_once() -> None:
    one = Story(make_group(shards=1, replicas=1, cluster_enabled=False))
    states: list[GroupState] = []
    for node_type in (LARGE, MICRO):
        one.edit(node_type=node_type)
        states += [one.round().status.state for _ in range(4)]
    assert [state for state, _ in itertools.groupby(states)] == [
        GroupState.MODIFYING,
        GroupState.AVAILABLE,
    ] * 2


@pytest.mark.parametrize("name", ["maxmemory", "maxclients"])
def test_memory_that_an_engine_does_not_take_is_told(name: str) -> None:
    one = Story(make_group(shards=1, replicas=0, cluster_enabled=False))
    one.edit(node_type=LARGE)
    plan = one.round()
    (step,) = plan.steps
    assert isinstance(step.command, ApplySettings)
    values = {
        "maxmemory": str(step.command.maxmemory_bytes),
        "maxclients": str(step.command.maxclients),
    }
    engine = one.world.engines["demo-001"]
    assert engine.launched is not None
    refused = RefusedSetting(name=name, value=values[name], reason="no room")
    small = {"maxmemory_bytes": 1} if name == "maxmemory" else {"maxclients": 1}
    engine.launched = msgspec.structs.replace(engine.launched, refused=(refused,), **small)
    said = [event.message for event in one.look().events]
    failed = f"Failed applying modification to cache node type to {LARGE}."
    assert (failed in said, DONE in said) == (
        (True, False) if name == "maxmemory" else (False, True)
    )
    assert one.look().steps == ()
