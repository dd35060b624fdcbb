"""How are the workers run, and what do their reports come to?

Starts the worker processes, lets them go at the same moment, follows their reports until all are
done, and merges them. Whatever happens, no worker outlives the block: it is killed on the way out,
and a worker whose demo was killed notices at its next report.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import selectors
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cachewright.cli.demo import workload

#: Importing the client and packing the requests takes about a second on a busy machine.
START_TIMEOUT_S = 30.0
#: A worker's last report is sent right after its last request.
REPORT_TIMEOUT_S = 30.0
_READ_BYTES = 1_048_576


class LoadFailed(Exception):
    """The workers could not do their work; the text says why."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Latency:
    """Round trips of requests in milliseconds, by quantile."""

    p50_ms: float
    p99_ms: float
    p99_9_ms: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Figures:
    """How much was done, and how fast."""

    #: Commands.
    operations: int
    operations_per_s: int
    #: Pipelines of `workload.PIPELINE` commands.
    requests: int
    latency: Latency


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What the workers did, and what the engines must hold now."""

    seconds: float
    total: Figures
    by_kind: Mapping[str, Figures]
    #: Commands that were answered with an error.
    errors: int
    first_error: str
    tops: Mapping[str, workload.Top]
    visits: Mapping[str, int]


def run_load(
    *, host: str, port: int, workers: int, seconds: float, on_tick: Callable[[float, int], None]
) -> Outcome:
    """Let `workers` processes work for `seconds`.

    `on_tick(elapsed_s, operations)` is called with every report of a worker.
    """
    with contextlib.ExitStack() as stack:
        processes = [stack.enter_context(_worker()) for _ in range(workers)]
        for number, process in enumerate(processes):
            task = {"worker": number, "host": host, "port": port, "seconds": seconds}
            _tell(process, json.dumps(task))
        reports = _Reports(processes)
        reports.wait_for("ready", time.monotonic() + START_TIMEOUT_S)
        for process in processes:
            _tell(process, "go")
        start = time.monotonic()
        reports.on_tick = lambda operations: on_tick(time.monotonic() - start, operations)
        done = reports.wait_for("done", start + seconds + REPORT_TIMEOUT_S)
    return merge(done)


def merge(reports: Sequence[Mapping[str, Any]]) -> Outcome:
    """Return what the last reports of all workers come to."""
    seconds = max(float(report["elapsed_s"]) for report in reports)
    latencies = {
        kind: sorted(us for report in reports for us in report["latencies_us"][kind])
        for kind in workload.KINDS
    }
    tops = [
        {board: tuple((str(p), int(s)) for p, s in top) for board, top in report["tops"].items()}
        for report in reports
    ]
    return Outcome(
        seconds=seconds,
        total=_figures(sorted(us for found in latencies.values() for us in found), seconds),
        by_kind={kind: _figures(found, seconds) for kind, found in latencies.items()},
        errors=sum(int(report["errors"]) for report in reports),
        first_error=next((str(r["first_error"]) for r in reports if r["first_error"]), ""),
        tops=workload.merged(tops),
        visits={s: int(count) for report in reports for s, count in report["visits"].items()},
    )


def quantile(ordered: Sequence[int], share: float) -> int:
    """Return the smallest value that at least `share` of all values do not exceed; 0 for none."""
    if not ordered:
        return 0
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def _figures(ordered_us: Sequence[int], seconds: float) -> Figures:
    operations = len(ordered_us) * workload.PIPELINE
    return Figures(
        operations=operations,
        operations_per_s=round(operations / seconds),
        requests=len(ordered_us),
        latency=Latency(
            p50_ms=quantile(ordered_us, 0.5) / 1000,
            p99_ms=quantile(ordered_us, 0.99) / 1000,
            p99_9_ms=quantile(ordered_us, 0.999) / 1000,
        ),
    )


@contextlib.contextmanager
def _worker() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(
        [sys.executable, "-P", "-m", "cachewright.cli.demo.worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def _tell(process: subprocess.Popen[bytes], line: str) -> None:
    # A worker that has ended already is found when its reports are read.
    with contextlib.suppress(BrokenPipeError):
        if process.stdin is not None:
            process.stdin.write(line.encode() + b"\n")
            process.stdin.flush()


class _Reports:
    """The lines that all workers write, in the order of arrival."""

    def __init__(self, processes: Sequence[subprocess.Popen[bytes]]) -> None:
        self.on_tick: Callable[[int], None] = lambda _: None
        self._operations = [0] * len(processes)
        self._streams = [process.stdout.fileno() for process in processes if process.stdout]
        self._unread = [b""] * len(processes)

    def wait_for(self, event: str, deadline: float) -> list[dict[str, Any]]:
        """Return the report `event` of every worker, in the order of workers."""
        found: dict[int, dict[str, Any]] = {}
        with selectors.DefaultSelector() as selector:
            for index, descriptor in enumerate(self._streams):
                selector.register(descriptor, selectors.EVENT_READ, index)
            while len(found) < len(self._streams):
                ready = selector.select(max(0.0, deadline - time.monotonic()))
                if not ready:
                    raise LoadFailed(f'a worker did not report "{event}" in time')
                for key, _ in ready:
                    for report in self._read(key.data, key.fd):
                        if report["event"] == event:
                            found[key.data] = report
                            selector.unregister(key.fd)
        return [found[index] for index in sorted(found)]

    def _read(self, index: int, descriptor: int) -> Iterator[dict[str, Any]]:
        received = os.read(descriptor, _READ_BYTES)
        *lines, self._unread[index] = (self._unread[index] + received).split(b"\n")
        for line in lines:
            report = _parse(line)
            if report["event"] == "failed":
                raise LoadFailed(f"worker {index}: {report['error']}")
            if report["event"] == "tick":
                self._operations[index] = int(report["operations"])
                self.on_tick(sum(self._operations))
            yield report
        if not received:
            raise LoadFailed(f"worker {index} ended without its report")


def _parse(line: bytes) -> dict[str, Any]:
    try:
        report: dict[str, Any] = json.loads(line)
    except ValueError:
        # Not a report, so the interpreter itself complains.
        raise LoadFailed(f"a worker said: {line.decode(errors='replace')}") from None
    return report
