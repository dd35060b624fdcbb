"""Who hangs, and who may be ended for it? Each row of patience, each guard, one at a time."""

from __future__ import annotations

import dataclasses

import msgspec
import pytest

from cachewright.model.commands import FenceNode, PromoteNode, Step, StopNode
from cachewright.model.facts import Observed, Running, Silence, SilenceCause, Unknown
from cachewright.model.groups import Deletion
from cachewright.model.status import GroupState, NodeState, Role
from cachewright.plan.failover import plan_failover
from cachewright.plan.suspicion import PATIENCE_S, PROBES_MIN
from tests.property.plan.groups import CREATED_AT, make_group
from tests.property.plan.world import process_fact
from tests.unit.plan.plan_story import Story

#: Seconds of silence that end a process, by its cause; never, where it is missing.
PATIENCE = {
    SilenceCause.STOPPED: 2,
    SilenceCause.UNTOLD: 3,
    SilenceCause.DISK: 15,
    SilenceCause.WORKING: 15,
    SilenceCause.SCRIPT: 30,
}
LONG_S = 60.0


def story(replicas: int = 2) -> Story:
    return Story(make_group(shards=1, replicas=replicas, cluster_enabled=False))


def hang(
    one: Story, node_id: str, cause: SilenceCause = SilenceCause.STOPPED, seconds: float = LONG_S
) -> None:
    one.world.engines[node_id].falls_silent(cause)
    one.world.engines[node_id].silent_s = seconds


def urgent(one: Story, observed: Observed | None = None) -> tuple[Step, ...]:
    """Return what a short round does that has looked at every shard."""
    struck = {shard.shard_id for shard in one.world.group.spec.shards}
    seen = observed if observed is not None else one.world.observe()
    return plan_failover(one.world.group, seen, one.status, struck=struck)


def fenced(one: Story) -> list[str | None]:
    """Return who is fenced, by the short round and the long one alike."""
    short = urgent(one)
    found = [step.node_id for step in short if isinstance(step.command, FenceNode)]
    whole = [step.node_id for step in one.look().steps if isinstance(step.command, FenceNode)]
    assert found == whole
    return found


@pytest.mark.parametrize("cause", SilenceCause)
@pytest.mark.parametrize("victim", ["demo-001", "demo-002"])
def test_each_cause_has_its_patience(victim: str, cause: SilenceCause) -> None:
    one = story()
    patience = PATIENCE.get(cause)
    if patience is None:
        hang(one, victim, cause, seconds=100_000)
        assert fenced(one) == []
    else:
        hang(one, victim, cause, seconds=patience - 0.1)
        assert fenced(one) == []
        hang(one, victim, cause, seconds=patience)
        assert fenced(one) == [victim]


def test_a_few_probes_prove_nothing_however_long_they_took() -> None:
    one = story()
    hang(one, "demo-001")
    for probes, expected in ((PROBES_MIN - 1, 0), (PROBES_MIN, 1)):
        observed = one.world.observe()
        few = Silence(seconds=LONG_S, probes=probes, cause=SilenceCause.STOPPED)
        fact = msgspec.structs.replace(observed.of("demo-001"), silence=few)
        observed = msgspec.structs.replace(observed, nodes={**observed.nodes, "demo-001": fact})
        assert len(urgent(one, observed)) == expected
    assert PROBES_MIN == 4


def test_the_very_process_that_hangs_is_named() -> None:
    one = story()
    hang(one, "demo-001")
    (step,) = urgent(one)
    running = process_fact(one.world.engines["demo-001"].life, generation=1)
    assert isinstance(running, Running)
    assert step.command == FenceNode(
        key="abcdefgh.demo-001", identity=running.identity, unless_it_answers=True
    )
    assert step.reason == (
        "it does not answer and does not get over it (a signal or a debugger has stopped it)"
    )


def test_nobody_is_fenced_whose_process_nobody_can_name() -> None:
    one = story()
    hang(one, "demo-001")
    observed = one.world.observe()
    fact = msgspec.structs.replace(observed.of("demo-001"), process=Unknown(reason="no answer"))
    observed = msgspec.structs.replace(observed, nodes={**observed.nodes, "demo-001": fact})
    assert urgent(one, observed) == ()


def test_who_answers_after_all_is_left_alone() -> None:
    one = story()
    silence = Silence(seconds=LONG_S, probes=100, cause=SilenceCause.STOPPED)
    observed = one.world.observe()
    fact = msgspec.structs.replace(observed.of("demo-001"), silence=silence)
    observed = msgspec.structs.replace(observed, nodes={**observed.nodes, "demo-001": fact})
    assert urgent(one, observed) == ()


def test_a_primary_without_replicas_is_waited_for() -> None:
    one = story(replicas=0)
    hang(one, "demo-001")
    assert fenced(one) == []


@pytest.mark.parametrize("trouble", ["held", "follows somebody else", "silent", "ended", "writes"])
def test_a_primary_is_fenced_only_if_a_replica_of_its_own_could_take_over(trouble: str) -> None:
    one = story(replicas=1)
    hang(one, "demo-001")
    assert fenced(one) == ["demo-001"]
    replica = one.world.engines["demo-002"]
    match trouble:
        case "held":
            replica.is_held = True
        case "follows somebody else":
            replica.follows = "demo-002"
        case "silent":
            replica.falls_silent(SilenceCause.STARVED)
        case "ended":
            one.world.kill("demo-002")
        case _:
            replica.role, replica.follows = Role.PRIMARY, None
    # Beside a primary the silent one is no longer the one of its shard.
    assert fenced(one) == (["demo-001"] if trouble == "writes" else [])


def test_a_primary_is_not_fenced_while_its_replica_loads() -> None:
    one = story(replicas=1)
    hang(one, "demo-001")
    observed = one.world.observe()
    fact = observed.of("demo-002")
    assert not isinstance(fact.engine, Unknown)
    engine = msgspec.structs.replace(fact.engine, is_loading=True)
    loading = msgspec.structs.replace(fact, engine=engine)
    observed = msgspec.structs.replace(observed, nodes={**observed.nodes, "demo-002": loading})
    assert urgent(one, observed) == ()


def test_a_primary_is_not_fenced_while_another_silent_node_may_have_more() -> None:
    one = story(replicas=2)
    hang(one, "demo-001")
    hang(one, "demo-003", SilenceCause.STARVED)
    assert fenced(one) == []
    one.world.kill("demo-003")
    assert fenced(one) == ["demo-001"]


def test_a_silent_replica_is_not_fenced_while_nobody_serves() -> None:
    one = story(replicas=2)
    one.world.kill("demo-001")
    hang(one, "demo-002")
    assert fenced(one) == []
    assert one.look().steps == ()


def test_one_process_of_a_shard_is_fenced_at_a_time() -> None:
    one = story(replicas=3)
    hang(one, "demo-002")
    hang(one, "demo-003")
    assert fenced(one) == ["demo-002"]
    for step in urgent(one):
        one.world.execute(step.command)
    assert fenced(one) == ["demo-003"]


def test_shards_do_not_wait_for_each_other() -> None:
    one = Story(make_group(shards=3, replicas=1, cluster_enabled=True))
    hang(one, "demo-0001-001")
    hang(one, "demo-0003-001")
    assert fenced(one) == ["demo-0001-001", "demo-0003-001"]


def test_nobody_is_fenced_in_a_shard_that_was_not_looked_at() -> None:
    one = Story(make_group(shards=3, replicas=1, cluster_enabled=True))
    hang(one, "demo-0001-001")
    hang(one, "demo-0003-001")
    observed = one.world.observe()
    steps = plan_failover(one.world.group, observed, one.status, struck={"0003"})
    assert [step.node_id for step in steps] == ["demo-0003-001"]


def test_a_shard_with_two_primaries_is_not_made_worse() -> None:
    one = story(replicas=2)
    one.world.engines["demo-002"].role = Role.PRIMARY
    hang(one, "demo-003")
    assert fenced(one) == []


def test_nobody_else_of_the_shard_is_stopped_beside_a_fence() -> None:
    one = story(replicas=3)
    hang(one, "demo-002")
    one.restart("demo-003")
    one.remove("demo-004")
    steps = one.look().steps
    assert [s.node_id for s in steps if isinstance(s.command, FenceNode)] == ["demo-002"]
    assert not [s for s in steps if isinstance(s.command, StopNode)]


def test_who_leaves_is_stopped_and_not_fenced() -> None:
    one = story(replicas=2)
    hang(one, "demo-003")
    one.remove("demo-003")
    assert fenced(one) == []
    assert {s.node_id: type(s.command) for s in one.look().steps} == {"demo-003": StopNode}


def test_a_group_that_goes_away_fences_nobody() -> None:
    one = story()
    hang(one, "demo-001")
    one.edit(deletion=Deletion(requested_at=CREATED_AT))
    assert fenced(one) == []
    one.edit(deletion=Deletion(requested_at=CREATED_AT, retained_node_id="demo-001"))
    assert fenced(one) == []


def test_a_create_that_failed_fences_nobody() -> None:
    one = story()
    hang(one, "demo-001")
    assert one.status is not None
    one.status = dataclasses.replace(one.status, state=GroupState.CREATE_FAILED)
    assert urgent(one) == ()


@pytest.mark.parametrize("cluster_enabled", [False, True])
def test_a_primary_that_hangs_is_ended_and_succeeded(cluster_enabled: bool) -> None:
    one = Story(make_group(shards=1, replicas=2, cluster_enabled=cluster_enabled))
    first, second, _ = one.world.engines
    one.world.write(1)
    one.world.tick()
    hang(one, first)
    kinds = [type(step.command) for _ in range(2) for step in one.round().steps]
    assert kinds == [FenceNode, PromoteNode]
    one.settle()
    assert one.world.engines[second].serves_writes()
    assert {frozenset(e.data) for e in one.world.engines.values()} == {frozenset({1})}
    assert one.status is not None
    assert one.status.state is GroupState.AVAILABLE


def test_the_status_says_what_keeps_a_primary_silent_and_what_becomes_of_it() -> None:
    one = story(replicas=1)
    hang(one, "demo-001", SilenceCause.SCRIPT, seconds=5)
    plan = one.look()
    assert (plan.status.state, plan.status.reason) == (
        GroupState.MODIFYING,
        "demo-001 does not answer (a script runs): it is ended after 30 s",
    )
    hang(one, "demo-001", SilenceCause.SCRIPT, seconds=7)
    assert one.look().status == plan.status, "it is written down once"
    one.world.engines["demo-001"].cause = SilenceCause.STARVED
    assert one.look().status.reason == (
        "demo-001 does not answer (its host is too busy): it is waited for"
    )
    one.world.engines["demo-001"].cause = SilenceCause.SCRIPT
    one.world.kill("demo-002")
    assert one.look().status.reason == (
        "demo-001 does not answer (a script runs): "
        "it is waited for, as nobody could surely take over"
    )


def test_the_status_says_why_a_replica_is_away() -> None:
    one = story(replicas=1)
    hang(one, "demo-002", SilenceCause.DISK, seconds=5)
    status = one.look().status
    assert status.state is GroupState.AVAILABLE
    assert status.nodes[1].state is NodeState.MODIFYING
    assert status.reason == (
        "demo-002 does not answer (it waits for a disk): it is ended after 15 s"
    )


def test_a_silence_that_no_host_tells_of_is_said_as_such() -> None:
    one = story(replicas=1)
    one.world.engines["demo-002"].is_silent = True
    assert one.look().status.reason == "no answer from demo-002"


def test_every_cause_that_may_end_a_process_is_pinned_here() -> None:
    assert {cause: int(patience) for cause, patience in PATIENCE_S.items()} == PATIENCE
