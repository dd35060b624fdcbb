"""What becomes of shards that were to go, once their slots have moved as far as they could?

Those that are proven to hold nothing are dropped from the spec, the others stay. One transaction on
what was read: whoever comes second finds nothing to do. Who was last seen to own a slot is never
dropped, whatever else is said. Names, places and tags of the nodes are freed by the loop when they
are gone.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Sequence

from cachewright.model.groups import GroupSpec
from cachewright.model.slots import covers_all
from cachewright.model.status import GroupStatus, Resharding
from cachewright.service import events, views
from cachewright.service.context import Decision, Service, change
from cachewright.store.records import SPEC, STATUS, ChangeSet


def is_due(service: Service, uid: str) -> bool:
    """Tell whether there is anything to settle in the group with this uid."""
    return _found(service, uid) is not None


async def settle(service: Service, uid: str) -> bool:
    """Drop the shards of a group that were to go and hold nothing; tell whether there were any."""

    def decide() -> Decision[bool]:
        changes = ChangeSet()
        found = _found(service, uid)
        if found is None:
            return Decision(uid=None, changes=changes, result=False)
        group, status, resharding = found
        before = group.spec
        dropped = _empty(before, status, resharding)
        after = dataclasses.replace(
            before,
            shards=tuple(
                dataclasses.replace(shard, is_leaving=False)
                for shard in before.shards
                if shard.shard_id not in dropped
            ),
            generation=before.generation + 1,
        )
        changes.replace(SPEC + uid, after, group.spec_revision)
        # Who owns what was read there: it must still be so.
        changes.expect(STATUS + uid, group.status_revision)
        for text in _texts(before, dropped, resharding):
            events.about_group(service, changes, before.name, text)
        return Decision(uid=uid, changes=changes, result=True)

    return await change(service, decide)


def _found(service: Service, uid: str) -> tuple[views.GroupView, GroupStatus, Resharding] | None:
    """Return a group with shards to go whose resharding is over, and what is known of that."""
    group = views.view(service.records, uid)
    if group is None or group.status is None or group.spec.deletion is not None:
        return None
    spec, resharding = group.spec, group.status.resharding
    if resharding is None or resharding.generation != spec.resharding_generation:
        return None
    if not resharding.is_over or not any(shard.is_leaving for shard in spec.shards):
        return None
    return group, group.status, resharding


def _empty(spec: GroupSpec, status: GroupStatus, resharding: Resharding) -> frozenset[str]:
    """Return the shards to go that hold nothing; none where not every slot has an owner."""
    owned = {one.shard_id: one.slots for one in status.owned}
    if not covers_all(part for slots in owned.values() for part in slots):
        return frozenset()
    leaving = {shard.shard_id for shard in spec.shards if shard.is_leaving}
    owners = {shard_id for shard_id, slots in owned.items() if slots}
    return frozenset(leaving.intersection(resharding.emptied) - owners)


def _texts(spec: GroupSpec, dropped: Collection[str], resharding: Resharding) -> list[str]:
    """Return what there is to tell of the shards that were to go."""
    leaving = [shard.shard_id for shard in spec.shards if shard.is_leaving]
    gone = [shard_id for shard_id in leaving if shard_id in dropped]
    kept = [shard_id for shard_id in leaving if shard_id not in dropped]
    of_group = f"of replication group {spec.name}"
    texts: list[str] = []
    if gone:
        texts.append(f"Removing {_named(gone)} {of_group}")
    if kept:
        why = resharding.failure or "not all of their slots could be moved"
        texts.append(f"Keeping {_named(kept)} {of_group}: {why}")
    return texts


def _named(shard_ids: Sequence[str]) -> str:
    noun = "node group" if len(shard_ids) == 1 else "node groups"
    return f"{noun} {', '.join(shard_ids)}"
