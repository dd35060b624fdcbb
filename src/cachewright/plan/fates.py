"""What becomes of the data of shards whose last living copy is gone? What people are told of it.

A shard that is made from nothing again had something to lose only if it owned slots, or if keys of
some were on their way to it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from cachewright.model.facts import Observed
from cachewright.model.groups import Group
from cachewright.model.status import GroupState, GroupStatus, ShardSlots
from cachewright.plan.shard import engine_of, is_gone, shards_to_run

_RESTORED = "back from the snapshot of the last graceful stop"
_KEPT = "back from the append-only file"
_LOST = "back empty: all nodes ended without a graceful stop, the data is lost"


def texts(
    group: Group, previous: GroupStatus | None, current: GroupStatus, observed: Observed
) -> Iterator[str]:
    """Yield a sentence for each fate, with the shards that share it."""
    if previous is None or not previous.was_available or current.state is GroupState.DELETING:
        return
    fates: dict[str, list[str]] = {_RESTORED: [], _KEPT: [], _LOST: []}
    shards = [shard for shard in shards_to_run(group) if not is_gone(group, shard)]
    for shard in shards:
        ids = {node.node_id for node in shard.nodes}
        before = [node for node in previous.nodes if node.node_id in ids]
        now = [node for node in current.nodes if node.node_id in ids]
        if any(node.has_copy for node in now):
            continue
        had_copy = any(node.has_copy for node in before)
        if any(node.has_saved_data for node in now):
            fates[_RESTORED] += [shard.shard_id] if had_copy else []
        elif any(node.has_append_only_file for node in now):
            fates[_KEPT] += [shard.shard_id] if had_copy else []
        elif had_copy or any(n.has_saved_data or n.has_append_only_file for n in before):
            owned = (*previous.owned, *current.owned)
            if _may_have_held_data(group, shard.shard_id, owned, observed):
                fates[_LOST].append(shard.shard_id)
    for fate, shard_ids in fates.items():
        if shard_ids:
            yield f"{_named(shard_ids, len(shards))} {fate}"


def _may_have_held_data(
    group: Group, shard_id: str, owned: Sequence[ShardSlots], observed: Observed
) -> bool:
    """Tell whether a shard had slots, or keys of a slot that is open towards it.

    One that was added a moment ago has none of both, and no data to lose.
    """
    if not owned or group.placement is None:  # no cluster mode, or nobody has looked yet
        return True
    if any(o.shard_id == shard_id and o.slots for o in owned):
        return True
    own = {place.engine_id for place in group.placement.nodes if place.shard_id == shard_id}
    engines = (engine_of(observed.of(place.node_id)) for place in group.placement.nodes)
    clusters = (e.cluster for e in engines if e is not None and e.cluster is not None)
    return any(
        opened.peer_id in own and not opened.is_import
        for cluster in clusters
        for opened in cluster.open_slots
    )


def _named(shard_ids: list[str], count: int) -> str:
    if len(shard_ids) == 1:
        return f"Shard {shard_ids[0]} comes"
    if len(shard_ids) == count:
        return f"All {count} shards come"
    return f"Shards {', '.join(shard_ids)} come"
