"""How far has an update got, where? Derived from the versions that nodes run and what was asked."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from cachewright.model.groups import GroupKind, NodeSpec
from cachewright.model.service_updates import (
    LISTED,
    ServiceUpdate,
    UpdateRequest,
    UpdateState,
    UpdateStatus,
)
from cachewright.model.status import NodeStatus
from cachewright.service import service_updates, views
from cachewright.service.context import Service
from cachewright.service.inputs_service_updates import DescribeUpdateActions, TimeRange
from cachewright.store import furniture


@dataclass(frozen=True, kw_only=True, slots=True)
class UpdateAction:
    """How far an update has got on one group."""

    update: ServiceUpdate
    status: UpdateStatus
    group: views.GroupView
    request: UpdateRequest | None

    @property
    def is_replication_group(self) -> bool:
        """The API names it by `ReplicationGroupId`, else by `CacheClusterId`."""
        return self.group.spec.kind is GroupKind.REPLICATION_GROUP

    @property
    def state(self) -> UpdateState:
        """How far it has got on the whole group."""
        return _state_of({self.node_state(node) for node in self.group.spec.nodes()})

    def node_state(self, node: NodeSpec) -> UpdateState:
        """Return how far it has got on a node."""
        seen = self.group.seen(node.node_id)
        version = None if seen is None else seen.engine_version
        if version is not None and self.update.has_reached(version):
            return UpdateState.COMPLETE
        asked = None if self.request is None else self.request.of(node.node_id)
        if asked is None or self.request is None:
            return UpdateState.NOT_APPLIED
        is_up = seen is not None and self._is_up(seen)
        if self.request.stopped_at is not None:
            return UpdateState.STOPPED if is_up else UpdateState.STOPPING
        return UpdateState.WAITING_TO_START if is_up else UpdateState.IN_PROGRESS

    def _is_up(self, seen: NodeStatus) -> bool:
        if self.group.spec.kind is GroupKind.MEMCACHED:
            return seen.role is not None
        return seen.has_copy


def describe(
    service: Service, wanted: DescribeUpdateActions
) -> tuple[tuple[str, UpdateAction], ...]:
    """Return (sort key, action) for every action that passes the filters, sorted."""
    updates = {
        update.name: (update, status)
        for update in furniture.service_updates(service.records)
        if _passes(update, status := service_updates.status_of(service, update), wanted)
    }
    found = {
        f"{update.name}/{group.spec.name}": action
        for group in _groups(service, wanted)
        for update, status in updates.values()
        if (action := action_of(service, group, update, status)) is not None
    }
    states = frozenset(wanted.update_action_status)
    return tuple(
        (key, found[key]) for key in sorted(found) if not states or found[key].state.value in states
    )


def _passes(update: ServiceUpdate, status: UpdateStatus, wanted: DescribeUpdateActions) -> bool:
    span = wanted.service_update_time_range or TimeRange()
    return (
        (not wanted.service_update_name or update.name == wanted.service_update_name.lower())
        and (not wanted.engine or update.engine.value == wanted.engine.lower())
        and (not wanted.service_update_status or status.value in wanted.service_update_status)
        and (span.start_time is None or update.released_at >= span.start_time)
        and (span.end_time is None or update.released_at <= span.end_time)
    )


def _groups(service: Service, wanted: DescribeUpdateActions) -> Iterator[views.GroupView]:
    """Yield the groups that are asked for; without ids all of them."""
    names = {name.lower() for name in wanted.replication_group_ids}
    cluster_ids = {cluster_id.lower() for cluster_id in wanted.cache_cluster_ids}
    for uid in service.records.uids():
        group = views.view(service.records, uid)
        if group is None or group.spec.deletion is not None:
            continue
        among = names if group.spec.kind is GroupKind.REPLICATION_GROUP else cluster_ids
        if not (names or cluster_ids) or group.spec.name in among:
            yield group


def action_of(
    service: Service, group: views.GroupView, update: ServiceUpdate, status: UpdateStatus
) -> UpdateAction | None:
    """Return the action of an update on a group, `None` where there is nothing to tell."""
    if not service_updates.concerns(update, group.spec):
        return None
    found = furniture.update_request(service.records, update.name, group.spec.uid)
    request = None if found is None else found.value
    is_needed = bool(service_updates.outdated_nodes(group, update))
    if request is None:
        is_told = is_needed and status is UpdateStatus.AVAILABLE
    else:
        is_told = is_needed or service.clock.now() - request.changed_at <= LISTED
    if not is_told:
        return None
    return UpdateAction(update=update, status=status, group=group, request=request)


def _state_of(states: set[UpdateState]) -> UpdateState:
    if states == {UpdateState.COMPLETE}:
        return UpdateState.COMPLETE
    for state in (UpdateState.STOPPING, UpdateState.STOPPED):
        if state in states:
            return state
    if UpdateState.IN_PROGRESS in states:
        return UpdateState.IN_PROGRESS
    if UpdateState.WAITING_TO_START not in states:
        return UpdateState.NOT_APPLIED
    is_begun = UpdateState.COMPLETE in states
    return UpdateState.IN_PROGRESS if is_begun else UpdateState.WAITING_TO_START
