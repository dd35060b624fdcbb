"""How does a node join or leave a group that stays? It gets a place, or ends and is forgotten.

Weaken last: nothing of a shard ends unless an admitted primary answers that is not leaving. If the
node that leaves has become the primary meanwhile, a replica must have everything first; then it
stops taking writes, and its end is a proven end of a primary like any other (`election`).
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
from cachewright.plan.shard import Phase, ShardView, engine_of, joining_ids, leaving_ids


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
    return Step(command=StopNode(key=key), reason="it leaves the group", node_id=node_id)


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
