"""What does the store hold at this moment, and what changed a moment ago?

The memory every implementation reads from: all entries, sorted by key, and the last changes for
watchers. Whoever knows what is durable calls `apply`, on the event loop, in revision order. It does
no I/O, and it may not decide whether a transaction is allowed.

The changes are a ring for all watchers together; a watcher is no more than a position in it. A slow
one therefore costs no memory: it falls off the end and is told so. The ring starts empty when the
store is opened, so a watcher from before a restart is told to list again, as it has to be able to
anyway after a compaction.
"""

from __future__ import annotations

import asyncio
import bisect
import sys
from collections.abc import AsyncGenerator, Iterable
from typing import Final

from cachewright.store.base import PAGE_MAX, Change, Compacted, Entry

#: A watcher that is this many changes behind does better to list again.
HISTORY_CHANGES_MAX: Final = 10_000
#: Keeps the ring small beside the entries; holds at least the eight largest transactions.
HISTORY_BYTES_MAX: Final = 8 * 1024 * 1024


class Mirror:
    """Sorted entries and the ring of changes; not thread-safe."""

    def __init__(self, entries: Iterable[Entry], revision: int) -> None:
        self._entries = {entry.key: entry for entry in entries}
        self._keys = sorted(self._entries)
        self._revision = revision
        self._history: list[tuple[int, tuple[Change, ...]]] = []
        self._history_changes = 0
        self._history_bytes = 0
        self._oldest_revision = revision
        self._moved = asyncio.Event()
        self._is_closed = False

    def revision(self) -> int:
        """Return the revision of the last transaction applied."""
        return self._revision

    def get(self, key: str) -> Entry | None:
        """Return the entry, or None if there is none."""
        return self._entries.get(key)

    def list(self, prefix: str, *, after: str, limit: int) -> tuple[Entry, ...]:
        """Return up to `limit` entries with the prefix and a key greater than `after`, by key."""
        if not 1 <= limit <= PAGE_MAX:
            raise ValueError(f"limit is {limit}, not 1 to {PAGE_MAX}")
        keys = self._keys
        first = max(bisect.bisect_left(keys, prefix), bisect.bisect_right(keys, after))
        end = _end_of(prefix)
        last = len(keys) if end is None else bisect.bisect_left(keys, end)
        return tuple(map(self._entries.__getitem__, keys[first : min(last, first + limit)]))

    def apply(self, revision: int, changes: tuple[Change, ...]) -> None:
        """Take over one transaction that is durable, and wake the watchers."""
        if revision <= self._revision:
            raise ValueError(f"revision {revision} after {self._revision}")
        for change in changes:
            if change.value is None:
                del self._entries[change.key]
                del self._keys[bisect.bisect_left(self._keys, change.key)]
                continue
            if change.key not in self._entries:
                bisect.insort(self._keys, change.key)
            self._entries[change.key] = Entry(
                key=change.key, value=change.value, mod_revision=revision
            )
        self._revision = revision
        self._remember(revision, changes)
        self._wake()

    async def watch(self, prefix: str, after_revision: int) -> AsyncGenerator[Change, None]:
        """Yield the changes under the prefix after the revision until the mirror is closed."""
        position = after_revision
        while True:
            while (transaction := self._next(position)) is not None:
                position, changes = transaction
                for change in changes:
                    if change.key.startswith(prefix):
                        yield change
            if self._is_closed:
                return
            # Nothing can change between the look above and this: there is no `await` between them.
            await self._moved.wait()

    def close(self) -> None:
        """End all watches once they have yielded what is there; reads go on."""
        self._is_closed = True
        self._wake()

    def _next(self, position: int) -> tuple[int, tuple[Change, ...]] | None:
        """Return the first transaction after the position, None if there is none yet."""
        if position < self._oldest_revision:
            raise Compacted(after_revision=position, oldest_revision=self._oldest_revision)
        index = bisect.bisect_right(self._history, position, key=lambda item: item[0])
        return self._history[index] if index < len(self._history) else None

    def _remember(self, revision: int, changes: tuple[Change, ...]) -> None:
        """Add a transaction to the ring and drop the oldest ones, always whole."""
        self._history.append((revision, changes))
        self._history_changes += len(changes)
        self._history_bytes += _size_bytes(changes)
        dropped = 0
        while (
            self._history_changes > HISTORY_CHANGES_MAX or self._history_bytes > HISTORY_BYTES_MAX
        ):
            self._oldest_revision, old = self._history[dropped]
            self._history_changes -= len(old)
            self._history_bytes -= _size_bytes(old)
            dropped += 1
        del self._history[:dropped]

    def _wake(self) -> None:
        """Let every waiting watcher look again; each holds the event it waits for."""
        self._moved.set()
        self._moved = asyncio.Event()


def _size_bytes(changes: Iterable[Change]) -> int:
    return sum(len(change.key) + len(change.value or b"") for change in changes)


def _end_of(prefix: str) -> str | None:
    """Return the smallest text above every text with the prefix; None if there is no such text."""
    stem = prefix.rstrip(chr(sys.maxunicode))
    return stem[:-1] + chr(ord(stem[-1]) + 1) if stem else None
