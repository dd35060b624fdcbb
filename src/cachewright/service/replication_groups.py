"""What may a caller ask of a replication group? Create, modify, delete.

Each use case reads, validates and builds one change set, which is committed whole or not at all.
What follows from a change is the loop's business. Rules and texts follow ElastiCache's API
reference where it says something; what is not offered yet is refused by name (`unoffered`).
"""

from __future__ import annotations

import dataclasses

from cachewright.kit import ids
from cachewright.model import engines
from cachewright.model.errors import ClientFault, invalid_combination, invalid_value
from cachewright.model.groups import Deletion, GroupSecret, GroupSpec, Notification
from cachewright.model.status import GroupState
from cachewright.service import (
    events,
    new_group,
    quotas,
    rules,
    subnet_groups,
    tags,
    views,
    windows,
)
from cachewright.service.context import Decision, Service, change
from cachewright.service.inputs import (
    CreateReplicationGroup,
    DeleteReplicationGroup,
    ModifyReplicationGroup,
)
from cachewright.store import records

_TOPIC_STATUSES = (new_group.TOPIC_ACTIVE, "inactive")


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
    """Accept changes of a group's metadata and return the group as it is then."""

    def decide() -> Decision[views.GroupView]:
        group = views.find_group(service.records, wanted.replication_group_id)
        if group.state is not GroupState.AVAILABLE:
            raise rules.invalid_group_state(
                "Replication group must be in available state to modify."
            )
        before = group.spec
        _refuse_other_shape(before, wanted)
        after = _modified(service, before, wanted)
        if after == before:
            raise invalid_combination("No modifications were requested")
        after = dataclasses.replace(after, generation=before.generation + 1)
        changes = records.ChangeSet()
        changes.replace(records.SPEC + before.uid, after, group.spec_revision)
        text = f"Modification of replication group {before.name} accepted"
        events.about_group(service, changes, before.name, text)
        result = dataclasses.replace(group, spec=after)
        return Decision(uid=before.uid, changes=changes, result=result)

    return await change(service, decide)


def _refuse_other_shape(spec: GroupSpec, wanted: ModifyReplicationGroup) -> None:
    """Refuse what would change more than metadata; naming what is there already is harmless."""
    if wanted.automatic_failover_enabled is False and spec.cluster_enabled:
        raise invalid_combination(
            "Turning off automatic failover for replication group with cluster mode enabled is "
            "not supported."
        )
    has_replica = len(spec.shards[0].nodes) >= new_group.NODES_FOR_FAILOVER
    if wanted.automatic_failover_enabled and not spec.automatic_failover and not has_replica:
        raise invalid_combination(
            "Replication group must have at least one read replica to enable autofailover."
        )
    current = (
        ("AutomaticFailoverEnabled", wanted.automatic_failover_enabled, spec.automatic_failover),
        ("MultiAZEnabled", wanted.multi_az_enabled, spec.multi_az),
        ("CacheNodeType", wanted.cache_node_type or None, spec.node_type),
        ("Engine", _lower(wanted.engine), spec.engine.value),
        ("EngineVersion", wanted.engine_version or None, spec.engine_version),
        (
            "CacheParameterGroupName",
            _lower(wanted.cache_parameter_group_name),
            spec.parameter_group,
        ),
        ("ClusterMode", wanted.cluster_mode, "enabled" if spec.cluster_enabled else "disabled"),
    )
    _refuse_downgrade(spec, wanted)
    for member, asked, there in current:
        if asked is not None and asked != there:
            raise invalid_combination(
                f"The parameter {member} cannot be used: changing it is not offered yet."
            )


def _refuse_downgrade(spec: GroupSpec, wanted: ModifyReplicationGroup) -> None:
    version = wanted.engine_version or spec.engine_version
    line = engines.line_of(spec.engine, version)
    if line is None or _lower(wanted.engine) not in {None, spec.engine.value}:
        return
    if engines.version_key(version) < engines.version_key(spec.engine_version):
        raise invalid_combination(
            f"Cannot modify {spec.engine.value} from {spec.engine_version} to {version}"
        )


def _lower(text: str | None) -> str | None:
    return text.lower() if text else None


def _modified(service: Service, spec: GroupSpec, wanted: ModifyReplicationGroup) -> GroupSpec:
    description = wanted.replication_group_description
    upgrade = wanted.auto_minor_version_upgrade
    maintenance_window, snapshot_window = spec.maintenance_window, spec.snapshot_window
    if wanted.preferred_maintenance_window or wanted.snapshot_window:
        maintenance_window, snapshot_window = windows.choose(
            uid=spec.uid,
            region=service.settings.region,
            maintenance=wanted.preferred_maintenance_window or spec.maintenance_window,
            snapshot=wanted.snapshot_window or spec.snapshot_window,
        )
    return dataclasses.replace(
        spec,
        description=spec.description if description is None else rules.description(description),
        security_group_ids=rules.security_group_ids(wanted.security_group_ids)
        or spec.security_group_ids,
        maintenance_window=maintenance_window,
        snapshot_window=snapshot_window,
        snapshotting_node_id=_modified_snapshotting_node(spec, wanted.snapshotting_cluster_id),
        notification=_modified_notification(spec.notification, wanted),
        auto_minor_version_upgrade=spec.auto_minor_version_upgrade if upgrade is None else upgrade,
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


def _modified_notification(
    before: Notification | None, wanted: ModifyReplicationGroup
) -> Notification | None:
    """An empty topic takes the notification away, as infrastructure tools ask for it."""
    status = wanted.notification_topic_status
    if status and status not in _TOPIC_STATUSES:
        raise invalid_value(
            f"Invalid value '{rules.shown(status)}' for NotificationTopicStatus. "
            f"Valid values are {' and '.join(_TOPIC_STATUSES)}"
        )
    if wanted.notification_topic_arn == "":
        return None
    after = new_group.notification(wanted.notification_topic_arn) or before
    if not status:
        return after
    if after is None:
        raise invalid_combination("NotificationTopicStatus needs a NotificationTopicArn.")
    return dataclasses.replace(after, topic_status=status)


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
        after = dataclasses.replace(spec, deletion=deletion, generation=spec.generation + 1)
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
