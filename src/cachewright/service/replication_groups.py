"""What may a caller ask of a replication group? Create, modify, delete.

Each use case reads, validates and builds one change set, which is committed whole or not at all.
What follows from a change is the loop's business. Rules and texts follow ElastiCache's API
reference where it says something; what is not offered yet is refused by name (`unoffered`).
"""

from __future__ import annotations

import dataclasses

from cachewright.kit import ids
from cachewright.model.errors import ClientFault, invalid_combination
from cachewright.model.groups import Deletion, GroupSecret, GroupSpec
from cachewright.model.status import GroupState
from cachewright.service import (
    associations,
    events,
    failover_settings,
    metadata,
    new_group,
    pending,
    quotas,
    refits,
    rules,
    subnet_groups,
    tags,
    views,
)
from cachewright.service.context import Decision, Service, change
from cachewright.service.inputs import (
    CreateReplicationGroup,
    DeleteReplicationGroup,
    ModifyReplicationGroup,
)
from cachewright.store import records

# Create


async def create(service: Service, wanted: CreateReplicationGroup) -> views.GroupView:
    """Accept a new group and return it."""

    def decide() -> Decision[views.GroupView]:
        spec = new_group.new_spec(service, wanted)
        _refuse_taken_names(service, spec)
        quotas.refuse_beyond(service, spec)
        changes = records.ChangeSet()
        changes.create(records.SPEC + spec.uid, spec)
        changes.create(
            records.SECRET + spec.uid,
            GroupSecret(admin_password=ids.new_password(), replication_password=ids.new_password()),
        )
        subnet_groups.use(service, changes, spec.subnet_group)
        associations.use(service, changes, spec)
        for key, uid in records.names_of(spec).items():
            changes.create(key, uid)
        given = tags.checked(wanted.tags, service.settings)
        if given:
            changes.put(records.TAGS + service.arns.of_group(spec.name), given)
        text = f"Create of replication group {spec.name} accepted"
        events.about_group(service, changes, spec.name, text)
        return Decision(uid=spec.uid, changes=changes, result=views.of_new(spec))

    return await change(service, decide)


def _refuse_taken_names(service: Service, spec: GroupSpec) -> None:
    if service.records.uid_of_group(spec.name) is not None:
        raise ClientFault(
            "ReplicationGroupAlreadyExists", f"Replication group {spec.name} already exists."
        )
    for node in spec.nodes():
        if service.records.uid_of_node(node.node_id) is not None:
            raise ClientFault(
                "CacheClusterAlreadyExists", f"Cache cluster {node.node_id} already exists."
            )


# Modify


async def modify(service: Service, wanted: ModifyReplicationGroup) -> views.GroupView:
    """Accept changes of a group and return it as it is then."""
    spec = views.find_group(service.records, wanted.replication_group_id).spec
    await refits.look(service, spec, wanted.cache_node_type)

    def decide() -> Decision[views.GroupView]:
        group = views.find_group(service.records, wanted.replication_group_id)
        if group.state is not GroupState.AVAILABLE:
            raise rules.invalid_group_state(
                "Replication group must be in available state to modify."
            )
        before = group.spec
        _refuse_other_shape(before, wanted)
        after = pending.decided(
            service,
            group,
            _modified(service, group, wanted),
            is_immediate=bool(wanted.apply_immediately),
        )
        if after == before and wanted.auth_token_update_strategy:
            # Terraform asks to rotate the token of every group that it imports, also of one that
            # has none. ElastiCache refuses that, and the import with it.
            return Decision(uid=None, changes=records.ChangeSet(), result=group)
        if after == before:
            raise invalid_combination("No modifications were requested")
        after = dataclasses.replace(after, generation=before.generation + 1)
        changes = records.ChangeSet()
        changes.replace(records.SPEC + before.uid, after, group.spec_revision)
        associations.use(service, changes, after)
        events.about_group(service, changes, before.name, _modify_text(after))
        if after.automatic_failover != before.automatic_failover:
            events.about_group(service, changes, before.name, _failover_text(after))
        result = dataclasses.replace(group, spec=after)
        return Decision(uid=before.uid, changes=changes, result=result)

    return await change(service, decide)


def _modify_text(after: GroupSpec) -> str:
    text = f"Modification of replication group {after.name} accepted"
    if after.pending is None:
        return text
    return f"{text}; waiting for the maintenance window {after.maintenance_window}"


def _failover_text(after: GroupSpec) -> str:
    turned = "on" if after.automatic_failover else "off"
    return f"Automatic failover has been turned {turned} for replication group {after.name}"


def _refuse_other_shape(spec: GroupSpec, wanted: ModifyReplicationGroup) -> None:
    """Refuse what cannot change; naming what is there already is harmless."""
    failover_settings.durability(wanted.durability)
    mode = "enabled" if spec.cluster_enabled else "disabled"
    if wanted.cluster_mode is not None and wanted.cluster_mode != mode:
        raise invalid_combination(
            "The parameter ClusterMode cannot be used: changing it is not offered yet."
        )


def _modified(
    service: Service, group: views.GroupView, wanted: ModifyReplicationGroup
) -> GroupSpec:
    spec = failover_settings.modified(group.spec, wanted)
    description = wanted.replication_group_description
    waiting = dataclasses.replace(
        refits.asked(service, spec, wanted),
        primary_node_id=failover_settings.promotion(group, spec, wanted.primary_cluster_id),
    )
    return dataclasses.replace(
        metadata.modified(spec, wanted, region=service.settings.region),
        description=spec.description if description is None else rules.description(description),
        snapshotting_node_id=_modified_snapshotting_node(spec, wanted.snapshotting_cluster_id),
        pending=pending.waiting(waiting),
    )


def _modified_snapshotting_node(spec: GroupSpec, cluster_id: str | None) -> str | None:
    if not cluster_id:
        return spec.snapshotting_node_id
    if spec.cluster_enabled:
        raise invalid_combination(
            "Cannot set snapshotting cluster for cluster mode enabled replication group"
        )
    if cluster_id.lower() not in {node.node_id for node in spec.nodes()}:
        raise ClientFault("CacheClusterNotFound", "Specified snapshotting cluster does not exist")
    return cluster_id.lower()


# Delete


async def delete(service: Service, wanted: DeleteReplicationGroup) -> views.GroupView:
    """Accept the end of a group in any state but `deleting`, and return the group.

    A group that is still being created may be deleted as well, unlike at AWS: a create that is
    stuck must not hold its names and addresses.
    """

    def decide() -> Decision[views.GroupView]:
        group = views.find_group(service.records, wanted.replication_group_id)
        spec = group.spec
        if spec.deletion is not None:
            raise rules.invalid_group_state(
                f"Replication group {spec.name} has status deleting which is not valid for "
                "deletion."
            )
        retained = _retained_node(group) if wanted.retain_primary_cluster else None
        deletion = Deletion(requested_at=service.clock.now(), retained_node_id=retained)
        after = dataclasses.replace(
            failover_settings.without_wishes(spec, None),
            deletion=deletion,
            generation=spec.generation + 1,
        )
        changes = records.ChangeSet()
        changes.replace(records.SPEC + spec.uid, after, group.spec_revision)
        if retained is not None:
            kept = tags.inherited(service, group, retained)
            changes.put(records.TAGS + service.arns.of_node(retained), kept)
        text = f"Delete of replication group {spec.name} accepted"
        events.about_group(service, changes, spec.name, text)
        result = dataclasses.replace(group, spec=after)
        return Decision(uid=spec.uid, changes=changes, result=result)

    return await change(service, decide)


def _retained_node(group: views.GroupView) -> str:
    """Return the node that stays: the one that is primary now."""
    if group.spec.cluster_enabled:
        raise invalid_combination(
            "RetainPrimaryCluster is not supported for replication groups with cluster mode "
            "enabled."
        )
    primary = group.primary_of(group.spec.shards[0].nodes)
    if group.state is not GroupState.AVAILABLE or primary is None:
        raise rules.invalid_group_state(
            "Replication group must be in available state to retain its primary cluster."
        )
    return primary
