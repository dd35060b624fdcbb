"""What may a caller do about updates? Apply one to groups and clusters, and stop it.

To apply an update is to ask for a planned restart of every node that runs an older build: a start
always takes the best build of its version. How restarts follow each other is the planner's
business. To stop is to take back the restarts that have not happened. A group that wants minor
upgrades by itself gets its updates in its maintenance window.
"""

from __future__ import annotations

import dataclasses
import functools
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from cachewright.model.errors import ClientFault, invalid_combination, invalid_value
from cachewright.model.groups import GroupKind, GroupSpec
from cachewright.model.service_updates import (
    AskedNode,
    ServiceUpdate,
    UpdateRequest,
    UpdateState,
    UpdateStatus,
)
from cachewright.model.status import GroupState
from cachewright.service import (
    events,
    restarts,
    rules,
    service_updates,
    update_actions,
    views,
    windows,
)
from cachewright.service.context import Decision, Service, change
from cachewright.service.inputs_service_updates import (
    BatchApplyUpdateAction,
    BatchStopUpdateAction,
    DescribeUpdateActions,
)
from cachewright.store import furniture
from cachewright.store.records import SPEC, ChangeSet, Versioned

_log = logging.getLogger(__name__)

_Act = Callable[[Service, ServiceUpdate, Callable[[], views.GroupView]], Awaitable[UpdateState]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Processed:
    """What became of one group or cluster of a call."""

    #: As the caller wrote it.
    asked_id: str
    is_replication_group: bool
    update_name: str
    #: `None` if it was refused.
    state: UpdateState | None = None
    refusal: ClientFault | None = None


async def apply(service: Service, wanted: BatchApplyUpdateAction) -> tuple[Processed, ...]:
    """Ask the groups and clusters to restart onto the build of an update."""
    return await _each(service, wanted, _apply)


async def stop(service: Service, wanted: BatchStopUpdateAction) -> tuple[Processed, ...]:
    """Ask the groups and clusters to restart no further."""
    return await _each(service, wanted, _stop)


async def apply_due(service: Service) -> tuple[str, ...]:
    """Apply what can be to every group that wants it in its window, and whose window is open.

    Returns:
        The names of the groups. One that is not available is left for the next look, one that a
        caller stopped is left alone.
    """
    due = [
        action
        for _, action in update_actions.describe(service, DescribeUpdateActions())
        if action.state is UpdateState.NOT_APPLIED and _is_due(service, action)
    ]
    applied: list[str] = []
    for action in due:
        uid = action.group.spec.uid
        find = functools.partial(_still_there, service, uid)
        try:
            await _apply(service, action.update, find, is_automatic=True)
        except ClientFault as fault:
            _log.info("event=update_waits uid=%s reason=%r", uid, fault.message)
            continue
        applied.append(action.group.spec.name)
    return tuple(applied)


def _is_due(service: Service, action: update_actions.UpdateAction) -> bool:
    spec = action.group.spec
    is_wanted = spec.auto_minor_version_upgrade and action.status is UpdateStatus.AVAILABLE
    return is_wanted and windows.is_open(spec.maintenance_window, service.clock.now())


def _still_there(service: Service, uid: str) -> views.GroupView:
    group = views.view(service.records, uid)
    if group is None:
        raise rules.group_not_found(uid)
    return group


async def _each(
    service: Service, wanted: BatchApplyUpdateAction | BatchStopUpdateAction, act: _Act
) -> tuple[Processed, ...]:
    update = service_updates.find(service, wanted.service_update_name)
    asked = (
        *((name, True) for name in dict.fromkeys(wanted.replication_group_ids)),
        *((name, False) for name in dict.fromkeys(wanted.cache_cluster_ids)),
    )
    if not asked:
        raise invalid_value(
            "At least one of ReplicationGroupIds and CacheClusterIds must be provided."
        )
    done: list[Processed] = []
    for asked_id, is_group in asked:
        find = functools.partial(_find, service, asked_id, is_group=is_group)
        state, refusal = None, None
        try:
            state = await act(service, update, find)
        except ClientFault as fault:
            refusal = fault
        done.append(
            Processed(
                asked_id=asked_id,
                is_replication_group=is_group,
                update_name=update.name,
                state=state,
                refusal=refusal,
            )
        )
    return tuple(done)


def _find(service: Service, asked_id: str, *, is_group: bool) -> views.GroupView:
    """Return the group that is updated as this group or cluster, or raise why there is none."""
    if is_group:
        return views.find_group(service.records, asked_id)
    cluster = views.find_cluster(service.records, asked_id)
    spec = cluster.group.spec
    if spec.kind is GroupKind.REPLICATION_GROUP:
        raise invalid_combination(
            f"Cache cluster {cluster.cluster_id} belongs to replication group {spec.name}; name "
            "that in ReplicationGroupIds."
        )
    return cluster.group


def _require_available(group: views.GroupView) -> None:
    if group.state is GroupState.AVAILABLE:
        return
    name = group.spec.name
    if group.spec.kind is GroupKind.REPLICATION_GROUP:
        raise rules.invalid_group_state(f"Replication group {name} is not in available state.")
    raise rules.invalid_cluster_state(f"Cache cluster {name} is not in available state.")


async def _apply(
    service: Service,
    update: ServiceUpdate,
    find: Callable[[], views.GroupView],
    *,
    is_automatic: bool = False,
) -> UpdateState:
    def decide() -> Decision[UpdateState]:
        status = service_updates.status_of(service, update)
        if status is not UpdateStatus.AVAILABLE:
            raise invalid_combination(f"Service update {update.name} is {status.value}.")
        group = find()
        found = furniture.update_request(service.records, update.name, group.spec.uid)
        _refuse_running(service, group, update, status)
        _require_available(group)
        due = service_updates.outdated_nodes(group, update)
        if not due:
            raise invalid_combination(
                f"Service update {update.name} does not apply to {group.spec.name}."
            )
        generation = group.spec.generation + 1
        request = UpdateRequest(
            requested_at=service.clock.now(),
            nodes=tuple(
                AskedNode(node_id=node.node_id, before=node.restarts, asked=generation)
                for node in group.spec.nodes()
                if node.node_id in due
            ),
            is_automatic=is_automatic,
        )
        after = restarts.asked(group.spec, {node.node_id for node in request.nodes})
        changes = _changes_of(
            group,
            after,
            furniture.request_key(update.name, after.uid),
            Versioned(request, 0 if found is None else found.mod_revision),
        )
        _tell(service, changes, after, f"Service update {update.name} accepted")
        result = UpdateState.WAITING_TO_START
        return Decision(uid=after.uid, changes=changes, result=result)

    return await change(service, decide)


def _refuse_running(
    service: Service, group: views.GroupView, update: ServiceUpdate, status: UpdateStatus
) -> None:
    action = update_actions.action_of(service, group, update, status)
    running = {UpdateState.WAITING_TO_START, UpdateState.IN_PROGRESS, UpdateState.STOPPING}
    if action is not None and action.state in running:
        raise invalid_combination(
            f"Service update {update.name} is {action.state.value} on {group.spec.name}."
        )


async def _stop(
    service: Service, update: ServiceUpdate, find: Callable[[], views.GroupView]
) -> UpdateState:
    def decide() -> Decision[UpdateState]:
        group = find()
        found = furniture.update_request(service.records, update.name, group.spec.uid)
        status = service_updates.status_of(service, update)
        action = update_actions.action_of(service, group, update, status)
        stoppable = {UpdateState.WAITING_TO_START, UpdateState.IN_PROGRESS}
        if found is None or action is None or action.state not in stoppable:
            shown = "not-applied" if action is None else action.state.value
            raise invalid_combination(
                f"Service update {update.name} is {shown} on {group.spec.name} and cannot be "
                "stopped."
            )
        request = dataclasses.replace(found.value, stopped_at=service.clock.now())
        outdated = service_updates.outdated_nodes(group, update)
        taken_back = {
            node.node_id: asked.before
            for node in group.spec.nodes()
            if node.node_id in outdated
            and (asked := request.of(node.node_id)) is not None
            and node.restarts == asked.asked
        }
        after = restarts.numbered(group.spec, taken_back)
        changes = _changes_of(
            group,
            after,
            furniture.request_key(update.name, after.uid),
            Versioned(request, 0 if found is None else found.mod_revision),
        )
        _tell(service, changes, after, f"Stop of service update {update.name} accepted")
        return Decision(uid=after.uid, changes=changes, result=UpdateState.STOPPING)

    return await change(service, decide)


def _changes_of(
    group: views.GroupView, after: GroupSpec, key: str, request: Versioned[UpdateRequest]
) -> ChangeSet:
    """Return the change to `after`; `request` carries the revision of the one before it."""
    changes = ChangeSet()
    changes.replace(SPEC + after.uid, after, group.spec_revision)
    changes.replace(key, request.value, request.mod_revision)
    return changes


def _tell(service: Service, changes: ChangeSet, spec: GroupSpec, text: str) -> None:
    if spec.kind is GroupKind.REPLICATION_GROUP:
        events.about_group(service, changes, spec.name, f"{text} for {spec.name}")
    else:
        events.about_cluster(service, changes, spec.name, f"{text} for {spec.name}")
