"""Do clients of our endpoints get the whole speed of the engine?

The same build runs twice: as a node of the service, reached through its primary endpoint, and
started by hand from a copy of the same configuration. valkey-benchmark asks them in turn, so that
whatever drifts on the machine drifts for both.
"""

from __future__ import annotations

import contextlib
import csv
from collections.abc import Iterator
from pathlib import Path
from typing import TypeAlias

from bench import engines, processes, world
from bench.engines import Asker
from bench.measure import Comparison, Figure, Target, noise, sample
from bench.processes import BenchFailed
from bench.world import GROUP_TIMEOUT_S, Server, World, say

_TESTS = ("SET", "GET")
_CLIENTS = "50"
_KEYS = "100000"
_VALUE_BYTES = "64"
#: About a quarter of a second for each test on two cores: short, so that both sides meet the same
#: disturbances.
_REQUESTS = {1: 16_000, 16: 128_000}
_BENCHMARK_TIMEOUT_S = 300.0
_NAME = "bench"

#: Requests per second and p99 in ms, by test.
Outcome: TypeAlias = dict[str, tuple[float, float]]


def measure_throughput(within: World) -> Iterator[Figure]:
    """Operations per second and p99 of SET and GET, without and with pipelining."""
    with world.running_server(within) as server, contextlib.closing(server.client()) as api:
        api.create_replication_group(
            ReplicationGroupId=_NAME,
            ReplicationGroupDescription="measured",
            Engine="valkey",
            EngineVersion=world.VERSION,
            CacheNodeType=world.NODE_TYPE,
            NumCacheClusters=1,
            AutomaticFailoverEnabled=False,
        )
        world.wait_until_available(api, [_NAME])
        answer = api.describe_replication_groups(ReplicationGroupId=_NAME)
        node = answer["ReplicationGroups"][0]["NodeGroups"][0]
        endpoint = str(node["PrimaryEndpoint"]["Address"])
        with _by_hand(within, server) as address:
            for pipeline in (1, 16):
                yield from _compare(within, endpoint, address, pipeline)


def _compare(within: World, endpoint: str, by_hand: str, pipeline: int) -> Iterator[Figure]:
    found: dict[str, list[Outcome]] = {endpoint: [], by_hand: []}
    for address in found:
        _run(within, address, pipeline)  # fills the keys, warms both
    for number in within.rounds(40, 4):
        # In this order whatever grows or shrinks steadily meanwhile falls on both alike.
        first, second, third, fourth = (
            _run(within, address, pipeline) for address in (endpoint, by_hand, by_hand, endpoint)
        )
        found[endpoint].append(_mean(first, fourth))
        found[by_hand].append(_mean(second, third))
        if (number + 1) % 4:
            continue
        ours, theirs = found[endpoint][-1]["GET"], found[by_hand][-1]["GET"]
        say(f"  P={pipeline} {number + 1}: GET {ours[0]:,.0f}/s, by hand {theirs[0]:,.0f}/s")
    for test in _TESTS:
        for index, (name, unit, target) in enumerate(
            (
                ("throughput", "/s", Target(bound=0.98, is_minimum=True)),
                ("p99", "ms", Target(bound=1.05, is_minimum=False)),
            )
        ):
            yield Figure(
                key=f"engine-{name}-{test.lower()}-p{pipeline}",
                what=f"engine {name}, {test}, P={pipeline}",
                ours=sample(unit, (one[test][index] for one in found[endpoint])),
                baseline_name="same build and configuration, by hand",
                baseline=sample(unit, (one[test][index] for one in found[by_hand])),
                comparison=Comparison.RATIO,
                target=target,
                note=(
                    f"{_CLIENTS} connections, {_VALUE_BYTES} byte values. By hand, one round "
                    f"against the next: {noise(one[test][index] for one in found[by_hand])}."
                ),
            )


@contextlib.contextmanager
def _by_hand(within: World, server: Server) -> Iterator[str]:
    """Run a copy of the service's only engine, with clients let in."""
    (pid,) = server.engines()
    argv = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    if Path(f"/proc/{pid}/exe").readlink() != Path(within.build.server).resolve():
        raise BenchFailed(f"the service runs {argv[0]!r}, not {within.build.server}")
    original = Path(f"/proc/{pid}/cwd").readlink()
    (address,) = engines.free_addresses(1)
    folder = within.fresh_folder()
    lines = (original / "engine.conf").read_text(encoding="ascii").splitlines()
    own = {"bind": address, "bind-source-addr": address}
    kept = [line for line in lines if line.split(" ", 1)[0] not in own]
    kept += [f"{name} {value}" for name, value in own.items()]
    config = folder / "engine.conf"
    config.touch(mode=0o600)
    config.write_text("\n".join([*kept, ""]), encoding="ascii")
    users = (original / "users.acl").read_text(encoding="ascii")
    (folder / "users.acl").touch(mode=0o600)
    (folder / "users.acl").write_text(users.replace("user default off", "user default on"))
    process = processes.spawn(
        [within.build.server, config], folder=folder, output=folder / "output"
    )
    try:
        with contextlib.closing(Asker()) as asker:
            processes.wait_until(lambda: asker.answers_ping(address), address, GROUP_TIMEOUT_S)
        yield address
    finally:
        processes.stop(process)


def _mean(one: Outcome, other: Outcome) -> Outcome:
    return {
        test: ((one[test][0] + other[test][0]) / 2, (one[test][1] + other[test][1]) / 2)
        for test in one
    }


def _run(within: World, address: str, pipeline: int) -> Outcome:
    """Return requests per second and p99 in ms of each test."""
    assert within.build.benchmark is not None  # the distribution's builds have one
    words = ["-h", address, "-p", str(engines.PORT), "-c", _CLIENTS, "-d", _VALUE_BYTES]
    words += ["-r", _KEYS, "-n", str(_REQUESTS[pipeline]), "-P", str(pipeline)]
    said = processes.run_to_end(
        [within.build.benchmark, *words, "-t", ",".join(_TESTS).lower(), "--csv"],
        timeout_s=_BENCHMARK_TIMEOUT_S,
    )
    rows = csv.DictReader(line for line in said.splitlines() if line.startswith('"'))
    found = {row["test"]: (float(row["rps"]), float(row["p99_latency_ms"])) for row in rows}
    if set(found) != set(_TESTS):
        raise BenchFailed(f"valkey-benchmark said: {said[-300:]}")
    return found
