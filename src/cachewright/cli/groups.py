"""How do people look at their groups? `ls`, `show` and `explain`."""

from __future__ import annotations

from pathlib import Path

import click

from cachewright.cli import options


@click.command(
    epilog=options.example(
        "cachewright ls", "cachewright ls --output json | jq -r '.groups[].name'"
    )
)
@options.with_state_dir
@options.with_output
def ls(state_dir: Path, output: str) -> None:
    """List the replication groups and cache clusters of the service."""
    from cachewright.cli import calls, tables
    from cachewright.cli import output as screen

    found = calls.find_service(state_dir).groups()
    if output == options.JSON:
        screen.print_json(found)
    elif found.groups:
        screen.console().print(tables.groups_table(found.groups))
    else:
        click.echo("There is no group and no cluster. Create one through the ElastiCache API.")


@click.command(
    epilog=options.example(
        "cachewright show scores",
        "cachewright show scores --output json | jq -r '.endpoints.configuration'",
    )
)
@click.argument("name")
@options.with_state_dir
@options.with_output
def show(name: str, state_dir: Path, output: str) -> None:
    """Show one group or cluster: shards, nodes, roles, addresses, slots and recent events."""
    from cachewright.cli import calls, tables
    from cachewright.cli import output as screen

    group = calls.find_service(state_dir).group(name)
    if output == options.JSON:
        screen.print_json(group)
    else:
        screen.console().print(tables.group_view(group))


@click.command(epilog=options.example("cachewright explain scores"))
@click.argument("name")
@options.with_state_dir
@options.with_output
def explain(name: str, state_dir: Path, output: str) -> None:
    """Say what would be done next for a group or cluster, and why. Changes nothing."""
    from cachewright.cli import calls, tables
    from cachewright.cli import output as screen

    explanation = calls.find_service(state_dir).explain(name)
    if output == options.JSON:
        screen.print_json(explanation)
    else:
        screen.console().print(tables.explanation_view(explanation))
