"""How is the group doing? The status that the facts allow, never a better one.

`available` means: every slot is served and every endpoint is listened on; for the first time
also: every replica is in sync, and every node has answered. Later a node that does not answer
keeps its last state for a short grace, because a busy engine misses a probe now and then; silence
beyond it shows.
"""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Sequence
from dataclasses import dataclass

from cachewright.model.facts import EngineFact, NodeFact, Observed, Running, Unknown
from cachewright.model.groups import Group, GroupPlacement, RestartCause
from cachewright.model.slots import SlotRange, covers_all
from cachewright.model.status import GroupState, GroupStatus, NodeState, NodeStatus, Role
from cachewright.plan import endpoints, flapping, restarts, settings, suspicion
from cachewright.plan.shard import (
    Phase,
    ShardView,
    engine_of,
    is_down,
    joining_ids,
    leaving_ids,
)

#: A node in one of these is not there yet, or not there again.
_WAITING = frozenset({NodeState.CREATING, NodeState.MODIFYING})
#: Seconds of silence for which the last known state of a node still counts.
SILENCE_GRACE_S = 3.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Seen:
    """What the status of one group is made of."""

    group: Group
    placement: GroupPlacement
    views: Sequence[ShardView]
    observed: Observed
    asked: settings.Asked
    previous: GroupStatus | None
    now: datetime.datetime


def node_status(seen: Seen, view: ShardView, node_id: str) -> NodeStatus:
    """Return the status of one node that has a place, with its parameters and its restart."""
    fact = seen.observed.of(node_id)
    status = _life_of(seen, view, node_id)
    drift = settings.drift(seen.asked, fact)
    before = seen.previous.of(node_id) if seen.previous else None
    is_asked = _is_asked_to_end(seen, view, node_id)
    has_ended = flapping.has_ended_unasked(before, fact, is_asked=is_asked)
    status = flapping.remember(before, seen.now, status, has_ended=has_ended)
    return dataclasses.replace(
        status,
        state=_asked_state(seen, node_id, status.state),
        applying=drift.applying,
        awaiting_reboot=drift.awaiting_reboot,
        refused=tuple((r.name, r.value, r.reason) for r in drift.refused),
        restarts=_restarts(seen, node_id),
        is_running=_is_running(before, fact),
    )


def _is_running(before: NodeStatus | None, fact: NodeFact) -> bool:
    if isinstance(fact.process, Unknown):
        return before is not None and before.is_running
    return isinstance(fact.process, Running)


def _is_asked_to_end(seen: Seen, view: ShardView, node_id: str) -> bool:
    """Tell whether a node was to end, or all of its shard were: one of them has saved the data."""
    observed = seen.observed
    if node_id in leaving_ids(seen.group):
        return True
    if restarts.is_due(seen.group.spec.node(node_id), observed.of(node_id)):
        return True
    return any(observed.of(node.node_id).has_saved_data for node in view.shard.nodes)


def _restarts(seen: Seen, node_id: str) -> int:
    launched = seen.observed.of(node_id).launched
    if launched is not None:
        return launched.restarts
    before = seen.previous.of(node_id) if seen.previous else None
    return before.restarts if before else 0


def _asked_state(seen: Seen, node_id: str, state: NodeState) -> NodeState:
    """Return the state of a node that leaves or is to restart, else `state`."""
    if node_id in leaving_ids(seen.group):
        return NodeState.DELETING
    before = seen.previous.of(node_id) if seen.previous else None
    asked = seen.group.spec.node(node_id)
    is_due = restarts.is_due(asked, seen.observed.of(node_id))
    if asked is not None and asked.restart_cause is RestartCause.TEST_FAILOVER:
        return state  # it serves until it has ended; then it is recovered like any other
    was_due = before is not None and before.state is NodeState.REBOOTING
    if is_due or (was_due and state is not NodeState.AVAILABLE):
        return NodeState.REBOOTING
    return state


def _life_of(seen: Seen, view: ShardView, node_id: str) -> NodeStatus:
    """Return how a node is doing.

    A node that cannot be asked keeps its last role, unless another one is the primary now.
    """
    group, observed, previous = seen.group, seen.observed, seen.previous
    before = previous.of(node_id) if previous else None
    fact = observed.of(node_id)
    engine = engine_of(fact)
    if engine is None:
        silent = not is_down(fact) and observed.silence_s.get(node_id, 0.0) < SILENCE_GRACE_S
        if silent and before is not None and previous is not None and previous.was_available:
            return before
        return NodeStatus(
            node_id=node_id,
            state=_waiting_state(before),
            role=None if before is None or is_replaced(before, view) else before.role,
            engine_version=before.engine_version if before else None,
            has_copy=before is not None and before.has_copy and not is_down(fact),
            has_saved_data=fact.has_saved_data,
            has_append_only_file=fact.has_append_only_file,
        )
    state = NodeState.AVAILABLE if _serves(group, engine) else _waiting_state(before)
    if before is not None and _has_handed_over(before, engine):
        state = before.state
    return NodeStatus(
        node_id=node_id,
        state=state,
        role=_role_of(seen, view, node_id, engine),
        engine_version=engine.version,
        has_copy=not engine.is_held,
        has_saved_data=fact.has_saved_data,
        has_append_only_file=fact.has_append_only_file,
    )


def _role_of(seen: Seen, view: ShardView, node_id: str, engine: EngineFact) -> Role | None:
    """Return the role of an engine that answers.

    Whoever starts is held and a primary in its own eyes, until it follows or is admitted: beside
    another one that serves, or was the primary until now, it is not what it says.
    """
    if engine.role is not Role.PRIMARY or not engine.is_held:
        return engine.role
    before = seen.previous.of(node_id) if seen.previous else None
    others = [node.node_id for node in view.shard.nodes if node.node_id != node_id]
    is_beside = view.phase is Phase.SERVING and view.primary_id in others
    if not is_beside and not any(_was_primary(seen.previous, other) for other in others):
        return engine.role
    return None if before is None or before.role is Role.PRIMARY else before.role


def _was_primary(previous: GroupStatus | None, node_id: str) -> bool:
    before = previous.of(node_id) if previous else None
    return before is not None and before.role is Role.PRIMARY


def _has_handed_over(before: NodeStatus, engine: EngineFact) -> bool:
    """Tell whether a primary has become a replica since the last look, which takes a moment."""
    is_replica = engine.role is Role.REPLICA and not engine.is_held and not engine.is_loading
    return before.role is Role.PRIMARY and is_replica


def is_replaced(before: NodeStatus, view: ShardView) -> bool:
    """Tell whether a node that was the primary is no longer the one of its shard."""
    return (
        before.role is Role.PRIMARY
        and view.phase is Phase.SERVING
        and view.primary_id != before.node_id
    )


def shard_problem(view: ShardView, nodes: Sequence[NodeStatus], seen: Seen) -> str:
    """Return why a shard does not serve, empty when it does."""
    if view.phase is Phase.SPLIT:
        return view.reason
    primary = next((n for n in nodes if n.node_id == view.primary_id), None)
    if primary is None:
        primaries = [n for n in nodes if n.role is Role.PRIMARY and n.state is NodeState.AVAILABLE]
        return "" if primaries else view.reason
    is_about_to_end = primary.state in {NodeState.REBOOTING, NodeState.DELETING}
    if is_about_to_end and view.phase is Phase.SERVING:
        return ""
    if primary.state is not NodeState.AVAILABLE:
        failure = seen.observed.of(primary.node_id).failure
        return failure or _hold(seen, primary) or f"{primary.node_id} does not serve yet"
    return ""


def endpoint_problem(seen: Seen) -> str:
    """Return which endpoint nobody listens on, empty when all are listened on or none can say.

    An endpoint that is on its way from one living node to another is no problem of a group that
    serves, as long as nothing stands in its way. The primary endpoint moves with the role in one
    command: if nobody listens on it, that was cut, and nobody can write.
    """
    placement, observed = seen.placement, seen.observed
    if any(engine_of(fact) is None and not is_down(fact) for fact in observed.nodes.values()):
        return ""
    listened = {
        address
        for fact in observed.nodes.values()
        if (engine := engine_of(fact)) is not None and not engine.is_held
        for address in engine.bind
    }
    moving = _moving(seen) - {placement.endpoints.primary}
    missing = [a for a in placement.endpoints.addresses() if a not in listened | moving]
    return f"endpoint {missing[0]} is not listened on yet" if missing else ""


def _moving(seen: Seen) -> set[str]:
    previous = seen.previous
    if previous is None or not previous.was_available or seen.observed.obstacle:
        return set()
    if previous.is_broken:
        return set()  # it does not serve fully, and does again once somebody listens
    wanted = endpoints.wanted_binds(
        seen.placement,
        seen.views,
        seen.observed,
        leaving=leaving_ids(seen.group) | restarts.due_ids(seen.group, seen.observed),
        was_available=True,
    )
    return {
        address
        for node_id, addresses in wanted.items()
        if (engine := engine_of(seen.observed.of(node_id))) is not None and not engine.is_held
        for address in addresses
    }


def slots_problem(views: Sequence[ShardView], observed: Observed) -> str:
    """Return what is wrong with the ownership of slots, empty when every slot has one owner."""
    owned: list[SlotRange] = []
    for view in views:
        engine = engine_of(observed.of(view.primary_id)) if view.primary_id else None
        if engine is None or engine.cluster is None:
            return ""
        owned.extend(engine.cluster.own_slots)
    return "" if covers_all(owned) else "not every slot is served by exactly one primary"


def group_status(seen: Seen) -> GroupStatus:
    """Return the status of a group that shall run."""
    observed = seen.observed
    was_available = seen.previous is not None and seen.previous.was_available
    nodes = tuple(
        node_status(seen, view, node.node_id) for view in seen.views for node in view.shard.nodes
    )
    problem = _first_problem(seen, nodes)
    waiting = [node for node in nodes if node.state in _WAITING]
    if not problem and waiting and not was_available:
        problem = _replica_problem(seen, waiting[0])
    if problem and observed.obstacle:
        problem = observed.obstacle
    joining = joining_ids(seen.group)
    change = change_of(nodes, joining)
    if not problem and not (change and was_available):
        state = GroupState.AVAILABLE
    else:
        state = GroupState.MODIFYING if was_available else GroupState.CREATING
    return GroupStatus(
        state=state,
        observed_generation=seen.group.spec.generation,
        nodes=nodes + joining_statuses(joining),
        reason=problem or change or (_replica_problem(seen, waiting[0]) if waiting else ""),
        was_available=was_available or state is GroupState.AVAILABLE,
        changing_from=changing_from(seen.previous) if change and was_available else None,
        is_broken=is_broken(seen.previous, problem, change),
    )


def is_broken(previous: GroupStatus | None, problem: str, change: str) -> bool:
    """Tell whether a group that was available has a problem that nobody has asked for.

    While something changes as asked, a problem is part of it, unless it was there before.
    """
    if previous is None or not previous.was_available or not problem:
        return False
    return previous.is_broken or not change


def changing_from(previous: GroupStatus | None) -> int | None:
    """Return how many nodes there were when the change began that goes on now."""
    if previous is None:
        return None
    return len(previous.nodes) if previous.changing_from is None else previous.changing_from


def joining_statuses(node_ids: Sequence[str]) -> tuple[NodeStatus, ...]:
    """Return the status of nodes that have no place yet."""
    return tuple(
        NodeStatus(node_id=node_id, state=NodeState.CREATING, role=None) for node_id in node_ids
    )


def change_of(nodes: Sequence[NodeStatus], joining: Sequence[str]) -> str:
    """Return in a sentence which nodes come, go or restart as asked; empty when none does."""
    by_state = {
        "adding": [*joining, *(n.node_id for n in nodes if n.state is NodeState.CREATING)],
        "removing": [n.node_id for n in nodes if n.state is NodeState.DELETING],
        "restarting": [n.node_id for n in nodes if n.state is NodeState.REBOOTING],
    }
    said = [f"{verb} {', '.join(ids)}" for verb, ids in by_state.items() if ids]
    return "; ".join(said)


def _first_problem(seen: Seen, nodes: Sequence[NodeStatus]) -> str:
    for view in seen.views:
        ids = {node.node_id for node in view.shard.nodes}
        shard_nodes = [n for n in nodes if n.node_id in ids]
        problem = shard_problem(view, shard_nodes, seen)
        if problem:
            return (view.primary_id is None and _silence_in(seen, view)) or problem
    problem = endpoint_problem(seen)
    if not problem and seen.group.spec.cluster_enabled:
        problem = slots_problem(seen.views, seen.observed)
    return problem


def _silence_in(seen: Seen, view: ShardView) -> str:
    return suspicion.reason_of(seen.group, view, seen.observed, seen.previous)


def _hold(seen: Seen, node: NodeStatus) -> str:
    """Return why a node that is down is not started yet, empty where it is."""
    until = flapping.held_back_until(node, seen.now)
    if until is None or not is_down(seen.observed.of(node.node_id)):
        return ""
    return flapping.reason_of(node, until)


def _replica_problem(seen: Seen, node: NodeStatus) -> str:
    observed, node_id = seen.observed, node.node_id
    fact = observed.of(node_id)
    if fact.failure:
        return fact.failure
    if is_down(fact):
        return _hold(seen, node) or f"replica {node_id} is not running"
    if endpoints.is_ready_replica(observed, node_id):
        return f"replica {node_id} is about to be admitted"
    if engine_of(fact) is None:
        views = (v for v in seen.views if any(n.node_id == node_id for n in v.shard.nodes))
        return _silence_in(seen, next(views)) or f"no answer from {node_id}"
    return f"replica {node_id} is not in sync yet"


def _waiting_state(before: NodeStatus | None) -> NodeState:
    if before is None or before.state is NodeState.CREATING:
        return NodeState.CREATING
    return NodeState.MODIFYING


def _serves(group: Group, engine: EngineFact) -> bool:
    if engine.is_held or engine.is_loading:
        return False
    if group.spec.cluster_enabled and (engine.cluster is None or not engine.cluster.is_ok):
        return False
    return engine.role is Role.PRIMARY or engine.is_in_sync
