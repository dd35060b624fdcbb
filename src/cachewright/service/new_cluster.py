"""What does a new cache cluster of its own look like? From a request to a complete spec.

A Memcached cluster or a single node of Valkey or Redis; a replica of a replication group is no
group of its own (`replicas`). Reads the offers and the clock, writes nothing.
"""

from __future__ import annotations

from cachewright.kit import ids
from cachewright.model.engines import EngineLine, EngineName
from cachewright.model.errors import invalid_combination, invalid_value
from cachewright.model.groups import (
    DEFAULT_MEMCACHED_PORT,
    DEFAULT_PORT,
    GroupKind,
    GroupSpec,
    NodeSpec,
    ShardSpec,
)
from cachewright.model.settings import Addressing, Settings
from cachewright.model.subnet_groups import DEFAULT_SUBNET_GROUP
from cachewright.service import (
    associations,
    cache_nodes,
    engine_versions,
    metadata,
    node_types,
    rules,
    subnet_groups,
)
from cachewright.service.cache_nodes import Zones
from cachewright.service.context import Service
from cachewright.service.inputs_cache_clusters import CreateCacheCluster


def new_spec(service: Service, wanted: CreateCacheCluster) -> GroupSpec:
    """Return the spec of a new cluster with a fresh uid, or raise what is wrong with it."""
    settings = service.settings
    name = rules.cluster_id(wanted.cache_cluster_id)
    line = _line(service, wanted)
    kind = _kind(line)
    subnet_group = wanted.cache_subnet_group_name or DEFAULT_SUBNET_GROUP
    zones = zones_of(service, subnet_group)
    node_type = node_types.require(wanted.cache_node_type)
    uid = ids.new_uid()
    maintenance_window, snapshot_window = metadata.new_windows(
        kind,
        uid=uid,
        region=settings.region,
        maintenance=wanted.preferred_maintenance_window,
        snapshot=wanted.snapshot_window,
    )
    nodes = (
        cache_nodes.first_nodes(wanted, zones, settings.limits.nodes_per_memcached_cluster)
        if kind is GroupKind.MEMCACHED
        else (_single_node(name, line, wanted, zones),)
    )
    return GroupSpec(
        uid=uid,
        name=name,
        kind=kind,
        description="",
        engine=line.engine,
        engine_version=line.api_version,
        node_type=node_type,
        port=_port(settings, kind, wanted.port),
        cluster_enabled=False,
        shards=(ShardSpec(shard_id=cache_nodes.SHARD_ID, slots=(), nodes=nodes),),
        parameter_group=associations.first(
            service,
            wanted.cache_parameter_group_name,
            line,
            node_type=node_type,
            cluster_enabled=False,
        ),
        automatic_failover=False,
        multi_az=False,
        subnet_group=subnet_groups.find(service, subnet_group).name,
        security_group_ids=rules.security_group_ids(wanted.security_group_ids),
        maintenance_window=maintenance_window,
        snapshot_window=snapshot_window,
        snapshot_retention_days=0,
        snapshotting_node_id=None,
        notification=metadata.new_notification(wanted.notification_topic_arn),
        auto_minor_version_upgrade=wanted.auto_minor_version_upgrade is not False,
        transit_encryption=_transit_encryption(wanted, line),
        created_at=service.clock.now(),
    )


def zones_of(service: Service, subnet_group: str) -> Zones:
    """Return where the nodes of a cluster in this subnet group may be."""
    group = subnet_groups.find(service, subnet_group)
    return Zones(known=rules.zones(service.settings), default=group.zones())


def _line(service: Service, wanted: CreateCacheCluster) -> EngineLine:
    if not wanted.engine:
        raise invalid_value("The parameter Engine must be provided.")
    return engine_versions.choose_build(service, wanted.engine, wanted.engine_version)


def _kind(line: EngineLine) -> GroupKind:
    is_memcached = line.engine is EngineName.MEMCACHED
    return GroupKind.MEMCACHED if is_memcached else GroupKind.SINGLE_NODE


def _single_node(name: str, line: EngineLine, wanted: CreateCacheCluster, zones: Zones) -> NodeSpec:
    engine = line.engine.value.capitalize()
    if wanted.num_cache_nodes is not None and wanted.num_cache_nodes < 1:
        raise invalid_value(
            f"Invalid value {wanted.num_cache_nodes} for NumCacheNodes. Must be at least 1"
        )
    if wanted.num_cache_nodes not in {None, 1}:
        raise invalid_value(
            f"Cannot create a {engine} cluster with a NumCacheNodes parameter greater than 1."
        )
    if wanted.preferred_availability_zones:
        raise invalid_combination(
            "PreferredAvailabilityZones can only be given for memcached; use "
            "PreferredAvailabilityZone."
        )
    if wanted.az_mode not in {None, "", cache_nodes.SINGLE_AZ}:
        raise invalid_combination(f"AZMode can only be given for memcached, not for {engine}.")
    named = wanted.preferred_availability_zone
    zone = rules.zone(named, zones.known) if named else zones.default[0]
    return NodeSpec(node_id=name, zone=zone)


def _port(settings: Settings, kind: GroupKind, asked: int | None) -> int:
    default = DEFAULT_MEMCACHED_PORT if kind is GroupKind.MEMCACHED else DEFAULT_PORT
    port = default if asked is None else asked
    if settings.addressing is Addressing.PORTS and port != default:
        raise invalid_combination(
            "The parameter Port cannot be used here: the nodes share one address and get a port "
            "each."
        )
    return rules.port(port, cluster_enabled=False)


def _transit_encryption(wanted: CreateCacheCluster, line: EngineLine) -> bool:
    # ElastiCache has it since memcached 1.6.12, which is the oldest line that there can be here.
    if not wanted.transit_encryption_enabled:
        return False
    if line.engine is not EngineName.MEMCACHED:
        raise invalid_combination(
            "The parameter TransitEncryptionEnabled cannot be used: encryption in transit is "
            "offered for memcached only."
        )
    return True
