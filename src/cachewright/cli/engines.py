"""Which engines can run, and how does another one come here? `engines list` and `install`."""

from __future__ import annotations

from pathlib import Path

import click

from cachewright.cli import options


@click.group(
    epilog=options.example("cachewright engines list", "cachewright engines install redis 7.0")
)
def engines() -> None:
    """List and install the engines that groups can run."""


@engines.command(name="list", epilog=options.example("cachewright engines list"))
@options.with_state_dir
@options.with_output
def list_engines(state_dir: Path, output: str) -> None:
    """List the engine versions that run here, or could after an installation."""
    from cachewright.cli import calls, tables
    from cachewright.cli import output as screen

    found = calls.find_service(state_dir).engines()
    if output == options.JSON:
        screen.print_json(found)
    else:
        screen.console().print(tables.engines_table(found.engines))


@engines.command(epilog=options.example("cachewright engines install valkey 8.1"))
@click.argument("engine")
@click.argument("version")
@options.with_state_dir
@options.with_output
def install(engine: str, version: str, state_dir: Path, output: str) -> None:
    """Bring an engine onto this machine, without root and beside what is installed.

    ENGINE is valkey, redis or memcached; VERSION is what the API calls it: major.minor, of
    Memcached the full version.
    """
    from cachewright.cli import calls
    from cachewright.cli import output as screen

    service = calls.find_service(state_dir)
    with screen.console(stderr=True).status(f"Installing {engine} {version} ..."):
        installed = service.install(engine, version)
    if output == options.JSON:
        screen.print_json(installed)
    else:
        click.echo(f"{installed.engine} {installed.version} is installed ({installed.source}).")
