"""How do nodes come into the shards of a group and leave them? Ids, zones, and what goes with them.

Shared by the operations that add and remove replicas and shards. An id is taken as long as its name
is written down: by a cache cluster of its own, by a member, or by a node that is on its way out.
"""

from __future__ import annotations

import dataclasses
import datetime
import itertools
from collections.abc import Collection, Iterable, Mapping, Sequence

from cachewright.model.errors import ClientFault, invalid_combination, invalid_value
from cachewright.model.groups import GroupSpec, NodeSpec, ShardSpec
from cachewright.service import failover_settings, rules, sizing, views
from cachewright.service.context import Service
from cachewright.store.records import NODE_NAME, ChangeSet


def require_immediate(*, is_immediate: bool) -> None:
    """Refuse a change of size that shall wait: ElastiCache has no window for it either."""
    if not is_immediate:
        raise invalid_value(
            "Invalid value false for ApplyImmediately. The only value that is offered is true"
        )


def shard_named(spec: GroupSpec, text: str) -> ShardSpec:
    """Return the shard that a caller means by `text`, or raise that there is none."""
    shard_id = sizing.checked_shard_id(text)
    for shard in spec.shards:
        if shard.shard_id == shard_id:
            return shard
    raise invalid_value(
        f"Node group {shard_id} of replication group {spec.name} not found. It has "
        f"{', '.join(shard.shard_id for shard in spec.shards)}"
    )


def new_nodes(
    service: Service, spec: GroupSpec, shard_id: str, zones: Sequence[str], now: datetime.datetime
) -> tuple[NodeSpec, ...]:
    """Return a new node in each of `zones` for a shard, with the lowest free ids."""
    prefix = f"{spec.name}-{shard_id}" if spec.cluster_enabled else spec.name
    numbered = (f"{prefix}-{number:03}" for number in itertools.count(1))
    free = (node_id for node_id in numbered if service.records.uid_of_node(node_id) is None)
    return tuple(
        NodeSpec(node_id=node_id, zone=zone, created_at=now)
        for zone, node_id in zip(zones, free, strict=False)
    )


def write_names(changes: ChangeSet, spec: GroupSpec, node_ids: Iterable[str]) -> None:
    """Take the names of new nodes; the change fails if somebody else was faster."""
    for node_id in node_ids:
        changes.create(NODE_NAME + node_id, spec.uid)


def with_nodes(spec: GroupSpec, nodes: Mapping[str, tuple[NodeSpec, ...]]) -> GroupSpec:
    """Return the next generation of `spec`, in which some shards have these nodes."""
    shards = tuple(
        dataclasses.replace(shard, nodes=nodes.get(shard.shard_id, shard.nodes))
        for shard in spec.shards
    )
    return dataclasses.replace(spec, shards=shards, generation=spec.generation + 1)


def without(group: views.GroupView, gone: Collection[str]) -> GroupSpec:
    """Return the next generation of a group's spec without some nodes, and without wishes for them.

    Snapshots are taken from another replica then; without one there is no better source than any.
    """
    spec = group.spec
    kept = {
        shard.shard_id: tuple(node for node in shard.nodes if node.node_id not in gone)
        for shard in spec.shards
    }
    after = with_nodes(spec, kept)
    for node_id in gone:
        after = failover_settings.without_wishes(after, node_id)
    if spec.snapshotting_node_id not in gone:
        return after
    nodes = tuple(after.nodes())
    primary = group.primary_of(nodes)
    source = next((node.node_id for node in nodes if node.node_id != primary), None)
    return dataclasses.replace(after, snapshotting_node_id=source)


def refuse_too_many_nodes(service: Service, after: GroupSpec) -> None:
    """Raise if a group with cluster mode has more nodes than one may have."""
    limit = service.settings.limits.nodes_per_cluster
    if after.cluster_enabled and sum(1 for _ in after.nodes()) > limit:
        raise ClientFault(
            "NodeQuotaForClusterExceeded",
            f"Cluster node quota exceeded. Each cluster can have at most {limit} nodes in this "
            "region.",
        )


def zones_named(
    member: str, zones: Sequence[str], count: int, known: tuple[str, ...]
) -> tuple[str, ...]:
    """Return the zones that `member` names for `count` nodes, or raise what is wrong with them."""
    if len(zones) != count:
        raise invalid_combination(
            f"{member} names {len(zones)} zones for {count} nodes; the numbers must be equal."
        )
    return tuple(rules.zone(zone, known) for zone in zones)
