"""What is there to tell? Events follow from the change between two statuses, each exactly once.

They are written in the same transaction as the new status, so that a crash neither loses nor
repeats one. Texts are ElastiCache's where it has one.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Sequence

from cachewright.model.facts import Observed
from cachewright.model.groups import Group, GroupKind
from cachewright.model.status import (
    Event,
    GroupState,
    GroupStatus,
    NodeState,
    Role,
    SourceType,
)
from cachewright.plan.shard import shards_to_run

#: ElastiCache's id of the only node in a cluster of one node.
_NODE = "0001"


def of_change(
    group: Group,
    previous: GroupStatus | None,
    current: GroupStatus,
    observed: Observed,
    now: datetime.datetime,
) -> tuple[Event, ...]:
    """Return the events that the change from `previous` to `current` stands for."""
    texts = [
        *_group_texts(group, previous, current),
        *_obstacle_texts(group, previous, current, observed),
        *_failover_texts(group, previous, current),
        *_node_texts(previous, current),
        *_fate_texts(group, previous, current),
    ]
    return tuple(
        Event(source_type=source_type, source_id=source_id, message=message, at=now)
        for source_type, source_id, message in texts
    )


def of_removal(group: Group, now: datetime.datetime, *, had_name: bool) -> tuple[Event, ...]:
    """Return the events for a group that is gone; `had_name`: it was a replication group still."""
    spec = group.spec
    clusters: tuple[str, ...] = spec.cluster_ids()
    if group.placement is not None and spec.kind is not GroupKind.MEMCACHED:
        clusters = tuple(node.node_id for node in group.placement.nodes)
    gone = tuple(_deleted_node(cluster_id, now) for cluster_id in clusters)
    return (*gone, _deleted_group(spec.name, now)) if had_name else gone


def of_leaving(group: Group, node_ids: Sequence[str], now: datetime.datetime) -> tuple[Event, ...]:
    """Return the events for nodes that have left a group which stays."""
    if group.spec.kind is not GroupKind.MEMCACHED:
        return tuple(_deleted_node(node_id, now) for node_id in node_ids)
    text = f"Removed cache nodes {', '.join(node_ids)}"
    source = SourceType.CACHE_CLUSTER
    return (Event(source_type=source, source_id=group.spec.name, message=text, at=now),)


def of_release(group: Group, retained: str, now: datetime.datetime) -> tuple[Event, ...]:
    """Return the events for a group of which only the node `retained` is left."""
    nodes = [n.node_id for n in group.spec.nodes() if n.node_id != retained]
    return (
        *(_deleted_node(node_id, now) for node_id in nodes),
        _deleted_group(group.spec.name, now),
    )


def _deleted_node(node_id: str, now: datetime.datetime) -> Event:
    return Event(
        source_type=SourceType.CACHE_CLUSTER,
        source_id=node_id,
        message="Cache cluster deleted",
        at=now,
    )


def _deleted_group(name: str, now: datetime.datetime) -> Event:
    return Event(
        source_type=SourceType.REPLICATION_GROUP,
        source_id=name,
        message=f"Replication group {name} deleted",
        at=now,
    )


_Text = tuple[SourceType, str, str]


def _group_texts(
    group: Group, previous: GroupStatus | None, current: GroupStatus
) -> Iterator[_Text]:
    if group.spec.deletion is not None:
        return
    name = group.spec.name
    before = previous.state if previous else None
    kind = SourceType.REPLICATION_GROUP
    if current.was_available and not (previous is not None and previous.was_available):
        for node in group.spec.nodes():
            yield SourceType.CACHE_CLUSTER, node.node_id, "Cache cluster created"
        yield kind, name, f"Replication group {name} created"
    if current.state is before:
        if current.state is GroupState.CREATING and current.reason != _reason(previous):
            yield from _install_text(name, current)
        return
    if current.state is GroupState.CREATING:
        yield from _install_text(name, current)
    if current.state is GroupState.CREATE_FAILED:
        yield kind, name, f"Failed to create replication group {name}: {current.reason}"
    if current.state is GroupState.MODIFYING:
        yield kind, name, f"Replication group {name} does not serve fully: {current.reason}"
    if current.state is GroupState.AVAILABLE and before is GroupState.MODIFYING:
        yield kind, name, f"Replication group {name} serves fully again"


def _obstacle_texts(
    group: Group, previous: GroupStatus | None, current: GroupStatus, observed: Observed
) -> Iterator[_Text]:
    """Tell what keeps a group from serving, when nothing else tells it."""
    is_news = current.reason == observed.obstacle and current.reason != _reason(previous)
    goes_on = previous is not None and current.state is previous.state
    if observed.obstacle and is_news and goes_on:
        text = f"Replication group {group.spec.name} needs attention: {observed.obstacle}"
        yield SourceType.REPLICATION_GROUP, group.spec.name, text


def _install_text(name: str, current: GroupStatus) -> Iterator[_Text]:
    if current.reason.startswith("installing"):
        sentence = current.reason[0].upper() + current.reason[1:]
        yield SourceType.REPLICATION_GROUP, name, f"{sentence} for replication group {name}"


def _reason(status: GroupStatus | None) -> str:
    return status.reason if status else ""


def _node_texts(previous: GroupStatus | None, current: GroupStatus) -> Iterator[_Text]:
    if previous is None or current.state in {GroupState.DELETING, GroupState.CREATE_FAILED}:
        return
    for node in current.nodes:
        before = previous.of(node.node_id)
        if before is None:
            continue
        if before.state is NodeState.AVAILABLE and node.state is NodeState.MODIFYING:
            yield SourceType.CACHE_CLUSTER, node.node_id, f"Recovering cache nodes {_NODE}"
        if before.state is NodeState.MODIFYING and node.state is NodeState.AVAILABLE:
            text = f"Finished recovery for cache nodes {_NODE}"
            yield SourceType.CACHE_CLUSTER, node.node_id, text


def _fate_texts(
    group: Group, previous: GroupStatus | None, current: GroupStatus
) -> Iterator[_Text]:
    """Say what becomes of the data of shards whose last living copy is gone."""
    if previous is None or not previous.was_available or current.state is GroupState.DELETING:
        return
    restored: list[str] = []
    lost: list[str] = []
    shards = shards_to_run(group)
    for shard in shards:
        ids = {node.node_id for node in shard.nodes}
        before = [node for node in previous.nodes if node.node_id in ids]
        now = [node for node in current.nodes if node.node_id in ids]
        had_copy = any(node.has_copy for node in before)
        had_data = had_copy or any(node.has_saved_data for node in before)
        if any(node.has_copy for node in now):
            continue
        if any(node.has_saved_data for node in now):
            restored += [shard.shard_id] if had_copy else []
        elif had_data:
            lost.append(shard.shard_id)
    for shard_ids, fate in ((restored, _RESTORED), (lost, _LOST)):
        if shard_ids:
            text = f"{_named(shard_ids, len(shards))} {fate}"
            yield SourceType.REPLICATION_GROUP, group.spec.name, text


_RESTORED = "back from the snapshot of the last graceful stop"
_LOST = "back empty: all nodes ended without a graceful stop, the data is lost"


def _named(shard_ids: list[str], count: int) -> str:
    if len(shard_ids) == 1:
        return f"Shard {shard_ids[0]} comes"
    if len(shard_ids) == count:
        return f"All {count} shards come"
    return f"Shards {', '.join(shard_ids)} come"


def _failover_texts(
    group: Group, previous: GroupStatus | None, current: GroupStatus
) -> Iterator[_Text]:
    for shard in group.spec.shards:
        ids = {node.node_id for node in shard.nodes}
        before, now = _primary_among(ids, previous), _primary_among(ids, current)
        if before is not None and now is not None and before != now:
            text = f"Failover from primary node {before} to replica node {now} completed"
            yield SourceType.CACHE_CLUSTER, before, text
            yield SourceType.REPLICATION_GROUP, group.spec.name, text


def _primary_among(ids: set[str], status: GroupStatus | None) -> str | None:
    nodes = status.nodes if status else ()
    found = [n.node_id for n in nodes if n.node_id in ids and n.role is Role.PRIMARY]
    return found[0] if len(found) == 1 else None
