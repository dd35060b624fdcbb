"""What is a cache cluster that belongs to no replication group? The spec behind it.

A primary that was retained when its group was deleted still has the spec of that group, with the
delete in it. Once nothing but the node is left, its first change makes a single node of it.
"""

from __future__ import annotations

import dataclasses

from cachewright.model.groups import GroupKind, GroupSpec, ShardSpec
from cachewright.service import cache_nodes, rules, views


def spec_of(cluster: views.ClusterView) -> GroupSpec:
    """Return the spec that a change of the cluster begins with."""
    group = cluster.group
    spec = group.spec
    if spec.deletion is None:
        return spec
    if not group.is_standalone:
        raise rules.invalid_cluster_state(
            f"Replication group {spec.name} is being deleted; cache cluster {cluster.cluster_id} "
            "stays and can be changed after that."
        )
    shard = ShardSpec(shard_id=cache_nodes.SHARD_ID, slots=(), nodes=(cluster.node,))
    return dataclasses.replace(
        spec,
        kind=GroupKind.SINGLE_NODE,
        name=cluster.cluster_id,
        description="",
        shards=(shard,),
        automatic_failover=False,
        multi_az=False,
        snapshotting_node_id=None,
        deletion=None,
    )


def shown(cluster: views.ClusterView, after: GroupSpec) -> views.ClusterView:
    """Return how a cluster is seen once `after` is its spec."""
    group = dataclasses.replace(cluster.group, spec=after)
    return views.cluster_of(group, cluster.cluster_id) or cluster
