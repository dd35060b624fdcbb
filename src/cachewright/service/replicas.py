"""How do replicas of a group without cluster mode come and go, one cache cluster at a time?

A replica is a node of its group's one shard: its name is written down with the change of the spec,
and freed by the loop when nothing of the node is left.
"""

from __future__ import annotations

import dataclasses

import msgspec

from cachewright.model.errors import ClientFault, invalid_combination
from cachewright.model.groups import GroupSpec, NodeSpec
from cachewright.model.status import GroupState, NodeState, Role
from cachewright.service import (
    associations,
    events,
    failover_settings,
    members,
    new_cluster,
    quotas,
    rules,
    tags,
    views,
)
from cachewright.service.context import Decision, Service, change
from cachewright.service.inputs_cache_clusters import CreateCacheCluster
from cachewright.store.records import SPEC, TAGS, ChangeSet

NODES_PER_SHARD_MAX = 6
#: What a request for a replica may say beside the ids; all else is settled by its group.
_MAY_SAY = frozenset({
    "CacheClusterId", "ReplicationGroupId", "PreferredAvailabilityZone", "Tags",
})  # fmt: skip


async def add(service: Service, wanted: CreateCacheCluster) -> views.ClusterView:
    """Accept a new replica and return it."""

    def decide() -> Decision[views.ClusterView]:
        cluster_id = rules.cluster_id(wanted.cache_cluster_id)
        group = views.find_group(service.records, wanted.replication_group_id or "")
        _refuse_other_parameters(group.spec, wanted)
        _refuse_growth(group)
        refuse_taken(service, cluster_id)
        given = tags.checked(wanted.tags, service.settings)
        before = group.spec
        node = NodeSpec(
            node_id=cluster_id,
            zone=_zone(service, before, wanted.preferred_availability_zone),
            created_at=service.clock.now(),
        )
        (shard,) = before.shards
        after = members.with_nodes(before, {shard.shard_id: (*shard.nodes, node)})
        quotas.refuse_growth(service, before, after)
        changes = ChangeSet()
        changes.replace(SPEC + before.uid, after, group.spec_revision)
        members.write_names(changes, before, [cluster_id])
        if given:
            changes.put(TAGS + service.arns.of_node(cluster_id), given)
        text = f"Create of cache cluster {cluster_id} in replication group {before.name} accepted"
        events.about_cluster(service, changes, cluster_id, text)
        seen = dataclasses.replace(group, spec=after)
        result = views.ClusterView(group=seen, cluster_id=cluster_id, nodes=(node,))
        return Decision(uid=before.uid, changes=changes, result=result)

    return await change(service, decide)


async def remove(service: Service, cluster_id: str) -> views.ClusterView:
    """Accept the end of a replica and return it."""

    def decide() -> Decision[views.ClusterView]:
        cluster = views.find_cluster(service.records, cluster_id)
        _refuse_needed(cluster)
        before = cluster.group.spec
        after = members.without(cluster.group, {cluster.cluster_id})
        associations.refuse_fewer_replicas(service, after)
        changes = ChangeSet()
        changes.replace(SPEC + before.uid, after, cluster.group.spec_revision)
        text = f"Delete of cache cluster {cluster.cluster_id} accepted"
        events.about_cluster(service, changes, cluster.cluster_id, text)
        result = views.changed(cluster, after)
        return Decision(uid=before.uid, changes=changes, result=result)

    return await change(service, decide)


def refuse_taken(service: Service, cluster_id: str) -> None:
    """Refuse the id of a cache cluster that is there, alone or as a member of a group."""
    if service.records.uid_of_node(cluster_id) is not None:
        raise ClientFault(
            "CacheClusterAlreadyExists", f"Cache cluster {cluster_id} already exists."
        )


def _refuse_other_parameters(spec: GroupSpec, wanted: CreateCacheCluster) -> None:
    """Refuse what a replica has from its group; naming what is so anyway is harmless."""
    harmless = {
        "NumCacheNodes": (1,),
        "AutoMinorVersionUpgrade": (spec.auto_minor_version_upgrade,),
        "TransitEncryptionEnabled": (False,),
    }
    for field in msgspec.structs.fields(wanted):
        name, given = field.encode_name, getattr(wanted, field.name)
        if name in _MAY_SAY or given in {None, "", ()} or given in harmless.get(name, ()):
            continue
        raise invalid_combination(
            "Cannot specify additional cache cluster parameters when creating a replica cluster: "
            f"{name}."
        )


def _refuse_growth(group: views.GroupView) -> None:
    spec = group.spec
    if spec.cluster_enabled:
        raise invalid_combination(
            f"Replication group {spec.name} has cluster mode enabled: a replica cannot be added "
            "as a cache cluster."
        )
    if group.state is not GroupState.AVAILABLE:
        raise rules.invalid_group_state(
            "Replication group must be in available state to add a replica."
        )
    if len(spec.shards[0].nodes) >= NODES_PER_SHARD_MAX:
        raise ClientFault(
            "NodeQuotaForClusterExceeded",
            f"Cluster node quota exceeded. Each cluster can have at most {NODES_PER_SHARD_MAX} "
            "nodes in this region.",
        )


def _zone(service: Service, spec: GroupSpec, named: str | None) -> str:
    zones = new_cluster.zones_of(service, spec.subnet_group)
    if named:
        return rules.zone(named, zones.known)
    taken = [node.zone for node in spec.nodes()]
    return min(zones.default, key=taken.count)


def _refuse_needed(cluster: views.ClusterView) -> None:
    """Refuse to remove what a group cannot do without."""
    cluster_id, group = cluster.cluster_id, cluster.group
    spec = group.spec
    if spec.cluster_enabled:
        raise invalid_combination(
            f"Cache cluster {cluster_id} is a member of replication group {spec.name} with "
            "cluster mode enabled and cannot be deleted; use DeleteReplicationGroup."
        )
    nodes = spec.shards[0].nodes
    primary = group.primary_of(nodes)
    if primary == cluster_id:
        raise rules.invalid_cluster_state(
            f"Cache cluster {cluster_id} is serving as primary for replication group {spec.name} "
            "and cannot be deleted."
        )
    # Where nobody knows who is primary, any node may be it.
    is_known = primary is not None and group.role_of(cluster_id) is not Role.PRIMARY
    is_going = cluster.state is NodeState.DELETING
    if is_going or not is_known or group.place_of(cluster_id) is None:
        raise rules.invalid_cluster_state(
            f"Cache cluster {cluster_id} is not in a valid state to be deleted"
        )
    is_last = len(nodes) == 2  # noqa: PLR2004 the primary and this one
    if is_last and (spec.automatic_failover or spec.multi_az):
        raise rules.invalid_cluster_state(
            f"Cache cluster {cluster_id} is the last replica of replication group {spec.name}, "
            "which has automatic failover enabled, and cannot be deleted."
        )
    kept = tuple(node for node in nodes if node.node_id != cluster_id)
    if spec.multi_az and not failover_settings.spans_zones(
        dataclasses.replace(spec.shards[0], nodes=kept)
    ):
        raise rules.invalid_cluster_state(
            f"Cache cluster {cluster_id} is the last one of replication group {spec.name}, which "
            "has Multi-AZ enabled, in another availability zone, and cannot be deleted."
        )
