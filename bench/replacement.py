"""How long until a node that was lost is there again with all data?

From SIGKILL of a replica with 100 MB, or of its primary, until the engine that takes its place is
in sync: the engines of the shard say so themselves.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

from bench import groups, processes, world
from bench.deployment import WHOLE_TIMEOUT_S, Deployment
from bench.measure import Figure, Target, sample
from bench.slowness import fill
from bench.world import World, say

_BYTES = 100 << 20
#: Two ends of each of two nodes; the service holds a node back that ends more often.
_ROUNDS_PER_GROUP = 4


def measure_replacement(within: World) -> Iterator[Figure]:
    """Kill replicas and primaries in turn."""
    took_s: list[float] = []
    wanted = len(within.rounds(20, 2))
    with world.running_server(within) as server, contextlib.closing(server.client()) as api:
        while len(took_s) < wanted:
            with groups.running(api, shards=1) as group:
                found = group.engines
                fill(found.primary_of(found.shards[0]), _BYTES)
                for _ in range(min(_ROUNDS_PER_GROUP, wanted - len(took_s))):
                    group.wait_until_settled()
                    took_s.append(_lose(found, is_primary=len(took_s) % 2 == 1))
                    say(f"  {len(took_s)}: {took_s[-1]:.2f} s")
    yield Figure(
        key="replacement-100mb",
        what="kill -9 of a node with 100 MB until its replacement is in sync",
        ours=sample("s", took_s),
        target=Target(bound=3.0, is_minimum=False, share=0.95),
        note="Replicas and primaries in turn, 1 x 2; the second end of a node within ten minutes "
        "waits 0.5 s on purpose.",
    )


def _lose(found: Deployment, *, is_primary: bool) -> float:
    shard = found.shards[0]
    address = found.primary_of(shard) if is_primary else found.replica_of(shard)
    at_s = found.kill(address)
    processes.wait_until(lambda: found.is_shard_whole(shard), "in sync", WHOLE_TIMEOUT_S)
    return time.monotonic() - at_s
