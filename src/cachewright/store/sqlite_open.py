"""May this file be our store, and how does it become one?

Checks the folder, takes the file for this process alone, finds out what it is before anything is
written, and brings its schema up to date. It may not read or write entries.

A file of a newer release is left exactly as it is, a write-ahead log beside it included: its
version is read from the file's header without SQLite, which would fold in the log. The header can
be trusted because the version changes only in migrations, which do without the write-ahead log.
Source: sqlite.org/fileformat2.html, section 1.3.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import sqlite3
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from cachewright.store.base import NewerSchema, Reason
from cachewright.store.sqlite_faults import fault_of, unavailable

#: One step per released schema; a step is never changed after its release. The number of steps is
#: the schema version, which PRAGMA user_version holds.
MIGRATIONS: Final[tuple[tuple[str, ...], ...]] = (
    (
        "CREATE TABLE entries ("
        " key TEXT NOT NULL PRIMARY KEY, value BLOB NOT NULL, mod_revision INTEGER NOT NULL"
        ") WITHOUT ROWID",
        "CREATE TABLE store (revision INTEGER NOT NULL)",
        "INSERT INTO store (revision) VALUES (0)",
    ),
)

#: "CWST": tells our files from those of other programs.
APPLICATION_ID: Final = 0x43575354
#: Where the header of a SQLite file has the schema version and the application, both big-endian.
_VERSION_BYTES: Final = slice(60, 64)
_APPLICATION_BYTES: Final = slice(68, 72)
_HEADER_BYTES: Final = 100
#: A predecessor that was told to stop gets this long to let go of the file.
BUSY_TIMEOUT_S: Final = 2.0
#: Between two looks at a file in use: not noticed by people, no load.
_BUSY_PAUSE_S: Final = 0.05


def open_database(path: Path, resources: contextlib.ExitStack) -> sqlite3.Connection:
    """Return a connection that owns the file until `resources` are closed.

    Raises:
        NewerSchema: the file belongs to a later release.
        StoreUnavailable: the folder or the file cannot be used.
    """
    try:
        _prepare_folder(path)
        resources.enter_context(_owned(path))
        with contextlib.suppress(FileExistsError):
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        _check_version(path)
        path.chmod(0o600)  # the log beside it inherits the mode
        # No implicit transactions: every BEGIN and COMMIT is written out where it matters.
        connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT_S, isolation_level=None)
        resources.callback(connection.close)
        # Also keeps the log's index in memory, so that opening needs no space on the disk.
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        connection.execute("PRAGMA synchronous = FULL")
        _check_application(connection, path)
        migrate(connection, MIGRATIONS)
        _set_journal_mode(connection, "wal")
    except (sqlite3.Error, OSError) as error:
        raise fault_of(error, path) from error
    return connection


def migrate(connection: sqlite3.Connection, migrations: Sequence[Sequence[str]]) -> None:
    """Perform the steps the file has not seen, all in one transaction."""
    version = _pragma(connection, "user_version")
    if version == len(migrations):
        return
    _set_journal_mode(connection, "delete")  # see the top of this file
    connection.execute("BEGIN IMMEDIATE")
    try:
        for statements in migrations[version:]:
            for statement in statements:
                connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {len(migrations)}")
        connection.execute("COMMIT")
    except BaseException:
        connection.rollback()
        raise


def _prepare_folder(path: Path) -> None:
    """Make the folder if it is missing; refuse one that others can reach: it holds secrets."""
    folder = path.parent
    if not folder.exists():
        folder.mkdir(mode=0o700, parents=True)
        _sync_folder(folder.parent)
    if folder.stat().st_mode & 0o077:
        raise unavailable(Reason.EXPOSED, path)


def _sync_folder(folder: Path) -> None:
    """Make the names in a folder durable; SQLite does so only for the files it creates."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _owned(path: Path) -> Iterator[None]:
    """Hold the file for one store alone; the kernel lets go when the process dies.

    SQLite's own locks cannot do it alone: POSIX drops all of a process's locks on a file as soon as
    the process closes any descriptor of it, and `_check_version` does.
    """
    descriptor = os.open(path.with_name(path.name + ".lock"), os.O_CREAT | os.O_RDWR, 0o600)
    try:
        deadline = time.monotonic() + BUSY_TIMEOUT_S
        while not _try_lock(descriptor):
            if time.monotonic() > deadline:
                raise unavailable(Reason.IN_USE, path)
            time.sleep(_BUSY_PAUSE_S)
        yield
    finally:
        os.close(descriptor)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _check_version(path: Path) -> None:
    """Recognise a file of a newer release without touching it."""
    with path.open("rb") as file:
        header = file.read(_HEADER_BYTES)
    version = int.from_bytes(header[_VERSION_BYTES])
    is_ours = int.from_bytes(header[_APPLICATION_BYTES]) == APPLICATION_ID
    if is_ours and version > len(MIGRATIONS):
        raise NewerSchema(path=str(path), found=version, known=len(MIGRATIONS))


def _check_application(connection: sqlite3.Connection, path: Path) -> None:
    """Refuse the file of another program; an empty one becomes ours."""
    application_id = _pragma(connection, "application_id")
    tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    if application_id != APPLICATION_ID and (application_id or tables):
        raise unavailable(Reason.FOREIGN, path)


def _set_journal_mode(connection: sqlite3.Connection, wanted: str) -> None:
    mode = connection.execute(f"PRAGMA journal_mode = {wanted}").fetchone()[0]
    if mode != wanted:
        raise OSError(errno.ENOTSUP, f"the file system allows journal mode {mode}, not {wanted}")
    connection.execute("BEGIN IMMEDIATE")  # takes the lock now rather than at the first write
    connection.execute("COMMIT")


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    return int(connection.execute(f"PRAGMA {name}").fetchone()[0])
