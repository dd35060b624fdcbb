"""What does a new replication group look like? From a request to a complete spec.

Mode, size, engine, parameter group, failover, windows: each question has its function, and every
default that AWS documents is applied here. Reads the offers and the clock, writes nothing.
"""

from __future__ import annotations

from cachewright.kit import ids
from cachewright.model.errors import invalid_combination
from cachewright.model.groups import DEFAULT_PORT, GroupSpec, ShardSpec
from cachewright.model.settings import Addressing, Settings
from cachewright.model.subnet_groups import DEFAULT_SUBNET_GROUP
from cachewright.service import (
    associations,
    engine_versions,
    failover_settings,
    metadata,
    node_types,
    parameter_groups,
    rules,
    sizing,
    subnet_groups,
    windows,
)
from cachewright.service.context import Service
from cachewright.service.inputs import CreateReplicationGroup


def new_spec(service: Service, wanted: CreateReplicationGroup) -> GroupSpec:
    """Return the spec of a new group with a fresh uid, or raise what is wrong with the request."""
    settings = service.settings
    name = rules.group_name(wanted.replication_group_id)
    line = engine_versions.choose(service, wanted.engine, wanted.engine_version)
    cluster_enabled = _cluster_enabled(service, wanted)
    subnet_group = subnet_groups.find(
        service, wanted.cache_subnet_group_name or DEFAULT_SUBNET_GROUP
    )
    shards = sizing.make_shards(
        wanted,
        name=name,
        cluster_enabled=cluster_enabled,
        zones=rules.zones(settings),
        default_zones=subnet_group.zones(),
        limits=settings.limits,
    )
    node_type = node_types.require(wanted.cache_node_type)
    failover = _automatic_failover(wanted, cluster_enabled, shards)
    uid = ids.new_uid()
    maintenance_window, snapshot_window = windows.choose(
        uid=uid,
        region=settings.region,
        maintenance=wanted.preferred_maintenance_window,
        snapshot=wanted.snapshot_window,
    )
    return GroupSpec(
        uid=uid,
        name=name,
        description=rules.description(wanted.replication_group_description),
        engine=line.engine,
        engine_version=line.api_version,
        node_type=node_type,
        port=_port(settings, wanted.port, cluster_enabled=cluster_enabled),
        cluster_enabled=cluster_enabled,
        shards=shards,
        parameter_group=associations.first(
            service,
            wanted.cache_parameter_group_name,
            line,
            node_type=node_type,
            cluster_enabled=cluster_enabled,
            replicas=min(len(shard.nodes) for shard in shards) - 1,
        ),
        automatic_failover=failover,
        multi_az=_multi_az(wanted, failover, shards),
        subnet_group=subnet_group.name,
        security_group_ids=rules.security_group_ids(wanted.security_group_ids),
        maintenance_window=maintenance_window,
        snapshot_window=snapshot_window,
        snapshot_retention_days=0,
        snapshotting_node_id=_snapshotting_node(shards, cluster_enabled),
        notification=metadata.new_notification(wanted.notification_topic_arn),
        auto_minor_version_upgrade=wanted.auto_minor_version_upgrade is not False,
        durability=failover_settings.durability(wanted.durability),
        created_at=service.clock.now(),
    )


def _cluster_enabled(service: Service, wanted: CreateReplicationGroup) -> bool:
    """Compute the mode: on if the parameter group, `ClusterMode` or the shard count says so."""
    name = wanted.cache_parameter_group_name
    group = parameter_groups.find(service, name) if name else None
    of_group = group.cluster_enabled if group else None
    of_mode = _cluster_mode(wanted.cluster_mode)
    needs_it = sizing.count_shards(wanted) > 1
    if group and not of_group and (of_mode or needs_it):
        raise invalid_combination(
            f"The parameter group {group.name} has cluster mode disabled, which allows one node "
            "group. Use one whose parameter cluster-enabled is yes, for example "
            f"default.{group.family}.cluster.on"
        )
    if of_mode is False and (of_group or needs_it):
        raise invalid_combination(
            "ClusterMode disabled allows one node group and a parameter group with cluster mode "
            "disabled."
        )
    return bool(of_group or of_mode or needs_it)


def _cluster_mode(mode: str | None) -> bool | None:
    match mode:
        case "enabled":
            return True
        case "disabled":
            return False
        case "compatible":
            raise invalid_combination(
                "The parameter ClusterMode cannot be used: the mode compatible is not offered yet."
            )
        case _:
            return None


def _automatic_failover(
    wanted: CreateReplicationGroup, cluster_enabled: bool, shards: tuple[ShardSpec, ...]
) -> bool:
    """Cluster mode needs failover and gets it when nothing is said; else it is off by default."""
    asked = wanted.automatic_failover_enabled
    if cluster_enabled:
        if asked is False:
            raise invalid_combination(
                "Redis with cluster mode enabled cannot be created with auto failover turned off."
            )
        return True
    if asked and len(shards[0].nodes) < failover_settings.NODES_FOR_FAILOVER:
        raise invalid_combination(
            "When using automatic failover, there must be at least 2 cache clusters in the "
            "replication group."
        )
    return bool(asked)


def _multi_az(
    wanted: CreateReplicationGroup, failover: bool, shards: tuple[ShardSpec, ...]
) -> bool:
    if not wanted.multi_az_enabled:
        return False
    failover_settings.require_multi_az(shards, failover=failover)
    return True


def _port(settings: Settings, asked: int | None, *, cluster_enabled: bool) -> int:
    port = DEFAULT_PORT if asked is None else asked
    if settings.addressing is Addressing.PORTS and port != DEFAULT_PORT:
        raise invalid_combination(
            "The parameter Port cannot be used here: the nodes share one address and get a port "
            "each."
        )
    return rules.port(port, cluster_enabled=cluster_enabled)


def _snapshotting_node(shards: tuple[ShardSpec, ...], cluster_enabled: bool) -> str | None:
    """Return the first replica: it is the better source of snapshots."""
    nodes = shards[0].nodes
    return None if cluster_enabled or len(nodes) == 1 else nodes[1].node_id
