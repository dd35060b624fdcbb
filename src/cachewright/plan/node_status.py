"""How is one node doing? The status that the facts allow, never a better one.

Once its group has served, a node that does not answer keeps its last state for a short grace,
because a busy engine misses a probe now and then; silence beyond it shows.
"""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Sequence
from dataclasses import dataclass

from cachewright.model.facts import EngineFact, NodeFact, Observed, Running, Unknown
from cachewright.model.groups import Group, GroupPlacement, RestartCause
from cachewright.model.status import GroupStatus, NodeState, NodeStatus, Role
from cachewright.plan import flapping, newcomers, restarts, settings
from cachewright.plan.ownership import Ownership
from cachewright.plan.shard import Phase, ShardView, engine_of, is_down, leaving_ids

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
    #: Cluster mode: who owns which slot.
    owned: Ownership | None
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
    if seen.previous is not None and seen.previous.was_available:
        status = newcomers.judged(before, seen.now, status, seen.observed)
    is_upgrading = _is_upgrading(seen, node_id, before, status.state)
    launched = fact.launched
    return dataclasses.replace(
        status,
        state=_asked_state(seen, node_id, status.state, is_upgrading=is_upgrading),
        engine=launched.engine if launched is not None else (before.engine if before else None),
        is_upgrading=is_upgrading,
        applying=drift.applying,
        awaiting_reboot=drift.awaiting_reboot,
        refused=tuple((r.name, r.value, r.reason) for r in drift.refused),
        restarts=_restarts(seen, node_id),
        is_running=_is_running(before, fact),
        stepped_down_at=_stepped_down_at(seen, before, status, fact),
    )


def _stepped_down_at(
    seen: Seen, before: NodeStatus | None, status: NodeStatus, fact: NodeFact
) -> datetime.datetime | None:
    if before is None or status.role is not Role.REPLICA or is_down(fact):
        return None
    return seen.now if before.role is Role.PRIMARY else before.stepped_down_at


def _is_running(before: NodeStatus | None, fact: NodeFact) -> bool:
    if isinstance(fact.process, Unknown):
        return before is not None and before.is_running
    return isinstance(fact.process, Running)


def _is_asked_to_end(seen: Seen, view: ShardView, node_id: str) -> bool:
    """Tell whether a node was to end, or all of its shard were: one of them has saved the data."""
    observed = seen.observed
    if node_id in leaving_ids(seen.group):
        return True
    if restarts.is_due(seen.group, node_id, observed):
        return True
    return any(observed.of(node.node_id).has_saved_data for node in view.shard.nodes)


def _restarts(seen: Seen, node_id: str) -> int:
    launched = seen.observed.of(node_id).launched
    if launched is not None:
        return launched.restarts
    before = seen.previous.of(node_id) if seen.previous else None
    return before.restarts if before else 0


def _is_upgrading(seen: Seen, node_id: str, before: NodeStatus | None, state: NodeState) -> bool:
    """Tell whether a node is to change its version, or has not served since it did."""
    if node_id in leaving_ids(seen.group) or state is NodeState.INCOMPATIBLE_NETWORK:
        return False
    if restarts.is_outdated(seen.group, seen.observed.of(node_id)):
        return True
    return before is not None and before.is_upgrading and state is not NodeState.AVAILABLE


def _asked_state(seen: Seen, node_id: str, state: NodeState, *, is_upgrading: bool) -> NodeState:
    """Return the state of a node that leaves, is upgraded or is to restart, else `state`."""
    if node_id in leaving_ids(seen.group):
        return NodeState.DELETING
    if state is NodeState.INCOMPATIBLE_NETWORK:
        return state
    if is_upgrading:
        return NodeState.MODIFYING
    before = seen.previous.of(node_id) if seen.previous else None
    asked = seen.group.spec.node(node_id)
    is_due = restarts.is_due(seen.group, node_id, seen.observed)
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
    if before is not None and _follows_anew(seen, view, engine):
        state = before.state
    if before is not None and _followed_an_upgrade(seen, view, before, engine):
        state = NodeState.AVAILABLE
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


def _follows_anew(seen: Seen, view: ShardView, engine: EngineFact) -> bool:
    """Tell whether a replica is on its way to a new primary, since the old one stepped down.

    That old one is on its way, too. They go on where they were, and nothing is wrong with them.
    """
    if engine.role is not Role.REPLICA or engine.is_held or engine.is_loading or not seen.previous:
        return False
    ids = [node.node_id for node in view.shard.nodes]
    known = [before for n in ids if (before := seen.previous.of(n)) is not None]
    if any(restarts.has_just_stepped_down(before, seen.now) for before in known):
        return True
    stepped_down = (engine_of(seen.observed.of(b.node_id)) for b in known if b.role is Role.PRIMARY)
    return any(one is not None and one.role is Role.REPLICA for one in stepped_down)


def _followed_an_upgrade(
    seen: Seen, view: ShardView, before: NodeStatus, engine: EngineFact
) -> bool:
    """Tell whether a replica may be without a primary because the old one is being upgraded.

    A Redis names no shard in its cluster. When it hands over, a replica that runs Valkey takes it
    for slots that move, and follows the old primary until that ends.
    """
    if engine.role is not Role.REPLICA or engine.is_held or engine.is_loading or not seen.previous:
        return False
    ids = {node.node_id for node in view.shard.nodes} - {before.node_id, view.primary_id}
    is_upgrading = any(n.is_upgrading for n in seen.previous.nodes if n.node_id in ids)
    return is_upgrading and before.state is NodeState.AVAILABLE and not before.is_upgrading


def is_replaced(before: NodeStatus, view: ShardView) -> bool:
    """Tell whether a node that was the primary is no longer the one of its shard."""
    return (
        before.role is Role.PRIMARY
        and view.phase is Phase.SERVING
        and view.primary_id != before.node_id
    )


def _waiting_state(before: NodeStatus | None) -> NodeState:
    if before is None or before.state in newcomers.NEVER_THERE:
        return NodeState.CREATING
    return NodeState.MODIFYING


def _serves(group: Group, engine: EngineFact) -> bool:
    if engine.is_held or engine.is_loading:
        return False
    if group.spec.cluster_enabled and (engine.cluster is None or not engine.cluster.is_ok):
        return False
    return engine.role is Role.PRIMARY or engine.is_in_sync
