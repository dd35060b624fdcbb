"""How does the API show what there is? Specs, placements and statuses as output dicts.

The only place that translates our nouns into AWS's members. It decides nothing and reads nothing
but its arguments, and it tells the truth: what is not offered is shown as off, endpoints appear
once the group has served, and roles only where ElastiCache shows them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

from cachewright.model import slots
from cachewright.model.arns import Arns
from cachewright.model.engines import api_version_of
from cachewright.model.groups import GroupPlacement, NodeSpec, ShardSpec
from cachewright.model.status import Event, GroupState, NodeState, Role
from cachewright.service.engine_versions import OfferedLine
from cachewright.service.views import GroupView

Output: TypeAlias = dict[str, object]

#: A cluster of these engines always has exactly one cache node.
CACHE_NODE_ID = "0001"
#: What both groups and clusters are without, and how the API says so.
NOT_OFFERED: Mapping[str, object] = {
    "AuthTokenEnabled": False,
    "TransitEncryptionEnabled": False,
    "AtRestEncryptionEnabled": False,
    "LogDeliveryConfigurations": [],
    "NetworkType": "ipv4",
    "IpDiscovery": "ipv4",
}


def replication_group(arns: Arns, group: GroupView) -> Output:
    """Return a `ReplicationGroup`."""
    spec = group.spec
    shown: Output = {
        "ReplicationGroupId": spec.name,
        "Description": spec.description,
        "Status": group.state.value,
        "PendingModifiedValues": _pending(group),
        "MemberClusters": [node.node_id for node in (*spec.nodes(), *group.leaving())],
        "NodeGroups": [_node_group(group, group.placement, shard) for shard in group.shards()]
        if group.placement is not None
        else [],
        "SnapshottingClusterId": spec.snapshotting_node_id,
        "AutomaticFailover": _automatic_failover(group),
        "MultiAZ": _enabled(spec.multi_az),
        "SnapshotRetentionLimit": spec.snapshot_retention_days,
        "SnapshotWindow": spec.snapshot_window,
        "ClusterEnabled": spec.cluster_enabled,
        "CacheNodeType": spec.node_type,
        "StorageEncryptionType": "none",
        "ARN": arns.of_group(spec.name),
        "ReplicationGroupCreateTime": spec.created_at,
        "DataTiering": "disabled",
        "AutoMinorVersionUpgrade": spec.auto_minor_version_upgrade,
        "ClusterMode": _enabled(spec.cluster_enabled),
        "Engine": spec.engine.value,
        "Durability": spec.durability,
        "EffectiveDurability": "disabled",
        **NOT_OFFERED,
    }
    if spec.cluster_enabled and group.placement is not None and is_provisioned(group):
        shown["ConfigurationEndpoint"] = endpoint(*configuration_endpoint(group, group.placement))
    return shown


def engine_version(group: GroupView, node_id: str) -> str:
    """Return the version that runs; before one does, the one that will."""
    spec = group.spec
    chosen = None if group.placement is None else group.placement.build_version
    if chosen is not None and api_version_of(spec.engine, chosen) != spec.engine_version:
        chosen = None  # it was chosen for what the group ran before
    return running_version(group, node_id) or chosen or spec.engine_version


def running_version(group: GroupView, node_id: str) -> str | None:
    """Return the full version that runs, `None` while none does."""
    seen = None if group.status is None else group.status.of(node_id)
    return None if seen is None else seen.engine_version


def engine_line(entry: OfferedLine) -> Output:
    """Return a `CacheEngineVersion`."""
    line = entry.line
    return {
        "Engine": line.engine.value,
        "EngineVersion": line.api_version,
        "CacheParameterGroupFamily": line.family,
        "CacheEngineDescription": line.description,
        "CacheEngineVersionDescription": (
            f"{line.engine.value} version {entry.offer.version or line.api_version}"
        ),
    }


def event(happened: Event) -> Output:
    """Return an `Event`."""
    return {
        "SourceIdentifier": happened.source_id,
        "SourceType": happened.source_type.value,
        "Message": happened.message,
        "Date": happened.at,
    }


def tag_list(tags: Mapping[str, str]) -> Output:
    """Return a `TagListMessage`."""
    return {"TagList": [{"Key": key, "Value": value} for key, value in tags.items()]}


# Endpoints: (address, port)


def configuration_endpoint(group: GroupView, placement: GroupPlacement) -> tuple[str, int]:
    """Return where clients of cluster mode begin; with a shared address that is the first node.

    It is one that stays, as long as one is there.
    """
    leaving = {shard.shard_id for shard in group.shards() if shard.is_leaving}
    gone = {node.node_id for node in group.leaving()}
    staying = (
        place
        for place in placement.nodes
        if place.shard_id not in leaving and place.node_id not in gone
    )
    first = next(staying, placement.nodes[0])
    return placement.endpoints.configuration or first.address, first.port


def primary_endpoint(
    group: GroupView, placement: GroupPlacement, shard: ShardSpec
) -> tuple[str, int]:
    """Return the address that follows the primary, or the primary's own where they are shared."""
    primary = group.primary_of(shard.nodes) or shard.nodes[0].node_id
    return _following(placement, placement.endpoints.primary, primary)


def reader_endpoint(
    group: GroupView, placement: GroupPlacement, shard: ShardSpec
) -> tuple[str, int]:
    """Return the address for reads: a replica's that serves, the primary's where there is none."""
    primary = group.primary_of(shard.nodes) or shard.nodes[0].node_id
    reader = next(
        (node.node_id for node in shard.nodes if _is_serving_replica(group, node)), primary
    )
    return _following(placement, placement.endpoints.reader, reader)


def _following(placement: GroupPlacement, address: str | None, node_id: str) -> tuple[str, int]:
    place = placement.of(node_id)
    return address or place.address, place.port


def _is_serving_replica(group: GroupView, node: NodeSpec) -> bool:
    return (
        group.role_of(node.node_id) is Role.REPLICA
        and group.node_state(node.node_id) is NodeState.AVAILABLE
    )


def endpoint(address: str, port: int) -> Output:
    """Return an `Endpoint`."""
    return {"Address": address, "Port": port}


# Parts of a group


def _node_group(group: GroupView, placement: GroupPlacement, shard: ShardSpec) -> Output:
    spec = group.spec
    has_endpoints = not spec.cluster_enabled and is_provisioned(group)
    shown: Output = {"NodeGroupId": shard.shard_id, "Status": _shard_status(group, shard)}
    if has_endpoints:
        shown["PrimaryEndpoint"] = endpoint(*primary_endpoint(group, placement, shard))
        shown["ReaderEndpoint"] = endpoint(*reader_endpoint(group, placement, shard))
    if spec.cluster_enabled:
        shown["Slots"] = slots.render_ranges(group.slots_of(shard))
    shown["NodeGroupMembers"] = [
        _member(group, node, shows_place=has_endpoints) for node in shard.nodes
    ]
    return shown


def _member(group: GroupView, node: NodeSpec, *, shows_place: bool) -> Output:
    """Return a member, with its read endpoint and its role where they are shown and known."""
    shown: Output = {
        "CacheClusterId": node.node_id,
        "CacheNodeId": CACHE_NODE_ID,
        "PreferredAvailabilityZone": node.zone,
    }
    place = group.place_of(node.node_id) if shows_place else None
    if place is not None and group.node_state(node.node_id) is not NodeState.DELETING:
        role = group.role_of(node.node_id)
        shown["ReadEndpoint"] = endpoint(place.address, place.port)
        shown["CurrentRole"] = None if role is None else role.value
    return shown


def is_provisioned(group: GroupView) -> bool:
    """Tell whether the group has served and is not on its way out."""
    return (
        group.status is not None
        and group.status.was_available
        and group.state is not GroupState.DELETING
    )


def _shard_status(group: GroupView, shard: ShardSpec) -> str:
    if group.state is GroupState.DELETING or shard.is_leaving:
        return GroupState.DELETING.value
    if group.status is None or not group.status.was_available:
        return GroupState.CREATING.value
    states = {group.node_state(node.node_id) for node in shard.nodes}
    states = states - {NodeState.INCOMPATIBLE_NETWORK} or {NodeState.CREATING}
    if states in ({NodeState.AVAILABLE}, {NodeState.CREATING}):
        return states.pop().value
    return GroupState.MODIFYING.value


def _automatic_failover(group: GroupView) -> str:
    spec = group.spec
    if spec.automatic_failover and not spec.cluster_enabled and group.state is GroupState.CREATING:
        return "enabling"
    if group.switches_failover:
        return "enabling" if spec.automatic_failover else "disabling"
    return _enabled(spec.automatic_failover)


def _pending(group: GroupView) -> Output:
    """Return `ReplicationGroupPendingModifiedValues`: what waits, and what is under way."""
    shown: Output = {}
    if group.spec.pending is not None:
        shown["PrimaryClusterId"] = group.spec.pending.primary_node_id
    if group.switches_failover:
        shown["AutomaticFailoverStatus"] = _enabled(group.spec.automatic_failover)
    percent = group.resharding_percent
    if percent is not None:
        shown["Resharding"] = {"SlotMigration": {"ProgressPercentage": percent}}
    return shown


def notification_target(group: GroupView) -> Output | None:
    """Return a `NotificationConfiguration`, `None` where nobody is to be told."""
    notification = group.spec.notification
    if notification is None:
        return None
    return {"TopicArn": notification.topic_arn, "TopicStatus": notification.topic_status}


def _enabled(is_on: bool) -> str:
    return "enabled" if is_on else "disabled"
