"""Does a group go on like any other while its slots are spread, and afterwards?"""

from __future__ import annotations

import dataclasses

import pytest

from cachewright.model.commands import CloseSlots, PromoteNode, Promotion
from cachewright.model.groups import Group
from cachewright.model.slots import SLOT_COUNT
from cachewright.plan.invariants import violations
from cachewright.plan.resharding import EMPTYING_S, HOMECOMING_S
from tests.property.plan import slot_world
from tests.property.plan.groups import make_group
from tests.unit.plan.plan_story import Story, steps


def spread_once() -> Story:
    """Return a cluster of two shards whose resharding found nothing to move."""
    one = Story(make_two())
    one.edit(resharding_generation=2)
    one.run(lambda status: status.resharding is not None and status.resharding.is_over)
    return one


def test_primaries_still_hand_over() -> None:
    one = spread_once()
    before = {node_id: engine.generation for node_id, engine in one.world.engines.items()}
    one.restart_all()
    for _ in range(6):
        one.settle()
        one.wait(5.0)
    after = {node_id: engine.generation for node_id, engine in one.world.engines.items()}
    assert all(after[node_id] > before[node_id] for node_id in before)


def test_a_shard_that_was_emptied_takes_over_on_its_own_word() -> None:
    """What was written down of it counts, not what it began with."""
    one = spread_once()
    giver, taker = (one.world.engines[f"demo-000{number}-001"] for number in (2, 1))
    taker.slots, giver.slots = (*taker.slots, *giver.slots), ()
    one.round()
    one.world.kill(giver.place.node_id)
    steps = [s.command for s in one.look().steps if isinstance(s.command, PromoteNode)]
    assert [command.how for command in steps] == [Promotion.TAKEOVER]


def test_slots_may_move_from_a_primary_that_leaves() -> None:
    """It gave some when a caller asked for fewer replicas; its shard goes on with them."""
    one = Story(make_group(shards=2, replicas=1, cluster_enabled=True))
    giver, taker = (one.world.engines[f"demo-000{number}-001"] for number in (1, 2))
    giver.slots, taker.slots = (*giver.slots, *taker.slots), ()
    one.edit(resharding_generation=2)
    one.run(lambda _: bool(one.world.errands.moves().running))
    one.remove(giver.place.node_id)
    one.run(lambda status: status.resharding is not None and status.resharding.is_over)
    for _ in range(4):
        one.settle()
        one.wait(5.0)
    assert giver.place.node_id not in one.world.engines
    assert sum(map(len, taker.slots)) == SLOT_COUNT // 2


@pytest.mark.parametrize("comes_home", [True, False])
def test_what_a_shard_that_leaves_still_holds_goes_to_who_owns_it(
    monkeypatch: pytest.MonkeyPatch, *, comes_home: bool
) -> None:
    """Its slots went by other ways. First it gets the time to remove what it has given."""

    def cut(*_: object) -> None:
        raise slot_world.Cut("somebody does not answer")

    if not comes_home:
        monkeypatch.setattr(slot_world, "_close", cut)
    one = Story(make_two())
    giver, taker = (one.world.engines[f"demo-000{number}-001"] for number in (2, 1))
    left = slot_world.marks_for(7, giver.slots)
    taker.slots, giver.slots, giver.data = (*taker.slots, *giver.slots), (), left
    first, second = one.world.group.spec.shards
    leaving = dataclasses.replace(second, is_leaving=True)
    one.edit(shards=(first, leaving), resharding_generation=2)
    one.round_s = 10.0
    waited_s: list[float] = []
    for _ in range(60):
        observed, now = one.world.observe(), one.now
        plan = one.round(may_fail=True)
        assert violations(one.world.group, observed, plan) == ()
        state = plan.status.resharding
        assert state is not None
        if state.is_over:
            break
        if steps(plan, CloseSlots):
            assert state.arrived_at is not None
            waited_s.append((now - state.arrived_at).total_seconds())
    assert state is not None
    assert state.is_over
    assert waited_s[0] == EMPTYING_S
    assert waited_s[-1] < EMPTYING_S + HOMECOMING_S
    assert (len(waited_s) > 2) is not comes_home
    assert giver.data == (frozenset() if comes_home else left)
    assert (taker.data >= left) is comes_home
    assert state.emptied == (("0002",) if comes_home else ())
    assert state.failure == ("" if comes_home else "shard 0002 still holds something and stays")


def test_who_may_have_got_slots_is_asked_before_a_takeover() -> None:
    """Without a resharding nobody is: none has ever moved."""
    for one, count in ((spread_once(), 1), (Story(make_two()), 0)):
        one.world.kill("demo-0001-001")
        one.world.tick()
        (command,) = (s.command for s in one.look().steps if isinstance(s.command, PromoteNode))
        place = one.world.engines["demo-0002-001"].place
        assert command.others == ((place.address, place.port),) * count


def make_two() -> Group:
    return make_group(shards=2, replicas=1, cluster_enabled=True)
