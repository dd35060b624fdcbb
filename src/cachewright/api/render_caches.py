"""How does the API show a cache cluster? One `CacheCluster` for all three kinds of them.

A member of a replication group, a single node and a whole Memcached cluster differ in how many
cache nodes they have and whether these have numbers. See `render` for what is true of all.
"""

from __future__ import annotations

from collections.abc import Mapping

from cachewright.api.render import (
    CACHE_NODE_ID,
    NOT_OFFERED,
    Output,
    endpoint,
    engine_version,
    is_provisioned,
    notification_target,
    running_version,
)
from cachewright.model import engines
from cachewright.model.arns import Arns
from cachewright.model.groups import DISCOVERY_ID, NodeSpec
from cachewright.model.status import NodeState, ParameterState
from cachewright.service.views import ClusterView

#: What ElastiCache shows where the nodes of a cluster are in more than one availability zone.
_MULTIPLE_ZONES = "Multiple"
_DOWNLOADS = "https://console.aws.amazon.com/elasticache/home#client-download:"
#: A cache node has fewer states than its cluster, and other words: one that is mended is made anew.
_NODE_STATUSES: Mapping[NodeState, str] = {
    NodeState.MODIFYING: "creating",
    NodeState.INCOMPATIBLE_NETWORK: "creating",
    NodeState.REBOOTING: "rebooting",
}
#: States in which only the fields of the cluster itself are shown.
_WITHOUT_NODES = frozenset({NodeState.CREATING, NodeState.DELETING})
#: Nodes that are not there yet, or not for long any more, have no address for anybody.
_WITHOUT_ENDPOINT = frozenset(
    {NodeState.CREATING, NodeState.DELETING, NodeState.INCOMPATIBLE_NETWORK}
)
#: The worst of the nodes' states is the cluster's.
_WORST_FIRST = (ParameterState.APPLYING, ParameterState.PENDING_REBOOT, ParameterState.IN_SYNC)


def cache_cluster(arns: Arns, cluster: ClusterView, *, shows_nodes: bool) -> Output:
    """Return a `CacheCluster`, with its `CacheNode`s if `shows_nodes`."""
    group, spec = cluster.group, cluster.group.spec
    shown: Output = {
        **NOT_OFFERED,
        "CacheClusterId": cluster.cluster_id,
        "ReplicationGroupId": None if group.is_standalone else spec.name,
        "ClientDownloadLandingPage": _DOWNLOADS,
        "CacheNodeType": spec.node_type,
        "Engine": _engine(cluster),
        "EngineVersion": _engine_version(cluster),
        "CacheClusterStatus": cluster.state.value,
        "NumCacheNodes": len(cluster.staying),
        "PreferredAvailabilityZone": _zone(cluster),
        "CacheClusterCreateTime": cluster.node.created_at or spec.created_at
        if not cluster.is_memcached
        else spec.created_at,
        "PreferredMaintenanceWindow": spec.maintenance_window,
        "PendingModifiedValues": _pending(cluster),
        "NotificationConfiguration": notification_target(group),
        "CacheSecurityGroups": [],
        "CacheParameterGroup": _parameter_group(cluster),
        "CacheSubnetGroupName": spec.subnet_group,
        "AutoMinorVersionUpgrade": spec.auto_minor_version_upgrade,
        "SecurityGroups": [
            {"SecurityGroupId": group_id, "Status": "active"}
            for group_id in spec.security_group_ids
        ],
        "SnapshotRetentionLimit": spec.snapshot_retention_days,
        "SnapshotWindow": spec.snapshot_window or None,
        "TransitEncryptionEnabled": spec.transit_encryption,
        "ARN": arns.of_node(cluster.cluster_id),
        "ReplicationGroupLogDeliveryEnabled": False,
    }
    discovery = group.place_of(DISCOVERY_ID)
    if discovery is not None and is_provisioned(group):
        shown["ConfigurationEndpoint"] = endpoint(discovery.address, discovery.port)
    if shows_nodes and cluster.state not in _WITHOUT_NODES:
        shown["CacheNodes"] = [_cache_node(cluster, node) for node in cluster.nodes]
    return shown


def _engine(cluster: ClusterView) -> str:
    """Return what runs; it is not yet what the group is to run while it is being upgraded."""
    seen = cluster.group.seen(cluster.node.node_id)
    runs = seen.engine if seen is not None else None
    return (runs or cluster.group.spec.engine).value


def _engine_version(cluster: ClusterView) -> str:
    """Return the version that runs; while nodes are being upgraded, the oldest."""
    running = [
        version
        for node in cluster.staying
        if (version := running_version(cluster.group, node.node_id)) is not None
    ]
    if running:
        return min(running, key=engines.version_key)
    return engine_version(cluster.group, cluster.node.node_id)


def _zone(cluster: ClusterView) -> str:
    zones = {node.zone for node in cluster.staying}
    return zones.pop() if len(zones) == 1 else _MULTIPLE_ZONES


def _pending(cluster: ClusterView) -> Output:
    """Return `PendingModifiedValues`; a parameter group that waits has no member in it."""
    spec = cluster.group.spec
    pending = spec.pending
    if pending is None:
        return {}
    shown: Output = {}
    if pending.zones_to_add or pending.node_ids_to_remove:
        added, removed = len(pending.zones_to_add), len(pending.node_ids_to_remove)
        shown["NumCacheNodes"] = sum(1 for _ in spec.nodes()) + added - removed
    if pending.node_ids_to_remove:
        shown["CacheNodeIdsToRemove"] = list(pending.node_ids_to_remove)
    if pending.engine_version:
        shown["EngineVersion"] = pending.engine_version
    if pending.node_type:
        shown["CacheNodeType"] = pending.node_type
    return shown


def _parameter_group(cluster: ClusterView) -> Output:
    """Return a `CacheParameterGroupStatus`."""
    states = {_parameter_state(cluster, node) for node in cluster.staying}
    return {
        "CacheParameterGroupName": cluster.group.spec.parameter_group,
        "ParameterApplyStatus": next(s for s in _WORST_FIRST if s in states).value,
        "CacheNodeIdsToReboot": [
            _number(cluster, node)
            for node in cluster.staying
            if (seen := cluster.group.seen(node.node_id)) is not None and seen.awaiting_reboot
        ],
    }


def _parameter_state(cluster: ClusterView, node: NodeSpec) -> ParameterState:
    """Return how far the parameters have got; what nobody has looked at yet is on its way."""
    group = cluster.group
    seen = group.seen(node.node_id)
    if seen is None or group.status is None:
        return ParameterState.IN_SYNC
    if group.status.observed_generation < group.spec.generation:
        return ParameterState.APPLYING
    return seen.parameter_state


def _cache_node(cluster: ClusterView, node: NodeSpec) -> Output:
    group = cluster.group
    state = group.node_state(node.node_id)
    shown: Output = {
        "CacheNodeId": _number(cluster, node),
        "CacheNodeStatus": _NODE_STATUSES.get(state, state.value),
        "ParameterGroupStatus": _parameter_state(cluster, node).value,
        "CustomerAvailabilityZone": node.zone,
    }
    if state is not NodeState.CREATING:
        shown["CacheNodeCreateTime"] = node.created_at or group.spec.created_at
    place = group.place_of(node.node_id)
    if place is not None and state not in _WITHOUT_ENDPOINT:
        shown["Endpoint"] = endpoint(place.address, place.port)
    return shown


def _number(cluster: ClusterView, node: NodeSpec) -> str:
    """Return the id of a cache node: its number among those of its cluster."""
    return node.node_id if cluster.is_memcached else CACHE_NODE_ID
