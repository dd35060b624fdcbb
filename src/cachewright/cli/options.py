"""Which options do all commands share?"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., object])

#: The two ways of showing a result; the values of `--output`.
TEXT, JSON = "text", "json"


def default_state_dir() -> Path:
    """Return the folder of the service when nobody names one."""
    if named := os.environ.get("CACHEWRIGHT_STATE_DIR"):
        return Path(named)
    if state_home := os.environ.get("XDG_STATE_HOME"):
        return Path(state_home) / "cachewright"
    return Path.home() / ".local" / "state" / "cachewright"


def example(*lines: str) -> str:
    """Return the part of a help text that teaches: commands, each on a line of its own."""
    # click leaves the lines of a paragraph alone that begins with a backspace.
    return "\n".join(["\b", "Example:", *(f"  {line}" for line in lines)])


def with_state_dir(command: Command) -> Command:
    """Add `--state-dir`: which service is meant."""
    return click.option(
        "--state-dir",
        type=click.Path(file_okay=False, path_type=Path),
        default=default_state_dir,
        show_default="$CACHEWRIGHT_STATE_DIR, else ~/.local/state/cachewright",
        help="The service's folder: where all that it knows is kept.",
    )(command)


def with_output(command: Command) -> Command:
    """Add `--output`: for people or for programs."""
    return click.option(
        "--output",
        type=click.Choice([TEXT, JSON]),
        default=TEXT,
        show_default=True,
        help="text is for people; json is one document for programs, with documented keys.",
    )(command)
