"""Which cache nodes shall a Memcached cluster have? Zones, ids, and what a change of number means.

Pure: from what the caller asked for and what is there to what comes and what goes. Nodes that shall
come and nodes that shall go never wait together. Rules follow ElastiCache's API reference
(`NumCacheNodes`, `CacheNodeIdsToRemove`, `NewAvailabilityZones`, `AZMode`).
"""

from __future__ import annotations

import datetime
import itertools
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from cachewright.model.errors import ClientFault, invalid_combination, invalid_value
from cachewright.model.groups import GroupSpec, NodeSpec, PendingChanges, ShardSpec
from cachewright.service import rules
from cachewright.service.inputs_cache_clusters import CreateCacheCluster, ModifyCacheCluster

SINGLE_AZ, CROSS_AZ = "single-az", "cross-az"
#: The one shard that holds all nodes.
SHARD_ID = "0001"
#: What the only node of a cluster is called that is no Memcached cluster.
ONLY_NODE_ID = "0001"
_NODE_ID_CHARS = 4
_NODES_FOR_CROSS_AZ = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class Zones:
    """Where nodes may be."""

    #: Those that a caller may name.
    known: tuple[str, ...]
    #: Those that nodes get when the caller names none.
    default: tuple[str, ...]


# A new cluster


def first_nodes(wanted: CreateCacheCluster, zones: Zones, nodes_max: int) -> tuple[NodeSpec, ...]:
    """Return the nodes of a new cluster, with ids and zones."""
    if wanted.num_cache_nodes is None:
        raise invalid_value("The parameter NumCacheNodes must be provided.")
    count = _checked_count(wanted.num_cache_nodes, nodes_max)
    mode = _checked_mode(wanted.az_mode)
    if mode == CROSS_AZ and count < _NODES_FOR_CROSS_AZ:
        raise invalid_combination(
            f"AZMode {CROSS_AZ} needs at least {_NODES_FOR_CROSS_AZ} cache nodes."
        )
    named = _named_zones(wanted, count, zones)
    if not named:
        spread = zones.default if mode == CROSS_AZ else zones.default[:1]
        named = _spread((), count, spread)
    _refuse_other_mode(mode, named)
    return tuple(
        NodeSpec(node_id=node_id, zone=zone)
        for node_id, zone in zip(free_ids(count, ()), named, strict=True)
    )


def _named_zones(wanted: CreateCacheCluster, count: int, zones: Zones) -> tuple[str, ...]:
    """Return the zone of each node as the caller chose it, empty where none was named."""
    one, each = wanted.preferred_availability_zone, wanted.preferred_availability_zones
    if one and each:
        raise invalid_combination(
            "PreferredAvailabilityZone cannot be combined with PreferredAvailabilityZones."
        )
    if one:
        return (rules.zone(one, zones.known),) * count
    if each and len(each) != count:
        raise invalid_combination(
            f"PreferredAvailabilityZones names {len(each)} zones for {count} cache nodes; the "
            "numbers must be equal."
        )
    return tuple(rules.zone(zone, zones.known) for zone in each)


# A change of the number


def changed(
    spec: GroupSpec,
    wanted: ModifyCacheCluster,
    zones: Zones,
    *,
    taken: Collection[str],
    nodes_max: int,
) -> PendingChanges:
    """Return what shall come and go after a request; nothing else of the result is set.

    Args:
        spec: the cluster, with what waits already.
        wanted: the request.
        zones: where nodes may be.
        taken: ids of nodes that have a place, which no new node can have yet.
        nodes_max: quota of nodes of one cluster.
    """
    waiting = spec.pending or PendingChanges()
    count, current = wanted.num_cache_nodes, sum(1 for _ in spec.nodes())
    if count is not None:
        _checked_count(count, nodes_max)
    to_come = current + len(waiting.zones_to_add)
    removes = count is not None and count < current
    adds = count is not None and count > to_come
    _refuse_what_does_not_fit(wanted, removes=removes, adds=adds)
    if count is not None and current < count < to_come:
        raise invalid_combination(
            f"{to_come - current} cache nodes wait to be added, for {to_come} in all: a pending "
            f"increase cannot be replaced by a smaller one. Cancel it first: NumCacheNodes "
            f"{current}."
        )
    if not adds:
        _refuse_other_mode(_checked_mode(wanted.az_mode), [*_zones_of(spec), *waiting.zones_to_add])
    if count is None or (count == to_come and waiting.zones_to_add):
        return PendingChanges(
            zones_to_add=waiting.zones_to_add, node_ids_to_remove=waiting.node_ids_to_remove
        )
    if removes:
        return PendingChanges(node_ids_to_remove=_ids_to_remove(spec, wanted, waiting, taken))
    if adds:
        new = _zones_to_add(spec, wanted, waiting, zones)
        return PendingChanges(zones_to_add=waiting.zones_to_add + new)
    return PendingChanges()


def _refuse_what_does_not_fit(wanted: ModifyCacheCluster, *, removes: bool, adds: bool) -> None:
    if wanted.cache_node_ids_to_remove and not removes:
        raise invalid_combination(
            "CacheNodeIdsToRemove can only be given with a NumCacheNodes that is less than the "
            "number of cache nodes there are."
        )
    if wanted.new_availability_zones and not adds:
        raise invalid_combination(
            "NewAvailabilityZones can only be given with a NumCacheNodes that adds cache nodes."
        )


def _ids_to_remove(
    spec: GroupSpec,
    wanted: ModifyCacheCluster,
    waiting: PendingChanges,
    taken: Collection[str],
) -> tuple[str, ...]:
    """Return the existing nodes to remove.

    Nodes that only wait to be added may be named too, all of them: the removal replaces them.
    """
    named = wanted.cache_node_ids_to_remove
    existing = tuple(node.node_id for node in spec.nodes())
    to_come = frozenset(free_ids(len(waiting.zones_to_add), {*existing, *taken}))
    if not named:
        raise invalid_combination(
            "The parameter CacheNodeIdsToRemove must be provided to remove cache nodes."
        )
    refuse_unknown_ids(named, {*existing, *to_come})
    less = len(existing) - (wanted.num_cache_nodes or 0)
    chosen = tuple(sorted(set(named) - to_come))
    names_all_to_come = to_come <= set(named) or to_come.isdisjoint(named)
    if len(chosen) == less and names_all_to_come:
        return chosen
    raise invalid_combination(
        f"CacheNodeIdsToRemove names {len(named)} cache nodes; for NumCacheNodes "
        f"{wanted.num_cache_nodes} it must name {less + len(to_come)}."
    )


def refuse_unknown_ids(named: Sequence[str], known: Collection[str]) -> None:
    """Refuse ids of cache nodes that are not there, and ids that are named twice."""
    for node_id in named:
        if node_id not in known:
            raise invalid_value(f"There is no cache node with the id '{rules.shown(node_id)}'.")
    if len(set(named)) != len(named):
        twice = next(node_id for node_id in named if named.count(node_id) > 1)
        raise invalid_value(f"The cache node id {twice} was given more than once.")


def _zones_to_add(
    spec: GroupSpec, wanted: ModifyCacheCluster, waiting: PendingChanges, zones: Zones
) -> tuple[str, ...]:
    before = (*_zones_of(spec), *waiting.zones_to_add)
    count = (wanted.num_cache_nodes or 0) - len(before)
    named = tuple(rules.zone(zone, zones.known) for zone in wanted.new_availability_zones)
    if named and len(named) != count:
        raise invalid_combination(
            f"NewAvailabilityZones names {len(named)} zones for {count} new cache nodes; the "
            "numbers must be equal."
        )
    mode = _checked_mode(wanted.az_mode)
    if not named:
        spreads = mode == CROSS_AZ or len(set(before)) > 1
        named = _spread(before, count, zones.default if spreads else before[:1])
    _refuse_other_mode(mode, [*before, *named])
    return named


# What has been decided


def with_changes(
    spec: GroupSpec, changes: PendingChanges, *, taken: Collection[str], now: datetime.datetime
) -> tuple[ShardSpec, ...]:
    """Return the shard of a Memcached cluster after nodes have come or gone."""
    (shard,) = spec.shards
    kept = tuple(n for n in shard.nodes if n.node_id not in changes.node_ids_to_remove)
    ids = free_ids(len(changes.zones_to_add), {*taken, *(node.node_id for node in shard.nodes)})
    new = tuple(
        NodeSpec(node_id=node_id, zone=zone, created_at=now)
        for node_id, zone in zip(ids, changes.zones_to_add, strict=True)
    )
    nodes = tuple(sorted((*kept, *new), key=lambda node: node.node_id))
    return (ShardSpec(shard_id=shard.shard_id, slots=shard.slots, nodes=nodes),)


def free_ids(count: int, taken: Collection[str]) -> tuple[str, ...]:
    """Return the lowest ids that nobody has.

    Gaps are filled: infrastructure tools name the nodes to remove by counting down from the number
    of nodes there are.
    """
    numbered = (f"{number:0{_NODE_ID_CHARS}}" for number in itertools.count(1))
    return tuple(itertools.islice((i for i in numbered if i not in taken), count))


def _zones_of(spec: GroupSpec) -> tuple[str, ...]:
    return tuple(node.zone for node in spec.nodes())


def _spread(before: Sequence[str], count: int, among: Sequence[str]) -> tuple[str, ...]:
    """Give each of `count` new nodes the zone that has fewest nodes by then."""
    zones = list(before)
    for _ in range(count):
        zones.append(min(among, key=zones.count))
    return tuple(zones[len(before) :])


def _checked_count(count: int, nodes_max: int) -> int:
    if count < 1:
        raise invalid_value(f"Invalid value {count} for NumCacheNodes. Must be at least 1")
    if count > nodes_max:
        raise ClientFault(
            "NodeQuotaForClusterExceeded",
            f"Cluster node quota exceeded. Each cluster can have at most {nodes_max} nodes in "
            "this region.",
        )
    return count


def _checked_mode(mode: str | None) -> str | None:
    if mode and mode not in {SINGLE_AZ, CROSS_AZ}:
        raise invalid_value(
            f"Invalid value '{rules.shown(mode)}' for AZMode. Valid values are {SINGLE_AZ} and "
            f"{CROSS_AZ}"
        )
    return mode or None


def _refuse_other_mode(mode: str | None, zones: Iterable[str]) -> None:
    """Refuse a mode that the zones of all nodes do not have."""
    are_many = len(set(zones)) > 1
    if mode == SINGLE_AZ and are_many:
        raise invalid_combination(
            f"AZMode {SINGLE_AZ} cannot be used: the cache nodes are in more than one availability "
            "zone."
        )
    if mode == CROSS_AZ and not are_many:
        raise invalid_combination(
            f"AZMode {CROSS_AZ} cannot be used: all cache nodes are in one availability zone. Add "
            "cache nodes in another one."
        )
