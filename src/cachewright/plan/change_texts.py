"""What is there to tell of changes to a whole group: another node type, another engine, slots?

And of nodes that do not come, or end again and again. Texts are ElastiCache's where it has one; for
most of this it has none.
"""

from __future__ import annotations

from collections.abc import Iterator

from cachewright.model.engines import api_version_of
from cachewright.model.groups import Group
from cachewright.model.slots import numbers_of
from cachewright.model.status import GroupStatus, NodeState, NodeStatus, Resharding
from cachewright.plan import flapping, settings

#: Of the slots of one shard that stay, how many are named.
_NAMED_MAX = 10
_TRIED_AGAIN = "it is tried again after a growing delay"


def of_stuck(resharding: Resharding) -> Iterator[str]:
    """Tell which slots stay on which shard because of what they hold, and what helps."""
    stuck = frozenset(numbers_of(resharding.stuck))
    for shard in resharding.target:
        slots = [str(slot) for slot in numbers_of(shard.slots) if slot in stuck]
        if not slots:
            continue
        named = ", ".join(slots[:_NAMED_MAX])
        if len(slots) > _NAMED_MAX:
            named += f" and {len(slots) - _NAMED_MAX} more"
        said = f"Slot {named} stays" if len(slots) == 1 else f"Slots {named} stay"
        holds = "it holds" if len(slots) == 1 else "each holds"
        yield (
            f"{said} on node group {shard.shard_id}: {holds} a key of more than 256 MB; delete or "
            "split it and ask again"
        )


def of_node_type(group: Group, previous: GroupStatus | None, current: GroupStatus) -> Iterator[str]:
    """Tell that all nodes have got another node type, or that one could not take it."""
    if previous is None or previous.node_type in {"", current.node_type}:
        return
    name = current.node_type
    refusing = [n for n in current.nodes if any(r[0] == settings.MEMORY for r in n.refused)]
    if refusing:
        yield f"Failed applying modification to cache node type to {name}."
    else:
        yield f"Succeeded applying modification to cache node type to {name}."


def to_node_type(group: Group) -> str:
    """Return the reason of a status while nodes get another type."""
    return f"changing the node type to {group.spec.node_type}"


def of_upgrade(
    group: Group, previous: GroupStatus | None, current: GroupStatus, subject: str
) -> Iterator[str]:
    """Tell that nodes begin to change their version, and that the last one has."""
    before = _upgrading(previous)
    now = _upgrading(current)
    wanted = f"{group.spec.engine.value} {group.spec.engine_version}"
    if now and not before:
        lines = {_line(node) for node in now} - {"", wanted}
        if lines:
            yield f"Upgrading {subject} from {' and '.join(sorted(lines))} to {wanted}"
    if before and not now:
        yield f"Finished upgrading {subject} to {wanted}"


def of_node(before: NodeStatus, now: NodeStatus, number: str) -> Iterator[str]:
    """Tell that a node serves with another version."""
    if before.is_upgrading and not now.is_upgrading and now.engine is not None:
        yield f"Cache node {number} upgraded to {now.engine.value} {now.engine_version}"


def of_flapping(before: NodeStatus, now: NodeStatus, number: str) -> Iterator[str]:
    """Tell that a node has begun to end soon after each start."""
    if flapping.begins(before, now):
        yield (
            f"Cache node {number} has ended {now.quick_ends} times, each soon after its start: "
            "it is started again after a growing delay"
        )


def of_count(before: int, current: GroupStatus) -> str:
    """Tell that a Memcached cluster has another number of nodes, or why it lacks some of them."""
    change = f"modifying number of nodes from {before} to {len(current.nodes)}"
    failed = [node for node in current.nodes if node.state is NodeState.INCOMPATIBLE_NETWORK]
    if not failed:
        return f"Finished {change}"
    named = f"cache node {failed[0].node_id}: {failed[0].failure}"
    return f"Failed to {change.replace('modifying', 'modify')} due to {named}; {_TRIED_AGAIN}"


def of_newcomer(before: NodeStatus, now: NodeStatus) -> Iterator[str]:
    """Tell why a node which was added could not be made, and what becomes of it."""
    failed = NodeState.INCOMPATIBLE_NETWORK
    if before.state is NodeState.CREATING and now.state is failed:
        yield f"{now.failure}; {_TRIED_AGAIN}"


def _upgrading(status: GroupStatus | None) -> list[NodeStatus]:
    return [node for node in status.nodes if node.is_upgrading] if status is not None else []


def _line(node: NodeStatus) -> str:
    """Return what a node runs as the API says it, empty where nobody knows."""
    if node.engine is None or node.engine_version is None:
        return ""
    return f"{node.engine.value} {api_version_of(node.engine, node.engine_version)}"
