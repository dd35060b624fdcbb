"""Which key is next? A queue of names in which each key is worked on by one worker at a time.

Level-triggered: adding a key that waits already changes nothing, adding a key that is being
worked on makes it come again afterwards. A key can be added for later; the earliest time wins.
The queue holds at most one entry per key, so the number of keys bounds it.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable


class KeyedQueue:
    """Names to be looked at, now or later; use it from one event loop only."""

    def __init__(self, monotonic_s: Callable[[], float]) -> None:
        self._monotonic_s = monotonic_s
        self._ready: dict[str, None] = {}
        self._active: set[str] = set()
        self._again: set[str] = set()
        self._due: dict[str, float] = {}
        self._heap: list[tuple[float, str]] = []
        self._changed = asyncio.Event()
        #: One taker watches the clock; the others wait for their turn without being woken.
        self._turn = asyncio.Lock()

    def add(self, key: str) -> None:
        """Ask for `key` to be looked at as soon as possible."""
        self._due.pop(key, None)
        if key in self._active:
            self._again.add(key)
        else:
            self._ready[key] = None
            self._changed.set()

    def add_after(self, key: str, delay_s: float) -> None:
        """Ask for `key` to be looked at in `delay_s` seconds, unless it will be earlier."""
        due = self._monotonic_s() + delay_s
        if key in self._ready or key in self._again or self._due.get(key, due + 1) <= due:
            return
        self._due[key] = due
        heapq.heappush(self._heap, (due, key))
        self._changed.set()

    def forget(self, key: str) -> None:
        """Drop what is scheduled for `key`; work under way is not touched."""
        self._ready.pop(key, None)
        self._due.pop(key, None)
        self._again.discard(key)

    async def take(self) -> str:
        """Wait for the next key; it is the caller's alone until `done(key)`."""
        async with self._turn:
            return await self._next()

    async def _next(self) -> str:
        while True:
            self._promote_due()
            if self._ready:
                key = next(iter(self._ready))
                del self._ready[key]
                self._active.add(key)
                return key
            self._changed.clear()
            delay_s = self._heap[0][0] - self._monotonic_s() if self._heap else None
            try:
                async with asyncio.timeout(delay_s if delay_s is None else max(0.0, delay_s)):
                    await self._changed.wait()
            except TimeoutError:
                continue

    def done(self, key: str) -> None:
        """Give `key` back; if it was added meanwhile, it is ready again at once."""
        self._active.discard(key)
        if key in self._again:
            self._again.discard(key)
            self._due.pop(key, None)
            self._ready[key] = None
            self._changed.set()

    def is_idle(self) -> bool:
        """Tell whether nothing is ready and nothing is being worked on (timers do not count)."""
        return not self._ready and not self._active

    def _promote_due(self) -> None:
        now = self._monotonic_s()
        while self._heap and self._heap[0][0] <= now:
            due, key = heapq.heappop(self._heap)
            if self._due.get(key) == due:
                del self._due[key]
                if key in self._active:
                    self._again.add(key)
                else:
                    self._ready[key] = None
