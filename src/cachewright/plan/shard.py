"""Who is the primary of a shard, and may a node of it be started or admitted now?

The engines' own word counts: an *admitted* primary (running, answering, not held) is the primary.
Where there is none, one is chosen only if every node of the shard is down beyond doubt, or the
one held process is the one that was chosen before. Anything unknown means: wait.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Sequence
from dataclasses import dataclass

from cachewright.model.engines import version_key
from cachewright.model.facts import (
    Absent,
    EngineFact,
    NodeFact,
    Observed,
    Running,
    Stopped,
    Unknown,
)
from cachewright.model.groups import DISCOVERY_ID, Group, NodeSpec, ShardSpec
from cachewright.model.status import GroupStatus, Role
from cachewright.plan import flapping

#: Starts in a row that may fail before another copy is tried: as many as give a create up.
_STARTS_OF_A_FILE = 3


class Phase(enum.Enum):
    """Where a shard stands."""

    #: An admitted primary answers.
    SERVING = "serving"
    #: No node lives: the chosen primary may be started.
    DOWN = "down"
    #: The chosen primary was started and is held.
    HELD = "held"
    #: Nothing may be decided: somebody is silent, or a replica waits for a primary.
    UNDECIDED = "undecided"
    #: Two admitted primaries: never acted upon, only reported.
    SPLIT = "split"


@dataclass(frozen=True, kw_only=True, slots=True)
class ShardView:
    """One shard as it was seen, with the node that is or shall be its primary."""

    shard: ShardSpec
    phase: Phase
    #: `None` while it is undecided.
    primary_id: str | None
    #: Why it is undecided, for people.
    reason: str = ""


def shards_to_run(group: Group) -> tuple[ShardSpec, ...]:
    """Return the shards with the nodes that have a place: those asked for, then those that leave.

    Last come shards of which nothing is asked for any more. Before a group is placed, all that is
    asked for; of a delete that retains a node, that node.
    """
    deletion, placement = group.spec.deletion, group.placement
    if deletion is not None and deletion.retained_node_id is not None:
        shard = group.spec.shard_of(deletion.retained_node_id)
        nodes = tuple(n for n in shard.nodes if n.node_id == deletion.retained_node_id)
        return (dataclasses.replace(shard, nodes=nodes),)
    if placement is None:
        return group.spec.shards
    placed, leaving = placement.node_ids(), leaving_ids(group)
    members = {
        shard.shard_id: [node for node in shard.nodes if node.node_id in placed]
        for shard in group.spec.shards
    }
    for place in placement.nodes:
        if place.node_id in leaving:
            node = NodeSpec(node_id=place.node_id, zone=place.zone)
            members.setdefault(place.shard_id, []).append(node)
    asked = {shard.shard_id: shard for shard in group.spec.shards}
    return tuple(
        dataclasses.replace(asked[shard_id], nodes=tuple(found))
        if shard_id in asked
        else ShardSpec(shard_id=shard_id, slots=(), nodes=tuple(found), is_leaving=True)
        for shard_id, found in members.items()
        if found
    )


def is_gone(group: Group, shard: ShardSpec) -> bool:
    """Tell whether a shard is no longer asked for, and only has nodes left that leave."""
    if group.spec.deletion is not None:
        return False
    return all(shard.shard_id != asked.shard_id for asked in group.spec.shards)


def reshards(group: Group, status: GroupStatus | None) -> bool:
    """Tell whether slots are to be spread anew, and that is not over."""
    wanted = group.spec.resharding_generation
    known = status.resharding if status is not None else None
    if not wanted:
        return False
    return known is None or known.generation < wanted or not known.is_over


def is_unsettled(group: Group, status: GroupStatus | None) -> bool:
    """Tell whether slots are still on their way, or the spec still says that shards leave."""
    return reshards(group, status) or any(shard.is_leaving for shard in group.spec.shards)


def is_to_settle(group: Group, status: GroupStatus) -> bool:
    """Tell whether shards are to be dropped that could not be made, or whose resharding is over."""
    if is_unsettled(group, status) and not reshards(group, status):
        return True
    known = {shard_id for shard_id, _ in status.resharding.stillborn} if status.resharding else ()
    return any(shard.shard_id in known for shard in group.spec.shards)


def leaving_ids(group: Group) -> frozenset[str]:
    """Return the nodes that have a place and are no longer asked for."""
    if group.placement is None or group.spec.deletion is not None:
        return frozenset()
    asked = {node.node_id for node in group.spec.nodes()}
    return group.placement.node_ids() - asked - {DISCOVERY_ID}


def joining_ids(group: Group) -> tuple[str, ...]:
    """Return the nodes that are asked for and have no place yet, in order."""
    if group.spec.deletion is not None:
        return ()
    placed = group.placement.node_ids() if group.placement else frozenset()
    return tuple(n.node_id for n in group.spec.nodes() if n.node_id not in placed)


def is_down(fact: NodeFact) -> bool:
    """Tell whether it is certain that no process of the node lives."""
    return isinstance(fact.process, Absent | Stopped)


def engine_of(fact: NodeFact) -> EngineFact | None:
    """Return what a living engine says, `None` when there is none or it is silent."""
    if isinstance(fact.process, Running) and not isinstance(fact.engine, Unknown):
        return fact.engine
    return None


def line_key(fact: NodeFact) -> tuple[int, ...]:
    """Return by what the versions compare that nodes were last started as: older is smaller.

    Valkey's first version is above the last of Redis that it can follow. Who was never started is
    below all.
    """
    return version_key(fact.launched.engine_version) if fact.launched is not None else ()


def view_shard(
    shard: ShardSpec, observed: Observed, previous: GroupStatus | None = None
) -> ShardView:
    """Tell where a shard stands and who its primary is or shall be.

    `previous` says who was the primary, where nobody lives who could tell.
    """
    facts = {node.node_id: observed.of(node.node_id) for node in shard.nodes}
    admitted = [node_id for node_id, fact in facts.items() if _is_admitted_primary(fact)]
    if len(admitted) == 1:
        return ShardView(shard=shard, phase=Phase.SERVING, primary_id=admitted[0])
    if admitted:
        newest = max(admitted, key=lambda node_id: _epoch(facts[node_id]))
        reason = f"shard {shard.shard_id} has two primaries: {' and '.join(admitted)}"
        return ShardView(shard=shard, phase=Phase.SPLIT, primary_id=newest, reason=reason)
    alive = [node_id for node_id, fact in facts.items() if not is_down(fact)]
    if not alive:
        chosen = choose_primary([node.node_id for node in shard.nodes], observed, previous)
        return ShardView(shard=shard, phase=Phase.DOWN, primary_id=chosen)
    return _view_without_primary(shard, facts, alive)


def choose_primary(
    node_ids: Sequence[str], observed: Observed, previous: GroupStatus | None
) -> str:
    """Choose who starts as primary of a shard without a living node.

    Who has the snapshot of a graceful stop; else the last primary, if it has an append-only file;
    else another one that has such a file, of which there may be less. A file that is behind comes
    last: who took over a moment after it had copied everything may have next to nothing in it.
    Without a file the first that is not held back and can be started. A file that an engine could
    not load again and again is left for another one, but nobody starts empty while there is a file.
    """
    saved = [node_id for node_id in node_ids if observed.of(node_id).has_saved_data]
    if saved:
        return saved[0]
    kept = [node_id for node_id in node_ids if observed.of(node_id).has_append_only_file]

    def rank(node_id: str) -> tuple[int, bool, bool]:
        before, fact = previous.of(node_id) if previous else None, observed.of(node_id)
        was_primary = before is not None and before.role is Role.PRIMARY
        return fact.failed_starts // _STARTS_OF_A_FILE, fact.is_file_behind, not was_primary

    if kept:
        return min(kept, key=rank)
    ends_soon = [n for n in node_ids if previous and flapping.ends_soon(previous.of(n))]
    others = [n for n in node_ids if n not in ends_soon] or [node_ids[0]]
    return min(others, key=lambda n: observed.of(n).failed_starts // _STARTS_OF_A_FILE)


def _view_without_primary(
    shard: ShardSpec, facts: dict[str, NodeFact], alive: list[str]
) -> ShardView:
    silent = [node_id for node_id in alive if engine_of(facts[node_id]) is None]
    if silent:
        reason = f"no answer from {', '.join(silent)}"
        return ShardView(shard=shard, phase=Phase.UNDECIDED, primary_id=None, reason=reason)
    if len(alive) == 1 and not _is_empty_beside_data(alive[0], facts):
        engine = engine_of(facts[alive[0]])
        if engine is not None and engine.is_held and engine.role is Role.PRIMARY:
            return ShardView(shard=shard, phase=Phase.HELD, primary_id=alive[0])
    reason = f"shard {shard.shard_id} has no primary"
    return ShardView(shard=shard, phase=Phase.UNDECIDED, primary_id=None, reason=reason)


def _is_empty_beside_data(node_id: str, facts: dict[str, NodeFact]) -> bool:
    """Tell whether a node was started empty, to follow somebody who ended and left data on disk."""
    launched = facts[node_id].launched
    if launched is None or launched.has_loaded:
        return False
    others = (fact for other, fact in facts.items() if other != node_id)
    return any(fact.has_saved_data or fact.has_append_only_file for fact in others)


def _is_admitted_primary(fact: NodeFact) -> bool:
    engine = engine_of(fact)
    return engine is not None and engine.role is Role.PRIMARY and not engine.is_held


def _epoch(fact: NodeFact) -> int:
    engine = engine_of(fact)
    return 0 if engine is None or engine.cluster is None else engine.cluster.current_epoch
