"""How is the demo called? Options, exit code and what to do next."""

from __future__ import annotations

import importlib.util
import sys
from typing import TYPE_CHECKING

import click

from cachewright.cli import options
from cachewright.cli.failures import Failed

if TYPE_CHECKING:
    from cachewright.cli.demo.story import OpenService, Wish

#: Packages of the extra `testing`.
_NEEDED = ("boto3", "valkey")
_WORKERS_MAX = 64
_SECONDS_MAX = 3_600
_NEXT = """To go on:
  cachewright up                     run the service here; it says how to point AWS tools at it
  aws --profile cachewright elasticache create-replication-group \\
    --replication-group-id scores --replication-group-description scores \\
    --num-node-groups 3 --replicas-per-node-group 1 --cache-node-type cache.t4g.small
  cachewright show scores            see where it runs, node by node
  cachewright drill scores           kill a primary of it, and see what clients see
"""


def demo_command(open_service: OpenService) -> click.Command:
    """Return the command `demo`, with which a service of its own is opened for it."""

    @click.command(
        name="demo",
        epilog=options.example(
            "cachewright demo --seconds 5 --workers 4",
            "cachewright demo --output json | jq .failover",
        ),
    )
    @click.option(
        "--seconds",
        type=click.FloatRange(min=0.1, max=_SECONDS_MAX),
        default=8.0,
        show_default=True,
        help="How long the workers work before the cluster is scaled under them.",
    )
    @click.option(
        "--workers",
        type=click.IntRange(min=1, max=_WORKERS_MAX),
        default=2,
        show_default=True,
        help="Processes that send requests.",
    )
    @click.option(
        "--scaling/--no-scaling",
        default=True,
        help="With the part in which shards and replicas come and go, or without it.",
    )
    @options.with_output
    def demo(*, seconds: float, workers: int, scaling: bool, output: str) -> None:
        """Watch a real sharded cluster come up, work, grow, shrink, lose a primary, and go.

        Starts a service of its own in a temporary folder, creates 3 shards x 1 replica with
        boto3, lets worker processes play a leaderboard and a session store, and goes to 5 shards,
        to 2, and to 2 replicas under them. Then it compares the data, kills a primary with SIGKILL
        while clients write, tells how long they were without an answer, compares again, deletes
        all and looks for leftovers. The exit code is 0 only if everything held, no request failed
        while the cluster was scaled, and no acknowledged write was lost. Ctrl-C at any moment
        leaves nothing behind.
        """
        from cachewright.cli.demo import story

        wish = story.Wish(workers=workers, seconds=seconds, has_scaling=scaling)
        sys.exit(_run(open_service, wish, output))

    return demo


def _run(open_service: OpenService, wish: Wish, output: str) -> int:
    from cachewright.cli.interrupts import Interrupted, interruptible

    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise Failed(
            f"the demo needs {' and '.join(missing)}", hint="pip install 'cachewright[testing]'"
        )
    with interruptible() as interrupts:
        try:
            from cachewright.cli import output as screen
            from cachewright.cli.demo import story

            is_json = output == options.JSON
            report = story.play(
                open_service,
                console=screen.console(stderr=is_json),
                interrupts=interrupts,
                wish=wish,
            )
        except Interrupted:
            click.echo("Interrupted: the service is stopped and its folder removed.", err=True)
            return interrupts.exit_code or 1
        if is_json:
            screen.print_json(report)
        elif report.ok:
            click.echo(_NEXT, nl=False)
        for check in report.checks:
            if not check.ok:
                click.echo(f"Failed: {check.name}: {check.detail}", err=True)
        return interrupts.exit_code or (0 if report.ok else 1)
