"""What does one worker process of the demo do? Sends requests as fast as they are answered.

`python -m cachewright.cli.demo.worker` reads one line of JSON with its task, connects, says
"ready", waits for a line that lets it go, and works until its standard input is closed. It writes
one line of JSON for each report: "tick" with the operations and errors so far, at last "done" or
"failed". Requests go over one connection to each shard, one at a time, to whoever owns the slots,
so that the time from the first byte sent to the last reply read is the round trip that a caller
would see.
"""

from __future__ import annotations

import json
import random
import select
import signal
import sys
import time
from collections.abc import Callable

from cachewright.checker import keys
from cachewright.checker.pipes import Router
from cachewright.cli.demo import workload

#: On one machine an engine answers a request in about a millisecond; 10 s means it never will.
SOCKET_TIMEOUT_S = 10.0
_TICK_S = 0.25


class Run:
    """One run of one worker: what was executed, how long it took, what went wrong."""

    def __init__(self, worker: int, batches: dict[str, tuple[workload.Batch, ...]]) -> None:
        self._batches = batches
        self._generator = random.Random(-worker - 1)  # noqa: S311 repeatable, not a secret
        self._executions = {kind: [0] * len(found) for kind, found in batches.items()}
        self._latencies_us: dict[str, list[int]] = {kind: [] for kind in batches}
        self.errors = 0
        self._first_error = ""

    @property
    def operations(self) -> int:
        """Commands that were answered."""
        return sum(map(len, self._latencies_us.values())) * workload.PIPELINE

    def execute_one(self, kind: str, router: Router) -> None:
        """Send one request of `kind` and count what came of it."""
        index = self._generator.randrange(len(self._batches[kind]))
        batch = self._batches[kind][index]
        start = time.perf_counter_ns()
        replies = router.request(batch.commands)
        self._latencies_us[kind].append((time.perf_counter_ns() - start) // 1000)
        self._executions[kind][index] += 1
        for reply in replies:
            if isinstance(reply, Exception):
                self.errors += 1
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
            "errors": self.errors,
            "first_error": self._first_error,
            "tops": workload.top_of_boards(executed),
            "visits": workload.visits_of_sessions(executed),
        }


def run(
    task: dict[str, object], wait_for_go: Callable[[], object], is_stopped: Callable[[], bool]
) -> None:
    """Carry out `task`: worker (its number), host and port of the endpoint."""
    worker = int(str(task["worker"]))
    router = Router(str(task["host"]), int(str(task["port"])), timeout_s=SOCKET_TIMEOUT_S)
    batches = workload.make_batches(worker, lambda key: str(router.owner_of(keys.slot_of(key))))
    work = Run(worker, batches)
    say("ready")
    wait_for_go()
    elapsed_s = _work(work, router, is_stopped)
    say("done", **work.report(elapsed_s))
    router.close()


def _work(work: Run, router: Router, is_stopped: Callable[[], bool]) -> float:
    """Send requests until told to stop, both kinds in turn, and return how long it took."""
    start = now = time.perf_counter()
    next_tick = start + _TICK_S
    while not is_stopped():
        for kind in workload.KINDS:
            work.execute_one(kind, router)
        now = time.perf_counter()
        if now >= next_tick:
            next_tick = now + _TICK_S
            say("tick", operations=work.operations, errors=work.errors)
    return now - start


def _is_closed() -> bool:
    """Tell whether standard input has ended: whoever has nothing to say keeps it open."""
    return bool(select.select([0], [], [], 0)[0])


def say(event: str, **facts: object) -> None:
    """Write one report; a reader that is gone ends the worker (BrokenPipeError)."""
    sys.stdout.write(json.dumps({"event": event, **facts}) + "\n")
    sys.stdout.flush()


def main() -> None:
    """Run as a process of its own. Ctrl-C is for the demo, which ends its workers."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        run(json.loads(sys.stdin.readline()), sys.stdin.readline, _is_closed)
    except BrokenPipeError:
        # Nobody listens any more; closing standard output must not complain about it.
        sys.stderr.close()
    except Exception as error:  # noqa: BLE001 reported to the demo, which shows it
        say("failed", error=f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    main()
