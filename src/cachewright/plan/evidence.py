"""What is surely so, by what was seen? The few questions that laws ask, apart from the planner's.

A mistake in the planner's own predicates must not hide itself, so these are written down anew.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import UnionType

from cachewright.model.commands import Step
from cachewright.model.facts import Absent, EngineFact, NodeFact, Observed, Running, Stopped
from cachewright.model.groups import DISCOVERY_ID, Group
from cachewright.model.status import Role
from cachewright.plan.plan import Plan


def steps_of(plan: Plan, kind: type | UnionType) -> Iterator[Step]:
    """Yield the steps with commands of one kind."""
    return (step for step in plan.steps if isinstance(step.command, kind))


def answer_of(fact: NodeFact) -> EngineFact | None:
    """Return what a living engine said of itself, `None` where none did."""
    is_running = isinstance(fact.process, Running)
    return fact.engine if is_running and isinstance(fact.engine, EngineFact) else None


def has_surely_ended(fact: NodeFact) -> bool:
    """Tell whether no process of a node can live."""
    return type(fact.process) in {Absent, Stopped}


def has_data_on_disk(fact: NodeFact) -> bool:
    """Tell whether a node could load something at its next start."""
    return fact.has_saved_data or fact.has_append_only_file


def is_writer(observed: Observed, node_id: str) -> bool:
    """Tell whether clients can write to a node, by its own word."""
    engine = answer_of(observed.of(node_id))
    return engine is not None and engine.role is Role.PRIMARY and not engine.is_held


def is_silent(observed: Observed, node_id: str) -> bool:
    """Tell whether a node may live and does not say so."""
    fact = observed.of(node_id)
    return answer_of(fact) is None and not has_surely_ended(fact)


def is_asked_for(group: Group, node_id: str) -> bool:
    """Tell whether a caller wants a node."""
    return any(node.node_id == node_id for node in group.spec.nodes())


def members_of(group: Group) -> dict[str, list[str]]:
    """Return every node that has a place by its shard, also those that leave, and whole shards."""
    placed = group.placement.nodes if group.placement else ()
    found: dict[str, list[str]] = {shard.shard_id: [] for shard in group.spec.shards}
    for place in placed:
        if place.node_id != DISCOVERY_ID:
            found.setdefault(place.shard_id, []).append(place.node_id)
    return found


def siblings_of(group: Group, node_id: str) -> list[str]:
    """Return the other nodes of the shard of a node."""
    found = [ids for ids in members_of(group).values() if node_id in ids]
    return [other for other in found[0] if other != node_id] if found else []


def is_shard_asked_for(group: Group, node_id: str) -> bool:
    """Tell whether the shard of a node is one that a caller wants."""
    shard_ids = {shard.shard_id for shard in group.spec.shards}
    return any(s in shard_ids for s, ids in members_of(group).items() if node_id in ids)
