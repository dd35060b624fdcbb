"""Who takes over a shard whose primary has ended, and how?

Only with proof that nobody else can write: every node of the shard has provably ended or answers
as a replica. The replica that has applied most of the newest lineage wins. Where a majority of
primaries lives they vote (`FORCE`, no epoch hazard); below it a shard takes over on its own word
(`TAKEOVER`). Only shards that own slots vote and count for the majority. One that owns none takes
over on its own word too: engines before Valkey 8.0 never ask for votes then, and there is no slot
that an epoch could be about. In cluster mode one shard is promoted at a time: votes of concurrent
elections collide in one epoch, and an engine waits a minute after a lost one. The engines' own
election after `cluster-node-timeout` stays the backstop. Where automatic failover is off,
ElastiCache makes the primary anew from a replica; here the replica takes over, because its data is
the only copy.

Sources: the engines' documentation of CLUSTER FAILOVER and of replication ids; their `cluster.c`
(`clusterUpdateState`: the size of a cluster, `clusterHandleSlaveFailover`: who asks for votes);
5 to 8 ms measured from the command until the replica takes writes.
"""

from __future__ import annotations

import collections
from collections.abc import Container, Mapping, Sequence, Set

from cachewright.model.commands import PromoteNode, Promotion, Step, node_key
from cachewright.model.facts import EngineFact, Observed
from cachewright.model.groups import Group, ShardSpec
from cachewright.model.status import GroupStatus, Role
from cachewright.plan.flapping import is_flapping
from cachewright.plan.shard import (
    Phase,
    ShardView,
    engine_of,
    is_down,
    leaving_ids,
    line_key,
)


def elections(
    group: Group,
    views: Sequence[ShardView],
    observed: Observed,
    status: GroupStatus | None,
    *,
    struck: Container[str] | None = None,
) -> dict[str, Step]:
    """Return for each shard id the promotion that is safe now, where one is.

    `struck`: the shards of which `observed` is fresh; all, where nothing else is said.
    """
    how = _how(group, views, observed, status)
    for view in views:
        is_fresh = struck is None or view.shard.shard_id in struck
        if view.phase is not Phase.UNDECIDED or not is_fresh:
            continue
        winner = elect(group, view.shard, observed, status)
        if winner is not None:
            shard, others = view.shard, _others(group, views)
            return {shard.shard_id: _promotion(group, shard, winner, how, observed, others=others)}
    return {}


def elect(
    group: Group, shard: ShardSpec, observed: Observed, status: GroupStatus | None
) -> str | None:
    """Return the replica to promote, `None` while that is not safe or none can be."""
    candidates: dict[str, EngineFact] = {}
    for node in shard.nodes:
        fact = observed.of(node.node_id)
        if is_down(fact):
            continue
        engine = engine_of(fact)
        if engine is None or (engine.role is Role.PRIMARY and not engine.is_held):
            return None
        if engine.role is Role.REPLICA and not engine.is_held and not engine.is_loading:
            candidates[node.node_id] = engine
    if not candidates:
        return None
    lineage = _lineage(candidates)
    leaving = leaving_ids(group)

    def rank(node_id: str) -> tuple[int, tuple[int, ...], bool, bool, bool, str]:
        """Data first; among equals one that all can follow, that stays, lives long, is wanted."""
        return (
            -candidates[node_id].offset,
            line_key(observed.of(node_id)),
            node_id in leaving,
            is_flapping(status, node_id),
            node_id != group.spec.primary_node_id,
            node_id,
        )

    return min((n for n, e in candidates.items() if e.replication_id == lineage), key=rank)


def _lineage(candidates: Mapping[str, EngineFact]) -> str:
    """Return the newest replication id; of several the furthest, then the one that most have.

    A replica that was promoted, and those that followed it since, remember the lineage before as
    their second: whoever still has that one as its first has missed what came after. Who had to
    copy everything remembers nothing, though; but what came after counts on from what was before.
    """
    engines = candidates.values()
    left = {e.second_replication_id for e in engines if e.second_offset >= 0}
    newest = [e for e in engines if e.replication_id not in left] or list(engines)
    counts = collections.Counter(engine.replication_id for engine in newest)
    furthest: dict[str, int] = {}
    for engine in newest:
        known = furthest.get(engine.replication_id, -1)
        furthest[engine.replication_id] = max(known, engine.offset)
    return max(counts, key=lambda lineage: (furthest[lineage], counts[lineage], lineage))


def _promotion(
    group: Group,
    shard: ShardSpec,
    winner: str,
    how: Mapping[str, Promotion],
    observed: Observed,
    *,
    others: tuple[tuple[str, int], ...],
) -> Step:
    engine = engine_of(observed.of(winner))
    return Step(
        command=PromoteNode(
            key=node_key(group.spec.uid, winner),
            how=how[shard.shard_id],
            over=(engine.primary if engine is not None else None) or ("", 0),
            bind=_bind(group, winner, observed),
            others=others,
        ),
        reason=f"the primary of shard {shard.shard_id} has ended; this replica applied most",
        node_id=winner,
    )


def _others(group: Group, views: Sequence[ShardView]) -> tuple[tuple[str, int], ...]:
    """Return where the primaries that serve listen, if slots have ever moved."""
    if not group.spec.resharding_generation or group.placement is None:
        return ()
    found = [view.primary_id for view in views if view.phase is Phase.SERVING]
    places = [group.placement.of(node_id) for node_id in found if node_id is not None]
    return tuple(place.listens_at for place in places)


def _bind(group: Group, winner: str, observed: Observed) -> tuple[str, ...]:
    """Return what the winner listens on with the endpoints that their holder has left.

    Empty where there is none: nothing changes then.
    """
    placement, engine = group.placement, engine_of(observed.of(winner))
    if placement is None or engine is None:
        return ()
    found = (placement.endpoints.primary, placement.endpoints.configuration)
    left = [e for e in found if e is not None and _is_left(e, winner, observed)]
    if not left:
        return ()
    own = placement.of(winner).address
    return (own, *left, *(a for a in engine.bind if a not in {own, *left}))


def _is_left(endpoint: str, winner: str, observed: Observed) -> bool:
    """Tell whether nobody but `winner` can listen on an address."""
    for node_id, fact in observed.nodes.items():
        engine = engine_of(fact)
        is_silent = engine is None and not is_down(fact)
        if node_id != winner and (is_silent or (engine is not None and endpoint in engine.bind)):
            return False
    return True


def _how(
    group: Group, views: Sequence[ShardView], observed: Observed, status: GroupStatus | None
) -> dict[str, Promotion]:
    """Return for each shard id how a replica of it takes over."""
    shard_ids = [view.shard.shard_id for view in views]
    if not group.spec.cluster_enabled:
        return dict.fromkeys(shard_ids, Promotion.STANDALONE)
    owner_ids = _owner_ids(group, views, observed, status)
    serving = {view.shard.shard_id for view in views if view.phase is Phase.SERVING}
    is_majority = len(serving & owner_ids) > len(owner_ids) // 2
    by_vote = owner_ids if is_majority else frozenset[str]()
    return {s: Promotion.FORCE if s in by_vote else Promotion.TAKEOVER for s in shard_ids}


def _owner_ids(
    group: Group, views: Sequence[ShardView], observed: Observed, status: GroupStatus | None
) -> Set[str]:
    """Return the shards that own slots: by their primaries' words, else by what was written down.

    Near enough: with a wrong guess a vote is asked for in vain, or not asked for.
    """
    if status is not None and status.owned:
        found = {owned.shard_id for owned in status.owned if owned.slots}
    else:
        found = {shard.shard_id for shard in group.spec.shards if shard.slots}
    for view in views:
        engine = engine_of(observed.of(view.primary_id)) if view.primary_id else None
        if view.phase is Phase.SERVING and engine is not None and engine.cluster is not None:
            found -= {view.shard.shard_id}
            found |= {view.shard.shard_id} if engine.cluster.own_slots else set()
    return found
