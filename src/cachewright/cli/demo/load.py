"""How are the workers run, and what do their reports come to?

Starts the worker processes, lets them go at the same moment, follows their reports, tells them when
it is enough, and merges what they did. Whatever happens, no worker outlives the block: it is killed
on the way out, and a worker whose demo was killed notices at once.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import select
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
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


#: Is told with every report of a worker: seconds since they began, operations and errors of all.
OnTick = Callable[[float, int, int], None]


class Load:
    """Workers at work; made by `running`."""

    def __init__(self, processes: Sequence[subprocess.Popen[bytes]], on_tick: OnTick) -> None:
        self._processes = processes
        self._reports = _Reports(processes)
        self._on_tick = on_tick
        self._begin_s = 0.0

    @property
    def operations(self) -> int:
        """Commands of all workers that were answered, as far as they have told."""
        return self._reports.operations

    @property
    def errors(self) -> int:
        """Those of them that were answered with an error."""
        return self._reports.errors

    def go(self) -> None:
        """Let all workers go, once all are ready."""
        self._reports.wait_for("ready", time.monotonic() + START_TIMEOUT_S)
        for process in self._processes:
            _tell(process, "go")
        self._begin_s = time.monotonic()
        self._reports.on_tick = lambda: self._on_tick(
            time.monotonic() - self._begin_s, self.operations, self.errors
        )

    def follow(self, seconds: float) -> None:
        """Hear what workers say for a while; `LoadFailed` when one fails."""
        deadline = time.monotonic() + seconds
        while (left_s := deadline - time.monotonic()) > 0:
            self._reports.hear(left_s)

    def finish(self) -> Outcome:
        """Tell all workers that it is enough and return what they did."""
        for process in self._processes:
            assert process.stdin is not None
            process.stdin.close()
        return merge(self._reports.wait_for("done", time.monotonic() + REPORT_TIMEOUT_S))


@contextlib.contextmanager
def running(*, host: str, port: int, workers: int, on_tick: OnTick) -> Iterator[Load]:
    """Let `workers` processes work for the block, or until `Load.finish`."""
    with contextlib.ExitStack() as stack:
        processes = [stack.enter_context(_worker()) for _ in range(workers)]
        for number, process in enumerate(processes):
            _tell(process, json.dumps({"worker": number, "host": host, "port": port}))
        made = Load(processes, on_tick)
        made.go()
        yield made


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
        self.on_tick: Callable[[], None] = lambda: None
        self._operations = [0] * len(processes)
        self._errors = [0] * len(processes)
        self._streams = [process.stdout.fileno() for process in processes if process.stdout]
        self._unread = [b""] * len(processes)

    @property
    def operations(self) -> int:
        return sum(self._operations)

    @property
    def errors(self) -> int:
        return sum(self._errors)

    def hear(self, timeout_s: float) -> None:
        """Take what workers say next, if any of them says something in time."""
        for index in self._ready(range(len(self._streams)), timeout_s):
            for _ in self._read(index):
                pass

    def wait_for(self, event: str, deadline: float) -> list[dict[str, Any]]:
        """Return the report `event` of every worker, in the order of workers."""
        found: dict[int, dict[str, Any]] = {}
        while len(found) < len(self._streams):
            awaited = [index for index in range(len(self._streams)) if index not in found]
            ready = self._ready(awaited, max(0.0, deadline - time.monotonic()))
            if not ready:
                raise LoadFailed(f'a worker did not report "{event}" in time')
            for index in ready:
                for report in self._read(index):
                    if report["event"] == event:
                        found[index] = report
        return [found[index] for index in sorted(found)]

    def _ready(self, indexes: Iterable[int], timeout_s: float) -> list[int]:
        by_descriptor = {self._streams[index]: index for index in indexes}
        readable, _, _ = select.select(list(by_descriptor), [], [], timeout_s)
        return [by_descriptor[descriptor] for descriptor in readable]

    def _read(self, index: int) -> Iterator[dict[str, Any]]:
        received = os.read(self._streams[index], _READ_BYTES)
        *lines, self._unread[index] = (self._unread[index] + received).split(b"\n")
        for line in lines:
            report = _parse(line)
            if report["event"] == "failed":
                raise LoadFailed(f"worker {index}: {report['error']}")
            if report["event"] == "tick":
                self._operations[index] = int(report["operations"])
                self._errors[index] = int(report["errors"])
                self.on_tick()
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
