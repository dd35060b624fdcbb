"""Does every error of SQLite and the system get the reason that a person can act on?"""

from __future__ import annotations

import errno
import sqlite3
from pathlib import Path

import pytest

from cachewright.store.base import Reason
from cachewright.store.sqlite_faults import fault_of, is_untrusted, unavailable

PATH = Path("/state/store.db")


def error_with(code: int) -> sqlite3.OperationalError:
    error = sqlite3.OperationalError("said SQLite")
    error.sqlite_errorcode = code
    return error


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (sqlite3.SQLITE_FULL, Reason.DISK_FULL),
        (sqlite3.SQLITE_READONLY, Reason.READ_ONLY),
        (sqlite3.SQLITE_READONLY_DIRECTORY, Reason.READ_ONLY),
        (sqlite3.SQLITE_BUSY, Reason.IN_USE),
        (sqlite3.SQLITE_BUSY_RECOVERY, Reason.IN_USE),
        (sqlite3.SQLITE_CORRUPT, Reason.CORRUPT),
        (sqlite3.SQLITE_CORRUPT_VTAB, Reason.CORRUPT),
        (sqlite3.SQLITE_NOTADB, Reason.CORRUPT),
        (sqlite3.SQLITE_IOERR, Reason.INPUT_OUTPUT),
        (sqlite3.SQLITE_IOERR_FSYNC, Reason.INPUT_OUTPUT),
        (sqlite3.SQLITE_INTERNAL, Reason.INPUT_OUTPUT),
        (sqlite3.SQLITE_CANTOPEN, Reason.READ_ONLY),  # /state does not exist: not writable
    ],
)
def test_sqlite_codes(code: int, reason: Reason) -> None:
    fault = fault_of(error_with(code), PATH)
    assert fault.reason is reason
    assert fault.detail == "said SQLite"


def test_cantopen_in_a_writable_folder_is_not_about_permissions(tmp_path: Path) -> None:
    fault = fault_of(error_with(sqlite3.SQLITE_CANTOPEN), tmp_path / "store.db")
    assert fault.reason is Reason.INPUT_OUTPUT


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (errno.ENOSPC, Reason.DISK_FULL),
        (errno.EDQUOT, Reason.DISK_FULL),
        (errno.EROFS, Reason.READ_ONLY),
        (errno.EACCES, Reason.READ_ONLY),
        (errno.EIO, Reason.INPUT_OUTPUT),
    ],
)
def test_system_errors(number: int, reason: Reason) -> None:
    assert fault_of(OSError(number, "said the kernel"), PATH).reason is reason


@pytest.mark.parametrize(
    "reason", [reason for reason in Reason if reason is not Reason.NEWER_SCHEMA]
)
def test_every_reason_says_what_to_do(reason: Reason) -> None:
    fault = unavailable(reason, PATH, "detail")
    assert fault.reason is reason
    assert fault.hint
    assert "{" not in fault.hint
    assert str(fault) == f"{reason.value} (detail): {fault.hint}"


def test_only_a_failed_fsync_ends_all_trust() -> None:
    assert is_untrusted(error_with(sqlite3.SQLITE_IOERR_FSYNC))
    assert is_untrusted(error_with(sqlite3.SQLITE_IOERR_DIR_FSYNC))
    assert not is_untrusted(error_with(sqlite3.SQLITE_IOERR_WRITE))
    assert not is_untrusted(sqlite3.OperationalError("no code"))
