"""Does each law of slots tell a wrong step from a right one?"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import msgspec
import pytest

from cachewright.model.commands import (
    CloseSlots,
    Command,
    ForgetNodes,
    HandOver,
    MoveSlots,
    ReleaseNodes,
    RemoveNode,
    Step,
    StopNode,
    node_key,
)
from cachewright.model.facts import Observed
from cachewright.model.groups import Group
from cachewright.model.moves import MoveMethod, Moves, Moving
from cachewright.model.slots import SlotRange, split_evenly
from cachewright.model.status import GroupState, GroupStatus, Resharding, ShardSlots
from cachewright.plan.plan import Plan
from cachewright.plan.slot_laws import slot_violations
from tests.property.plan.groups import make_group
from tests.unit.plan.plan_story import Story

GIVER, TAKER, THIRD = (f"demo-000{number}-001" for number in (1, 2, 3))
SOME = (SlotRange(0, 9),)


class Scene:
    """Three shards that serve, the last of which has left the spec and holds nothing."""

    def __init__(self) -> None:
        story = Story(make_group(shards=3, replicas=1, cluster_enabled=True))
        self.world = story.world
        self.world.tick()
        self.running: tuple[Moving, ...] = ()
        self.failed_closings = 0
        self.status = GroupStatus(state=GroupState.MODIFYING, observed_generation=2, nodes=())
        first, _, third = (self.world.engines[n] for n in (GIVER, TAKER, THIRD))
        first.slots, third.slots = (*first.slots, *third.slots), ()
        self.edit(shards=self.group.spec.shards[:2], resharding_generation=7)

    @property
    def group(self) -> Group:
        return self.world.group

    def edit(self, **changes: object) -> None:
        spec = dataclasses.replace(self.group.spec, **changes)  # type: ignore[arg-type]
        self.world.group = dataclasses.replace(self.group, spec=spec)

    def observe(self) -> Observed:
        moves = Moves(running=self.running, failed_closings=self.failed_closings)
        return msgspec.structs.replace(self.world.observe(), moves=moves)

    def key(self, node_id: str) -> str:
        return node_key(self.group.spec.uid, node_id)

    def move(self, giver: str = GIVER, taker: str = TAKER) -> MoveSlots:
        place = self.world.engines[taker].place
        return MoveSlots(
            key=self.key(giver),
            to_key=self.key(taker),
            to_engine_id=place.engine_id,
            to_address=place.address,
            to_port=place.port,
            slots=SOME,
            method=MoveMethod.ATOMIC,
            generation=7,
        )

    def close(self, owner: str = GIVER) -> CloseSlots:
        return CloseSlots(key=self.key(owner), slots=SOME, others=())

    def broken(self, *commands: tuple[str | None, Command]) -> list[str]:
        steps = tuple(Step(command=c, reason="x", node_id=n) for n, c in commands)
        plan = Plan(steps=steps, status=self.status, events=(), look_again_s=1.0)
        return [*slot_violations(self.group, self.observe(), plan)]


def test_a_move_between_two_that_serve_is_fine() -> None:
    scene = Scene()
    assert scene.broken((GIVER, scene.move())) == []


def dies(scene: Scene) -> MoveSlots:
    scene.world.kill(GIVER)
    return scene.move()


def owns_nothing(scene: Scene) -> MoveSlots:
    scene.world.engines[GIVER].slots = (SlotRange(5, 99),)
    return scene.move()


def is_open_elsewhere(scene: Scene) -> MoveSlots:
    scene.world.engines[GIVER].opened = {3: ("f" * 40, False)}
    return scene.move()


def is_no_primary(scene: Scene) -> MoveSlots:
    return scene.move(taker="demo-0002-002")


def is_of_the_same_shard(scene: Scene) -> MoveSlots:
    scene.world.engines["demo-0001-002"].role = scene.world.engines[GIVER].role
    return scene.move(taker="demo-0001-002")


def goes_to_who_leaves(scene: Scene) -> MoveSlots:
    shards = scene.group.spec.shards
    scene.edit(shards=(shards[0], dataclasses.replace(shards[1], is_leaving=True)))
    return scene.move()


def goes_to_who_has_left(scene: Scene) -> MoveSlots:
    return scene.move(taker=THIRD)


def goes_to_a_wrong_address(scene: Scene) -> MoveSlots:
    return msgspec.structs.replace(scene.move(), to_port=1)


def is_of_another_resharding(scene: Scene) -> MoveSlots:
    return msgspec.structs.replace(scene.move(), generation=6)


def runs_already(scene: Scene) -> MoveSlots:
    scene.running = (Moving(from_id=GIVER, to_id=TAKER, slots=(SlotRange(50, 60),)),)
    return scene.move()


def is_moved_by_another(scene: Scene) -> MoveSlots:
    scene.running = (Moving(from_id=THIRD, to_id=TAKER, slots=SOME),)
    return scene.move()


def goes_where_a_cut_move_does_not_end(scene: Scene) -> MoveSlots:
    scene.world.engines[TAKER].opened = {8_000: (scene.world.engines[GIVER].place.engine_id, True)}
    scene.failed_closings = 1
    return scene.move()


def somebody_does_not_serve(scene: Scene) -> MoveSlots:
    scene.world.kill(THIRD)
    return scene.move()


@pytest.mark.parametrize(
    ("set_up", "says"),
    [
        (dies, "is no primary that serves"),
        (owns_nothing, "does not own them"),
        (is_open_elsewhere, "open to somebody else"),
        (is_no_primary, "no other primary that serves"),
        (is_of_the_same_shard, "no other primary that serves"),
        (goes_to_who_leaves, "whose shard leaves"),
        (goes_to_who_has_left, "whose shard leaves"),
        (goes_to_a_wrong_address, "not where they are sent"),
        (is_of_another_resharding, "nobody has asked"),
        (runs_already, "another move of it runs"),
        (is_moved_by_another, "another move of it runs"),
        (goes_where_a_cut_move_does_not_end, "where a cut move does not end"),
        (somebody_does_not_serve, "shard 0003 does not serve"),
    ],
)
def test_a_move_is_wrong(set_up: Callable[[Scene], MoveSlots], says: str) -> None:
    scene = Scene()
    command = set_up(scene)
    assert any(says in broken for broken in scene.broken((GIVER, command)))


def test_who_moves_slots_is_left_alone() -> None:
    scene = Scene()
    scene.running = (Moving(from_id=GIVER, to_id=TAKER, slots=SOME),)
    place = scene.world.engines["demo-0002-002"].place
    handover = HandOver(
        key=scene.key(TAKER), to_key=scene.key(place.node_id), to_address=place.address,
        to_port=place.port, is_cluster=True, bind=(), to_bind=(),
    )  # fmt: skip
    assert "changes while slots are moved" in scene.broken((TAKER, handover))[0]
    stop = StopNode(key=scene.key(GIVER))
    assert "changes while slots are moved" in scene.broken((GIVER, stop))[0]


def test_slots_are_closed_by_their_owner_once_they_rest() -> None:
    scene = Scene()
    assert scene.broken((GIVER, scene.close())) == []
    assert "does not own" in scene.broken((TAKER, scene.close(TAKER)))[0]
    scene.running = (Moving(from_id=GIVER, to_id=TAKER, slots=SOME),)
    assert "closed while they are moved" in scene.broken((GIVER, scene.close()))[0]
    scene.running = ()
    scene.world.kill(GIVER)
    assert "no primary that serves" in scene.broken((GIVER, scene.close()))[0]


def test_a_shard_goes_only_when_it_holds_nothing() -> None:
    scene = Scene()
    stop = (THIRD, StopNode(key=scene.key(THIRD)))
    assert scene.broken(stop) == []
    scene.world.engines[THIRD].data = frozenset({1})
    assert "of its shard holds something" in scene.broken(stop)[0]
    scene.world.engines[THIRD].data = frozenset()
    scene.world.engines[THIRD].slots = (SlotRange(16_000, 16_000),)
    assert any("knows of slots of its shard" in broken for broken in scene.broken(stop))
    remove = ("demo-0003-002", RemoveNode(key=scene.key("demo-0003-002")))
    assert scene.broken(remove)


def test_nobody_is_forgotten_who_may_come_back() -> None:
    scene = Scene()
    third, second = (scene.world.engines[n].place.engine_id for n in (THIRD, TAKER))
    forget = ForgetNodes(key=scene.key(GIVER), engine_ids=(third,))
    assert "may live" in scene.broken((GIVER, forget))[0]
    scene.world.kill(THIRD)
    assert scene.broken((GIVER, forget)) == []
    scene.world.kill(TAKER)
    forget = ForgetNodes(key=scene.key(GIVER), engine_ids=(second,))
    assert "is asked for" in scene.broken((GIVER, forget))[0]


def test_nobody_is_released_who_is_known() -> None:
    scene = Scene()
    release = (None, ReleaseNodes(node_ids=(THIRD,)))
    assert "knows of them" in scene.broken(release)[0]
    gone = scene.world.engines[THIRD].place.engine_id
    for engine in scene.world.engines.values():
        engine.known -= {gone}
    assert scene.broken(release) == []


def test_nothing_is_over_before_it_is() -> None:
    scene = Scene()
    scene.status = dataclasses.replace(scene.status, state=GroupState.AVAILABLE)
    assert "slots were asked to be spread" in scene.broken()[0]
    over = Resharding(generation=7, is_over=True)
    scene.status = dataclasses.replace(scene.status, resharding=over)
    assert scene.broken() == []
    older = Resharding(generation=6, is_over=True)
    scene.status = dataclasses.replace(scene.status, resharding=older)
    assert "slots were asked to be spread" in scene.broken()[0]


def test_each_slot_is_written_down_once() -> None:
    scene = Scene()
    one, two = split_evenly(2)
    target = (ShardSlots(shard_id="0001", slots=one), ShardSlots(shard_id="0002", slots=two))
    resharding = Resharding(generation=7, target=target)
    scene.status = dataclasses.replace(scene.status, owned=target, resharding=resharding)
    assert scene.broken() == []
    twice = (target[0], ShardSlots(shard_id="0002", slots=(SlotRange(0, 0), *two)))
    scene.status = dataclasses.replace(scene.status, owned=twice)
    assert "written down for two shards" in scene.broken()[0]
    resharding = dataclasses.replace(resharding, target=target[:1], progress_percent=101.0)
    scene.status = dataclasses.replace(scene.status, owned=(), resharding=resharding)
    assert "some have no owner" in scene.broken()[0]
    assert "101.0 percent" in scene.broken()[1]
