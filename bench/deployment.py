"""Which engines make up what is measured, and who of them is the primary now?

A `Deployment` is the same thing for a group of the service and for engines that nobody manages: the
engines are asked themselves, by the same words. What a manager believes is no measurement.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from bench import engines, processes
from bench.engines import Asker, NoAnswer
from bench.processes import BenchFailed
from cachewright.model.slots import SLOT_COUNT, SlotRange, SlotRanges, parse_ranges

#: What comes back after a failure: a node, its sync, and what the manager says about it.
WHOLE_TIMEOUT_S = 120.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Shard:
    """A part of the slots, and the nodes that were made for it."""

    shard_id: str
    slots: SlotRanges
    addresses: tuple[str, ...]


@dataclass(kw_only=True)
class Deployment:
    """A running cluster, or one primary with its replicas where cluster mode is disabled."""

    #: What a client is told to connect to.
    host: str
    cluster_enabled: bool
    shards: tuple[Shard, ...]
    port: int = engines.PORT
    asker: Asker = field(default_factory=Asker)

    @cached_property
    def slots(self) -> dict[str, SlotRanges]:
        """The slots by shard id."""
        return {shard.shard_id: shard.slots for shard in self.shards}

    def primary_of(self, shard: Shard) -> str:
        """Return the address of the one engine of a shard that says it is the primary."""
        found = [a for a, role in self._roles(shard).items() if role[0] == b"master"]
        if len(found) != 1:
            raise BenchFailed(f"shard {shard.shard_id} has primaries {found}, not one")
        return found[0]

    def replica_of(self, shard: Shard) -> str:
        """Return the address of a replica of a shard."""
        found = [a for a, role in self._roles(shard).items() if role[0] == b"slave"]
        if not found:
            raise BenchFailed(f"shard {shard.shard_id} has no replica")
        return found[0]

    def pid_of(self, address: str) -> int:
        """Return the process of an engine, as it says itself."""
        for line in self.text(address, "INFO", "server").splitlines():
            if line.startswith(b"process_id:"):
                return int(line.partition(b":")[2])
        raise BenchFailed(f"the engine at {address} does not say its process id")

    def identities(self) -> frozenset[tuple[str, int, int]]:
        """Return which process is behind each address; its start time tells a reused pid."""
        pids = {a: self.pid_of(a) for shard in self.shards for a in shard.addresses}
        return frozenset((a, pid, processes.start_ticks(pid)) for a, pid in pids.items())

    def is_whole(self) -> bool:
        """Tell whether each shard has one primary that all its other nodes are in sync with."""
        return all(self.is_shard_whole(shard) for shard in self.shards)

    def is_shard_whole(self, shard: Shard) -> bool:
        """Tell whether all nodes of a shard are there, one as the primary, the others in sync."""
        with contextlib.suppress(NoAnswer):
            roles = self._roles(shard)
            replicas = [role for role in roles.values() if role[0] == b"slave"]
            followers = [role[2] for role in roles.values() if role[0] == b"master"]
            expected = len(shard.addresses) - 1
            if len(replicas) != expected or [len(f) for f in followers] != [expected]:
                return False
            if any(role[3] != b"connected" for role in replicas):
                return False
            return not self.cluster_enabled or all(
                b"cluster_state:ok" in self.text(a, "CLUSTER", "INFO") for a in shard.addresses
            )
        return False

    def wait_until_whole(self, timeout_s: float = WHOLE_TIMEOUT_S) -> None:
        """Return when every shard is whole."""
        processes.wait_until(self.is_whole, "all shards whole", timeout_s)

    def kill_primary(self, shard: Shard) -> float:
        """End the primary of a shard as a crash does; return when, on the monotonic clock."""
        return self.kill(self.primary_of(shard))

    def kill(self, *addresses: str) -> float:
        """End engines as crashes do, all at once; return when, on the monotonic clock."""
        pids = [self.pid_of(address) for address in addresses]
        at_s = time.monotonic()
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        return at_s

    def text(self, address: str, *words: str) -> bytes:
        """Return an answer that is a string; nothing for any other."""
        answer = self.asker.ask(address, *words)
        return answer if isinstance(answer, bytes) else b""

    def _roles(self, shard: Shard) -> dict[str, list[Any]]:
        """Return what the engines of a shard answer to ROLE, those that answer it."""
        found = {}
        for address in shard.addresses:
            with contextlib.suppress(NoAnswer):
                answer = self.asker.ask(address, "ROLE")
                if isinstance(answer, list):
                    found[address] = answer
        return found


def deployment_of(api: Any, name: str) -> Deployment:
    """Return a group of the service, as `describe` says what belongs to it."""
    group = api.describe_replication_groups(ReplicationGroupId=name)["ReplicationGroups"][0]
    pages = api.get_paginator("describe_cache_clusters").paginate(ShowCacheNodeInfo=True)
    addresses = {
        cluster["CacheClusterId"]: str(cluster["CacheNodes"][0]["Endpoint"]["Address"])
        for page in pages
        for cluster in page["CacheClusters"]
        if cluster.get("ReplicationGroupId") == name
    }
    is_cluster = bool(group["ClusterEnabled"])
    shards = tuple(
        Shard(
            shard_id=shard["NodeGroupId"],
            slots=parse_ranges(shard["Slots"]) if is_cluster else all_slots(),
            addresses=tuple(addresses[m["CacheClusterId"]] for m in shard["NodeGroupMembers"]),
        )
        for shard in group["NodeGroups"]
    )
    found = group.get("ConfigurationEndpoint") or group["NodeGroups"][0]["PrimaryEndpoint"]
    return Deployment(
        host=str(found["Address"]),
        port=int(found["Port"]),
        cluster_enabled=is_cluster,
        shards=shards,
    )


def all_slots() -> SlotRanges:
    """Return what the only shard of a deployment has."""
    return (SlotRange(0, SLOT_COUNT - 1),)


@contextlib.contextmanager
def closing(deployment: Deployment) -> Iterator[Deployment]:
    """Close the connections of a deployment after the block."""
    try:
        yield deployment
    finally:
        deployment.asker.close()
