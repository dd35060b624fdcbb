"""Where in shared memory may a node keep files, and is there room for them?

In a private folder, for items that outlive a process (`keeping`) and for what an engine would wait
for the disk with (`maps`). It belongs to the node as its folder on disk does: it is named after
that, and goes with it. May not say when files are kept or used; those two do that.

An engine takes the room for items page by page as it fills. If others took it meanwhile it would
die of it, so what all such files may still take is counted before another one is made.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from cachewright.agent import disk
from cachewright.kit import files, shared_memory

#: Left to others that use shared memory.
FREE_BYTES_MIN = 16 * 1024 * 1024
#: Another node of the same agent may remove the common folder at the same moment.
_MAKE_TRIES = 5
#: What stands in `/proc/mounts` for a file system in memory.
_IN_MEMORY = frozenset({"tmpfs", "ramfs"})
#: From the root to a file: the folder of a state folder, that of a node, the file.
_LEVELS = 3
_MOUNTS = Path("/proc/self/mounts")


class MemoryFolder:
    """The folder in memory of one node; it may not exist."""

    def __init__(self, node_folder: Path, *, root: Path = shared_memory.ROOT) -> None:
        self._root = root
        self._common = shared_memory.folder_of(node_folder.parent, root=root)
        self.path = self._common / node_folder.name

    def claim(self, name: str, size_bytes: int, *, keeps: bool) -> str:
        """Make the folder with room for a file `name`; return why that cannot be, else "".

        Args:
            name: The file, which is there afterwards, in its full size and private.
            size_bytes: Its size.
            keeps: Leave what is there; else the folder is emptied first.
        """
        try:
            if not keeps:
                self.remove()
            return self._claim(name, size_bytes)
        except OSError as error:
            return f"nothing can be kept in memory: {disk.explain(error)}"

    def remove(self) -> None:
        """Remove the folder and all in it; nothing happens if it is not there, or not ours."""
        with contextlib.suppress(FileNotFoundError, FileExistsError):
            shared_memory.require_private(self._common)
            shutil.rmtree(self.path)
        with contextlib.suppress(OSError):  # not empty, or not there
            self._common.rmdir()

    def _claim(self, name: str, size_bytes: int) -> str:
        if not _is_in_memory(self._root):
            return f"{self._root} is no file system in memory"
        self._make()
        file = self.path / name
        there_bytes = _used_bytes(file)
        facts = os.statvfs(self._root)
        free_bytes = facts.f_bavail * facts.f_frsize - _promised_bytes(self._root, but=file)
        if free_bytes - FREE_BYTES_MIN < size_bytes - there_bytes:
            self.remove()
            return (
                f"{self._root} has {max(0, free_bytes) >> 20} MiB that nobody claims, "
                f"and {size_bytes >> 20} MiB are wanted"
            )
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, files.PRIVATE_FILE)
        try:
            os.ftruncate(descriptor, size_bytes)
        finally:
            os.close(descriptor)
        return ""

    def _make(self) -> None:
        for _ in range(_MAKE_TRIES):
            with contextlib.suppress(FileNotFoundError):
                with contextlib.suppress(FileExistsError):
                    self._common.mkdir(mode=files.PRIVATE_FOLDER)
                shared_memory.require_private(self._common)
                with contextlib.suppress(FileExistsError):
                    self.path.mkdir(mode=files.PRIVATE_FOLDER)
                shared_memory.require_private(self.path)
                return
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(self._common))


def _promised_bytes(root: Path, *, but: Path) -> int:
    """Return what the files of all nodes may still take, as far as we may look."""
    sizes = (_sizes(file) for file in _files(root, levels=_LEVELS) if file != but)
    return sum(max(0, size - used) for size, used in sizes)


def _files(folder: Path, *, levels: int) -> Iterator[Path]:
    """Yield what lies so many levels below; what is removed meanwhile or not ours is passed by.

    (`Path.glob` fails as a whole when a folder goes while it looks.)
    """
    try:
        entries = [entry.name for entry in os.scandir(folder)]
    except OSError:
        return
    for name in entries:
        if levels == _LEVELS and not name.startswith(shared_memory.PREFIX):
            continue
        if levels == 1:
            yield folder / name
        else:
            yield from _files(folder / name, levels=levels - 1)


def _used_bytes(file: Path) -> int:
    return _sizes(file)[1]


def _sizes(file: Path) -> tuple[int, int]:
    """Return how large a file is and how much memory it has taken."""
    with contextlib.suppress(OSError):
        facts = file.lstat()
        return facts.st_size, facts.st_blocks * 512
    return 0, 0


def _is_in_memory(root: Path) -> bool:
    with contextlib.suppress(OSError):
        for line in _MOUNTS.read_text().splitlines():
            _, mounted, kind, *_ = line.split(" ")
            if mounted == str(root.resolve()):
                return kind in _IN_MEMORY
    return False
