"""What does an error of SQLite or the system mean for the owner of a store?

Library errors stop here: everything the file system or SQLite raises becomes a StoreUnavailable
with a reason and a hint. A table; it performs nothing, and callers keep the cause attached.
"""

from __future__ import annotations

import errno
import os
import sqlite3
from pathlib import Path
from typing import Final

from cachewright.store.base import Reason, StoreUnavailable

#: After a failed fsync the kernel may have dropped the pages and report success the next time, so
#: no later commit of this process can be trusted. A new process reads what is really there.
_UNTRUSTED: Final = frozenset({sqlite3.SQLITE_IOERR_FSYNC, sqlite3.SQLITE_IOERR_DIR_FSYNC})

_REASON_BY_SQLITE_CODE: Final = {
    sqlite3.SQLITE_FULL: Reason.DISK_FULL,
    sqlite3.SQLITE_READONLY: Reason.READ_ONLY,
    sqlite3.SQLITE_PERM: Reason.READ_ONLY,
    sqlite3.SQLITE_AUTH: Reason.READ_ONLY,
    sqlite3.SQLITE_BUSY: Reason.IN_USE,
    sqlite3.SQLITE_LOCKED: Reason.IN_USE,
    sqlite3.SQLITE_CORRUPT: Reason.CORRUPT,
    sqlite3.SQLITE_NOTADB: Reason.CORRUPT,
    sqlite3.SQLITE_FORMAT: Reason.CORRUPT,
}

_REASON_BY_ERRNO: Final = {
    errno.ENOSPC: Reason.DISK_FULL,
    errno.EDQUOT: Reason.DISK_FULL,
    errno.EROFS: Reason.READ_ONLY,
    errno.EACCES: Reason.READ_ONLY,
    errno.EPERM: Reason.READ_ONLY,
}

_HINT: Final = {
    Reason.DISK_FULL: "free space on the disk of {path}; writes work again once there is room",
    Reason.READ_ONLY: "let this user write to {folder}, or choose another state folder",
    Reason.EXPOSED: "run: chmod 700 {folder}",
    Reason.IN_USE: "stop the other process that uses {path}, or choose another state folder",
    Reason.CORRUPT: "move {path} and the files beside it aside and restore a backup",
    Reason.FOREIGN: "choose another state folder; {path} was not touched",
    Reason.INPUT_OUTPUT: "check the disk of {path} and the kernel's log, then start again",
    Reason.NO_ANSWER: "check the disk of {path}; the write may still be carried out",
    Reason.TOO_LARGE: "delete groups or old events; deleting always works",
    Reason.TOO_BUSY: "try again in a moment",
    Reason.CLOSED: "the service is stopping; try again when it is back",
}


def unavailable(reason: Reason, path: Path, detail: str = "") -> StoreUnavailable:
    """Return the error for a reason with the hint that belongs to it."""
    hint = _HINT[reason].format(path=path, folder=path.parent)
    return StoreUnavailable(reason, hint, detail=detail)


def fault_of(error: sqlite3.Error | OSError, path: Path) -> StoreUnavailable:
    """Translate an error of SQLite or the file system."""
    if isinstance(error, OSError):
        reason = _REASON_BY_ERRNO.get(error.errno or 0, Reason.INPUT_OUTPUT)
        return unavailable(reason, path, error.strerror or "")
    # The extended code carries the primary one in its low byte.
    code = _code_of(error) & 0xFF
    reason = _REASON_BY_SQLITE_CODE.get(code, Reason.INPUT_OUTPUT)
    if code == sqlite3.SQLITE_CANTOPEN and not os.access(path.parent, os.W_OK):
        reason = Reason.READ_ONLY
    if code == 0 and isinstance(error, sqlite3.OperationalError):
        reason = Reason.CORRUPT  # raised by the module itself for a value it cannot decode
    return unavailable(reason, path, str(error))


def is_untrusted(error: sqlite3.Error) -> bool:
    """Tell whether nothing this process writes can be relied on after the error."""
    return _code_of(error) in _UNTRUSTED


def _code_of(error: sqlite3.Error) -> int:
    """Return the extended result code; 0 if the error was not raised by SQLite."""
    return getattr(error, "sqlite_errorcode", 0)
