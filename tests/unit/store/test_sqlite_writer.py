"""When do readers see a write, and what becomes of it when the disk misbehaves?

The connection's COMMIT is where durability happens, so that is where these tests hold, count and
fail: a subclass of the library's own connection, given to the library's own `connect`.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path

import pytest

from cachewright.store import sqlite, sqlite_log, sqlite_writer
from cachewright.store.base import Compare, Conflict, Delete, Put, Reason, StoreUnavailable
from cachewright.store.sqlite import SqliteStore

TIMEOUT_S = 20.0


class Disk:
    """What happens at COMMIT."""

    def __init__(self) -> None:
        self.commits = 0
        self.may_commit = threading.Event()
        self.may_commit.set()
        self.is_committing = threading.Event()
        #: Of the next commits, in order; None is a commit that works.
        self.errors: list[Exception | None] = []

    def commit(self) -> None:
        """Called on the writer's thread before each COMMIT."""
        self.commits += 1
        self.is_committing.set()
        assert self.may_commit.wait(TIMEOUT_S)
        error = self.errors.pop(0) if self.errors else None
        if error is not None:
            raise error


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    disk = Disk()

    class Connection(sqlite3.Connection):
        def execute(self, sql: str, parameters: object = (), /) -> sqlite3.Cursor:
            if sql == "COMMIT":
                disk.commit()
            return super().execute(sql, parameters)  # type: ignore[arg-type] # passed on as it came

    real = sqlite3.connect

    def connect(
        database: Path, *, timeout: float, isolation_level: None = None
    ) -> sqlite3.Connection:
        return real(database, timeout=timeout, isolation_level=isolation_level, factory=Connection)

    monkeypatch.setattr(sqlite3, "connect", connect)
    return disk


@contextlib.asynccontextmanager
async def opened(folder: Path, timeout_s: float = TIMEOUT_S) -> AsyncIterator[SqliteStore]:
    store = await SqliteStore.open(folder / "state" / "store.db", timeout_s=timeout_s)
    try:
        yield store
    finally:
        await store.close()


def run(work: Coroutine[None, None, None]) -> None:
    asyncio.run(asyncio.wait_for(work, TIMEOUT_S))


async def put(store: SqliteStore, key: str, value: bytes = b"") -> int:
    return await store.transact([], [Put(key=key, value=value)])


async def until(predicate: Callable[[], bool]) -> None:
    """Wait until something holds; the caller's deadline bounds it."""
    while not predicate():  # noqa: ASYNC110 - a thread makes it true, which cannot set our events
        await asyncio.sleep(0.001)


def disk_error(code: int) -> sqlite3.OperationalError:
    error = sqlite3.OperationalError("injected")
    error.sqlite_errorcode = code
    return error


def test_readers_see_a_write_only_when_it_is_durable(tmp_path: Path, disk: Disk) -> None:
    async def check() -> None:
        async with opened(tmp_path) as store:
            await put(store, "a", b"old")
            watched = asyncio.ensure_future(anext(store.watch("", after_revision=1)))
            disk.is_committing.clear()
            disk.may_commit.clear()
            writing = asyncio.create_task(put(store, "a", b"new"))
            await until(disk.is_committing.is_set)
            for _ in range(20):
                await asyncio.sleep(0)
                entry = store.get("a")
                assert entry is not None
                assert (entry.value, store.revision()) == (b"old", 1)
            assert not writing.done()
            assert not watched.done()
            disk.may_commit.set()
            assert await writing == 2
            entry = store.get("a")
            assert entry is not None
            assert (entry.value, store.revision()) == (b"new", 2)
            assert (await watched).value == b"new"

    run(check())


def test_waiting_transactions_share_a_commit(tmp_path: Path, disk: Disk) -> None:
    async def check() -> None:
        async with opened(tmp_path) as store:
            disk.is_committing.clear()
            disk.may_commit.clear()
            first = asyncio.create_task(put(store, "first"))
            await until(disk.is_committing.is_set)
            disk.commits = 0
            others = [asyncio.create_task(put(store, f"k{number}")) for number in range(20)]
            await asyncio.sleep(0)
            disk.may_commit.set()
            assert await asyncio.gather(first, *others) == list(range(1, 22))
            assert disk.commits == 1

    run(check())


def test_compares_are_exact_within_a_commit(tmp_path: Path, disk: Disk) -> None:
    """The readers' memory knows nothing yet of the transactions that the compares are about."""

    async def check() -> None:
        async with opened(tmp_path) as store:
            disk.is_committing.clear()
            disk.may_commit.clear()
            first = asyncio.create_task(put(store, "first"))
            await until(disk.is_committing.is_set)
            chain = [
                asyncio.create_task(
                    store.transact(
                        [Compare(key="a", mod_revision=expected)], [Put(key="a", value=b"")]
                    )
                )
                for expected in (0, 2, 3, 3)
            ]
            await asyncio.sleep(0)
            disk.may_commit.set()
            await first
            *good, bad = await asyncio.gather(*chain, return_exceptions=True)
            assert good == [2, 3, 4]
            assert isinstance(bad, Conflict)
            assert (bad.expected, bad.actual) == (3, 4)

    run(check())


@pytest.mark.parametrize("code", [sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_WRITE])
def test_a_failed_commit_changes_nothing_and_the_next_works(
    tmp_path: Path, disk: Disk, code: int
) -> None:
    async def check() -> None:
        async with opened(tmp_path) as store:
            await put(store, "a", b"old")
            disk.errors = [disk_error(code)]
            with pytest.raises(StoreUnavailable) as caught:
                await store.transact([], [Put(key="a", value=b"new"), Put(key="b", value=b"")])
            assert isinstance(caught.value.__cause__, sqlite3.OperationalError)
            assert [(entry.key, entry.value) for entry in store.list("")] == [("a", b"old")]
            assert store.revision() == 1
            assert await store.transact([Compare(key="a", mod_revision=1)], [Delete(key="a")]) == 2

    run(check())


def test_one_transaction_that_cannot_be_committed_takes_no_other_with_it(
    tmp_path: Path, disk: Disk
) -> None:
    async def check() -> None:
        async with opened(tmp_path) as store:
            disk.is_committing.clear()
            disk.may_commit.clear()
            first = asyncio.create_task(put(store, "first"))
            await until(disk.is_committing.is_set)
            batch = [asyncio.create_task(put(store, key)) for key in "abc"]
            conflict = asyncio.create_task(
                store.transact([Compare(key="a", mod_revision=0)], [Put(key="d", value=b"")])
            )
            await asyncio.sleep(0)
            # The first commit passes; the batch fails, then alone: a, then nobody.
            disk.errors = [None, disk_error(sqlite3.SQLITE_FULL), disk_error(sqlite3.SQLITE_FULL)]
            disk.may_commit.set()
            results = await asyncio.gather(first, *batch, conflict, return_exceptions=True)
            assert isinstance(results[1], StoreUnavailable)
            assert results[1].reason is Reason.DISK_FULL
            # With `a` gone, the compare that `a` would have broken holds.
            assert [results[0], *results[2:]] == [1, 2, 3, 4]
            assert [entry.key for entry in store.list("")] == ["b", "c", "d", "first"]

    run(check())


def test_after_a_failed_fsync_nothing_is_written_any_more(tmp_path: Path, disk: Disk) -> None:
    async def check() -> None:
        async with opened(tmp_path) as store:
            await put(store, "a")
            disk.errors = [disk_error(sqlite3.SQLITE_IOERR_FSYNC)]
            for _ in range(2):
                with pytest.raises(StoreUnavailable) as caught:
                    await put(store, "b")
                assert caught.value.reason is Reason.INPUT_OUTPUT
            assert [entry.key for entry in store.list("")] == ["a"]
        async with opened(tmp_path) as store:
            assert await put(store, "b") == 2

    run(check())


def test_a_bug_answers_its_callers_and_the_store_goes_on(tmp_path: Path, disk: Disk) -> None:
    async def check() -> None:
        async with opened(tmp_path) as store:
            disk.errors = [KeyError("a bug")]
            with pytest.raises(KeyError):
                await put(store, "a")
            assert await put(store, "b") == 1

    run(check())


def test_a_disk_that_does_not_answer_is_reported(tmp_path: Path, disk: Disk) -> None:
    """The write may still be carried out, and then shows up whole."""

    async def check() -> None:
        async with opened(tmp_path, timeout_s=0.05) as store:
            disk.may_commit.clear()
            try:
                with pytest.raises(StoreUnavailable) as caught:
                    await put(store, "a")
                assert caught.value.reason is Reason.NO_ANSWER
                assert store.get("a") is None
            finally:
                disk.may_commit.set()
            await until(lambda: store.get("a") is not None)

    run(check())


def test_closing_has_a_deadline(
    tmp_path: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def check() -> None:
        monkeypatch.setattr(sqlite, "CLOSE_TIMEOUT_S", 0.05)
        store = await SqliteStore.open(tmp_path / "state" / "store.db")
        disk.is_committing.clear()
        disk.may_commit.clear()
        writing = asyncio.create_task(put(store, "a"))
        await until(disk.is_committing.is_set)
        try:
            with pytest.raises(StoreUnavailable) as caught:
                await store.close()
            assert caught.value.reason is Reason.NO_ANSWER
            assert [change async for change in store.watch("", after_revision=0)] == []
        finally:
            disk.may_commit.set()
        assert await writing == 1
        monkeypatch.undo()
        await store.close()

    run(check())


def test_too_many_waiting_writes_are_refused(
    tmp_path: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def check() -> None:
        monkeypatch.setattr(sqlite_writer, "WAITING_MAX", 3)
        async with opened(tmp_path) as store:
            disk.may_commit.clear()
            waiting = [asyncio.create_task(put(store, f"k{number}")) for number in range(3)]
            await asyncio.sleep(0)
            with pytest.raises(StoreUnavailable) as caught:
                await put(store, "one too many")
            assert caught.value.reason is Reason.TOO_BUSY
            disk.may_commit.set()
            await asyncio.gather(*waiting)
            assert await put(store, "later") == 4

    run(check())


def test_the_store_refuses_to_grow_beyond_its_bounds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Deleting, shrinking and replacing keep working, also after reopening."""
    monkeypatch.setattr(sqlite_log, "KEYS_MAX", 3)
    monkeypatch.setattr(sqlite_log, "STORE_BYTES_MAX", 100)

    async def refused(store: SqliteStore, *operations: Put | Delete) -> None:
        before = store.list(""), store.revision()
        with pytest.raises(StoreUnavailable) as caught:
            await store.transact([], operations)
        assert caught.value.reason is Reason.TOO_LARGE
        assert (store.list(""), store.revision()) == before

    async def check() -> None:
        async with opened(tmp_path) as store:
            await refused(store, Put(key="a", value=bytes(100)))
            await store.transact([], [Put(key=key, value=bytes(30)) for key in "abc"])
            await refused(store, Put(key="d", value=b""))
            await refused(store, Put(key="a", value=bytes(38)))
            await store.transact([], [Put(key="a", value=bytes(37))])
            await store.transact([], [Delete(key="a"), Put(key="d", value=bytes(37))])
        async with opened(tmp_path) as store:
            await refused(store, Put(key="ä", value=b""))
            await refused(store, Delete(key="nowhere"), Put(key="e", value=b""))
            monkeypatch.setattr(sqlite_log, "KEYS_MAX", 1)
            await store.transact([], [Delete(key="d")])
            await store.transact([], [Put(key="b", value=b"")])
            await refused(store, Put(key="d", value=b""))

    run(check())


def test_an_abandoned_opening_lets_go_of_the_file(tmp_path: Path, disk: Disk) -> None:
    async def check() -> None:
        disk.may_commit.clear()
        opening = asyncio.create_task(SqliteStore.open(tmp_path / "state" / "store.db"))
        await until(disk.is_committing.is_set)
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
        disk.may_commit.set()
        async with opened(tmp_path) as store:  # waits for the file like for any predecessor
            assert store.revision() == 0

    run(check())
