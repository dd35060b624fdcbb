"""Which share of the time are writes acknowledged while something dies every half minute?

Every 30 s a node that is drawn by lot, primary or replica, gets SIGKILL. Each shard has a writer;
of a writer's time all that is between two acknowledged writes further apart than 10 ms counts as
lost, the healthy pace included.
"""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass

from bench import alone, groups, world
from bench.deployment import Deployment
from bench.engines import NoAnswer
from bench.measure import Figure, Target, sample
from bench.processes import BenchFailed
from bench.watch import Watch, watching
from bench.world import World, say

_EVERY_S, _DURATION_S = 30.0, 1800.0
_QUICK_EVERY_S, _QUICK_DURATION_S = 6.0, 30.0
#: The engine alone shows what it does in less time.
_BASELINE_DURATION_S = 300.0
#: What systemd does with `Restart=always` unless told otherwise.
_RESTART_S = 0.1
_SEED = 4
_TARGET = Target(bound=99.9, is_minimum=True, share=0.0)


@dataclass(kw_only=True)
class Ordeal:
    """What the writers of all shards had."""

    #: In percent, of each writer.
    shares: list[float]
    kills: int
    primaries: int
    lost: int
    longest_s: float
    duration_s: float


def measure_availability(within: World) -> Iterator[Figure]:
    """Half an hour of ours, and a shorter time of the same engines alone."""
    duration_s = _QUICK_DURATION_S if within.quick else _DURATION_S
    with (
        world.running_server(within) as server,
        contextlib.closing(server.client()) as api,
        groups.running(api, shards=3) as group,
        watching(group.engines) as watch,
    ):
        ours = _endure(within, group.engines, watch, duration_s)
        group.wait_until_settled()
        ours.lost = watch.lost()
    with (
        alone.running_cluster(within, shards=3) as (found, nodes),
        alone.supervised(nodes, _RESTART_S),
        watching(found) as watch,
    ):
        theirs = _endure(within, found, watch, min(duration_s, _BASELINE_DURATION_S))
        theirs.lost = watch.lost()
    yield Figure(
        key="availability",
        what=f"availability of writes, 3 x 2, {ours.duration_s / 60:.0f} min with a random kill -9 "
        f"every {_QUICK_EVERY_S if within.quick else _EVERY_S:g} s",
        ours=sample("%", ours.shares),
        baseline_name="engine alone, each node started again after 0.1 s, "
        f"{theirs.duration_s / 60:.0f} min",
        baseline=sample("%", theirs.shares),
        target=_TARGET,
        note=f"One value for each of 3 writers. {ours.kills} kills, {ours.primaries} of primaries; "
        f"longest gap {1000 * ours.longest_s:.0f} ms; acknowledged writes lost: {ours.lost}. The "
        f"engine alone: {theirs.kills} kills, {theirs.primaries} of primaries, longest gap "
        f"{1000 * theirs.longest_s:,.0f} ms, lost: {theirs.lost:,} (a primary that is started "
        "again at once comes back empty and empties its replica).",
        details={"lost": ours.lost, "baseline_lost": theirs.lost, "kills": ours.kills},
    )


def _endure(within: World, found: Deployment, watch: Watch, duration_s: float) -> Ordeal:
    """Kill a random node again and again."""
    lots = random.Random(_SEED)  # noqa: S311 not a secret
    every_s = _QUICK_EVERY_S if within.quick else _EVERY_S
    addresses = [address for shard in found.shards for address in shard.addresses]
    watch.wait_for_writes()
    begin_s, kills, primaries = time.monotonic(), 0, 0
    while (due_s := begin_s + (kills + 1) * every_s) < begin_s + duration_s:
        time.sleep(max(0, due_s - time.monotonic()))
        address = lots.choice(addresses)
        with contextlib.suppress(BenchFailed):
            primaries += any(found.primary_of(shard) == address for shard in found.shards)
        _kill_if_there(found, address)
        kills += 1
        if within.quick or kills % 4 == 0:
            worst = min(watch.availability(begin_s))
            say(f"  {kills} kills, {time.monotonic() - begin_s:.0f} s: {worst:.3f} %")
    time.sleep(max(0, begin_s + duration_s - time.monotonic()))
    return Ordeal(
        shares=watch.availability(begin_s),
        kills=kills,
        primaries=primaries,
        lost=0,
        longest_s=watch.longest_gap_s(found.slots, begin_s),
        duration_s=duration_s,
    )


def _kill_if_there(found: Deployment, address: str) -> None:
    """Kill a node; one that is not back yet is left out."""
    with contextlib.suppress(BenchFailed, NoAnswer, ProcessLookupError):
        found.kill(address)
