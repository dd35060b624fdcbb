"""How does a long command end when somebody interrupts it? Once, and tidily.

The first SIGINT, SIGTERM or SIGHUP becomes an `Interrupted` at whatever line runs, so that every
`finally` of the command does its work; from then on, and while it tidies up by itself, further
signals are only noted: tidying is bounded in time and must not be cut short.

A line of a finalizer or of a weak reference's callback runs anywhere, and Python throws away what
it raises: then it is raised again a little later.
"""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager
from types import FrameType
from typing import TypeVar

T = TypeVar("T")
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
#: Shells report 128 + the number of the signal.
_EXIT_CODE_BASE = 128
#: The finalizer has ended by then.
_AGAIN_S = 0.01


class Interrupted(BaseException):
    """A signal asked the command to end; no `except Exception` on the way may swallow it."""


class Interrupts:
    """What to do about signals; made by `interruptible`."""

    def __init__(self) -> None:
        #: Signals are only noted: it tidies up.
        self._is_held = False
        self._first: int | None = None
        #: Who was told before what Python throws away.
        self.pass_on = sys.unraisablehook

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
        if self._first is None:
            self._first = number
            self._interrupt()

    def on_alarm(self, _number: int, _frame: FrameType | None) -> None:
        """Raise `Interrupted` once more."""
        self._interrupt()

    def on_unraisable(self, thrown_away: sys.UnraisableHookArgs) -> None:
        """Take what was raised where nobody can catch it."""
        if thrown_away.exc_type is Interrupted:
            signal.setitimer(signal.ITIMER_REAL, _AGAIN_S)
        else:
            self.pass_on(thrown_away)

    def _interrupt(self) -> None:
        if not self._is_held:
            raise Interrupted

    def _hold(self) -> None:
        self._is_held = True


@contextlib.contextmanager
def interruptible() -> Iterator[Interrupts]:
    """Turn signals into `Interrupted` for the block, and restore the handlers after it.

    Not after an interrupt: the program is about to end with the code that says so, and a second
    Ctrl-C would give it another one. Signals are ignored then; handlers would not do, for Python
    takes them away as it ends.
    """
    interrupts = Interrupts()
    before = {number: signal.signal(number, interrupts.on_signal) for number in _SIGNALS}
    before[signal.SIGALRM] = signal.signal(signal.SIGALRM, interrupts.on_alarm)
    sys.unraisablehook = interrupts.on_unraisable
    try:
        yield interrupts
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        sys.unraisablehook = interrupts.pass_on
        for number, handler in before.items():
            is_over = interrupts.exit_code is not None and number in _SIGNALS
            signal.signal(number, signal.SIG_IGN if is_over else handler)
