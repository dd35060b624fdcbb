"""How does a long command end when somebody interrupts it? Once, and tidily.

The first SIGINT, SIGTERM or SIGHUP becomes an `Interrupted` at whatever line runs, so that every
`finally` of the command does its work; from then on, and while it tidies up by itself, further
signals are only noted: tidying is bounded in time and must not be cut short.
"""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from contextlib import AbstractContextManager
from types import FrameType
from typing import TypeVar

T = TypeVar("T")
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
#: Shells report 128 + the number of the signal.
_EXIT_CODE_BASE = 128


class Interrupted(BaseException):
    """A signal asked the command to end; no `except Exception` on the way may swallow it."""


class Interrupts:
    """What to do about signals; made by `interruptible`."""

    def __init__(self) -> None:
        self._is_held = False
        self._first: int | None = None

    @property
    def exit_code(self) -> int | None:
        """The exit code of an interrupted program; `None` if it was not interrupted."""
        return None if self._first is None else _EXIT_CODE_BASE + self._first

    @contextlib.contextmanager
    def undisturbed_at_end(self, manager: AbstractContextManager[T]) -> Iterator[T]:
        """Open `manager` for the block, and note signals only while it closes."""
        with contextlib.ExitStack() as stack:
            value = stack.enter_context(manager)
            stack.callback(self._hold)
            yield value

    def on_signal(self, number: int, _frame: FrameType | None) -> None:
        """Raise `Interrupted` for the first signal, unless signals are only noted."""
        is_first = self._first is None
        if is_first:
            self._first = number
        if is_first and not self._is_held:
            self._is_held = True
            raise Interrupted

    def _hold(self) -> None:
        self._is_held = True


@contextlib.contextmanager
def interruptible() -> Iterator[Interrupts]:
    """Turn signals into `Interrupted` for the block, and restore the handlers after it."""
    interrupts = Interrupts()
    before = {number: signal.signal(number, interrupts.on_signal) for number in _SIGNALS}
    try:
        yield interrupts
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
