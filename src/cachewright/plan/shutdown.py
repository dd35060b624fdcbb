"""How does everything stop so that the next start finds the data? Replicas first, primaries last.

Each primary saves a snapshot. Were a primary to end before its replicas, an interruption between
the two would leave replicas without a primary; this way it leaves a primary without replicas.
"""

from __future__ import annotations

from cachewright.model.commands import Step, StopNode, node_key
from cachewright.model.facts import Observed
from cachewright.model.groups import Group, GroupKind
from cachewright.model.status import GroupState, GroupStatus, Role
from cachewright.plan.shard import Phase, engine_of, is_down, shards_to_run, view_shard


def plan_stop(
    group: Group, status: GroupStatus | None, observed: Observed
) -> tuple[tuple[Step, ...], ...]:
    """Return the stages of a graceful stop; a stage begins when the one before it is done."""
    savers = _savers(group, status, observed) if _keeps_data(group, status) else frozenset()
    first: list[Step] = []
    last: list[Step] = []
    for node_id in [n.node_id for n in group.placement.nodes] if group.placement else []:
        if is_down(observed.of(node_id)):
            continue
        saves = node_id in savers
        command = StopNode(key=node_key(group.spec.uid, node_id), saves=saves)
        reason = "the service stops; the data is saved" if saves else "the service stops"
        step = Step(command=command, reason=reason, node_id=node_id)
        (last if saves else first).append(step)
    return tuple(tuple(stage) for stage in (first, last) if stage)


def _keeps_data(group: Group, status: GroupStatus | None) -> bool:
    """Memcached is a cache: its items go with its processes, as callers expect."""
    if group.spec.kind is GroupKind.MEMCACHED:
        return False
    deletion = group.spec.deletion
    if deletion is not None and deletion.retained_node_id is None:
        return False
    return status is None or status.state is not GroupState.CREATE_FAILED


def _savers(group: Group, status: GroupStatus | None, observed: Observed) -> frozenset[str]:
    """Return at most one node a shard: the one whose data is the shard's data.

    The primary that was seen, held or not: a held one may have loaded the last snapshot. Else the
    silent node that was the primary: only it can tell. Else the replica that has applied most.
    """
    savers: set[str] = set()
    for shard in shards_to_run(group):
        view = view_shard(shard, observed, status)
        if view.primary_id is not None and view.phase is not Phase.DOWN:
            savers.add(view.primary_id)
            continue
        ids = [node.node_id for node in shard.nodes if not is_down(observed.of(node.node_id))]
        silent = [node_id for node_id in ids if _was_primary(status, node_id)]
        admitted = {
            node_id: engine.offset
            for node_id in ids
            if (engine := engine_of(observed.of(node_id))) is not None and not engine.is_held
        }
        savers.update(silent or sorted(admitted, key=lambda n: (-admitted[n], n))[:1])
    return frozenset(savers)


def _was_primary(status: GroupStatus | None, node_id: str) -> bool:
    before = status.of(node_id) if status else None
    return before is not None and before.role is Role.PRIMARY
