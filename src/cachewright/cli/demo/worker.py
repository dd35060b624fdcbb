"""What does one worker process of the demo do? Sends requests as fast as they are answered.

`python -m cachewright.cli.demo.worker` reads one line of JSON with its task, connects, says
"ready", waits for a line that lets it go, and writes one line of JSON for each report: "tick" with
the operations so far, at last "done" or "failed". The cluster client (valkey-py) finds the shards;
requests then go over one connection to each shard, one at a time, so that the time from the first
byte sent to the last reply read is the round trip that a caller would see.
"""

from __future__ import annotations

import json
import random
import signal
import socket
import sys
import time
from collections.abc import Callable
from typing import Any

import hiredis

from cachewright.cli.demo import workload

#: On one machine an engine answers a request in about a millisecond; 10 s means it never will.
SOCKET_TIMEOUT_S = 10.0
_TICK_S = 0.25
_READ_BYTES = 262_144


class Shard:
    """A connection to the primary of one shard."""

    def __init__(self, host: str, port: int) -> None:
        self._socket = socket.create_connection((host, port), SOCKET_TIMEOUT_S)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._reader = hiredis.Reader()

    def request(self, packed: bytes, count: int) -> list[object]:
        """Send commands and return their `count` replies."""
        self._socket.sendall(packed)
        replies: list[object] = []
        while len(replies) < count:
            reply = self._reader.gets()
            if reply is False:
                received = self._socket.recv(_READ_BYTES)
                if not received:
                    raise ConnectionError("the engine closed the connection")
                self._reader.feed(received)
            else:
                replies.append(reply)
        return replies

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()


class Run:
    """One run of one worker: what was executed, how long it took, what went wrong."""

    def __init__(self, worker: int, batches: dict[str, tuple[workload.Batch, ...]]) -> None:
        self._batches = batches
        self._generator = random.Random(-worker - 1)  # noqa: S311 repeatable, not a secret
        self._executions = {kind: [0] * len(found) for kind, found in batches.items()}
        self._latencies_us: dict[str, list[int]] = {kind: [] for kind in batches}
        self._errors = 0
        self._first_error = ""

    @property
    def operations(self) -> int:
        """Commands that were answered."""
        return sum(map(len, self._latencies_us.values())) * workload.PIPELINE

    def execute_one(self, kind: str, shards: dict[str, Shard]) -> None:
        """Send one request of `kind` and count what came of it."""
        index = self._generator.randrange(len(self._batches[kind]))
        batch = self._batches[kind][index]
        shard = shards[batch.shard]
        start = time.perf_counter_ns()
        replies = shard.request(batch.packed, workload.PIPELINE)
        self._latencies_us[kind].append((time.perf_counter_ns() - start) // 1000)
        self._executions[kind][index] += 1
        for reply in replies:
            if isinstance(reply, Exception):
                self._errors += 1
                self._first_error = self._first_error or str(reply)

    def report(self, elapsed_s: float) -> dict[str, object]:
        """Return everything that the demo shows and checks."""
        executed = [
            (batch, count)
            for kind, batches in self._batches.items()
            for batch, count in zip(batches, self._executions[kind], strict=True)
        ]
        return {
            "elapsed_s": elapsed_s,
            "latencies_us": self._latencies_us,
            "errors": self._errors,
            "first_error": self._first_error,
            "tops": workload.top_of_boards(executed),
            "visits": workload.visits_of_sessions(executed),
        }


def run(task: dict[str, object], wait_for_go: Callable[[], object]) -> None:
    """Carry out `task`: worker (its number), host and port of the endpoint, seconds."""
    import valkey

    worker, seconds = int(str(task["worker"])), float(str(task["seconds"]))
    client: Any = valkey.ValkeyCluster(
        host=str(task["host"]), port=int(str(task["port"])), socket_timeout=SOCKET_TIMEOUT_S
    )
    shards = {node.name: Shard(node.host, node.port) for node in client.get_primaries()}
    work = Run(
        worker, workload.make_batches(worker, lambda key: client.get_node_from_key(key).name)
    )
    client.close()
    say("ready")
    wait_for_go()
    elapsed_s = _work(work, shards, seconds)
    say("done", **work.report(elapsed_s))
    for shard in shards.values():
        shard.close()


def _work(work: Run, shards: dict[str, Shard], seconds: float) -> float:
    """Send requests for `seconds`, both kinds in turn, and return how long it took."""
    start = now = time.perf_counter()
    next_tick = start + _TICK_S
    while now < start + seconds:
        for kind in workload.KINDS:
            work.execute_one(kind, shards)
        now = time.perf_counter()
        if now >= next_tick:
            next_tick = now + _TICK_S
            say("tick", operations=work.operations)
    return now - start


def say(event: str, **facts: object) -> None:
    """Write one report; a reader that is gone ends the worker (BrokenPipeError)."""
    sys.stdout.write(json.dumps({"event": event, **facts}) + "\n")
    sys.stdout.flush()


def main() -> None:
    """Run as a process of its own. Ctrl-C is for the demo, which ends its workers."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        run(json.loads(sys.stdin.readline()), sys.stdin.readline)
    except BrokenPipeError:
        # Nobody listens any more; closing standard output must not complain about it.
        sys.stderr.close()
    except Exception as error:  # noqa: BLE001 reported to the demo, which shows it
        say("failed", error=f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    main()
