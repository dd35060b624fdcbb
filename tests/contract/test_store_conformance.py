"""Does every implementation of `Store` keep the promises of store/base.py?

One suite for all: an implementation joins by a line in IMPLEMENTATIONS. Nothing here may know which
one it talks to. Each scenario runs on its own event loop, with a deadline. The same promises
against a model: tests/property/test_store_model.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from cachewright.store.base import (
    KEY_BYTES_MAX,
    LEASE_PREFIX,
    OPERATIONS_MAX,
    PAGE_MAX,
    TRANSACTION_BYTES_MAX,
    Change,
    Compacted,
    Compare,
    Conflict,
    Delete,
    Entry,
    Lease,
    Operation,
    Put,
    Reason,
    Store,
    StoreUnavailable,
    list_all,
)
from cachewright.store.sqlite import SqliteStore

#: Far above what any scenario needs (the longest takes about a second), below the test's own limit.
SCENARIO_TIMEOUT_S = 30.0
NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)

#: Opens the store that lives in a folder, again and again.
Opener = Callable[[Path], Awaitable[Store]]
Scenario = Callable[["Place"], Coroutine[None, None, None]]


async def open_sqlite(folder: Path) -> Store:
    return await SqliteStore.open(folder / "state" / "store.db")


IMPLEMENTATIONS = [pytest.param(open_sqlite, id="sqlite")]


class Place:
    """Where one store lives across openings."""

    def __init__(self, folder: Path, opener: Opener) -> None:
        self._folder = folder
        self._opener = opener

    @contextlib.asynccontextmanager
    async def opened(self) -> AsyncIterator[Store]:
        """Open the store for the length of a block."""
        store = await self._opener(self._folder)
        try:
            yield store
        finally:
            await store.close()


@pytest.fixture(params=IMPLEMENTATIONS)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    return Place(tmp_path, request.param)


def scenario(test: Scenario) -> Callable[[Place], None]:
    """Turn an async test into a test."""

    @functools.wraps(test)
    def run(place: Place) -> None:
        asyncio.run(asyncio.wait_for(test(place), SCENARIO_TIMEOUT_S))

    return run


async def put(store: Store, key: str, value: bytes = b"") -> int:
    return await store.transact([], [Put(key=key, value=value)])


async def create(store: Store, key: str, value: bytes = b"") -> int:
    return await store.transact([Compare(key=key, mod_revision=0)], [Put(key=key, value=value)])


async def take(changes: AsyncIterator[Change], count: int) -> list[Change]:
    return [await anext(changes) for _ in range(count)]


def keys(entries: Sequence[Entry]) -> list[str]:
    return [entry.key for entry in entries]


# Transactions


@scenario
async def test_a_new_store_is_empty(place: Place) -> None:
    async with place.opened() as store:
        assert store.revision() == 0
        assert store.get("a") is None
        assert store.list("") == ()


@scenario
async def test_a_write_is_readable_when_transact_returns(place: Place) -> None:
    async with place.opened() as store:
        revision = await put(store, "a", b"1")
        assert store.get("a") == Entry(key="a", value=b"1", mod_revision=revision)
        assert store.revision() == revision > 0


@scenario
async def test_revisions_grow_by_one(place: Place) -> None:
    async with place.opened() as store:
        first = await put(store, "a", b"1")
        assert await put(store, "a", b"1") == first + 1  # the same value is a change, too
        assert await put(store, "b", b"") == first + 2


@scenario
async def test_create_succeeds_once(place: Place) -> None:
    async with place.opened() as store:
        revision = await create(store, "a", b"1")
        with pytest.raises(Conflict) as caught:
            await create(store, "a", b"2")
        assert (caught.value.key, caught.value.expected, caught.value.actual) == ("a", 0, revision)
        assert store.get("a") == Entry(key="a", value=b"1", mod_revision=revision)
        assert store.revision() == revision


@scenario
async def test_a_stale_revision_is_refused(place: Place) -> None:
    async with place.opened() as store:
        old = await put(store, "a", b"1")
        new = await put(store, "a", b"2")
        for wrong in (old, new + 1, 0):
            with pytest.raises(Conflict):
                await store.transact(
                    [Compare(key="a", mod_revision=wrong)], [Put(key="a", value=b"3")]
                )
        assert store.get("a") == Entry(key="a", value=b"2", mod_revision=new)
        await store.transact([Compare(key="a", mod_revision=new)], [Put(key="a", value=b"3")])


@scenario
async def test_a_deleted_key_does_not_exist(place: Place) -> None:
    async with place.opened() as store:
        before = await put(store, "a", b"1")
        revision = await store.transact([Compare(key="a", mod_revision=before)], [Delete(key="a")])
        assert revision == before + 1
        assert store.get("a") is None
        with pytest.raises(Conflict) as caught:
            await store.transact([Compare(key="a", mod_revision=before)], [])
        assert caught.value.actual == 0
        assert await create(store, "a", b"2") == revision + 1


@scenario
async def test_deleting_an_absent_key_changes_nothing(place: Place) -> None:
    async with place.opened() as store:
        revision = await put(store, "a")
        assert await store.transact([], [Delete(key="b")]) == revision
        both = await store.transact([], [Delete(key="b"), Delete(key="a")])
        assert both == revision + 1 == store.revision()
        changes = await take(store.watch("", after_revision=revision), 1)
        assert changes == [Change(revision=both, key="a", value=None)]


@scenario
async def test_compares_alone_check_without_writing(place: Place) -> None:
    async with place.opened() as store:
        revision = await put(store, "a")
        compares = [Compare(key="a", mod_revision=revision), Compare(key="b", mod_revision=0)]
        assert await store.transact(compares, []) == revision
        with pytest.raises(Conflict):
            await store.transact([*compares, Compare(key="c", mod_revision=1)], [])


@scenario
async def test_all_or_nothing(place: Place) -> None:
    async with place.opened() as store:
        revision = await store.transact([], [Put(key=key, value=b"1") for key in "abc"])
        assert {entry.mod_revision for entry in store.list("")} == {revision}
        with pytest.raises(Conflict):
            await store.transact(
                [Compare(key="a", mod_revision=revision), Compare(key="c", mod_revision=0)],
                [Put(key="a", value=b"2"), Delete(key="b"), Put(key="d", value=b"2")],
            )
        assert [(entry.key, entry.value) for entry in store.list("")] == [
            ("a", b"1"),
            ("b", b"1"),
            ("c", b"1"),
        ]
        assert store.revision() == revision


@scenario
async def test_twenty_creates_at_once_have_one_winner(place: Place) -> None:
    async with place.opened() as store:
        results = await asyncio.gather(
            *(create(store, "a", str(number).encode()) for number in range(20)),
            return_exceptions=True,
        )
        winners = [number for number, result in enumerate(results) if isinstance(result, int)]
        assert len(winners) == 1
        assert [type(result) for result in results].count(Conflict) == 19
        entry = store.get("a")
        assert entry is not None
        assert entry.value == str(winners[0]).encode()


@scenario
async def test_no_update_is_lost_among_twenty_writers(place: Place) -> None:
    async def increment(store: Store) -> None:
        for _ in range(200):  # each failure means that another writer succeeded: at most 100
            entry = store.get("counter")
            number, expected = (int(entry.value), entry.mod_revision) if entry else (0, 0)
            with contextlib.suppress(Conflict):
                await store.transact(
                    [Compare(key="counter", mod_revision=expected)],
                    [Put(key="counter", value=str(number + 1).encode())],
                )
                return
        pytest.fail("a writer never won")

    async with place.opened() as store:
        await asyncio.gather(*(increment(store) for _ in range(20)))
        entry = store.get("counter")
        assert entry is not None
        assert entry.value == b"20"
        assert store.revision() == 20


@scenario
async def test_reads_between_awaits_are_one_snapshot(place: Place) -> None:
    """A reader looks at every turn of the event loop while both keys change together."""

    async def write(store: Store) -> None:
        for number in range(100):
            value = str(number).encode()
            await store.transact([], [Put(key="a", value=value), Put(key="z", value=value)])

    async with place.opened() as store:
        writer = asyncio.create_task(write(store))
        seen: list[int] = []
        while not writer.done():
            first, second = store.get("a"), store.get("z")
            assert (first and first.value) == (second and second.value)
            assert keys(store.list("")) in ([], ["a", "z"])
            seen.append(store.revision())
            await asyncio.sleep(0)
        await writer
        assert seen == sorted(seen)


@scenario
async def test_a_cancelled_caller_leaves_the_store_whole(place: Place) -> None:
    async with place.opened() as store:
        callers = [asyncio.create_task(put(store, f"k{number}")) for number in range(10)]
        await asyncio.sleep(0)  # all have handed in their transaction
        for caller in callers[::2]:
            caller.cancel()
        results = await asyncio.gather(*callers, return_exceptions=True)
        assert sum(isinstance(result, int) for result in results) == 5
        last = await put(store, "last")
        assert last == 1 + len(store.list("k"))
        assert len(await take(store.watch("", after_revision=0), last)) == last


@pytest.mark.parametrize(
    ("compares", "operations"),
    [
        pytest.param([], [Put(key="", value=b"")], id="empty key"),
        pytest.param([], [Delete(key="a\0b")], id="NUL in a key"),
        pytest.param([], [Put(key="\ud800", value=b"")], id="not UTF-8"),
        pytest.param([], [Put(key="k" * (KEY_BYTES_MAX + 1), value=b"")], id="long key"),
        pytest.param([], [Put(key="ä" * KEY_BYTES_MAX, value=b"")], id="long key in UTF-8"),
        pytest.param([], [Put(key="a", value=b""), Delete(key="a")], id="key named twice"),
        pytest.param([], [Put(key="a", value=bytes(TRANSACTION_BYTES_MAX))], id="too many bytes"),
        pytest.param([], [Put(key=LEASE_PREFIX + "a", value=b"")], id="reserved key"),
        pytest.param(
            [], [Delete(key=str(number)) for number in range(OPERATIONS_MAX + 1)], id="operations"
        ),
        pytest.param([Compare(key="a", mod_revision=0)] * (OPERATIONS_MAX + 1), [], id="compares"),
        pytest.param([Compare(key="", mod_revision=0)], [], id="empty key compared"),
    ],
)
def test_malformed_transactions_are_refused(
    place: Place, compares: list[Compare], operations: list[Operation]
) -> None:
    async def check(place: Place) -> None:
        async with place.opened() as store:
            with pytest.raises(ValueError, match=r".+"):
                await store.transact(compares, operations)
            assert store.revision() == 0
            assert await put(store, "a") == 1

    scenario(check)(place)


@scenario
async def test_the_largest_transaction_fits(place: Place) -> None:
    async with place.opened() as store:
        size_bytes = TRANSACTION_BYTES_MAX // OPERATIONS_MAX - len("0000")
        operations = [
            Put(key=f"{number:04}", value=bytes(size_bytes)) for number in range(OPERATIONS_MAX)
        ]
        revision = await store.transact([], operations)
        assert len(store.list("")) == OPERATIONS_MAX
        compares = [Compare(key=put.key, mod_revision=revision) for put in operations]
        await store.transact(compares[: OPERATIONS_MAX // 2], [Delete(key="0000")])
    async with place.opened() as store:
        assert len(store.list("")) == OPERATIONS_MAX - 1


# Listing


@scenario
async def test_listing_is_in_byte_order_of_the_keys(place: Place) -> None:
    names = ["b", "a", "a/", "a/b", "a0", "A", "ä", "z", "\U0001f600", "\uffff", "\x01", "aa"]
    async with place.opened() as store:
        for name in names:
            await put(store, name)
        assert keys(store.list("")) == sorted(names, key=str.encode)


@scenario
async def test_listing_takes_exactly_the_prefix(place: Place) -> None:
    last = "\U0010ffff"
    names = ["a", "a/1", "a/2", "a/2/3", "a0", "b", f"x{last}", f"x{last}{last}", "y", last]
    async with place.opened() as store:
        await store.transact([], [Put(key=name, value=b"") for name in names])
        for prefix in ["", "a", "a/", "a/2", "b", "c", "x", f"x{last}", last, "\ud7ff"]:
            expected = sorted(name for name in names if name.startswith(prefix))
            assert keys(store.list(prefix)) == expected, prefix


@scenario
async def test_pages_join_up(place: Place) -> None:
    async with place.opened() as store:
        await store.transact([], [Put(key=f"p/{number:03}", value=b"") for number in range(25)])
        await store.transact([], [Put(key="o", value=b""), Put(key="q", value=b"")])
        pages = []
        after = ""
        while page := store.list("p/", after=after, limit=10):
            pages.append(len(page))
            after = page[-1].key
        assert pages == [10, 10, 5]
        assert keys(store.list("p/", after="p/0225", limit=2)) == ["p/023", "p/024"]
        assert keys(store.list("p/", after="a", limit=1)) == ["p/000"]
        assert store.list("p/", after="q") == ()
        assert len(list_all(store, "p/")) == 25


@scenario
async def test_a_page_has_a_bound(place: Place) -> None:
    async with place.opened() as store:
        for limit in (0, -1, PAGE_MAX + 1):
            with pytest.raises(ValueError, match="limit"):
                store.list("", limit=limit)


@scenario
async def test_list_all_goes_on_after_the_largest_page(place: Place) -> None:
    async with place.opened() as store:
        for chunk in range(11):
            await store.transact(
                [], [Put(key=f"{chunk:02}/{number:04}", value=b"") for number in range(1_000)]
            )
        assert len(store.list("")) == PAGE_MAX
        entries = keys(list_all(store, ""))
        assert len(entries) == 11_000
        assert entries == sorted(entries)


# Watching


@scenario
async def test_a_watch_sees_what_was_and_what_comes(place: Place) -> None:
    async with place.opened() as store:
        first = await store.transact([], [Put(key="a", value=b"1"), Put(key="b", value=b"1")])
        changes = store.watch("", after_revision=0)
        assert await take(changes, 2) == [
            Change(revision=first, key="a", value=b"1"),
            Change(revision=first, key="b", value=b"1"),
        ]
        following = asyncio.ensure_future(anext(changes))
        await asyncio.sleep(0)
        assert not following.done()
        second = await store.transact([], [Delete(key="a")])
        assert await following == Change(revision=second, key="a", value=None)


@scenario
async def test_a_watch_starts_after_its_revision(place: Place) -> None:
    async with place.opened() as store:
        revisions = [await put(store, "a", str(number).encode()) for number in range(5)]
        for after in (0, revisions[1], revisions[3]):
            expected = [revision for revision in revisions if revision > after]
            seen = await take(store.watch("a", after_revision=after), len(expected))
            assert [change.revision for change in seen] == expected
        future = asyncio.ensure_future(anext(store.watch("a", after_revision=revisions[-1] + 1)))
        await put(store, "a", b"too early")
        last = await put(store, "a", b"now")
        assert (await future).revision == last


@scenario
async def test_a_watch_sees_only_its_prefix(place: Place) -> None:
    async with place.opened() as store:
        await store.transact([], [Put(key=key, value=b"") for key in ("a/1", "b/1", "a", "a/2")])
        await put(store, "b/2")
        last = await put(store, "a/3")
        seen = await take(store.watch("a/", after_revision=0), 3)
        assert [change.key for change in seen] == ["a/1", "a/2", "a/3"]
        assert seen[-1].revision == last


@scenario
async def test_watchers_see_every_change_once_among_concurrent_writers(place: Place) -> None:
    """Three watchers, one from the start, two that begin late, each rebuild the same history."""
    writers, writes = 10, 30

    async def write(store: Store, writer: int) -> None:
        for number in range(writes):
            await store.transact(
                [],
                [
                    Put(key=f"w/{writer}/a", value=str(number).encode()),
                    Put(key=f"w/{writer}/b", value=str(number).encode()),
                ],
            )

    async with place.opened() as store:
        total = writers * writes * 2
        early = asyncio.create_task(take(store.watch("w/", after_revision=0), total))
        tasks = [asyncio.create_task(write(store, writer)) for writer in range(writers)]
        await anext(store.watch("w/0/", after_revision=0))
        midway = store.revision()
        late = asyncio.create_task(take(store.watch("w/", after_revision=0), total))
        later = asyncio.create_task(
            take(store.watch("w/", after_revision=midway), total - 2 * midway)
        )
        await asyncio.gather(*tasks)
        history = await early
        assert history == await late
        assert history[2 * midway :] == await later
        assert [change.revision for change in history[::2]] == list(range(1, total // 2 + 1))
        for writer in range(writers):
            for name in "ab":
                key = f"w/{writer}/{name}"
                values = [int(change.value or b"") for change in history if change.key == key]
                assert values == list(range(writes))


@scenario
async def test_watches_end_when_the_store_is_closed(place: Place) -> None:
    async with place.opened() as store:
        await put(store, "a")
        revision = store.revision()

        async def collect() -> list[int]:
            return [change.revision async for change in store.watch("", after_revision=revision)]

        watchers = [asyncio.create_task(collect()) for _ in range(3)]
        await asyncio.sleep(0)
        last = await put(store, "b")
        await store.close()
        assert await asyncio.gather(*watchers) == [[last]] * 3


@scenario
async def test_history_after_reopening_is_whole_or_refused(place: Place) -> None:
    async with place.opened() as store:
        for number in range(3):
            await put(store, "a", str(number).encode())
    async with place.opened() as store:
        with contextlib.suppress(Compacted):
            seen = await take(store.watch("", after_revision=0), 3)
            assert [change.value for change in seen] == [b"0", b"1", b"2"]
        changes = store.watch("", after_revision=store.revision())
        revision = await put(store, "b")
        assert await anext(changes) == Change(revision=revision, key="b", value=b"")


# Opening and closing


@scenario
async def test_reopening_keeps_everything(place: Place) -> None:
    async with place.opened() as store:
        await store.transact([], [Put(key=f"k{number}", value=bytes(5)) for number in range(9)])
        await put(store, "k3", b"\x00\xff new")
        await store.transact([], [Delete(key="k4")])
        before = store.list("")
        revision = store.revision()
    async with place.opened() as store:
        assert store.list("") == before
        assert store.revision() == revision
        entry = before[3]
        await store.transact(
            [Compare(key="k4", mod_revision=0), Compare(key="k3", mod_revision=entry.mod_revision)],
            [Delete(key=key) for key in keys(before)],
        )
    async with place.opened() as store:
        assert store.list("") == ()
        assert store.revision() == revision + 1  # an empty store has not forgotten how far it was


@scenario
async def test_closing_finishes_what_was_accepted(place: Place) -> None:
    async with place.opened() as store:
        callers = [asyncio.create_task(put(store, f"k{number:03}")) for number in range(200)]
        await asyncio.sleep(0)
        await store.close()
        assert sorted(await asyncio.gather(*callers)) == list(range(1, 201))
    async with place.opened() as store:
        assert len(store.list("k")) == 200


@scenario
async def test_a_closed_store_refuses_writes(place: Place) -> None:
    async with place.opened() as store:
        await put(store, "a")
        await store.close()
        await store.close()
        with pytest.raises(StoreUnavailable) as caught:
            await put(store, "a")
        assert caught.value.reason is Reason.CLOSED
        assert store.get("a") is not None


# Leases


@scenario
async def test_a_lease_has_one_holder(place: Place) -> None:
    async with place.opened() as store:
        lease = await store.acquire_lease("leader", "one", 10, NOW)
        assert lease == Lease(
            name="leader", owner="one", epoch=1, expires_at=NOW + timedelta(seconds=10)
        )
        assert await store.acquire_lease("leader", "two", 10, NOW + timedelta(seconds=9.9)) is None
        assert await store.acquire_lease("other", "two", 10, NOW) is not None


@scenario
async def test_a_renewal_keeps_the_epoch(place: Place) -> None:
    async with place.opened() as store:
        await store.acquire_lease("leader", "one", 10, NOW)
        renewed = await store.acquire_lease("leader", "one", 10, NOW + timedelta(seconds=9))
        assert renewed is not None
        assert (renewed.epoch, renewed.expires_at) == (1, NOW + timedelta(seconds=19))
        assert await store.acquire_lease("leader", "two", 10, NOW + timedelta(seconds=18)) is None


@scenario
async def test_a_lease_ends_at_its_moment(place: Place) -> None:
    async with place.opened() as store:
        await store.acquire_lease("leader", "one", 10, NOW)
        taken = await store.acquire_lease("leader", "two", 10, NOW + timedelta(seconds=10))
        assert taken is not None
        assert (taken.owner, taken.epoch) == ("two", 2)
        assert await store.acquire_lease("leader", "one", 10, NOW + timedelta(seconds=11)) is None


@scenario
async def test_the_same_owner_after_an_end_is_a_new_tenure(place: Place) -> None:
    async with place.opened() as store:
        first = await store.acquire_lease("leader", "one", 10, NOW)
        again = await store.acquire_lease("leader", "one", 10, NOW + timedelta(seconds=10))
        assert first is not None
        assert again is not None
        assert (first.epoch, again.epoch) == (1, 2)
        await store.release_lease(first)  # of an epoch that is over: nothing happens
        assert await store.acquire_lease("leader", "two", 10, NOW + timedelta(seconds=11)) is None


@scenario
async def test_a_released_lease_is_free_and_its_epoch_is_remembered(place: Place) -> None:
    async with place.opened() as store:
        lease = await store.acquire_lease("leader", "one", 10, NOW)
        assert lease is not None
        await store.release_lease(lease)
        revision = store.revision()
        await store.release_lease(lease)
        assert store.revision() == revision
        taken = await store.acquire_lease("leader", "two", 10, NOW)
        assert taken is not None
        assert (taken.owner, taken.epoch) == ("two", 2)
        await store.release_lease(lease)
        assert await store.acquire_lease("leader", "one", 10, NOW) is None


@scenario
async def test_a_lease_survives_reopening(place: Place) -> None:
    async with place.opened() as store:
        await store.acquire_lease("leader", "one", 10, NOW)
    async with place.opened() as store:
        assert await store.acquire_lease("leader", "two", 10, NOW) is None
        taken = await store.acquire_lease("leader", "two", 10, NOW + timedelta(minutes=1))
        assert taken is not None
        assert taken.epoch == 2


@scenario
async def test_twenty_candidates_elect_one(place: Place) -> None:
    async with place.opened() as store:
        for term in range(1, 4):
            now = NOW + timedelta(minutes=term)
            leases = await asyncio.gather(
                *(store.acquire_lease("leader", str(number), 10, now) for number in range(20))
            )
            winners = [lease for lease in leases if lease is not None]
            assert [lease.epoch for lease in winners] == [term]


@scenario
async def test_malformed_leases_are_refused(place: Place) -> None:
    async with place.opened() as store:
        for owner, ttl_s, now in [
            ("", 10, NOW),
            ("one", 0, NOW),
            ("one", -1, NOW),
            ("one", 10, NOW.replace(tzinfo=None)),
        ]:
            with pytest.raises(ValueError, match="lease"):
                await store.acquire_lease("leader", owner, ttl_s, now)
        with pytest.raises(ValueError, match="key"):
            await store.acquire_lease("\0", "one", 10, NOW)
