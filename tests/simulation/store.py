"""A store without a thread: the mirror and the laws of the real one, commits in virtual time.

The real store's thread would race with a loop whose time jumps. What a controller can notice is
kept: a commit takes a while, is whole or not at all, survives the controller that asked for it, and
may be refused for a while as a full disk does.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from random import Random

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
    Reason,
    StoreUnavailable,
    check_transaction,
)
from cachewright.store.mirror import Mirror

#: A commit with its fsync, seconds.
_COMMIT_S = (0.0002, 0.004)


class Door:
    """Whatever passes it waits while it is shut."""

    def __init__(self) -> None:
        self._open = asyncio.Event()
        self._open.set()

    async def pass_through(self) -> None:
        """Go on as soon as it is open."""
        if not self._open.is_set():
            await self._open.wait()

    def shut(self) -> None:
        """Keep everybody waiting."""
        self._open.clear()

    def open(self) -> None:
        """Let everybody through."""
        self._open.set()


class Disk:
    """What is durable, whoever has opened it."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.mirror = Mirror((), 0)
        self.is_full = False


class SimulatedStore:
    """A `Store` on a disk that is memory; its owner goes through `door`, to and fro."""

    def __init__(self, disk: Disk, door: Door) -> None:
        self._disk = disk
        self._mirror = disk.mirror
        self._door = door

    def revision(self) -> int:
        """Return the newest revision."""
        return self._mirror.revision()

    def get(self, key: str) -> Entry | None:
        """Return the entry, or None if the key does not exist."""
        return self._mirror.get(key)

    def list(self, prefix: str, *, after: str = "", limit: int = PAGE_MAX) -> tuple[Entry, ...]:
        """Return the entries with the prefix and a key greater than `after`, by key."""
        return self._mirror.list(prefix, after=after, limit=limit)

    async def transact(self, compares: Sequence[Compare], operations: Sequence[Operation]) -> int:
        """Perform all operations if all compares hold; who is cancelled takes nothing back."""
        check_transaction(compares, operations)
        await self._door.pass_through()
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[int] = loop.create_future()

        def commit() -> None:
            outcome = self._commit(compares, operations)
            if answer.cancelled():
                return
            if isinstance(outcome, Exception):
                answer.set_exception(outcome)
            else:
                answer.set_result(outcome)

        loop.call_later(self._disk.random.uniform(*_COMMIT_S), commit)
        try:
            return await answer
        finally:
            await self._door.pass_through()

    def watch(self, prefix: str, *, after_revision: int) -> AsyncIterator[Change]:
        """Yield every change under the prefix after the revision."""
        return self._mirror.watch(prefix, after_revision)

    async def acquire_lease(
        self, name: str, owner: str, ttl_s: float, now: datetime
    ) -> Lease | None:
        """Take the lease; None if another owner holds it."""
        key = leases.key_of(name)
        entry = self.get(key)
        lease = leases.grant(entry, name=name, owner=owner, ttl_s=ttl_s, now=now)
        if lease is not None:
            self._apply([Put(key=key, value=leases.render(lease))])
        return lease

    async def release_lease(self, lease: Lease) -> None:
        """Leases end by themselves here."""

    async def close(self) -> None:
        """End all watches."""
        self._mirror.close()

    def _commit(
        self, compares: Sequence[Compare], operations: Sequence[Operation]
    ) -> int | Exception:
        if self._disk.is_full:
            return StoreUnavailable(Reason.DISK_FULL, "make room")
        for compare in compares:
            entry = self._mirror.get(compare.key)
            actual = 0 if entry is None else entry.mod_revision
            if actual != compare.mod_revision:
                return Conflict(key=compare.key, expected=compare.mod_revision, actual=actual)
        self._apply(operations)
        return self._mirror.revision()

    def _apply(self, operations: Sequence[Operation]) -> None:
        revision = self._mirror.revision() + 1
        changes = tuple(
            Change(revision=revision, key=o.key, value=o.value if isinstance(o, Put) else None)
            for o in operations
            if isinstance(o, Put) or self._mirror.get(o.key) is not None
        )
        if changes:
            self._mirror.apply(revision, changes)
