"""What does a planned failover cost clients, beside the engine's own `CLUSTER FAILOVER`?

Ours is `TestFailover`, as a caller has it: a replica takes over, then the old primary is replaced.
Numbered writes go on meanwhile; the figure is the gap between two acknowledged ones, and none may
be missing afterwards. Groups with and without cluster mode are asked in turn, so that one recovers
while the other hands over.
"""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Iterator

from bench import alone, engines, groups, processes, world
from bench.deployment import Deployment, Shard
from bench.failover import Kills
from bench.groups import Group
from bench.measure import Comparison, Figure, Target
from bench.processes import BenchFailed
from bench.watch import Watch, watching
from bench.world import World, say

_QUOTA = ("--quota", "test-failovers-per-day=1000")
_SWITCH_TIMEOUT_S = 60.0
#: A role has changed when the engines say so; a gap may still be under way then.
_AFTER_S = 0.2
_RATIO = Target(bound=1.2, is_minimum=False)
_GAP = Target(bound=50.0, is_minimum=False, share=0.95)


def measure_handover(within: World) -> Iterator[Figure]:
    """Hand over 300 times in all, half of them with cluster mode enabled."""
    cluster, disabled = _ours(within)
    raw = _raw(within)
    yield _figure("handover-cluster-ratio", "3 x 2", cluster, raw, _RATIO)
    yield _figure("handover-cluster", "3 x 2", cluster, raw, _GAP)
    yield _figure("handover-disabled", "1 + 1, cluster mode disabled", disabled, raw, _GAP)


def _ours(within: World) -> tuple[Kills, Kills]:
    cluster, disabled = Kills(), Kills()
    with (
        world.running_server(within, *_QUOTA) as server,
        contextlib.closing(server.client()) as api,
        groups.running(api, shards=3) as one,
        groups.running(api, shards=1, cluster_mode=False) as two,
        watching(one.engines) as first,
        watching(two.engines) as second,
    ):
        shards = itertools.cycle(one.engines.shards)
        for number in within.rounds(150, 3):
            _hand_over(one, next(shards), first, cluster)
            _hand_over(two, two.engines.shards[0], second, disabled)
            if number % 10 == 9 or within.quick:
                say(
                    f"  {number + 1}: {cluster.gaps_ms[-1]:.1f} ms, cluster mode disabled "
                    f"{disabled.gaps_ms[-1]:.1f} ms"
                )
        cluster.lost, disabled.lost = first.lost(), second.lost()
    return cluster, disabled


def _figure(key: str, shape: str, ours: Kills, raw: Kills, target: Target) -> Figure:
    runs = len(ours.gaps_ms)
    broken = (f"{ours.lost} acknowledged writes lost.",) if ours.lost else ()
    return Figure(
        key=key,
        what=f"planned failover (`TestFailover`) of {shape}, gap of acknowledged writes",
        ours=ours.sample(),
        baseline_name="`CLUSTER FAILOVER` to a replica of 3 x 2 by hand",
        baseline=raw.sample(),
        comparison=Comparison.TO_MEDIAN if target is _RATIO else Comparison.ALONE,
        target=target,
        broken=broken,
        note=f"Lost acknowledged writes in {runs} runs: {ours.lost}; by hand in "
        f"{len(raw.gaps_ms)} runs: {raw.lost}.",
        details={"lost": ours.lost, "baseline_lost": raw.lost},
    )


def _hand_over(group: Group, shard: Shard, watch: Watch, kept: Kills) -> None:
    watch.wait_for_writes()
    before, at_s = group.engines.primary_of(shard), time.monotonic()
    group.api.test_failover(ReplicationGroupId=group.name, NodeGroupId=shard.shard_id)
    _wait_until_other(group.engines, shard, before)
    kept.keep(watch, {shard.shard_id}, at_s, group.wait_until_settled)


def _raw(within: World) -> Kills:
    """Let a replica take over by the engine's own words, shard after shard."""
    kept = Kills()
    with alone.running_cluster(within, shards=3) as (found, _), watching(found) as watch:
        shards = itertools.cycle(found.shards)
        for _ in within.rounds(150, 3):
            shard = next(shards)
            found.wait_until_whole()
            watch.wait_for_writes()
            before, replica = found.primary_of(shard), found.replica_of(shard)
            at_s = time.monotonic()
            if found.text(replica, "CLUSTER", "FAILOVER") != b"OK":
                raise BenchFailed(f"{replica} refuses CLUSTER FAILOVER")
            _wait_until_other(found, shard, before)
            kept.keep(watch, {shard.shard_id}, at_s)
        kept.lost = watch.lost()
    return kept


def _wait_until_other(found: Deployment, shard: Shard, before: str) -> None:
    def is_other() -> bool:
        with contextlib.suppress(BenchFailed, engines.NoAnswer):
            return found.primary_of(shard) != before
        return False

    processes.wait_until(is_other, f"shard {shard.shard_id} is handed over", _SWITCH_TIMEOUT_S)
    time.sleep(_AFTER_S)
