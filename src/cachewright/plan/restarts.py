"""When may a node be restarted as planned? One of a shard at a time, replicas before the primary.

A caller asks for a restart by raising a number (`NodeSpec.restarts`); a process that was started
with a smaller one is due. Replicas end as they are. A primary with replicas first lets one have
all its data and is succeeded by it, so it comes back as a replica: an emptied primary never meets
its replicas. A primary alone saves its data for its own start. A primary that is silent is waited
for: silence is not death, and what it holds may be all there is.
"""

from __future__ import annotations

from cachewright.model.commands import Step, StopNode, node_key
from cachewright.model.facts import NodeFact, Observed, Running
from cachewright.model.groups import Group, NodeSpec
from cachewright.model.status import Role
from cachewright.plan.shard import Phase, ShardView, engine_of, leaving_ids


def is_due(node: NodeSpec | None, fact: NodeFact) -> bool:
    """Tell whether a restart of the node was asked for that its process has not seen."""
    launched = fact.launched
    if node is None or launched is None:
        return False
    return launched.restarts < node.restarts


def due_ids(group: Group, observed: Observed) -> frozenset[str]:
    """Return every node that is due."""
    return frozenset(
        node.node_id for node in group.spec.nodes() if is_due(node, observed.of(node.node_id))
    )


def step_for(group: Group, view: ShardView, node_id: str, observed: Observed) -> Step | None:
    """Return the step that ends a node which is due, `None` while it is not or must wait."""
    is_alone = len(view.shard.nodes) == 1
    if node_id == view.primary_id and not is_alone:
        return None  # it hands over first, see `handover`
    if not is_turn(group, view, node_id, observed):
        return None
    command = StopNode(key=node_key(group.spec.uid, node_id), saves=is_alone)
    return Step(command=command, reason="a restart was asked for", node_id=node_id)


def is_turn(group: Group, view: ShardView, node_id: str, observed: Observed) -> bool:
    """Tell whether a node is due, and everybody has ended that goes before it."""
    fact = observed.of(node_id)
    if not is_due(group.spec.node(node_id), fact) or not isinstance(fact.process, Running):
        return False
    return view.phase is Phase.SERVING and _is_its_turn(group, view, node_id, observed)


def _is_its_turn(group: Group, view: ShardView, node_id: str, observed: Observed) -> bool:
    """Tell whether all others of the shard serve, and no replica is due before its primary.

    A node that does not serve waits for no other one, but for its like: were the primary to end
    now, what they hold would be all there is.
    """
    others = [node.node_id for node in view.shard.nodes if node.node_id != node_id]
    if (leaving_ids(group) - {view.primary_id}).intersection(others):
        return False  # one node of a shard ends at a time: they go first
    if not _serves(node_id, observed):
        like = [n for n in others if not _serves(n, observed)]
        return all(node_id < n for n in like if is_due(group.spec.node(n), observed.of(n)))
    if not all(_serves(other, observed) for other in others):
        return False
    due = [n for n in others if is_due(group.spec.node(n), observed.of(n))]
    if node_id == view.primary_id:
        return not due
    return all(node_id < other for other in due if other != view.primary_id)


def _serves(node_id: str, observed: Observed) -> bool:
    engine = engine_of(observed.of(node_id))
    if engine is None or engine.is_held or engine.is_loading:
        return False
    return engine.role is Role.PRIMARY or engine.is_in_sync
