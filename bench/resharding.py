"""What happens while slots are spread anew, whoever does it? Data, load, clients, and how long.

The same for a group of the service and for engines that a command line tool moves slots between:
filled with the same keys, under the same load, watched by the same clients.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from bench import deployment, engines, pressure, processes
from bench.alone import Nodes
from bench.deployment import Deployment, Shard
from bench.pressure import Pressure
from bench.processes import BenchFailed
from bench.world import GROUP_TIMEOUT_S, World
from cachewright.checker import judge, keys, lanes, summary, traffic
from cachewright.checker.clients import Target
from cachewright.checker.pipes import Command, Router
from cachewright.model.builds import Build
from cachewright.model.slots import split_evenly

VALUE_BYTES = 1_000
_BYTES, _QUICK_BYTES = 1_000_000_000, 10_000_000
#: Keys of one request when a cluster is filled.
_AT_ONCE = 2_000
#: Values are cut from this much, so that no two are alike and none can be compressed.
_RANDOM_BYTES = 1 << 20
#: Of the stock clients that watch; they shall not be what is measured.
_WATCHED_PER_S = 400.0
_SLOTS_PER_KEY = 16
_SPREAD_TIMEOUT_S = 120.0
#: So that there is something to compare with, and so that a stall that began has an end.
_BEFORE_S, _AFTER_S = 3.0, 1.0
_TIMEOUT_S = 60.0
#: A slow tool on a busy machine; ends a run that hangs.
_TOOL_TIMEOUT_S = 900.0


class Took(NamedTuple):
    """How long something took."""

    seconds: float
    #: Of it, until the first slot could be moved: the new node was made.
    creating_s: float = 0.0


@dataclass(kw_only=True)
class Seen:
    """What came of one resharding."""

    took: Took
    #: Of the stock clients.
    stall_ms: float
    failed: int
    errors: tuple[str, ...]
    #: Of the load: the share that was not answered, compared with the time before; and failures.
    lost_share: float = 0.0
    load_failed: int = 0
    #: Requests that were answered a second before.
    usual_per_s: float = 0.0


@dataclass(kw_only=True)
class Series:
    """All rounds of one way of doing it."""

    seen: list[Seen] = field(default_factory=list)

    def seconds(self) -> list[float]:
        """Return how long each round took."""
        return [one.took.seconds for one in self.seen]

    def moving_s(self) -> list[float]:
        """Return how long each round took once nodes were there."""
        return [one.took.seconds - one.took.creating_s for one in self.seen]

    def stalls_ms(self) -> list[float]:
        """Return the longest stall of each round."""
        return [one.stall_ms for one in self.seen]

    def lost_percent(self) -> list[float]:
        """Return the share of throughput that each round lost; less than this is noise."""
        return [max(0.1, 100 * one.lost_share) for one in self.seen]

    def lost_in_all(self) -> list[float]:
        """Return how many requests each round lost; a share of what took long is more."""
        shares = (percent / 100 for percent in self.lost_percent())
        return [
            share * one.took.seconds * one.usual_per_s
            for share, one in zip(shares, self.seen, strict=True)
        ]

    def failed(self) -> int:
        """Return how many requests of stock clients failed in all rounds."""
        return sum(one.failed for one in self.seen)

    def load_failed(self) -> int:
        """Return how many requests of the load failed in all rounds."""
        return sum(one.load_failed for one in self.seen)

    def errors(self) -> str:
        """Return what failed requests said, once each, for people."""
        found = dict.fromkeys(error for one in self.seen for error in one.errors)
        return "; ".join(list(found)[:2])


def key_count(within: World) -> int:
    """Return how many keys hold the data."""
    return (_QUICK_BYTES if within.quick else _BYTES) // VALUE_BYTES


def fill(found: Deployment, count: int) -> None:
    """Put a value under each of `count` keys of a cluster."""
    chaos = os.urandom(_RANDOM_BYTES)
    with contextlib.closing(Router(found.host, found.port, timeout_s=_TIMEOUT_S)) as router:
        for first in range(0, count, _AT_ONCE):
            commands = [
                _put(number, chaos) for number in range(first, min(count, first + _AT_ONCE))
            ]
            wrong = [answer for answer in router.request(commands) if answer != b"OK"]
            if wrong:
                raise BenchFailed(f"the cluster cannot be filled: {wrong[0]!r}")


def count_keys(found: Deployment, addresses: Sequence[str]) -> int:
    """Return how many keys some primaries hold together."""
    answers = [found.asker.ask(address, "DBSIZE") for address in addresses]
    return sum(answer for answer in answers if isinstance(answer, int))


def observe(
    found: Deployment, do: Callable[[], Took], *, requests_per_s: float, keys_held: int
) -> Seen:
    """Watch clients while `do` does what takes as long as it says.

    Args:
        found: The cluster.
        do: Does it and returns how long it took, seconds.
        requests_per_s: Of the load; none for 0.
        keys_held: How many keys the cluster was filled with.
    """
    with contextlib.ExitStack() as held:
        load = _load(held, found, requests_per_s, keys_held)
        running = held.enter_context(_watching(found))
        begin_s = time.monotonic()
        time.sleep(_BEFORE_S)
        since_s = time.monotonic()
        took = do()
        until_s = time.monotonic()
        time.sleep(_AFTER_S)
        history = running.finish()
        usual_per_s = lost_share = 0.0
        if load is not None:
            usual_per_s = load.per_second(begin_s, since_s)
            lost_share = 1 - load.per_second(since_s, until_s) / usual_per_s
    verdict = judge.judge(history, since_s)
    together = summary.summarize(history, verdict, since_s)
    if not verdict.keeps_everything or together.wrong_reads:
        raise BenchFailed(f"clients lost {verdict.lost}, wrong answers {together.wrong_reads}")
    return Seen(
        took=took,
        stall_ms=1000 * max(together.writes.longest_gap_s, together.reads.longest_gap_s),
        failed=verdict.failed,
        errors=together.errors,
        lost_share=lost_share,
        usual_per_s=usual_per_s,
        load_failed=load.failed(since_s) if load is not None else 0,
    )


@dataclass(frozen=True, kw_only=True)
class ByHand:
    """A cluster that nobody manages, and a newcomer that the engine's own tool makes one of it."""

    #: The newcomer is its last shard.
    found: Deployment
    nodes: Nodes
    build: Build

    def rebalance(self, *options: str) -> Took:
        """Start the newcomer, make it a member, and spread the slots, as a caller of ours wants.

        The tool's work is what its manual says: `add-node`, then `rebalance`. In between its user
        waits until the newcomer serves: clients of slots that come earlier would be sent away.
        """
        found, newcomer = self.found, self.found.shards[-1].addresses[0]
        begin_s = time.monotonic()
        self.nodes.start(newcomer)
        processes.wait_until(
            lambda: found.asker.answers_ping(newcomer), "a newcomer answers", GROUP_TIMEOUT_S
        )
        self._run("add-node", f"{newcomer}:{found.port}", f"{found.host}:{found.port}")
        processes.wait_until(self._is_one_cluster, "a newcomer serves", GROUP_TIMEOUT_S)
        created_s = time.monotonic()
        at = f"{found.host}:{found.port}"
        self._run("rebalance", at, "--cluster-use-empty-masters", *options)
        took_s = time.monotonic() - begin_s
        slots = [_slots_of(found, shard.addresses[0]) for shard in found.shards]
        if max(slots) - min(slots) > len(slots):
            raise BenchFailed(f"the tool left the slots at {slots}")
        return Took(took_s, created_s - begin_s)

    def _run(self, *words: str) -> None:
        if self.build.cli is None:
            raise BenchFailed(f"{self.build.server} has no command line tool")
        processes.run_to_end([self.build.cli, "--cluster", *words], timeout_s=_TOOL_TIMEOUT_S)

    def _is_one_cluster(self) -> bool:
        """Tell whether every node knows all nodes, and serves."""
        count = len(self.found.shards)
        for shard in self.found.shards:
            said = self.found.text(shard.addresses[0], "CLUSTER", "NODES")
            if b"handshake" in said or said.count(b"\n") != count:
                return False
        return self.found.is_whole()


@contextlib.contextmanager
def running_by_hand(within: World, build: Build, *, owners: int) -> Iterator[ByHand]:
    """Run primaries that nobody manages; yields them with a newcomer that does not run yet."""
    addresses = engines.free_addresses(owners + 1)
    made = dataclasses.replace(within, build=build)
    # What the service gives them as well.
    settings = {**engines.cluster_settings(), "repl-diskless-sync-delay": "0"}
    nodes = Nodes(made, dict.fromkeys(addresses, settings))
    ranges = [*split_evenly(owners), ()]
    for address, content in _seeds(addresses[:owners]).items():
        nodes.put(address, "nodes.conf", content)
    shards = tuple(
        Shard(shard_id=f"{number:04d}", slots=ranges[number - 1], addresses=(address,))
        for number, address in enumerate(addresses, start=1)
    )
    found = Deployment(host=addresses[0], cluster_enabled=True, shards=shards)
    with contextlib.closing(nodes), deployment.closing(found):
        for address in addresses[:owners]:
            nodes.start(address)
        processes.wait_until(
            lambda: all(found.is_shard_whole(shard) for shard in shards[:owners]),
            "all owners serve",
            GROUP_TIMEOUT_S,
        )
        yield ByHand(found=found, nodes=nodes, build=build)


def _load(
    held: contextlib.ExitStack, found: Deployment, requests_per_s: float, keys_held: int
) -> Pressure | None:
    if not requests_per_s:
        return None
    return held.enter_context(
        pressure.running(
            found.host,
            found.port,
            requests_per_s=requests_per_s,
            key_count=keys_held,
            value_bytes=VALUE_BYTES,
        )
    )


@contextlib.contextmanager
def _watching(found: Deployment) -> Iterator[traffic.Traffic]:
    target = Target(host=found.host, port=found.port, is_cluster=found.cluster_enabled)
    chosen = lanes.over_everything(
        secrets.token_hex(4),
        is_cluster=found.cluster_enabled,
        requests_per_s=_WATCHED_PER_S,
        slots_per_key=_SLOTS_PER_KEY,
    )
    with traffic.running(target, chosen) as running:
        if not running.wait_until_spread(_SPREAD_TIMEOUT_S):
            raise BenchFailed("clients are not served before anything is done")
        yield running


def _put(number: int, chaos: bytes) -> Command:
    key = pressure.key_of(number)
    start = number * 7919 % (len(chaos) - VALUE_BYTES)
    value = chaos[start : start + VALUE_BYTES]
    head = b"*3\r\n$3\r\nSET\r\n$%d\r\n%b\r\n$%d\r\n" % (len(key), key.encode(), VALUE_BYTES)
    return Command(keys.slot_of(key), head + value + b"\r\n")


def _slots_of(found: Deployment, address: str) -> int:
    """Return how many slots a primary says that it owns."""
    for line in found.text(address, "CLUSTER", "NODES").decode().splitlines():
        words = line.split()
        if "myself" in words[2]:
            ranges = [word.partition("-") for word in words[8:] if not word.startswith("[")]
            return sum(int(last or first) - int(first) + 1 for first, _, last in ranges)
    return 0


def _seeds(addresses: Sequence[str]) -> dict[str, bytes]:
    """Return `nodes.conf` for each address: primaries that share the slots evenly."""
    ids = [secrets.token_hex(20) for _ in addresses]
    ranges = split_evenly(len(addresses))
    files = {}
    for me in addresses:
        lines = []
        for number, (address, node_id) in enumerate(zip(addresses, ids, strict=True)):
            mine = "myself," if address == me else ""
            words = [node_id, f"{address}:{engines.PORT}@{engines.BUS_PORT}", f"{mine}master"]
            words += ["-", "0 0", str(number + 1), "connected"]
            words += [str(part) for part in ranges[number]]
            lines.append(" ".join(words))
        lines.append(f"vars currentEpoch {len(addresses)} lastVoteEpoch 0")
        files[me] = ("\n".join(lines) + "\n").encode("ascii")
    return files
