"""What can each way of keeping writes lose, and what does it cost?

Four groups of a primary and a replica that differ in their parameter group alone. One connection
writes numbers at full speed until the process behind it is killed; the loss is what the engine had
acknowledged and nobody has afterwards. Killed is the primary, and then every node at once. These
are ends of processes: what an engine has handed to the kernel outlives them, a power cut it does
not (`appendfsync everysec` may lose up to two seconds then, `always` nothing).
"""

from __future__ import annotations

import contextlib
import csv
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from bench import groups, processes, world
from bench.deployment import Deployment
from bench.engines import NoAnswer
from bench.groups import Group
from bench.measure import Comparison, Figure, Target, sample
from bench.raw import Numbered, missing
from bench.world import World, say

#: Long enough for thousands of writes.
_FLOOD_S = 0.3
_REQUESTS = 60_000
_BENCHMARK_TIMEOUT_S = 120.0
_SERVES_TIMEOUT_S = 60.0
_REPLICATION = "replication (default)"
_MODES: Mapping[str, Mapping[str, str]] = {
    _REPLICATION: {},
    "wait: `min-replicas-to-write 1`": {"min-replicas-to-write": "1"},
    "`appendonly yes`, `appendfsync everysec`": {"appendonly": "yes", "appendfsync": "everysec"},
    "`appendonly yes`, `appendfsync always`": {"appendonly": "yes", "appendfsync": "always"},
}
_KEYS = ("replication", "wait", "everysec", "always")
_NO_LOSS = Target(bound=0, is_minimum=False, share=1.0)


@dataclass(kw_only=True)
class _Losses:
    """What one way of keeping writes lost, in each run."""

    primary: list[float] = field(default_factory=list)
    everything: list[float] = field(default_factory=list)
    acknowledged: list[int] = field(default_factory=list)
    #: From the kill of the primary until the first write is taken again.
    silent_ms: list[float] = field(default_factory=list)


def measure_durability(within: World) -> Iterator[Figure]:
    """Losses of all ways, then their speed."""
    losses = {mode: _Losses() for mode in _MODES}
    with world.running_server(within) as server, contextlib.closing(server.client()) as api:
        names = {mode: _parameters(api, mode) for mode in _MODES}
        for number in within.rounds(5, 1):
            for mode, found in losses.items():
                _lose(api, names[mode], found)
                say(
                    f"  {number + 1} {mode}: lost {found.primary[-1]:.0f} with the primary, "
                    f"{found.everything[-1]:.0f} with all nodes"
                )
        speeds = _speeds(within, api, names)
    for key, mode in zip(_KEYS, _MODES, strict=True):
        yield from _figures(key, mode, losses[mode], speeds)


def _figures(
    key: str, mode: str, found: _Losses, speeds: Mapping[str, list[float]]
) -> Iterator[Figure]:
    runs, writes = len(found.primary), sum(found.acknowledged)
    silent = sample("ms", found.silent_ms)
    yield Figure(
        key=f"durability-{key}-primary",
        what=f"acknowledged writes lost with kill -9 of the primary under full load, {mode}",
        ours=sample("in a run", found.primary),
        target=None,
        note=f"{runs} runs, {writes:,} acknowledged writes in all kills. Writes were taken again "
        f"after {silent.median:.0f} ms (worst {silent.high:.0f}).",
    )
    yield Figure(
        key=f"durability-{key}-all",
        what=f"acknowledged writes lost with kill -9 of all nodes under full load, {mode}",
        ours=sample("in a run", found.everything),
        target=_NO_LOSS if "appendonly" in mode else None,
        note=f"{runs} runs.",
    )
    if mode != _REPLICATION:
        yield Figure(
            key=f"durability-{key}-speed",
            what=f"throughput of SET, P=16, {mode}",
            ours=sample("/s", speeds[mode]),
            baseline_name=_REPLICATION,
            baseline=sample("/s", speeds[_REPLICATION]),
            comparison=Comparison.RATIO,
            target=None,
            note="50 connections, 64 byte values, one replica.",
        )


def _parameters(api: Any, mode: str) -> dict[str, str]:
    values = _MODES[mode]
    return {"CacheParameterGroupName": groups.parameter_group(api, values)} if values else {}


def _lose(api: Any, parameters: Mapping[str, str], found: _Losses) -> None:
    """Kill the primary of a fresh group in the middle of writes, later all of its nodes."""
    with groups.running(api, shards=1, cluster_mode=False, further=parameters) as group:
        shard = group.engines.shards[0]
        taken, held, silent_s = _flood(group, (group.engines.primary_of(shard),))
        found.primary.append(missing(taken, held))
        found.silent_ms.append(1000 * silent_s)
        found.acknowledged.append(len(taken))
        taken, held, _ = _flood(group, shard.addresses)
        found.everything.append(missing(taken, held))
        found.acknowledged.append(len(taken))


def _flood(group: Group, victims: tuple[str, ...]) -> tuple[list[int], object, float]:
    """Write until the end of `victims`; return what was taken, what is held, and the silence."""
    found = group.engines
    writer = Numbered(found.host, f"flood-{len(victims)}")
    pids = [found.pid_of(address) for address in victims]
    with contextlib.closing(writer):
        killer = processes.kill_later(pids, _FLOOD_S)
        writer.flood(time.monotonic() + _SERVES_TIMEOUT_S)
        killer.join()
        begin_s = time.monotonic()
    processes.wait_until(lambda: _takes_writes(found), "writes are taken", _SERVES_TIMEOUT_S)
    silent_s = time.monotonic() - begin_s
    group.wait_until_settled()
    held = found.asker.ask(found.primary_of(found.shards[0]), "LRANGE", writer.key, "0", "-1")
    return writer.taken, held, silent_s


def _takes_writes(found: Deployment) -> bool:
    with contextlib.suppress(NoAnswer):
        return found.asker.ask(found.host, "SET", "probe", "1") == b"OK"
    return False


def _speeds(
    within: World, api: Any, names: Mapping[str, Mapping[str, str]]
) -> dict[str, list[float]]:
    """Measure all ways in turn, so that whatever drifts on the machine drifts for all."""
    speeds: dict[str, list[float]] = {mode: [] for mode in names}
    with contextlib.ExitStack() as held:
        hosts = {
            mode: held.enter_context(
                groups.running(api, shards=1, cluster_mode=False, further=parameters)
            ).engines.host
            for mode, parameters in names.items()
        }
        for _ in within.rounds(11, 2):
            for mode, host in hosts.items():
                speeds[mode].append(_speed(within, host))
    return speeds


def _speed(within: World, host: str) -> float:
    assert within.build.benchmark is not None  # the distribution's builds have one
    words = ["-h", host, "-t", "set", "-P", "16", "-c", "50", "-d", "64", "-r", "100000"]
    said = processes.run_to_end(
        [within.build.benchmark, *words, "-n", str(_REQUESTS), "--csv"],
        timeout_s=_BENCHMARK_TIMEOUT_S,
    )
    rows = list(csv.DictReader(said.splitlines()))
    return float(rows[0]["rps"])
