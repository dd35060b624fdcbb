"""What becomes of shards that were to go, once their slots have moved as far as they could?

Those that are proven to hold nothing are dropped from the spec, the others stay. Shards that were
added and could not be made are dropped as well: whoever wants them asks again. One transaction on
what was read: whoever comes second finds nothing to do. Who was last seen to own a slot is never
dropped, whatever else is said. Names, places and tags of the nodes are freed by the loop when they
are gone.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence

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
        stillborn = _stillborn(before, status, resharding)
        dropped = _empty(before, status, resharding)
        after = dataclasses.replace(
            before,
            shards=tuple(
                dataclasses.replace(shard, is_leaving=shard.is_leaving and not resharding.is_over)
                for shard in before.shards
                if shard.shard_id not in dropped | stillborn.keys()
            ),
            generation=before.generation + 1,
        )
        changes.replace(SPEC + uid, after, group.spec_revision)
        # Who owns what was read there: it must still be so.
        changes.expect(STATUS + uid, group.status_revision)
        for text in (*_texts(before, dropped, resharding), *_texts_of(before, stillborn)):
            events.about_group(service, changes, before.name, text)
        return Decision(uid=uid, changes=changes, result=True)

    return await change(service, decide)


def _found(service: Service, uid: str) -> tuple[views.GroupView, GroupStatus, Resharding] | None:
    """Return a group with shards to go whose resharding is over, or with some that never came."""
    group = views.view(service.records, uid)
    if group is None or group.status is None or group.spec.deletion is not None:
        return None
    spec, resharding = group.spec, group.status.resharding
    if resharding is None or resharding.generation != spec.resharding_generation:
        return None
    leaves = resharding.is_over and any(shard.is_leaving for shard in spec.shards)
    if not leaves and not _stillborn(spec, group.status, resharding):
        return None
    return group, group.status, resharding


def _empty(spec: GroupSpec, status: GroupStatus, resharding: Resharding) -> frozenset[str]:
    """Return the shards to go that hold nothing; none where not every slot has an owner."""
    owned = {one.shard_id: one.slots for one in status.owned}
    if not resharding.is_over or not covers_all(part for own in owned.values() for part in own):
        return frozenset()
    leaving = {shard.shard_id for shard in spec.shards if shard.is_leaving}
    return frozenset(leaving.intersection(resharding.emptied) - _owners(status))


def _stillborn(spec: GroupSpec, status: GroupStatus, resharding: Resharding) -> dict[str, str]:
    """Return the shards that could not be made and are asked for still, and why."""
    known = {shard.shard_id for shard in spec.shards} - _owners(status)
    return {shard_id: why for shard_id, why in resharding.stillborn if shard_id in known}


def _owners(status: GroupStatus) -> frozenset[str]:
    return frozenset(one.shard_id for one in status.owned if one.slots)


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


def _texts_of(spec: GroupSpec, stillborn: Mapping[str, str]) -> list[str]:
    """Return what there is to tell of the shards that could not be made."""
    return [
        f"Removing {_named([shard_id])} of replication group {spec.name} again: {why}"
        for shard_id, why in stillborn.items()
    ]


def _named(shard_ids: Sequence[str]) -> str:
    noun = "node group" if len(shard_ids) == 1 else "node groups"
    return f"{noun} {', '.join(shard_ids)}"
