"""How many requests does a cluster answer a second while something is done to it?

A process of its own: `python -m bench.pressure` reads one line of JSON, sends GET and SET of known
keys at a steady pace over some connections, and writes a line for each tenth of a second: when it
began, on the monotonic clock, how many requests were answered and how many failed. It ends when its
standard input is closed. What was missed is not made up for: it is lost.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import hiredis

from bench import processes
from bench.processes import BenchFailed
from cachewright.checker import keys, pipes
from cachewright.checker.pipes import Command, Router

_ROOT = Path(__file__).resolve().parent.parent
#: Each has a thread; the answer to one request holds up no more than a quarter of them.
_CONNECTIONS = 4
#: Commands of one request.
_PIPELINE = 25
_BATCHES = 200
_TICK_S = 0.1
_TIMEOUT_S = 30.0
_READY_TIMEOUT_S = 60.0


class Tick(NamedTuple):
    """A tenth of a second."""

    at_s: float
    answered: int
    failed: int


@dataclass(kw_only=True)
class Pressure:
    """A load that goes on; made by `running`."""

    ticks: list[Tick]

    def per_second(self, since_s: float, until_s: float) -> float:
        """Return how many requests were answered a second between two moments."""
        found = [tick for tick in self.ticks if since_s <= tick.at_s and tick.at_s < until_s]
        if not found:
            raise BenchFailed("the load has told nothing")
        return sum(tick.answered for tick in found) / (len(found) * _TICK_S)

    def failed(self, since_s: float) -> int:
        """Return how many requests failed since a moment."""
        return sum(tick.failed for tick in self.ticks if tick.at_s >= since_s)


@contextlib.contextmanager
def running(
    host: str, port: int, *, requests_per_s: float, key_count: int, value_bytes: int
) -> Iterator[Pressure]:
    """Put a cluster under load for the block, once it has begun."""
    task = {
        "host": host,
        "port": port,
        "requests_per_s": requests_per_s,
        "key_count": key_count,
        "value_bytes": value_bytes,
    }
    found = Pressure(ticks=[])
    with subprocess.Popen(
        [sys.executable, "-m", "bench.pressure"],
        cwd=_ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        listener = threading.Thread(target=_listen, args=(process.stdout, found.ticks), daemon=True)
        try:
            process.stdin.write(json.dumps(task) + "\n")
            process.stdin.flush()
            listener.start()
            processes.wait_until(
                lambda: len(found.ticks) > 2 or process.poll() is not None,
                "the load begins",
                _READY_TIMEOUT_S,
            )
            _raise_if_ended(process)
            yield found
            _raise_if_ended(process)
        finally:
            process.kill()
            process.wait()
            listener.join()


def _raise_if_ended(process: subprocess.Popen[str]) -> None:
    if process.poll() is not None:
        raise BenchFailed("the load has ended by itself")


def key_of(number: int) -> str:
    """Return the key of a number, as `scaling` fills them."""
    return f"key:{number}"


def _listen(lines: Iterator[str], ticks: list[Tick]) -> None:
    for line in lines:
        ticks.append(Tick(*json.loads(line)))  # noqa: PERF401 it is read while it grows


class _Connection(threading.Thread):
    """Sends a request whenever one is due."""

    def __init__(self, router: Router, batches: Sequence[Sequence[Command]], pace_s: float) -> None:
        super().__init__(daemon=True)
        self._router, self._batches, self._pace_s = router, batches, pace_s
        self.answered = self.failed = 0

    def run(self) -> None:
        """Work until the process ends."""
        due_s = time.monotonic()
        for number in range(sys.maxsize):
            batch = self._batches[number % len(self._batches)]
            try:
                answers = self._router.request(batch)
            except pipes.Unreachable:
                self.failed += len(batch)
            else:
                wrong = sum(isinstance(answer, hiredis.ReplyError) for answer in answers)
                self.answered += len(batch) - wrong
                self.failed += wrong
            due_s = max(due_s + self._pace_s, time.monotonic())
            time.sleep(max(0.0, due_s - time.monotonic()))


def main() -> None:
    """Run as a process of its own."""
    task = json.loads(sys.stdin.readline())
    generator = iter(range(0, sys.maxsize, 7919))
    # No engine can make it shorter on its way.
    value = os.urandom(task["value_bytes"] // 2).hex()

    def command(number: int) -> Command:
        key = key_of(next(generator) % task["key_count"])
        words = ("GET", key) if number % 2 else ("SET", key, value)
        return Command(keys.slot_of(key), pipes.packed(words))

    pace_s = _PIPELINE * _CONNECTIONS / task["requests_per_s"]
    threads = [
        _Connection(
            Router(task["host"], task["port"], timeout_s=_TIMEOUT_S),
            [[command(number) for number in range(_PIPELINE)] for _ in range(_BATCHES)],
            pace_s,
        )
        for _ in range(_CONNECTIONS)
    ]
    for thread in threads:
        thread.start()
    before = (0, 0)
    at_s = time.monotonic()
    while not select.select([0], [], [], max(0.0, at_s + _TICK_S - time.monotonic()))[0]:
        now = (sum(t.answered for t in threads), sum(t.failed for t in threads))
        print(json.dumps([at_s, now[0] - before[0], now[1] - before[1]]), flush=True)
        before, at_s = now, at_s + _TICK_S


if __name__ == "__main__":
    main()
