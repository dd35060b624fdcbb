"""What may a caller ask of a cache cluster? List them, create and delete them.

A cache cluster is a Memcached cluster, a single node of Valkey or Redis, or a member of a
replication group (`replicas`). Changes and reboots are `cluster_changes`.
"""

from __future__ import annotations

import dataclasses

from cachewright.kit import ids
from cachewright.model.groups import Deletion, GroupSecret
from cachewright.model.status import NodeState
from cachewright.service import (
    associations,
    events,
    new_cluster,
    quotas,
    replicas,
    rules,
    subnet_groups,
    tags,
    views,
)
from cachewright.service.context import Decision, Service, change
from cachewright.service.inputs_cache_clusters import (
    CreateCacheCluster,
    DeleteCacheCluster,
    DescribeCacheClusters,
)
from cachewright.store.records import SECRET, SPEC, TAGS, ChangeSet, names_of


def names(service: Service, wanted: DescribeCacheClusters) -> tuple[tuple[str, str], ...]:
    """Return (cache cluster id, uid of its group) for every one that passes the filter, by id."""
    found = service.records.node_names()
    if not wanted.show_cache_clusters_not_in_replication_groups:
        return found
    members = {uid for _, uid in service.records.group_names()}
    return tuple((cluster_id, uid) for cluster_id, uid in found if uid not in members)


async def create(service: Service, wanted: CreateCacheCluster) -> views.ClusterView:
    """Accept a new cache cluster and return it."""
    if wanted.replication_group_id:
        return await replicas.add(service, wanted)

    def decide() -> Decision[views.ClusterView]:
        spec = new_cluster.new_spec(service, wanted)
        replicas.refuse_taken(service, spec.name)
        quotas.refuse_beyond(service, spec)
        changes = ChangeSet()
        changes.create(SPEC + spec.uid, spec)
        changes.create(
            SECRET + spec.uid,
            GroupSecret(admin_password=ids.new_password(), replication_password=ids.new_password()),
        )
        subnet_groups.use(service, changes, spec.subnet_group)
        associations.use(service, changes, spec)
        for key, uid in names_of(spec).items():
            changes.create(key, uid)
        given = tags.checked(wanted.tags, service.settings)
        if given:
            changes.put(TAGS + service.arns.of_node(spec.name), given)
        text = f"Create of cache cluster {spec.name} accepted"
        events.about_cluster(service, changes, spec.name, text)
        result = views.ClusterView(
            group=views.of_new(spec), cluster_id=spec.name, nodes=tuple(spec.nodes())
        )
        return Decision(uid=spec.uid, changes=changes, result=result)

    return await change(service, decide)


async def delete(service: Service, wanted: DeleteCacheCluster) -> views.ClusterView:
    """Accept the end of a cache cluster in any state but `deleting`, and return it.

    What is still being created may be deleted as well, unlike at AWS: a create that is stuck must
    not hold its name and addresses.
    """
    found = _deletable(service, wanted.cache_cluster_id)
    if not found.group.is_standalone:
        return await replicas.remove(service, found.cluster_id)

    def decide() -> Decision[views.ClusterView]:
        cluster = _deletable(service, wanted.cache_cluster_id)
        spec = cluster.group.spec
        deletion = Deletion(requested_at=service.clock.now())
        after = dataclasses.replace(spec, deletion=deletion, generation=spec.generation + 1)
        changes = ChangeSet()
        changes.replace(SPEC + spec.uid, after, cluster.group.spec_revision)
        text = f"Delete of cache cluster {cluster.cluster_id} accepted"
        events.about_cluster(service, changes, cluster.cluster_id, text)
        result = views.changed(cluster, after)
        return Decision(uid=spec.uid, changes=changes, result=result)

    return await change(service, decide)


def _deletable(service: Service, cluster_id: str) -> views.ClusterView:
    cluster = views.find_cluster(service.records, cluster_id)
    if cluster.state is NodeState.DELETING:
        raise rules.invalid_cluster_state(
            f"Cache cluster {cluster.cluster_id} is not in a valid state to be deleted"
        )
    return cluster
