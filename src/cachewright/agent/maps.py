"""Where does an engine keep its map of the cluster while it runs, and where is it afterwards?

An engine writes its map at each change of it, and serves nobody until the disk has it: a
millisecond, and on a busy disk more than a second, for each slot that moves, each promotion, each
node that joins. No map needs to survive a power loss, for every start writes it anew; so it is kept
in memory where that can be had, and lies in the node's folder once its process has ended.

With an append-only file it is on the disk all the time: after a power loss it says which of the
keys there are whose.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

from cachewright.agent import append_only
from cachewright.agent.folder import NodeFolder
from cachewright.agent.memory import MemoryFolder
from cachewright.kit import files
from cachewright.model.commands import Launch


def place(memory: MemoryFolder, name: str, content: bytes, launch: Launch) -> Path | None:
    """Write the map of a process that is about to start into memory, and return where.

    `None`: it is to be kept in the node's folder.
    """
    if memory.path.exists():  # a disk that was full has kept it from coming home
        memory.remove()
    if append_only.keeps(launch) or memory.claim(name, len(content), keeps=True):
        return None
    path = memory.path / name
    try:
        files.write_private(path, content)
    except OSError:  # it is full by now
        memory.remove()
        return None
    return path


def content(folder: NodeFolder, memory: MemoryFolder, name: str) -> bytes | None:
    """Return the map of the last process, wherever it is; `None` where there is none."""
    with contextlib.suppress(OSError):
        return (memory.path / name).read_bytes()
    return folder.content(name)


def bring_home(folder: NodeFolder, memory: MemoryFolder, name: str) -> None:
    """Put the map of a process that has ended into the node's folder, and free its memory.

    Where the disk takes nothing it stays where it is.
    """
    with contextlib.suppress(OSError):
        folder.replace(name, (memory.path / name).read_bytes())
        memory.remove()
