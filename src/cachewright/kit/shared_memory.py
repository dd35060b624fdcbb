"""Where in shared memory may the programs of a folder on disk keep files?

Everybody may make files there under any name, so a folder in it is used only while it is private.
Standard library only.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
import stat
from pathlib import Path

from cachewright.kit import files

ROOT = Path("/dev/shm")  # noqa: S108 folders in it are made private and checked
PREFIX = "cachewright."
_DIGEST_LETTERS = 16


def folder_of(folder: Path, *, root: Path = ROOT) -> Path:
    """Return the folder in shared memory that belongs to a folder on disk; it may not exist."""
    digest = hashlib.sha256(str(folder.resolve()).encode()).hexdigest()
    return root / f"{PREFIX}{digest[:_DIGEST_LETTERS]}"


def require_private(folder: Path) -> None:
    """Raise `OSError` unless this is a folder of ours that nobody else may enter."""
    facts = folder.lstat()
    is_ours = facts.st_uid == os.geteuid() and stat.S_IMODE(facts.st_mode) == files.PRIVATE_FOLDER
    if not stat.S_ISDIR(facts.st_mode) or not is_ours:
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(folder))


def remove(folder: Path) -> None:
    """Remove the folder in shared memory that belongs to `folder`, unless it is not ours."""
    own = folder_of(folder)
    with contextlib.suppress(FileNotFoundError, FileExistsError):
        require_private(own)
        shutil.rmtree(own)
