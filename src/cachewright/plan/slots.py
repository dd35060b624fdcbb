"""Which slots move next, and how much is done? From what is owned now and what was decided.

It compares the two and knows nothing of what was moved before: from whatever state things are in,
also one that nobody has planned, the moves lead to what was decided, and any prefix of them is a
legal state. What was decided comes from `spreading`.
"""

from __future__ import annotations

import bisect
import collections
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from cachewright.model.facts import SlotWeights
from cachewright.model.slots import SLOT_COUNT, SlotRange, SlotRanges, merge, numbers_of
from cachewright.model.status import Resharding, ShardSlots

#: Until everything is done, less than this is said to be.
_NOT_YET_PERCENT = 99.9
#: A move that failed got on if this share of its slots has moved. Where little is held, a shard
#: that is full still takes what is empty, a few slots each time: less would go on for very long.
#: With half, 14 failures at most get on with the 16,384 slots that one move may hold.
_GETS_ON_SHARE = 0.5


@dataclass(frozen=True, kw_only=True, slots=True)
class Holder:
    """One shard, as far as its slots are concerned."""

    shard_id: str
    slots: SlotRanges
    #: All that can be moved off it shall be.
    is_leaving: bool = False
    #: `None`: nobody has weighed it, and its slots count like the average of the others.
    weights: SlotWeights | None = None
    #: What it can still take; `None`: nobody knows, and it counts as enough.
    headroom_bytes: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class ShardMove:
    """Slots on their way from one shard to another, or about to be."""

    from_id: str
    to_id: str
    slots: SlotRanges


def next_moves(
    owned: Sequence[ShardSlots],
    target: Sequence[ShardSlots],
    *,
    weights: Mapping[str, SlotWeights],
    running: Sequence[ShardMove],
    batch_bytes: int,
    moves_per_taker: int,
    batch_slots: int = SLOT_COUNT,
    large_bytes: int | None = None,
) -> tuple[ShardMove, ...]:
    """Return the moves to begin now, beside those that run; empty when nothing is to be done.

    One at most for each shard that gives, `moves_per_taker` for each that takes; the pair with the
    most to move comes first. A move holds `batch_bytes` and `batch_slots` at most, or one slot.
    Slots of more than `large_bytes` are the last that a shard gives: clients may fail while they
    move, unless they know who takes, and they hear of that when they ask for what has moved.
    `weights`: by shards, of those that were weighed; slots of the others count nothing.
    """
    giving = {move.from_id for move in running}
    taking = collections.Counter(move.to_id for move in running)
    sums = _sums_of(owned, weights)
    left: dict[tuple[str, str], list[SlotRange]] = {}
    late: dict[tuple[str, str], list[SlotRange]] = {}
    for part, from_id, to_id in _differences(owned, target):
        if from_id not in giving:
            for piece, is_large in _pieces(part, sums, large_bytes):
                (late if is_large else left).setdefault((from_id, to_id), []).append(piece)
    early = {from_id for from_id, _ in left}
    left |= {pair: parts for pair, parts in late.items() if pair[0] not in early}
    sizes = {pair: sum(_size(part, sums) for part in parts) for pair, parts in left.items()}
    counts = {pair: sum(map(len, parts)) for pair, parts in left.items()}
    moves: list[ShardMove] = []
    for pair in sorted(left, key=lambda pair: (-sizes[pair], -counts[pair], pair)):
        from_id, to_id = pair
        if from_id in giving or taking[to_id] >= moves_per_taker:
            continue
        giving.add(from_id)
        taking[to_id] += 1
        slots = _batch(left[pair], sums, batch_bytes, batch_slots)
        moves.append(ShardMove(from_id=from_id, to_id=to_id, slots=slots))
    return tuple(moves)


def slots_left(owned: Sequence[ShardSlots], target: Sequence[ShardSlots]) -> int:
    """Return how many slots are not yet where they shall be."""
    return sum(len(part) for part, _, _ in _differences(owned, target))


def progress_percent(
    resharding: Resharding, owned: Sequence[ShardSlots], weights: Mapping[str, SlotWeights]
) -> float:
    """Return how much of a resharding is done, by bytes as far as these are known; never less.

    Slots of a shard that nobody has weighed count like the average of all that were to move.
    """
    if not resharding.target:
        return resharding.progress_percent
    parts = [(part, from_id) for part, from_id, _ in _differences(owned, resharding.target)]
    if not parts:
        return 100.0
    sums, rest = _sums_of(owned, weights), 0.0
    for part, from_id in parts:
        if resharding.bytes_to_move and from_id in weights:
            rest += _size(part, sums) / resharding.bytes_to_move
        else:
            rest += len(part) / max(resharding.slots_to_move, 1)
    return max(min(100.0 * (1.0 - rest), _NOT_YET_PERCENT), resharding.progress_percent)


def gets_on(slots: SlotRanges, kept: SlotRanges | None, taken: SlotRanges | None) -> bool:
    """Tell whether a move that failed is no reason to give up.

    It may be if both primaries are there and it has hardly moved anything. Where one of both has
    ended, whatever has moved is enough: that passes.

    Args:
        slots: What was to move.
        kept: What the one that gives owns afterwards, `None` where it serves no more.
        taken: The same of the one that takes.
    """
    ordered = {*numbers_of(slots)}
    left = ordered if kept is None else ordered.intersection(numbers_of(kept))
    arrived = ordered.intersection(numbers_of(taken or ()))
    moved = max(len(ordered) - len(left), len(arrived))
    if kept is None or taken is None:
        return moved > 0
    return moved >= _GETS_ON_SHARE * len(ordered)


def _pieces(
    part: SlotRange, sums: Sequence[int], large_bytes: int | None
) -> Iterator[tuple[SlotRange, bool]]:
    """Cut a range into slots that are large and slots that are not."""
    if large_bytes is None:
        yield part, False
        return
    sized = ((slot, sums[slot + 1] - sums[slot] > large_bytes) for slot in numbers_of((part,)))
    for is_large, run in itertools.groupby(sized, key=lambda one: one[1]):
        slots = [slot for slot, _ in run]
        yield SlotRange(slots[0], slots[-1]), is_large


def _batch(
    parts: Sequence[SlotRange], sums: Sequence[int], batch_bytes: int, batch_slots: int
) -> SlotRanges:
    """Return the first slots that are not too many and hold not too much, one at least."""
    chosen: list[SlotRange] = []
    for part in parts:
        limit = sums[part.first] + batch_bytes
        after = min(bisect.bisect_right(sums, limit, part.first, part.last + 2) - 1, part.last + 1)
        after = min(after, part.first + batch_slots)
        if after == part.first and not chosen:
            after += 1
        if after > part.first:
            chosen.append(SlotRange(part.first, after - 1))
        if after <= part.last:
            break
        batch_bytes -= _size(part, sums)
        batch_slots -= len(part)
    return merge(chosen)


def _differences(
    owned: Sequence[ShardSlots], target: Sequence[ShardSlots]
) -> Iterator[tuple[SlotRange, str, str]]:
    """Yield each range whose owner is not the wanted one, with both, in the order of slots."""
    wanted = _flat(target)
    position = 0
    for part, from_id in _flat(owned):
        while position < len(wanted) and wanted[position][0].last < part.first:
            position += 1
        for other, to_id in itertools.islice(wanted, position, None):
            if other.first > part.last:
                break
            if to_id != from_id:
                first, last = max(part.first, other.first), min(part.last, other.last)
                yield SlotRange(first, last), from_id, to_id


def _flat(shards: Sequence[ShardSlots]) -> list[tuple[SlotRange, str]]:
    return sorted((part, shard.shard_id) for shard in shards for part in shard.slots)


def _sums_of(owned: Sequence[ShardSlots], weights: Mapping[str, SlotWeights]) -> list[int]:
    """Return the bytes of all slots before each: what a range holds is one subtraction."""
    sizes = [0] * SLOT_COUNT
    parts = {shard.shard_id: shard.slots for shard in owned}
    for shard_id, weighed in weights.items():
        own = frozenset(numbers_of(parts.get(shard_id, ())))
        for slot, size in weighed.by_slot:
            if slot in own:
                sizes[slot] = size
    return [0, *itertools.accumulate(sizes)]


def _size(part: SlotRange, sums: Sequence[int]) -> int:
    return sums[part.last + 1] - sums[part.first]
