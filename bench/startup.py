"""How long from typing `up` to ready, and how much memory does the server hold when idle?"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

from bench import baselines, processes, world
from bench.baselines import NoBaseline
from bench.measure import Figure, Skipped, Target, sample
from bench.world import World, say

_IDLE_S = 2.0
_START = "`up` until ready"
_MEMORY = "resident memory of the idle server"


def measure_startup(within: World) -> Iterator[Figure | Skipped]:
    """Start, wait until ready, ask one thing, look at the memory, stop; each beside MiniStack."""
    ready_s, cpu_s, memory = [], [], []
    their_ready_s: list[float] = []
    their_memory: list[dict[str, float]] = []
    reason = ""
    # The first start of each compiles its modules.
    _ours(within)
    with contextlib.suppress(NoBaseline):
        _theirs(within)
    for number in within.rounds(9, 3):
        ready, cpu, held = _ours(within)
        ready_s.append(ready)
        cpu_s.append(cpu)
        memory.append(held)
        try:
            their_ready, their_held = _theirs(within)
            their_ready_s.append(their_ready)
            their_memory.append(their_held)
        except NoBaseline as error:
            reason = str(error)
        say(f"  start {number + 1}: {ready:.2f} s ({cpu:.2f} s CPU), {held['rss']:.0f} MB")
    has_rival = not reason
    name = f"MiniStack {baselines.versions()['ministack']}" if has_rival else ""
    note = f"MiniStack was not measured: {reason}. " if reason else ""
    yield Figure(
        key="up-ready",
        what=_START,
        ours=sample("s", ready_s),
        baseline_name=name,
        baseline=sample("s", their_ready_s) if has_rival else None,
        target=Target(bound=0.6, is_minimum=False),
        note=(
            f"{note}Of it CPU time: {sample('s', cpu_s).median:.2f} s. "
            "The target is a number of seconds, not a ratio."
        ),
        details={"cpu_median_s": sample("s", cpu_s).median},
    )
    yield Figure(
        key="idle-memory",
        what=_MEMORY,
        ours=sample("MB", (one["rss"] for one in memory)),
        baseline_name=name,
        baseline=sample("MB", (one["rss"] for one in their_memory)) if has_rival else None,
        target=Target(bound=60.0, is_minimum=False),
        note=(
            f"{note}RSS, {_IDLE_S:g} s after a first describe. PSS: "
            f"{sample('MB', (one['pss'] for one in memory)).median:.1f} MB."
        ),
        details={"pss_median_mb": sample("MB", (one["pss"] for one in memory)).median},
    )


def _ours(within: World) -> tuple[float, float, dict[str, float]]:
    with world.running_server(within) as server:
        ready_s = time.monotonic() - server.started_s
        cpu_s = processes.cpu_s(server.process.pid)
        with contextlib.closing(server.client()) as api:
            api.describe_replication_groups()
        time.sleep(_IDLE_S)
        return ready_s, cpu_s, processes.memory_mb(server.process.pid)


def _theirs(within: World) -> tuple[float, dict[str, float]]:
    port = processes.free_port()
    with baselines.running(within, baselines.ministack(port), port) as rival:
        with contextlib.closing(world.client(rival.url, baselines.KEY_ID, baselines.SECRET)) as api:
            api.describe_replication_groups()
        time.sleep(_IDLE_S)
        return rival.ready_s, processes.memory_mb(rival.pid)
