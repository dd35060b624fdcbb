"""How does the command line say that something failed, and with which exit code?

Exit codes: 0 it worked, 1 it did not, 2 the command was used wrongly (click's own errors), 130 and
143 it was interrupted (Ctrl-C, SIGTERM). Every failure says what to do next where that is known.
"""

from __future__ import annotations

import click


class Failed(click.ClickException):
    """It did not work; shown on standard error as `Error: message`, exit code 1."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(f"{message.rstrip('.')}: {hint}" if hint else message)
