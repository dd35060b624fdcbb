"""Which replicas of a shard go where a caller names how many, and not which?

Those first that have not everything now: nobody could take over by them, and reads from them are
old. Then, as ElastiCache does it, the zones stay spread as well as they can, and among equals who
is furthest behind goes; at last the newest. The primary always stays. Zones that a caller wants in
the end go before all of it, and so does the second zone of a shard that must have one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from cachewright.model.facts import Observed
from cachewright.model.groups import NodeSpec
from cachewright.plan.shard import engine_of
from cachewright.plan.syncs import BACKLOG_BYTES


@dataclass(frozen=True, kw_only=True, slots=True)
class Member:
    """One node of a shard."""

    node: NodeSpec
    #: It served when its group was looked at last.
    serves: bool
    #: It says now that it has all that its primary has, or is about to.
    is_in_sync: bool
    #: How far it is behind, bytes: 0 where that is less than what a look may mistake.
    lag_bytes: int = 0


def members(
    nodes: Sequence[NodeSpec], observed: Observed, serving_ids: frozenset[str]
) -> tuple[Member, ...]:
    """Return the nodes of a shard by what their engines say; who says nothing is not in sync."""
    engines = {node.node_id: engine_of(observed.of(node.node_id)) for node in nodes}
    furthest = max((e.offset for e in engines.values() if e is not None), default=0)
    found: list[Member] = []
    for node in nodes:
        engine = engines[node.node_id]
        lag = furthest - engine.offset if engine is not None else 0
        found.append(
            Member(
                node=node,
                serves=node.node_id in serving_ids,
                is_in_sync=engine is not None and engine.is_in_sync and not engine.is_held,
                lag_bytes=lag if lag > BACKLOG_BYTES else 0,
            )
        )
    return tuple(found)


def least_needed(
    shard: Sequence[Member],
    count: int,
    *,
    primary_id: str,
    zones: Sequence[str] = (),
    is_multi_az: bool = False,
) -> tuple[NodeSpec, ...]:
    """Return the `count` replicas that go.

    Args:
        shard: All nodes of the shard, the oldest first.
        count: How many go; fewer than there are.
        primary_id: Who stays whatever happens.
        zones: Of all nodes in the end, where a caller wants them; else empty.
        is_multi_az: Two nodes or more must not be in one zone.
    """
    kept, gone = list(shard), list[Member]()

    def loss(member: Member) -> tuple[int, bool, bool, bool, int, int, int]:
        left = Counter(other.node.zone for other in kept if other is not member)
        missing = (Counter(zones) - left).total()
        is_alone = is_multi_az and len(left) == 1
        crowd = sum(number * number for number in left.values())
        return (
            missing,
            is_alone,
            member.serves,
            member.is_in_sync,
            crowd,
            -member.lag_bytes,
            -kept.index(member),
        )

    for _ in range(count):
        least = min((one for one in kept if one.node.node_id != primary_id), key=loss)
        kept.remove(least)
        gone.append(least)
    return tuple(member.node for member in gone)
