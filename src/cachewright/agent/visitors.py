"""Do clients still come to a node that owns no slot any more?

Each of them is sent on, and learns one slot by that, or all. If its process ended meanwhile, what
is on its way to it would be lost, and clients that do not ask twice would tell their callers.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from cachewright.model.facts import EngineFact, Unknown

#: Clients come all the time, or they have learnt better.
_QUIET_S = 1.0
#: valkey-glide looks again who owns what 15 to 30 s after it did so last, and learns slot by slot
#: in between. Who has not learnt it by then never will.
_PATIENCE_S = 30.0


class Visitors:
    """Those of one process, by what it said at each look."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._sent_on = 0
        self._sent_on_at_s: float | None = None
        self._emptied_at_s: float | None = None
        #: Somebody has just come to who owns nothing.
        self.are_there = False

    def look(self, engine: EngineFact | Unknown) -> None:
        """Notice what the process says now; who says nothing is left as it was."""
        if isinstance(engine, Unknown) or engine.cluster is None:
            return
        now_s = self._clock()
        if engine.cluster.sent_on != self._sent_on:
            self._sent_on, self._sent_on_at_s = engine.cluster.sent_on, now_s
        if engine.cluster.own_slots:
            self._emptied_at_s = None
        elif self._emptied_at_s is None:
            self._emptied_at_s = now_s
        self.are_there = (
            self._emptied_at_s is not None
            and now_s - self._emptied_at_s < _PATIENCE_S
            and self._sent_on_at_s is not None
            and now_s - self._sent_on_at_s < _QUIET_S
        )
