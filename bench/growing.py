"""What does it cost to change a group otherwise: another replica, another node type, many shards?

The replica comes to a primary with 1 GB; beside it the same engine that is told to follow by hand.
The node type changes where only memory differs. Shards go from 2 to 15 and back under load.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Any

from bench import deployment, engines, groups, processes, resharding, scaling, world
from bench.alone import Nodes
from bench.deployment import Deployment, Shard
from bench.measure import Comparison, Figure, Target, sample
from bench.processes import BenchFailed
from bench.resharding import Took
from bench.slowness import fill
from bench.world import GROUP_TIMEOUT_S, World, say

_BYTES, _QUICK_BYTES = 1 << 30, 20 << 20
#: Holds the data of the replica's row; and a larger type of the same family.
_LARGE, _SMALL, _MEDIUM = "cache.t4g.medium", "cache.t4g.small", "cache.t4g.medium"
_IN_SYNC_TIMEOUT_S = 300.0
_MANY = 15
_MANY_LOAD_PER_S = 10_000.0
_CHANGE_TIMEOUT_S = 60.0


def measure_growing(within: World) -> Iterator[Figure]:
    """A replica, a node type, and 2 -> 15 -> 2 shards."""
    with world.running_server(within) as server, contextlib.closing(server.client()) as api:
        yield _replica(within, api)
        yield _node_type(within, api)
        yield _many(within, api)


def _replica(within: World, api: Any) -> Figure:
    ours_s: list[float] = []
    theirs_s: list[float] = []
    size = _QUICK_BYTES if within.quick else _BYTES
    for number in within.rounds(5, 1):
        ours_s.append(_our_replica(api, size))
        theirs_s.append(_replica_by_hand(within, size))
        say(f"  replica {number + 1}: {ours_s[-1]:.2f} s, by hand {theirs_s[-1]:.2f} s")
    return Figure(
        key="scaling-replica",
        what=f"add a replica to a primary with {size >> 20:,} MB, until it is in sync",
        ours=sample("s", ours_s),
        baseline_name="`replicaof` with the engine's defaults",
        baseline=sample("s", theirs_s),
        comparison=Comparison.RATIO,
        target=Target(bound=0.6, is_minimum=False),
        note="From `IncreaseReplicaCount`, or from the start of the engine by hand. The defaults "
        "wait 5 s for further replicas first.",
    )


def _our_replica(api: Any, size: int) -> float:
    further = {"CacheNodeType": _LARGE}
    with groups.running(api, shards=1, replicas=0, cluster_mode=False, further=further) as group:
        fill(group.engines.primary_of(group.engines.shards[0]), size)
        begin_s = time.monotonic()
        api.increase_replica_count(
            ReplicationGroupId=group.name, NewReplicaCount=1, ApplyImmediately=True
        )
        scaling.wait_until_available(api, group.name, begin_s + _IN_SYNC_TIMEOUT_S)
        took_s = time.monotonic() - begin_s
        with deployment.closing(deployment.deployment_of(api, group.name)) as after:
            # Available is a promise: the engines have to say the same.
            if len(after.shards[0].addresses) != 2 or not after.is_whole():
                raise BenchFailed(f"{group.name} is available and its replica is not in sync")
        return took_s


def _replica_by_hand(within: World, size: int) -> float:
    primary, replica = engines.free_addresses(2)
    settings = {primary: {"save": ""}, replica: {"save": "", "replicaof": f"{primary} 6379"}}
    own = {address: {"bind-source-addr": address} for address in settings}
    nodes = Nodes(within, {address: settings[address] | own[address] for address in settings})
    shard = Shard(shard_id="0001", slots=deployment.all_slots(), addresses=(primary, replica))
    found = Deployment(host=primary, cluster_enabled=False, shards=(shard,))
    with contextlib.closing(nodes), deployment.closing(found):
        nodes.start(primary)
        processes.wait_until(
            lambda: found.asker.answers_ping(primary), "the primary", GROUP_TIMEOUT_S
        )
        fill(primary, size)
        begin_s = time.monotonic()
        nodes.start(replica)
        found.wait_until_whole(_IN_SYNC_TIMEOUT_S)
        return time.monotonic() - begin_s


def _node_type(within: World, api: Any) -> Figure:
    took_s: list[float] = []
    failed, restarts, errors = 0, 0, ""
    with groups.running(api, shards=3, further={"CacheNodeType": _SMALL}) as group:
        before = group.engines.identities()
        for number in within.rounds(10, 2):
            wanted = (_MEDIUM, _SMALL)[number % 2]
            seen = resharding.observe(
                group.engines,
                lambda: Took(_change_type(api, group.name, group.engines, wanted)),  # noqa: B023 called here
                requests_per_s=0.0,
                keys_held=0,
            )
            took_s.append(seen.took.seconds)
            failed += seen.failed
            errors = errors or "; ".join(seen.errors[:1])
            say(f"  {wanted}: {seen.took.seconds:.2f} s, longest wait {seen.stall_ms:.0f} ms")
        restarts = len(before - group.engines.identities())
    broken = [f"{failed} requests failed: {errors}."] if failed else []
    broken += [f"{restarts} engines were restarted."] if restarts else []
    return Figure(
        key="scaling-node-type",
        what="memory-only change of the node type of 6 nodes, until all have it and say so",
        ours=sample("s", took_s),
        target=Target(bound=1.0, is_minimum=False, share=1.0),
        broken=tuple(broken),
        note=f"Failed requests of stock clients: {failed}; engines restarted: {restarts}.",
    )


def _change_type(api: Any, name: str, found: Deployment, wanted: str) -> float:
    before = _limits(found)
    begin_s = time.monotonic()
    api.modify_replication_group(
        ReplicationGroupId=name, CacheNodeType=wanted, ApplyImmediately=True
    )
    scaling.wait_until_available(api, name, begin_s + _CHANGE_TIMEOUT_S)
    processes.wait_until(
        lambda: before.isdisjoint(_limits(found)), "all engines have it", _CHANGE_TIMEOUT_S
    )
    took_s = time.monotonic() - begin_s
    shown = api.describe_replication_groups(ReplicationGroupId=name)["ReplicationGroups"][0]
    if shown["CacheNodeType"] != wanted or len(_limits(found)) != 1:
        raise BenchFailed(f"{name} is {shown['CacheNodeType']} with {_limits(found)}")
    return took_s


def _limits(found: Deployment) -> frozenset[bytes]:
    """Return the different memory limits of all engines."""
    lines = (
        line
        for shard in found.shards
        for address in shard.addresses
        for line in found.text(address, "INFO", "memory").splitlines()
    )
    return frozenset(line for line in lines if line.startswith(b"maxmemory:"))


def _many(within: World, api: Any) -> Figure:
    took_s: list[float] = []
    failed = load_failed = 0
    stall_ms, errors = 0.0, ""
    count = resharding.key_count(within) // 10
    further = {"CacheNodeType": _SMALL, "AutomaticFailoverEnabled": True}
    for _ in within.rounds(1, 1):
        with groups.running(api, shards=2, replicas=0, further=further) as group:
            resharding.fill(group.engines, count)
            for shards in (_MANY, 2):
                more = _removed(api, group.name, shards)
                seen = resharding.observe(
                    group.engines,
                    lambda: scaling.reshard(api, group.name, shards, **more),  # noqa: B023 called here
                    requests_per_s=_MANY_LOAD_PER_S,
                    keys_held=count,
                )
                took_s.append(seen.took.seconds)
                failed += seen.failed
                load_failed += seen.load_failed
                stall_ms, errors = max(stall_ms, seen.stall_ms), errors or "; ".join(seen.errors)
                say(f"  to {shards} shards: {seen.took.seconds:.1f} s, {seen.stall_ms:.0f} ms")
    return Figure(
        key="scaling-2-15-2",
        what=f"2 → {_MANY} → 2 shards under {_MANY_LOAD_PER_S / 1000:g} k requests/s: requests of "
        "clients and load that failed",
        ours=sample("requests", [failed + load_failed]),
        target=Target(bound=0.0, is_minimum=False),
        broken=(f"Failed: {errors}.",) if errors else (),
        note=f"Up in {took_s[0]:.1f} s, down in {took_s[1]:.1f} s, with {count:,} values of 1 kB; "
        f"longest time that a stock client waited: {stall_ms:.0f} ms.",
        details={"up_s": took_s[0], "down_s": took_s[1], "stall_ms": stall_ms},
    )


def _removed(api: Any, name: str, shards: int) -> dict[str, object]:
    """Return which shards are to go, where some are."""
    found = sorted(scaling.shard_ids(api, name))
    return {"NodeGroupsToRemove": found[shards:]} if len(found) > shards else {}
