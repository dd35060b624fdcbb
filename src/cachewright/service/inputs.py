"""What does a caller ask for, as a typed value? One class an operation, named like it.

`read` turns the decoded parameters into one of these classes. Every member that the service model
gives an operation is either a field here or a row of `unoffered`, by test: no parameter is ever
dropped in silence. A field is `None` where the caller gave nothing.

The classes are msgspec structs and not dataclasses because struct fields can have the names that
the API uses.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import TypeVar

import msgspec

from cachewright.service import rules, unoffered

T = TypeVar("T", bound=msgspec.Struct)


class Tag(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    """One tag; AWS allows a tag without a value."""

    key: str | None = None
    value: str | None = None


class NodeGroup(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    """One element of `NodeGroupConfiguration`."""

    node_group_id: str | None = None
    slots: str | None = None
    replica_count: int | None = None
    primary_availability_zone: str | None = None
    replica_availability_zones: tuple[str, ...] = ()


class CreateReplicationGroup(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    """A new replication group."""

    replication_group_id: str
    replication_group_description: str
    automatic_failover_enabled: bool | None = None
    multi_az_enabled: bool | None = msgspec.field(default=None, name="MultiAZEnabled")
    num_cache_clusters: int | None = None
    preferred_cache_cluster_azs: tuple[str, ...] = msgspec.field(
        default=(), name="PreferredCacheClusterAZs"
    )
    num_node_groups: int | None = None
    replicas_per_node_group: int | None = None
    node_group_configuration: tuple[NodeGroup, ...] = ()
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
    cluster_mode: str | None = None
    durability: str | None = None


class ModifyReplicationGroup(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    """Changes to a replication group; what is `None` stays as it is."""

    replication_group_id: str
    replication_group_description: str | None = None
    primary_cluster_id: str | None = None
    snapshotting_cluster_id: str | None = None
    automatic_failover_enabled: bool | None = None
    multi_az_enabled: bool | None = msgspec.field(default=None, name="MultiAZEnabled")
    #: Deprecated in the API: it has no effect there either.
    node_group_id: str | None = None
    security_group_ids: tuple[str, ...] = ()
    preferred_maintenance_window: str | None = None
    notification_topic_arn: str | None = None
    notification_topic_status: str | None = None
    cache_parameter_group_name: str | None = None
    #: Metadata changes are immediate in any case.
    apply_immediately: bool | None = None
    engine: str | None = None
    engine_version: str | None = None
    auto_minor_version_upgrade: bool | None = None
    snapshot_window: str | None = None
    cache_node_type: str | None = None
    #: Without a token there is nothing to set, rotate or delete; a token is refused.
    auth_token_update_strategy: str | None = None
    cluster_mode: str | None = None
    durability: str | None = None


class DeleteReplicationGroup(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    """The end of a replication group."""

    replication_group_id: str
    retain_primary_cluster: bool | None = None


class TestFailover(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    """A failover of one shard, to see what it does."""

    replication_group_id: str
    node_group_id: str


class DescribeReplicationGroups(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    """A look at one replication group, or at all."""

    replication_group_id: str | None = None
    max_records: int | None = None
    marker: str | None = None


class DescribeCacheEngineVersions(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    """Which engines and versions are there?"""

    engine: str | None = None
    engine_version: str | None = None
    cache_parameter_group_family: str | None = None
    max_records: int | None = None
    marker: str | None = None
    default_only: bool | None = None


class ListAllowedNodeTypeModifications(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    """To which node types can this be scaled?"""

    cache_cluster_id: str | None = None
    replication_group_id: str | None = None


class DescribeEvents(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    """What has happened?"""

    source_identifier: str | None = None
    source_type: str | None = None
    start_time: datetime.datetime | None = None
    end_time: datetime.datetime | None = None
    #: Minutes.
    duration: int | None = None
    max_records: int | None = None
    marker: str | None = None


class ListTagsForResource(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    """The tags of the resource with this ARN."""

    resource_name: str


class AddTagsToResource(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    """Tags to add to the resource with this ARN."""

    resource_name: str
    tags: tuple[Tag, ...]


class RemoveTagsFromResource(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    """Tags to take from the resource with this ARN."""

    resource_name: str
    tag_keys: tuple[str, ...]


def read(kind: type[T], params: Mapping[str, object]) -> T:
    """Return the decoded `params` of the operation that `kind` is named after.

    Raises:
        ClientFault: a text has a control character, or something is asked for that is not offered.
    """
    rules.refuse_control_characters(params)
    unoffered.refuse(kind.__name__, params)
    return msgspec.convert(params, type=kind)
