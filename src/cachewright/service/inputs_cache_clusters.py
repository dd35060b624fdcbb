"""What does a caller ask of cache clusters, as a typed value? See `inputs` for the rules."""

from __future__ import annotations

import msgspec

from cachewright.service.inputs import Tag


class CreateCacheCluster(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    """A new Memcached cluster, a new single node, or a new replica of a replication group."""

    cache_cluster_id: str
    replication_group_id: str | None = None
    az_mode: str | None = msgspec.field(default=None, name="AZMode")
    preferred_availability_zone: str | None = None
    preferred_availability_zones: tuple[str, ...] = ()
    num_cache_nodes: int | None = None
    cache_node_type: str | None = None
    engine: str | None = None
    engine_version: str | None = None
    cache_parameter_group_name: str | None = None
    cache_subnet_group_name: str | None = None
    security_group_ids: tuple[str, ...] = ()
    tags: tuple[Tag, ...] = ()
    preferred_maintenance_window: str | None = None
    port: int | None = None
    notification_topic_arn: str | None = None
    auto_minor_version_upgrade: bool | None = None
    snapshot_window: str | None = None
    transit_encryption_enabled: bool | None = None


class ModifyCacheCluster(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    """Changes to a cache cluster; what is `None` stays as it is."""

    cache_cluster_id: str
    num_cache_nodes: int | None = None
    cache_node_ids_to_remove: tuple[str, ...] = ()
    az_mode: str | None = msgspec.field(default=None, name="AZMode")
    new_availability_zones: tuple[str, ...] = ()
    security_group_ids: tuple[str, ...] = ()
    preferred_maintenance_window: str | None = None
    notification_topic_arn: str | None = None
    notification_topic_status: str | None = None
    cache_parameter_group_name: str | None = None
    apply_immediately: bool | None = None
    engine: str | None = None
    engine_version: str | None = None
    auto_minor_version_upgrade: bool | None = None
    snapshot_window: str | None = None
    cache_node_type: str | None = None


class RebootCacheCluster(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    """A planned restart of some nodes of a cache cluster."""

    cache_cluster_id: str
    cache_node_ids_to_reboot: tuple[str, ...]


class DescribeCacheClusters(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    """A look at one cache cluster, or at all."""

    cache_cluster_id: str | None = None
    max_records: int | None = None
    marker: str | None = None
    show_cache_node_info: bool | None = None
    show_cache_clusters_not_in_replication_groups: bool | None = None


class DeleteCacheCluster(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    """The end of a cache cluster."""

    cache_cluster_id: str
