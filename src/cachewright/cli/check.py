"""How is a check called? `check` watches clients while a command changes a group."""

from __future__ import annotations

import contextlib
import shlex
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cachewright.cli import options
from cachewright.cli.failures import Failed

if TYPE_CHECKING:
    from rich.console import Console

    from cachewright.checker.clients import Kind
    from cachewright.cli import checking

_SECONDS_MAX = 3_600.0
_FRAMES_PER_S = 4
_CLIENTS = ("valkey-py", "redis-py", "valkey-glide")


@click.command(
    epilog=options.example(
        "cachewright check scores --seconds 10",
        "cachewright check scores --during 'cachewright scale scores --shards 5'",
        "cachewright check scores --during 'terraform apply -auto-approve' --output json | jq .ok",
    )
)
@click.argument("name")
@click.option(
    "--during",
    metavar="COMMAND",
    help="Run this meanwhile, without a shell; it is over when COMMAND has ended and the group is "
    "available again.",
)
@click.option(
    "--seconds",
    type=click.FloatRange(min=1.0, max=_SECONDS_MAX),
    default=_SECONDS_MAX,
    help="How long at most; without a command until Ctrl-C, and after an hour in any case.",
)
@click.option(
    "--rate",
    type=click.IntRange(min=100, max=20_000),
    default=2_000,
    show_default=True,
    help="Requests a second, half of them writes.",
)
@click.option(
    "--client",
    type=click.Choice(_CLIENTS),
    default=_CLIENTS[0],
    show_default=True,
    help="With which client, as people have it.",
)
@options.with_state_dir
@options.with_output
def check(
    *,
    name: str,
    during: str | None,
    seconds: float,
    rate: int,
    client: str,
    state_dir: Path,
    output: str,
) -> None:
    """Watch what clients see of a group while something is done to it.

    Ordinary clients write numbers into a list in each of the 16,384 slots of NAME and read them,
    through the group's endpoint, while COMMAND runs. What they saw is counted: requests that
    failed, the longest time without an answer, wrong answers, and at the end what is gone, doubled
    or strange, and keys of anybody on a node that does not own their slot. Where cluster mode is
    disabled, 256 lists are used.

    Lists named cachewright-check:* are written meanwhile and removed afterwards. The newest five
    verdicts are kept with the group: `cachewright show NAME`. The exit code is 0 if COMMAND worked,
    no request failed, and nothing was lost, doubled or wrong.
    """
    from cachewright.checker.clients import Kind
    from cachewright.cli import calls, checking, tables
    from cachewright.cli import output as screen

    kind = Kind(client)
    _refuse_missing(kind)
    command = _words(during)
    group = calls.find_service(state_dir).group(name)
    if group.kind == "memcached":
        raise Failed(
            f"{group.name} speaks the protocol of Memcached", hint="check asks no such nodes"
        )
    is_json = output == options.JSON
    console = screen.console(stderr=is_json)
    wish = checking.Wish(
        command=command,
        state_dir=state_dir.absolute(),
        seconds=seconds,
        kind=kind,
        requests_per_s=rate,
    )
    if not is_json:
        where = f"every slot of {group.name}" if group.cluster_enabled else group.name
        click.echo(f"Lists are written into {where} first, which takes some seconds.")
    with _tidy(), _moving(console, is_quiet=bool(command)) as show:
        report = checking.run(group, wish, show)
    if is_json:
        screen.print_json(report)
    else:
        console.print(tables.check_view(report))
    if report.left:
        click.echo(
            f"{report.left} keys could not be removed, such as {report.left_keys[0]}.", err=True
        )
    # After they are told, for who keeps them may be away.
    calls.find_service(state_dir).keep_check(group.name, checking.figures_of(report))
    if not report.ok:
        raise Failed(_blame(report), hint=f"`cachewright show {group.name}` tells what was done")


def _refuse_missing(kind: Kind) -> None:
    if not kind.is_here():
        raise Failed(
            f"a check with {kind.value} needs {kind.package}", hint=f"pip install {kind.package}"
        )


def _words(during: str | None) -> tuple[str, ...]:
    """Return the words of a command that can be run."""
    from cachewright.cli import checking

    if during is None:
        return ()
    try:
        words = tuple(shlex.split(during))
    except ValueError as error:
        raise click.BadParameter(f"{during!r} is no command: {error}") from None
    if not words:
        raise click.BadParameter("there is no command in it", param_hint="--during")
    if words[0] != checking.OURSELVES and shutil.which(words[0]) is None:
        raise Failed(f"{words[0]} is no program that can be found")
    return words


@contextlib.contextmanager
def _tidy() -> Iterator[None]:
    """End the program with the exit code of a signal that came in the block and ended it."""
    from cachewright.cli.interrupts import Interrupted, interruptible

    with interruptible() as interrupts:
        try:
            yield
        except Interrupted:
            click.echo(
                "Interrupted: the clients have ended and removed their keys where they could.",
                err=True,
            )
            sys.exit(interrupts.exit_code)


@contextlib.contextmanager
def _moving(console: Console, *, is_quiet: bool) -> Iterator[checking.Show]:
    """Give what shows how far the clients are: in one place on a terminal that is ours alone."""
    from rich.live import Live

    from cachewright.cli import tables

    if is_quiet or not console.is_terminal:
        yield lambda *_: None
        return
    with Live(console=console, refresh_per_second=_FRAMES_PER_S, transient=True) as live:
        yield lambda writes, reads: live.update(tables.requests_table(writes, reads))


def _blame(report: checking.Report) -> str:
    """Return what went wrong, of a check that is not `ok`."""
    failed = report.writes.failed + report.reads.failed
    said = [
        (not report.is_over, f"it is not over after {report.seconds:.0f} s"),
        (bool(report.exit_code), f"the command ended with {report.exit_code}"),
        (failed > 0, f"{failed} requests failed"),
        (bool(report.lost), f"{report.lost} acknowledged writes are gone"),
        (report.lost is None, "what some keys hold could not be read"),
        (report.doubled > 0, f"{report.doubled} writes are there twice"),
        (report.foreign > 0, f"{report.foreign} numbers are there that nobody wrote"),
        (report.wrong_reads > 0, f"{report.wrong_reads} answers were wrong"),
        (bool(report.strays), f"{report.strays} keys lie where no client finds them"),
        (not report.is_served, "clients were not served in the end"),
    ]
    return ", ".join(text for is_so, text in said if is_so)
