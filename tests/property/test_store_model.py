"""Does every implementation of `Store` agree with a dict, whatever is done to it?

Random transactions, races, listings, watches and reopenings, checked after every step. The promises
one by one: tests/contract/test_store_conformance.py.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from pathlib import Path
from typing import TypeVar

import hypothesis
import hypothesis.stateful
import pytest
from hypothesis import strategies

from cachewright.store.base import (
    Change,
    Compare,
    Conflict,
    Delete,
    Entry,
    Operation,
    Put,
    Store,
)
from cachewright.store.sqlite import SqliteStore

#: Each step takes milliseconds; one that hangs must fail here and not at the test's own limit.
STEP_TIMEOUT_S = 30.0

Result = TypeVar("Result")
#: Opens the store that lives in a folder, again and again.
Opener = Callable[[Path], Awaitable[Store]]


async def open_sqlite(folder: Path) -> Store:
    return await SqliteStore.open(folder / "state" / "store.db")


IMPLEMENTATIONS = [pytest.param(open_sqlite, id="sqlite")]

KEYS = strategies.sampled_from(["a", "a/1", "a/2", "b", "ä", "\U0010ffff"])
VALUES = strategies.binary(max_size=3)
OPERATIONS = strategies.lists(
    strategies.one_of(
        strategies.builds(Put, key=KEYS, value=VALUES), strategies.builds(Delete, key=KEYS)
    ),
    max_size=4,
    unique_by=lambda operation: operation.key,
)


async def anext_of(changes: AsyncIterator[Change]) -> Change:
    return await anext(changes)


class StoreMachine(hypothesis.stateful.RuleBasedStateMachine):
    """A dict with revisions, and a store that has to agree with it at every step."""

    opener: Opener

    def __init__(self) -> None:
        super().__init__()
        self.model: dict[str, Entry] = {}
        self.revision = 0
        self.history: list[Change] = []
        self.first_revision = 0
        self.folder = tempfile.TemporaryDirectory()
        self.runner = asyncio.Runner()
        self.store = self.run(self.open())

    async def open(self) -> Store:
        """Open the store where it is."""
        return await type(self).opener(Path(self.folder.name))

    def run(self, work: Coroutine[None, None, Result]) -> Result:
        """Wait for a coroutine of the store."""
        return self.runner.run(asyncio.wait_for(work, STEP_TIMEOUT_S))

    @hypothesis.stateful.rule(
        right=strategies.lists(KEYS, max_size=3),
        wrong=strategies.lists(strategies.tuples(KEYS, strategies.integers(0, 5)), max_size=1),
        operations=OPERATIONS,
    )
    def transact(
        self, right: list[str], wrong: list[tuple[str, int]], operations: list[Operation]
    ) -> None:
        """Both refuse, or both do the same."""
        compares = [Compare(key=key, mod_revision=self.mod_revision(key)) for key in right]
        compares += [Compare(key=key, mod_revision=revision) for key, revision in wrong]
        if any(compare.mod_revision != self.mod_revision(compare.key) for compare in compares):
            with pytest.raises(Conflict):
                self.run(self.store.transact(compares, operations))
            return
        self.apply(operations)
        assert self.run(self.store.transact(compares, operations)) == self.revision

    @hypothesis.stateful.rule(names=strategies.lists(KEYS, min_size=2, unique=True))
    def put_at_once(self, names: Sequence[str]) -> None:
        """Whatever the order of concurrent transactions is, revisions tell it."""

        async def all_of_them() -> Sequence[int]:
            return await asyncio.gather(
                *(self.store.transact([], [Put(key=name, value=b"")]) for name in names)
            )

        revisions = self.run(all_of_them())
        assert sorted(revisions) == [self.revision + step for step in range(1, len(names) + 1)]
        for _, name in sorted(zip(revisions, names, strict=True)):
            self.apply([Put(key=name, value=b"")])

    @hypothesis.stateful.rule()
    def reopen(self) -> None:
        """Nothing is lost but the history."""
        self.run(self.store.close())
        self.store = self.run(self.open())
        self.history.clear()
        self.first_revision = self.revision

    @hypothesis.stateful.rule(
        prefix=strategies.sampled_from(["", "a", "a/", "ä", "c"]),
        after=strategies.one_of(strategies.just(""), KEYS),
        limit=strategies.integers(1, 4),
    )
    def list(self, prefix: str, after: str, limit: int) -> None:
        """Pages are slices of the sorted model."""
        expected = [
            self.model[key]
            for key in sorted(self.model, key=str.encode)
            if key.startswith(prefix) and key.encode() > after.encode()
        ]
        assert [*self.store.list(prefix, after=after, limit=limit)] == expected[:limit]

    @hypothesis.stateful.rule(
        prefix=strategies.sampled_from(["", "a"]), back=strategies.integers(0)
    )
    def watch(self, prefix: str, back: int) -> None:
        """A watch from anywhere yields the rest of the history."""
        after = max(self.first_revision, self.revision - back)
        expected = [
            change
            for change in self.history
            if change.revision > after and change.key.startswith(prefix)
        ]
        changes = self.store.watch(prefix, after_revision=after)
        assert [self.run(anext_of(changes)) for _ in expected] == expected

    @hypothesis.stateful.invariant()
    def agrees(self) -> None:
        """The store is the model."""
        assert self.store.revision() == self.revision
        assert {entry.key: entry for entry in self.store.list("")} == self.model
        for key in ("a", "ä", "nowhere"):
            assert self.store.get(key) == self.model.get(key)

    def teardown(self) -> None:
        """Leave nothing behind."""
        self.run(self.store.close())
        self.runner.close()
        self.folder.cleanup()

    def mod_revision(self, key: str) -> int:
        """Return the revision a compare has to name."""
        entry = self.model.get(key)
        return 0 if entry is None else entry.mod_revision

    def apply(self, operations: Sequence[Operation]) -> None:
        """Change the model as the store should change."""
        effective = [
            operation
            for operation in operations
            if isinstance(operation, Put) or operation.key in self.model
        ]
        if not effective:
            return
        self.revision += 1
        for operation in effective:
            match operation:
                case Put(key=key, value=value):
                    self.model[key] = Entry(key=key, value=value, mod_revision=self.revision)
                    self.history.append(Change(revision=self.revision, key=key, value=value))
                case Delete(key=key):
                    del self.model[key]
                    self.history.append(Change(revision=self.revision, key=key, value=None))


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_the_store_agrees_with_a_model(implementation: Opener) -> None:
    class Machine(StoreMachine):
        opener = staticmethod(implementation)

    hypothesis.stateful.run_state_machine_as_test(
        Machine,
        settings=hypothesis.settings(
            max_examples=25, stateful_step_count=30, deadline=None, database=None
        ),
    )
