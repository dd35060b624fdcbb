"""How many replicas shall a group's shards have? `IncreaseReplicaCount` and `DecreaseReplicaCount`.

For the whole group or shard by shard, with cluster mode or without. New replicas get the lowest
free ids. The primary always stays; who goes is named, or chosen (`plan.removal`). What nobody is
sure of is not removed: where the primary is not known, nobody is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from cachewright.model.errors import ClientFault, invalid_combination, invalid_value
from cachewright.model.facts import Observed
from cachewright.model.groups import GroupSpec, NodeSpec, ShardSpec
from cachewright.model.status import GroupState, NodeState
from cachewright.plan import removal
from cachewright.service import (
    associations,
    events,
    members,
    new_cluster,
    quotas,
    rules,
    sizing,
    views,
)
from cachewright.service.context import Decision, Service, change
from cachewright.service.inputs_scaling import DecreaseReplicaCount, IncreaseReplicaCount
from cachewright.store.records import SPEC, STATUS, ChangeSet


@dataclass(frozen=True, kw_only=True, slots=True)
class _Wish:
    """What is asked of one shard."""

    shard: ShardSpec
    replicas: int
    #: Zones of all its nodes in the end; empty where the service chooses.
    zones: tuple[str, ...] = ()

    @property
    def growth(self) -> int:
        """How many replicas come; less than 0 where some go."""
        return self.replicas + 1 - len(self.shard.nodes)


# More


async def increase(service: Service, wanted: IncreaseReplicaCount) -> views.GroupView:
    """Accept more replicas and return the group as it is then."""

    def decide() -> Decision[views.GroupView]:
        group = _changeable(service, wanted)
        before = group.spec
        wishes = _asked(service, before, wanted)
        _refuse_other_way(wishes, "DecreaseReplicaCount", [w for w in wishes if w.growth < 0])
        added = {
            wish.shard.shard_id: members.new_nodes(
                service,
                before,
                wish.shard.shard_id,
                _new_zones(service, before, wish),
                service.clock.now(),
            )
            for wish in wishes
            if wish.growth
        }
        whole = {shard.shard_id: shard.nodes for shard in before.shards}
        grown = {shard_id: (*whole[shard_id], *nodes) for shard_id, nodes in added.items()}
        after = members.with_nodes(before, grown)
        members.refuse_too_many_nodes(service, after)
        quotas.refuse_growth(service, before, after)
        changes = ChangeSet()
        changes.replace(SPEC + before.uid, after, group.spec_revision)
        ids = [node.node_id for nodes in added.values() for node in nodes]
        members.write_names(changes, before, ids)
        text = (
            f"Increase of the number of replicas of replication group {before.name} accepted: "
            f"adding {', '.join(ids)}"
        )
        events.about_group(service, changes, before.name, text)
        return Decision(uid=before.uid, changes=changes, result=views.with_spec(group, after))

    return await change(service, decide)


def _new_zones(service: Service, spec: GroupSpec, wish: _Wish) -> tuple[str, ...]:
    """Return the zones of the replicas that come; those that are there stay where they are."""
    there = [node.zone for node in wish.shard.nodes]
    if not wish.zones:
        default = new_cluster.zones_of(service, spec.subnet_group).default
        whole = sizing.fill_zones((*there, *(None,) * wish.growth), default, turn=0)
        return whole[len(there) :]
    left, new = Counter(there), []
    for zone in wish.zones:
        if left[zone]:
            left[zone] -= 1
        else:
            new.append(zone)
    if left.total():
        raise _other_zones(wish)
    return tuple(new)


# Fewer


async def decrease(service: Service, wanted: DecreaseReplicaCount) -> views.GroupView:
    """Accept fewer replicas and return the group as it is then."""
    seen = Observed()
    if not wanted.replicas_to_remove:
        group = views.find_group(service.records, wanted.replication_group_id)
        seen = await service.look(group.spec.uid)

    def decide() -> Decision[views.GroupView]:
        group = _changeable(service, wanted)
        before = group.spec
        named = _named(before, wanted.replicas_to_remove)
        if named and wanted.new_replica_count is None and not wanted.replica_configuration:
            wishes = _implied(before, named)
        else:
            wishes = _asked(service, before, wanted)
        _refuse_other_way(wishes, "IncreaseReplicaCount", [w for w in wishes if w.growth > 0])
        _refuse_other_shards(wishes, named)
        gone = tuple(
            node_id for wish in wishes if wish.growth for node_id in _gone(group, wish, named, seen)
        )
        after = members.without(group, gone)
        associations.refuse_fewer_replicas(service, after)
        changes = ChangeSet()
        changes.replace(SPEC + before.uid, after, group.spec_revision)
        # Who is the primary was read there: it must still be so.
        changes.expect(STATUS + before.uid, group.status_revision)
        text = (
            f"Decrease of the number of replicas of replication group {before.name} accepted: "
            f"removing {', '.join(gone)}"
        )
        events.about_group(service, changes, before.name, text)
        return Decision(uid=before.uid, changes=changes, result=views.with_spec(group, after))

    return await change(service, decide)


def _named(spec: GroupSpec, cluster_ids: Sequence[str]) -> frozenset[str]:
    """Return the members that a caller names, each once."""
    named = [cluster_id.lower() for cluster_id in cluster_ids]
    for node_id in named:
        if spec.node(node_id) is None:
            raise invalid_value(
                f"Cache cluster {rules.shown(node_id)} is no member of replication group "
                f"{spec.name}."
            )
        if named.count(node_id) > 1:
            raise invalid_value(f"ReplicasToRemove names {node_id} more than once.")
    return frozenset(named)


def _implied(spec: GroupSpec, named: frozenset[str]) -> list[_Wish]:
    """Return what the names of replicas alone ask for."""
    gone = Counter(spec.shard_of(node_id).shard_id for node_id in named)
    return [
        _Wish(shard=shard, replicas=len(shard.nodes) - 1 - gone[shard.shard_id])
        for shard in spec.shards
        if gone[shard.shard_id]
    ]


def _refuse_other_shards(wishes: Sequence[_Wish], named: frozenset[str]) -> None:
    known = {node.node_id for wish in wishes if wish.growth for node in wish.shard.nodes}
    if others := sorted(named - known):
        raise invalid_combination(
            f"ReplicasToRemove names {others[0]}, of whose node group no replica is to be removed."
        )


def _gone(
    group: views.GroupView, wish: _Wish, named: frozenset[str], seen: Observed
) -> tuple[str, ...]:
    """Return the replicas of a shard that go, or raise why they cannot."""
    spec, shard = group.spec, wish.shard
    _refuse_too_few(spec, wish)
    primary = group.primary_of(shard.nodes)
    if primary is None:
        raise rules.invalid_group_state(
            f"Node group {shard.shard_id} of replication group {spec.name} has no primary now: "
            "replicas can be removed once it has one."
        )
    chosen = [node for node in shard.nodes if node.node_id in named]
    if primary in named:
        raise invalid_value(
            f"Cache cluster {primary} is the primary of node group {shard.shard_id} and cannot be "
            "removed."
        )
    if chosen and len(chosen) != -wish.growth:
        raise invalid_combination(
            f"ReplicasToRemove names {len(chosen)} replicas of node group {shard.shard_id}; for "
            f"{wish.replicas} replicas {-wish.growth} have to go."
        )
    if not chosen:
        chosen = _least_needed(group, wish, primary, seen)
    kept = tuple(node for node in shard.nodes if node not in chosen)
    if wish.zones and Counter(node.zone for node in kept) != Counter(wish.zones):
        raise _other_zones(wish)
    if spec.multi_az and len(kept) > 1 and len({node.zone for node in kept}) == 1:
        raise invalid_combination(
            f"The nodes that node group {shard.shard_id} would keep are all in availability zone "
            f"{kept[0].zone}, and replication group {spec.name} has Multi-AZ enabled."
        )
    return tuple(node.node_id for node in chosen)


def _refuse_too_few(spec: GroupSpec, wish: _Wish) -> None:
    if wish.replicas or spec.cluster_enabled:
        return
    if spec.automatic_failover or spec.multi_az:
        raise invalid_value(
            "Must have at least 1 replica when cluster mode is disabled with auto failover enabled."
        )


def _least_needed(
    group: views.GroupView, wish: _Wish, primary: str, seen: Observed
) -> list[NodeSpec]:
    nodes = wish.shard.nodes
    states = {node.node_id: group.node_state(node.node_id) for node in nodes}
    serving = frozenset(n for n, state in states.items() if state is NodeState.AVAILABLE)
    gone = removal.least_needed(
        removal.members(nodes, seen, serving),
        -wish.growth,
        primary_id=primary,
        zones=wish.zones,
        is_multi_az=group.spec.multi_az,
    )
    return [*gone]


# Both


def _changeable(
    service: Service, wanted: IncreaseReplicaCount | DecreaseReplicaCount
) -> views.GroupView:
    """Return the group if replicas of it may come and go now."""
    group = views.find_group(service.records, wanted.replication_group_id)
    members.require_immediate(is_immediate=wanted.apply_immediately)
    if group.state is not GroupState.AVAILABLE:
        raise rules.invalid_group_state("Replication group must be in available state to modify.")
    return group


def _asked(
    service: Service, spec: GroupSpec, wanted: IncreaseReplicaCount | DecreaseReplicaCount
) -> list[_Wish]:
    """Return what is asked of each shard that is meant."""
    count, configured = wanted.new_replica_count, wanted.replica_configuration
    if (count is None) == (not configured):
        raise invalid_combination(
            "Exactly one of NewReplicaCount and ReplicaConfiguration must be provided."
        )
    if count is not None:
        rules.between("NewReplicaCount", count, 0, sizing.REPLICAS_MAX)
        return [_Wish(shard=shard, replicas=count) for shard in spec.shards]
    wishes: list[_Wish] = []
    known = rules.zones(service.settings)
    for number, asked in enumerate(configured, 1):
        path = f"ReplicaConfiguration.{number}"
        shard = members.shard_named(spec, asked.node_group_id)
        if any(wish.shard is shard for wish in wishes):
            raise invalid_value(f"ReplicaConfiguration names {shard.shard_id} more than once.")
        replicas = asked.new_replica_count
        rules.between(f"{path}.NewReplicaCount", replicas, 0, sizing.REPLICAS_MAX)
        zones = asked.preferred_availability_zones
        if zones:
            member = f"{path}.PreferredAvailabilityZones"
            zones = members.zones_named(member, zones, replicas + 1, known)
        wishes.append(_Wish(shard=shard, replicas=replicas, zones=zones))
    return wishes


def _refuse_other_way(wishes: Sequence[_Wish], other: str, wrong: Sequence[_Wish]) -> None:
    """Refuse a request that asks for nothing, or for what the other operation is for."""
    for wish in wrong:
        raise invalid_value(
            f"Invalid value {wish.replicas} for NewReplicaCount: node group "
            f"{wish.shard.shard_id} has {len(wish.shard.nodes) - 1} replicas. Use {other}."
        )
    if not any(wish.growth for wish in wishes):
        raise ClientFault(
            "NoOperationFault", "Every node group has the number of replicas that is asked for."
        )


def _other_zones(wish: _Wish) -> ClientFault:
    there = ", ".join(node.zone for node in wish.shard.nodes)
    return invalid_combination(
        f"The availability zones of node group {wish.shard.shard_id} cannot be "
        f"{', '.join(wish.zones)}: its nodes, which stay where they are, are in {there}."
    )
