"""What does a caller ask of service updates, as typed values? See `inputs`."""

from __future__ import annotations

import datetime

import msgspec


class DescribeServiceUpdates(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    """Which updates are there?"""

    service_update_name: str | None = None
    service_update_status: tuple[str, ...] = ()
    max_records: int | None = None
    marker: str | None = None


class TimeRange(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    """When an update was released; both ends included."""

    start_time: datetime.datetime | None = None
    end_time: datetime.datetime | None = None


class DescribeUpdateActions(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    """Which update has got how far, where?"""

    service_update_name: str | None = None
    replication_group_ids: tuple[str, ...] = ()
    cache_cluster_ids: tuple[str, ...] = ()
    engine: str | None = None
    service_update_status: tuple[str, ...] = ()
    service_update_time_range: TimeRange | None = None
    update_action_status: tuple[str, ...] = ()
    show_node_level_update_status: bool | None = None
    max_records: int | None = None
    marker: str | None = None


class BatchApplyUpdateAction(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    """An update to apply to groups and cache clusters."""

    service_update_name: str
    replication_group_ids: tuple[str, ...] = ()
    cache_cluster_ids: tuple[str, ...] = ()


class BatchStopUpdateAction(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    """An update to apply no further."""

    service_update_name: str
    replication_group_ids: tuple[str, ...] = ()
    cache_cluster_ids: tuple[str, ...] = ()
