"""What do clients see meanwhile? A writer with a stock client for each shard.

Numbers are appended to a list at a steady pace, each write with the client's own way of retrying
and no other. A gap is the time between two acknowledged writes. Whoever kills and whoever manages:
ours and the baselines are watched by the same writers.
"""

from __future__ import annotations

import bisect
import contextlib
import itertools
import sys
import threading
import time
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from bench import alone, processes
from bench.deployment import Deployment
from bench.processes import BenchFailed
from bench.raw import key_in, missing

#: Two writers on one core leave most of it to the engines.
PACE_S = 0.002
#: A frozen primary never answers: what a careful user tells the client.
SOCKET_TIMEOUT_S = 1.0
#: Acknowledged writes that show that a shard serves.
_ENOUGH = 10
#: An answer that was on its way when its sender was killed arrives by then.
_ON_ITS_WAY_S = 0.02
#: A pause that a client does not notice beside the pace.
_PAUSE_S = 0.010
_WARM_UP_TIMEOUT_S = 20.0
_END_TIMEOUT_S = 60.0
#: The default of 5 ms would let the writers wait for each other as long as a good failover takes.
_SWITCH_S = 0.0005


class _Writer(threading.Thread):
    """Writes to one shard until it is told to stop."""

    def __init__(self, client: Any, key: str, pace_s: float) -> None:
        super().__init__(name=f"writer of {key}", daemon=True)
        self.client, self.key, self._pace_s = client, key, pace_s
        self.numbers = array("q")
        self.times_s = array("d")
        self.failed = 0
        self.last_error = ""
        self._errors = _client_errors()
        self._stop_asked = threading.Event()

    def run(self) -> None:
        due_s = time.monotonic()
        for number in itertools.count(1):
            try:
                self.client.rpush(self.key, number)
            except self._errors as error:
                self.failed += 1
                self.last_error = str(error)
            else:
                self.times_s.append(time.monotonic())
                self.numbers.append(number)
            due_s = max(due_s + self._pace_s, time.monotonic())
            if self._stop_asked.wait(due_s - time.monotonic()):
                return

    def end(self) -> None:
        self._stop_asked.set()
        self.join(_END_TIMEOUT_S)
        if self.is_alive():
            raise BenchFailed(f"the {self.name} does not end")


class Watch:
    """The writers of all shards, by shard id."""

    def __init__(self, writers: dict[str, _Writer]) -> None:
        self._writers = writers

    def wait_for_writes(self) -> None:
        """Return when every shard has acknowledged some more writes."""
        now_s = time.monotonic()
        if not self.wait_until_served(self._writers, now_s, _WARM_UP_TIMEOUT_S):
            errors = {name: writer.last_error for name, writer in self._writers.items()}
            raise BenchFailed(f"writes are not acknowledged: {errors}")

    def wait_until_served(self, shard_ids: Iterable[str], since_s: float, timeout_s: float) -> bool:
        """Tell whether all these shards acknowledge writes again after a moment, in time."""
        writers = [self._writers[shard_id] for shard_id in shard_ids]

        def are_served() -> bool:
            return all(
                len(_after(writer, since_s + _ON_ITS_WAY_S)) >= _ENOUGH for writer in writers
            )

        try:
            processes.wait_until(are_served, "writes", timeout_s)
        except BenchFailed:
            return False
        return True

    def longest_gap_s(self, shard_ids: Iterable[str], since_s: float) -> float:
        """Return the longest gap of some shards that ended after a moment."""
        return max(max(_gaps(self._writers[one], since_s)) for one in shard_ids)

    def availability(self, since_s: float) -> list[float]:
        """Return the share of the time in percent that writes were acknowledged, by writer."""
        found = []
        for writer in self._writers.values():
            now_s = time.monotonic()
            gaps = [*_gaps(writer, since_s), now_s - writer.times_s[-1]]
            away_s = sum(gap for gap in gaps if gap > _PAUSE_S)
            found.append(100 * max(0.0, 1 - away_s / (now_s - since_s)))
        return found

    def lost(self) -> int:
        """End the writers; return how many acknowledged writes are not there now."""
        count = 0
        for writer in self._writers.values():
            writer.end()
            count += missing(writer.numbers, writer.client.lrange(writer.key, 0, -1))
        return count

    def close(self) -> None:
        """End the writers."""
        for writer in self._writers.values():
            writer.end()
            writer.client.close()


@contextlib.contextmanager
def watching(
    found: Deployment, *, pace_s: float = PACE_S, connect: Callable[[], Any] | None = None
) -> Iterator[Watch]:
    """Write to every shard for the block; `connect` makes other clients than the usual ones."""
    make = connect or (lambda: _client(found))
    writers = {
        shard.shard_id: _Writer(make(), key_in(shard.slots, "numbers"), pace_s)
        for shard in found.shards
    }
    before_s = sys.getswitchinterval()
    sys.setswitchinterval(_SWITCH_S)
    watch = Watch(writers)
    try:
        for writer in writers.values():
            writer.start()
        watch.wait_for_writes()
        yield watch
    finally:
        watch.close()
        sys.setswitchinterval(before_s)


def sentinel_client(watchers: Sequence[str]) -> Callable[[], Any]:
    """Return what makes clients that ask Sentinels where the primary is."""
    from valkey.sentinel import Sentinel  # noqa: PLC0415 its package imports much

    asked: Any = Sentinel  # has no types
    sentinels = asked(
        [(address, alone.SENTINEL_PORT) for address in watchers], socket_timeout=SOCKET_TIMEOUT_S
    )
    return lambda: sentinels.master_for(alone.WATCHED, socket_timeout=SOCKET_TIMEOUT_S)


def _client(found: Deployment) -> Any:
    """Return a stock client; one that was given a configuration endpoint never forgets it."""
    import valkey  # noqa: PLC0415 imports much

    more: dict[str, Any] = {"socket_timeout": SOCKET_TIMEOUT_S}
    if not found.cluster_enabled:
        return valkey.Valkey(host=found.host, port=found.port, **more)
    nodes = {address for shard in found.shards for address in shard.addresses}
    kind: Any = valkey.ValkeyCluster
    return kind(host=found.host, port=found.port, dynamic_startup_nodes=found.host in nodes, **more)


def _client_errors() -> tuple[type[Exception], ...]:
    import valkey.exceptions as known  # noqa: PLC0415 imports much

    # The last two are no `ValkeyError`: "no node to be reached", and a slot that nobody has.
    return (known.ValkeyError, OSError, known.ValkeyClusterException, known.SlotNotCoveredError)


def _after(writer: _Writer, since_s: float) -> array[float]:
    return writer.times_s[bisect.bisect_right(writer.times_s, since_s) :]


def _gaps(writer: _Writer, since_s: float) -> list[float]:
    """Return the gaps that ended after a moment, in order; the first may have begun before."""
    first = max(0, bisect.bisect_right(writer.times_s, since_s) - 1)
    times_s = writer.times_s[first:]
    if len(times_s) < 2:
        raise BenchFailed(f"the {writer.name} has no gap to tell")
    return [after - before for before, after in itertools.pairwise(times_s)]
