"""How long until a changed parameter is in force on thirty nodes?

The engines are asked themselves (`INFO` shows the eviction policy), and then the API must say that
all nodes are in sync: both are what a caller waits for. Beside it, thirty bare engines that are
told by hand, one after the other.
"""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Iterator, Sequence
from typing import Any

from bench import engines, processes, world
from bench.engines import Asker
from bench.measure import Comparison, Figure, Target, sample
from bench.world import GROUP_TIMEOUT_S, World, say

_GROUPS, _NODES_A_GROUP = 5, 6
_PARAMETER_GROUP = "bench"
_PARAMETER = "maxmemory-policy"
_VALUES = ("allkeys-lru", "volatile-ttl")


def measure_parameters(within: World) -> Iterator[Figure]:
    """Change one parameter of the group that all nodes use, again and again."""
    values = itertools.cycle(_VALUES)
    ours, theirs = [], []
    by_hand = engines.free_addresses(_GROUPS * _NODES_A_GROUP)
    with (
        world.running_server(within) as server,
        contextlib.closing(server.client()) as api,
        contextlib.closing(Asker()) as asker,
        engines.running_engines(within, {"save": ""}, by_hand),
    ):
        addresses = _create(api)
        for number in within.rounds(15, 3):
            value = next(values)
            ours.append(_change(api, asker, addresses, value))
            theirs.append(_tell(asker, by_hand, value))
            say(f"  {number + 1}: {ours[-1]:.3f} s, by hand {theirs[-1]:.3f} s")
    yield Figure(
        key="parameter-30",
        what="change a parameter of 30 nodes until every engine and the API say so",
        ours=sample("s", ours),
        baseline_name="`CONFIG SET` on 30 bare engines, one after the other",
        baseline=sample("s", theirs),
        comparison=Comparison.ALONE,
        target=Target(bound=1.0, is_minimum=False),
        note="5 groups of 6 nodes with one parameter group, from the call of ModifyCache"
        "ParameterGroup.",
    )


def _create(api: Any) -> list[str]:
    """Create the groups and return the addresses of their nodes."""
    api.create_cache_parameter_group(
        CacheParameterGroupName=_PARAMETER_GROUP,
        CacheParameterGroupFamily="valkey9",
        Description="measured",
    )
    for number in range(_GROUPS):
        api.create_replication_group(
            ReplicationGroupId=f"bench{number}",
            ReplicationGroupDescription="measured",
            Engine="valkey",
            EngineVersion=world.VERSION,
            CacheNodeType=world.NODE_TYPE,
            NumCacheClusters=_NODES_A_GROUP,
            CacheParameterGroupName=_PARAMETER_GROUP,
        )
    processes.wait_until(
        lambda: set(world.statuses(api).values()) == {"available"},
        "the groups are there",
        GROUP_TIMEOUT_S,
    )
    clusters = api.describe_cache_clusters(ShowCacheNodeInfo=True)["CacheClusters"]
    return [node["Endpoint"]["Address"] for c in clusters for node in c["CacheNodes"]]


def _change(api: Any, asker: Asker, addresses: Sequence[str], value: str) -> float:
    begin_s = time.monotonic()
    api.modify_cache_parameter_group(
        CacheParameterGroupName=_PARAMETER_GROUP,
        ParameterNameValues=[{"ParameterName": _PARAMETER, "ParameterValue": value}],
    )
    processes.wait_until(
        lambda: all(_runs_with(asker, address, value) for address in addresses),
        f"all engines run with {value}",
        GROUP_TIMEOUT_S,
    )
    processes.wait_until(lambda: _is_in_sync(api), "the API says so", GROUP_TIMEOUT_S)
    return time.monotonic() - begin_s


def _tell(asker: Asker, addresses: Sequence[str], value: str) -> float:
    begin_s = time.monotonic()
    for address in addresses:
        asker.ask(address, "CONFIG", "SET", _PARAMETER, value)
    processes.wait_until(
        lambda: all(_runs_with(asker, address, value) for address in addresses),
        f"all engines run with {value}",
        GROUP_TIMEOUT_S,
    )
    return time.monotonic() - begin_s


def _runs_with(asker: Asker, address: str, value: str) -> bool:
    info = asker.ask(address, "INFO", "memory")
    return isinstance(info, bytes) and f"maxmemory_policy:{value}\r".encode() in info


def _is_in_sync(api: Any) -> bool:
    clusters = api.describe_cache_clusters()["CacheClusters"]
    states = {c["CacheParameterGroup"]["ParameterApplyStatus"] for c in clusters}
    return states == {"in-sync"}
