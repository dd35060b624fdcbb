"""What becomes of a node that was added and cannot be made, and when is that tried again?"""

from __future__ import annotations

import dataclasses

import msgspec
import pytest

from cachewright.model.commands import ReleaseNodes, RemoveNode, StartNode
from cachewright.model.groups import NodeSpec, ShardSpec
from cachewright.model.settings import Limits
from cachewright.model.status import GroupState, NodeState, NodeStatus
from cachewright.plan.events import of_change
from cachewright.plan.group import plan_group
from cachewright.plan.invariants import violations
from cachewright.plan.newcomers import STARTS_MAX
from cachewright.plan.plan import LOOK_AGAIN_REST_S
from cachewright.plan.shard import is_to_settle
from tests.property.plan.groups import LINES, make_group
from tests.property.plan.world import Life
from tests.unit.plan.plan_story import Story, runs, steps

NEW, FOR_EVER = "demo-003", 10_000
FAILED = NodeState.INCOMPATIBLE_NETWORK


def joined() -> Story:
    """Return a group that is to have one replica more, which has its place and cannot start."""
    one = Story(make_group(shards=1, replicas=1, cluster_enabled=False), round_s=0.0)
    one.settle()
    one.change(lambda nodes: (*nodes, NodeSpec(node_id=NEW, zone="us-east-1a")))
    one.round()  # it gets its place
    one.world.engines[NEW].starts_to_fail = FOR_EVER
    return one


def given_up() -> Story:
    one = joined()
    for _ in range(STARTS_MAX):
        one.round(may_fail=True)
        assert one.status is not None
        assert one.status.state is GroupState.MODIFYING
    one.round(may_fail=True)
    return one


def status_of(one: Story, node_id: str = NEW) -> NodeStatus:
    found = one.status.of(node_id) if one.status else None
    assert found is not None
    return found


def starts(one: Story) -> list[str | None]:
    return [step.node_id for step in steps(one.look(), StartNode)]


def test_a_group_goes_on_without_it_and_says_why() -> None:
    one = given_up()
    assert one.status is not None
    assert (one.status.state, status_of(one).state) == (GroupState.AVAILABLE, FAILED)
    assert one.status.reason == f"{NEW} could not be made: the engine ended at once"
    assert not one.status.is_broken


def test_it_is_told_once_and_tried_again_after_a_growing_delay() -> None:
    one = given_up()
    delays_s: list[float] = []
    for _ in range(9):
        begin = one.now
        while not starts(one):
            assert one.look().status == one.status  # nothing is written meanwhile
            one.wait(2.5)
        delays_s.append((one.now - begin).total_seconds())
        one.round(may_fail=True)
        one.round(may_fail=True)  # the failure is seen
    assert delays_s == [5, 10, 20, 40, 80, 160, 300, 300, 300]
    why = "the engine ended at once; it is tried again after a growing delay"
    assert one.said.count(f"Failed to create the cache cluster: {why}") == 1
    assert one.said.count(f"{NEW} could not be made: {why}") == 1


def test_nobody_looks_in_vain_meanwhile() -> None:
    one = given_up()
    one.settle()
    assert one.look().look_again_s == LOOK_AGAIN_REST_S


def test_it_comes_as_if_it_had_just_been_asked_for_once_it_can() -> None:
    one = given_up()
    one.world.engines[NEW].starts_to_fail = 0
    one.wait(5)
    one.round()
    one.round()
    assert one.status is not None
    assert (one.status.state, status_of(one).state) == (GroupState.MODIFYING, NodeState.CREATING)
    one.settle()
    assert (one.status.state, status_of(one).state) == (GroupState.AVAILABLE, NodeState.AVAILABLE)
    assert one.said.count("Cache cluster created") == 3


def test_its_coming_is_told_also_when_nobody_saw_it_on_its_way() -> None:
    one = given_up()
    before = one.status
    assert before is not None
    nodes = tuple(
        dataclasses.replace(node, state=NodeState.AVAILABLE, failed_at=None)
        for node in before.nodes
    )
    now = dataclasses.replace(before, nodes=nodes, reason="")
    found = of_change(one.world.group, before, now, one.world.observe(), one.now)
    assert [(event.source_id, event.message) for event in found] == [(NEW, "Cache cluster created")]


def test_what_its_host_has_forgotten_is_known_still() -> None:
    """A host counts in its memory where it could not even make a folder."""
    one = given_up()
    before = status_of(one)
    one.world.engines[NEW].failed_starts = 0
    one.round(may_fail=True)
    assert (status_of(one).state, status_of(one).failure) == (FAILED, before.failure)


def test_one_that_ends_soon_after_each_start_could_not_be_made_either() -> None:
    one = joined()
    one.world.engines[NEW].starts_to_fail = 0
    one.round()
    one.round()
    for _ in range(3):
        assert status_of(one).state is NodeState.CREATING
        one.world.kill(NEW)
        one.world.engines[NEW].starts_to_fail = FOR_EVER
        one.status = one.look().status
        one.world.engines[NEW].starts_to_fail = 0
        one.wait(1)
        one.round()
        one.round()
    one.world.kill(NEW)
    one.round(may_fail=True)
    assert status_of(one).state is FAILED
    assert "ends soon after each start" in status_of(one).failure


def test_without_a_build_it_could_not_be_made_either() -> None:
    one = joined()
    observed = msgspec.structs.replace(
        one.world.observe(), build_version=None, is_hopeless=True, obstacle="no build to be had"
    )
    plan = plan_group(one.world.group, one.status, observed, now=one.now, limits=Limits())
    one.status = plan.status
    assert (status_of(one).state, status_of(one).failure) == (FAILED, "no build to be had")


def test_its_failures_are_forgotten_with_it() -> None:
    """Its name may be given to another one."""
    one = given_up()
    one.world.engines[NEW].life = Life.ABSENT  # not even a folder could be made
    one.remove(NEW)
    plan = one.round()
    assert [step.node_id for step in steps(plan, RemoveNode)] == [NEW]
    assert steps(plan, ReleaseNodes) == []
    assert one.world.engines[NEW].failed_starts == 0
    one.settle()
    assert one.status is not None
    assert one.status.of(NEW) is None


def new_shard(shard_id: str) -> ShardSpec:
    nodes = (NodeSpec(node_id=f"demo-{shard_id}-001", zone="us-east-1a"),)
    return ShardSpec(shard_id=shard_id, slots=(), nodes=nodes)


def resharded(*shard_ids: str) -> Story:
    """Return a cluster of one shard that is to get others, of which the named cannot start."""
    one = Story(make_group(shards=1, replicas=0, cluster_enabled=True), round_s=0.0)
    one.settle()
    whole = (*one.world.group.spec.shards, new_shard("0002"), new_shard("0003"))
    one.edit(shards=whole, generation=2, resharding_generation=2)
    one.round()
    for shard_id in shard_ids:
        one.world.engines[f"demo-{shard_id}-001"].starts_to_fail = FOR_EVER
    for _ in range(12):
        one.round(may_fail=True)
    return one


def test_shards_that_cannot_be_made_end_a_resharding() -> None:
    one = resharded("0002", "0003")
    assert one.status is not None
    state = one.status.resharding
    assert state is not None
    assert (state.is_over, [s for s, _ in state.stillborn]) == (True, ["0002", "0003"])
    assert "the engine ended at once" in state.failure
    assert is_to_settle(one.world.group, one.status)


def test_a_shard_that_came_gets_its_slots_once_the_others_are_dropped() -> None:
    one = resharded("0003")
    assert one.status is not None
    state = one.status.resharding
    assert state is not None
    assert (state.is_over, [s for s, _ in state.stillborn]) == (False, ["0003"])
    assert is_to_settle(one.world.group, one.status)
    one.edit(shards=one.world.group.spec.shards[:2], generation=3)
    assert not is_to_settle(one.world.group, one.status)
    one.run(lambda status: status.resharding is not None and status.resharding.is_over)
    assert one.status.resharding is not None
    assert one.status.resharding.failure == ""
    one.settle()
    assert one.world.engines["demo-0002-001"].slots
    # The next time it is one of those that were there.
    one.edit(
        shards=(*one.world.group.spec.shards, new_shard("0004")),
        generation=4,
        resharding_generation=4,
    )
    one.round()
    one.world.engines["demo-0004-001"].starts_to_fail = FOR_EVER
    for _ in range(12):
        one.round(may_fail=True)
    assert one.status.resharding.is_over
    assert "demo-0004-001 could not be made" in one.status.resharding.failure


def test_another_node_begins_a_shard_whose_first_cannot_start() -> None:
    one = Story(make_group(shards=1, replicas=0, cluster_enabled=True), round_s=0.0)
    one.settle()
    nodes = tuple(NodeSpec(node_id=f"demo-0002-00{number}", zone="us-east-1a") for number in (1, 2))
    new = ShardSpec(shard_id="0002", slots=(), nodes=nodes)
    whole = (*one.world.group.spec.shards, new)
    one.edit(shards=whole, generation=2, resharding_generation=2)
    one.round()
    one.world.engines["demo-0002-001"].starts_to_fail = FOR_EVER
    for _ in range(40):
        one.round(may_fail=True)
    assert status_of(one, "demo-0002-001").state is FAILED
    assert status_of(one, "demo-0002-002").state is NodeState.AVAILABLE
    assert one.world.engines["demo-0002-002"].slots


@pytest.mark.parametrize("replicas", [0, 1])
def test_an_upgrade_waits_for_none_that_could_not_be_made(replicas: int) -> None:
    """Without another replica the primary saves and comes back, as if it were alone."""
    redis, valkey, _ = LINES
    group = make_group(shards=1, replicas=replicas, cluster_enabled=False, line=redis)
    one = Story(group, round_s=0.0)
    one.settle()
    one.world.write(1)
    one.world.tick()
    new = f"demo-00{replicas + 2}"
    one.change(lambda nodes: (*nodes, NodeSpec(node_id=new, zone="us-east-1a")))
    one.round()
    one.world.engines[new].starts_to_fail = FOR_EVER
    for _ in range(STARTS_MAX + 1):
        one.round(may_fail=True)
    assert status_of(one, new).state is FAILED
    # It got so far that its host wrote down what it was to run.
    one.world.engines[new].launched = one.world.engines["demo-001"].launched
    one.edit(engine=valkey[0], engine_version=valkey[1])
    for _ in range(20):
        plan = one.look()
        assert violations(one.world.group, one.world.observe(), plan) == ()
        one.round(may_fail=True)
        assert status_of(one, new).state is FAILED
        one.wait(1.0)
    assert one.status is not None
    assert one.status.state is GroupState.AVAILABLE
    assert {runs(one)[f"demo-00{number + 1}"] for number in range(replicas + 1)} == {valkey[1]}
    assert all(engine.data == {1} for n, engine in one.world.engines.items() if n != new)
    one.world.engines[new].starts_to_fail = 0
    one.wait(300.0)
    one.settle()
    assert status_of(one, new).state is NodeState.AVAILABLE
    assert runs(one)[new] == valkey[1]


def test_what_an_engine_says_anew_each_time_is_no_news() -> None:
    """A node that was there and does not start again is tried again every few seconds."""
    one = Story(make_group(shards=1, replicas=1, cluster_enabled=False), round_s=0.0)
    one.settle()
    one.world.kill("demo-002")
    one.world.engines["demo-002"].starts_to_fail = FOR_EVER
    one.round(may_fail=True)
    one.said.clear()
    for number in range(5):
        why = f"valkey ended with exit code 1 before it answered:\n{number} Oct: Out Of Memory"
        observed = one.world.observe()
        facts = {n: msgspec.structs.replace(f, failure=why) for n, f in observed.nodes.items()}
        observed = msgspec.structs.replace(observed, nodes=facts, obstacle=why)
        plan = plan_group(one.world.group, one.status, observed, now=one.now, limits=Limits())
        one.status = plan.status
        one.said += [event.message for event in plan.events]
    assert len(one.said) == 1
    assert "needs attention: valkey ended" in one.said[0]
