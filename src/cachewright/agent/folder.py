"""What lies in the folder of a node, and how is it written, read and removed?

    node.json            what was started last (`Record`), mode 0600, replaced as a whole
    start.log            everything the process says on its standard output and error
    engine.log           the engine's own log; engine.previous.log is the one of the run before
    saved.json           belongs to `saved`
    appendonlydir        belongs to `append_only` and the engine
    nodes.conf           belongs to `maps` and the engine; in memory while that runs
    anything else        belongs to the engine and is thrown away before every start

The folder has mode 0700. Its records need to survive our own death, not a power loss: no process
survives that, and the boot id tells. So nothing here waits for the disk.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from cachewright.agent.machine import State
from cachewright.kit import files
from cachewright.model.commands import Launch
from cachewright.model.facts import ProcessIdentity, RefusedSetting
from cachewright.rpc.agent import CommandFailed

#: Lines of a log that go into facts and messages.
LOG_LINES_MAX = 20
#: Read from the end of each log: 20 lines of usual length with room to spare.
_LOG_BYTES_MAX = 8192
#: `node_key`: the group's uid and the node's id, both from narrow alphabets. A key is a folder.
_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]*(\.[A-Za-z0-9][A-Za-z0-9-]*)+")
_KEY_LENGTH_MAX = 128
_REMOVING = ".removing."
_RECORD = "node.json"
_OUTPUT = "start.log"


@dataclass(frozen=True, kw_only=True, slots=True)
class ItemsRecord:
    """How a process holds its items."""

    #: See `ItemKeeper.layout`.
    layout: dict[str, str]
    #: Why they are not in memory that can be kept; empty when they are.
    obstacle: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Record:
    """What is written down about a node. Contains secrets, which `repr` of `Launch` hides."""

    state: State
    launch: Launch | None = None
    #: The last process that was started and written down.
    identity: ProcessIdentity | None = None
    failed_starts: int = 0
    failure: str = ""
    #: Settings that the engine did not take since the node was made.
    refused: tuple[RefusedSetting, ...] = ()
    #: Of an engine that can keep its items: how the last process held them.
    items: ItemsRecord | None = None
    #: See `NodeFact.cold_start_reason`.
    cold_start_reason: str = ""
    #: What the last process held was a copy of its shard: it had loaded one, or was admitted.
    had_copy: bool = True

    @property
    def settings(self) -> tuple[tuple[str, str], ...]:
        """What the engine was told and took."""
        refused = {(one.name, one.value) for one in self.refused}
        asked = self.launch.settings if self.launch is not None else ()
        return tuple(pair for pair in asked if pair not in refused)


#: A folder whose record is missing or unreadable: a process of it may live or not.
UNREADABLE = Record(state=State.STARTING)


class NodeFolder:
    """The folder of one node; it may not exist."""

    def __init__(self, nodes: Path, key: str) -> None:
        if not _KEY.fullmatch(key) or len(key) > _KEY_LENGTH_MAX:
            raise CommandFailed(f"{key!r} is no key of a node")
        self.path = nodes / key
        self.output = self.path / _OUTPUT

    def exists(self) -> bool:
        """Tell whether the folder is there."""
        return self.path.is_dir() and not self.path.is_symlink()

    def read(self) -> Record:
        """Return the record; `UNREADABLE` where there is none that makes sense."""
        try:
            return msgspec.json.decode((self.path / _RECORD).read_bytes(), type=Record)
        except (OSError, msgspec.DecodeError):
            return UNREADABLE

    def write(self, record: Record) -> None:
        """Replace the record; the old one or the new one is there if we die meanwhile."""
        self.replace(_RECORD, msgspec.json.encode(record))

    def replace(self, name: str, content: bytes) -> None:
        """Replace a file; whoever reads it sees the old one or the new one, never half of it."""
        fresh = self.path / f"{name}.new"
        files.write_private(fresh, content)
        fresh.replace(self.path / name)

    def content(self, name: str) -> bytes | None:
        """Return what is in a file; `None` where it cannot be read."""
        try:
            return (self.path / name).read_bytes()
        except OSError:
            return None

    def make(self) -> None:
        """Create the folder where it is missing."""
        if self.path.is_symlink():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(self.path))
        self.path.mkdir(mode=files.PRIVATE_FOLDER, exist_ok=True)
        self.path.chmod(files.PRIVATE_FOLDER)

    def renew(self, content: Mapping[str, bytes], *, keep: Collection[str], log_name: str) -> None:
        """Throw away what an earlier run left, but for `keep` and its log, and write `content`.

        An engine never starts on files that it wrote itself: an old map of the cluster could win
        back slots with old data.
        """
        previous = f"{Path(log_name).stem}.previous.log"
        log = self.path / log_name
        if log.is_file():
            log.replace(self.path / previous)
        for entry in os.scandir(self.path):
            if entry.name in keep or entry.name in {_RECORD, _OUTPUT, previous}:
                continue
            _remove_entry(entry)
        for name, data in content.items():
            files.write_private(self.path / name, data)

    def log_tail(self, log_name: str, secrets: Collection[str]) -> tuple[str, ...]:
        """Return the last lines of what the engine said, without the secrets it was given."""
        lines: list[str] = []
        for name in (log_name, _OUTPUT):
            lines += _last_lines(self.path / name)
        return tuple(_without(line, secrets) for line in lines[-LOG_LINES_MAX:])

    def remove(self) -> None:
        """Remove the folder and all in it, following no link; nothing happens if it is not there.

        Renamed first: a removal that is cut short leaves no folder that looks like a node. What is
        no folder is not ours.
        """
        leaving = self.path.with_name(f"{_REMOVING}{self.path.name}")
        if leaving.exists():
            shutil.rmtree(leaving)
        if self.path.is_symlink():
            self.path.unlink()
        elif self.path.is_dir():
            self.path.replace(leaving)
            shutil.rmtree(leaving)


def open_all(nodes: Path) -> Iterator[tuple[str, NodeFolder]]:
    """Yield every node of this host with its folder; end removals that were cut short."""
    for entry in sorted(os.scandir(nodes), key=lambda one: one.name):
        if not entry.is_dir(follow_symlinks=False):
            continue
        if entry.name.startswith(_REMOVING):
            shutil.rmtree(entry.path)
        elif _KEY.fullmatch(entry.name):
            yield entry.name, NodeFolder(nodes, entry.name)


def _remove_entry(entry: os.DirEntry[str]) -> None:
    if entry.is_dir(follow_symlinks=False):
        shutil.rmtree(entry.path)
    else:
        Path(entry.path).unlink(missing_ok=True)


def _last_lines(path: Path) -> list[str]:
    try:
        with path.open("rb") as file:
            end = file.seek(0, os.SEEK_END)
            start = max(0, end - _LOG_BYTES_MAX)
            file.seek(start)
            text = file.read(_LOG_BYTES_MAX).decode(errors="replace")
    except OSError:
        return []
    lines = text.splitlines()
    if start > 0:
        del lines[:1]  # most likely only the end of a line
    return [line for line in map(_printable, lines) if line]


def _printable(line: str) -> str:
    return "".join(letter if letter.isprintable() else " " for letter in line).rstrip()


def _without(line: str, secrets: Collection[str]) -> str:
    for secret in secrets:
        if secret:
            line = line.replace(secret, "***")
    return line
