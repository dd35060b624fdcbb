"""How many shards shall a group have? `ModifyReplicationGroupShardConfiguration`.

What is written down is which shards come and which shall give up their slots; which slots move
where, and whether the data fits, is the planner's business. Only what plainly cannot fit, by what
the engines said last, is refused here.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from cachewright.model.errors import ClientFault, invalid_combination, invalid_value
from cachewright.model.groups import GroupSpec, ShardSpec
from cachewright.model.status import GroupState
from cachewright.service import (
    events,
    failover_settings,
    members,
    memory,
    new_cluster,
    quotas,
    rules,
    sizing,
    tags,
    views,
)
from cachewright.service.context import Decision, Service, change
from cachewright.service.inputs_scaling import ModifyReplicationGroupShardConfiguration, NewShard
from cachewright.store.records import SPEC, ChangeSet

_SHARD_IDS_MAX = 9_999


@dataclass(frozen=True, kw_only=True, slots=True)
class _Sketch:
    """A shard that comes, before it has nodes."""

    shard_id: str
    #: One for each of its nodes; empty where the service chooses.
    zones: tuple[str, ...]


async def modify(
    service: Service, wanted: ModifyReplicationGroupShardConfiguration
) -> views.GroupView:
    """Accept another number of shards, or slots spread anew, and return the group as it is then."""

    def decide() -> Decision[views.GroupView]:
        group = _changeable(service, wanted)
        before = group.spec
        difference = wanted.node_group_count - len(before.shards)
        _refuse_what_does_not_fit(wanted, difference)
        changes = ChangeSet()
        if difference > 0:
            shards = _with_new(service, group, wanted)
        elif difference < 0:
            shards = _with_leaving(service, group, wanted)
        else:
            shards = before.shards
        after = dataclasses.replace(
            before,
            shards=shards,
            generation=before.generation + 1,
            resharding_generation=before.generation + 1,
        )
        members.refuse_too_many_nodes(service, after)
        quotas.refuse_growth(service, before, after)
        changes.replace(SPEC + before.uid, after, group.spec_revision)
        ids = [node.node_id for node in after.nodes() if before.node(node.node_id) is None]
        members.write_names(changes, before, ids)
        tags.copy_common(service, changes, group, ids)
        events.about_group(service, changes, before.name, _text(before, wanted.node_group_count))
        return Decision(uid=before.uid, changes=changes, result=views.with_spec(group, after))

    return await change(service, decide)


def _changeable(
    service: Service, wanted: ModifyReplicationGroupShardConfiguration
) -> views.GroupView:
    """Return the group if it may have another number of shards now."""
    group = views.find_group(service.records, wanted.replication_group_id)
    spec = group.spec
    members.require_immediate(is_immediate=wanted.apply_immediately)
    if not spec.cluster_enabled:
        raise invalid_combination(
            f"Replication group {spec.name} has cluster mode disabled and always one node group."
        )
    if wanted.node_group_count < 1:
        raise invalid_value(
            f"Invalid value {wanted.node_group_count} for NodeGroupCount. Must be at least 1: not "
            "all node groups can be removed"
        )
    limit = service.settings.limits.nodes_per_cluster
    if wanted.node_group_count > limit:
        raise ClientFault(
            "NodeGroupsPerReplicationGroupQuotaExceeded",
            f"Node group quota exceeded. Each replication group can have at most {limit} node "
            "groups.",
        )
    if group.state is not GroupState.AVAILABLE:
        raise rules.invalid_group_state("Replication group must be in available state to modify.")
    return group


def _refuse_what_does_not_fit(
    wanted: ModifyReplicationGroupShardConfiguration, difference: int
) -> None:
    if wanted.resharding_configuration and difference <= 0:
        raise invalid_combination(
            "ReshardingConfiguration can only be given with a NodeGroupCount that adds node groups."
        )
    if difference >= 0 and (wanted.node_groups_to_remove or wanted.node_groups_to_retain):
        raise invalid_combination(
            "NodeGroupsToRemove and NodeGroupsToRetain can only be given with a NodeGroupCount "
            "that is less than the number of node groups there are."
        )


def _text(before: GroupSpec, count: int) -> str:
    there = len(before.shards)
    if count == there:
        return f"Rebalancing of the slots of replication group {before.name} accepted"
    return (
        f"Modification of the node groups of replication group {before.name} from {there} to "
        f"{count} accepted"
    )


# Shards that come


def _with_new(
    service: Service, group: views.GroupView, wanted: ModifyReplicationGroupShardConfiguration
) -> tuple[ShardSpec, ...]:
    """Return the shards of a group and those that come: each as large as the smallest there is."""
    spec, now = group.spec, service.clock.now()
    sketches = _sketches(service, group, wanted)
    node_count = spec.replicas_least() + 1
    default = new_cluster.zones_of(service, spec.subnet_group).default
    added: list[ShardSpec] = []
    for turn, sketch in enumerate(sketches, len(spec.shards)):
        chosen: tuple[str | None, ...] = sketch.zones or (None,) * node_count
        zones = sizing.fill_zones(chosen, default, turn=turn)
        nodes = members.new_nodes(service, spec, sketch.shard_id, zones, now)
        added.append(ShardSpec(shard_id=sketch.shard_id, slots=(), nodes=nodes))
    if spec.multi_az and node_count > 1:
        failover_settings.require_multi_az(added, failover=spec.automatic_failover)
    return (*spec.shards, *added)


def _sketches(
    service: Service, group: views.GroupView, wanted: ModifyReplicationGroupShardConfiguration
) -> tuple[_Sketch, ...]:
    """Return the shards that come, as `ReshardingConfiguration` says it."""
    spec, configured = group.spec, wanted.resharding_configuration
    count = wanted.node_group_count - len(spec.shards)
    there = {shard.shard_id: shard for shard in spec.shards}
    known, least = rules.zones(service.settings), spec.replicas_least() + 1
    new: list[tuple[str | None, tuple[str, ...]]] = []
    ids = _ids_of(configured, tuple(there), wanted.node_group_count)
    for number, (asked, shard_id) in enumerate(zip(configured, ids, strict=True), 1):
        shard = there.get(shard_id or "")
        nodes = shard.nodes if shard else ()
        zones = asked.preferred_availability_zones
        if zones:
            member = f"ReshardingConfiguration.{number}.PreferredAvailabilityZones"
            zones = members.zones_named(member, zones, len(nodes) or least, known)
        if shard is None:
            new.append((shard_id, zones))
        elif zones and Counter(zones) != Counter(node.zone for node in nodes):
            raise invalid_combination(
                f"ReshardingConfiguration.{number} is about node group {shard_id}, whose nodes "
                f"stay in {', '.join(node.zone for node in nodes)}."
            )
    if configured and len(new) != count:
        raise invalid_combination(
            f"ReshardingConfiguration describes {len(new)} new node groups; for NodeGroupCount "
            f"{wanted.node_group_count} it must describe {count}."
        )
    new = new or [(None, ())] * count
    free = free_ids(group, {shard_id for shard_id, _ in new if shard_id})
    return tuple(_Sketch(shard_id=shard_id or next(free), zones=zones) for shard_id, zones in new)


def _ids_of(configured: Sequence[NewShard], there: Sequence[str], count: int) -> list[str | None]:
    """Return which shard each element is about, `None` for a new one without an id.

    Elements speak of the new shards or of all that there shall be; of all without ids for those
    that are there, in their order.
    """
    ids = [
        sizing.checked_shard_id(one.node_group_id) if one.node_group_id else None
        for one in configured
    ]
    _refuse_twice("ReshardingConfiguration", [shard_id for shard_id in ids if shard_id])
    if len(ids) == count and not any(ids[: len(there)]) and set(there).isdisjoint(ids):
        ids[: len(there)] = there
    return ids


def free_ids(group: views.GroupView, given: Collection[str]) -> Iterator[str]:
    """Yield ids that continue the numbering, then such as nobody has any more."""
    taken = {*given, *(shard.shard_id for shard in group.spec.shards)}
    placed = group.placement.nodes if group.placement else ()
    taken |= {place.shard_id for place in placed if place.shard_id}
    greatest = max(int(shard_id) for shard_id in taken - set(given))
    for number in (*range(greatest + 1, _SHARD_IDS_MAX + 1), *range(1, greatest)):
        shard_id = f"{number:04}"
        if shard_id not in taken:
            yield shard_id


# Shards that go


def _with_leaving(
    service: Service, group: views.GroupView, wanted: ModifyReplicationGroupShardConfiguration
) -> tuple[ShardSpec, ...]:
    """Return the shards of a group, where those that go are marked."""
    spec, count = group.spec, wanted.node_group_count
    removed, retained = wanted.node_groups_to_remove, wanted.node_groups_to_retain
    if bool(removed) == bool(retained):
        raise invalid_combination(
            "Exactly one of NodeGroupsToRemove and NodeGroupsToRetain must be provided to remove "
            "node groups."
        )
    member = "NodeGroupsToRemove" if removed else "NodeGroupsToRetain"
    named = [members.shard_named(spec, text).shard_id for text in removed or retained]
    _refuse_twice(member, named)
    needed = len(spec.shards) - count if removed else count
    if len(named) != needed:
        raise invalid_combination(
            f"{member} names {len(named)} node groups; for NodeGroupCount {count} of "
            f"{len(spec.shards)} it must name {needed}."
        )
    shards = tuple(
        dataclasses.replace(shard, is_leaving=(shard.shard_id in named) == bool(removed))
        for shard in spec.shards
    )
    staying = tuple(shard for shard in shards if not shard.is_leaving)
    memory.refuse_overflow(service, spec, staying)
    return shards


def _refuse_twice(member: str, shard_ids: Sequence[str]) -> None:
    for shard_id, times in Counter(shard_ids).items():
        if times > 1:
            raise invalid_value(f"{member} names node group {shard_id} more than once.")
