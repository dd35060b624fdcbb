"""What time is it? The only place that reads a clock.

Callers receive a `Clock` and pass `now` down as a value, so that decisions stay pure and tests
can move time.
"""

from __future__ import annotations

import datetime
import time
from typing import Protocol


class Clock(Protocol):
    """A source of wall-clock and monotonic time."""

    def now(self) -> datetime.datetime:
        """Return the wall-clock time, aware, in UTC."""

    def monotonic_s(self) -> float:
        """Return seconds that only ever grow, also while the machine sleeps; zero is no date."""


class SystemClock:
    """The clock of this machine."""

    def now(self) -> datetime.datetime:
        """Return the wall-clock time, aware, in UTC."""
        return datetime.datetime.now(datetime.UTC)

    def monotonic_s(self) -> float:
        """Return seconds since the machine started, those in which it slept among them."""
        return time.clock_gettime(time.CLOCK_BOOTTIME)


class ManualClock:
    """A clock that moves only when told to."""

    def __init__(self, now: datetime.datetime) -> None:
        self._now = now
        self._monotonic_s = 0.0

    def now(self) -> datetime.datetime:
        """Return the time that was set."""
        return self._now

    def monotonic_s(self) -> float:
        """Return the seconds by which the clock has been advanced."""
        return self._monotonic_s

    def advance(self, seconds: float) -> None:
        """Move both times forward by `seconds`."""
        self._now += datetime.timedelta(seconds=seconds)
        self._monotonic_s += seconds
