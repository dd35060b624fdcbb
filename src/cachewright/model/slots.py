"""What is a slot range, and how are the 16384 slots written and split?

Text form as the API shows it: comma-separated inclusive ranges, `0-1000,8192-9000`.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

SLOT_COUNT = 16_384


@dataclass(frozen=True, slots=True, order=True)
class SlotRange:
    """Slots `first` to `last`, both included."""

    first: int
    last: int

    def __post_init__(self) -> None:
        if not 0 <= self.first <= self.last < SLOT_COUNT:
            raise ValueError(f"no slot range: {self.first}-{self.last}")

    def __len__(self) -> int:
        return self.last - self.first + 1

    def __str__(self) -> str:
        return f"{self.first}-{self.last}"


SlotRanges = tuple[SlotRange, ...]


def split_evenly(shards: int) -> tuple[SlotRanges, ...]:
    """Split all slots into `shards` contiguous parts whose sizes differ by at most one."""
    bounds = [index * SLOT_COUNT // shards for index in range(shards + 1)]
    return tuple((SlotRange(first, after - 1),) for first, after in itertools.pairwise(bounds))


def parse_ranges(text: str) -> SlotRanges:
    """Parse `0-1000,8192-9000`; raise `ValueError` for anything else, also for overlaps."""
    ranges: list[SlotRange] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not (first.isascii() and first.isdigit() and len(first) <= len(str(SLOT_COUNT))):
            raise ValueError(f"no slot range: {part!r}")
        if dash and not (last.isascii() and last.isdigit() and len(last) <= len(str(SLOT_COUNT))):
            raise ValueError(f"no slot range: {part!r}")
        ranges.append(SlotRange(int(first), int(last if dash else first)))
    ordered = tuple(sorted(ranges))
    if any(left.last >= right.first for left, right in itertools.pairwise(ordered)):
        raise ValueError(f"slot ranges overlap: {text!r}")
    return ordered


def render_ranges(ranges: Iterable[SlotRange]) -> str:
    """Write ranges as the API shows them."""
    return ",".join(str(part) for part in ranges)


def merge(ranges: Iterable[SlotRange]) -> SlotRanges:
    """Sort ranges and join the ones that touch; raise `ValueError` where two overlap."""
    merged: list[SlotRange] = []
    for part in sorted(ranges):
        if merged and part.first <= merged[-1].last:
            raise ValueError(f"slot ranges overlap: {merged[-1]} and {part}")
        if merged and part.first == merged[-1].last + 1:
            merged[-1] = SlotRange(merged[-1].first, part.last)
        else:
            merged.append(part)
    return tuple(merged)


def numbers_of(ranges: Iterable[SlotRange]) -> Iterator[int]:
    """Yield every slot of some ranges."""
    return itertools.chain.from_iterable(range(part.first, part.last + 1) for part in ranges)


def ranges_of(numbers: Iterable[int]) -> SlotRanges:
    """Return slots, which must ascend, as ranges."""
    ranges: list[SlotRange] = []
    for _, run in itertools.groupby(enumerate(numbers), lambda pair: pair[1] - pair[0]):
        found = [number for _, number in run]
        ranges.append(SlotRange(found[0], found[-1]))
    return tuple(ranges)


def covers_all(ranges: Iterable[SlotRange]) -> bool:
    """Tell whether every slot is in exactly one of `ranges`."""
    try:
        return merge(ranges) == (SlotRange(0, SLOT_COUNT - 1),)
    except ValueError:
        return False
