"""How long does nobody acknowledge writes when a primary is killed, beside doing without us?

A stock client writes numbered values to every shard all the time (`bench.watch`). A primary is
ended with SIGKILL; the figure is the longest gap between two acknowledged writes of its shard until
all is well again. Ours and the baselines are killed and watched by the same lines of code.
"""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Callable, Iterator, Mapping, Set
from dataclasses import dataclass, field
from typing import Any

from bench import alone, groups, world
from bench.deployment import Deployment, Shard
from bench.measure import Comparison, Figure, Sample, Target, sample
from bench.watch import Watch, sentinel_client, watching
from bench.world import World, say

#: A gap is looked at for this long; the slowest baseline takes 20 s.
CUT_OFF_S = 30.0
#: Kills of one shard before its group is made anew: two for each of its nodes. The service holds a
#: node back that ends more often.
_KILLS_PER_SHARD = 4
#: So that kills do not keep step with anybody's timer.
_JITTER_S = 0.05
_MS = 1000.0
_FAST = Target(bound=100.0, is_minimum=False, share=0.95)


def _no_wait() -> None:
    """Wait for nothing else: nobody replaces a node of the baselines."""


@dataclass(kw_only=True)
class Kills:
    """What clients saw of some kills."""

    gaps_ms: list[float] = field(default_factory=list)
    #: Nobody took writes again before the cut-off; such a gap counts as the cut-off.
    unserved: int = 0
    #: Acknowledged writes that are nowhere afterwards.
    lost: int = 0

    def sample(self) -> Sample:
        """Return the gaps as a sample."""
        return sample("ms", self.gaps_ms)

    def broken(self) -> tuple[str, ...]:
        """Return what must not have happened."""
        runs = len(self.gaps_ms)
        return (f"{self.unserved} of {runs} not served again.",) if self.unserved else ()

    def note(self) -> str:
        """Return what a reader should know besides the gap."""
        runs = len(self.gaps_ms)
        return (
            f"{runs - self.unserved} of {runs} served again; acknowledged writes lost: {self.lost}."
        )

    def kill(
        self, found: Deployment, watch: Watch, shard: Shard, settle: Callable[[], None] = _no_wait
    ) -> None:
        """Kill the primary of a shard and keep the longest gap until all is well again."""
        watch.wait_for_writes()
        time.sleep(random.uniform(0, _JITTER_S))  # noqa: S311 not a secret
        at_s = found.kill_primary(shard)
        self.keep(watch, {shard.shard_id}, at_s, settle)

    def keep(
        self,
        watch: Watch,
        shard_ids: Set[str],
        at_s: float,
        settle: Callable[[], None] = _no_wait,
    ) -> None:
        """Wait until some shards serve again and `settle` returns; keep their longest gap."""
        if not watch.wait_until_served(shard_ids, at_s, CUT_OFF_S):
            self.unserved += 1
            self.gaps_ms.append(_MS * CUT_OFF_S)
            return
        settle()
        self.gaps_ms.append(_MS * watch.longest_gap_s(shard_ids, at_s))


def measure_failover(within: World) -> Iterator[Figure]:
    """Kill primaries of groups of all shapes."""
    with world.running_server(within) as server, contextlib.closing(server.client()) as api:
        yield from _three_by_two(within, api)
        for shards in (1, 2):
            yield _few_shards(within, api, shards)
        yield _cluster_mode_disabled(within, api)
        yield from _many_at_once(within, api)


def _three_by_two(within: World, api: Any) -> Iterator[Figure]:
    ours = _kill_ours(within, api, shards=3)
    default = _kill_alone(within, 3, {}, within.rounds(3, 1))
    short = _kill_alone(within, 3, {"cluster-node-timeout": "2000"}, within.rounds(5, 1))
    what = "kill -9 of a primary of 3 x 2, gap of acknowledged writes"
    runs = len(default.gaps_ms)
    for key, name, baseline, comparison, target in (
        ("", "engine alone, defaults", default, Comparison.ALONE, _FAST),
        ("-ratio", "engine alone, defaults", default, Comparison.TO_MEDIAN, _at_most(0.01)),
        (
            "-ratio-2000",
            "engine alone, `cluster-node-timeout 2000`",
            short,
            Comparison.TO_MEDIAN,
            _at_most(0.05),
        ),
    ):
        yield Figure(
            key=f"failover-3x2{key}",
            what=what,
            ours=ours.sample(),
            baseline_name=name,
            baseline=baseline.sample(),
            comparison=comparison,
            target=target,
            broken=ours.broken(),
            note=f"{ours.note()} The engine alone: {len(baseline.gaps_ms)} runs, "
            f"lost {baseline.lost}.",
            details={"lost": ours.lost, "baseline_lost": baseline.lost, "baseline_runs": runs},
        )


def _few_shards(within: World, api: Any, shards: int) -> Figure:
    ours = _kill_ours(within, api, shards=shards)
    theirs = _kill_alone(within, shards, {}, range(1))
    return Figure(
        key=f"failover-{shards}x2",
        what=f"kill -9 of a primary of {shards} x 2, gap of acknowledged writes",
        ours=ours.sample(),
        baseline_name=_never_name(theirs),
        target=_FAST,
        broken=ours.broken(),
        note=f"{ours.note()} Looked at the engine alone once.",
        details={"lost": ours.lost},
    )


def _cluster_mode_disabled(within: World, api: Any) -> Figure:
    ours = _kill_ours(within, api, shards=1, replicas=2, cluster_mode=False)
    theirs = Kills()
    for number in within.rounds(10, 1):
        with (
            alone.running_sentinels(within, replicas=2, down_after_ms=1000) as (found, watchers),
            watching(found, connect=sentinel_client(watchers)) as watch,
        ):
            theirs.kill(found, watch, found.shards[0])
            theirs.lost += watch.lost()
        say(f"  3 Sentinels {number + 1}: {theirs.gaps_ms[-1]:.0f} ms")
    return Figure(
        key="failover-disabled",
        what="kill -9 of the primary of 1 + 2, cluster mode disabled, gap of acknowledged writes",
        ours=ours.sample(),
        baseline_name="3 Sentinels, `down-after-milliseconds 1000`",
        baseline=theirs.sample(),
        comparison=Comparison.TO_MEDIAN,
        target=_at_most(0.1),
        broken=ours.broken(),
        note=f"{ours.note()} Sentinel: {len(theirs.gaps_ms)} runs, lost {theirs.lost}; its clients "
        "ask it where the primary is, ours keep the primary endpoint.",
        details={"lost": ours.lost, "baseline_lost": theirs.lost},
    )


def _many_at_once(within: World, api: Any) -> Iterator[Figure]:
    """Fifteen shards: seven primaries at once, and when all is whole again eight."""
    ours = {count: Kills() for count in (7, 8)}
    for number in within.rounds(20, 1):
        with (
            groups.running(api, shards=15) as group,
            watching(group.engines, pace_s=0.02) as watch,
        ):
            for count, kills in ours.items():
                _kill_several(group.engines, watch, kills, count, group.wait_until_settled)
            lost = watch.lost()
        say(f"  15 x 2 {number + 1}: {[f'{k.gaps_ms[-1]:.0f} ms' for k in ours.values()]}")
        ours[7].lost += lost
    for count, kills in ours.items():
        theirs = Kills()
        with (
            alone.running_cluster(within, shards=15) as (found, _),
            watching(found, pace_s=0.02) as watch,
        ):
            _kill_several(found, watch, theirs, count)
        yield Figure(
            key=f"failover-15x2-{count}",
            what=f"kill -9 of {count} of 15 primaries at once until all slots take writes",
            ours=kills.sample(),
            baseline_name=_never_name(theirs),
            target=Target(bound=1000.0, is_minimum=False, share=1.0),
            broken=kills.broken(),
            note=f"{len(kills.gaps_ms) - kills.unserved} of {len(kills.gaps_ms)} served again. "
            f"Acknowledged writes lost in all runs with 15 shards: {ours[7].lost}. Looked at the "
            "engine alone once.",
        )


def _kill_several(
    found: Deployment,
    watch: Watch,
    kills: Kills,
    count: int,
    settle: Callable[[], None] = _no_wait,
) -> None:
    watch.wait_for_writes()
    chosen = random.sample(found.shards, count)
    at_s = found.kill(*(found.primary_of(shard) for shard in chosen))
    kills.keep(watch, set(found.slots), at_s, settle)


def _kill_ours(
    within: World, api: Any, *, shards: int, replicas: int = 1, cluster_mode: bool = True
) -> Kills:
    """Kill primaries of groups until there are enough runs; each group is used a few times."""
    kills, wanted = Kills(), len(within.rounds(60, 4))
    while len(kills.gaps_ms) < wanted:
        with (
            groups.running(
                api, shards=shards, replicas=replicas, cluster_mode=cluster_mode
            ) as group,
            watching(group.engines) as watch,
        ):
            for shard in group.engines.shards * _KILLS_PER_SHARD:
                if len(kills.gaps_ms) < wanted:
                    kills.kill(group.engines, watch, shard, group.wait_until_settled)
            kills.lost += watch.lost()
        latest = [f"{gap:.0f}" for gap in kills.gaps_ms[-_KILLS_PER_SHARD * shards :]]
        say(f"  {shards} x {1 + replicas}, {len(kills.gaps_ms)}: {', '.join(latest)} ms")
    return kills


def _kill_alone(within: World, shards: int, further: Mapping[str, str], rounds: range) -> Kills:
    """Kill a primary of a fresh cluster that nobody manages, once a round."""
    kills = Kills()
    for _ in rounds:
        with (
            alone.running_cluster(within, shards=shards, further=further) as (found, _),
            watching(found) as watch,
        ):
            kills.kill(found, watch, found.shards[0])
            kills.lost += watch.lost() if not kills.unserved else 0
        say(f"  {shards} x 2 alone {dict(further)}: {kills.gaps_ms[-1]:.0f} ms")
    return kills


def _never_name(theirs: Kills) -> str:
    if theirs.unserved:
        return f"engine alone: not within {CUT_OFF_S:g} s"
    return f"engine alone: {theirs.gaps_ms[0]:,.0f} ms"


def _at_most(ratio: float) -> Target:
    return Target(bound=ratio, is_minimum=False, share=0.95)
