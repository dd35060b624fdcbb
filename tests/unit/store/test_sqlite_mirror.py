"""Does the readers' memory stay sorted and its history bounded and whole?"""

from __future__ import annotations

import asyncio

import pytest

from cachewright.store import mirror
from cachewright.store.base import PAGE_MAX, Change, Compacted, Entry
from cachewright.store.mirror import Mirror


def changes(revision: int, *names: str, value: bytes | None = b"") -> tuple[Change, ...]:
    return tuple(Change(revision=revision, key=name, value=value) for name in names)


async def take(memory: Mirror, after_revision: int, count: int) -> list[Change]:
    watch = memory.watch("", after_revision)
    return [await anext(watch) for _ in range(count)]


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch) -> Mirror:
    """A mirror that keeps five changes or 100 bytes, opened at revision 10."""
    monkeypatch.setattr(mirror, "HISTORY_CHANGES_MAX", 5)
    monkeypatch.setattr(mirror, "HISTORY_BYTES_MAX", 100)
    return Mirror([Entry(key="b", value=b"", mod_revision=10)], 10)


def test_the_order_of_loading_does_not_matter() -> None:
    entries = [Entry(key=key, value=b"", mod_revision=1) for key in "cab"]
    memory = Mirror(entries, 1)
    memory.apply(2, changes(2, "aa", "d"))
    memory.apply(3, changes(3, "a", "c", value=None))
    keys = [entry.key for entry in memory.list("", after="", limit=PAGE_MAX)]
    assert keys == ["aa", "b", "d"]
    assert [memory.get(key) is None for key in ("a", "aa", "c")] == [True, False, True]


def test_revisions_never_go_back(memory: Mirror) -> None:
    for revision in (10, 9):
        with pytest.raises(ValueError, match="after 10"):
            memory.apply(revision, changes(revision, "a"))
    assert memory.get("a") is None


def test_history_begins_at_the_opening(memory: Mirror) -> None:
    memory.apply(11, changes(11, "a"))
    assert asyncio.run(take(memory, 10, 1)) == [*changes(11, "a")]
    with pytest.raises(Compacted) as caught:
        asyncio.run(take(memory, 9, 1))
    assert (caught.value.after_revision, caught.value.oldest_revision) == (9, 10)


def test_history_forgets_the_oldest_transactions_whole(memory: Mirror) -> None:
    memory.apply(11, changes(11, "a", "b", "c"))
    memory.apply(12, changes(12, "a", "b"))
    assert len(asyncio.run(take(memory, 10, 5))) == 5
    memory.apply(13, changes(13, "a"))
    with pytest.raises(Compacted) as caught:
        asyncio.run(take(memory, 10, 1))
    assert caught.value.oldest_revision == 11
    assert asyncio.run(take(memory, 11, 3)) == [*changes(12, "a", "b"), *changes(13, "a")]


def test_history_is_bounded_in_bytes(memory: Mirror) -> None:
    memory.apply(11, changes(11, "a", value=bytes(50)))
    memory.apply(12, changes(12, "a", value=bytes(48)))
    assert len(asyncio.run(take(memory, 10, 2))) == 2
    memory.apply(13, changes(13, "a", value=None))
    with pytest.raises(Compacted):
        asyncio.run(take(memory, 10, 1))
    memory.apply(14, changes(14, "a", value=bytes(200)))  # larger than the whole ring
    with pytest.raises(Compacted) as caught:
        asyncio.run(take(memory, 13, 1))
    assert caught.value.oldest_revision == 14
    entry = memory.get("a")
    assert entry is not None
    assert len(entry.value) == 200


def test_revisions_may_have_holes(memory: Mirror) -> None:
    """Behind etcd other tenants' transactions take revisions, too."""
    memory.apply(15, changes(15, "a"))
    memory.apply(20, changes(20, "b"))
    for after, expected in [(10, [15, 20]), (14, [15, 20]), (15, [20]), (17, [20])]:
        seen = asyncio.run(take(memory, after, len(expected)))
        assert [change.revision for change in seen] == expected


def test_a_watcher_that_is_too_slow_is_told(memory: Mirror) -> None:
    async def check() -> None:
        memory.apply(11, changes(11, "a", "b"))
        watch = memory.watch("", 10)
        first = await anext(watch)
        for revision in range(12, 30):
            memory.apply(revision, changes(revision, "a"))
        # The transaction it stands in is still whole; what follows it is gone.
        assert [first, await anext(watch)] == [*changes(11, "a", "b")]
        with pytest.raises(Compacted) as caught:
            await anext(watch)
        assert caught.value.after_revision == 11

    asyncio.run(check())
