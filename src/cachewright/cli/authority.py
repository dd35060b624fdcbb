"""Whom does a client have to trust to speak TLS with nodes? `ca` prints the certificate."""

from __future__ import annotations

from pathlib import Path

import click

from cachewright.cli import options
from cachewright.cli.failures import Failed


@click.command(epilog=options.example("cachewright ca > ca.pem"))
@options.with_state_dir
def ca(state_dir: Path) -> None:
    """Print the certificate that signs for nodes with encryption in transit, in PEM.

    It is the service's own, and stays the same for as long as its folder does: ca.pem is there too.
    """
    from cachewright.agent import certificates, disk
    from cachewright.model.errors import Terminal

    if not state_dir.is_dir():
        hint = "start one with `cachewright up`, or name its folder with --state-dir"
        raise Failed(f"There is no service in {state_dir}", hint=hint)
    try:
        found = certificates.Authority(state_dir).certificate()
    except Terminal as error:
        raise Failed(str(error)) from error
    except OSError as error:
        raise Failed(f"The certificate cannot be read: {disk.explain(error)}") from error
    click.echo(found.decode("ascii"), nl=False)
