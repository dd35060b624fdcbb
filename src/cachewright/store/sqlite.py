"""How does one machine keep its promises? A `Store` in one SQLite file.

The composition of the pieces: reads from the mirror, writes through the writer, leases as entries.
It holds no rule of its own. The file belongs to one process at a time: a second one is refused.

    store = await SqliteStore.open(Path("state/store.db"))
    revision = await store.transact([Compare(key="a", mod_revision=0)], [Put(key="a", value=b"1")])
    await store.close()
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Final, Self

from cachewright.store import leases
from cachewright.store.base import (
    PAGE_MAX,
    Change,
    Compare,
    Conflict,
    Entry,
    Lease,
    Operation,
    Put,
    check_transaction,
)
from cachewright.store.mirror import Mirror
from cachewright.store.sqlite_log import Transaction
from cachewright.store.sqlite_writer import Writer

#: A disk that needs longer for a commit is broken. Below the 60 s after which callers of the API
#: give up, so that they get an answer.
ANSWER_TIMEOUT_S: Final = 30.0
#: Finishing what waits and folding in the log takes well under a second on a sound disk.
CLOSE_TIMEOUT_S: Final = 10.0


class SqliteStore:
    """A `Store`; `open` makes one."""

    def __init__(self, writer: Writer, mirror: Mirror, timeout_s: float) -> None:
        self._writer = writer
        self._mirror = mirror
        self._timeout_s = timeout_s

    @classmethod
    async def open(cls, path: Path, *, timeout_s: float = ANSWER_TIMEOUT_S) -> Self:
        """Open the file, or create it and its folder; `timeout_s` bounds each transaction.

        Raises:
            NewerSchema: the file belongs to a later release and was not touched.
            StoreUnavailable: it cannot be used; the error says why and what to do.
        """
        writer = Writer(path)
        return cls(writer, await writer.start(), timeout_s)

    def revision(self) -> int:
        """Return the newest durable revision."""
        return self._mirror.revision()

    def get(self, key: str) -> Entry | None:
        """Return the entry, or None if the key does not exist."""
        return self._mirror.get(key)

    def list(self, prefix: str, *, after: str = "", limit: int = PAGE_MAX) -> tuple[Entry, ...]:
        """Return the entries with the prefix and a key greater than `after`, by key."""
        return self._mirror.list(prefix, after=after, limit=limit)

    async def transact(self, compares: Sequence[Compare], operations: Sequence[Operation]) -> int:
        """Perform all operations if all compares hold; return the durable revision."""
        check_transaction(compares, operations)
        return await self._perform(compares, operations)

    def watch(self, prefix: str, *, after_revision: int) -> AsyncIterator[Change]:
        """Yield every change under the prefix after the revision, until the store is closed."""
        return self._mirror.watch(prefix, after_revision)

    async def acquire_lease(
        self, name: str, owner: str, ttl_s: float, now: datetime
    ) -> Lease | None:
        """Take or renew the lease until `now` + `ttl_s`; None if another owner holds it."""
        key = leases.key_of(name)
        for _ in range(leases.ATTEMPTS_MAX):
            entry = self.get(key)
            lease = leases.grant(entry, name=name, owner=owner, ttl_s=ttl_s, now=now)
            if lease is None or await self._replace(key, entry, leases.render(lease)):
                return lease
        return None

    async def release_lease(self, lease: Lease) -> None:
        """Give the lease back; nothing happens if it was lost to a later epoch."""
        key = leases.key_of(lease.name)
        for _ in range(leases.ATTEMPTS_MAX):
            entry = self.get(key)
            ended = leases.give_back(entry, lease)
            if ended is None or await self._replace(key, entry, leases.render(ended)):
                return

    async def close(self) -> None:
        """End watches, finish accepted transactions and free the file; again does nothing."""
        try:
            await self._writer.stop(CLOSE_TIMEOUT_S)
        finally:
            self._mirror.close()

    async def _replace(self, key: str, entry: Entry | None, value: bytes) -> bool:
        """Write the key if it is still as read; False if somebody else was faster."""
        expected = 0 if entry is None else entry.mod_revision
        try:
            await self._perform(
                [Compare(key=key, mod_revision=expected)], [Put(key=key, value=value)]
            )
        except Conflict:
            return False
        return True

    async def _perform(self, compares: Sequence[Compare], operations: Sequence[Operation]) -> int:
        transaction = Transaction(compares=tuple(compares), operations=tuple(operations))
        return await self._writer.perform(transaction, self._timeout_s)
