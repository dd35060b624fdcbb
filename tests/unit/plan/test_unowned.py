"""Are slots that nobody claims claimed again: when, and by whom?"""

from __future__ import annotations

import dataclasses

import msgspec
import pytest

from cachewright.model.commands import ClaimSlots, node_id_of
from cachewright.model.engines import EngineName
from cachewright.model.facts import Observed
from cachewright.model.moves import Moves, Moving
from cachewright.model.slots import SLOT_COUNT, SlotRange, numbers_of, ranges_of
from cachewright.model.status import Resharding, ShardSlots
from cachewright.plan.plan import Plan
from cachewright.plan.slot_laws import slot_violations
from tests.property.plan.groups import make_group
from tests.property.plan.slot_world import claim_unheard, lose_slots, set_of
from tests.unit.plan.plan_story import Story

FIRST, SECOND, THIRD = (f"demo-000{number}-001" for number in (1, 2, 3))
LOST = frozenset(range(100, 110))


def losing(slots: frozenset[int] = LOST) -> Story:
    """Return a cluster of three shards whose first primary claims some of its slots no more."""
    one = Story(make_group(shards=3, replicas=1, cluster_enabled=True))
    one.settle()
    lose_slots(one.world.engines[FIRST], slots)
    return one


def claims(plan: Plan) -> dict[str, frozenset[int]]:
    """Return what is to be claimed, by the nodes that shall do it where nobody holds keys."""
    found = [step.command for step in plan.steps if isinstance(step.command, ClaimSlots)]
    return {node_id_of(one.key): set_of(one.slots) for one in found}


def owned(one: Story, node_id: str) -> frozenset[int]:
    return set_of(one.world.engines[node_id].slots)


def test_slots_are_claimed_at_the_second_look_by_who_owned_them() -> None:
    one = losing()
    assert claims(one.round()) == {}
    assert one.status is not None
    assert set_of(one.status.unowned) == LOST
    assert claims(one.round()) == {FIRST: LOST}
    one.settle()
    assert owned(one, FIRST) >= LOST
    assert one.status.unowned == ()
    said = "Node group 0001 owns slots 100-109, which no node had claimed"
    assert one.said.count(said) == 1


def test_who_holds_keys_is_asked_for_them_all_the_same() -> None:
    one = losing()
    one.world.engines[SECOND].data |= {SLOT_COUNT + 100}
    one.settle()
    assert owned(one, SECOND) & LOST == {100}
    assert owned(one, FIRST) & LOST == LOST - {100}


def test_people_are_told_once_where_nobody_can_know_who_is_right() -> None:
    one = losing()
    for node_id in (FIRST, SECOND):
        one.world.engines[node_id].data |= {SLOT_COUNT + 100}
    for _ in range(9):
        one.round(may_fail=True)
    assert one.status is not None
    assert one.status.reason == "several hold keys of a slot"
    told = "Replication group demo needs attention: several hold keys of a slot"
    assert one.said.count(told) == 1
    assert not owned(one, FIRST) & {100}
    one.world.engines[SECOND].data -= {SLOT_COUNT + 100}  # somebody has looked
    one.settle()
    assert owned(one, FIRST) >= LOST
    assert one.status.reason == ""


def test_what_was_claimed_bit_by_bit_is_told_at_once() -> None:
    one = losing()
    one.round()
    engine = one.world.engines[FIRST]
    engine.slots = ranges_of(sorted({*set_of(engine.slots), *range(100, 105)}))
    assert claims(one.round()) == {FIRST: frozenset(range(105, 110))}
    one.settle()
    told = [text for text in one.said if "had claimed" in text]
    assert told == ["Node group 0001 owns slots 100-109, which no node had claimed"]


def test_only_what_two_looks_have_found_is_claimed() -> None:
    one = losing()
    one.round()
    lose_slots(one.world.engines[FIRST], frozenset(range(110, 120)))
    assert claims(one.round()) == {FIRST: LOST}


def test_nothing_is_claimed_while_a_primary_is_silent() -> None:
    one = losing()
    one.round()
    one.world.engines[THIRD].is_silent = True
    assert claims(one.round()) == {}
    assert one.status is not None
    assert set_of(one.status.unowned) == LOST  # nobody knows better
    one.world.engines[THIRD].is_silent = False
    assert claims(one.round()) == {THIRD: LOST}  # who was silent may have had them


def test_slots_on_their_way_are_not_claimed() -> None:
    one = losing()
    move = Moving(from_id=FIRST, to_id=SECOND, slots=(SlotRange(100, 104),))
    observe = one.world.observe

    def observe_moving() -> Observed:
        return msgspec.structs.replace(observe(), moves=Moves(running=(move,)))

    one.world.observe = observe_moving  # type: ignore[method-assign]
    one.round()
    assert claims(one.look()) == {FIRST: frozenset(range(105, 110))}


def test_a_resharding_that_goes_on_says_who_gets_what_nobody_holds() -> None:
    one = losing()
    one.round()
    assert one.status is not None
    spec = one.world.group.spec
    first, second, third = ({*numbers_of(shard.slots)} for shard in spec.shards)
    target = tuple(
        ShardSlots(shard_id=shard.shard_id, slots=ranges_of(sorted(slots)))
        for shard, slots in zip(spec.shards, (first - LOST, second, third | LOST), strict=True)
    )
    one.edit(resharding_generation=2)
    resharding = Resharding(generation=2, target=target)
    one.status = dataclasses.replace(one.status, resharding=resharding)
    assert claims(one.look()) == {THIRD: LOST}
    over = dataclasses.replace(resharding, is_over=True)
    one.status = dataclasses.replace(one.status, resharding=over)
    assert claims(one.look()) == {FIRST: LOST}


def test_where_nothing_is_known_the_smallest_shard_that_stays_gets_them() -> None:
    one = losing()
    one.round()
    assert one.status is not None
    one.status = dataclasses.replace(one.status, owned=())
    lose_slots(one.world.engines[SECOND], frozenset(range(6000, 9000)))
    assert claims(one.look()) == {SECOND: LOST}
    gone = ShardSlots(shard_id="0009", slots=ranges_of(sorted(LOST)))
    one.status = dataclasses.replace(one.status, owned=(gone,))
    assert claims(one.look()) == {SECOND: LOST}
    first, second, third = one.world.group.spec.shards
    one.edit(shards=(first, dataclasses.replace(second, is_leaving=True), third))
    assert claims(one.look()) == {FIRST: LOST}


def test_a_taker_that_dies_before_its_replica_knows_leaves_the_slot_to_that() -> None:
    """The giver has given it up, the taker is gone, and the replica has the keys."""
    line = (EngineName.REDIS, "7.0")
    one = Story(make_group(shards=2, replicas=1, cluster_enabled=True, line=line))
    world = one.world
    first, second = world.engines[FIRST], world.engines[SECOND]
    lose_slots(second, frozenset(range(9000, SLOT_COUNT)))
    first.slots = (*first.slots, SlotRange(9000, SLOT_COUNT - 1))
    first.data |= {SLOT_COUNT + slot for slot in (0, 1, 9000, 9001)}
    one.settle()
    one.edit(resharding_generation=2)
    while not world.observe().moves.running:
        one.round()
    (move,) = world.observe().moves.running
    claim_unheard(world, move)
    (slot,) = second.unheard
    for _ in range(40):
        one.round(may_fail=True)
    assert slot in owned(one, "demo-0002-002")
    assert not any("lost" in text for text in one.said)
    said = f"Node group 0002 owns slots {slot}-{slot}, which no node had claimed"
    assert said in one.said
    assert world.lost == set()
    primaries = [engine for engine in world.engines.values() if engine.serves_writes()]
    assert sorted(s for e in primaries for s in set_of(e.slots)) == [*range(SLOT_COUNT)]


def test_the_laws_know_a_claim_that_comes_too_early_or_twice() -> None:
    one = losing()
    one.round()
    plan = one.look()
    (step,) = plan.steps
    assert isinstance(step.command, ClaimSlots)
    group, observed = one.world.group, one.world.observe()
    move = Moving(from_id=FIRST, to_id=SECOND, slots=(SlotRange(100, 100),))
    moving = msgspec.structs.replace(observed, moves=Moves(running=(move,)))
    assert [*slot_violations(group, moving, plan)] == ["slots are claimed while they are moved"]
    twice = dataclasses.replace(plan, steps=(step, step))
    assert [*slot_violations(group, observed, twice)] == ["a slot is claimed for two"]
    deaf = msgspec.structs.replace(step.command, others=step.command.others[:1])
    blind = dataclasses.replace(plan, steps=(msgspec.structs.replace(step, command=deaf),))
    said = ["slots are claimed and not every primary is asked"]
    assert [*slot_violations(group, observed, blind)] == said


@pytest.mark.parametrize("node_id", [FIRST, SECOND])
def test_the_laws_know_a_wrong_claim(node_id: str) -> None:
    one = losing()
    one.round()
    plan = one.look()
    (step,) = plan.steps
    assert isinstance(step.command, ClaimSlots)
    group = one.world.group
    assert [*slot_violations(group, one.world.observe(), plan)] == []
    lose_slots(one.world.engines[FIRST], frozenset(range(200)))
    one.world.engines[node_id].slots = (SlotRange(105, 105), *one.world.engines[node_id].slots)
    (broken,) = slot_violations(group, one.world.observe(), plan)
    assert broken == f"slots are claimed that {node_id} owns"
    one.world.kill(SECOND)
    assert "slots are claimed while shard 0002 does not serve" in [
        *slot_violations(group, one.world.observe(), plan)
    ]
