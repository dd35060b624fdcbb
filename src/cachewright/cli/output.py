"""How does a result reach the screen or a program?

A terminal gets colours and its own width; a pipe gets plain lines that are never cut, and with
`NO_COLOR` a terminal gets no colours either (rich sees to both). Texts of the service are printed
as they are, never read as markup.
"""

from __future__ import annotations

import sys

import click
import msgspec
from rich.console import Console

#: Wide enough for the longest row of a table; a pipe has no width of its own.
_PIPE_WIDTH = 240


def console(*, stderr: bool = False) -> Console:
    """Return a console for people, on standard output unless `stderr`."""
    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() else _PIPE_WIDTH
    return Console(stderr=stderr, width=width, markup=False, emoji=False, highlight=False)


def print_json(value: object) -> None:
    """Print one document and a newline on standard output."""
    click.echo(msgspec.json.format(msgspec.json.encode(value), indent=2))
