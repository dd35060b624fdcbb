"""What does `python -m bench` measure, and in which order?

    python -m bench                          everything, into docs/benchmarks.md and .json
    python -m bench --only create,describe   some families; the other rows stay
    python -m bench --quick                  few rounds, printed and not written

Families that need a hundred running nodes come last and share them.
"""

from __future__ import annotations

import argparse
import contextlib
import signal
import sys
from collections.abc import Callable, Iterator
from types import FrameType

from rich.console import Console
from rich.table import Table

from bench import (
    availability,
    create,
    describe,
    durability,
    failover,
    fleet,
    growing,
    handover,
    hangs,
    memcached,
    parameters,
    replacement,
    report,
    scaling,
    startup,
    terraform,
    throughput,
)
from bench.measure import Figure, Skipped
from bench.processes import BenchFailed
from bench.world import Server, World, open_world, say

_ALONE: dict[str, Callable[[World], Iterator[Figure | Skipped]]] = {
    "startup": startup.measure_startup,
    "create": create.measure_create,
    "throughput": throughput.measure_throughput,
    "parameters": parameters.measure_parameters,
    "memcached": memcached.measure_memcached,
    "failover": failover.measure_failover,
    "hangs": hangs.measure_hangs,
    "handover": handover.measure_handover,
    "replacement": replacement.measure_replacement,
    "scaling": scaling.measure_scaling,
    "scaling-delayed": scaling.measure_scaling_delayed,
    "growing": growing.measure_growing,
    "durability": durability.measure_durability,
    "availability": availability.measure_availability,
    "terraform": terraform.measure_terraform,
}


def _rest(within: World, server: Server) -> Iterator[Figure | Skipped]:
    yield fleet.measure_rest(within, server)


def _restart(within: World, server: Server) -> Iterator[Figure | Skipped]:
    yield fleet.measure_restart(within, server)


_WITH_FLEET: dict[str, Callable[[World, Server], Iterator[Figure | Skipped]]] = {
    "rest": _rest,
    "describe": describe.measure_describe,
    "restart": _restart,
}


def main() -> int:
    """Measure what was asked for; the exit code says whether anything failed on the way."""
    families = [*_ALONE, *_WITH_FLEET]
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure Cachewright.")
    parser.add_argument(
        "--only", default=",".join(families), metavar="NAMES", help=f"of {families}"
    )
    parser.add_argument("--quick", action="store_true", help="few rounds; nothing is written")
    typed = parser.parse_args()
    chosen = typed.only.split(",")
    if unknown := set(chosen) - set(families):
        parser.error(f"no such family: {', '.join(sorted(unknown))}; there are {families}")
    signal.signal(signal.SIGTERM, _interrupt)
    outcomes: list[Figure | Skipped] = []
    failures: list[str] = []
    try:
        for outcome in _measure(chosen, failures, quick=typed.quick):
            outcomes.append(outcome)
            if not typed.quick:
                report.merge(outcome)
    except BenchFailed as error:
        say(f"stopped: {error}")
        return 1
    except KeyboardInterrupt:
        say("interrupted: what ran has been ended")
        return 130
    finally:
        _print(outcomes)
    return 1 if failures else 0


def _measure(chosen: list[str], failures: list[str], *, quick: bool) -> Iterator[Figure | Skipped]:
    with open_world(quick=quick) as world, contextlib.ExitStack() as held:
        for name, alone in _ALONE.items():
            if name in chosen:
                yield from _guarded(name, alone(world), failures)
        wanted = [name for name in _WITH_FLEET if name in chosen]
        if not wanted:
            return
        say(f"{fleet.NODES} groups of one node:")
        server = held.enter_context(fleet.running_fleet(world))
        for name in wanted:
            yield from _guarded(name, _WITH_FLEET[name](world, server), failures)


def _guarded(
    name: str, family: Iterator[Figure | Skipped], failures: list[str]
) -> Iterator[Figure | Skipped]:
    """Measure a family; when it fails the others are measured all the same."""
    say(f"{name}:")
    try:
        yield from family
    except BenchFailed as error:
        failures.append(name)
        say(f"  failed: {error}")


def _print(outcomes: list[Figure | Skipped]) -> None:
    table = Table(*report.HEADINGS[:-1])
    for outcome in outcomes:
        table.add_row(*report.cells(outcome)[:-1])
    Console(width=None if sys.stdout.isatty() else 160).print(table)


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
