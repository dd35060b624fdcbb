"""How long from the request to a cluster that takes writes, beside doing it by hand?

Both sides start the same build and end with the same check (`engines.Asker.is_whole`). On our side
the group must also be `available`, so the wait of a real caller is what is measured.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping
from typing import Any

from bench import alone, engines, processes, world
from bench.engines import Asker
from bench.measure import Comparison, Figure, Target, sample
from bench.processes import BenchFailed
from bench.world import GROUP_TIMEOUT_S, World, say

#: What the service sets as well: without it a replica's first sync waits 5 s.
_NO_DELAY = {"repl-diskless-sync-delay": "0"}
#: A describe takes about 5 ms of the same two cores.
_DESCRIBE_EVERY_S = 0.02
_NAME = "bench"


def measure_create(within: World) -> Iterator[Figure]:
    """One node, 3 x 2 and 15 x 2, each beside the way without us."""
    with world.running_server(within) as server, contextlib.closing(server.client()) as api:
        ours, theirs = [], []
        for number in within.rounds(15, 3):
            ours.append(_create_one(api))
            theirs.append(_start_one(within))
            say(f"  one node {number + 1}: {ours[-1]:.3f} s, by hand {theirs[-1]:.3f} s")
        yield Figure(
            key="create-1",
            what="create one node until it answers at its endpoint",
            ours=sample("s", ours),
            baseline_name="bare engine until its first PONG",
            baseline=sample("s", theirs),
            comparison=Comparison.DIFFERENCE,
            target=Target(bound=0.3, is_minimum=False),
            note="Ours ends when the group is `available` and its endpoint answers.",
        )
        yield from _three_by_two(within, api)
        ours, theirs = [], []
        for number in within.rounds(5, 1):
            ours.append(_create(api, shards=15))
            theirs.append(_seeded(within, shards=15))
            say(f"  15 x 2 {number + 1}: {ours[-1]:.2f} s, seeded {theirs[-1]:.2f} s")
        yield Figure(
            key="create-15x2",
            what="create 15 shards of 2 nodes until every slot is writable, replicas in sync",
            ours=sample("s", ours),
            baseline_name="30 engines seeded by hand (`nodes.conf`)",
            baseline=sample("s", theirs),
            comparison=Comparison.RATIO,
            target=Target(bound=1.5, is_minimum=False),
            note="2 s of both are the engine's own wait before a fresh primary takes writes.",
        )


def _three_by_two(within: World, api: Any) -> Iterator[Figure]:
    ours, stock, tuned = [], [], []
    for number in within.rounds(9, 1):
        ours.append(_create(api, shards=3))
        stock.append(_cluster_create(within, {}))
        tuned.append(_cluster_create(within, _NO_DELAY))
        say(
            f"  3 x 2 {number + 1}: {ours[-1]:.2f} s, valkey-cli {stock[-1]:.2f} s, "
            f"without sync delay {tuned[-1]:.2f} s"
        )
    for key, name, baseline, target in (
        ("create-3x2", "", stock, Target(bound=0.35, is_minimum=False)),
        ("create-3x2-no-delay", ", `repl-diskless-sync-delay 0`", tuned, None),
    ):
        yield Figure(
            key=key,
            what="create 3 shards of 2 nodes until every slot is writable, replicas in sync",
            ours=sample("s", ours),
            baseline_name=f"`valkey-cli --cluster create`{name}",
            baseline=sample("s", baseline),
            comparison=Comparison.RATIO,
            target=target,
            note="Both from the start of the engines."
            if target
            else "The same baseline without the engine's default wait of 5 s; no target.",
        )


def _create(api: Any, *, shards: int) -> float:
    """Create a group with one replica a shard; return the seconds until it is whole."""
    begin_s = time.monotonic()
    api.create_replication_group(
        **_request(),
        ClusterMode="enabled",
        NumNodeGroups=shards,
        ReplicasPerNodeGroup=1,
        AutomaticFailoverEnabled=True,
    )
    group = _wait_until_available(api, _DESCRIBE_EVERY_S)
    seed = group["ConfigurationEndpoint"]["Address"]
    with contextlib.closing(Asker()) as asker:
        _wait_until_whole(asker, seed, shards)
        elapsed_s = time.monotonic() - begin_s
    _delete(api)
    return elapsed_s


def _create_one(api: Any) -> float:
    begin_s = time.monotonic()
    api.create_replication_group(**_request(), NumCacheClusters=1, AutomaticFailoverEnabled=False)
    group = _wait_until_available(api, processes.POLL_S)
    with contextlib.closing(Asker()) as asker:
        address = group["NodeGroups"][0]["PrimaryEndpoint"]["Address"]
        processes.wait_until(lambda: asker.answers_ping(address), address, GROUP_TIMEOUT_S)
        elapsed_s = time.monotonic() - begin_s
    _delete(api)
    return elapsed_s


def _start_one(within: World) -> float:
    (address,) = engines.free_addresses(1)
    begin_s = time.monotonic()
    with (
        engines.running_engines(within, {"save": ""}, [address]),
        contextlib.closing(Asker()) as asker,
    ):
        processes.wait_until(lambda: asker.answers_ping(address), address, GROUP_TIMEOUT_S)
        return time.monotonic() - begin_s


def _cluster_create(within: World, further: Mapping[str, str]) -> float:
    """Start six engines and let valkey-cli make a cluster of them."""
    addresses = engines.free_addresses(6)
    with _running_cluster(within, addresses, further) as (asker, begin_s):
        processes.wait_until(
            lambda: all(map(asker.answers_ping, addresses)), "six engines answer", GROUP_TIMEOUT_S
        )
        assert within.build.cli is not None  # the distribution's builds have one
        words = ("--cluster", "create", *(f"{address}:{engines.PORT}" for address in addresses))
        processes.run_to_end(
            [within.build.cli, *words, "--cluster-replicas", "1", "--cluster-yes"],
            timeout_s=GROUP_TIMEOUT_S,
        )
        _wait_until_whole(asker, addresses[0], 3)
        return time.monotonic() - begin_s


def _seeded(within: World, *, shards: int) -> float:
    """Start engines on a map of their cluster that was written beforehand."""
    addresses = engines.free_addresses(2 * shards)
    files = alone.seeds(addresses, shards)
    with _running_cluster(within, addresses, _NO_DELAY, files) as (asker, begin_s):
        _wait_until_whole(asker, addresses[0], shards)
        return time.monotonic() - begin_s


@contextlib.contextmanager
def _running_cluster(
    within: World,
    addresses: list[str],
    further: Mapping[str, str],
    files: Mapping[str, Mapping[str, bytes]] | None = None,
) -> Iterator[tuple[Asker, float]]:
    begin_s = time.monotonic()
    settings = {**engines.cluster_settings(), **further}
    with (
        engines.running_engines(within, settings, addresses, files),
        contextlib.closing(Asker()) as asker,
    ):
        yield asker, begin_s


def _wait_until_whole(asker: Asker, seed: str, shards: int) -> None:
    processes.wait_until(
        lambda: asker.is_whole(seed, shards, 1), f"{shards} x 2 whole", GROUP_TIMEOUT_S
    )


def _request() -> dict[str, Any]:
    return {
        "ReplicationGroupId": _NAME,
        "ReplicationGroupDescription": "measured",
        "Engine": "valkey",
        "EngineVersion": world.VERSION,
        "CacheNodeType": world.NODE_TYPE,
    }


def _wait_until_available(api: Any, poll_s: float) -> dict[str, Any]:
    deadline = time.monotonic() + GROUP_TIMEOUT_S
    while time.monotonic() < deadline:
        answer = api.describe_replication_groups(ReplicationGroupId=_NAME)
        group: dict[str, Any] = answer["ReplicationGroups"][0]
        if group["Status"] == "available":
            return group
        if group["Status"] == "create-failed":
            break
        time.sleep(poll_s)
    raise BenchFailed(f"the group is {group['Status']}")


def _delete(api: Any) -> None:
    api.delete_replication_group(ReplicationGroupId=_NAME)
    processes.wait_until(lambda: not world.statuses(api), "the group is gone", GROUP_TIMEOUT_S)
