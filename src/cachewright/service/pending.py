"""What happens to accepted changes that wait? The maintenance window makes them part of the spec.

One set of changes waits for each group; a new wish for the same thing replaces the old one, and an
immediate change takes everything that waits with it. A window that is missed because the group was
not available is not the last one.
"""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Collection

from cachewright.model.groups import DISCOVERY_ID, GroupKind, GroupSpec, PendingChanges
from cachewright.model.status import GroupState, NodeState
from cachewright.service import cache_nodes, events, refits, views, windows
from cachewright.service.context import Decision, Service, change
from cachewright.store.records import SPEC, ChangeSet

#: Windows last an hour at least: looking twice a minute misses none, and costs a glance at each
#: group. Seconds.
LOOK_AGAIN_S = 30.0


def waiting(changes: PendingChanges) -> PendingChanges | None:
    """Return what is to be written down for changes that wait: nothing where there are none."""
    return None if changes == PendingChanges() else changes


def applied(spec: GroupSpec, *, taken: Collection[str], now: datetime.datetime) -> GroupSpec:
    """Return `spec` with all that waits made true; `taken`: ids of nodes that have a place."""
    changes = spec.pending
    if changes is None:
        return spec
    shards = spec.shards
    if changes.zones_to_add or changes.node_ids_to_remove:
        shards = cache_nodes.with_changes(spec, changes, taken=taken, now=now)
    return dataclasses.replace(
        refits.applied(spec, changes),
        shards=shards,
        primary_node_id=changes.primary_node_id or spec.primary_node_id,
        pending=None,
    )


def decided(
    service: Service, group: views.GroupView, after: GroupSpec, *, is_immediate: bool
) -> GroupSpec:
    """Return `after`, where what waits is applied if it shall be now.

    A window that was just moved to the present lets it happen at once as well.
    """
    now = service.clock.now()
    window = after.maintenance_window
    has_moved = window != group.spec.maintenance_window
    if not is_immediate and not (has_moved and windows.is_open(window, now)):
        return after
    if after.pending is not None and after.pending.node_type:
        refits.refuse_too_small(service, after, after.pending.node_type)
    return applied(after, taken=taken_ids(group), now=now)


def taken_ids(group: views.GroupView) -> frozenset[str]:
    """Return the ids of nodes that have a place, among them those that are on their way out."""
    placed = group.placement.node_ids() if group.placement else frozenset()
    return placed - {DISCOVERY_ID}


async def apply_due(service: Service, now: datetime.datetime) -> tuple[str, ...]:
    """Apply what waits in every group whose window is open at `now`; return the groups' names.

    A group that is not available is left for the next look.
    """
    found: list[str] = []
    for uid in service.records.uids():
        due = _is_due(service, uid, now)
        if due is None:
            continue
        await refits.look(service, due.spec)
        if await _apply(service, uid, now):
            spec = service.records.spec(uid)
            found += [] if spec is None else [spec.value.name]
    return tuple(found)


async def _apply(service: Service, uid: str, now: datetime.datetime) -> bool:
    def decide() -> Decision[bool]:
        changes = ChangeSet()
        group = _is_due(service, uid, now)
        if group is None:
            return Decision(uid=None, changes=changes, result=False)
        before = group.spec
        due = _without_too_small(service, changes, before)
        after = applied(due, taken=taken_ids(group), now=now)
        after = dataclasses.replace(after, generation=before.generation + 1)
        changes.replace(SPEC + uid, after, group.spec_revision)
        text = (
            f"Applying pending modifications in the maintenance window {after.maintenance_window}"
        )
        events.about_spec(service, changes, before, text)
        return Decision(uid=uid, changes=changes, result=True)

    return await change(service, decide)


def _without_too_small(service: Service, changes: ChangeSet, spec: GroupSpec) -> GroupSpec:
    """Return `spec` without a node type that waits and has become too small; people are told."""
    node_type = spec.pending.node_type if spec.pending else None
    if spec.pending is None or not node_type or not refits.is_too_small(service, spec, node_type):
        return spec
    events.about_spec(service, changes, spec, refits.too_small_text(spec, node_type))
    return dataclasses.replace(spec, pending=dataclasses.replace(spec.pending, node_type=None))


def _is_due(service: Service, uid: str, now: datetime.datetime) -> views.GroupView | None:
    """Return the group if something waits in it that can be applied now."""
    group = views.view(service.records, uid)
    if group is None or group.spec.pending is None:
        return None
    if not windows.is_open(group.spec.maintenance_window, now) or not _is_available(group):
        return None
    return group


def _is_available(group: views.GroupView) -> bool:
    if group.spec.kind is GroupKind.REPLICATION_GROUP:
        return group.state is GroupState.AVAILABLE
    cluster = views.cluster_of(group, group.spec.name)
    return cluster is not None and cluster.state is NodeState.AVAILABLE
