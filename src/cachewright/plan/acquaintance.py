"""Which nodes of a cluster have to be introduced to each other, and which be forgotten?

Cluster mode: engines know each other by their ids. Who starts finds the whole cluster in its map,
but the others have never heard of it: they meet it, and nobody is let in before all know it. (They
do, and not the newcomer, because whoever is met connects back first, which takes it a tenth of a
second more.) Who has ended for good is forgotten by everybody before its address is free: another
cluster may get it, and would be called by those who remember. Each round looks anew: what was cut,
or told again by somebody who had not forgotten yet, is simply done once more.
"""

from __future__ import annotations

from collections.abc import Iterator

from cachewright.model.commands import ForgetNodes, IntroduceNode, Step, node_key
from cachewright.model.facts import Absent, ClusterFact, Observed
from cachewright.model.groups import Group, GroupPlacement, NodePlacement
from cachewright.plan.shard import engine_of, is_down, leaving_ids


def introductions(group: Group, placement: GroupPlacement, observed: Observed) -> tuple[Step, ...]:
    """Return for each living node the introduction of the living ones that it does not know."""
    if not group.spec.cluster_enabled:
        return ()
    living = tuple(_living(placement, observed))
    steps: list[Step] = []
    for place, cluster in living:
        strangers = tuple(
            other.listens_at
            for other, _ in living
            if other is not place and other.engine_id not in cluster.known_ids
        )
        if strangers:
            command = IntroduceNode(key=node_key(group.spec.uid, place.node_id), others=strangers)
            reason = f"it does not know {len(strangers)} nodes of its cluster"
            steps.append(Step(command=command, reason=reason, node_id=place.node_id))
    return tuple(steps)


def is_known_to_all(
    group: Group, placement: GroupPlacement, node_id: str, observed: Observed
) -> bool:
    """Tell whether every living node that answers knows a node."""
    if not group.spec.cluster_enabled:
        return True
    engine_id = placement.of(node_id).engine_id
    return all(engine_id in cluster.known_ids for _, cluster in _living(placement, observed))


def oblivions(group: Group, placement: GroupPlacement, observed: Observed) -> tuple[Step, ...]:
    """Return for each living node what it has to forget: who has no place, or left and is gone."""
    if not group.spec.cluster_enabled:
        return ()
    gone = _gone(group, placement, observed)
    kept = {place.engine_id for place in placement.nodes if place not in gone}
    gone_places = {place.listens_at: place.engine_id for place in gone}
    steps: list[Step] = []
    for place, cluster in _living(placement, observed):
        engine = engine_of(observed.of(place.node_id))
        # A replica forgets its primary only after it has another one.
        followed = gone_places.get(engine.primary) if engine and engine.primary else None
        strays = sorted(cluster.known_ids - kept - {followed})
        if strays:
            key = node_key(group.spec.uid, place.node_id)
            command = ForgetNodes(key=key, engine_ids=tuple(strays))
            reason = f"it knows {len(strays)} nodes that have left the cluster"
            steps.append(Step(command=command, reason=reason, node_id=place.node_id))
    return tuple(steps)


def is_forgotten(group: Group, placement: GroupPlacement, node_id: str, observed: Observed) -> bool:
    """Tell whether it is certain that no living node knows a node that is gone.

    Who lives and does not answer may know it; who starts later never hears of it.
    """
    if not group.spec.cluster_enabled:
        return True
    engine_id = placement.of(node_id).engine_id
    for place in placement.nodes:
        fact = observed.of(place.node_id)
        if is_down(fact):
            continue
        engine = engine_of(fact)
        if engine is None or engine.cluster is None or engine_id in engine.cluster.known_ids:
            return False
    return True


def _living(
    placement: GroupPlacement, observed: Observed
) -> Iterator[tuple[NodePlacement, ClusterFact]]:
    """Yield every node that answers, with what it says of its cluster."""
    for place in placement.nodes:
        engine = engine_of(observed.of(place.node_id))
        if engine is not None and engine.cluster is not None:
            yield place, engine.cluster


def _gone(group: Group, placement: GroupPlacement, observed: Observed) -> tuple[NodePlacement, ...]:
    leaving = leaving_ids(group)
    return tuple(
        place
        for place in placement.nodes
        if place.node_id in leaving and isinstance(observed.of(place.node_id).process, Absent)
    )
