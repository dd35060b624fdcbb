"""What may a caller change in a cache cluster, now or in its maintenance window?

Notes change at once. The number of cache nodes, the parameter group and the engine version change
at once with `ApplyImmediately`, else they wait (`pending`). Members of a replication group are
changed through their group.
"""

from __future__ import annotations

import dataclasses

from cachewright.model.errors import invalid_combination, invalid_value
from cachewright.model.groups import GroupKind, GroupSpec, PendingChanges
from cachewright.model.status import NodeState
from cachewright.service import (
    associations,
    cache_nodes,
    events,
    metadata,
    new_cluster,
    pending,
    quotas,
    refits,
    restarts,
    rules,
    views,
)
from cachewright.service.context import Decision, Service, change
from cachewright.service.inputs_cache_clusters import ModifyCacheCluster
from cachewright.store.records import SPEC, ChangeSet


async def modify(service: Service, wanted: ModifyCacheCluster) -> views.ClusterView:
    """Accept changes of a cache cluster and return it as it is then."""
    spec = views.find_cluster(service.records, wanted.cache_cluster_id).group.spec
    await refits.look(service, spec, wanted.cache_node_type)

    def decide() -> Decision[views.ClusterView]:
        cluster = views.find_cluster(service.records, wanted.cache_cluster_id)
        before = _changeable(cluster)
        _refuse_other_shape(before, wanted)
        after = metadata.modified(before, wanted, region=service.settings.region)
        asked = _asked(service, cluster, before, wanted)
        after = dataclasses.replace(after, pending=pending.waiting(asked))
        quotas.refuse_growth(service, before, after)
        after = pending.decided(
            service, cluster.group, after, is_immediate=bool(wanted.apply_immediately)
        )
        if after == before:
            raise invalid_combination("No modifications were requested")
        after = dataclasses.replace(after, generation=before.generation + 1)
        changes = ChangeSet()
        changes.replace(SPEC + before.uid, after, cluster.group.spec_revision)
        associations.use(service, changes, after)
        events.about_cluster(service, changes, cluster.cluster_id, _text(cluster, after))
        result = views.changed(cluster, after)
        return Decision(uid=before.uid, changes=changes, result=result)

    return await change(service, decide)


def _changeable(cluster: views.ClusterView) -> GroupSpec:
    """Return the spec of a cluster that may be changed now."""
    cluster_id, group = cluster.cluster_id, cluster.group
    if not group.is_standalone:
        raise invalid_combination(
            f"Cache cluster {cluster_id} is a member of replication group {group.spec.name}; use "
            "ModifyReplicationGroup."
        )
    if cluster.state is not NodeState.AVAILABLE:
        raise rules.invalid_cluster_state(
            f"Cache cluster {cluster_id} must be in available state to modify."
        )
    return cluster.group.spec


def _text(cluster: views.ClusterView, after: GroupSpec) -> str:
    text = f"Modification of cache cluster {cluster.cluster_id} accepted"
    if after.pending is None:
        return text
    return f"{text}; waiting for the maintenance window {after.maintenance_window}"


def _refuse_other_shape(spec: GroupSpec, wanted: ModifyCacheCluster) -> None:
    """Refuse what cannot change; naming what is there already is harmless."""
    if spec.kind is not GroupKind.MEMCACHED and wanted.num_cache_nodes not in {None, 1}:
        raise invalid_combination(
            "The parameter NumCacheNodes cannot be used: changing it is not offered yet."
        )
    if spec.kind is GroupKind.MEMCACHED:
        return
    only_memcached = (
        ("CacheNodeIdsToRemove", wanted.cache_node_ids_to_remove),
        ("NewAvailabilityZones", wanted.new_availability_zones),
        ("AZMode", wanted.az_mode if wanted.az_mode != cache_nodes.SINGLE_AZ else None),
    )
    for member, given in only_memcached:
        if given:
            raise invalid_combination(
                f"The parameter {member} can only be used with memcached, not with "
                f"{spec.engine.value}."
            )


def _asked(
    service: Service, cluster: views.ClusterView, spec: GroupSpec, wanted: ModifyCacheCluster
) -> PendingChanges:
    """Return all that shall come true: what waits already, and what is asked for now."""
    nodes = PendingChanges()
    if spec.kind is GroupKind.MEMCACHED:
        nodes = cache_nodes.changed(
            spec,
            wanted,
            new_cluster.zones_of(service, spec.subnet_group),
            taken=pending.taken_ids(cluster.group),
            nodes_max=service.settings.limits.nodes_per_memcached_cluster,
        )
    return dataclasses.replace(
        refits.asked(service, spec, wanted),
        zones_to_add=nodes.zones_to_add,
        node_ids_to_remove=nodes.node_ids_to_remove,
    )


# Reboot


async def reboot(service: Service, cluster_id: str, node_ids: tuple[str, ...]) -> views.ClusterView:
    """Accept a planned restart of exactly the named cache nodes and return the cluster."""

    def decide() -> Decision[views.ClusterView]:
        cluster = views.find_cluster(service.records, cluster_id)
        due = _nodes_to_restart(cluster, node_ids)
        before = cluster.group.spec
        after = restarts.asked(before, due)
        changes = ChangeSet()
        changes.replace(SPEC + before.uid, after, cluster.group.spec_revision)
        shown = ", ".join(sorted(node_ids))
        text = f"Reboot of cache nodes {shown} of cache cluster {cluster.cluster_id} accepted"
        events.about_cluster(service, changes, cluster.cluster_id, text)
        result = views.changed(cluster, after)
        return Decision(uid=before.uid, changes=changes, result=result)

    return await change(service, decide)


def _nodes_to_restart(cluster: views.ClusterView, named: tuple[str, ...]) -> frozenset[str]:
    """Return the nodes that are named, or raise why they cannot be restarted."""
    cluster_id, group = cluster.cluster_id, cluster.group
    # A node that is retained goes on serving while its group is taken from around it.
    if cluster.state is not NodeState.AVAILABLE or group.spec.deletion is not None:
        raise rules.invalid_cluster_state(
            f"Cache cluster {cluster_id} must be in available state to reboot."
        )
    if group.spec.cluster_enabled:
        raise invalid_combination(
            f"Cache cluster {cluster_id} is a member of replication group {group.spec.name} with "
            "cluster mode enabled and cannot be rebooted."
        )
    if not named:
        raise invalid_value("The parameter CacheNodeIdsToReboot must be provided.")
    if cluster.is_memcached:
        known = {node.node_id: node.node_id for node in cluster.staying}
    else:
        known = {cache_nodes.ONLY_NODE_ID: cluster_id}
    cache_nodes.refuse_unknown_ids(named, known)
    return frozenset(known[node_id] for node_id in named)
