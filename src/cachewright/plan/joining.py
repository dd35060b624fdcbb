"""How does a node join or leave a group that stays? It gets a place, or ends and is forgotten.

Weaken last: nothing of a shard ends unless an admitted primary answers that is not leaving. If the
node that leaves has become the primary meanwhile, a replica must have everything first; then it
stops taking writes, and its end is a proven end of a primary like any other (`election`). If it
alone was started from what is left of a shard, it serves like any primary until then (`nodes`).

A shard that leaves as a whole has nobody to hand over to. It runs on like any other until it is
proven that it holds nothing: no node of it owns a slot or has a key by its own word, every primary
of the shards that stay answers, and nobody there who answers counts one of them among the owners.
Then it waits for its clients: what is on its way to a process that ends is lost.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set

from cachewright.model.commands import (
    BindNode,
    PlaceGroup,
    ReleaseNodes,
    RemoveNode,
    Step,
    StopNode,
    node_key,
)
from cachewright.model.facts import Absent, NodeFact, Observed, Stopped
from cachewright.model.groups import Group, GroupPlacement
from cachewright.plan import acquaintance
from cachewright.plan.shard import (
    Phase,
    ShardView,
    engine_of,
    is_down,
    is_gone,
    joining_ids,
    leaving_ids,
)


def step_for(
    group: Group, placement: GroupPlacement, view: ShardView, node_id: str, observed: Observed
) -> Step | None:
    """Return what may be done now to let `node_id` go, `None` while nothing is safe."""
    if view.phase is not Phase.SERVING or view.primary_id == node_id:
        return None  # the primary hands over first, see `handover`
    return _end(group, placement, view, node_id, observed)


def gone_shard_steps(
    group: Group, placement: GroupPlacement, view: ShardView, observed: Observed
) -> Iterator[Step]:
    """Yield what may be done now to let a whole shard go that is proven to hold nothing.

    Its primary ends last: replicas without one would ask for votes.
    """
    for node in view.shard.nodes:
        is_last = node.node_id == view.primary_id
        if is_last and _next_to_end(group, view, observed) is not None:
            continue
        step = _end(group, placement, view, node.node_id, observed)
        if step is not None:
            yield step


def _end(
    group: Group, placement: GroupPlacement, view: ShardView, node_id: str, observed: Observed
) -> Step | None:
    """Return the next step of a node that may end: off its endpoints, ended, removed."""
    key = node_key(group.spec.uid, node_id)
    fact = observed.of(node_id)
    if isinstance(fact.process, Absent):
        return forgetting(key, node_id, fact)
    if isinstance(fact.process, Stopped):
        return Step(command=RemoveNode(key=key), reason="its process has ended", node_id=node_id)
    own = (placement.of(node_id).address,)
    engine = engine_of(fact)
    if engine is not None and not engine.is_held and set(engine.bind) != set(own):
        bind = BindNode(key=key, bind=own)
        return Step(command=bind, reason="it leaves; others serve its endpoints", node_id=node_id)
    if node_id not in {_next_to_end(group, view, observed) or node_id}:
        return None  # one node of a shard ends at a time
    return Step(command=StopNode(key=key), reason="it leaves the group", node_id=node_id)


def forgetting(key: str, node_id: str, fact: NodeFact) -> Step | None:
    """Return the step that lets a host forget a node that it could never start, if it knows it.

    Its name may be given to another one, which must not inherit its failures.
    """
    if not fact.failed_starts:
        return None
    return Step(command=RemoveNode(key=key), reason="it was never started", node_id=node_id)


def _next_to_end(group: Group, view: ShardView, observed: Observed) -> str | None:
    """Return the first node of a shard that leaves and may still run, but for its primary."""
    gone = leaving_ids(group) - {view.primary_id}
    ids = (node.node_id for node in view.shard.nodes if node.node_id in gone)
    return next((node_id for node_id in ids if not is_down(observed.of(node_id))), None)


def ending_views(
    group: Group, placement: GroupPlacement, views: Sequence[ShardView], observed: Observed
) -> tuple[ShardView, ...]:
    """Return the shards that leave as a whole and are proven to hold nothing."""
    return tuple(
        view
        for view in views
        if is_gone(group, view.shard) and not why_kept(group, placement, view, views, observed)
    )


def why_kept(
    group: Group,
    placement: GroupPlacement,
    view: ShardView,
    views: Sequence[ShardView],
    observed: Observed,
) -> str:
    """Return why a shard that leaves as a whole may not end yet; empty once it is proven empty."""
    shard_id = view.shard.shard_id
    why = _holds(view, observed) or _counts(group, placement, view, views, observed)
    facts = [observed.of(node.node_id) for node in view.shard.nodes]
    # Once a node has ended the others follow, whoever comes.
    if not why and not any(map(is_down, facts)) and any(fact.is_sought for fact in facts):
        return f"shard {shard_id} stays until its clients know where to go"
    return why


def _holds(view: ShardView, observed: Observed) -> str:
    """Return what a shard holds by the word of its nodes that run, empty if nothing."""
    shard_id = view.shard.shard_id
    for node in view.shard.nodes:
        fact = observed.of(node.node_id)
        engine = engine_of(fact)
        if is_down(fact):
            continue
        if engine is None or engine.cluster is None:
            return f"shard {shard_id} stays until {node.node_id} answers"
        if engine.cluster.own_slots:
            return f"shard {shard_id} stays: {node.node_id} owns slots"
        if engine.keys:
            return f"shard {shard_id} stays: {node.node_id} holds {engine.keys} keys"
    return ""


def _counts(
    group: Group,
    placement: GroupPlacement,
    view: ShardView,
    views: Sequence[ShardView],
    observed: Observed,
) -> str:
    """Return who of the shards that stay may count a shard among the owners, empty if nobody."""
    shard_id = view.shard.shard_id
    engine_ids = {placement.of(node.node_id).engine_id for node in view.shard.nodes}
    for other in views:
        if is_gone(group, other.shard):
            continue
        primary = engine_of(observed.of(other.primary_id)) if other.primary_id else None
        if other.phase is not Phase.SERVING or primary is None or primary.cluster is None:
            return f"shard {shard_id} stays until the primary of {other.shard.shard_id} answers"
        believer = _believer(engine_ids, other, observed)
        if believer:
            return f"shard {shard_id} stays: to {believer} it owns slots"
    return ""


def _believer(engine_ids: Set[str], view: ShardView, observed: Observed) -> str:
    """Return a node of a shard that counts one of these among the owners, empty if none does.

    Clients ask replicas, too, who owns what; one that is silent tells them nothing.
    """
    for node in view.shard.nodes:
        engine = engine_of(observed.of(node.node_id))
        cluster = engine.cluster if engine is not None and not engine.is_held else None
        if cluster is not None and engine_ids & cluster.owner_ids:
            return node.node_id
    return ""


def place(group: Group, placement: GroupPlacement) -> tuple[Step, ...]:
    """Return the step that gives a place to the nodes that join."""
    joining = joining_ids(group)
    if not joining:
        return ()
    command = PlaceGroup(build_version=placement.build_version)
    return (Step(command=command, reason=f"{', '.join(joining)} has no address yet"),)


def release(group: Group, placement: GroupPlacement, observed: Observed) -> tuple[Step, ...]:
    """Return the step that frees names and addresses of the nodes that are gone."""
    gone = tuple(
        node_id
        for node_id in sorted(leaving_ids(group))
        if isinstance(observed.of(node_id).process, Absent)
        and not observed.of(node_id).failed_starts
        and acquaintance.is_forgotten(group, placement, node_id, observed)
    )
    if not gone:
        return ()
    reason = f"nothing is left of {', '.join(gone)}"
    return (Step(command=ReleaseNodes(node_ids=gone), reason=reason),)
