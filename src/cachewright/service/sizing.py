"""How many shards and nodes does a new group get, with which ids, slots and zones?

Pure: from what the caller asked for to the shards of the spec. Counts are checked against the
quotas before anything is built, so that a request for 10^9 shards costs nothing.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from cachewright.model.errors import ClientFault, invalid_combination, invalid_value
from cachewright.model.groups import NodeSpec, ShardSpec
from cachewright.model.settings import Limits
from cachewright.model.slots import (
    SLOT_COUNT,
    SlotRange,
    SlotRanges,
    parse_ranges,
    split_evenly,
)
from cachewright.service import rules
from cachewright.service.inputs import CreateReplicationGroup, NodeGroup

REPLICAS_MAX = 5
_CLUSTERS_MAX = REPLICAS_MAX + 1
_ONLY_SHARD = "0001"
_SHARD_ID = re.compile(r"[0-9]{1,4}", re.ASCII)
_SHARD_ID_CHARS = 4
#: Longest text of one shard's slots: far above any sensible list of ranges.
_SLOTS_CHARS_MAX = 4_096
#: Problems with slots that one error names.
_PROBLEMS_SHOWN = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class _Sketch:
    """One shard before it has ids and zones."""

    node_count: int
    asked: NodeGroup
    #: The zones the caller chose, primary first; `None` where the service chooses.
    zones: tuple[str | None, ...]


def count_shards(wanted: CreateReplicationGroup) -> int:
    """Return how many node groups are asked for, after a look at what contradicts what."""
    configured = len(wanted.node_group_configuration)
    if wanted.num_cache_clusters is not None:
        rules.between("NumCacheClusters", wanted.num_cache_clusters, 1, _CLUSTERS_MAX)
        if wanted.replicas_per_node_group is not None or configured:
            raise invalid_combination(
                "NumCacheClusters cannot be combined with NumNodeGroups, ReplicasPerNodeGroup or "
                "NodeGroupConfiguration."
            )
        if wanted.num_node_groups is not None:
            raise invalid_combination("NumCacheClusters cannot be combined with NumNodeGroups.")
    if wanted.num_node_groups is None:
        return configured or 1
    if wanted.num_node_groups < 1:
        raise invalid_value(
            f"Invalid value {wanted.num_node_groups} for NumNodeGroups. Must be at least 1"
        )
    if configured and configured != wanted.num_node_groups:
        raise invalid_combination(
            f"NumNodeGroups is {wanted.num_node_groups}, but NodeGroupConfiguration has "
            f"{configured} elements."
        )
    return wanted.num_node_groups


def make_shards(
    wanted: CreateReplicationGroup,
    *,
    name: str,
    cluster_enabled: bool,
    zones: tuple[str, ...],
    default_zones: tuple[str, ...],
    limits: Limits,
) -> tuple[ShardSpec, ...]:
    """Return the shards of the new group `name`, with every node in a zone.

    `zones` are those a caller may name, `default_zones` those that nodes get otherwise.

    Raises:
        ClientFault: too many, too few, or contradictory.
    """
    count = count_shards(wanted)
    _refuse_too_many_shards(count, limits)
    sketches = _sketch(wanted, count, zones)
    nodes = sum(sketch.node_count for sketch in sketches)
    if nodes > limits.nodes_per_cluster:
        raise ClientFault(
            "NodeQuotaForClusterExceeded",
            "Cluster node quota exceeded. Each cluster can have at most "
            f"{limits.nodes_per_cluster} nodes in this region.",
        )
    shard_ids = _shard_ids([sketch.asked for sketch in sketches], cluster_enabled=cluster_enabled)
    slots = _slots([sketch.asked for sketch in sketches], shard_ids, cluster_enabled)
    return tuple(
        ShardSpec(
            shard_id=shard_id,
            slots=owned,
            nodes=_nodes(
                f"{name}-{shard_id}" if cluster_enabled else name,
                fill_zones(sketch.zones, default_zones, turn=index),
            ),
        )
        for index, (sketch, shard_id, owned) in enumerate(
            zip(sketches, shard_ids, slots, strict=True)
        )
    )


def _refuse_too_many_shards(count: int, limits: Limits) -> None:
    if count > limits.nodes_per_cluster:
        raise ClientFault(
            "NodeGroupsPerReplicationGroupQuotaExceeded",
            "Node group quota exceeded. Each replication group can have at most "
            f"{limits.nodes_per_cluster} node groups.",
        )


def _sketch(
    wanted: CreateReplicationGroup, count: int, zones: tuple[str, ...]
) -> tuple[_Sketch, ...]:
    _refuse_unknown_zones(wanted.preferred_cache_cluster_azs, zones)
    replicas = wanted.replicas_per_node_group
    if replicas is not None:
        rules.between("ReplicasPerNodeGroup", replicas, 0, REPLICAS_MAX)
    if wanted.node_group_configuration:
        if wanted.preferred_cache_cluster_azs:
            raise invalid_combination(
                "PreferredCacheClusterAZs cannot be combined with NodeGroupConfiguration, which "
                "names the zones of each node group."
            )
        return tuple(
            _sketch_configured(number, asked, replicas, zones)
            for number, asked in enumerate(wanted.node_group_configuration, 1)
        )
    node_count = wanted.num_cache_clusters or (replicas or 0) + 1
    chosen: tuple[str | None, ...] = wanted.preferred_cache_cluster_azs or (None,) * node_count
    if count > 1 and wanted.preferred_cache_cluster_azs:
        raise invalid_combination(
            "PreferredCacheClusterAZs can only be given for a single node group; use "
            "NodeGroupConfiguration."
        )
    if len(chosen) != node_count:
        raise invalid_combination(
            f"PreferredCacheClusterAZs names {len(chosen)} zones for {node_count} cache clusters; "
            "the numbers must be equal."
        )
    return (_Sketch(node_count=node_count, asked=NodeGroup(), zones=chosen),) * count


def _sketch_configured(
    number: int, asked: NodeGroup, replicas_default: int | None, zones: tuple[str, ...]
) -> _Sketch:
    path = f"NodeGroupConfiguration.{number}"
    primary_zone = asked.primary_availability_zone or None
    replica_zones = asked.replica_availability_zones
    _refuse_unknown_zones((primary_zone, *replica_zones) if primary_zone else replica_zones, zones)
    replicas = replicas_default if asked.replica_count is None else asked.replica_count
    if replicas is None:
        replicas = len(replica_zones)
    rules.between(f"{path}.ReplicaCount", replicas, 0, REPLICAS_MAX)
    if replica_zones and len(replica_zones) != replicas:
        raise invalid_combination(
            f"{path}.ReplicaAvailabilityZones names {len(replica_zones)} zones for {replicas} "
            "replicas; the numbers must be equal."
        )
    return _Sketch(
        node_count=replicas + 1,
        asked=asked,
        zones=(primary_zone, *(replica_zones or (None,) * replicas)),
    )


# Zones


def _refuse_unknown_zones(named: Sequence[str], zones: tuple[str, ...]) -> None:
    for zone in named:
        rules.zone(zone, zones)


def fill_zones(
    chosen: tuple[str | None, ...], zones: tuple[str, ...], *, turn: int
) -> tuple[str, ...]:
    """Give every node without a zone the one that has fewest of the shard's nodes.

    Among equals the shards take turns, so that the primaries of a group spread as well.
    """
    in_turn = [zones[(turn + step) % len(zones)] for step in range(len(zones))]
    taken = Counter(zone for zone in chosen if zone is not None)
    filled: list[str] = []
    for zone in chosen:
        picked = min(in_turn, key=lambda candidate: taken[candidate]) if zone is None else zone
        taken[picked] += zone is None
        filled.append(picked)
    return tuple(filled)


# Ids


def _shard_ids(asked: Sequence[NodeGroup], *, cluster_enabled: bool) -> tuple[str, ...]:
    given = [
        checked_shard_id(group.node_group_id) if group.node_group_id else None for group in asked
    ]
    if not cluster_enabled and given[0] not in {None, _ONLY_SHARD}:
        raise invalid_combination(
            f"With cluster mode disabled the only node group has the id {_ONLY_SHARD}."
        )
    named = [shard_id for shard_id in given if shard_id is not None]
    if len(set(named)) != len(named):
        twice = next(shard_id for shard_id in named if named.count(shard_id) > 1)
        raise invalid_value(f"The node group id {twice} was given more than once.")
    free = (
        shard_id for number in itertools.count(1) if (shard_id := f"{number:04}") not in set(named)
    )
    return tuple(next(free) if shard_id is None else shard_id for shard_id in given)


def checked_shard_id(text: str) -> str:
    """Return the id of a shard as it is written down: always with four digits."""
    if not _SHARD_ID.fullmatch(text):
        raise invalid_value(f"Invalid node group id '{rules.shown(text)}': it has 1 to 4 digits.")
    return text.zfill(_SHARD_ID_CHARS)


def _nodes(prefix: str, zones: tuple[str, ...]) -> tuple[NodeSpec, ...]:
    return tuple(
        NodeSpec(node_id=f"{prefix}-{number:03}", zone=zone) for number, zone in enumerate(zones, 1)
    )


# Slots


def _slots(
    asked: Sequence[NodeGroup], shard_ids: Sequence[str], cluster_enabled: bool
) -> tuple[SlotRanges, ...]:
    given = [group.slots for group in asked if group.slots]
    if not cluster_enabled:
        if given:
            raise invalid_combination("Slots can only be given with cluster mode enabled.")
        return ((),)
    if not given:
        return split_evenly(len(asked))
    if len(given) != len(asked):
        raise invalid_combination(
            f"Slots are given for {len(given)} of {len(asked)} node groups; "
            "give them for all or for none."
        )
    ranges = tuple(_parse_slots(text) for text in given)
    problems = _slot_problems(ranges, shard_ids)
    if problems:
        raise invalid_value(f"Invalid slots: {'; '.join(problems[:_PROBLEMS_SHOWN])}.")
    return ranges


def _parse_slots(text: str) -> SlotRanges:
    if len(text) <= _SLOTS_CHARS_MAX:
        try:
            return parse_ranges(text)
        except ValueError:
            pass  # said below, with the form that is right
    raise invalid_value(
        f"Invalid slots '{rules.shown(text)}': they have the form first-last, from 0 to "
        f"{SLOT_COUNT - 1}, for example 0-3999."
    )


def _slot_problems(ranges: Sequence[SlotRanges], shard_ids: Sequence[str]) -> list[str]:
    """Return a sentence for every gap and every overlap, in the order of the slots."""
    owned = sorted(
        (part, shard_id)
        for parts, shard_id in zip(ranges, shard_ids, strict=True)
        for part in parts
    )
    problems: list[str] = []
    next_slot, owner = 0, ""
    for part, shard_id in owned:
        if part.first > next_slot:
            problems.append(f"slots {SlotRange(next_slot, part.first - 1)} are in no node group")
        if part.first < next_slot:
            twice = SlotRange(part.first, min(part.last, next_slot - 1))
            problems.append(f"slots {twice} are in node groups {owner} and {shard_id}")
        if part.last >= next_slot:
            next_slot, owner = part.last + 1, shard_id
    if next_slot < SLOT_COUNT:
        problems.append(f"slots {SlotRange(next_slot, SLOT_COUNT - 1)} are in no node group")
    return problems
