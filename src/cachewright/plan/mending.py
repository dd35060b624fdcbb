"""How do moves of slots end that somebody began and nobody goes on with?

The owner of the slots ends them (`CloseSlots`): they go on where that is possible, else what had
moved comes back. That takes memory on one of both sides. Where neither has any, slots that are not
open go first from these two to others that shall own them (`relief`); each of these moves leads to
a state that is as legal as before. When that is tried, and for how long, is the resharding's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from cachewright.model.commands import CloseSlots, Step, node_key
from cachewright.model.slots import numbers_of, ranges_of
from cachewright.model.status import ShardSlots
from cachewright.plan.slot_scene import Scene


def closings(scene: Scene) -> Iterator[Step]:
    """Yield what ends the moves that nobody goes on with, or takes them back."""
    if not scene.owned.open_slots:
        return
    if any(scene.primary_of(view.shard.shard_id) is None for view in scene.views):
        return
    for owner in _cut(scene):
        reason = f"moves of {sum(map(len, owner.slots))} slots of shard {owner.shard_id} were cut"
        yield from closing(scene, owner, reason)


def closing(scene: Scene, owner: ShardSlots, reason: str) -> Iterator[Step]:
    """Yield what brings home all that others hold of slots of an owner."""
    primary = scene.primary_of(owner.shard_id)
    if not owner.slots or primary is None:
        return
    command = CloseSlots(
        key=node_key(scene.group.spec.uid, primary[0]),
        slots=owner.slots,
        others=scene.others({primary[0]}),
    )
    yield Step(command=command, reason=reason, node_id=primary[0])


def relief(
    scene: Scene, target: Sequence[ShardSlots]
) -> tuple[tuple[ShardSlots, ...], tuple[ShardSlots, ...]]:
    """Return what can leave the shards that a cut move is between, and who shall have it.

    Nothing that is open, and nobody who has to do with a cut move itself.
    """
    cut = _cut(scene)
    is_cut = {slot for owner in cut for slot in numbers_of(owner.slots)}
    is_open = {slot for owner in scene.owned.open_slots for slot in numbers_of(owner.slots)}
    full = {owner.shard_id for owner in cut}
    for view in scene.views:
        primary = scene.primary_of(view.shard.shard_id)
        cluster = primary[1].cluster if primary else None
        if cluster is not None and any(one.slot in is_cut for one in cluster.open_slots):
            full.add(view.shard.shard_id)
    rest = (
        ShardSlots(
            shard_id=owner.shard_id,
            slots=ranges_of(slot for slot in numbers_of(owner.slots) if slot not in is_open),
        )
        for owner in scene.owned.owned
        if owner.shard_id in full
    )
    return tuple(rest), tuple(shard for shard in target if shard.shard_id not in full)


def _cut(scene: Scene) -> tuple[ShardSlots, ...]:
    """Return the slots that are open and not being moved, by their owners."""
    under_way = scene.observed.moves.slots
    found = (
        ShardSlots(
            shard_id=owner.shard_id,
            slots=ranges_of(slot for slot in numbers_of(owner.slots) if slot not in under_way),
        )
        for owner in scene.owned.open_slots
    )
    return tuple(owner for owner in found if owner.slots)
