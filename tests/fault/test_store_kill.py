"""Does every acknowledged write survive kill -9 at any moment?

A child writes from four concurrent writers and says what was acknowledged and what its readers saw;
it is killed after a random number of such lines, sometimes while it opens the store. Then the file
is opened here and compared with what the child has said.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from cachewright.store.base import Entry
from cachewright.store.sqlite import SqliteStore

CHILD = Path(__file__).with_name("store_child.py")
WRITERS = 4
KEPT = 200
#: Under ten seconds, and enough to meet every phase of a commit.
ROUNDS = 20
#: Of these, rounds that meet the child while it makes or opens the store, which takes this long.
OPENING_ROUNDS = 6
OPENING_S = 0.02
#: Lines after which a child is killed at the latest: about 0.3 s of work.
LINES_MAX = 600


@dataclass(frozen=True, kw_only=True, slots=True)
class Said:
    """What a child told before it died."""

    #: By writer: number -> revision.
    acknowledged: dict[int, dict[int, int]]
    #: Newest revision that a reader has seen.
    seen: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """What is in the file afterwards."""

    revision: int
    entries: dict[str, Entry]

    def number(self, writer: int, name: str) -> int:
        """Return how far the writer was; 0 before its first write."""
        entry = self.entries.get(f"{writer}/{name}")
        return 0 if entry is None else int(entry.value)


def run_and_kill(path: Path, *, lines_max: int, pause_s: float) -> Said:
    """Let a child write, kill it some lines and a moment later and return what it has said."""
    command = [sys.executable, str(CHILD), "numbers", str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        try:
            lines = [line for _, line in zip(range(lines_max), child.stdout, strict=False)]
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(pause_s)
        finally:
            child.kill()
        lines += child.stdout.readlines()
    assert child.returncode == -9, "the child ended before it was killed"
    if lines and not lines[-1].endswith("\n"):
        lines.pop()
    return parse(lines)


def parse(lines: Sequence[str]) -> Said:
    acknowledged: dict[int, dict[int, int]] = {writer: {} for writer in range(WRITERS)}
    seen = 0
    for line in lines:
        match line.split():
            case ["acknowledged", writer, number, revision]:
                acknowledged[int(writer)][int(number)] = int(revision)
            case ["seen", revision]:
                seen = max(seen, int(revision))
    return Said(acknowledged=acknowledged, seen=seen)


async def read(path: Path) -> Found:
    store = await SqliteStore.open(path)
    try:
        return Found(
            revision=store.revision(), entries={entry.key: entry for entry in store.list("")}
        )
    finally:
        await store.close()


def check_round(before: Found, said: Said, after: Found) -> None:
    """Compare the file with what was said; each line is one promise."""
    revisions = [
        revision for numbers in said.acknowledged.values() for revision in numbers.values()
    ]
    assert len(set(revisions)) == len(revisions), "two transactions share a revision"
    assert after.revision >= max([before.revision, said.seen, *revisions]), "revisions went back"
    for writer, numbers in said.acknowledged.items():
        last = after.number(writer, "a")
        assert last == after.number(writer, "b"), "half of a transaction was applied"
        known = max(numbers, default=before.number(writer, "a"))
        assert known <= last <= known + 1, "an acknowledged write is gone, or one came from nowhere"
        assert list(numbers) == list(range(known + 1 - len(numbers), known + 1))
        log = {key for key in after.entries if key.startswith(f"{writer}/log/")}
        kept = range(max(1, last - KEPT + 1), last + 1)
        assert log == {f"{writer}/log/{number}" for number in kept}
        for number in set(kept) & set(numbers):
            entry = after.entries[f"{writer}/log/{number}"]
            assert (int(entry.value), entry.mod_revision) == (number, numbers[number])


@pytest.mark.slow(30)
def test_acknowledged_writes_survive_kill(tmp_path: Path) -> None:
    path = tmp_path / "state" / "store.db"
    before = Found(revision=0, entries={})
    chance = random.Random()  # noqa: S311 - no secret depends on it
    acknowledged = 0
    for number in range(ROUNDS):
        if number < OPENING_ROUNDS:
            said = run_and_kill(path, lines_max=1, pause_s=chance.uniform(0, OPENING_S))
        else:
            said = run_and_kill(path, lines_max=chance.randint(1, LINES_MAX), pause_s=0)
        after = asyncio.run(read(path))
        check_round(before, said, after)
        acknowledged += sum(map(len, said.acknowledged.values()))
        before = after
    assert acknowledged > ROUNDS * WRITERS, "too little was written to prove anything"
    assert before.revision >= acknowledged
