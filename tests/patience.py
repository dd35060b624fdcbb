"""How long does a test pause between two looks at something that lasts?"""

from __future__ import annotations

#: Whoever waits comes no later than by this part of what it has waited for.
_LATE_BY = 1 / 16


def pause_s(waited_s: float, *, soon_s: float = 0.01, seldom_s: float = 0.1) -> float:
    """Return the pause after so long a wait: short at first, and long after a while.

    A look costs both sides milliseconds, and all workers look at the same time.
    """
    return min(soon_s + _LATE_BY * waited_s, seldom_s)
