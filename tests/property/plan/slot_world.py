"""What do engines of the model world do with slots? Knowing each other, moves, and their ends.

It follows the engines: an introduction makes two nodes know each other, and gossip does the rest;
who forgets takes no gossip for a minute; an atomic move changes the owner of all slots at once, a
copied one slot by slot, with one slot open between two nodes while its keys are on the way. Moves
last, and may be cut at any moment by the death of anybody.
"""

from __future__ import annotations

import collections
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

from cachewright.model.commands import ClaimSlots, CloseSlots, MoveSlots, WeighSlots, node_id_of
from cachewright.model.facts import OpenSlot, SlotWeights
from cachewright.model.moves import MoveMethod, Moves, Moving
from cachewright.model.slots import SLOT_COUNT, SlotRange, SlotRanges, ranges_of
from cachewright.model.status import Role
from cachewright.plan.slots import gets_on

if TYPE_CHECKING:
    from tests.property.plan.world import Engine, World

#: What one mark takes, bytes.
MARK_BYTES = 100
#: Whoever forgets a node hears nothing of it from others for so long, seconds.
_DEAF_S = 60.0
#: Slots that a copying host moves between two looks.
_COPIED_AT_ONCE = 3_000
#: Looks until an atomic move has its snapshot over.
_ATOMIC_TICKS = 2

Errand = MoveSlots | CloseSlots | ClaimSlots | WeighSlots


def slot_of(mark: int) -> int:
    """Return the slot that a mark was written to, -1 for one that is of no slot."""
    return mark % SLOT_COUNT if mark >= SLOT_COUNT else -1


def marks_for(number: int, slots: SlotRanges) -> frozenset[int]:
    """Return what a client writes: one mark at both ends of each range."""
    ends = {end for part in slots for end in (part.first, part.last)}
    return frozenset(number * SLOT_COUNT + slot for slot in ends)


def not_given(world: World, marks: frozenset[int], primary: Engine) -> frozenset[int]:
    """Return the marks that this primary has not given away, with their slots or before them.

    What was given to somebody who ended is what its replicas have of it, or lost, however late a
    replica of the one that gave hears of that.
    """
    if not marks:
        return marks
    holders = [e for e in world.engines.values() if e.serves_writes() or _is_orphan(world, e)]
    given = frozenset(mark for engine in holders for mark in engine.data)
    own = set_of(primary.slots) | {slot_of(0)}
    return frozenset(mark for mark in marks - given - world.lost if slot_of(mark) in own)


def _is_orphan(world: World, engine: Engine) -> bool:
    """Tell whether a replica runs on after its primary has ended."""
    primary = world.engines.get(engine.follows or "")
    is_over = primary is not None and primary.life.value != "running"
    return engine.life.value == "running" and engine.role is Role.REPLICA and is_over


def set_of(ranges: Iterable[SlotRange]) -> frozenset[int]:
    """Return the slots of some ranges."""
    return frozenset(slot for part in ranges for slot in range(part.first, part.last + 1))


class Cut(Exception):
    """An errand cannot go on."""


@dataclass
class Running:
    """An errand under way."""

    errand: Errand
    ticks: int = 0


@dataclass
class Errands:
    """What the control plane has asked for that lasts, as it remembers it itself."""

    running: dict[str, Running] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    generation: int = 0
    failures: collections.Counter[MoveMethod] = field(default_factory=collections.Counter)
    last_failure: str = ""
    claim_failure: str = ""
    #: So many of the next moves fail where they are.
    to_fail: int = 0
    #: Who takes has room for so many slots of each copied move, and none for the rest.
    fitting: int | None = None
    #: No cut move can be ended; and how often that was tried in a row, since anything has moved.
    is_full: bool = False
    failed_closings: int = 0
    #: One that can be ended again as soon as slots have left one of both.
    is_relieved: bool = False

    def ask(self, errand: Errand) -> str:
        """Begin an errand; return why the last one of its node failed, empty where none did."""
        if errand.key in self.running:
            return ""
        if isinstance(errand, WeighSlots | MoveSlots) and errand.generation != self.generation:
            self.generation, self.last_failure = errand.generation, ""
            self.failed_closings = 0
            self.failures.clear()
            self.failed.clear()
        failure = self.failed.pop(errand.key, "")
        if not failure:
            self.running[errand.key] = Running(errand)
        return failure

    def moves(self) -> Moves:
        """Return what is seen of it."""
        found = [r.errand for r in self.running.values() if isinstance(r.errand, MoveSlots)]
        return Moves(
            running=tuple(
                Moving(from_id=node_id_of(m.key), to_id=node_id_of(m.to_key), slots=m.slots)
                for m in found
            ),
            generation=self.generation,
            failures=dict(self.failures),
            last_failure=self.last_failure,
            failed_closings=self.failed_closings,
            claim_failure=self.claim_failure,
        )

    def end(self, key: str, failure: str, *, gets_on: bool = True) -> None:
        """An errand is over; `gets_on`: a move that failed counts for nothing."""
        errand = self.running.pop(key).errand
        if failure:
            self.failed[key] = failure
        if isinstance(errand, ClaimSlots):
            self.claim_failure = failure
        if isinstance(errand, CloseSlots):
            self.failed_closings = self.failed_closings + 1 if failure else 0
        if isinstance(errand, MoveSlots):
            self.last_failure = failure or self.last_failure
            if gets_on:
                self.failures.clear()
                self.failed_closings = 0
                self.is_full = self.is_full and not self.is_relieved
            else:
                self.failures[errand.method] += 1


def run_errands(world: World) -> None:
    """Let every errand get on by one look."""
    for key, running in list(world.errands.running.items()):
        try:
            is_done = _get_on(world, running)
        except Cut as cut:
            world.errands.end(key, str(cut), gets_on=_gets_on(world, running.errand))
        else:
            running.ticks += 1
            if is_done:
                world.errands.end(key, "")


def _gets_on(world: World, errand: Errand) -> bool:
    """Tell whether a move that failed has got on, by the word of those that answer."""
    if not isinstance(errand, MoveSlots):
        return False
    engines = (world.engines.get(node_id_of(key)) for key in (errand.key, errand.to_key))
    kept, taken = (
        e.slots if e and e.serves_writes() and not e.is_silent else None for e in engines
    )
    return gets_on(errand.slots, kept, taken)


def cut_errands(world: World, *, atomic_goes_on: bool) -> None:
    """The control plane and the host end; what engines do by themselves may go on."""
    for running in world.errands.running.values():
        errand = running.errand
        is_atomic = isinstance(errand, MoveSlots) and errand.method is MoveMethod.ATOMIC
        if atomic_goes_on and is_atomic and running.ticks:
            running.ticks = _ATOMIC_TICKS
            try:
                _get_on(world, running)
            except Cut:
                continue
    to_fail = world.errands.to_fail
    world.errands = Errands(to_fail=to_fail)


def _get_on(world: World, running: Running) -> bool:
    match running.errand:
        case WeighSlots() as errand:
            _weigh(world, errand)
            return True
        case CloseSlots() if world.errands.is_full:
            raise Cut("both are full")
        case CloseSlots() as errand:
            _close(world, errand)
            return True
        case ClaimSlots() as errand:
            _claim(world, errand)
            return True
        case MoveSlots() as errand:
            return _move(world, errand, running.ticks)


def _serving(world: World, node_id: str) -> Engine:
    engine = world.engines.get(node_id)
    if engine is None or not engine.serves_writes() or engine.is_silent:
        raise Cut(f"{node_id} does not serve")
    return engine


def _weigh(world: World, errand: WeighSlots) -> None:
    engine = _serving(world, node_id_of(errand.key))
    counts = collections.Counter(map(slot_of, engine.data))
    own = set_of(engine.slots)
    engine.weights = SlotWeights(
        generation=errand.generation,
        by_slot=tuple((s, n * MARK_BYTES) for s, n in sorted(counts.items()) if s in own),
        stuck=tuple(sorted(own & world.stuck)),
    )


def _move(world: World, move: MoveSlots, ticks: int) -> bool:
    giver = _serving(world, node_id_of(move.key))
    taker = _serving(world, node_id_of(move.to_key))
    _require_meeting(giver, taker, move)
    own, wanted = set_of(giver.slots), set_of(move.slots)
    if wanted - own - set_of(taker.slots):
        raise Cut("somebody else owns a slot")
    _require_movable(giver, wanted & own & world.stuck)
    if ticks and world.errands.to_fail:
        world.errands.to_fail -= 1
        raise Cut("the model lets it fail")
    left = sorted(wanted & own)
    if ticks and world.errands.fitting is not None:
        if move.method is MoveMethod.COPY:
            _change_owner(world, giver, taker, frozenset(left[: world.errands.fitting]))
        raise Cut("no memory for it")
    if move.method is MoveMethod.COPY:
        return _copy(giver, taker, left, ticks, world)
    if giver.opened or taker.opened:
        raise Cut("a slot is open")
    if ticks < _ATOMIC_TICKS:
        return False
    _change_owner(world, giver, taker, frozenset(left))
    return True


def _require_movable(giver: Engine, stuck: frozenset[int]) -> None:
    """Tell of keys that have become too large since the slots were weighed."""
    if not stuck:
        return
    weights = giver.weights
    assert weights is None or not stuck <= set(weights.stuck), "slots are moved that cannot be"
    if weights is not None:
        known = tuple(sorted(stuck.union(weights.stuck)))
        giver.weights = msgspec.structs.replace(weights, stuck=known)
    raise Cut("a key is too large")


def _require_meeting(giver: Engine, taker: Engine, move: MoveSlots) -> None:
    place = taker.place
    said = (move.to_engine_id, move.to_address, move.to_port)
    if said != (place.engine_id, place.address, place.port):
        raise Cut("somebody else is there")
    if giver.place.engine_id not in taker.known or place.engine_id not in giver.known:
        raise Cut("they do not know each other")


def _copy(giver: Engine, taker: Engine, left: list[int], ticks: int, world: World) -> bool:
    """Move slots one by one, and open the next one, with half of its keys moved."""
    done = left[: _COPIED_AT_ONCE if ticks else 0]
    for slot in left:
        peer_id, _ = giver.opened.get(slot, (taker.place.engine_id, False))
        assert peer_id == taker.place.engine_id, "a slot is moved that is open to somebody else"
    _change_owner(world, giver, taker, frozenset(done))
    rest = left[len(done) :]
    for slot in rest[:1]:
        giver.opened[slot] = (taker.place.engine_id, False)
        taker.opened[slot] = (giver.place.engine_id, True)
        here = sorted(mark for mark in giver.data if slot_of(mark) == slot)
        going = frozenset(here[: (len(here) + 1) // 2])
        giver.give(taker, going)
    return not rest


def _change_owner(world: World, giver: Engine, taker: Engine, slots: frozenset[int]) -> None:
    if not slots:
        return
    going = frozenset(mark for mark in giver.data if slot_of(mark) in slots)
    giver.give(taker, going)
    giver.slots = ranges_of(sorted(set_of(giver.slots) - slots))
    taker.slots = ranges_of(sorted(set_of(taker.slots) | slots))
    taker.epoch = max(engine.epoch for engine in world.engines.values()) + 1
    for engine in (giver, taker):
        engine.opened = {s: o for s, o in engine.opened.items() if s not in slots}


def _close(world: World, errand: CloseSlots) -> None:
    """Bring home what others hold of the slots, then forget that they were open."""
    owner, slots = _serving(world, node_id_of(errand.key)), set_of(errand.slots)
    if not slots <= set_of(owner.slots):
        raise Cut("it does not own the slots")
    by_address = {(e.place.address, e.place.port): e for e in world.engines.values()}
    for other in [owner, *(by_address[address] for address in errand.others)]:
        if other.life.value != "running" or other.is_silent or other.is_held:
            raise Cut("not all of the others answer")
        if other.role is Role.PRIMARY and other is not owner:
            home = frozenset(mark for mark in other.data if slot_of(mark) in slots)
            other.give(owner, home)
        other.opened = {s: o for s, o in other.opened.items() if s not in slots}


def _claim(world: World, errand: ClaimSlots) -> None:
    """Let who holds marks of a slot own it, if nobody does."""
    by_address = {(e.place.address, e.place.port): e for e in world.engines.values()}
    asked = [_serving(world, node_id_of(errand.key))]
    asked += [_serving(world, by_address[other].place.node_id) for other in errand.others]
    primaries = [engine for engine in world.engines.values() if engine.serves_writes()]
    assert len(asked) == len(primaries), "not every primary is asked"
    owned = frozenset(slot for engine in asked for slot in set_of(engine.slots))
    for slot in sorted(set_of(errand.slots) - owned):
        holders = [e for e in asked if any(slot_of(mark) == slot for mark in e.data)]
        if len(holders) > 1:
            givers = [e for e in holders if slot in e.opened and not e.opened[slot][1]]
            holders = givers or [e for e in holders if slot not in e.opened]
        if len(holders) > 1:
            raise Cut("several hold keys of a slot")
        owner = (holders or asked)[0]
        owner.slots = ranges_of(sorted({*set_of(owner.slots), slot}))
        owner.epoch = max(engine.epoch for engine in world.engines.values()) + 1


def lose_slots(engine: Engine, slots: frozenset[int]) -> None:
    """Let a primary say no more that it owns slots; it keeps their keys."""
    engine.slots = ranges_of(sorted(set_of(engine.slots) - slots))


def claim_unheard(world: World, move: Moving) -> None:
    """Let who takes own a slot of a move, and end before its replicas hear of that."""
    giver, taker = world.engines[move.from_id], world.engines[move.to_id]
    left = sorted(set_of(move.slots) & set_of(giver.slots))
    if not left or not (giver.serves_writes() and taker.serves_writes()):
        return
    _change_owner(world, giver, taker, frozenset(left[:1]))
    for engine in world.engines.values():
        if engine.follows == taker.place.node_id and engine.is_in_sync:
            engine.data, engine.shift = taker.data, taker.shift
    taker.unheard = frozenset(left[:1])
    world.kill(taker.place.node_id)


def open_slots_of(engine: Engine) -> tuple[OpenSlot, ...]:
    """Return what a node says of moves that were begun."""
    return tuple(
        OpenSlot(slot=slot, peer_id=peer_id, is_import=is_import)
        for slot, (peer_id, is_import) in sorted(engine.opened.items())
    )


# Knowing each other


def gossip(world: World) -> None:
    """Let nodes meet that were introduced, and tell each other of those that they know."""
    living = [e for e in world.engines.values() if e.life.value == "running" and not e.hangs()]
    by_address = {(e.place.address, e.place.port): e for e in living}
    for engine in living:
        for other in filter(None, map(by_address.get, sorted(engine.meets))):
            engine.known |= {other.place.engine_id}
            other.known |= {engine.place.engine_id}
        engine.meets.clear()
    for engine in living:
        for other in _friends(engine, living):
            deaf = {i for i, until_s in engine.forgotten.items() if until_s > world.clock_s}
            engine.known |= other.known - deaf


def _friends(engine: Engine, living: list[Engine]) -> Iterator[Engine]:
    for other in living:
        if engine.place.engine_id in other.known and other.place.engine_id in engine.known:
            yield other


def forget(world: World, engine: Engine, engine_ids: tuple[str, ...]) -> None:
    """Strike nodes off what a node knows, and let it be deaf to gossip about them."""
    for engine_id in engine_ids:
        engine.known -= {engine_id}
        engine.forgotten[engine_id] = world.clock_s + _DEAF_S
