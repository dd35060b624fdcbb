"""What may a store promise, whatever is behind it?

The values, errors and the one `Store` protocol that every implementation keeps and that
tests/contract/test_store_conformance.py checks. It knows keys, bytes and revisions; it may not know
what a record means, and it does no I/O.

The protocol is what etcd v3 offers and no more: one revision that grows with every transaction that
changes something, compare-and-set on the revision of a key, ranges over a prefix, a watch from a
revision that can be compacted away, and leases.

Why reads are synchronous: the state of a control plane is small (see the bounds below) and is read
thousands of times as often as it is written. Every implementation therefore keeps a mirror of the
whole key space in memory and answers `get`, `list` and `revision` from it. Behind SQLite the one
writer feeds the mirror; behind etcd a watch on the root prefix does, after one range read at a
fixed revision, and `transact` waits until the mirror has reached the revision it returns. Laws:

1. The mirror changes only on the event loop, one whole transaction at a time and in revision order.
   Reads with no `await` between them are one consistent snapshot of as many keys as one likes.
2. The mirror holds only what is durable: no crash takes back what a reader has seen.
3. A caller reads its own writes. Behind etcd it may read another server's writes late; that is why
   every decision is written with the revisions it was based on.

A store belongs to the event loop that opened it; its methods are called from that loop's thread.
"""

from __future__ import annotations

import enum
from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import Final, Protocol

import msgspec

#: Entries in the whole store: 40 clusters of 500 nodes with five records per node. Beyond it,
#: memory and the time to open the store stop being negligible.
KEYS_MAX: Final = 100_000
#: Keys and values in the whole store, in bytes. etcd's default quota is 2 GiB, but the mirror has
#: to fit beside the engines of a laptop.
STORE_BYTES_MAX: Final = 256 * 1024 * 1024
#: Keys and values of one transaction, in bytes: etcd's request limit is 1.5 MiB with framing.
TRANSACTION_BYTES_MAX: Final = 1024 * 1024
#: Compares, and operations, of one transaction: a group of 500 nodes comes and goes at once, with a
#: name, an address, an endpoint and tags per node. etcd has to run with this as --max-txn-ops.
OPERATIONS_MAX: Final = 4_096
#: Bytes of a key in UTF-8. Keys are short paths; a longer one is a mistake of the caller.
KEY_BYTES_MAX: Final = 1024
#: Entries of one page of `list`: keeps the event loop below about a millisecond.
PAGE_MAX: Final = 10_000
#: Where leases are kept. They can be read, watched and compared like any key, but only the two
#: lease methods write them.
LEASE_PREFIX: Final = "lease/"


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One key with its value."""

    key: str
    value: bytes
    #: Revision of the store at which this key was last written, from 1.
    mod_revision: int


class Compare(msgspec.Struct, frozen=True, kw_only=True):
    """A condition of a transaction: the key was last written at this revision."""

    key: str
    #: 0 means that the key does not exist.
    mod_revision: int


class Put(msgspec.Struct, frozen=True, kw_only=True):
    """Write a value, whether or not the key exists."""

    key: str
    value: bytes


class Delete(msgspec.Struct, frozen=True, kw_only=True):
    """Remove a key; removing an absent key changes nothing."""

    key: str


Operation = Put | Delete


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """What one transaction did to one key."""

    #: The same for all changes of a transaction.
    revision: int
    key: str
    #: None means that the key was deleted.
    value: bytes | None


class Lease(msgspec.Struct, frozen=True, kw_only=True):
    """The exclusive right to a name until a moment."""

    name: str
    owner: str
    #: Fencing token: grows by one with every new tenure, also one of the same owner after an end.
    epoch: int
    #: Aware, UTC. At this very moment the lease has ended.
    expires_at: datetime


# Errors
#
# StoreError
# ├─ Conflict            a compare did not hold: read again, decide again
# ├─ Compacted           a watch asked for changes that are gone: list again, watch from there
# └─ StoreUnavailable    the store cannot do it now; says why and what to do
#    └─ NewerSchema      the file belongs to a later release


class StoreError(Exception):
    """What a store raises."""


class Conflict(StoreError):
    """A compare did not hold; nothing was written."""

    def __init__(self, *, key: str, expected: int, actual: int) -> None:
        super().__init__(f"{key}: expected revision {expected}, found {actual}")
        self.key = key
        self.expected = expected
        #: 0 means that the key does not exist.
        self.actual = actual


class Compacted(StoreError):
    """The changes after the asked revision are no longer all kept."""

    def __init__(self, *, after_revision: int, oldest_revision: int) -> None:
        super().__init__(
            f"changes after revision {after_revision} are gone; "
            f"a watch can start after revision {oldest_revision} or later"
        )
        self.after_revision = after_revision
        #: The smallest `after_revision` that still works.
        self.oldest_revision = oldest_revision


class Reason(enum.Enum):
    """Why a store cannot serve, in words for people."""

    DISK_FULL = "the disk is full"
    READ_ONLY = "the folder of the store cannot be written"
    EXPOSED = "other users can reach the folder of the store"
    IN_USE = "another process uses the store"
    CORRUPT = "the store is damaged"
    FOREIGN = "the file is not a store of Cachewright"
    NEWER_SCHEMA = "the store was written by a newer release"
    INPUT_OUTPUT = "the disk reported an error"
    NO_ANSWER = "the disk did not answer in time"
    TOO_LARGE = "the store holds as much as it may"
    TOO_BUSY = "too many writes are waiting"
    CLOSED = "the store is closed"


class StoreUnavailable(StoreError):
    """The store cannot do what was asked; reads that worked before still work.

    From `transact` it means that nothing was applied that a reader can see. After INPUT_OUTPUT and
    NO_ANSWER the disk has the last word: the transaction may still show up, whole. Trying again
    with the same compares is safe if they name what is written: at most one attempt can win.
    """

    def __init__(self, reason: Reason, hint: str, *, detail: str = "") -> None:
        super().__init__(f"{reason.value}{f' ({detail})' if detail else ''}: {hint}")
        self.reason = reason
        #: What a person can do about it.
        self.hint = hint
        #: What the system said, if anything.
        self.detail = detail


class NewerSchema(StoreUnavailable):
    """The file has a later schema than this release knows; it was not touched."""

    def __init__(self, *, path: str, found: int, known: int) -> None:
        super().__init__(
            Reason.NEWER_SCHEMA,
            f"start the release that wrote {path}, or a later one; or choose another state folder. "
            "Nothing was changed",
            detail=f"schema {found}, this release knows up to {known}",
        )
        self.found = found
        self.known = known


class Store(Protocol):
    """Promises kept under keys; see the laws at the top of this file.

    Keys are non-empty text without NUL, ordered by their UTF-8 bytes (for Python: by code point).
    """

    def revision(self) -> int:
        """Return the newest revision that the mirror has seen; 0 for a new store. Does not wait."""
        ...

    def get(self, key: str) -> Entry | None:
        """Return the entry, or None if the key does not exist. Does not wait."""
        ...

    def list(self, prefix: str, *, after: str = "", limit: int = PAGE_MAX) -> tuple[Entry, ...]:
        """Return the entries with the prefix and a key greater than `after`, by key. Does not wait.

        A result shorter than `limit` is the last page. A limit outside 1 to PAGE_MAX is a
        ValueError.
        """
        ...

    async def transact(self, compares: Sequence[Compare], operations: Sequence[Operation]) -> int:
        """Perform all operations if all compares hold, else none, and return the store's revision.

        On return the transaction is durable and visible to this caller. The revision grows by one,
        and is the `mod_revision` of all keys written, unless nothing changed (no operations, or
        only deletes of absent keys). Cancelling the caller does not take a transaction back.

        Raises:
            Conflict: a compare did not hold.
            StoreUnavailable: it could not be made durable.
            ValueError: a key is malformed, reserved or named by two operations, or a bound of one
                transaction is passed.
        """
        ...

    def watch(self, prefix: str, *, after_revision: int) -> AsyncIterator[Change]:
        """Yield every change under the prefix after the revision: each once, in order, no gaps.

        It goes on until the store is closed, then ends. It raises Compacted when changes that it
        has not yielded are no longer kept: at once, or later when the caller is too slow.
        """
        ...

    async def acquire_lease(
        self, name: str, owner: str, ttl_s: float, now: datetime
    ) -> Lease | None:
        """Take or renew the lease until `now` + `ttl_s`; None if another owner holds it.

        A renewal by the holder keeps the epoch; everything else that succeeds raises it by one.
        """
        ...

    async def release_lease(self, lease: Lease) -> None:
        """Give the lease back; nothing happens if it was lost to a later epoch."""
        ...

    async def close(self) -> None:
        """End watches, finish accepted transactions within a deadline, free what is held."""
        ...


def list_all(store: Store, prefix: str) -> tuple[Entry, ...]:
    """Return every entry with the prefix, however many pages there are; one consistent snapshot."""
    entries: tuple[Entry, ...] = ()
    page = store.list(prefix)
    while len(page) == PAGE_MAX:  # at most KEYS_MAX / PAGE_MAX rounds
        entries += page
        page = store.list(prefix, after=page[-1].key)
    return entries + page


def check_transaction(compares: Sequence[Compare], operations: Sequence[Operation]) -> None:
    """Raise ValueError for a transaction that not every implementation can perform."""
    if len(compares) > OPERATIONS_MAX or len(operations) > OPERATIONS_MAX:
        raise ValueError(f"a transaction has at most {OPERATIONS_MAX} compares and operations each")
    size_bytes = sum(check_key(compare.key) for compare in compares)
    written: set[str] = set()
    for operation in operations:
        size_bytes += check_key(operation.key)
        if isinstance(operation, Put):
            size_bytes += len(operation.value)
        if operation.key in written:
            raise ValueError(f"two operations of one transaction on {operation.key!r}")
        if operation.key.startswith(LEASE_PREFIX):
            raise ValueError(f"only leases are written under {LEASE_PREFIX}")
        written.add(operation.key)
    if size_bytes > TRANSACTION_BYTES_MAX:
        raise ValueError(f"a transaction of {size_bytes} bytes passes {TRANSACTION_BYTES_MAX}")


def check_key(key: str) -> int:
    """Return the size of the key in bytes, or raise ValueError if no store could hold it."""
    size_bytes = len(key) if key.isascii() else len(key.encode())  # UnicodeError is a ValueError
    if not 0 < size_bytes <= KEY_BYTES_MAX or "\0" in key:
        raise ValueError(f"not a key: {key[:80]!r}")
    return size_bytes
