"""Whatever the replicas of a shard have applied, and whoever is gone: the furthest takes over."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from cachewright.model.commands import PromoteNode
from cachewright.plan.invariants import violations
from tests.property.plan.groups import make_group
from tests.property.plan.world import Life
from tests.unit.plan.plan_story import Story


@given(
    applied=st.lists(st.integers(0, 3), min_size=1, max_size=3),
    dead=st.sets(st.integers(0, 2), max_size=2),
    shards=st.integers(0, 3),
)
@settings(deadline=None)
def test_who_has_applied_most_takes_over(applied: list[int], dead: set[int], shards: int) -> None:
    """`shards` is 0 where cluster mode is disabled; replicas have so many of four writes."""
    one = Story(
        make_group(shards=max(1, shards), replicas=len(applied), cluster_enabled=shards > 0)
    )
    first, *replicas = [node.node_id for node in one.world.group.spec.shards[0].nodes]
    for node_id, count in zip(replicas, applied, strict=True):
        one.world.engines[node_id].data = frozenset(range(count))
    one.world.kill(first)
    for place in dead:
        if place < len(replicas):
            one.world.kill(replicas[place])
    alive = [n for n in replicas if one.world.engines[n].life is Life.RUNNING]
    plan = one.look()
    assert violations(one.world.group, one.world.observe(), plan) == ()
    promoted = [s.node_id or "" for s in plan.steps if isinstance(s.command, PromoteNode)]
    assert len(promoted) == (1 if alive else 0)
    for node_id in promoted:
        most = max(len(one.world.engines[n].data) for n in alive)
        assert len(one.world.engines[node_id].data) == most
