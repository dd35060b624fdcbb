"""How is a fire drill called? `drill` asks first, ends a primary, and tells what clients saw."""

from __future__ import annotations

import contextlib
import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cachewright.cli import options
from cachewright.cli.failures import Failed

if TYPE_CHECKING:
    from rich.console import Console

    from cachewright.cli import answers, drilling

#: A package of the extra `testing`.
_NEEDED = "valkey"
_SECONDS_MAX = 3_600.0
_FRAMES_PER_S = 8


@click.command(
    epilog=options.example(
        "cachewright drill scores",
        "cachewright drill scores --shard 0002 --yes",
        "cachewright drill scores --yes --output json | jq '.shards[].writes.longest_gap_ms'",
    )
)
@click.argument("name")
@click.option("--shard", metavar="ID", help="Which shard loses its primary; the first by default.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option(
    "--accept-loss",
    is_flag=True,
    help="Go on where no replica could take over, although the data is lost then.",
)
@click.option(
    "--seconds",
    type=click.FloatRange(min=1.0, max=_SECONDS_MAX),
    default=30.0,
    show_default=True,
    help="How long clients are watched at most; it is over when the group is whole again.",
)
@options.with_state_dir
@options.with_output
def drill(
    *,
    name: str,
    shard: str | None,
    yes: bool,
    accept_loss: bool,
    seconds: float,
    state_dir: Path,
    output: str,
) -> None:
    """End the primary of a shard as a crash would, and report what clients saw.

    A fire drill for the replication group NAME. Ordinary clients write and read numbers in every
    shard through the group's endpoint; then the process of one primary gets SIGKILL. What they saw
    is counted: failed requests, the longest time without an acknowledged write, wrong answers, and
    acknowledged writes that are gone. Clients of your own see the same, so choose the moment.

    It asks first. Lists named cachewright-check:* are written meanwhile and removed afterwards.
    The exit code is 0 if clients are served again and nothing that was acknowledged is lost.
    """
    from cachewright.cli import calls, drilling, tables
    from cachewright.cli import output as screen

    if importlib.util.find_spec(_NEEDED) is None:
        raise Failed(f"a drill needs {_NEEDED}", hint="pip install 'cachewright[testing]'")
    service = calls.find_service(state_dir)
    group = service.group(name)
    struck = shard_to_strike(group, shard)
    text = announcement(group, struck, accepts_loss=accept_loss)
    if not yes:
        _ask(text)
    is_json = output == options.JSON
    console = screen.console(stderr=is_json)
    wish = drilling.Wish(shard_id=struck.shard_id, accepts_loss=accept_loss, seconds=seconds)
    with _tidy(group.name), _moving(console) as show:
        report = drilling.run(service, group, wish, show)
    if is_json:
        screen.print_json(report)
    else:
        console.print(tables.drill_view(report))
    if report.left_keys:
        click.echo(
            f"{len(report.left_keys)} keys could not be removed, such as {report.left_keys[0]}.",
            err=True,
        )
    if not report.ok:
        raise Failed(_blame(report), hint="docs/failover.md says what may be lost, and why")


def shard_to_strike(group: answers.Group, shard_id: str | None) -> answers.Shard:
    """Return the shard that is meant, or raise what is wrong with the wish."""
    if group.kind != "replication-group":
        raise Failed(
            f"{group.name} is not a replication group: nothing fails over",
            hint="`cachewright ls` shows what there is",
        )
    known = {shard.shard_id: shard for shard in group.shards}
    wanted = min(known) if shard_id is None else shard_id
    if wanted not in known:
        raise Failed(
            f"{group.name} has no shard {wanted}", hint=f"it has {', '.join(sorted(known))}"
        )
    return known[wanted]


def announcement(group: answers.Group, struck: answers.Shard, *, accepts_loss: bool) -> str:
    """Return what is going to happen, or raise why it cannot."""
    from cachewright.cli import watching

    where = f"shard {struck.shard_id} of {group.name}"
    primary = watching.primary_of(struck)
    if primary is None or group.status != "available":
        raise Failed(
            f"{group.name} is {group.status}"
            + ("" if primary else f", and {where} has no primary now"),
            hint=f"wait until it is available; `cachewright explain {group.name}` says for what",
        )
    has_successor = any(
        node.role == "replica" and node.status == "available" for node in struck.nodes
    )
    if not has_successor and not accepts_loss:
        raise Failed(
            f"{where} has no replica that could take over, so its data would be lost",
            hint="give it a replica first, or say --accept-loss",
        )
    what_then = (
        "its clients get errors until a replica has taken over"
        if has_successor
        else "no replica can take over: WHAT IT HOLDS IS LOST unless it is kept in a file"
    )
    return (
        f"{primary}, the primary of {where}, is ended with SIGKILL, as a crash would: {what_then}."
    )


def _ask(text: str) -> None:
    click.echo(text, err=True)
    try:
        is_sure = click.confirm("Go on?", err=True)
    except click.Abort:
        click.echo(err=True)
        raise Failed("nobody said yes, so nothing was ended", hint="--yes does not ask") from None
    if not is_sure:
        raise Failed("nothing was ended")


@contextlib.contextmanager
def _tidy(name: str) -> Iterator[None]:
    """End the program with the exit code of the signal after one that came in the block."""
    from cachewright.cli.interrupts import Interrupted, interruptible

    with interruptible() as interrupts:
        try:
            yield
        except Interrupted:
            click.echo(
                "Interrupted: the clients of the drill have ended and their keys are removed; "
                f"`cachewright show {name}` says whether the primary was ended.",
                err=True,
            )
            sys.exit(interrupts.exit_code)


@contextlib.contextmanager
def _moving(console: Console) -> Iterator[drilling.Show]:
    """Give what shows how far the clients are: in one place on a terminal, and nowhere else."""
    from rich.live import Live

    from cachewright.cli import tables

    if not console.is_terminal:
        yield lambda _: None
        return
    with Live(console=console, refresh_per_second=_FRAMES_PER_S, transient=True) as live:
        yield lambda shards: live.update(tables.clients_table(shards, is_over=False))


def _blame(report: drilling.Report) -> str:
    """Return what went wrong, of a drill that is not `ok`."""
    lost = sum(shard.lost or 0 for shard in report.shards)
    unknown = [shard.shard_id for shard in report.shards if shard.lost is None]
    if lost and not report.accepts_loss:
        return f"{lost} acknowledged writes were lost"
    if unknown:
        return f"what shard {', '.join(unknown)} holds could not be read"
    return "clients are not served as before, or found what nobody wrote"
