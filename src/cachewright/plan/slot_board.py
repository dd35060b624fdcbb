"""How are the slots dealt out? The table that they lie on while that goes on.

`spreading` says by which rules; these are the hands. Nobody else sees it.
"""

from __future__ import annotations

import bisect
import itertools
import math
from collections.abc import Iterable, Iterator, Sequence

from cachewright.model.facts import SlotWeights
from cachewright.model.slots import SLOT_COUNT, SlotRange, numbers_of
from cachewright.model.status import ShardSlots
from cachewright.plan.slots import Holder

#: A shard that is so near to the mean is left alone: what `valkey-cli --cluster rebalance` lets
#: pass too. Weights are estimates from samples, and what they weigh goes on changing.
TOLERANCE = 0.02
#: An average slot counts this many times as much as a slot by itself: what is empty is spread, and
#: what is not is hardly outweighed.
_OWN_WEIGHTS = 64
#: A slot weighs as much as these bytes by itself: where little is held, ranges that stay whole are
#: worth more than bytes that are even, since every node and client keeps a list of them.
SLOT_BYTES = 4_096
#: What comes takes more room than was weighed: samples are wrong by some 10 %, tables of keys grow
#: in doublings, and clients go on writing. ElastiCache advises 1.5, and goes on with less.
FIT_MARGIN = 1.25
#: Slots that weigh more than this share of the mean find their places before all others.
_BIG_SHARE = 0.125
#: Slots are dealt out whole: a shard may be off the mean by so many of usual weight.
_LUMPS = 2.0
#: A slot that weighs more than what is left to give is no reason to look further, if what is left
#: is less than this share of the mean.
_NEARLY = 0.005
#: What is left over is evened out slot by slot: at most so many for each shard.
_EVENED_MAX = 4


class Board:
    """The slots on the table while they are dealt out. Shards are numbers here."""

    def __init__(self, holders: Sequence[Holder]) -> None:
        self.holders = holders
        self.staying = [n for n, holder in enumerate(holders) if not holder.is_leaving]
        #: By slot; -1 where nobody is known to own it.
        self.owners = [-1] * SLOT_COUNT
        self.bytes = [0] * SLOT_COUNT
        self._slots = [[*numbers_of(holder.slots)] for holder in holders]
        for number, holder in enumerate(holders):
            for part in holder.slots:
                self.owners[part.first : part.last + 1] = [number] * len(part)
        self.before = list(self.owners)
        self._weigh()
        weigh = self._weights.__getitem__
        self._loads = [sum(map(weigh, slots)) for slots in self._slots]
        #: What each could give, in the order of the slots.
        self._movable = [_without(s, h.weights) for s, h in zip(self._slots, holders, strict=True)]
        self._fixed = [
            load - sum(map(weigh, slots))
            for load, slots in zip(self._loads, self._movable, strict=True)
        ]
        self._rooms = [
            math.inf if h.headroom_bytes is None else h.headroom_bytes / FIT_MARGIN for h in holders
        ]
        self._level = 0.0
        #: What each taker still lacks.
        self._deficits: dict[int, float] = {}
        #: Takers in their order, as long as they lack something.
        self._order: list[int] = []
        #: Who stays and gives: it takes nothing.
        self._givers: set[int] = set()
        self.lacks_room = False

    def _weigh(self) -> None:
        known = 0
        for number, holder in enumerate(self.holders):
            if holder.weights is not None:
                known += len(self._slots[number])
                for slot, size in holder.weights.by_slot:
                    if self.owners[slot] == number:
                        self.bytes[slot] = size
        average = sum(self.bytes) // known if known else 0
        for number, holder in enumerate(self.holders):
            if holder.weights is None and average:
                for slot in self._slots[number]:
                    self.bytes[slot] = average
        #: What an empty slot weighs.
        self._least = max(_OWN_WEIGHTS * SLOT_BYTES, sum(self.bytes) // SLOT_COUNT)
        self._weights = [_OWN_WEIGHTS * size + self._least for size in self.bytes]

    def moved(self) -> list[int]:
        """Return the slots that have changed hands."""
        return [s for s, (a, b) in enumerate(zip(self.before, self.owners, strict=True)) if a != b]

    def leaving_bytes(self) -> int:
        """Return what shards that leave have to give."""
        leaving = (n for n, holder in enumerate(self.holders) if holder.is_leaving)
        return sum(self.bytes[slot] for n in leaving for slot in self._movable[n])

    def target(self) -> tuple[ShardSlots, ...]:
        """Return who owns what now."""
        ranges: list[list[SlotRange]] = [[] for _ in self.holders]
        first = 0
        for owner, run in itertools.groupby(self.owners):
            after = first + sum(1 for _ in run)
            if owner >= 0:
                ranges[owner].append(SlotRange(first, after - 1))
            first = after
        return tuple(
            ShardSlots(shard_id=holder.shard_id, slots=tuple(found))
            for holder, found in zip(self.holders, ranges, strict=True)
        )

    def deal(self) -> None:
        """Give every shard that stays its share, and nobody else anything."""
        pinned = self._find_level()
        surpluses = self._find_roles(pinned)
        leaving = [n for n, h in enumerate(self.holders) if h.is_leaving and self._movable[n]]
        before = list(self._loads)
        self._place_big(leaving)
        owing, lump = 0.0, self._lump()
        for giver in sorted([*leaving, *surpluses], key=lambda n: self._movable[n][0]):
            if giver in surpluses:
                load, surplus = self._loads[giver], surpluses[giver] + owing
                for run in self._runs(self._choose(giver, surplus)):
                    self._give(run, is_leaving=False)
                # What one gives too much or too little by whole slots, the next one makes good.
                owing = min(max(surplus + self._loads[giver] - load, -lump), lump)
            else:
                for run in self._runs(self._movable[giver]):
                    self._give(run, is_leaving=True)
        self._even_out(pinned)
        if not leaving and self._span(self._loads) >= self._span(before):
            self.owners = list(self.before)

    # Who gives and who takes

    def _find_level(self) -> frozenset[int]:
        """Find what each shall have; return the shards that must have more than that.

        Those hold what cannot be moved, or single slots that outweigh the mean.
        """
        total = sum(
            self._loads[n] if not h.is_leaving else self._loads[n] - self._fixed[n]
            for n, h in enumerate(self.holders)
        )
        pinned: set[int] = set()
        while len(pinned) < len(self.staying):
            self._level = total / (len(self.staying) - len(pinned))
            kept = {n: self._fixed[n] + self._outweighing(n) for n in self.staying}
            more = [n for n in self.staying if n not in pinned and kept[n] > self._level]
            if not more:
                break
            pinned.update(more)
            total -= sum(kept[n] for n in more)
        return frozenset(pinned)

    def _outweighing(self, number: int) -> int:
        """Return what single slots of a shard weigh that could be moved and outweigh the mean."""
        weights = map(self._weights.__getitem__, self._movable[number])
        return sum(weight for weight in weights if weight > self._level)

    def _find_roles(self, pinned: frozenset[int]) -> dict[int, float]:
        """Find who lacks what; return what each has to give that stays."""
        free = [n for n in self.staying if n not in pinned]
        missing = {n: self._level - self._loads[n] for n in free}
        near = self._nearness()
        self._deficits = {n: lack for n, lack in missing.items() if lack > near}
        surpluses = {n: -lack for n, lack in missing.items() if -lack > near}
        for number in pinned:
            own = sum(w for s in self._movable[number] if (w := self._weights[s]) <= self._level)
            if own > near:
                surpluses[number] = float(own)
        supply = sum(surpluses.values()) + sum(
            self._loads[n] - self._fixed[n] for n, h in enumerate(self.holders) if h.is_leaving
        )
        lacking = supply - sum(self._deficits.values())
        between = sorted(
            (n for n in free if n not in self._deficits and n not in surpluses),
            key=lambda n: (-abs(missing[n]), n),
        )
        for number in between:
            if lacking > 0 and missing[number] > 0:
                self._deficits[number] = min(missing[number], lacking)
                lacking -= self._deficits[number]
            elif lacking < 0 and missing[number] < 0:
                surpluses[number] = min(-missing[number], -lacking)
                lacking += surpluses[number]
        surpluses = {n: s for n, s in surpluses.items() if self._movable[n]}
        self._givers = set(surpluses)
        self._order = sorted(self._deficits, key=lambda n: (-self._rooms[n], n))
        return surpluses

    def _nearness(self) -> float:
        """Return how near to the mean is near enough: no nearer than slots allow."""
        return max(TOLERANCE * self._level, _LUMPS * self._lump())

    def _lump(self) -> float:
        """Return what a slot usually weighs: the one that holds a byte taken at random."""
        usual = [w for w in self._weights if w <= self._level]
        return sum(w * w for w in usual) / sum(usual) if usual else 0.0

    # What a giver gives

    def _choose(self, giver: int, surplus: float) -> list[int]:
        """Return the slots that a shard gives: few of them, in one piece where that costs nothing.

        If it has more slots than others as well, it gives as large a part of them as of its load,
        because what clients write later is spread by number.
        """
        weigh = self._weights.__getitem__
        owned, share_of_all = len(self._slots[giver]), SLOT_COUNT / len(self.staying)
        movable = [s for s in self._movable[giver] if self._weights[s] <= self._level]
        pieces = itertools.chain.from_iterable(self._runs(movable))
        piece = [*self._take(pieces, surplus)]
        heaviest = sorted(movable, key=lambda slot: (-weigh(slot), slot))
        fewest = sum(1 for _ in self._take(heaviest, surplus))
        share = min(surplus / self._loads[giver], 1 - share_of_all / max(owned, 1))
        wanted = min(max(fewest, int(share * owned)), len(movable))
        if len(piece) <= wanted * (1 + TOLERANCE) + 1:
            return sorted(piece)
        # As many as are wanted, and of such weights that they make up the surplus.
        sums = [0, *itertools.accumulate(map(weigh, heaviest))]
        starts = range(len(heaviest) - wanted + 1)
        first = bisect.bisect_left(
            starts, -surplus, key=lambda start: sums[start] - sums[start + wanted]
        )
        window = heaviest[min(first, starts[-1]) :]
        return sorted(self._take(window, surplus))

    def _take(self, slots: Iterable[int], surplus: float) -> Iterator[int]:
        """Yield slots as they come until they weigh what there is to give, or nearly."""
        for slot in slots:
            weight = self._weights[slot]
            if weight <= 2 * surplus:
                surplus -= weight
                yield slot
            elif surplus <= self._level * _NEARLY:
                return

    def _runs(self, slots: Sequence[int]) -> list[list[int]]:
        """Return slots as ranges, short ones first, each from the end that touches a taker."""
        runs = [[*run] for run in _consecutive(slots)]
        runs.sort(key=lambda run: (len(run), run[0]))
        for run in runs:
            if self._taker_at(run[0] - 1) is None:
                run.reverse()
        return runs

    # Who gets it

    def _taker_at(self, slot: int) -> int | None:
        """Return the owner of a slot, if it lacks something."""
        owner = self._owner_at(slot)
        return owner if self._deficits.get(owner, 0.0) > 0.0 else None

    def _place_big(self, leaving: Sequence[int]) -> None:
        """Give big slots of shards that leave to who lacks most, before others fill it."""
        big = [
            s
            for n in leaving
            for s in self._movable[n]
            if self._weights[s] > self._level * _BIG_SHARE
        ]
        for slot in sorted(big, key=lambda s: (-self._weights[s], s)):
            self._put_anywhere(slot)

    def _give(self, run: Sequence[int], *, is_leaving: bool) -> None:
        """Give the slots of one range, in this order, each as one piece to as few as possible."""
        taker = self._taker_at(run[0] - 1 if run[0] <= run[-1] else run[0] + 1)
        for slot in run:
            if self.owners[slot] != self.before[slot]:
                continue  # a big one, which has its place
            if taker is None or not self._can_take(taker, slot):
                self._drop_the_full()
                taker = next((n for n in self._order if self._can_take(n, slot)), None)
            if taker is not None:
                self._put(slot, taker)
            elif is_leaving:
                self._put_anywhere(slot)

    def _drop_the_full(self) -> None:
        """Leave out takers that lack no whole slot; the next one makes good for the rest."""
        rest, lacking = 0.0, list[int]()
        for taker in self._order:
            self._deficits[taker] += rest
            is_full = 2 * self._deficits[taker] < self._least
            rest = self._deficits[taker] if is_full else 0.0
            self._deficits[taker] -= rest
            lacking += [] if is_full else [taker]
        self._order = lacking

    def _can_take(self, taker: int, slot: int) -> bool:
        is_lacking = 2 * self._deficits.get(taker, 0.0) >= self._weights[slot]
        return is_lacking and self._rooms[taker] >= self.bytes[slot]

    def _put_anywhere(self, slot: int) -> None:
        """Give a slot that must go to who lacks most and has room for it."""
        open_to = [n for n in self.staying if n not in self._givers]
        able = [n for n in open_to if self._rooms[n] >= self.bytes[slot]]
        if not able:
            self.lacks_room = True
            return
        self._put(slot, max(able, key=lambda n: (self._level - self._loads[n], -n)))

    def _put(self, slot: int, taker: int) -> None:
        giver, weight = self.owners[slot], self._weights[slot]
        self.owners[slot] = taker
        self._loads[giver] -= weight
        self._loads[taker] += weight
        self._rooms[taker] -= self.bytes[slot]
        if taker in self._deficits:
            self._deficits[taker] -= weight

    # What is left over

    def _even_out(self, pinned: frozenset[int]) -> None:
        """Move single slots from the fullest to the emptiest, while that makes them more alike.

        Those that are near enough are left out of it, unless they give or take already.
        """
        near = self._nearness()
        free = [n for n in self.staying if n not in pinned]
        pairs = [p for p in zip(self.before, self.owners, strict=True) if p[0] != p[1]]
        gave, took = {old for old, _ in pairs}, {new for _, new in pairs}
        for _ in range(_EVENED_MAX * len(free)):
            loads = self._loads
            givers = [n for n in free if n not in took and self._movable[n]]
            takers = [n for n in free if n not in gave]
            is_far = any(abs(loads[n] - self._level) > near for n in free)
            fullest = max(
                (n for n in givers if is_far or n in gave), key=lambda n: (loads[n], -n), default=-1
            )
            emptiest = min(
                (n for n in takers if is_far or n in took), key=lambda n: (loads[n], n), default=-1
            )
            slot = None if -1 in {fullest, emptiest} else self._best_for(fullest, emptiest)
            if slot is None:
                return
            self._put(slot, emptiest)
            gave.add(fullest)
            took.add(emptiest)

    def _best_for(self, giver: int, taker: int) -> int | None:
        """Return the slot that makes two shards most alike, `None` where none makes them more."""
        gap = self._loads[giver] - self._loads[taker]
        able = [
            slot
            for slot in self._movable[giver]
            if self._weights[slot] < gap
            and self.owners[slot] == giver
            and self.bytes[slot] <= self._rooms[taker]
        ]
        if not able:
            return None
        unlike = {slot: abs(2 * self._weights[slot] - gap) for slot in able}
        least = min(unlike.values())
        best = [slot for slot in able if unlike[slot] == least]
        beside = (s for s in best if taker in {self._owner_at(s - 1), self._owner_at(s + 1)})
        at_end = (s for s in best if giver not in {self._owner_at(s - 1), self._owner_at(s + 1)})
        return next(beside, next(at_end, best[-1]))

    def _owner_at(self, slot: int) -> int:
        return self.owners[slot] if 0 <= slot < SLOT_COUNT else -1

    def _span(self, loads: Sequence[int]) -> int:
        found = [loads[n] for n in self.staying]
        return max(found) - min(found)


def _without(slots: list[int], weights: SlotWeights | None) -> list[int]:
    if weights is None or not weights.stuck:
        return slots
    stuck = frozenset(weights.stuck)
    return [slot for slot in slots if slot not in stuck]


def _consecutive(slots: Iterable[int]) -> Iterator[Iterator[int]]:
    """Yield each run of slots that follow each other."""
    for _, run in itertools.groupby(enumerate(slots), lambda pair: pair[1] - pair[0]):
        yield (slot for _, slot in run)
