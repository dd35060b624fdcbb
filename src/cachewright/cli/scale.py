"""How do people change the size or the version of what serves? `scale` and `upgrade`."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cachewright.cli import options
from cachewright.cli.failures import Failed

if TYPE_CHECKING:
    from rich.console import Console

    from cachewright.cli import answers, calls, changing

    Show = Callable[[answers.Group, float], None]

_TIMEOUT_S_MAX = 7 * 24 * 3_600.0
_FRAMES_PER_S = 8


def _with_waiting(command: Callable[..., object]) -> Callable[..., object]:
    """Add `--timeout` and `--no-wait`."""
    command = click.option(
        "--timeout",
        type=click.FloatRange(min=0.0, max=_TIMEOUT_S_MAX),
        default=3_600.0,
        show_default=True,
        metavar="SECONDS",
        help="How long to wait for the end; the change goes on all the same.",
    )(command)
    return click.option("--no-wait", is_flag=True, help="Return once the change is accepted.")(
        command
    )


@click.command(
    epilog=options.example(
        "cachewright scale scores --shards 5",
        "cachewright scale scores --shards 3 --remove 0002 --remove 0004",
        "cachewright scale scores --replicas 2 --shard 0001",
        "cachewright scale scores --node-type cache.r7g.large",
    )
)
@click.argument("name")
@click.option(
    "--shards",
    type=click.IntRange(min=1),
    metavar="N",
    help="So many shards; as many as there are spread their slots anew.",
)
@click.option(
    "--remove", multiple=True, metavar="ID", help="With --shards: which go; the last by default."
)
@click.option(
    "--replicas", type=click.IntRange(min=0), metavar="N", help="So many replicas in each shard."
)
@click.option(
    "--shard", multiple=True, metavar="ID", help="With --replicas: only in this shard; repeatable."
)
@click.option("--node-type", metavar="TYPE", help="Nodes of this type, larger or smaller.")
@_with_waiting
@options.with_state_dir
@options.with_output
def scale(
    *,
    name: str,
    shards: int | None,
    remove: tuple[str, ...],
    replicas: int | None,
    shard: tuple[str, ...],
    node_type: str | None,
    timeout: float,
    no_wait: bool,
    state_dir: Path,
    output: str,
) -> None:
    """Change the number of shards, of replicas, or the node type while clients go on.

    NAME is a replication group or a single node; a Memcached cluster can change its node type. One
    change at a time; it is followed until it is done. Ctrl-C ends the command and not the change.
    The exit code is 0 if it has come true.
    """
    from cachewright.cli import calls, changing

    asked = [
        shards is not None or bool(remove),
        replicas is not None or bool(shard),
        node_type is not None,
    ]
    if sum(asked) != 1 or (shard and replicas is None):
        raise click.UsageError(
            "say one of --shards N, --replicas N and --node-type TYPE "
            "(--remove goes with --shards, --shard with --replicas)"
        )
    service = calls.find_service(state_dir)
    group = service.group(name)
    if replicas is not None:
        change = changing.replicas(group, replicas, shard)
    elif node_type is not None:
        change = changing.node_type(group, node_type)
    else:
        change = changing.shards(group, shards, remove)
    _carry_out(service, group, change, timeout_s=0.0 if no_wait else timeout, output=output)


@click.command(
    epilog=options.example(
        "cachewright upgrade scores 9.1", "cachewright upgrade old-redis 9.1 --engine valkey"
    )
)
@click.argument("name")
@click.argument("version")
@click.option(
    "--engine",
    metavar="NAME",
    help="The engine of the version; of Redis, Valkey is meant where there is no such Redis.",
)
@click.option(
    "--parameter-group",
    metavar="NAME",
    help="Of the version's family; needed where the present one is of your own making.",
)
@_with_waiting
@options.with_state_dir
@options.with_output
def upgrade(
    *,
    name: str,
    version: str,
    engine: str | None,
    parameter_group: str | None,
    timeout: float,
    no_wait: bool,
    state_dir: Path,
    output: str,
) -> None:
    """Bring a group or cluster to a newer engine version, node by node, replicas first.

    `cachewright engines list` shows the versions that can run here; one that is not installed is
    installed first. A version is never taken back. Ctrl-C ends the command and not the change.
    """
    from cachewright.cli import calls, changing

    service = calls.find_service(state_dir)
    group = service.group(name)
    change = changing.version(
        group,
        version,
        engine=engine or changing.engine_for(group, version, service.engines()),
        parameter_group=parameter_group,
    )
    _carry_out(service, group, change, timeout_s=0.0 if no_wait else timeout, output=output)


def _carry_out(
    service: calls.Service,
    group: answers.Group,
    change: changing.Change,
    *,
    timeout_s: float,
    output: str,
) -> None:
    """Ask for a change, follow it, and tell what became of it."""
    from cachewright.cli import changing, tables
    from cachewright.cli import output as screen

    is_json = output == options.JSON
    console = screen.console(stderr=is_json)
    service.operate(change.action, change.params)
    with _going_on(group.name, change), _moving(console, change, is_quiet=is_json) as show:
        report = changing.follow(
            group, change, lambda: service.group(group.name), timeout_s=timeout_s, show=show
        )
    if is_json:
        screen.print_json(report)
    elif report.is_over:
        console.print(tables.change_view(report))
    else:
        click.echo(f"{change.text} is accepted and goes on: `cachewright show {group.name}`")
    if report.is_over and not report.ok:
        raise Failed(
            f"{report.name} is {report.status}, without {change.text}",
            hint=f"the events in `cachewright show {report.name}` say why",
        )
    if not report.is_over and timeout_s:
        raise Failed(
            f"{report.name} is still {report.status} after {report.seconds:.0f} s",
            hint=f"`cachewright explain {report.name}` says what it waits for",
        )


@contextlib.contextmanager
def _going_on(name: str, change: changing.Change) -> Iterator[None]:
    """Say what an interruption of the block means, and end with the exit code of the signal."""
    from cachewright.cli.interrupts import Interrupted, interruptible

    with interruptible() as interrupts:
        try:
            yield
        except Interrupted:
            click.echo(
                f"\n{change.text} goes on without you: `cachewright show {name}` says how far "
                "it is.",
                err=True,
            )
            sys.exit(interrupts.exit_code)


@contextlib.contextmanager
def _moving(console: Console, change: changing.Change, *, is_quiet: bool) -> Iterator[Show]:
    """Give what shows how far it is: in one place on a terminal, line by line elsewhere."""
    from rich.live import Live

    from cachewright.cli import tables

    if console.is_terminal:
        with Live(console=console, refresh_per_second=_FRAMES_PER_S, transient=True) as live:
            yield lambda group, seconds: live.update(
                tables.progress_view(group, change.text, seconds)
            )
        return
    told: list[str] = []

    def tell(group: answers.Group, seconds: float) -> None:
        line = tables.progress_text(group)
        if line not in told[-1:] and not is_quiet:
            console.print(f"{seconds:6.1f} s  {line}")
        told[:] = [line]

    yield tell
