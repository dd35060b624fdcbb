"""How does a node join or leave a group that stays? It gets a place, or ends and is forgotten.

Weaken last: nothing of a shard ends unless an admitted primary answers that is not leaving. If the
node that leaves has become the primary meanwhile, a replica must have everything first; then it
stops taking writes, and its end is a proven end of a primary like any other (`election`). If it
alone was started from what is left of a shard, it serves like any primary until then (`nodes`).
"""

from __future__ import annotations

from cachewright.model.commands import (
    BindNode,
    PlaceGroup,
    ReleaseNodes,
    RemoveNode,
    Step,
    StopNode,
    node_key,
)
from cachewright.model.facts import Absent, Observed, Stopped
from cachewright.model.groups import Group, GroupPlacement
from cachewright.plan.shard import (
    Phase,
    ShardView,
    engine_of,
    is_down,
    joining_ids,
    leaving_ids,
)


def step_for(
    group: Group, placement: GroupPlacement, view: ShardView, node_id: str, observed: Observed
) -> Step | None:
    """Return what may be done now to let `node_id` go, `None` while nothing is safe."""
    key = node_key(group.spec.uid, node_id)
    fact = observed.of(node_id)
    if isinstance(fact.process, Absent) or view.phase is not Phase.SERVING:
        return None
    if isinstance(fact.process, Stopped):
        return Step(command=RemoveNode(key=key), reason="its process has ended", node_id=node_id)
    if view.primary_id == node_id:
        return None  # it hands over first, see `handover`
    own = (placement.of(node_id).address,)
    engine = engine_of(fact)
    if engine is not None and not engine.is_held and set(engine.bind) != set(own):
        bind = BindNode(key=key, bind=own)
        return Step(command=bind, reason="it leaves; others serve its endpoints", node_id=node_id)
    if node_id != _next_to_end(group, view, observed):
        return None  # one node of a shard ends at a time
    return Step(command=StopNode(key=key), reason="it leaves the group", node_id=node_id)


def _next_to_end(group: Group, view: ShardView, observed: Observed) -> str | None:
    """Return the first node of a shard that leaves and may still run, but for its primary."""
    gone = leaving_ids(group) - {view.primary_id}
    ids = (node.node_id for node in view.shard.nodes if node.node_id in gone)
    return next((node_id for node_id in ids if not is_down(observed.of(node_id))), None)


def place(group: Group, placement: GroupPlacement) -> tuple[Step, ...]:
    """Return the step that gives a place to the nodes that join."""
    joining = joining_ids(group)
    if not joining:
        return ()
    command = PlaceGroup(build_version=placement.build_version)
    return (Step(command=command, reason=f"{', '.join(joining)} has no address yet"),)


def release(group: Group, observed: Observed) -> tuple[Step, ...]:
    """Return the step that frees names and addresses of the nodes that are gone."""
    gone = tuple(
        node_id
        for node_id in sorted(leaving_ids(group))
        if isinstance(observed.of(node_id).process, Absent)
    )
    if not gone:
        return ()
    reason = f"nothing is left of {', '.join(gone)}"
    return (Step(command=ReleaseNodes(node_ids=gone), reason=reason),)
