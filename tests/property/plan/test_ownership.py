"""Who owns which slot, whoever is silent: what the engines say counts, then what they left."""

from __future__ import annotations

import dataclasses

from hypothesis import given, settings
from hypothesis import strategies as st

from cachewright.model.commands import MoveSlots, node_key
from cachewright.model.moves import MoveMethod
from cachewright.model.slots import SLOT_COUNT, SlotRange, SlotRanges
from cachewright.model.status import GroupStatus, Resharding, Role, ShardSlots
from cachewright.plan.ownership import Ownership, ownership
from tests.property.plan.groups import make_group
from tests.property.plan.slot_world import set_of
from tests.property.plan.world import World
from tests.unit.plan.plan_story import Story

#: More looks than a move takes.
_TICKS = 10


class Shards:
    """A cluster that serves, with what was written down of it."""

    def __init__(self, shards: int = 3, replicas: int = 1) -> None:
        story = Story(make_group(shards=shards, replicas=replicas, cluster_enabled=True))
        self.world: World = story.world
        assert story.status is not None
        self.status: GroupStatus = story.status
        self.world.tick()
        self.write_down()

    def look(self) -> Ownership:
        assert self.world.group.placement is not None
        return ownership(
            self.world.group, self.world.group.placement, self.world.observe(), self.status
        )

    def write_down(self) -> None:
        self.status = dataclasses.replace(self.status, owned=self.look().owned)

    def primary(self, number: int) -> str:
        return next(
            n
            for n, e in self.world.engines.items()
            if e.place.shard_id == f"{number:04d}" and e.serves_writes()
        )

    def begin_move(self, giver: int, taker: int, slots: SlotRanges, method: MoveMethod) -> None:
        uid = self.world.group.spec.uid
        place = self.world.engines[self.primary(taker)].place
        self.world.execute(
            MoveSlots(
                key=node_key(uid, self.primary(giver)),
                to_key=node_key(uid, place.node_id),
                to_engine_id=place.engine_id,
                to_address=place.address,
                to_port=place.port,
                slots=slots,
                method=method,
            )
        )

    def move(self, giver: int, taker: int, slots: SlotRanges) -> None:
        self.begin_move(giver, taker, slots, MoveMethod.ATOMIC)
        for _ in range(_TICKS):
            self.world.tick()


def truth(world: World) -> dict[str, frozenset[int]]:
    return {e.place.shard_id: set_of(e.slots) for e in world.engines.values() if e.slots}


def said(found: Ownership) -> dict[str, frozenset[int]]:
    return {owned.shard_id: set_of(owned.slots) for owned in found.owned if owned.slots}


def test_primaries_that_answer_are_believed() -> None:
    shards = Shards()
    found = shards.look()
    assert said(found) == truth(shards.world)
    assert found.is_agreed
    assert (found.unowned, found.disputed, found.open_slots) == ((), (), ())


@given(
    moves=st.lists(
        st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(0, SLOT_COUNT - 1)), max_size=6
    ),
    written=st.integers(0, 6),
    dead=st.sets(st.integers(0, 5)),
    silent=st.sets(st.integers(0, 5)),
)
@settings(deadline=None, max_examples=25)
def test_nothing_is_given_to_two_and_nothing_is_forgotten(
    moves: list[tuple[int, int, int]], written: int, dead: set[int], silent: set[int]
) -> None:
    """After any moves, whatever of it was written down, whoever has ended or says nothing.

    What somebody who answers does not own is exactly what the others do.
    """
    shards = Shards()
    for number, (giver, taker, first) in enumerate(moves):
        if number == written:
            shards.write_down()
        own = truth(shards.world).get(f"{giver:04d}", frozenset())
        wanted = tuple(SlotRange(s, s) for s in range(first, min(first + 50, SLOT_COUNT)))
        wanted = tuple(part for part in wanted if part.first in own)
        if giver != taker and wanted:
            shards.move(giver, taker, wanted)
    target = tuple(
        ShardSlots(shard_id=engine.place.shard_id, slots=engine.slots)
        for engine in shards.world.engines.values()
        if engine.serves_writes()
    )
    resharding = Resharding(generation=1, target=target)
    shards.status = dataclasses.replace(shards.status, resharding=resharding)
    names = sorted(shards.world.engines)
    for number in dead:
        shards.world.kill(names[number])
    for number in silent:
        shards.world.engines[names[number]].is_silent = True
    found = shards.look()
    assert sum(len(slots) for slots in said(found).values()) == SLOT_COUNT
    for engine in shards.world.engines.values():
        if engine.serves_writes() and not engine.is_silent:
            own = said(found).get(engine.place.shard_id, frozenset())
            assert own == set_of(engine.slots)
    if not silent:
        assert said(found) == truth(shards.world)


def test_who_has_ended_is_believed_by_its_last_word() -> None:
    shards = Shards(replicas=0)
    shards.move(1, 2, (SlotRange(0, 99),))
    for name in list(shards.world.engines):
        shards.world.kill(name)
    found = shards.look()
    assert set_of(found.of("0002")) >= set(range(100))
    assert said(found) == truth(shards.world)
    assert not found.is_agreed


def test_a_slot_that_somebody_took_and_left_no_word_of_is_its_own() -> None:
    shards = Shards(replicas=0)
    shards.move(1, 2, (SlotRange(0, 99),))
    target = (ShardSlots(shard_id="0002", slots=(SlotRange(0, 99),)),)
    for silent in ("0002",), ("0002", "0003"):
        resharding = Resharding(generation=1, target=target)
        shards.status = dataclasses.replace(shards.status, resharding=resharding)
        for engine in shards.world.engines.values():
            if engine.place.shard_id in silent:
                engine.is_silent = True
        assert set_of(shards.look().of("0002")) >= set(range(100))


def test_open_slots_are_told_by_who_owns_them() -> None:
    shards = Shards()
    shards.begin_move(2, 1, (SlotRange(6_000, 6_010),), MoveMethod.COPY)
    shards.world.tick()
    found = shards.look()
    assert found.open_slots == (ShardSlots(shard_id="0002", slots=(SlotRange(6_000, 6_000),)),)
    assert not found.empty_ids


def test_a_shard_is_empty_only_if_all_say_so_and_it_holds_no_key() -> None:
    shards = Shards()
    shards.world.write_to_slots(1)
    shards.move(3, 1, shards.world.engines[shards.primary(3)].slots)
    assert shards.look().empty_ids == {"0003"}
    emptied = shards.world.engines[shards.primary(3)]
    emptied.data = frozenset({1})
    assert not shards.look().empty_ids
    emptied.data = frozenset()
    shards.world.engines[shards.primary(2)].is_silent = True
    assert not shards.look().empty_ids


def test_what_two_claim_is_told() -> None:
    shards = Shards()
    engine = shards.world.engines[shards.primary(2)]
    engine.slots = (SlotRange(5, 7), *engine.slots)
    found = shards.look()
    assert found.disputed == (SlotRange(5, 7),)
    assert set_of(found.of("0001")) >= {5, 6, 7}
    assert not found.is_agreed


def test_what_nobody_claims_while_all_answer_is_told() -> None:
    shards = Shards()
    engine = shards.world.engines[shards.primary(1)]
    engine.slots = (SlotRange(10, engine.slots[0].last),)
    found = shards.look()
    assert found.unowned == (SlotRange(0, 9),)
    assert not found.is_agreed


def test_who_got_a_slot_knows_more_than_who_had_it() -> None:
    """Both have ended, and the one that gave had not heard yet that it had given."""
    shards = Shards(replicas=0)
    giver = shards.world.engines[shards.primary(1)]
    before = giver.slots
    shards.move(1, 2, (SlotRange(0, 99),))
    for name in list(shards.world.engines):
        shards.world.kill(name)
    giver.last_slots = before
    found = shards.look()
    assert set_of(found.of("0002")) >= set(range(100))
    assert not set_of(found.of("0001")) & set(range(100))


def test_the_last_word_is_that_of_the_last_primary() -> None:
    """A node that was the primary long ago has left a word as well."""
    shards = Shards()
    for engine in shards.world.engines.values():
        shards.world.kill(engine.place.node_id)
    old, last = (shards.world.engines[f"demo-0002-00{number}"] for number in (1, 2))
    last.last_slots, old.last_slots = old.last_slots, (SlotRange(0, 9_000),)
    roles = {old.place.node_id: Role.REPLICA, last.place.node_id: Role.PRIMARY}
    nodes = tuple(
        dataclasses.replace(node, role=roles.get(node.node_id, node.role))
        for node in shards.status.nodes
    )
    shards.status = dataclasses.replace(shards.status, nodes=nodes)
    assert last.last_slots is not None
    assert set_of(shards.look().of("0002")) == set_of(last.last_slots)
