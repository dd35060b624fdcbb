"""How long are events kept and shown, and how many?"""

from __future__ import annotations

import datetime
from pathlib import Path

import pytest

from cachewright.control.loop import sweep_events
from cachewright.kit.clock import ManualClock
from cachewright.model.status import Event, SourceType
from cachewright.service import events
from cachewright.service.inputs import DescribeEvents
from cachewright.store import records
from tests.unit.service.service_world import World, run

WEEKS_2_S = 14 * 24 * 3600


async def happen(world: World, count: int, *, seconds_later: float = 0.0) -> None:
    changes = records.ChangeSet()
    at = world.clock.now() + datetime.timedelta(seconds=seconds_later)
    for number in range(count):
        changes.add_event(
            Event(source_type=SourceType.CACHE_CLUSTER, source_id="a", message=str(number), at=at)
        )
    await world.records.commit(changes)


def kept(world: World) -> int:
    return len(world.records.store.list(records.EVENT))


def shown(world: World) -> int:
    return len(events.describe(world.service, DescribeEvents(duration=WEEKS_2_S // 60)))


def test_events_are_kept_for_fourteen_days(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        assert isinstance(world.clock, ManualClock)
        await happen(world, 2_500)
        await happen(world, 1, seconds_later=60)
        world.clock.advance(WEEKS_2_S)
        await sweep_events(world.records, world.clock)
        assert (kept(world), shown(world)) == (2_501, 2_501)
        world.clock.advance(1)
        assert shown(world) == 1
        assert await sweep_events(world.records, world.clock) > 0
        assert (kept(world), shown(world)) == (1, 1)
        world.clock.advance(60)
        await sweep_events(world.records, world.clock)
        assert kept(world) == 0

    run(tmp_path, scenario)


def test_no_span_shows_what_is_past_its_retention(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        assert isinstance(world.clock, ManualClock)
        await happen(world, 1)
        born = world.clock.now()
        world.clock.advance(WEEKS_2_S + 1)
        for wanted in (
            DescribeEvents(start_time=born),
            DescribeEvents(end_time=born, duration=60),
            DescribeEvents(start_time=born, end_time=world.clock.now()),
        ):
            assert events.describe(world.service, wanted) == ()

    run(tmp_path, scenario)


def test_of_too_many_events_the_oldest_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "EVENTS_MAX", 100)

    async def scenario(world: World) -> None:
        await happen(world, 150)
        await happen(world, 90, seconds_later=1)
        await sweep_events(world.records, world.clock)
        assert kept(world) == 100
        left = [event.message for event in world_events(world)]
        assert left == [*map(str, range(140, 150)), *map(str, range(90))]

    def world_events(world: World) -> list[Event]:
        now = world.clock.now()
        day = datetime.timedelta(days=1)
        return [event for _, event in world.records.events(since=now - day, until=now + day)]

    run(tmp_path, scenario)
