"""What has happened lately? Events of a time span and a source, newest first."""

from __future__ import annotations

import datetime

from cachewright.model.errors import invalid_combination, invalid_value
from cachewright.model.groups import GroupKind, GroupSpec
from cachewright.model.status import Event, SourceType
from cachewright.service import rules
from cachewright.service.context import Service
from cachewright.service.inputs import DescribeEvents
from cachewright.store.records import EVENT_RETENTION, ChangeSet

_SPAN_DEFAULT = datetime.timedelta(minutes=60)
_MINUTES_MAX = int(EVENT_RETENTION.total_seconds()) // 60
#: Keys of events are printable ASCII and begin with their time. Turned around, their order is
#: newest first, as pages need it.
_MIRROR = str.maketrans({chr(code): chr(158 - code) for code in range(32, 127)})


def describe(service: Service, wanted: DescribeEvents) -> tuple[tuple[str, Event], ...]:
    """Return (sort key, event) for what happened in the span that is asked for, newest first."""
    since, until = _span(wanted, service.clock.now())
    if wanted.source_identifier and not wanted.source_type:
        raise invalid_combination("Cannot specify SourceIdentifier without SourceType.")
    source_id = (wanted.source_identifier or "").lower()
    found = (
        (key.translate(_MIRROR), event)
        for key, event in service.records.events(since=since, until=until)
        if (not source_id or event.source_id == source_id)
        and (not wanted.source_type or event.source_type.value == wanted.source_type)
    )
    return tuple(sorted(found, key=lambda keyed: keyed[0]))


def about(
    service: Service, changes: ChangeSet, source_type: SourceType, source_id: str, message: str
) -> None:
    """Add an event of now to a change."""
    event = Event(
        source_type=source_type, source_id=source_id, message=message, at=service.clock.now()
    )
    changes.add_event(event, topic_arn=_topic_of(service, source_type, source_id))


def _topic_of(service: Service, source_type: SourceType, source_id: str) -> str:
    """Return the topic of the group or cluster that is there under this id, empty for none."""
    records = service.records
    match source_type:
        case SourceType.REPLICATION_GROUP:
            uid = records.uid_of_group(source_id)
        case SourceType.CACHE_CLUSTER:
            uid = records.uid_of_node(source_id)
        case _:
            return ""
    spec = None if uid is None else records.spec(uid)
    return "" if spec is None else spec.value.topic_arn()


def about_group(service: Service, changes: ChangeSet, name: str, message: str) -> None:
    """Add an event about the replication group `name` to a change."""
    about(service, changes, SourceType.REPLICATION_GROUP, name, message)


def about_cluster(service: Service, changes: ChangeSet, cluster_id: str, message: str) -> None:
    """Add an event about a cache cluster to a change."""
    about(service, changes, SourceType.CACHE_CLUSTER, cluster_id, message)


def about_spec(service: Service, changes: ChangeSet, spec: GroupSpec, message: str) -> None:
    """Add an event about a group of nodes, as callers know it, to a change."""
    is_group = spec.kind is GroupKind.REPLICATION_GROUP
    tell = about_group if is_group else about_cluster
    tell(service, changes, spec.name, message)


def _span(
    wanted: DescribeEvents, now: datetime.datetime
) -> tuple[datetime.datetime, datetime.datetime]:
    """Return from when to when, within what is kept."""
    start, end = wanted.start_time, wanted.end_time
    length = _SPAN_DEFAULT
    if wanted.duration is not None:
        if start is not None and end is not None:
            raise invalid_combination("Cannot specify Duration with both StartTime and EndTime.")
        rules.between("Duration", wanted.duration, 1, _MINUTES_MAX)
        length = datetime.timedelta(minutes=wanted.duration)
    if start is not None and end is not None and start > end:
        raise invalid_value("StartTime must not be later than EndTime.")
    # Clamped before anything is added: the caller's times may be the first or the last there are.
    oldest = now - EVENT_RETENTION
    start = None if start is None else min(max(start, oldest), now)
    end = None if end is None else min(max(end, oldest), now)
    if start is None:
        until = end or now
        return max(until - length, oldest), until
    if end is None:
        end = min(start + length, now) if wanted.duration is not None else now
    return start, end
