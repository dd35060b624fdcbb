"""What do groups, plans and engines look like to people? Values in, rich tables out.

Pure: nothing is printed or asked here. The display of the demo uses the same tables.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich import box
from rich.console import Group as Stack
from rich.console import RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from cachewright.cli import answers

if TYPE_CHECKING:
    from cachewright.cli.changing import Report as ChangeReport
    from cachewright.cli.checking import Report as CheckReport
    from cachewright.cli.checking import RequestsReport
    from cachewright.cli.drilling import Report as DrillReport
    from cachewright.cli.watching import ShardSeen

#: Statuses that need no look, those that pass by themselves, and those that need somebody.
_GOOD = frozenset({"available"})
_BAD = frozenset({"create-failed", "incompatible-network"})
_NOTHING = "-"
_BAR_WIDTH = 60
#: Ranges of slots of one shard that people are shown; a program gets all.
_RANGES_SHOWN = 5
#: From here on seconds say more.
_MANY_MS = 10_000
#: Lists of a check where there are no slots.
_KEYS_OF_FEW = 256
#: What the kinds without shards and roles are called.
_MODES = {"single-node": "a single node", "memcached": "nodes side by side"}


def status_text(status: str) -> Text:
    """Return a status in its colour."""
    style = "green" if status in _GOOD else "bold red" if status in _BAD else "yellow"
    return Text(status, style=style)


def groups_table(groups: Sequence[answers.GroupRow]) -> Table:
    """Return one row a group."""
    table = plain_table("NAME", "STATUS", "ENGINE", "NODE TYPE", "SHARDS", "NODES", "ENDPOINT")
    for group in groups:
        table.add_row(
            Text(group.name, style="bold"),
            status_text(group.status),
            f"{group.engine} {group.engine_version}",
            group.node_type,
            str(group.shards),
            str(group.nodes),
            group.endpoint or _NOTHING,
        )
    return table


def group_view(group: answers.Group) -> RenderableType:
    """Return everything that is known of one group."""
    head = Text.assemble((group.name, "bold"), "  ", status_text(group.status))
    if how_far := _how_far(group):
        head.append(f"  {how_far}")
    parts: list[RenderableType] = [head, _facts(group)]
    parts.append(nodes_table(group.shards, has_roles=group.kind != "memcached"))
    if group.events:
        parts.append(events_table(group.events))
    if group.checks:
        parts.append(checks_table(group.checks))
    return Stack(*parts)


def progress_view(group: answers.Group, change: str, seconds: float) -> RenderableType:
    """Return how far a change is that goes on."""
    head = Text.assemble(
        (group.name, "bold"), "  ", status_text(group.status), f"  {change}, {seconds:.0f} s"
    )
    percent = group.resharding_percent or 0.0
    bar = ProgressBar(total=100.0, completed=percent, width=_BAR_WIDTH)
    parts: list[RenderableType] = [head, Text(_how_far(group)), Text()]
    if group.resharding_percent is not None:
        parts.insert(2, bar)
    return Stack(*parts, nodes_table(group.shards, has_roles=group.kind != "memcached"))


def progress_text(group: answers.Group) -> str:
    """Return the same in a line, which is the same one as long as little has happened."""
    return f"{group.status}  {_how_far(group)}".rstrip()


def change_view(report: ChangeReport) -> RenderableType:
    """Return what became of a change that is over."""
    outcome = "done" if report.ok else "not reached"
    head = Text.assemble(
        (report.name, "bold"), "  ", status_text(report.status),
        f"  {report.change}: {outcome} after {report.seconds:.1f} s",
    )  # fmt: skip
    parts: list[RenderableType] = [head]
    if not report.ok:
        parts += [Text(f"  {event}") for event in report.events]
    parts.append(nodes_table(report.group.shards, has_roles=report.group.kind != "memcached"))
    return Stack(*parts)


def nodes_table(shards: Sequence[answers.Shard], *, has_roles: bool = True) -> Table:
    """Return one row a node, shard by shard: the topology."""
    table = plain_table("SHARD", "SLOTS", "NODE", "ROLE", "STATUS", "ADDRESS", "ZONE")
    nobody_knows = "unknown" if has_roles else _NOTHING
    for shard in shards:
        for index, node in enumerate(shard.nodes):
            is_first = index == 0
            table.add_row(
                shard.shard_id if is_first else "",
                slots_text(shard.slots) if is_first else "",
                node.node_id,
                Text(node.role or nobody_knows, style="bold" if node.role == "primary" else ""),
                status_text(node.status),
                _place(node),
                node.zone,
            )
    return table


def slots_text(slots: str) -> str:
    """Return slots as they fit in a table: of many ranges the first ones and how many there are."""
    parts = slots.split(",")
    if len(parts) <= _RANGES_SHOWN:
        return slots or _NOTHING
    bounds = (part.partition("-")[::2] for part in parts)
    count = sum(int(last) - int(first) + 1 for first, last in bounds)
    shown = ",".join(parts[: _RANGES_SHOWN - 1])
    return f"{shown},... ({count:,} in {len(parts):,} ranges)"


def events_table(events: Sequence[answers.Event]) -> Table:
    """Return one row an event, in the given order."""
    table = plain_table("TIME", "SOURCE", "EVENT")
    for event in events:
        table.add_row(event.at[:19].replace("T", " "), event.source_id, event.message)
    return table


def checks_table(checks: Sequence[answers.Check]) -> Table:
    """Return one row a check that was kept: what clients saw, and during what."""
    headings = ("CHECK", "CLIENTS", "REQUESTS", "FAILED", "WRONG", "LOST", "LONGEST GAP", "DURING")
    table = plain_table(*headings)
    for check in checks:
        lost = "unknown" if check.lost is None else f"{check.lost:,}"
        wrong = check.wrong_reads + check.doubled
        table.add_row(
            check.at[:19].replace("T", " "),
            Text("served", style="green") if check.is_good else Text("not well", style="bold red"),
            f"{check.requests:,}",
            _blamed(check.failed, "bold red"),
            _blamed(wrong, "bold red"),
            Text(lost, style="" if check.lost == 0 else "bold red"),
            gap_text(check.longest_gap_ms),
            check.during or f"{check.seconds:.0f} s",
        )
    return table


def explanation_view(explanation: answers.Explanation) -> RenderableType:
    """Return what would be done next, and why."""
    head = Text.assemble((explanation.name, "bold"), "  ", status_text(explanation.status))
    if explanation.reason:
        head.append(f"  {explanation.reason}")
    if not explanation.steps:
        return Stack(head, Text(f"Nothing is to be done now.{_next_look(explanation)}"))
    table = plain_table("STEP", "NODE", "WHY")
    for step in explanation.steps:
        table.add_row(step.command, step.node_id or _NOTHING, step.reason)
    return Stack(head, Text(f"To be done now, all at once.{_next_look(explanation)}"), table)


def engines_table(engines: Sequence[answers.Engine]) -> Table:
    """Return one row an engine line."""
    table = plain_table("ENGINE", "VERSION", "BUILD", "STATE", "SOURCE")
    for engine in engines:
        state = Text("installed", style="green") if engine.is_installed else Text("installable")
        version = engine.version or _NOTHING
        table.add_row(engine.engine, engine.api_version, version, state, engine.source)
    return table


def drill_view(report: DrillReport) -> RenderableType:
    """Return what a drill came to."""
    gap_ms = report.struck.writes.longest_gap_ms
    failed = report.struck.writes.failed + report.struck.reads.failed
    successor = (
        f"{report.primary} is the primary now" if report.primary else "it has no primary yet"
    )
    lines = [
        f"* {report.node_id}, the primary of shard {report.shard_id}, was ended; {successor}.",
        f"  Its clients had no acknowledged write for {gap_text(gap_ms)}; {failed} of their "
        "requests failed.",
    ]
    slowest_ms = max(shard.pace_ms for shard in report.shards)
    if slowest_ms > report.struck.pace_ms:
        lines.append(
            f"  The clients of the other shards asked every {slowest_ms:.0f} ms, so no gap of "
            "theirs is shorter."
        )
    if report.own_pause_ms > gap_ms / 2:
        lines.append(
            f"  This program itself did not get to run for {report.own_pause_ms:.0f} ms: the "
            "machine is busy, and the gap may be its own."
        )
    if report.whole_after_s is None:
        lines.append(
            f"  Not every node serves after {report.seconds:.0f} s: `cachewright explain "
            f"{report.name}` says what is waited for."
        )
    else:
        lines.append(f"  Every node served again after {report.whole_after_s:.1f} s.")
    lost = sum(shard.lost or 0 for shard in report.shards)
    if report.ok:
        accepted = f"{lost:,} acknowledged writes were lost, which was accepted"
        lines.append(f"  {accepted if lost else 'No acknowledged write was lost'}.")
    return Stack(clients_table(report.shards), Text(), *map(Text, lines))


def check_view(report: CheckReport) -> RenderableType:
    """Return what a check came to."""
    during = f", during `{report.during}`" if report.during else ""
    head = f"{report.name}, {report.seconds:.1f} s with {report.client}{during}"
    lists = "in each slot" if report.keys > _KEYS_OF_FEW else f"{report.keys} in all"
    lost = "unknown" if report.lost is None else f"{report.lost:,}"
    lines = [
        f"Lists {lists}: {report.keys:,} written before, {report.keys_written:,} of them "
        "meanwhile, all read back after.",
        f"Acknowledged writes that are gone: {lost}; twice: {report.doubled:,}; that nobody sent: "
        f"{report.foreign:,}; wrong answers: {report.wrong_reads:,}.",
    ]
    if report.strays is not None:
        lines.append(f"Keys of anybody where no client finds them: {report.strays:,}.")
    gap_ms = max(report.writes.longest_gap_ms, report.reads.longest_gap_ms)
    if report.own_pause_ms > gap_ms / 2:
        lines.append(
            f"This program itself did not get to run for {report.own_pause_ms:.0f} ms: the "
            "machine is busy, and the gap may be its own."
        )
    lines += [f"Failed: {error}" for error in report.errors]
    if report.ok:
        lines.append("No request failed, and nothing is lost, doubled or wrong.")
    table = requests_table(report.writes, report.reads)
    return Stack(Text(head), Text(), table, Text(), *map(Text, lines))


def requests_table(writes: RequestsReport, reads: RequestsReport) -> Table:
    """Return a row for writes and one for reads: how they went."""
    table = plain_table("", "ANSWERED", "FAILED", "PER SECOND", "LOWEST", "LONGEST GAP")
    for name, kind in (("writes", writes), ("reads", reads)):
        table.add_row(
            Text(name, style="bold"),
            f"{kind.answered:,}",
            _blamed(kind.failed, "bold red"),
            f"{kind.per_second:,.0f}",
            f"{kind.lowest_per_second:,.0f}",
            gap_text(kind.longest_gap_ms),
        )
    return table


def clients_table(shards: Sequence[ShardSeen], *, is_over: bool = True) -> Table:
    """Return one row a shard: what its clients saw. What is lost is known when it `is_over`."""
    headings = ("SHARD", "WRITES", "FAILED", "LONGEST GAP", "READS", "FAILED", "WRONG")
    table = plain_table(*headings, *(("LOST WRITES",) if is_over else ()))
    for shard in shards:
        row: list[RenderableType] = [
            Text(f"{shard.shard_id} *" if shard.is_struck else shard.shard_id, style="bold"),
            f"{shard.writes.answered:,}",
            _blamed(shard.writes.failed, "yellow"),
            gap_text(shard.writes.longest_gap_ms),
            f"{shard.reads.answered:,}",
            _blamed(shard.reads.failed, "yellow"),
            _blamed(shard.wrong_reads, "bold red"),
        ]
        if is_over:
            row.append(
                Text("unknown", style="bold red")
                if shard.lost is None
                else _blamed(shard.lost, "bold red")
            )
        table.add_row(*row)
    return table


def gap_text(gap_ms: float) -> str:
    """Return a gap in the unit in which people think of it."""
    return f"{gap_ms:,.0f} ms" if gap_ms < _MANY_MS else f"{gap_ms / 1000:,.1f} s"


def plain_table(*headings: str) -> Table:
    """Return an empty table with these headings, in the one look that all tables have."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for heading in headings:
        table.add_column(heading, overflow="fold")
    return table


def _how_far(group: answers.Group) -> str:
    """Return what is waited for, and how much of a resharding is done."""
    percent = group.resharding_percent
    if percent is None:
        return group.reason
    return f"{group.reason or 'resharding'} ({percent:.0f} %)"


def _facts(group: answers.Group) -> Table:
    grid = Table.grid(padding=(0, 2))
    mode = _MODES.get(group.kind) or (
        "cluster mode" if group.cluster_enabled else "no cluster mode"
    )
    builds = sorted({n.engine_version for s in group.shards for n in s.nodes if n.engine_version})
    runs = f" (runs {', '.join(builds)})" if builds else ""
    grid.add_row(
        "engine", f"{group.engine} {group.engine_version}{runs} on {group.node_type}, {mode}"
    )
    if group.description:
        grid.add_row("description", group.description)
    ends = group.endpoints
    for role, address in (
        ("configuration", ends.configuration),
        ("primary", ends.primary),
        ("reader", ends.reader),
        ("node", ends.node),
    ):
        if address is not None:
            grid.add_row(f"{role} endpoint", address)
    grid.add_row("created", group.created_at[:19].replace("T", " "))
    return grid


def _blamed(count: int, style: str) -> Text:
    return Text(f"{count:,}", style=style if count else "")


def _place(node: answers.Node) -> str:
    return _NOTHING if node.address is None else f"{node.address}:{node.port}"


def _next_look(explanation: answers.Explanation) -> str:
    if explanation.look_again_s is None:
        return ""
    return f" The next look is in {explanation.look_again_s:g} s, or as soon as something happens."
