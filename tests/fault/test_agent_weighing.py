"""Is what slots hold found out as it is, and are keys found that are too large to be moved?"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from cachewright.agent import copying, weighing
from cachewright.model.commands import Launch, WeighSlots
from cachewright.model.engines import EngineName
from cachewright.model.moves import MoveMethod
from tests.fault.agent_moves import (
    Pair,
    admin_of,
    check_whole,
    fill,
    run_with_newcomer,
    slots_of,
)
from tests.fault.agent_world import fact_of

BUILDS = [(EngineName.VALKEY, "9.1"), (EngineName.REDIS, "7.0")]


@pytest.mark.parametrize("build", BUILDS)
def test_slots_weigh_what_they_hold(tmp_path: Path, build: tuple[EngineName, str]) -> None:
    async def work(pair: Pair) -> None:
        source, target = pair.source, pair.target
        await fill(source, 3000, size=2000)
        await fill(source, 3000, size=20, prefix="{small}")
        for launch in (source, target):
            await pair.execute(WeighSlots(key=launch.key, generation=7))
        weights = (await fact_of(pair.agent, source.key)).weights
        assert weights is not None
        assert weights.generation == 7
        assert weights.stuck == ()
        by_slot = dict(weights.by_slot)
        assert [*by_slot] == sorted(by_slot)
        small = by_slot.pop(7222)  # the slot of {small}
        assert 3000 * 30 < small < 3000 * 200
        assert 3000 * 2000 < sum(by_slot.values()) < 3000 * 2800
        empty = (await fact_of(pair.agent, target.key)).weights
        assert empty is not None
        assert empty.by_slot == ()

    run_with_newcomer(tmp_path, build, work)


async def measured(launch: Launch) -> int:
    """Return how many keys an engine was asked about."""
    admin = await admin_of(launch)
    try:
        said = await admin.command("INFO", "commandstats")
    finally:
        admin.close()
    assert isinstance(said, bytes)
    found = re.search(rb"cmdstat_memory\|usage:calls=([0-9]+)", said)
    return int(found[1]) if found else 0


@pytest.mark.parametrize("build", BUILDS)
def test_few_keys_are_measured_where_all_are_alike(
    tmp_path: Path, build: tuple[EngineName, str]
) -> None:
    async def work(pair: Pair) -> None:
        source = pair.source
        await fill(source, 20_000, size=1000)
        await pair.execute(WeighSlots(key=source.key, generation=1))
        few = await measured(source)
        assert 0 < few < 20_000 // 8
        weights = (await fact_of(pair.agent, source.key)).weights
        assert weights is not None
        sizes = dict(weights.by_slot)
        assert len(sizes) > 10_000
        assert 20_000 * 1000 < sum(sizes.values()) < 20_000 * 1300
        # One slot is as heavy as all others together, and one in sixteen is looked into.
        await fill(source, 1_000, size=20_000, prefix="{small}")
        await pair.execute(WeighSlots(key=source.key, generation=2))
        assert await measured(source) > few + 15_000
        weights = (await fact_of(pair.agent, source.key)).weights
        assert weights is not None
        assert dict(weights.by_slot)[7222] > 1_000 * 20_000

    run_with_newcomer(tmp_path, build, work)


@pytest.mark.parametrize("build", BUILDS)
def test_a_key_that_is_too_large_is_found_and_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, build: tuple[EngineName, str]
) -> None:
    for module in (weighing, copying):
        monkeypatch.setattr(module, "LARGEST_KEY_BYTES", 12_000_000)

    async def work(pair: Pair) -> None:
        source = pair.source
        admin = await admin_of(source)
        # Hidden among many others of its slot, which is 7222, and alone in 15495.
        await fill(source, 3_000, prefix="{small}")
        await admin.command("SET", "{small}large", b"x" * 13_000_000)
        await admin.command("SET", "a", b"x" * 13_000_000)
        await admin.command("SET", "b", b"x" * 9_000_000)
        admin.close()
        await pair.move(slots_of((3000, 3999), (7000, 7999), (15000, 15999)), MoveMethod.COPY)
        weights = (await fact_of(pair.agent, source.key)).weights
        assert weights is not None
        assert weights.stuck == (7222, 15495)
        assert await pair.owned() == 3_000 - 2
        await check_whole(pair.group, 8_003)
        await pair.execute(WeighSlots(key=source.key, generation=2))
        weights = (await fact_of(pair.agent, source.key)).weights
        assert weights is not None
        assert weights.stuck == (7222, 15495)

    run_with_newcomer(tmp_path, build, work, keys=5_000)
