"""Do clients know what has become of a node: that it owns no slot any more, or that it is back?

Who comes to a node that owns nothing is sent on, and learns one slot by that, or all. If its
process ended meanwhile, what is on its way to it would be lost, and clients that do not ask twice
would tell their callers. And who has lost a node tries to reach it less and less often: if it
became a primary meanwhile, requests for it would wait for the next try.
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
#: valkey-glide waits twice as long before each try, give or take a fifth: the next one comes after
#: one and a half times as long as the node was away, and after 3.84 s in any case.
_TRY_AGAIN, _TRY_AGAIN_S, _TRY_AGAIN_S_MAX = 1.5, 0.5, 4.0


class Visitors:
    """Those of one node, by what its processes said at each look."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._sent_on = 0
        self._sent_on_at_s: float | None = None
        self._emptied_at_s: float | None = None
        self._away_since_s: float | None = None
        self._awaited_until_s = 0.0
        #: Somebody has just come to who owns nothing.
        self.are_there = False
        #: Who has lost it may not have found it again yet.
        self.are_missing = False

    def end(self) -> None:
        """Notice that its process has ended: whoever was there has lost it."""
        self._sent_on, self._sent_on_at_s, self._emptied_at_s = 0, None, None
        self._away_since_s = self._clock()
        self.are_there = self.are_missing = False

    def adopt(self) -> None:
        """Notice that its process was found: nobody knows how long it was away before."""
        self._away_since_s = self._clock() - _TRY_AGAIN_S_MAX

    def look(self, engine: EngineFact | Unknown) -> None:
        """Notice what the process says now; who says nothing is left as it was."""
        if isinstance(engine, Unknown):
            return
        now_s = self._clock()
        if not engine.is_held and self._away_since_s is not None:
            away_s, self._away_since_s = now_s - self._away_since_s, None
            again_s = min(_TRY_AGAIN_S_MAX, _TRY_AGAIN * away_s + _TRY_AGAIN_S)
            self._awaited_until_s = now_s + again_s
        self.are_missing = now_s < self._awaited_until_s
        if engine.cluster is None:
            return
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
