"""Are slots that nobody claims claimed again: when, and by whom?"""

from __future__ import annotations

import dataclasses

from cachewright.model.commands import ClaimSlots, CloseSlots, HandOver, node_id_of
from cachewright.model.engines import EngineName
from cachewright.model.slots import SLOT_COUNT, ranges_of
from cachewright.plan.invariants import violations
from cachewright.plan.plan import Plan
from tests.property.plan.groups import make_group
from tests.property.plan.slot_world import lose_slots, set_of
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


def about_to_hand_over() -> Story:
    """Return a cluster whose first primary is to hand over, for it gets a newer version."""
    line = (EngineName.REDIS, "7.0")
    one = Story(make_group(shards=3, replicas=1, cluster_enabled=True, line=line))
    one.settle()
    one.edit(engine=EngineName.VALKEY, engine_version="8.1")
    for _ in range(40):
        if kinds(one.look()) & {HandOver}:
            return one
        one.round()
    raise AssertionError(one.status)


def kinds(plan: Plan) -> set[type]:
    return {type(step.command) for step in plan.steps}


def test_nobody_hands_over_before_all_slots_have_an_owner() -> None:
    one = about_to_hand_over()
    lose_slots(one.world.engines[FIRST], LOST)
    assert one.status is not None
    one.status = dataclasses.replace(one.status, unowned=ranges_of(sorted(LOST)))
    plan = one.look()
    assert kinds(plan) & {ClaimSlots, HandOver} == {ClaimSlots}
    assert violations(one.world.group, one.world.observe(), plan) == ()
    one.settle()
    assert one.status.unowned == ()


def test_no_cut_move_is_ended_while_a_primary_hands_over() -> None:
    one = about_to_hand_over()
    first, second = (one.world.engines[node_id] for node_id in (FIRST, SECOND))
    first.opened[0] = (second.place.engine_id, False)
    second.opened[0] = (first.place.engine_id, True)
    plan = one.look()
    assert kinds(plan) & {CloseSlots, HandOver} == {HandOver}
    assert violations(one.world.group, one.world.observe(), plan) == ()
    one.settle()
    assert not any(engine.opened for engine in one.world.engines.values())
