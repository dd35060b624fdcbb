"""How do transactions become durable in a SQLite file?

Performs batches of transactions, each batch with one commit, and reads everything once at the
start. Synchronous and used by one thread, the writer's; it knows neither event loop nor mirror.

Compares are checked against the file inside the batch's own transaction, so they are exact whatever
the readers' memory shows. If a batch cannot be committed, nothing of it happened and its
transactions are tried one by one, so that one that does not fit cannot take others with it.
"""

from __future__ import annotations

import contextlib
import itertools
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cachewright.store.base import (
    KEYS_MAX,
    STORE_BYTES_MAX,
    Change,
    Compare,
    Conflict,
    Delete,
    Entry,
    Operation,
    Put,
    Reason,
    StoreError,
    StoreUnavailable,
)
from cachewright.store.sqlite_faults import fault_of, is_untrusted, unavailable
from cachewright.store.sqlite_open import open_database


@dataclass(frozen=True, kw_only=True, slots=True)
class Transaction:
    """What a caller asked for."""

    compares: tuple[Compare, ...]
    operations: tuple[Operation, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Committed:
    """What became of it, durably."""

    #: Of the whole store after the transaction.
    revision: int
    #: Empty if it changed nothing.
    changes: tuple[Change, ...]


Outcome = Committed | StoreError


@dataclass(frozen=True, kw_only=True, slots=True)
class Totals:
    """What the file holds, without asking it."""

    revision: int
    keys: int
    size_bytes: int


class Log:
    """The file, owned by this process while it is open."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with contextlib.ExitStack() as resources:
            self._connection = open_database(path, resources)
            self._resources = resources.pop_all()
        self._totals = Totals(revision=0, keys=0, size_bytes=0)
        self._untrusted: StoreUnavailable | None = None

    def load(self) -> tuple[int, tuple[Entry, ...]]:
        """Return the revision and all entries."""
        try:
            revision = self._connection.execute("SELECT max(revision) FROM store").fetchone()[0]
            rows = self._connection.execute(
                "SELECT key, value, mod_revision FROM entries ORDER BY key"
            )
            entries = tuple(
                Entry(key=key, value=value, mod_revision=mod_revision)
                for key, value, mod_revision in rows
            )
        except sqlite3.Error as error:
            raise fault_of(error, self._path) from error
        self._check(revision, entries)
        size_bytes = sum(len(entry.key.encode()) + len(entry.value) for entry in entries)
        self._totals = Totals(revision=revision, keys=len(entries), size_bytes=size_bytes)
        return revision, entries

    def commit(self, transactions: Sequence[Transaction]) -> tuple[Outcome, ...]:
        """Perform the transactions in order; what is reported as committed is on the disk."""
        if self._untrusted is not None:
            return (self._untrusted,) * len(transactions)
        before = self._totals
        try:
            return self._commit_together(transactions)
        except BaseException as error:
            self._totals = before
            self._connection.rollback()
            if not isinstance(error, sqlite3.Error):
                raise
            fault = fault_of(error, self._path)
            fault.__cause__ = error
            if is_untrusted(error):
                self._untrusted = fault
        if len(transactions) == 1 or self._untrusted is not None:
            return (fault,) * len(transactions)
        return tuple(self.commit((transaction,))[0] for transaction in transactions)

    def close(self) -> None:
        """Let go of the file; the log beside it is folded in."""
        self._resources.close()

    def _check(self, revision: object, entries: Sequence[Entry]) -> None:
        """Refuse contents that contradict themselves, before anything is built on them."""
        newest = max((entry.mod_revision for entry in entries), default=0)
        if not isinstance(revision, int) or revision < newest:
            raise unavailable(Reason.CORRUPT, self._path, f"revision {revision}, not {newest}")
        # SQLite reads a tree in the wrong order without complaint, and then does not find its keys.
        for before, after in itertools.pairwise(entries):
            if before.key >= after.key:
                raise unavailable(Reason.CORRUPT, self._path, f"{after.key!r} is out of order")

    def _commit_together(self, transactions: Sequence[Transaction]) -> tuple[Outcome, ...]:
        before = self._totals
        self._connection.execute("BEGIN IMMEDIATE")
        outcomes = tuple(self._perform(transaction) for transaction in transactions)
        if self._totals.revision != before.revision:
            self._connection.execute("UPDATE store SET revision = ?", (self._totals.revision,))
        self._connection.execute("COMMIT")
        return outcomes

    def _perform(self, transaction: Transaction) -> Outcome:
        """Check and write one transaction; an error that is returned means nothing was written."""
        for compare in transaction.compares:
            actual = self._mod_revision(compare.key)
            if actual != compare.mod_revision:
                return Conflict(key=compare.key, expected=compare.mod_revision, actual=actual)
        sizes = [self._size_bytes(operation.key) for operation in transaction.operations]
        after = self._totals_after(transaction.operations, sizes)
        if _is_too_large(self._totals, after):
            return unavailable(Reason.TOO_LARGE, self._path)
        changes = tuple(
            self._write(operation, after.revision)
            for operation, size_bytes in zip(transaction.operations, sizes, strict=True)
            if isinstance(operation, Put) or size_bytes is not None
        )
        if changes:
            self._totals = after
        return Committed(revision=self._totals.revision, changes=changes)

    def _write(self, operation: Operation, revision: int) -> Change:
        match operation:
            case Put(key=key, value=value):
                self._connection.execute(
                    "INSERT OR REPLACE INTO entries (key, value, mod_revision) VALUES (?, ?, ?)",
                    (key, value, revision),
                )
                return Change(revision=revision, key=key, value=value)
            case Delete(key=key):
                self._connection.execute("DELETE FROM entries WHERE key = ?", (key,))
                return Change(revision=revision, key=key, value=None)

    def _totals_after(self, operations: Sequence[Operation], sizes: Sequence[int | None]) -> Totals:
        """Return the totals after the operations on entries of these sizes (None: absent)."""
        keys, size_bytes = self._totals.keys, self._totals.size_bytes
        for operation, old_bytes in zip(operations, sizes, strict=True):
            if old_bytes is not None:
                keys -= 1
                size_bytes -= old_bytes
            if isinstance(operation, Put):
                keys += 1
                size_bytes += len(operation.key.encode()) + len(operation.value)
        return Totals(revision=self._totals.revision + 1, keys=keys, size_bytes=size_bytes)

    def _mod_revision(self, key: str) -> int:
        query = "SELECT mod_revision FROM entries WHERE key = ?"
        row: tuple[int] | None = self._connection.execute(query, (key,)).fetchone()
        return 0 if row is None else row[0]

    def _size_bytes(self, key: str) -> int | None:
        query = "SELECT length(CAST(key AS BLOB)) + length(value) FROM entries WHERE key = ?"
        row: tuple[int] | None = self._connection.execute(query, (key,)).fetchone()
        return None if row is None else row[0]


def _is_too_large(before: Totals, after: Totals) -> bool:
    """Tell whether a bound is passed; shrinking is always allowed."""
    return (after.keys > KEYS_MAX and after.keys > before.keys) or (
        after.size_bytes > STORE_BYTES_MAX and after.size_bytes > before.size_bytes
    )
