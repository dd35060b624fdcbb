"""How is the group doing? The status that the facts allow, never a better one.

`available` means: every slot is served and every endpoint is listened on; for the first time
also: every replica is in sync, and every node has answered.
"""

from __future__ import annotations

from collections.abc import Sequence

from cachewright.model.facts import Unknown
from cachewright.model.slots import numbers_of
from cachewright.model.status import GroupState, GroupStatus, NodeState, NodeStatus, Role
from cachewright.plan import (
    change_texts,
    endpoints,
    flapping,
    joining,
    newcomers,
    restarts,
    settings,
    suspicion,
)
from cachewright.plan.node_status import Seen, node_status
from cachewright.plan.shard import (
    Phase,
    ShardView,
    engine_of,
    is_down,
    is_gone,
    is_unsettled,
    joining_ids,
    leaving_ids,
)

#: The reason while slots move, until there is a better one.
RESHARDING = "moving slots"
#: A node in one of these is not there yet, or not there again.
_WAITING = frozenset({NodeState.CREATING, NodeState.MODIFYING})


def shard_problem(view: ShardView, nodes: Sequence[NodeStatus], seen: Seen) -> str:
    """Return why a shard does not serve, empty when it does."""
    if view.phase is Phase.SPLIT:
        return view.reason
    primary = next((n for n in nodes if n.node_id == view.primary_id), None)
    if primary is None:
        primaries = [n for n in nodes if n.role is Role.PRIMARY and n.state is NodeState.AVAILABLE]
        return "" if primaries else view.reason
    is_about_to_end = primary.state in {NodeState.REBOOTING, NodeState.DELETING}
    if (is_about_to_end or primary.is_upgrading) and view.phase is Phase.SERVING:
        return ""
    if primary.state is not NodeState.AVAILABLE:
        failure = seen.observed.of(primary.node_id).failure
        return failure or _hold(seen, primary) or f"{primary.node_id} does not serve yet"
    return ""


def endpoint_problem(seen: Seen) -> str:
    """Return which endpoint nobody listens on, empty when all are listened on or none can say.

    Who is silent may listen on any, but for that of a primary that answers.

    An endpoint that is on its way from one living node to another is no problem of a group that
    serves, as long as nothing stands in its way. The primary endpoint moves with the role in one
    command: if nobody listens on it, that was cut, and nobody can write.
    """
    there, observed = seen.placement.endpoints, seen.observed
    needed = there.addresses()
    if any(engine_of(fact) is None and not is_down(fact) for fact in observed.nodes.values()):
        is_serving = seen.views[0].phase is Phase.SERVING
        needed = (there.primary,) if there.primary and is_serving else ()
    listened = {
        address
        for fact in observed.nodes.values()
        if (engine := engine_of(fact)) is not None and not engine.is_held
        for address in engine.bind
    }
    moving = _moving(seen) - {there.primary}
    missing = [address for address in needed if address not in listened | moving]
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


def slots_problem(seen: Seen) -> str:
    """Return what is wrong with the ownership of slots, empty when every slot has one owner.

    What is on its way may have a new owner for one node and not yet for another.
    """
    staying = [view for view in seen.views if not is_gone(seen.group, view.shard)]
    if seen.owned is None or not all(view.phase is Phase.SERVING for view in staying):
        return ""
    doubtful = {*numbers_of(seen.owned.unowned), *numbers_of(seen.owned.disputed)}
    if not doubtful - seen.observed.moves.slots:
        return ""
    failure = seen.observed.moves.claim_failure if seen.owned.unowned else ""
    return failure or "not every slot is served by exactly one primary"


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
    node_type = _node_type(seen, nodes)
    change = change_of(nodes, joining)
    if node_type != seen.group.spec.node_type:
        change = change or change_texts.to_node_type(seen.group)
    if not change and is_unsettled(seen.group, seen.previous):
        change = RESHARDING
    if not problem and not (change and was_available):
        state = GroupState.AVAILABLE
    else:
        state = GroupState.MODIFYING if was_available else GroupState.CREATING
    return GroupStatus(
        state=state,
        observed_generation=seen.group.spec.generation,
        nodes=nodes + joining_statuses(joining),
        reason=problem or change or _lack(seen, nodes, waiting),
        was_available=was_available or state is GroupState.AVAILABLE,
        changing_from=changing_from(seen.previous) if change and was_available else None,
        is_broken=is_broken(seen.previous, problem, change),
        node_type=node_type,
    )


def _node_type(seen: Seen, nodes: Sequence[NodeStatus]) -> str:
    """Return the node type that all nodes have: the one before until the last has the new one.

    Who has ended gets it with its next start.
    """
    asked = seen.group.spec.node_type
    before = seen.previous.node_type if seen.previous else ""
    if before in {"", asked}:
        return asked
    facts = (seen.observed.of(node.node_id) for node in nodes)
    if any(isinstance(fact.process, Unknown) for fact in facts):
        return before
    running = (node for node in nodes if not is_down(seen.observed.of(node.node_id)))
    lacks = any(settings.OF_NODE_TYPE & {n for n, _ in node.applying} for node in running)
    return before if lacks else asked


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


def _lack(seen: Seen, nodes: Sequence[NodeStatus], waiting: Sequence[NodeStatus]) -> str:
    """Return what a group that serves lacks, empty when nothing."""
    if waiting:
        return _replica_problem(seen, waiting[0])
    failed = (node for node in nodes if node.state is NodeState.INCOMPATIBLE_NETWORK)
    return next((newcomers.reason_of(node) for node in failed), "")


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
        "upgrading": [n.node_id for n in nodes if n.is_upgrading],
    }
    said = [f"{verb} {', '.join(ids)}" for verb, ids in by_state.items() if ids]
    return "; ".join(said)


def _first_problem(seen: Seen, nodes: Sequence[NodeStatus]) -> str:
    for view in seen.views:
        if is_gone(seen.group, view.shard):
            why = joining.why_kept(seen.group, seen.placement, view, seen.views, seen.observed)
            if why:
                return why
            continue
        ids = {node.node_id for node in view.shard.nodes}
        shard_nodes = [n for n in nodes if n.node_id in ids]
        problem = shard_problem(view, shard_nodes, seen)
        if problem:
            return (view.primary_id is None and _silence_in(seen, view)) or problem
    problem = endpoint_problem(seen)
    if not problem and seen.group.spec.cluster_enabled:
        problem = slots_problem(seen)
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
