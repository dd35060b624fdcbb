"""When does a primary that lives give its role away, and to whom? Planned changes of primary.

Due is a primary that is to restart or leaves its group, and one that is not the node that a caller
wants as primary. It goes on serving until a replica has everything; then the roles change hands in
one command, and what is left to do is done to a replica. The successor is admitted, in sync, stays,
and is not itself due; of several the one that has applied most, so that writers wait least. It is
no newer than any replica that would follow it. In cluster mode clients know it: who has lost it
when it ended must have found it again. One handover of a group at a time: others go on serving
undisturbed.
"""

from __future__ import annotations

from collections.abc import Sequence, Set

from cachewright.model.commands import HandOver, Step, node_key
from cachewright.model.facts import EngineFact, Observed
from cachewright.model.groups import Group, GroupPlacement
from cachewright.plan import restarts
from cachewright.plan.endpoints import is_ready_replica
from cachewright.plan.shard import Phase, ShardView, engine_of, is_down, leaving_ids


def handovers(
    group: Group, placement: GroupPlacement, views: Sequence[ShardView], observed: Observed
) -> dict[str, Step]:
    """Return for each shard id the handover that is due and safe; one of them at most."""
    for view in views:
        step = _step_for(group, placement, view, observed)
        if step is not None:
            return {view.shard.shard_id: step}
    return {}


def _step_for(
    group: Group, placement: GroupPlacement, view: ShardView, observed: Observed
) -> Step | None:
    if view.phase is not Phase.SERVING or view.primary_id is None:
        return None
    primary_id = view.primary_id
    primary = engine_of(observed.of(primary_id))
    assert primary is not None  # it answers, or the shard would not be said to serve
    candidates = _candidates(group, view, observed)
    wished = group.spec.primary_node_id
    is_wished = wished in candidates and not group.spec.automatic_failover
    if is_wished and wished is not None:
        successor, reason = wished, f"{wished} was asked for as primary"
    elif candidates and _must_go(group, view, primary_id, observed):
        successor = min(candidates, key=lambda node_id: (-candidates[node_id].offset, node_id))
        reason = f"{primary_id} is about to end, and {successor} has everything"
    else:
        return None
    to_place, engine = placement.of(successor), candidates[successor]
    must_go = _must_go(group, view, primary_id, observed)
    endpoints = placement.endpoints
    found = (endpoints.primary, endpoints.configuration if must_go else None)
    moving = {endpoint for endpoint in found if endpoint}
    bind, to_bind = _binds(placement, (primary_id, primary), (successor, engine), moving)
    command = HandOver(
        key=node_key(group.spec.uid, primary_id),
        to_key=node_key(group.spec.uid, successor),
        to_address=to_place.address,
        to_port=to_place.port,
        is_cluster=group.spec.cluster_enabled,
        bind=bind,
        to_bind=to_bind,
    )
    return Step(command=command, reason=reason, node_id=primary_id)


def _must_go(group: Group, view: ShardView, primary_id: str, observed: Observed) -> bool:
    if primary_id in leaving_ids(group):
        return True
    return restarts.is_turn(group, view, primary_id, observed)


def _candidates(group: Group, view: ShardView, observed: Observed) -> dict[str, EngineFact]:
    """Return who could take over from the primary now."""
    gone = leaving_ids(group)
    found: dict[str, EngineFact] = {}
    for node in view.shard.nodes:
        engine = engine_of(observed.of(node.node_id))
        if (
            engine is not None
            and node.node_id != view.primary_id
            and node.node_id not in gone
            and not engine.is_held
            and is_ready_replica(observed, node.node_id)
            and not restarts.is_due(group, node.node_id, observed)
            and not (group.spec.cluster_enabled and observed.of(node.node_id).is_missed)
            and not _strands(view, node.node_id, observed)
        ):
            found[node.node_id] = engine
    return found


def _strands(view: ShardView, successor: str, observed: Observed) -> bool:
    """Tell whether a replica that stays one would be older than the successor."""
    ids = {node.node_id for node in view.shard.nodes} - {successor, view.primary_id}
    new = observed.of(successor)
    return any(
        restarts.is_older(observed.of(node_id), new) and not is_down(observed.of(node_id))
        for node_id in ids
    )


def _binds(
    placement: GroupPlacement,
    old: tuple[str, EngineFact],
    new: tuple[str, EngineFact],
    moving: Set[str],
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return what both listen on afterwards: the endpoints that are `moving` go along."""
    (old_id, old_engine), (new_id, new_engine) = old, new
    moved = tuple(a for a in old_engine.bind if a in moving)
    own, to_own = placement.of(old_id).address, placement.of(new_id).address
    primary = placement.endpoints.primary
    if primary is not None and primary not in moved:
        moved = (primary, *moved)
    kept = tuple(a for a in old_engine.bind if a != own and a not in moved)
    to_kept = tuple(a for a in new_engine.bind if a != to_own and a not in moved)
    return (own, *kept), (to_own, *moved, *to_kept)
