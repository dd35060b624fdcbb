"""Does the folder of a node hold the data of a graceful stop, whole and not used yet?

The snapshot is the engine's file. Beside it lies our note, `saved.json`: without a note that fits
the file, a snapshot is never loaded, for it could be of any age. The note is written in two
parts: before the engine is told to save and end, what was there; after its proven end, what is
there now. If we die in between, the first part is enough to tell later.
"""

from __future__ import annotations

import dataclasses
import datetime
import stat
from dataclasses import dataclass
from pathlib import Path

import msgspec

from cachewright.kit import files
from cachewright.model.status import Role

NOTE_NAME = "saved.json"
#: After our own death: a snapshot that was written later than this after the order belongs to
#: something else. The largest data sets take minutes to write.
FRESH_S_MAX = 3600.0
_NS = 1_000_000_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Snapshot:
    """Which file: a snapshot is replaced by renaming, so a new one has another inode."""

    inode: int
    size_bytes: int
    mtime_ns: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Note:
    """What is known about the snapshot."""

    ordered_at: datetime.datetime
    role: Role
    #: What was there when the order was given.
    before: Snapshot | None
    #: `before` was itself whole and not used yet.
    before_is_whole: bool
    #: What the stop left; `None` until the end of the process is proven.
    saved: Snapshot | None = None


class SavedData:
    """The snapshot of one node and its note."""

    def __init__(self, folder: Path, snapshot: str | Path) -> None:
        """`snapshot` is a name in the node's folder, or the path of a file elsewhere."""
        self._snapshot = folder / snapshot
        self._note = folder / NOTE_NAME
        #: The files in the folder that a start must leave alone to load the snapshot.
        self.names = (self._snapshot.name, NOTE_NAME)

    def is_whole(self) -> bool:
        """Tell whether a snapshot of a graceful stop is there for loading."""
        note = self._read()
        return note is not None and note.saved is not None and note.saved == self._look()

    def expect(self, *, role: Role, now: datetime.datetime) -> None:
        """Write down that the engine is about to be told to save and end."""
        self._write(
            Note(
                ordered_at=now,
                role=role,
                before=self._look(),
                before_is_whole=self.is_whole(),
            )
        )

    def confirm(self) -> bool:
        """After the proven end of the process: keep what it saved; tell whether there is any.

        An engine that was told to end while it was still loading saves nothing and leaves what
        it was loading, which then stays whole.
        """
        note = self._read()
        if note is None or note.saved is not None:
            return self.is_whole()
        found = self._look()
        is_new = found is not None and found != note.before
        if not is_new and not (note.before_is_whole and found == note.before):
            self._note.unlink(missing_ok=True)
            return False
        self._write(dataclasses.replace(note, saved=found))
        return True

    def recover(self) -> bool:
        """Do as `confirm` if we died after `expect`: then only a fresh snapshot counts."""
        note, found = self._read(), self._look()
        if note is not None and note.saved is None and found is not None and found != note.before:
            age_ns = found.mtime_ns - self._note.stat().st_mtime_ns
            if not 0 <= age_ns <= FRESH_S_MAX * _NS:
                self._note.unlink(missing_ok=True)
                return False
        return self.confirm()

    def abandon(self) -> None:
        """Take `expect` back: the engine did not end. What was whole before stays so."""
        note = self._read()
        if note is not None and note.saved is None:
            if note.before_is_whole and note.before == self._look():
                self._write(dataclasses.replace(note, saved=note.before))
            else:
                self._note.unlink(missing_ok=True)

    def rewrite(self, content: bytes) -> None:
        """Replace what is whole by what says the same; if we die meanwhile, it is not whole."""
        note = self._read()
        fresh = self._snapshot.with_name(f"{self._snapshot.name}.new")
        files.write_private(fresh, content)
        if note is not None:
            self._write(dataclasses.replace(note, saved=_look(fresh)))
        fresh.replace(self._snapshot)

    def discard(self) -> None:
        """Make sure that nobody ever loads the snapshot; the note goes first."""
        if self._note.exists():
            self._note.unlink(missing_ok=True)
            self._snapshot.unlink(missing_ok=True)
            files.sync_folder(self._note.parent)

    def _look(self) -> Snapshot | None:
        return _look(self._snapshot)

    def _read(self) -> Note | None:
        try:
            return msgspec.json.decode(self._note.read_bytes(), type=Note)
        except (OSError, msgspec.DecodeError):
            return None

    def _write(self, note: Note) -> None:
        files.write_atomic(self._note, msgspec.json.encode(note))


def _look(file: Path) -> Snapshot | None:
    try:
        facts = file.lstat()
    except OSError:
        return None
    if not stat.S_ISREG(facts.st_mode):
        return None
    return Snapshot(inode=facts.st_ino, size_bytes=facts.st_size, mtime_ns=facts.st_mtime_ns)
