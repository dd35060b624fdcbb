"""Can a node be started on this disk, and what does an error of the disk mean for people?

Called before a start and wherever an `OSError` of a node's folder surfaces. Changes nothing.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

from cachewright.rpc.agent import CommandFailed

#: An engine with an empty data set writes less than 1 MB; below this, logs and the map of the
#: cluster would soon fail to be written, which ends an engine of a cluster.
FREE_BYTES_MIN = 64 * 1024 * 1024

_SENTENCES = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the quota of the disk is used up",
    errno.EFBIG: "the file would be larger than the limit of this process",
    errno.EROFS: "the disk is read-only",
    errno.EACCES: "permission is denied",
    errno.EPERM: "it is not permitted",
    errno.ENOTDIR: "something that is no folder is in its place",
    errno.EEXIST: "something else is in its place",
    errno.EMFILE: "this process may not open more files (see `ulimit -n`)",
    errno.ENFILE: "the host has no more open files to give",
    errno.EIO: "the disk reports an error",
}


def explain(error: OSError) -> str:
    """Return what went wrong and with which file, in one sentence without a full stop."""
    said = _SENTENCES.get(error.errno or 0) or error.strerror or str(error)
    return f"{error.filename}: {said}" if error.filename else said


def require_room(folder: Path, *, free_bytes_min: int = FREE_BYTES_MIN) -> None:
    """Raise `CommandFailed` when a node cannot be kept in `folder`, which exists."""
    try:
        facts = os.statvfs(folder)
    except OSError as error:
        raise CommandFailed(f"no room for a node: {explain(error)}") from error
    if facts.f_flag & os.ST_RDONLY:
        raise CommandFailed(f"no room for a node: {folder}: the disk is read-only")
    free_bytes = facts.f_bavail * facts.f_frsize
    if free_bytes < free_bytes_min:
        raise CommandFailed(
            f"no room for a node: {folder} has {free_bytes >> 20} MiB free, "
            f"and {free_bytes_min >> 20} MiB are wanted"
        )
    if not os.access(folder, os.W_OK | os.X_OK):
        raise CommandFailed(f"no room for a node: {folder}: permission is denied")
