"""Who owns which slot now? By shards, from the engines' own words, for whoever decides or starts.

An admitted primary that answers is believed about itself, and about nobody else. For a shard whose
primary does not answer, what it left counts: what its process said last, else what was written down
of it before; less what those claim that answer, because a slot that has moved is claimed by its new
owner. Nothing is believed to be lost that somebody may still have: a slot that nobody claims is of
the shard without a voice that had it, or was about to get it.

What comes of it is written down (`GroupStatus.owned`) and read again the next time. Nothing here
decides who shall own what: that is `slots`.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from cachewright.model.facts import ClusterFact, Observed, Stopped
from cachewright.model.groups import DISCOVERY_ID, Group, GroupPlacement
from cachewright.model.slots import (
    SLOT_COUNT,
    SlotRange,
    SlotRanges,
    covers_all,
    merge,
    numbers_of,
    ranges_of,
)
from cachewright.model.status import GroupStatus, Role, ShardSlots
from cachewright.plan.shard import engine_of

_NOBODY = -1


@dataclass(frozen=True, kw_only=True, slots=True)
class Ownership:
    """Who owns what."""

    #: Every shard that has a node with a place, or is asked for; each slot is in one of them at
    #: most.
    owned: tuple[ShardSlots, ...]
    #: Slots that nobody owns.
    unowned: SlotRanges
    #: Slots that several who answer claim; `owned` gives each to the first.
    disputed: SlotRanges
    #: Moves that somebody has begun and not ended, by the shard that owns the slots.
    open_slots: tuple[ShardSlots, ...]
    #: The primary of every shard answers, every slot has one owner, and each says the same of who
    #: owns any.
    is_agreed: bool
    #: Shards of which all that is agreed: they own nothing, and hold no key.
    empty_ids: frozenset[str]

    def of(self, shard_id: str) -> SlotRanges:
        """Return what a shard owns."""
        return next((o.slots for o in self.owned if o.shard_id == shard_id), ())


@dataclass(frozen=True, kw_only=True, slots=True)
class _Voice:
    """The primary of a shard that answers."""

    shard_id: str
    engine_id: str
    cluster: ClusterFact
    keys: int


@dataclass(frozen=True, kw_only=True, slots=True)
class _Scene:
    """What is looked at. Shards are numbers by their places in `shard_ids`."""

    group: Group
    placement: GroupPlacement
    observed: Observed
    previous: GroupStatus | None
    shard_ids: tuple[str, ...]
    voices: tuple[_Voice, ...]

    def silent_ids(self) -> tuple[str, ...]:
        heard = {voice.shard_id for voice in self.voices}
        return tuple(shard_id for shard_id in self.shard_ids if shard_id not in heard)

    def numbers(self) -> dict[str, int]:
        return {shard_id: number for number, shard_id in enumerate(self.shard_ids)}


def ownership(
    group: Group, placement: GroupPlacement, observed: Observed, previous: GroupStatus | None
) -> Ownership:
    """Return who owns which slot of a group in cluster mode."""
    scene = _Scene(
        group=group,
        placement=placement,
        observed=observed,
        previous=previous,
        shard_ids=_shard_ids(group, placement),
        voices=_voices(placement, observed),
    )
    voices, silent_ids = scene.voices, scene.silent_ids()
    disputed: SlotRanges = ()
    claims = _undoubted(scene, silent_ids)
    if claims is None:
        owners, disputed = _claimed(scene)
        if silent_ids:
            _add_last_words(owners, scene, silent_ids)
        claims = _by_shard(owners, scene.shard_ids)
    owned = tuple(ShardSlots(shard_id=s, slots=claims.get(s, ())) for s in scene.shard_ids)
    unowned = _gaps(owned)
    is_agreed = not (silent_ids or unowned or disputed) and _say_the_same(voices)
    return Ownership(
        owned=owned,
        unowned=unowned,
        disputed=disputed,
        open_slots=_open_slots(owned, voices),
        is_agreed=is_agreed,
        empty_ids=_empty_ids(owned, voices) if is_agreed else frozenset(),
    )


def _undoubted(scene: _Scene, silent_ids: Sequence[str]) -> dict[str, SlotRanges] | None:
    """Return who owns what where all words together give each slot to one; else `None`."""
    claims: dict[str, list[SlotRange]] = {shard_id: [] for shard_id in scene.shard_ids}
    for voice in scene.voices:
        claims[voice.shard_id] += voice.cluster.own_slots
    if silent_ids:
        before = _remembered(scene)
        for shard_id in silent_ids:
            claims[shard_id] += _last_words(scene, shard_id, before)
    if not covers_all(part for parts in claims.values() for part in parts):
        return None
    return {shard_id: merge(parts) for shard_id, parts in claims.items()}


def _shard_ids(group: Group, placement: GroupPlacement) -> tuple[str, ...]:
    """Return the shards that are asked for in order, then those of which nodes are left."""
    asked = [shard.shard_id for shard in group.spec.shards]
    placed = [n.shard_id for n in placement.nodes if n.node_id != DISCOVERY_ID]
    return tuple(dict.fromkeys([*asked, *placed]))


def _voices(placement: GroupPlacement, observed: Observed) -> tuple[_Voice, ...]:
    found: list[_Voice] = []
    for place in placement.nodes:
        engine = engine_of(observed.of(place.node_id))
        if engine is None or engine.role is not Role.PRIMARY or engine.is_held:
            continue
        if engine.cluster is not None:
            found.append(
                _Voice(
                    shard_id=place.shard_id,
                    engine_id=place.engine_id,
                    cluster=engine.cluster,
                    keys=engine.keys,
                )
            )
    return tuple(found)


def _claimed(scene: _Scene) -> tuple[list[int], SlotRanges]:
    """Return the owner of each slot by those who answer, and the slots that several claim."""
    owners = [_NOBODY] * SLOT_COUNT
    disputed: set[int] = set()
    numbers = scene.numbers()
    for voice in sorted(scene.voices, key=lambda voice: numbers[voice.shard_id]):
        number = numbers[voice.shard_id]
        for slot in numbers_of(voice.cluster.own_slots):
            if owners[slot] == _NOBODY:
                owners[slot] = number
            elif owners[slot] != number:
                disputed.add(slot)
    return owners, ranges_of(sorted(disputed))


def _add_last_words(owners: list[int], scene: _Scene, silent_ids: Sequence[str]) -> None:
    """Give what nobody claims who answers to the shards that have no voice."""
    numbers = scene.numbers()
    silent = {numbers[shard_id] for shard_id in silent_ids}
    before = _remembered(scene)
    remembered = _owners_of(before, numbers)
    claims: dict[int, list[int]] = {}
    for shard_id in silent_ids:
        for slot in numbers_of(_last_words(scene, shard_id, before)):
            if owners[slot] == _NOBODY:
                claims.setdefault(slot, []).append(numbers[shard_id])
    for slot, claimants in claims.items():
        # Who had it may not have heard that it has moved; who got it knows.
        newer = [number for number in claimants if number != remembered[slot]]
        owners[slot] = (newer or claimants)[0]
    for guess in (remembered, _owners_of(_target(scene), numbers)):
        for slot, owner in enumerate(owners):
            if owner == _NOBODY and guess[slot] in silent:
                owners[slot] = guess[slot]
    if len(silent) == 1:
        (alone,) = silent
        owners[:] = [alone if owner == _NOBODY else owner for owner in owners]


def _remembered(scene: _Scene) -> dict[str, SlotRanges]:
    """Return who owned what when that was last seen; of a fresh group, what it begins with."""
    previous = scene.previous
    if previous is not None and previous.owned:
        return {owned.shard_id: owned.slots for owned in previous.owned}
    return {shard.shard_id: shard.slots for shard in scene.group.spec.shards}


def _target(scene: _Scene) -> dict[str, SlotRanges]:
    previous = scene.previous
    resharding = previous.resharding if previous is not None else None
    if resharding is None:
        return {}
    return {wanted.shard_id: wanted.slots for wanted in resharding.target}


def _last_words(scene: _Scene, shard_id: str, before: Mapping[str, SlotRanges]) -> SlotRanges:
    """Return what the primary of a shard owned when it ended; without a word of it, `before`.

    The one that was written down, unless it had been a replica since: then another one.
    """
    said: dict[str, SlotRanges] = {}
    for place in scene.placement.nodes:
        fact = scene.observed.of(place.node_id)
        if place.shard_id == shard_id and isinstance(fact.process, Stopped) and fact.last_slots:
            said[place.node_id] = fact.last_slots
    for node_id, slots in said.items():
        known = scene.previous.of(node_id) if scene.previous is not None else None
        if known is not None and known.role is Role.PRIMARY:
            return slots
    return next(iter(said.values()), before.get(shard_id, ()))


def _say_the_same(voices: Sequence[_Voice]) -> bool:
    owner_ids = {voice.engine_id for voice in voices if voice.cluster.own_slots}
    return all(voice.cluster.owner_ids == owner_ids for voice in voices)


def _empty_ids(owned: Sequence[ShardSlots], voices: Sequence[_Voice]) -> frozenset[str]:
    """Return the shards that own nothing and hold nothing, where all agree on who owns any."""
    holding = {voice.shard_id for voice in voices if voice.keys or voice.cluster.open_slots}
    return frozenset(o.shard_id for o in owned if not o.slots and o.shard_id not in holding)


def _open_slots(owned: Sequence[ShardSlots], voices: Sequence[_Voice]) -> tuple[ShardSlots, ...]:
    slots = sorted({opened.slot for voice in voices for opened in voice.cluster.open_slots})
    if not slots:
        return ()
    found: list[ShardSlots] = []
    for shard in owned:
        own = frozenset(numbers_of(shard.slots))
        opened = ranges_of(slot for slot in slots if slot in own)
        if opened:
            found.append(ShardSlots(shard_id=shard.shard_id, slots=opened))
    return tuple(found)


def _gaps(owned: Iterable[ShardSlots]) -> SlotRanges:
    gaps: list[SlotRange] = []
    next_slot = 0
    for part in sorted(part for shard in owned for part in shard.slots):
        if part.first > next_slot:
            gaps.append(SlotRange(next_slot, part.first - 1))
        next_slot = part.last + 1
    if next_slot < SLOT_COUNT:
        gaps.append(SlotRange(next_slot, SLOT_COUNT - 1))
    return tuple(gaps)


def _by_shard(owners: Sequence[int], shard_ids: Sequence[str]) -> dict[str, SlotRanges]:
    found: dict[str, list[SlotRange]] = {}
    first = 0
    for number, run in itertools.groupby(owners):
        after = first + sum(1 for _ in run)
        if number != _NOBODY:
            found.setdefault(shard_ids[number], []).append(SlotRange(first, after - 1))
        first = after
    return {shard_id: tuple(ranges) for shard_id, ranges in found.items()}


def _owners_of(slots: Mapping[str, SlotRanges], numbers: Mapping[str, int]) -> list[int]:
    owners = [_NOBODY] * SLOT_COUNT
    for shard_id, ranges in slots.items():
        for part in ranges:
            if shard_id in numbers:
                owners[part.first : part.last + 1] = [numbers[shard_id]] * len(part)
    return owners
