"""Which files does the store take, and how does it treat them?"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cachewright.store import sqlite_open
from cachewright.store.base import NewerSchema, Put, Reason, StoreUnavailable
from cachewright.store.sqlite import SqliteStore
from cachewright.store.sqlite_log import Log, Transaction
from cachewright.store.sqlite_open import APPLICATION_ID, MIGRATIONS, migrate, open_database

#: Holds a store open until its input ends.
HOLDER = """
import asyncio, sys
from pathlib import Path
from cachewright.store.sqlite import SqliteStore
async def hold():
    store = await SqliteStore.open(Path(sys.argv[1]))
    print("open", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await store.close()
asyncio.run(hold())
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "store.db"


@contextlib.contextmanager
def log_at(path: Path) -> Iterator[Log]:
    log = Log(path)
    try:
        yield log
    finally:
        log.close()


def write_some(path: Path, count: int = 20) -> None:
    with log_at(path) as log:
        log.load()
        for number in range(count):
            put = Put(key=f"k{number:04}", value=os.urandom(500))
            log.commit([Transaction(compares=(), operations=(put,))])


def refusal(path: Path) -> StoreUnavailable:
    async def attempt() -> None:
        store = await SqliteStore.open(path)
        await store.close()

    with pytest.raises(StoreUnavailable) as caught:
        asyncio.run(attempt())
    assert str(path.parent) in str(caught.value)
    assert caught.value.hint
    return caught.value


def mode_of(path: Path) -> int:
    return path.stat().st_mode & 0o777


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir() if file.suffix != ".lock"}


# Who may read it


def test_only_the_owner_can_read_what_is_made(path: Path) -> None:
    before = os.umask(0)
    try:
        with log_at(path):
            write = Transaction(compares=(), operations=(Put(key="a", value=b"1"),))
            with log_at(path.with_name("other.db")) as other:
                other.commit([write])
                modes = {file.name: mode_of(file) for file in path.parent.iterdir()}
    finally:
        os.umask(before)
    assert mode_of(path.parent) == 0o700
    assert {"store.db", "other.db", "other.db-wal"} <= modes.keys()
    assert set(modes.values()) == {0o600}


def test_a_file_that_others_can_read_is_closed_to_them(path: Path) -> None:
    write_some(path)
    path.chmod(0o644)
    with log_at(path):
        assert mode_of(path) == 0o600


@pytest.mark.parametrize("mode", [0o750, 0o701, 0o777])
def test_a_folder_that_others_can_reach_is_refused(path: Path, mode: int) -> None:
    path.parent.mkdir()
    path.parent.chmod(mode)
    assert refusal(path).reason is Reason.EXPOSED
    assert list(path.parent.iterdir()) == []


def test_missing_folders_are_made(tmp_path: Path) -> None:
    path = tmp_path / "one" / "two" / "store.db"
    with log_at(path):
        assert path.exists()


# Who uses it


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The predecessor in these tests does not stop."""
    monkeypatch.setattr(sqlite_open, "BUSY_TIMEOUT_S", 0.1)


@pytest.mark.usefixtures("impatient")
def test_a_store_in_use_by_another_process_is_refused(path: Path) -> None:
    command = [sys.executable, "-c", HOLDER, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"open\n"
        try:
            assert refusal(path).reason is Reason.IN_USE
        finally:
            holder.communicate(timeout=30)
    with log_at(path):
        pass


@pytest.mark.usefixtures("impatient")
def test_a_store_in_use_in_this_process_is_refused(path: Path) -> None:
    with log_at(path):
        assert refusal(path).reason is Reason.IN_USE


@pytest.mark.usefixtures("impatient")
def test_a_file_locked_by_another_program_is_refused(path: Path) -> None:
    write_some(path)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert refusal(path).reason is Reason.IN_USE


def test_other_programs_cannot_write_an_open_store(path: Path) -> None:
    with (
        log_at(path) as log,
        contextlib.closing(sqlite3.connect(path, timeout=0, isolation_level=None)) as other,
    ):
        log.load()
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            other.execute("DELETE FROM entries")


# What it is


def test_a_newer_schema_is_refused_and_not_touched(tmp_path: Path) -> None:
    """Even a log that was not folded in stays as it is."""
    alive, dead = tmp_path / "alive", tmp_path / "dead"
    write_some(alive / "store.db")
    with contextlib.closing(sqlite3.connect(alive / "store.db", isolation_level=None)) as newer:
        newer.execute("PRAGMA journal_mode = DELETE")
        newer.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
        newer.execute("PRAGMA journal_mode = WAL")
        newer.execute("INSERT INTO entries VALUES ('in the log', x'00', 1)")
        shutil.copytree(alive, dead)
    (dead / "store.db-shm").unlink()
    (dead / "store.db").chmod(0o640)
    before = contents(dead)
    assert before["store.db-wal"]

    error = refusal(dead / "store.db")
    assert isinstance(error, NewerSchema)
    assert error.reason is Reason.NEWER_SCHEMA
    assert (error.found, error.known) == (len(MIGRATIONS) + 1, len(MIGRATIONS))
    assert "release" in error.hint
    assert contents(dead) == before
    assert mode_of(dead / "store.db") == 0o640


def test_the_file_of_another_program_is_refused_and_not_touched(path: Path) -> None:
    path.parent.mkdir(mode=0o700)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("CREATE TABLE recipes (name TEXT)")
        other.execute("PRAGMA user_version = 99")
    before = contents(path.parent)
    assert refusal(path).reason is Reason.FOREIGN
    assert contents(path.parent) == before


def test_a_file_that_is_no_database_is_refused(path: Path) -> None:
    path.parent.mkdir(mode=0o700)
    path.write_bytes(b"garbage" * 1000)
    assert refusal(path).reason is Reason.CORRUPT
    assert path.read_bytes() == b"garbage" * 1000


def test_an_empty_file_becomes_a_store(path: Path) -> None:
    path.parent.mkdir(mode=0o700)
    path.touch(mode=0o600)
    with log_at(path) as log:
        assert log.load() == (0, ())


@pytest.mark.parametrize("page", [1, 2, 3, 4])
def test_a_damaged_page_is_noticed_when_opening(path: Path, page: int) -> None:
    write_some(path)
    with path.open("r+b") as file:
        file.seek(page * 4096)
        file.write(b"\xa5" * 4096)
    assert refusal(path).reason is Reason.CORRUPT


def test_keys_out_of_order_are_noticed_when_opening(path: Path) -> None:
    """SQLite would read such a page without complaint, and miss keys when it looks for them."""
    write_some(path)
    path.write_bytes(path.read_bytes().replace(b"k0003", b"k9993"))
    assert refusal(path).reason is Reason.CORRUPT


def test_a_truncated_file_is_noticed_when_opening(path: Path) -> None:
    write_some(path)
    os.truncate(path, path.stat().st_size // 2)
    assert refusal(path).reason is Reason.CORRUPT


@pytest.mark.parametrize(
    "damage",
    [
        "DELETE FROM store",
        "UPDATE store SET revision = 3",
        "UPDATE store SET revision = 'many'",
        "UPDATE entries SET key = CAST(x'ff' AS TEXT) WHERE key = 'k0003'",
    ],
)
def test_contents_that_contradict_themselves_are_refused(path: Path, damage: str) -> None:
    write_some(path)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute(damage)
    assert refusal(path).reason is Reason.CORRUPT


# How it is opened


def test_every_commit_reaches_the_disk(path: Path) -> None:
    with contextlib.ExitStack() as resources:
        connection = open_database(path, resources)
        (journal_mode,) = connection.execute("PRAGMA journal_mode").fetchone()
        (synchronous,) = connection.execute("PRAGMA synchronous").fetchone()
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        (application_id,) = connection.execute("PRAGMA application_id").fetchone()
    assert (journal_mode, synchronous) == ("wal", 2)
    assert (version, application_id) == (len(MIGRATIONS), APPLICATION_ID)


def test_the_header_tells_the_version_while_the_log_is_not_folded_in(path: Path) -> None:
    with log_at(path):
        assert int.from_bytes(path.read_bytes()[60:64]) == len(MIGRATIONS)


def test_closing_folds_in_the_log(path: Path) -> None:
    write_some(path)
    assert {file.name for file in path.parent.iterdir()} == {"store.db", "store.db.lock"}


def test_a_failed_opening_lets_go_of_the_file(path: Path) -> None:
    path.parent.mkdir(mode=0o700)
    path.write_bytes(b"garbage" * 1000)
    refusal(path)
    path.unlink()
    with log_at(path):
        pass


def test_a_database_that_cannot_have_the_journal_is_refused() -> None:
    with (
        contextlib.closing(sqlite3.connect(":memory:", isolation_level=None)) as connection,
        pytest.raises(OSError, match="journal mode memory, not delete"),
    ):
        migrate(connection, MIGRATIONS)


# Migrations


def test_an_older_file_is_brought_up_to_date(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_some(path)
    step = ("ALTER TABLE entries ADD COLUMN note TEXT",)
    monkeypatch.setattr(sqlite_open, "MIGRATIONS", (*MIGRATIONS, step))
    with log_at(path) as log:
        # An older release could tell at this very moment, with the log not folded in.
        assert int.from_bytes(path.read_bytes()[60:64]) == len(MIGRATIONS) + 1
        assert len(log.load()[1]) == 20
    monkeypatch.undo()
    assert refusal(path).reason is Reason.NEWER_SCHEMA


@pytest.fixture
def connection() -> Iterator[sqlite3.Connection]:
    with contextlib.closing(sqlite3.connect("", isolation_level=None)) as connection:
        yield connection


FIRST = ("CREATE TABLE one (x)", "INSERT INTO one VALUES (1)")
SECOND = ("ALTER TABLE one ADD COLUMN y", "UPDATE one SET y = x + 1")


def test_an_older_schema_gets_the_missing_steps(connection: sqlite3.Connection) -> None:
    migrate(connection, [FIRST])
    migrate(connection, [FIRST, SECOND])
    migrate(connection, [FIRST, SECOND])
    assert connection.execute("SELECT * FROM one").fetchall() == [(1, 2)]
    assert connection.execute("PRAGMA user_version").fetchone() == (2,)


def test_a_failing_step_leaves_the_older_schema(connection: sqlite3.Connection) -> None:
    migrate(connection, [FIRST])
    with pytest.raises(sqlite3.OperationalError):
        migrate(connection, [FIRST, SECOND, ("UPDATE one SET x = 9", "not SQL")])
    assert connection.execute("SELECT * FROM one").fetchall() == [(1,)]
    assert connection.execute("PRAGMA user_version").fetchone() == (1,)
    assert not connection.in_transaction
