"""What may a caller ask of a cache cluster? List them, and delete one that stands alone."""

from __future__ import annotations

import dataclasses

from cachewright.model.errors import ClientFault, invalid_combination
from cachewright.model.groups import Deletion
from cachewright.model.status import NodeState, Role
from cachewright.service import events, views
from cachewright.service.context import Decision, Service, change
from cachewright.service.inputs import DeleteCacheCluster, DescribeCacheClusters
from cachewright.store.records import SPEC, ChangeSet


def names(service: Service, wanted: DescribeCacheClusters) -> tuple[tuple[str, str], ...]:
    """Return (cache cluster id, uid of its group) for every one that passes the filter, by id."""
    found = service.records.node_names()
    if not wanted.show_cache_clusters_not_in_replication_groups:
        return found
    members = {uid for _, uid in service.records.group_names()}
    return tuple((node_id, uid) for node_id, uid in found if uid not in members)


async def delete(service: Service, wanted: DeleteCacheCluster) -> views.ClusterView:
    """Accept the end of a standalone cache cluster and return it."""

    def decide() -> Decision[views.ClusterView]:
        cluster = views.find_cluster(service.records, wanted.cache_cluster_id)
        _refuse_member(cluster)
        spec = cluster.group.spec
        deletion = Deletion(requested_at=service.clock.now())
        after = dataclasses.replace(spec, deletion=deletion, generation=spec.generation + 1)
        changes = ChangeSet()
        changes.replace(SPEC + spec.uid, after, cluster.group.spec_revision)
        node_id = cluster.node.node_id
        text = f"Delete of cache cluster {node_id} accepted"
        events.about_cluster(service, changes, node_id, text)
        group = dataclasses.replace(cluster.group, spec=after)
        result = views.ClusterView(group=group, node=cluster.node)
        return Decision(uid=spec.uid, changes=changes, result=result)

    return await change(service, decide)


def _refuse_member(cluster: views.ClusterView) -> None:
    node_id, group = cluster.node.node_id, cluster.group
    if cluster.state is NodeState.DELETING:
        raise _invalid_state(f"Cache cluster {node_id} is not in a valid state to be deleted")
    if group.is_standalone:
        return
    name = group.spec.name
    if group.spec.cluster_enabled:
        raise invalid_combination(
            f"Cache cluster {node_id} is a member of replication group {name} with cluster mode "
            "enabled and cannot be deleted; use DeleteReplicationGroup."
        )
    if group.role_of(node_id) is Role.PRIMARY:
        raise _invalid_state(
            f"Cache cluster {node_id} is serving as primary for replication group {name} and "
            "cannot be deleted."
        )
    raise invalid_combination(
        f"Cache cluster {node_id} is a replica in replication group {name}: removing replicas is "
        "not offered yet."
    )


def _invalid_state(message: str) -> ClientFault:
    return ClientFault("InvalidCacheClusterState", message)
