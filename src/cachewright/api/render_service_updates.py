"""How does the API show service updates? Decides nothing and reads nothing but its arguments."""

from __future__ import annotations

import datetime

from cachewright.api.render import Output
from cachewright.model.groups import GroupKind, NodeSpec
from cachewright.model.service_updates import SEVERITY, ServiceUpdate, UpdateState, UpdateStatus
from cachewright.service.update_actions import UpdateAction
from cachewright.service.update_batches import Processed

#: The only type that the service model has.
_TYPE = "security-update"
#: A restart takes a second or two, the data of a replica a little more.
_ESTIMATE = "1 minute per node"
#: ElastiCache's id of the only node in a cluster of one node.
_ONLY_NODE = "0001"


def service_update(update: ServiceUpdate, status: UpdateStatus) -> Output:
    """Return a `ServiceUpdate`."""
    return {
        "ServiceUpdateName": update.name,
        "ServiceUpdateReleaseDate": update.released_at,
        "ServiceUpdateSeverity": SEVERITY,
        "ServiceUpdateRecommendedApplyByDate": update.apply_by,
        "ServiceUpdateStatus": status.value,
        "ServiceUpdateDescription": f"Build {update.version} of {update.engine.value} "
        f"{update.api_version} is on the host.",
        "ServiceUpdateType": _TYPE,
        "Engine": update.engine.value,
        "EngineVersion": update.version,
        "AutoUpdateAfterRecommendedApplyByDate": False,
        "EstimatedUpdateTime": _ESTIMATE,
    }


def update_action(action: UpdateAction, now: datetime.datetime, *, shows_nodes: bool) -> Output:
    """Return an `UpdateAction`, with how far each node is if `shows_nodes`."""
    update, spec, request = action.update, action.group.spec, action.request
    states = [action.node_state(node) for node in spec.nodes()]
    shown: Output = {
        _id_member(is_group=action.is_replication_group): spec.name,
        "ServiceUpdateName": update.name,
        "ServiceUpdateReleaseDate": update.released_at,
        "ServiceUpdateSeverity": SEVERITY,
        "ServiceUpdateStatus": action.status.value,
        "ServiceUpdateRecommendedApplyByDate": update.apply_by,
        "ServiceUpdateType": _TYPE,
        "UpdateActionAvailableDate": max(update.released_at, spec.created_at),
        "UpdateActionStatus": action.state.value,
        "NodesUpdated": f"{states.count(UpdateState.COMPLETE)}/{len(states)}",
        "UpdateActionStatusModifiedDate": update.released_at
        if request is None
        else request.changed_at,
        "SlaMet": _sla_met(action, now),
        "EstimatedUpdateTime": _ESTIMATE,
        "Engine": update.engine.value,
    }
    if shows_nodes and action.is_replication_group:
        shown["NodeGroupUpdateStatus"] = [
            {
                "NodeGroupId": shard.shard_id,
                "NodeGroupMemberUpdateStatus": [
                    {"CacheClusterId": node.node_id, **_node(action, node)} for node in shard.nodes
                ],
            }
            for shard in spec.shards
        ]
    elif shows_nodes:
        shown["CacheNodeUpdateStatus"] = [_node(action, node) for node in spec.nodes()]
    return shown


def processed(done: Processed) -> Output:
    """Return a `ProcessedUpdateAction`, or an `UnprocessedUpdateAction` for what was refused."""
    shown: Output = {
        _id_member(is_group=done.is_replication_group): done.asked_id,
        "ServiceUpdateName": done.update_name,
    }
    if done.refusal is not None:
        return {
            **shown,
            "ErrorType": done.refusal.code,
            "ErrorMessage": done.refusal.message,
        }
    return {**shown, "UpdateActionStatus": None if done.state is None else done.state.value}


def _id_member(*, is_group: bool) -> str:
    return "ReplicationGroupId" if is_group else "CacheClusterId"


def _sla_met(action: UpdateAction, now: datetime.datetime) -> str:
    """Tell whether every node had the update in time; before that time nobody can."""
    apply_by, request = action.update.apply_by, action.request
    if action.group.spec.created_at > apply_by:
        return "n/a"
    if action.state is UpdateState.COMPLETE and request is not None:
        return "yes" if request.changed_at <= apply_by else "no"
    return "n/a" if now <= apply_by else "no"


def _node(action: UpdateAction, node: NodeSpec) -> Output:
    is_memcached = action.group.spec.kind is GroupKind.MEMCACHED
    shown: Output = {
        "CacheNodeId": node.node_id if is_memcached else _ONLY_NODE,
        "NodeUpdateStatus": action.node_state(node).value,
    }
    request = action.request
    if request is not None and request.of(node.node_id) is not None:
        shown["NodeUpdateInitiatedBy"] = "system" if request.is_automatic else "customer"
        shown["NodeUpdateInitiatedDate"] = request.requested_at
        shown["NodeUpdateStatusModifiedDate"] = request.changed_at
    return shown
