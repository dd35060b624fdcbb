"""What is derived from records is made anew when they change, and only then."""

from __future__ import annotations

import asyncio
import datetime
from pathlib import Path

from cachewright.model.parameters import ParameterGroup
from cachewright.model.status import Event, GroupState, GroupStatus, SourceType
from cachewright.store import records
from cachewright.store.sqlite import SqliteStore

AT = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)


def status(state: GroupState) -> GroupStatus:
    return GroupStatus(state=state, observed_generation=1, nodes=())


def test_a_derived_value_follows_its_records(tmp_path: Path) -> None:
    made: list[int] = []

    async def scenario() -> None:
        store = await SqliteStore.open(tmp_path / "state" / "store.db")
        known = records.Records(store)

        def make() -> int:
            made.append(1)
            return len(made)

        def derive() -> int:
            return known.derived("abcdefgh", make)

        assert [derive(), derive()] == [1, 1]
        for prefix, count in ((records.STATUS, 2), (records.PLACEMENT, 3), (records.SPEC, 4)):
            changes = records.ChangeSet()
            changes.put(prefix + "abcdefgh", status(GroupState.CREATING))
            await known.commit(changes)
            assert [derive(), derive()] == [count, count]
        changes = records.ChangeSet()
        changes.put(records.STATUS + "ijklmnop", status(GroupState.CREATING))
        await known.commit(changes)
        assert derive() == 4
        await store.close()

    asyncio.run(scenario())


def test_events_come_back_in_order_and_by_time(tmp_path: Path) -> None:
    async def scenario() -> None:
        store = await SqliteStore.open(tmp_path / "state" / "store.db")
        known = records.Records(store)
        changes = records.ChangeSet()
        for number in range(20):
            at = AT + datetime.timedelta(minutes=number // 10)
            changes.add_event(
                Event(
                    source_type=SourceType.REPLICATION_GROUP,
                    source_id="demo",
                    message=str(number),
                    at=at,
                )
            )
        await known.commit(changes)
        minute = datetime.timedelta(minutes=1)
        first = [event.message for _, event in known.events(since=AT, until=AT)]
        both = [event.message for _, event in known.events(since=AT, until=AT + minute)]
        assert first == [str(number) for number in range(10)]
        assert both == [str(number) for number in range(20)]
        late = AT + records.EVENT_RETENTION + minute
        assert len(known.expired_events(late)) == 10
        await store.close()

    asyncio.run(scenario())


def test_parameter_groups_come_back_whole_and_by_name(tmp_path: Path) -> None:
    async def scenario() -> None:
        store = await SqliteStore.open(tmp_path / "state" / "store.db")
        known = records.Records(store)
        assert known.parameter_group("mine") is None
        groups = [
            ParameterGroup(
                name=name,
                family="valkey9",
                description="of a test",
                values={"timeout": "20"},
                created_at=AT,
            )
            for name in ("yours", "mine")
        ]
        changes = records.ChangeSet()
        for group in groups:
            changes.create(records.PARAMETER_GROUP + group.name, group)
        await known.commit(changes)
        found = known.parameter_group("mine")
        assert found is not None
        assert found.value == groups[1]
        assert [each.value.name for each in known.parameter_groups()] == ["mine", "yours"]
        await store.close()

    asyncio.run(scenario())
