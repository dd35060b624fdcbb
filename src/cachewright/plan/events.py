"""What is there to tell? Events follow from the change between two statuses, each exactly once.

They are written in the same transaction as the new status, so that a crash neither loses nor
repeats one. Texts are ElastiCache's where it has one.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Mapping, Sequence

from cachewright.model.facts import Observed
from cachewright.model.groups import Group, GroupKind
from cachewright.model.slots import SlotRanges, numbers_of, ranges_of, render_ranges
from cachewright.model.status import (
    Event,
    GroupState,
    GroupStatus,
    NodeState,
    NodeStatus,
    Role,
    SourceType,
)
from cachewright.plan import change_texts, fates, newcomers, settings

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
        *_joined_texts(group, previous, current),
    ]
    if group.spec.kind is GroupKind.MEMCACHED:
        texts += _node_texts(group, previous, current, observed)
        texts += _count_texts(group, previous, current)
        texts += _type_texts(group, previous, current)
    else:
        texts += _change_texts(group, previous, current)
        texts += _failover_texts(group, previous, current)
        texts += _node_texts(group, previous, current, observed)
        fates_told = fates.texts(group, previous, current, observed)
        texts += ((_subject(group)[0], group.spec.name, text) for text in fates_told)
        texts += _resharding_texts(group, previous, current)
        texts += _owner_texts(group, previous, current)
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


def _subject(group: Group) -> tuple[SourceType, str]:
    """Return what events about the whole group are about, and how they call it."""
    if group.spec.kind is GroupKind.REPLICATION_GROUP:
        return SourceType.REPLICATION_GROUP, f"replication group {group.spec.name}"
    return SourceType.CACHE_CLUSTER, f"cache cluster {group.spec.name}"


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]


def _group_texts(
    group: Group, previous: GroupStatus | None, current: GroupStatus
) -> Iterator[_Text]:
    if group.spec.deletion is not None:
        return
    if current.was_available and not (previous is not None and previous.was_available):
        yield from _created_texts(group)
    name, before = group.spec.name, previous.state if previous else None
    source, subject = _subject(group)
    if current.state is GroupState.CREATING and current.reason != _reason(previous):
        yield from _install_text(group, current)
    if current.state is GroupState.CREATE_FAILED and current.state is not before:
        yield source, name, f"Failed to create {subject}: {current.reason}"
    was_broken = previous is not None and previous.is_broken
    if current.is_broken and not was_broken:
        yield source, name, f"{_capital(subject)} does not serve fully: {current.reason}"
    if was_broken and not current.is_broken:
        yield source, name, f"{_capital(subject)} serves fully again"


def _change_texts(
    group: Group, previous: GroupStatus | None, current: GroupStatus
) -> Iterator[_Text]:
    """Tell how the group changes as a whole, as long as somebody wants it."""
    if current.state in {GroupState.DELETING, GroupState.CREATE_FAILED}:
        return
    source, subject = _subject(group)
    yield from _type_texts(group, previous, current)
    for text in change_texts.of_upgrade(group, previous, current, subject):
        yield source, group.spec.name, text


def _type_texts(
    group: Group, previous: GroupStatus | None, current: GroupStatus
) -> Iterator[_Text]:
    if current.state in {GroupState.DELETING, GroupState.CREATE_FAILED}:
        return
    source, _ = _subject(group)
    for text in change_texts.of_node_type(group, previous, current):
        yield source, group.spec.name, text


def _created_texts(group: Group) -> Iterator[_Text]:
    for cluster_id in group.spec.cluster_ids():
        yield SourceType.CACHE_CLUSTER, cluster_id, "Cache cluster created"
    source, subject = _subject(group)
    if group.spec.kind is GroupKind.REPLICATION_GROUP:
        yield source, group.spec.name, f"{_capital(subject)} created"


def _obstacle_texts(
    group: Group, previous: GroupStatus | None, current: GroupStatus, observed: Observed
) -> Iterator[_Text]:
    """Tell what keeps a group from serving, when nothing else tells it.

    What an engine said before it ended comes after the first line, and is another text each time.
    """
    known = {observed.obstacle, observed.moves.claim_failure} - {""}
    before, _, _ = _reason(previous).partition("\n")
    is_news = current.reason in known and current.reason.partition("\n")[0] != before
    goes_on = previous is not None and current.state is previous.state
    if is_news and goes_on:
        source, subject = _subject(group)
        yield source, group.spec.name, f"{_capital(subject)} needs attention: {current.reason}"


def _install_text(group: Group, current: GroupStatus) -> Iterator[_Text]:
    if current.reason.startswith("installing"):
        source, subject = _subject(group)
        yield source, group.spec.name, f"{_capital(current.reason)} for {subject}"


def _reason(status: GroupStatus | None) -> str:
    return status.reason if status else ""


def _node_texts(
    group: Group, previous: GroupStatus | None, current: GroupStatus, observed: Observed
) -> Iterator[_Text]:
    if previous is None or current.state in {GroupState.DELETING, GroupState.CREATE_FAILED}:
        return
    is_memcached = group.spec.kind is GroupKind.MEMCACHED
    for node in current.nodes:
        before = previous.of(node.node_id)
        if before is None:
            continue
        number = node.node_id if is_memcached else _NODE
        cluster_id = group.spec.name if is_memcached else node.node_id
        is_scaling = previous.node_type not in {"", group.spec.node_type}
        texts = [
            *_life_texts(before, node, number, observed),
            *change_texts.of_node(before, node, number),
            *change_texts.of_flapping(before, node, number),
            *_parameter_texts(before, node, number, is_scaling=is_scaling),
        ]
        for text in texts:
            yield SourceType.CACHE_CLUSTER, cluster_id, text
        for why in () if is_memcached else change_texts.of_newcomer(before, node):
            yield SourceType.CACHE_CLUSTER, cluster_id, f"Failed to create the cache cluster: {why}"
            yield *_subject(group)[:1], group.spec.name, f"{cluster_id} could not be made: {why}"


def _life_texts(
    before: NodeStatus, now: NodeStatus, number: str, observed: Observed
) -> Iterator[str]:
    """Tell how a node came, went down and came back."""
    if before.is_upgrading or now.is_upgrading:
        return
    match before.state, now.state:
        case NodeState.AVAILABLE, NodeState.MODIFYING:
            yield f"Recovering cache nodes {number}"
        case NodeState.MODIFYING, NodeState.AVAILABLE:
            yield f"Finished recovery for cache nodes {number}"
        case NodeState.REBOOTING, NodeState.AVAILABLE:
            yield f"Cache node {number} restarted"
            reason = observed.of(now.node_id).cold_start_reason
            if reason:
                yield f"Cache node {number} restarted without its items: {reason}"


def _joined_texts(
    group: Group, previous: GroupStatus | None, current: GroupStatus
) -> Iterator[_Text]:
    """Tell which nodes were added to a group that serves."""
    if previous is None or not previous.was_available:
        return
    for node in current.nodes:
        before, asked = previous.of(node.node_id), group.spec.node(node.node_id)
        is_new = before is None or before.state in newcomers.NEVER_THERE
        if not is_new or asked is None or node.state is not NodeState.AVAILABLE:
            continue
        if group.spec.kind is GroupKind.MEMCACHED:
            text = f"Added cache node {node.node_id} in availability zone {asked.zone}"
            yield SourceType.CACHE_CLUSTER, group.spec.name, text
        else:
            yield SourceType.CACHE_CLUSTER, node.node_id, "Cache cluster created"


def _count_texts(
    group: Group, previous: GroupStatus | None, current: GroupStatus
) -> Iterator[_Text]:
    """Tell that a Memcached cluster has the number of nodes that was asked for."""
    if previous is None or previous.changing_from is None or current.is_changing:
        return
    before, now = previous.changing_from, len(current.nodes)
    if before != now and current.state is GroupState.AVAILABLE:
        text = change_texts.of_count(before, current)
        yield SourceType.CACHE_CLUSTER, group.spec.name, text


def _parameter_texts(
    before: NodeStatus, now: NodeStatus, number: str, *, is_scaling: bool
) -> Iterator[str]:
    """Tell which settings a node took since the last look, and which its engine refused.

    What another node type changes is told once for all of it.
    """
    open_names = {name for name, _ in now.applying} | set(now.awaiting_reboot)
    refused = {(name, value) for name, value, _ in now.refused}
    untold = settings.OF_NODE_TYPE if is_scaling else frozenset[str]()
    for name, value in before.applying:
        if name not in open_names | untold and (name, value) not in refused:
            yield f"Updated parameter {name} to {value}"
    for name, value, reason in now.refused:
        if (name, value, reason) not in before.refused:
            yield f"Cache node {number} keeps parameter {name} as it was, not {value}: {reason}"
    if now.awaiting_reboot and now.awaiting_reboot != before.awaiting_reboot:
        names = ", ".join(now.awaiting_reboot)
        yield f"Cache node {number} takes parameter {names} at its next reboot"


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


def _resharding_texts(
    group: Group, previous: GroupStatus | None, current: GroupStatus
) -> Iterator[_Text]:
    """Tell that a resharding began, which shards have what they shall have, and how it ended."""
    now, before = current.resharding, previous.resharding if previous else None
    if now is None or now == before:
        return
    source, subject = _subject(group)
    is_new = before is None or before.generation != now.generation
    texts = [f"Resharding of {subject} started"] if is_new else []
    if now.target:
        texts += _arrived_texts(previous, current, {t.shard_id: t.slots for t in now.target})
    if now.is_over and (is_new or (before is not None and not before.is_over)):
        ended = f"ended before it was complete: {now.failure}" if now.failure else "completed"
        texts += [*change_texts.of_stuck(now), f"Resharding of {subject} {ended}"]
    for text in texts:
        yield source, group.spec.name, text


def _arrived_texts(
    previous: GroupStatus | None, current: GroupStatus, target: Mapping[str, SlotRanges]
) -> Iterator[str]:
    before = {o.shard_id: o.slots for o in previous.owned} if previous else {}
    for shard in current.owned:
        wanted = target.get(shard.shard_id, ())
        if shard.slots != wanted or before.get(shard.shard_id, ()) == wanted:
            continue
        count = sum(map(len, wanted))
        yield (
            f"Node group {shard.shard_id} has all of its {count} slots"
            if count
            else f"Node group {shard.shard_id} has no slots left"
        )


def _owner_texts(
    group: Group, previous: GroupStatus | None, current: GroupStatus
) -> Iterator[_Text]:
    """Tell who got the slots that nobody had claimed, once all of them have an owner."""
    if previous is None or not previous.unowned or current.unowned:
        return
    source, _ = _subject(group)
    lost = frozenset(numbers_of(previous.unowned))
    for shard in current.owned:
        slots = ranges_of(slot for slot in numbers_of(shard.slots) if slot in lost)
        if slots:
            text = f"Node group {shard.shard_id} owns slots {render_ranges(slots)}, which no node"
            yield source, group.spec.name, f"{text} had claimed"
