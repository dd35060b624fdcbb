"""What becomes of slots that no primary claims while all of them answer?

They are claimed again, if two looks in a row find that and no move explains it. Who holds keys of
a slot shall own it, which its host finds out (`ClaimSlots`). Here it is decided who gets those of
which nobody holds any: whoever shall own them by a resharding that goes on, else who owned them
when that was last seen, else the shard with the fewest.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from cachewright.model.commands import ClaimSlots, Step, node_key
from cachewright.model.slots import SlotRanges, numbers_of, ranges_of, render_ranges
from cachewright.plan.shard import Phase, is_gone, reshards
from cachewright.plan.slot_scene import Scene


@dataclass(frozen=True, kw_only=True, slots=True)
class Unowned:
    """What has no owner, and what there is to do about it."""

    #: To be written down: all that had none, until every slot has one.
    slots: SlotRanges = ()
    steps: tuple[Step, ...] = ()


def look(scene: Scene) -> Unowned:
    """Return the slots that nobody claims; what was known of them, until all primaries answer."""
    before = scene.previous.unowned if scene.previous is not None else ()
    if not _is_heard(scene):
        return Unowned(slots=before)
    if not scene.owned.unowned:
        return Unowned()
    found = {*numbers_of(scene.owned.unowned)} - scene.observed.moves.slots
    known = {*numbers_of(before)}
    return Unowned(
        slots=ranges_of(sorted(found | known)) if found else (),
        steps=tuple(_claims(scene, sorted(found & known))),
    )


def _claims(scene: Scene, found: Sequence[int]) -> Iterator[Step]:
    """Yield what gives slots owners again, by the shards that get those of which nobody has keys.

    Args:
        scene: What is looked at.
        found: Slots that the look before has found as well.
    """
    shares: dict[str, list[int]] = {}
    owners = _owners(scene) if found else {}
    rest = _smallest(scene)
    for slot in found:
        shares.setdefault(owners.get(slot, rest), []).append(slot)
    for shard_id, slots in shares.items():
        primary = scene.primary_of(shard_id)
        assert primary is not None  # all serve
        node_id, _ = primary
        command = ClaimSlots(
            key=node_key(scene.group.spec.uid, node_id),
            slots=ranges_of(slots),
            others=scene.others({node_id}),
        )
        reason = f"no primary claims slots {render_ranges(command.slots)}"
        yield Step(command=command, reason=reason, node_id=node_id)


def _is_heard(scene: Scene) -> bool:
    """Tell whether the primary of every shard that is asked for serves."""
    return all(
        view.phase is Phase.SERVING for view in scene.views if not is_gone(scene.group, view.shard)
    )


def _owners(scene: Scene) -> Mapping[int, str]:
    """Return who shall own slots of which nobody holds keys, as far as that is written down."""
    previous = scene.previous
    if previous is None:
        return {}
    known = previous.owned
    state = previous.resharding
    if state is not None and state.target and reshards(scene.group, previous):
        known = state.target
    return {
        slot: shard.shard_id
        for shard in known
        if scene.primary_of(shard.shard_id) is not None
        for slot in numbers_of(shard.slots)
    }


def _smallest(scene: Scene) -> str:
    """Return the shard that owns the fewest slots, of those that stay."""
    counts = {owner.shard_id: sum(map(len, owner.slots)) for owner in scene.owned.owned}
    staying = [s.shard_id for s in scene.group.spec.shards if not s.is_leaving]
    return min(staying, key=lambda shard_id: (counts.get(shard_id, 0), shard_id))
