"""How do hours pass in milliseconds? An event loop whose time jumps to the next timer.

Everything that asyncio offers above the loop (tasks, locks, timeouts) is the standard one. There is
no I/O and no thread: a program that waits for something which no timer brings has stopped for ever,
and is told so.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class Stuck(Exception):
    """Nothing is ready, no timer is set: everybody waits for somebody else."""


class _Jump:
    """Stands where a loop has its selector: lets time pass instead of waiting for files."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def select(self, timeout_s: float | None) -> list[object]:
        if timeout_s is None:
            raise Stuck
        self.now_s += timeout_s
        return []

    def close(self) -> None:
        pass


class VirtualLoop(asyncio.BaseEventLoop):
    """A loop in virtual time, which begins at zero."""

    def __init__(self) -> None:
        super().__init__()
        self._jump = _Jump()
        # What `BaseEventLoop` expects of those who derive from it, as the loops of asyncio do.
        self._selector = self._jump
        self._clock_resolution = 1e-9

    def time(self) -> float:
        """Return the virtual seconds since the loop was made."""
        return self._jump.now_s

    def _process_events(self, event_list: list[object]) -> None:
        """There are none."""

    def _write_to_self(self) -> None:
        """Nobody waits in `select`, so nobody is to be woken."""


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run `main` in virtual time, and end every task that it leaves."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)
