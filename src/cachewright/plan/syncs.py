"""How many replicas may copy everything from their primaries at the same time?

A full copy makes the primary fork. While the child writes, each page that clients change is there
twice, and the processors of the host have one more to serve. With little data that is over before
the next look, and everybody may begin at once. Beyond that, one copy of a host at a time: those
first whose shards have fewest replicas ready, and who is down already before anybody is ended for
the sake of a restart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set

from cachewright.model.commands import StartNode, Step, StopNode
from cachewright.model.facts import Observed, Running
from cachewright.model.groups import GroupPlacement
from cachewright.plan.endpoints import is_ready_replica
from cachewright.plan.shard import Phase, ShardView, engine_of

#: What a primary holds at least before its copies count. 100 MB were copied within 0.19 s, which
#: is a look or two at a group.
LARGE_BYTES = 64 << 20


def one_by_one(
    placement: GroupPlacement,
    views: Sequence[ShardView],
    observed: Observed,
    steps: Sequence[Step],
    *,
    exempt: Set[str],
) -> list[Step]:
    """Return `steps` without those that would begin a large copy beside another one.

    Nodes that are `exempt` end for good, or at once.
    """
    large = {
        node.node_id: view
        for view in views
        if _is_large(view, observed)
        for node in view.shard.nodes
        if node.node_id != view.primary_id
    }
    copying = {node_id for node_id in large if _copies(node_id, observed)}
    # Who copies and ends does not begin another one.
    beginning = [s for s in steps if s.node_id not in exempt | copying and _begins_copy(s, large)]
    busy = {_host(placement, large[node_id]) for node_id in copying}
    chosen: list[Step] = []
    for step in sorted(beginning, key=lambda step: _rank(step, large, observed)):
        host = _host(placement, large[step.node_id or ""])
        if host not in busy:
            busy.add(host)
            chosen.append(step)
    return [step for step in steps if step not in beginning or step in chosen]


def _is_large(view: ShardView, observed: Observed) -> bool:
    if view.phase is not Phase.SERVING or view.primary_id is None:
        return False
    engine = engine_of(observed.of(view.primary_id))
    return engine is not None and engine.used_memory_bytes >= LARGE_BYTES


def _begins_copy(step: Step, large: Mapping[str, ShardView]) -> bool:
    """Tell whether a replica of a large shard starts, or ends in order to start anew."""
    return step.node_id in large and isinstance(step.command, StartNode | StopNode)


def _copies(node_id: str, observed: Observed) -> bool:
    """Tell whether a replica lives and has not got everything yet; who hangs copies nothing."""
    fact = observed.of(node_id)
    is_running = isinstance(fact.process, Running) and fact.silence is None
    return is_running and not is_ready_replica(observed, node_id)


def _rank(step: Step, large: Mapping[str, ShardView], observed: Observed) -> tuple[bool, int, str]:
    node_id = step.node_id or ""
    others = (node.node_id for node in large[node_id].shard.nodes if node.node_id != node_id)
    ready = sum(is_ready_replica(observed, other) for other in others)
    return isinstance(step.command, StopNode), ready, node_id


def _host(placement: GroupPlacement, view: ShardView) -> str:
    """Return the host on which the primary of a shard forks."""
    assert view.primary_id is not None
    return placement.of(view.primary_id).host
