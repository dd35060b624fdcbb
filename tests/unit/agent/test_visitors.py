"""Since when does nobody come to a node that owns nothing, and who has found it again?"""

from __future__ import annotations

import msgspec
import pytest

from cachewright.agent.visitors import Visitors
from cachewright.model.facts import ClusterFact, EngineFact, Unknown
from cachewright.model.slots import SlotRange
from cachewright.model.status import Role

_SLOTS = (SlotRange(0, 7),)
_CLUSTER = ClusterFact(
    is_ok=True, slots_assigned=16_384, known_nodes=2, current_epoch=1, own_slots=()
)
_ENGINE = EngineFact(
    version="9.1.2",
    role=Role.PRIMARY,
    is_held=False,
    is_loading=False,
    used_memory_bytes=1,
    bind=("127.0.0.1",),
)


class World:
    def __init__(self) -> None:
        self.now_s = 1_000.0
        self.visitors = Visitors(lambda: self.now_s)

    def look(self, sent_on: int, *, owns: bool = False, after_s: float = 0.5) -> bool:
        self.now_s += after_s
        cluster = msgspec.structs.replace(
            _CLUSTER, sent_on=sent_on, own_slots=_SLOTS if owns else ()
        )
        self.visitors.look(msgspec.structs.replace(_ENGINE, cluster=cluster))
        return self.visitors.are_there


@pytest.fixture
def world() -> World:
    return World()


def test_who_still_owns_something_has_no_visitors_to_wait_for(world: World) -> None:
    assert not world.look(5, owns=True)
    assert not world.look(9, owns=True)


def test_visitors_are_there_until_a_second_has_passed_without_one(world: World) -> None:
    world.look(5, owns=True)
    assert world.look(9)
    assert world.look(9, after_s=0.9)
    assert not world.look(9, after_s=0.2)
    # One more comes.
    assert world.look(10)


def test_where_nobody_was_sent_on_nobody_is_waited_for(world: World) -> None:
    assert not world.look(0, owns=True)
    assert not world.look(0)


def test_a_visitor_of_long_ago_has_learnt_it(world: World) -> None:
    world.look(5, owns=True)
    assert not world.look(5, after_s=60.0)


def test_who_never_learns_is_not_waited_for_for_ever(world: World) -> None:
    count = 0
    world.look(count, owns=True)
    waited = 0
    while world.look(count := count + 1):
        waited += 1
        assert waited < 100
    assert 55 < waited < 65


def test_slots_that_come_back_begin_a_new_wait(world: World) -> None:
    world.look(1)
    assert not world.look(2, after_s=40.0)
    assert not world.look(3, owns=True)
    assert world.look(4)


def test_who_does_not_answer_is_as_it_was(world: World) -> None:
    assert world.look(1)
    world.visitors.look(Unknown(reason="no answer"))
    world.visitors.look(_ENGINE)  # loading: it says nothing of its cluster
    assert world.visitors.are_there
    world.visitors.end()
    assert not world.visitors.are_there


def awaited_s(world: World) -> float:
    """Return for how long who has lost it may not have found it again."""
    begin_s = world.now_s
    world.look(0, after_s=0.0)
    while world.visitors.are_missing:
        assert world.now_s - begin_s < 60.0
        world.look(0, after_s=0.1)
    return world.now_s - begin_s


@pytest.mark.parametrize(("away_s", "waits_s"), [(0.2, 0.8), (1.0, 2.0), (2.0, 3.5), (60.0, 4.0)])
def test_who_was_away_for_long_is_found_late(world: World, away_s: float, waits_s: float) -> None:
    world.look(0)
    assert not world.visitors.are_missing
    world.visitors.end()
    world.now_s += away_s
    assert awaited_s(world) == pytest.approx(waits_s, abs=0.11)
    assert awaited_s(world) == 0.0


def test_nobody_has_lost_a_node_that_is_new(world: World) -> None:
    assert awaited_s(world) == 0.0


def test_of_a_process_that_was_found_nobody_knows_how_long_it_was_away(world: World) -> None:
    world.visitors.adopt()
    assert awaited_s(world) == pytest.approx(4.0, abs=0.11)


def test_who_lets_nobody_in_is_still_away(world: World) -> None:
    world.visitors.end()
    world.now_s += 1.0
    world.visitors.look(msgspec.structs.replace(_ENGINE, is_held=True))
    assert not world.visitors.are_missing
    world.now_s += 1.0
    assert awaited_s(world) == pytest.approx(3.5, abs=0.11)
