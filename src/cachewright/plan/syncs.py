"""Who copies everything from whom, and how many replicas may do so at the same time?

A full copy makes the primary fork. While the child writes, each page that clients change is there
twice, and the processors of the host have one more to serve. With little data that is over before
the next look, and everybody may begin at once. Beyond that, one copy of a host at a time: those
first whose shards have fewest replicas ready, and who is down already before anybody is ended for
the sake of a restart.

Without dual-channel replication a copy goes through the process that forks: what clients write in
the meantime waits there in its memory. So a replica takes it from a sibling that has everything,
and then goes on with the primary where that one was. Engines in cluster mode do not let a replica
follow another one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set

from cachewright.model.commands import StartNode, Step, StopNode
from cachewright.model.engines import capabilities_of
from cachewright.model.facts import EngineFact, NodeFact, Observed, Running
from cachewright.model.groups import GroupPlacement
from cachewright.plan.endpoints import is_ready_replica
from cachewright.plan.shard import Phase, ShardView, engine_of

#: What a primary holds at least before its copies count. 100 MB were copied within 0.19 s, which
#: is a look or two at a group.
LARGE_BYTES = 64 << 20
#: The smallest `repl-backlog-size` of a family: who is further behind copies everything.
BACKLOG_BYTES = 1 << 20


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


def source_id(
    placement: GroupPlacement, view: ShardView, observed: Observed, node_id: str
) -> str | None:
    """Return whom a replica without cluster mode shall follow now: its primary, or a sibling.

    A sibling only before clients are let in: whoever serves may have to take over. It stays the
    same one as long as that is ready. `None` without a primary.
    """
    fact, primary_id = observed.of(node_id), view.primary_id
    engine, primary = engine_of(fact), engine_of(observed.of(primary_id)) if primary_id else None
    if primary_id is None or engine is None or primary is None or fact.launched is None:
        return primary_id
    has_history = engine.replication_id in {primary.replication_id, primary.second_replication_id}
    place = placement.of(primary_id).listens_at
    can_beside = capabilities_of(fact.launched.engine, fact.launched.engine_version)
    if (
        not engine.is_held
        or has_history
        or engine.primary == place
        or can_beside.dual_channel_replication
        or not _is_large(view, observed)
    ):
        return primary_id
    siblings = [
        node.node_id
        for node in view.shard.nodes
        if node.node_id != node_id
        and _runs_the_same(observed.of(node.node_id), fact)
        and _has_everything(observed.of(node.node_id), primary, place)
    ]
    followed = [s for s in siblings if engine.primary == placement.of(s).listens_at]
    return next(iter([*followed, *siblings]), primary_id)


def _runs_the_same(one: NodeFact, other: NodeFact) -> bool:
    mine, its = one.launched, other.launched
    if mine is None or its is None:
        return False
    return (mine.engine, mine.engine_version) == (its.engine, its.engine_version)


def _has_everything(sibling: NodeFact, primary: EngineFact, place: tuple[str, int]) -> bool:
    """Tell whether a replica follows its primary so closely that others can go on from there."""
    engine = engine_of(sibling)
    if engine is None or engine.is_held or engine.is_loading or not engine.is_in_sync:
        return False
    return engine.primary == place and primary.offset - engine.offset <= BACKLOG_BYTES


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
