"""How long until the next try? Doubling delays with a ceiling and, where wanted, jitter."""

from __future__ import annotations


class Backoff:
    """Delays that double from `first_s` to `last_s`; `reset()` starts over."""

    def __init__(self, *, first_s: float, last_s: float) -> None:
        self._first_s = first_s
        self._last_s = last_s
        self._failures = 0

    def next_s(self) -> float:
        """Return the next delay in seconds and count the failure."""
        delay_s = delay_after(self._failures, first_s=self._first_s, last_s=self._last_s)
        self._failures += 1
        return delay_s

    def reset(self) -> None:
        """Forget all failures."""
        self._failures = 0


#: 2^30 times the first delay is beyond any ceiling; larger exponents only cost memory.
_EXPONENT_MAX = 30


def delay_after(failures: int, *, first_s: float, last_s: float) -> float:
    """Return the delay in seconds after `failures` failures in a row."""
    return min(last_s, first_s * 2.0 ** min(failures, _EXPONENT_MAX))
