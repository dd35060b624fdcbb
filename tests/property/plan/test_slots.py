"""From wherever slots are, moves bring them where they shall be, through legal states only."""

from __future__ import annotations

import collections
import random
import time

from hypothesis import given, settings
from hypothesis import strategies as st

from cachewright.model.facts import SlotWeights
from cachewright.model.slots import SLOT_COUNT, SlotRange, ranges_of, split_evenly
from cachewright.model.status import Resharding, ShardSlots
from cachewright.plan.slots import (
    Holder,
    ShardMove,
    next_moves,
    progress_percent,
    slots_left,
)
from cachewright.plan.spreading import spread

#: More rounds than any of these takes.
_ROUNDS_MAX = 1_000


def shards_of(owners: list[int], shards: int) -> tuple[ShardSlots, ...]:
    return tuple(
        ShardSlots(
            shard_id=f"{number:04d}",
            slots=ranges_of(slot for slot, owner in enumerate(owners) if owner == number),
        )
        for number in range(shards)
    )


def slots_of(move: ShardMove) -> list[int]:
    return [slot for part in move.slots for slot in range(part.first, part.last + 1)]


@st.composite
def owners(draw: st.DrawFn, shards: int) -> list[int]:
    """Draw who owns each slot, in a few ranges."""
    cuts = sorted(draw(st.lists(st.integers(0, SLOT_COUNT - 1), max_size=20)))
    found: list[int] = []
    for first, after in zip([0, *cuts], [*cuts, SLOT_COUNT], strict=True):
        found += [draw(st.integers(0, shards - 1))] * (after - first)
    return found


@st.composite
def states(draw: st.DrawFn) -> tuple[int, list[int], list[int], list[int]]:
    """Draw a number of shards, who owns what, who shall, and what slots hold."""
    shards = draw(st.integers(2, 6))
    seed = random.Random(draw(st.integers(0, 2**32)))  # noqa: S311 the same example again
    largest = draw(st.sampled_from([0, 1, 1_000, 100_000]))
    sizes = [seed.randint(0, largest) for _ in range(SLOT_COUNT)]
    return shards, draw(owners(shards)), draw(owners(shards)), sizes


def weigh(shards: int, sizes: list[int]) -> dict[str, SlotWeights]:
    """Return weights of every slot for each shard: only what one owns counts."""
    by_slot = tuple((slot, size) for slot, size in enumerate(sizes) if size)
    return dict.fromkeys(
        (f"{number:04d}" for number in range(shards)), SlotWeights(generation=1, by_slot=by_slot)
    )


@given(
    state=states(),
    batch_bytes=st.sampled_from([1, 100_000, 1 << 40]),
    bounds=st.tuples(st.sampled_from([2_000, SLOT_COUNT]), st.sampled_from([None, 500, 50_000])),
    takes=st.integers(1, 3),
    seed=st.integers(0, 2**32),
)
@settings(deadline=None, max_examples=20)
def test_moves_lead_to_the_target_whatever_ends_them(
    state: tuple[int, list[int], list[int], list[int]],
    batch_bytes: int,
    bounds: tuple[int, int | None],
    takes: int,
    seed: int,
) -> None:
    """Moves end in any order, half done or not at all, and slots go where nobody has sent them."""
    shards, owned, wanted, sizes = state
    batch_slots, large_bytes = bounds
    stray = random.Random(seed)  # noqa: S311 the same example again
    batch_bytes = max(batch_bytes, sum(sizes) // 20)
    target, weights = shards_of(wanted, shards), weigh(shards, sizes)
    running: list[ShardMove] = []
    strays = 3
    for _ in range(_ROUNDS_MAX):
        now = shards_of(owned, shards)
        moves = next_moves(
            now,
            target,
            weights=weights,
            running=running,
            batch_bytes=batch_bytes,
            moves_per_taker=takes,
            batch_slots=batch_slots,
            large_bytes=large_bytes,
        )
        if not moves and not running:
            break
        for move in moves:
            number, to = int(move.from_id), int(move.to_id)
            slots = slots_of(move)
            assert slots
            assert all(owned[slot] == number and wanted[slot] == to for slot in slots)
            held = sum(sizes[slot] for slot in slots)
            if large_bytes is not None and max(sizes[slot] for slot in slots) > large_bytes:
                leaving = (s for s, to in enumerate(wanted) if owned[s] == number != to)
                assert all(sizes[slot] > large_bytes for slot in leaving), "a small one is left"
            assert len(slots) == 1 or (held <= batch_bytes and len(slots) <= batch_slots)
        running += moves
        givers = collections.Counter(move.from_id for move in running)
        takers = collections.Counter(move.to_id for move in running)
        assert max(givers.values()) == 1
        assert max(takers.values()) <= takes
        ended = running.pop(stray.randrange(len(running)))
        part = slots_of(ended)
        for slot in part[: len(part) if stray.random() < 0.7 else stray.randrange(len(part) + 1)]:
            owned[slot] = int(ended.to_id)
        if strays and stray.random() < 0.1:
            strays -= 1
            slot = stray.randrange(SLOT_COUNT)
            if all(slot not in slots_of(move) for move in running):
                owned[slot] = stray.randrange(shards)
    assert owned == wanted
    assert slots_left(shards_of(owned, shards), target) == 0


@given(state=states(), knows=st.booleans(), seed=st.integers(0, 2**32))
@settings(deadline=None, max_examples=20)
def test_progress_never_falls_and_ends_at_all(
    state: tuple[int, list[int], list[int], list[int]], knows: bool, seed: int
) -> None:
    shards, owned, wanted, sizes = state
    different = [slot for slot in range(SLOT_COUNT) if owned[slot] != wanted[slot]]
    resharding = Resharding(
        generation=1,
        target=shards_of(wanted, shards),
        slots_to_move=len(different),
        bytes_to_move=sum(sizes[slot] for slot in different),
    )
    random.Random(seed).shuffle(different)  # noqa: S311 the same example again
    said = 0.0
    while True:
        now = shards_of(owned, shards)
        weights = weigh(shards, sizes) if knows else {}
        found = progress_percent(resharding, now, weights)
        assert said <= found <= 100.0
        assert (found == 100.0) == (not different)
        said = found
        resharding = Resharding(
            generation=1,
            target=resharding.target,
            slots_to_move=resharding.slots_to_move,
            bytes_to_move=resharding.bytes_to_move,
            progress_percent=found,
        )
        if not different:
            return
        for _ in range(max(1, len(different) // 4)):
            slot = different.pop()
            owned[slot] = wanted[slot]


def test_progress_is_by_bytes_where_they_are_known() -> None:
    first, second = split_evenly(2)
    owned = (ShardSlots(shard_id="1", slots=(*first, *second)), ShardSlots(shard_id="2", slots=()))
    target = (ShardSlots(shard_id="1", slots=first), ShardSlots(shard_id="2", slots=second))
    resharding = Resharding(generation=1, target=target, slots_to_move=8_192, bytes_to_move=1_000)
    weights = {"1": SlotWeights(generation=1, by_slot=((8_192, 750), (16_000, 250)))}
    assert progress_percent(resharding, owned, weights) == 0.0
    done = (
        ShardSlots(shard_id="1", slots=(*first, SlotRange(8_193, SLOT_COUNT - 1))),
        ShardSlots(shard_id="2", slots=(SlotRange(8_192, 8_192),)),
    )
    assert progress_percent(resharding, done, weights) == 75.0
    assert progress_percent(resharding, done, {}) < 1.0


def test_the_pair_with_most_to_move_comes_first() -> None:
    owned = (
        ShardSlots(shard_id="1", slots=(SlotRange(0, 9),)),
        ShardSlots(shard_id="2", slots=(SlotRange(10, 19),)),
        ShardSlots(shard_id="3", slots=()),
    )
    target = (
        *(ShardSlots(shard_id=s, slots=()) for s in "12"),
        ShardSlots(shard_id="3", slots=(SlotRange(0, 19),)),
    )
    weights = {"2": SlotWeights(generation=1, by_slot=((11, 5),))}
    moves = next_moves(
        owned, target, weights=weights, running=(), batch_bytes=100, moves_per_taker=1
    )
    assert moves == (ShardMove(from_id="2", to_id="3", slots=(SlotRange(10, 19),)),)


def test_a_big_cluster_is_planned_in_milliseconds() -> None:
    """Five hundred shards: both answers are there before anybody would notice."""
    holders = [
        Holder(shard_id=f"{number:04d}", slots=slots)
        for number, slots in enumerate([*split_evenly(499), ()], 1)
    ]
    took_s = []
    for _ in range(3):  # of which the garbage of other tests may be collected in one
        began_s = time.process_time()
        found = spread(holders)
        owned = tuple(ShardSlots(shard_id=h.shard_id, slots=h.slots) for h in holders)
        moves = next_moves(
            owned, found.target, weights={}, running=(), batch_bytes=1 << 20, moves_per_taker=4
        )
        took_s.append(time.process_time() - began_s)
        assert found.slots_to_move in {31, 32, 33}
        assert len(moves) == 4
    assert min(took_s) < 0.5  # some 20 ms on a machine at rest
