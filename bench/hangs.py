"""What happens to writes when a primary freezes, and does a slow primary keep its role?

The first figure stops a primary with SIGSTOP, beside engines that decide by themselves after two
seconds. When another has taken over, the frozen one is woken: writes that were waiting in its
sockets, and new ones, are sent to it by a plain client. Each that it takes and that the new primary
does not have is a split brain. The others (`bench.slowness`) must change nothing.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator

from bench import alone, groups, processes, slowness, world
from bench.deployment import Deployment, Shard
from bench.failover import Kills
from bench.measure import Comparison, Figure, Skipped, Target
from bench.raw import Numbered, key_in, missing
from bench.watch import Watch, watching
from bench.world import World, say

_WAITING_WRITES = 20
#: The engines tell each other about a new primary within a second.
_AFTER_WAKING_S = 2.0
_PACE_S = 0.02


def measure_hangs(within: World) -> Iterator[Figure | Skipped]:
    """Freeze primaries; then be slow in all the ways that are no reason to fail over."""
    ours, split = Kills(), 0
    wanted = len(within.rounds(20, 2))
    with world.running_server(within) as server, contextlib.closing(server.client()) as api:
        while len(ours.gaps_ms) < wanted:
            with groups.running(api, shards=3) as group, watching(group.engines) as watch:
                for shard in group.engines.shards * 4:
                    if len(ours.gaps_ms) < wanted:
                        split += _freeze(group.engines, watch, shard, ours)
                        say(f"  SIGSTOP {len(ours.gaps_ms)}: {ours.gaps_ms[-1]:.0f} ms")
                        group.wait_until_settled()
                ours.lost += watch.lost()
    theirs, theirs_split = Kills(), 0
    for number in within.rounds(10, 1):
        with (
            alone.running_cluster(within, shards=3, further={"cluster-node-timeout": "2000"}) as (
                found,
                _,
            ),
            watching(found) as watch,
        ):
            theirs_split += _freeze(found, watch, found.shards[0], theirs)
            theirs.lost += watch.lost()
        say(f"  SIGSTOP alone {number + 1}: {theirs.gaps_ms[-1]:.0f} ms")
    broken = (f"{split} split-brain writes.",) if split else ()
    yield Figure(
        key="hang-stopped",
        what="SIGSTOP of a primary of 3 x 2, gap of acknowledged writes",
        ours=ours.sample(),
        baseline_name="engine alone, `cluster-node-timeout 2000`",
        baseline=theirs.sample(),
        comparison=Comparison.TO_MEDIAN,
        target=Target(bound=1.0, is_minimum=False),
        broken=(*ours.broken(), *broken),
        note=f"Split-brain writes after waking the frozen one: {split} in {len(ours.gaps_ms)} "
        f"runs; the engine alone: {theirs_split} in {len(theirs.gaps_ms)}. {ours.note()} The "
        f"engine alone lost {theirs.lost}.",
        details={"split_brain_writes": split, "baseline_split_brain_writes": theirs_split},
    )
    yield from slowness.measure_slowness(within)


def _freeze(found: Deployment, watch: Watch, shard: Shard, kept: Kills) -> int:
    """Freeze the primary of a shard, wake it later; return the split-brain writes."""
    watch.wait_for_writes()
    old = found.primary_of(shard)
    pid = found.pid_of(old)
    identity = processes.start_ticks(pid)
    plain = Numbered(old, key_in(shard.slots, f"frozen-{len(kept.gaps_ms)}"))
    with contextlib.closing(plain):
        at_s = time.monotonic()
        os.kill(pid, signal.SIGSTOP)
        try:
            plain.send(_WAITING_WRITES)
            kept.keep(watch, {shard.shard_id}, at_s)
        finally:
            with contextlib.suppress(OSError):
                if processes.start_ticks(pid) == identity:
                    os.kill(pid, signal.SIGCONT)
        plain.receive(_AFTER_WAKING_S / 2)
        plain.write_for(_AFTER_WAKING_S, _PACE_S)
    found.wait_until_whole()
    return missing(
        plain.taken, found.asker.ask(found.primary_of(shard), "LRANGE", plain.key, "0", "-1")
    )
