"""What does a caller ask of the size of a group, as a typed value? See `inputs` for the rules."""

from __future__ import annotations

import msgspec


class NewShard(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    """One element of `ReshardingConfiguration`."""

    node_group_id: str | None = None
    preferred_availability_zones: tuple[str, ...] = ()


class ModifyReplicationGroupShardConfiguration(
    msgspec.Struct, frozen=True, kw_only=True, rename="pascal"
):
    """Another number of shards, or the same with slots spread anew."""

    replication_group_id: str
    node_group_count: int
    apply_immediately: bool
    resharding_configuration: tuple[NewShard, ...] = ()
    node_groups_to_remove: tuple[str, ...] = ()
    node_groups_to_retain: tuple[str, ...] = ()


class ConfigureShard(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    """One element of `ReplicaConfiguration`."""

    node_group_id: str
    new_replica_count: int
    #: The zones of all its nodes in the end, the primary included.
    preferred_availability_zones: tuple[str, ...] = ()


class IncreaseReplicaCount(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    """More replicas, in every shard or in some."""

    replication_group_id: str
    apply_immediately: bool
    new_replica_count: int | None = None
    replica_configuration: tuple[ConfigureShard, ...] = ()


class DecreaseReplicaCount(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    """Fewer replicas, in every shard or in some."""

    replication_group_id: str
    apply_immediately: bool
    new_replica_count: int | None = None
    replica_configuration: tuple[ConfigureShard, ...] = ()
    replicas_to_remove: tuple[str, ...] = ()
