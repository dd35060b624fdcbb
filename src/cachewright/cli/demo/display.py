"""What do people see while the demo runs? Moving tables on a terminal, plain lines elsewhere.

Both displays are told the same things; neither asks or decides anything.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Protocol

from rich.console import Console, RenderableType
from rich.console import Group as Stack
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from cachewright.cli import answers, tables
from cachewright.cli.demo.checks import Check
from cachewright.cli.demo.load import Outcome
from cachewright.cli.demo.scaling import Moment, Scaling
from cachewright.cli.demo.strike import Failover
from cachewright.cli.demo.workload import KINDS, PIPELINE
from cachewright.cli.watching import ShardSeen
from cachewright.model.slots import SLOT_COUNT

#: Fast enough to look alive, slow enough to leave the processors to the engines.
_FRAMES_PER_S = 8
_BAR_WIDTH = 30


class Display(Protocol):
    """What the demo tells people."""

    def say(self, text: str) -> None:
        """Say that something is done."""

    def show(self, view: RenderableType) -> None:
        """Show a table."""

    def moving(self) -> contextlib.AbstractContextManager[None]:
        """Let what follows take the place of what was shown before, for the block."""

    def progress(self, group: answers.Group, elapsed_s: float) -> None:
        """Show how far the nodes of a group are."""

    def rate(self, elapsed_s: float, seconds: float, operations: int) -> None:
        """Show how fast the workers are."""

    def scaling(self, moment: Moment) -> None:
        """Show who has how many slots, and how the workers get on."""

    def clients(self, shards: Sequence[ShardSeen], elapsed_s: float) -> None:
        """Show what clients saw since a primary was killed."""


def make_display(console: Console) -> Display:
    """Return the display that suits where `console` leads to."""
    return Screen(console) if console.is_terminal else Lines(console)


class Lines:
    """Plain lines, one when something changed; for pipes and logs."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._last = ""
        self._next_rate_s = 0.0

    def say(self, text: str) -> None:
        """Print a line."""
        self._console.print(text)

    def show(self, view: RenderableType) -> None:
        """Print a table."""
        self._console.print(view)
        self._console.print()

    @contextlib.contextmanager
    def moving(self) -> Iterator[None]:
        """Forget what was said last, so that the next progress is said for certain."""
        self._last, self._next_rate_s = "", 0.0
        yield

    def progress(self, group: answers.Group, elapsed_s: float) -> None:
        """Print the counts of nodes by status when they changed."""
        summary = summary_of(group)
        if summary != self._last:
            self._last = summary
            self._console.print(f"  {elapsed_s:5.1f} s  {summary}")

    def rate(self, elapsed_s: float, seconds: float, operations: int) -> None:
        """Print the rate once a second."""
        if elapsed_s >= self._next_rate_s:
            self._next_rate_s = elapsed_s + 1.0
            self._console.print(f"  {elapsed_s:5.1f} s of {seconds:g} s  {operations:,} operations")

    def scaling(self, moment: Moment) -> None:
        """Print the slots of each shard and the speed once a second."""
        if moment.elapsed_s >= self._next_rate_s:
            self._next_rate_s = moment.elapsed_s + 1.0
            shards = ", ".join(f"{shard_id}: {count:,}" for shard_id, count in moment.slots)
            self._console.print(
                f"  {moment.elapsed_s:5.1f} s  slots {shards}; {moment.replicas} replicas; "
                f"{moment.operations_per_s:,.0f} operations/s, {moment.errors} errors"
            )

    def clients(self, shards: Sequence[ShardSeen], elapsed_s: float) -> None:
        """Print the writes and the longest gap of the shard once a second."""
        if elapsed_s >= self._next_rate_s:
            self._next_rate_s = elapsed_s + 1.0
            struck = next(shard for shard in shards if shard.is_struck)
            writes, gap = struck.writes, tables.gap_text(struck.writes.longest_gap_ms)
            self._console.print(
                f"  {elapsed_s:5.1f} s  shard {struck.shard_id}: {writes.answered:,} writes, "
                f"longest gap {gap}"
            )


class Screen:
    """Tables that change in place, on a terminal."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live: Live | None = None
        self._spinner = Spinner("dots")

    def say(self, text: str) -> None:
        """Print a line with a mark."""
        self._console.print(Text.assemble(("• ", "bold cyan"), text))

    def show(self, view: RenderableType) -> None:
        """Print a table with air around it."""
        self._console.print()
        self._console.print(view)
        self._console.print()

    @contextlib.contextmanager
    def moving(self) -> Iterator[None]:
        """Keep a place on the screen; it is empty again after the block."""
        with Live(
            console=self._console, refresh_per_second=_FRAMES_PER_S, transient=True
        ) as self._live:
            try:
                yield
            finally:
                self._live.update(Text(""))
        self._live = None

    def progress(self, group: answers.Group, elapsed_s: float) -> None:
        """Show every node with its status."""
        self._spinner.update(text=Text(f"{elapsed_s:5.1f} s  {summary_of(group)}"))
        self._update(Stack(self._spinner, Text(), tables.nodes_table(group.shards)))

    def rate(self, elapsed_s: float, seconds: float, operations: int) -> None:
        """Show a bar and the rate so far."""
        row = Table.grid(padding=(0, 2))
        rate = operations / elapsed_s if elapsed_s > 0 else 0.0
        row.add_row(
            ProgressBar(total=seconds, completed=min(elapsed_s, seconds), width=_BAR_WIDTH),
            f"{elapsed_s:4.1f} s of {seconds:g} s",
            Text(f"{rate:,.0f} operations/s", style="bold"),
        )
        self._update(row)

    def scaling(self, moment: Moment) -> None:
        """Show every shard with its slots as a bar, and below them the speed."""
        head = f"{moment.elapsed_s:5.1f} s  {first_line(moment.reason)}"
        self._spinner.update(text=Text(head))
        table = tables.plain_table("SHARD", "SLOTS", "")
        for shard_id, count in moment.slots:
            bar = ProgressBar(total=SLOT_COUNT, completed=count, width=2 * _BAR_WIDTH)
            table.add_row(Text(shard_id, style="bold"), f"{count:,}", bar)
        speed = Text.assemble(
            (f"{moment.operations_per_s:,.0f} operations/s", "bold"),
            f", {moment.replicas} replicas, ",
            (f"{moment.errors} errors", "bold red" if moment.errors else "green"),
        )
        self._update(Stack(self._spinner, Text(), table, Text(), speed))

    def clients(self, shards: Sequence[ShardSeen], elapsed_s: float) -> None:
        """Show every shard with what its clients saw."""
        self._spinner.update(text=Text(f"{elapsed_s:5.1f} s  since the kill"))
        self._update(Stack(self._spinner, Text(), tables.clients_table(shards, is_over=False)))

    def _update(self, view: RenderableType) -> None:
        if self._live is not None:
            self._live.update(view)


def summary_of(group: answers.Group) -> str:
    """Return the statuses of a group and its nodes in one line."""
    counts = Counter(node.status for shard in group.shards for node in shard.nodes)
    nodes = ", ".join(f"{count} {status}" for status, count in sorted(counts.items()))
    # The reason of a failed start has the engine's last words below it.
    reason = f" ({first_line(group.reason)})" if group.reason else ""
    return f"group {group.status}; nodes: {nodes or 'none yet'}{reason}"


def first_line(text: str) -> str:
    """Return the first line of a text that may have none."""
    return text.partition("\n")[0]


def figures_view(outcome: Outcome) -> RenderableType:
    """Return operations and latencies, by workload and together, and what they mean."""
    table = tables.plain_table("WORKLOAD", "OPERATIONS/S", "OPERATIONS", "P50", "P99", "P99.9")
    rows = [(kind, outcome.by_kind[kind]) for kind in KINDS]
    for name, figures in [*rows, ("together", outcome.total)]:
        latency = figures.latency
        table.add_row(
            name,
            f"{figures.operations_per_s:,}",
            f"{figures.operations:,}",
            *(f"{ms:.2f} ms" for ms in (latency.p50_ms, latency.p99_ms, latency.p99_9_ms)),
        )
    note = Text(
        f"An operation is one command. Latency is the round trip of one request: a pipeline of "
        f"{PIPELINE} commands to one shard."
    )
    return Stack(table, Text(), note)


def scaling_view(scaling: Scaling) -> RenderableType:
    """Return how long each step took, and what workers and clients noticed."""
    table = tables.plain_table("CHANGE", "TOOK")
    for step in scaling.steps:
        table.add_row(step.what, f"{step.seconds:.1f} s")
    text = Text.assemble(
        f"Meanwhile the workers had {scaling.operations:,} operations answered "
        f"({scaling.operations_per_s:,} a second). Of {scaling.requests:,} requests of stock "
        f"clients {scaling.failed_requests} failed, and none waited longer than ",
        (tables.gap_text(scaling.longest_gap_ms), "bold"),
        ".",
    )
    return Stack(table, Text(), text)


def failover_view(failover: Failover) -> RenderableType:
    """Return what clients of each shard saw, and the gap."""
    head = Text.assemble(
        f"Clients of shard {failover.shard_id} (*) were without an acknowledged write for ",
        (tables.gap_text(failover.gap_ms), "bold"),
        f"; {failover.primary or 'nobody'} is the primary now.",
    )
    parts: list[RenderableType] = [tables.clients_table(failover.shards), Text(), head]
    if failover.own_pause_ms > failover.gap_ms / 2:
        parts.append(
            Text(
                f"The demo itself did not get to run for {failover.own_pause_ms:.0f} ms: the "
                "machine is busy, and the gap may be its own."
            )
        )
    return Stack(*parts)


def checks_table(checks: Sequence[Check]) -> Table:
    """Return one row a check, with its result first."""
    table = Table.grid(padding=(0, 2))
    for check in checks:
        mark = Text("ok", style="green") if check.ok else Text("FAILED", style="bold red")
        table.add_row(mark, check.name, Text(first_line(check.detail), style="dim"))
    return table
