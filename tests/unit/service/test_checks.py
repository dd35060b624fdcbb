"""Figures of checks are kept with their group: the newest ones, and as long as it is there."""

from __future__ import annotations

from pathlib import Path

import pytest

from cachewright.model.checks import CHECKS_KEPT, CheckFigures
from cachewright.model.errors import ClientFault
from cachewright.service import checks
from cachewright.store import records
from tests.unit.service.service_world import World, run


def figures(requests: int = 100) -> CheckFigures:
    return CheckFigures(
        is_good=True,
        client="valkey-py 6.2.0",
        during="scale",
        seconds=2.0,
        requests=requests,
        failed=0,
        wrong_reads=0,
        lost=0,
        doubled=0,
        longest_gap_ms=12.5,
        per_second=50.0,
        lowest_per_second=40.0,
    )


def test_the_newest_ones_are_kept_in_order(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        spec = await world.create_available()
        assert checks.kept_of(world.records, spec.uid) == ()
        woken = len(world.woken)
        for number in range(CHECKS_KEPT + 2):
            kept = await checks.keep(world.service, "DEMO", figures(number))
            assert kept.at == world.clock.now()
        found = checks.kept_of(world.records, spec.uid)
        assert [one.figures.requests for one in found] == list(range(2, CHECKS_KEPT + 2))
        # They are nobody's business but the reader's.
        assert len(world.woken) == woken

    run(tmp_path, scenario)


def test_of_nobody_nothing_is_kept(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        with pytest.raises(ClientFault) as caught:
            await checks.keep(world.service, "nobody", figures())
        assert caught.value.code == "ReplicationGroupNotFoundFault"

    run(tmp_path, scenario)


def test_they_go_with_their_group() -> None:
    assert records.CHECKS in records.OF_GROUP
