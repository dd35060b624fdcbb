"""What may a caller say about failover? Automatic failover, Multi-AZ, and who shall be the primary.

Pure rules over specs and views. Failover is automatic or a caller decides who is primary, never
both: who turns it on gives up the wish for a primary, and who has it on cannot wish.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from cachewright.model.errors import invalid_combination, invalid_value
from cachewright.model.groups import GroupSpec, ShardSpec
from cachewright.model.status import NodeState
from cachewright.service import rules, views
from cachewright.service.inputs import ModifyReplicationGroup

#: The primary and one that can take over.
NODES_FOR_FAILOVER = 2
_ZONES_FOR_MULTI_AZ = 2
#: Values of `Durability` that promise no more than replication does.
_OFFERED_DURABILITIES = ("default", "disabled")


def modified(spec: GroupSpec, wanted: ModifyReplicationGroup) -> GroupSpec:
    """Return `spec` with the switches that are asked for, or raise why they cannot be so."""
    asked, zones = wanted.automatic_failover_enabled, wanted.multi_az_enabled
    failover = spec.automatic_failover if asked is None else asked
    multi_az = spec.multi_az if zones is None else zones
    if not failover and spec.cluster_enabled:
        raise invalid_combination(
            "Turning off automatic failover for replication group with cluster mode enabled is "
            "not supported."
        )
    if failover and not spec.automatic_failover:
        _require_replica(spec)
    if multi_az and not (spec.multi_az and failover):
        require_multi_az(spec.shards, failover=failover)
    if failover == spec.automatic_failover:
        return dataclasses.replace(spec, multi_az=multi_az)
    after = dataclasses.replace(
        spec,
        automatic_failover=failover,
        multi_az=multi_az,
        failover_generation=spec.generation + 1,
    )
    return without_wishes(after, None)


def promotion(group: views.GroupView, after: GroupSpec, cluster_id: str | None) -> str | None:
    """Return the node that shall become the primary, `None` where nothing is to change.

    Args:
        group: as it is.
        after: its spec with everything else that the request asks for.
        cluster_id: `PrimaryClusterId`; without one, what waits goes on waiting.
    """
    waiting = after.pending.primary_node_id if after.pending else None
    if not cluster_id:
        return waiting
    before = group.spec
    if before.cluster_enabled:
        raise invalid_combination(
            "PrimaryClusterId cannot be used for replication groups with cluster mode enabled; "
            "use TestFailover."
        )
    for member, is_on in (
        ("automatic failover", before.automatic_failover or after.automatic_failover),
        ("Multi-AZ", before.multi_az),
    ):
        if is_on:
            raise invalid_combination(
                f"A replica cannot be promoted while {member} is enabled for replication group "
                f"{before.name}."
            )
    node_id = cluster_id.lower()
    if before.node(node_id) is None:
        raise rules.cluster_not_found(cluster_id)
    if node_id == (group.primary_of(tuple(before.nodes())) or before.primary_node_id):
        # It is what is asked for; a wish for another one is taken back.
        return None if before.primary_node_id in {None, node_id} else node_id
    if group.node_state(node_id) is not NodeState.AVAILABLE:
        raise rules.invalid_cluster_state(
            f"Cache cluster {node_id} must be in available state to be promoted."
        )
    return node_id


def without_wishes(spec: GroupSpec, node_id: str | None) -> GroupSpec:
    """Return `spec` without any wish that `node_id` be the primary; `None`: that anybody be."""
    waiting = spec.pending
    if waiting is not None and node_id in {None, waiting.primary_node_id}:
        waiting = dataclasses.replace(waiting, primary_node_id=None)
    wish = None if node_id in {None, spec.primary_node_id} else spec.primary_node_id
    return dataclasses.replace(spec, primary_node_id=wish, pending=waiting)


def _require_replica(spec: GroupSpec) -> None:
    if any(len(shard.nodes) < NODES_FOR_FAILOVER for shard in spec.shards):
        raise invalid_combination(
            "Replication group must have at least one read replica to enable autofailover."
        )


def require_multi_az(shards: Iterable[ShardSpec], *, failover: bool) -> None:
    """Raise unless every shard could lose a zone."""
    if not failover:
        raise invalid_combination("MultiAZEnabled requires AutomaticFailoverEnabled.")
    for shard in shards:
        if not spans_zones(shard):
            raise invalid_combination(
                "MultiAZEnabled requires at least one replica in another availability zone in "
                f"each node group; node group {shard.shard_id} has none."
            )


def spans_zones(shard: ShardSpec) -> bool:
    """Tell whether a shard has nodes in more than one zone."""
    return len({node.zone for node in shard.nodes}) >= _ZONES_FOR_MULTI_AZ


def durability(asked: str | None) -> str:
    """Return what a group says of its durability, or raise that more of it is not offered."""
    if not asked:
        return _OFFERED_DURABILITIES[0]
    if asked in _OFFERED_DURABILITIES:
        return asked
    if asked not in {"sync", "async"}:
        raise invalid_value(f"Invalid value '{rules.shown(asked)}' for Durability.")
    raise invalid_combination(
        f"The parameter Durability cannot be {asked}: there is no log of writes in several zones. "
        "What is offered are the parameters min-replicas-to-write and min-replicas-max-lag (writes "
        "need a replica that keeps up), appendonly and appendfsync (writes are kept on disk)."
    )
