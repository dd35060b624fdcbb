"""Who ends again and again, and how long is it held back? One end after the other."""

from __future__ import annotations

import msgspec
import pytest

from cachewright.model.commands import StartNode
from cachewright.model.facts import Stopped
from cachewright.model.status import GroupState, NodeState, NodeStatus
from cachewright.plan.flapping import held_back_until, is_flapping
from cachewright.plan.plan import LOOK_AGAIN_REST_S
from cachewright.plan.shutdown import plan_stop
from tests.property.plan.groups import make_group
from tests.property.plan.world import Life
from tests.unit.plan.plan_story import Story

VICTIM = "demo-002"


def story(replicas: int = 1) -> Story:
    return Story(make_group(shards=1, replicas=replicas, cluster_enabled=False), round_s=0.0)


def status_of(one: Story, node_id: str = VICTIM) -> NodeStatus:
    found = one.status.of(node_id) if one.status else None
    assert found is not None
    return found


def end(one: Story, node_id: str = VICTIM) -> None:
    """Kill a node, and let that be noticed."""
    one.world.kill(node_id)
    one.status = one.look().status


def end_and_return(one: Story, node_id: str = VICTIM) -> float:
    """Kill a node and let it come back; return how long it was held back, seconds."""
    end(one, node_id)
    begin = one.now
    until = held_back_until(status_of(one, node_id), one.now)
    one.now = until or one.now
    one.settle()
    return (one.now - begin).total_seconds()


def starts(one: Story) -> list[str | None]:
    return [step.node_id for step in one.look().steps if isinstance(step.command, StartNode)]


@pytest.mark.parametrize("victim", ["demo-001", VICTIM])
def test_from_the_third_quick_end_on_a_node_is_held_back_for_longer_each_time(victim: str) -> None:
    one = story(replicas=0 if victim == "demo-001" else 1)
    delays_s: list[float] = []
    for _ in range(10):
        delays_s.append(end_and_return(one, victim))
        one.wait(29)
    assert delays_s == [0, 0, 5, 10, 20, 40, 80, 160, 300, 300]


def test_who_has_run_for_a_while_is_started_at_once() -> None:
    one = story()
    for _ in range(6):
        assert end_and_return(one) == 0
        one.wait(31)
    end_and_return(one)
    end_and_return(one)
    assert end_and_return(one) == 5
    one.wait(31)
    assert [end_and_return(one) for _ in range(3)] == [0, 0, 5]


def test_nobody_starts_a_node_that_is_held_back() -> None:
    one = story()
    end_and_return(one)
    end_and_return(one)
    end(one)
    assert starts(one) == []
    one.wait(4.9)
    assert starts(one) == []
    one.wait(0.1)
    assert starts(one) == [VICTIM]


def test_the_status_says_when_it_goes_on_and_is_written_once() -> None:
    one = story()
    end_and_return(one)
    one.wait(25)
    end_and_return(one)
    one.wait(29)
    end(one)
    held = one.look().status
    assert held.state is GroupState.AVAILABLE
    assert held.reason == (
        "demo-002 has ended 3 times within a minute; it is started again at 00:01:00 UTC"
    )
    one.wait(3)
    assert one.look().status == held


def test_a_shard_that_nobody_serves_says_so_as_well() -> None:
    one = story(replicas=0)
    for _ in range(2):
        end_and_return(one, "demo-001")
    end(one, "demo-001")
    plan = one.look()
    assert plan.steps == ()
    assert (plan.status.state, plan.status.reason) == (
        GroupState.MODIFYING,
        "demo-001 has ended 3 times within a minute; it is started again at 00:00:06 UTC",
    )


def test_a_group_is_looked_at_again_when_somebody_may_start() -> None:
    one = story()
    for _ in range(3):
        end_and_return(one)
    end(one)
    one.round()  # the reader endpoint moves
    assert one.look().look_again_s == LOOK_AGAIN_REST_S
    one.wait(8)
    assert one.look().look_again_s == pytest.approx(2)
    one.wait(2)
    assert one.look().look_again_s < 1


def test_a_group_in_which_somebody_else_is_on_its_way_is_looked_at_soon() -> None:
    one = Story(make_group(shards=1, replicas=2, cluster_enabled=True), round_s=0.0)
    for _ in range(3):
        end_and_return(one, "demo-0001-002")
    end(one, "demo-0001-002")
    one.world.engines["demo-0001-003"].is_in_sync = False
    assert one.look().steps == ()
    assert one.look().look_again_s < 1


def test_an_end_is_told_once_for_each_row_of_them() -> None:
    one = story()

    def told() -> list[str]:
        return [text for text in one.said if "soon after its start" in text]

    for count in range(1, 6):
        one.world.kill(VICTIM)
        one.round()
        assert len(told()) == (1 if count >= 3 else 0)
        one.wait(300)
        one.settle()
        one.wait(-280 if count < 3 else 0)
    assert told() == [
        "Cache node 0001 has ended 3 times, each soon after its start: "
        "it is started again after a growing delay"
    ]


def test_each_process_ends_once() -> None:
    one = story()
    for _ in range(3):
        end(one)
        one.wait(1)
    assert len(status_of(one).ends) == 1
    one.settle()
    one.wait(60)
    end_and_return(one)
    assert len(status_of(one).ends) == 2


def test_what_is_long_ago_is_forgotten() -> None:
    one = story()
    for _ in range(12):
        end_and_return(one)
        one.wait(60)
    assert len(status_of(one).ends) == 8
    assert is_flapping(one.status, VICTIM)
    one.wait(24 * 60)
    one.round()
    assert len(status_of(one).ends) == 6
    one.wait(30 * 60)
    one.round()
    assert status_of(one).ends == ()
    assert status_of(one).quick_ends == 0
    assert not is_flapping(one.status, VICTIM)


def test_an_end_in_the_future_is_none() -> None:
    """Clocks are set back."""
    one = story()
    for _ in range(4):
        end_and_return(one)
    end(one)
    assert starts(one) == []
    one.wait(-3600)
    assert held_back_until(status_of(one), one.now) is None
    assert starts(one) == [VICTIM]
    assert one.look().status.of(VICTIM) != status_of(one)


def test_a_restart_that_was_asked_for_is_no_such_end() -> None:
    one = story()
    for _ in range(4):
        one.restart("demo-001", VICTIM)
        one.settle()
    assert [status_of(one, n).ends for n in ("demo-001", VICTIM)] == [(), ()]


def test_who_leaves_does_not_flap() -> None:
    one = story(replicas=2)
    one.remove("demo-003")
    one.world.kill("demo-003")
    assert all(node.ends == () for node in one.look().status.nodes)


@pytest.mark.parametrize("exit_code", [0, None])
def test_a_stop_of_everything_is_no_such_end(exit_code: int | None) -> None:
    one = story()
    for _ in range(3):
        for stage in plan_stop(one.world.group, one.status, one.world.observe()):
            for step in stage:
                one.world.execute(step.command)
        for engine in one.world.engines.values():
            engine.exit_code = exit_code
        one.settle()
    assert [status_of(one, n).ends for n in ("demo-001", VICTIM)] == [(), ()]


def seen_as(one: Story, exit_code: int | None) -> NodeStatus:
    """Return the status of a victim whose end is known like this."""
    observed = one.world.observe()
    process = observed.of(VICTIM).process
    assert isinstance(process, Stopped)
    assert process.proof is not None
    proof = msgspec.structs.replace(process.proof, exit_code=exit_code)
    fact = msgspec.structs.replace(
        observed.of(VICTIM), process=msgspec.structs.replace(process, proof=proof)
    )
    one.world.observe = lambda: msgspec.structs.replace(  # type: ignore[method-assign]
        observed, nodes={**observed.nodes, VICTIM: fact}
    )
    found = one.look().status.of(VICTIM)
    assert found is not None
    return found


@pytest.mark.parametrize(("exit_code", "counts"), [(-9, 1), (1, 1), (0, 0), (None, 1)])
def test_who_ended_well_was_asked_by_somebody(exit_code: int | None, counts: int) -> None:
    one = story()
    one.world.kill(VICTIM)
    assert len(seen_as(one, exit_code).ends) == counts


@pytest.mark.parametrize(("exit_code", "counts"), [(-9, 1), (0, 0), (None, 0)])
def test_of_those_that_were_held_only_a_crash_counts(exit_code: int | None, counts: int) -> None:
    one = story()
    end_and_return(one)
    end(one)
    one.round()  # starts it
    one.round()
    assert one.world.engines[VICTIM].is_held
    before = len(status_of(one).ends)
    one.world.kill(VICTIM)
    assert len(seen_as(one, exit_code).ends) - before == counts


def test_who_cannot_be_seen_has_not_ended() -> None:
    one = story()
    one.world.host_is_silent = True
    one.round()
    assert status_of(one).is_running
    one.world.host_is_silent = False
    end(one)
    assert not status_of(one).is_running
    one.world.host_is_silent = True
    one.round()
    one.world.host_is_silent = False
    one.round()
    assert len(status_of(one).ends) == 1


def test_who_ends_before_its_first_sync_is_held_back_too() -> None:
    one = story()
    delays_s: list[float] = []
    for _ in range(5):
        delays_s.append(0)
        end(one)
        until = held_back_until(status_of(one), one.now)
        if until is not None:
            delays_s[-1] = (until - one.now).total_seconds()
            one.now = until
        one.round()
        one.status = one.look().status
        assert one.world.engines[VICTIM].is_held
        assert one.world.engines[VICTIM].life is Life.RUNNING
    assert delays_s == [0, 0, 5, 10, 20]


def test_the_wait_of_one_node_keeps_nobody_else() -> None:
    one = story(replicas=2)
    for _ in range(2):
        end_and_return(one)
    end(one)
    one.world.kill("demo-003")
    assert starts(one) == ["demo-003"]
    assert status_of(one).state is NodeState.MODIFYING


def test_where_nobody_has_data_another_one_than_who_is_held_back_is_the_primary() -> None:
    one = story(replicas=1)
    for _ in range(2):
        end_and_return(one, "demo-001")
    end(one, "demo-001")
    one.world.kill(VICTIM)
    one.round()
    assert starts(one) == []
    one.settle()
    assert one.world.engines[VICTIM].serves_writes()


@pytest.mark.parametrize("keeps", [True, False])
def test_who_has_the_data_is_waited_for(keeps: bool) -> None:
    one = story(replicas=1)
    one.set_parameters(appendonly="yes" if keeps else "no")
    one.settle()
    for _ in range(3):
        end_and_return(one, "demo-001")
    # It is a replica by now, and the last one to serve.
    one.world.write(1)
    one.world.tick()
    one.world.kill(VICTIM)
    one.settle()
    assert one.world.engines["demo-001"].serves_writes()
    one.world.kill(VICTIM)
    one.world.kill("demo-001")
    one.round()
    if keeps:
        assert starts(one) == []
        assert one.world.engines[VICTIM].life is Life.STOPPED
    else:
        assert one.world.engines[VICTIM].life is Life.RUNNING
