"""What can be reserved, by whom, and for how long?"""

from __future__ import annotations

import datetime
from pathlib import Path

import pytest

from cachewright.kit.clock import ManualClock
from cachewright.model.engines import EngineName
from cachewright.model.errors import ClientFault
from cachewright.model.node_types import NODE_TYPES
from cachewright.model.reservations import Offering, Reservation, offerings
from cachewright.model.settings import Limits
from cachewright.service import inputs_reserved_nodes as inputs
from cachewright.service import reserved_nodes
from tests.unit.service.service_world import NOW, World, code_of, run


def offered(**filters: str) -> tuple[Offering, ...]:
    return reserved_nodes.offerings(inputs.DescribeReservedCacheNodesOfferings(**filters))  # type: ignore[arg-type] # names of fields


ANY = next(iter(offerings()))


async def purchase(
    world: World, name: str | None = None, count: int | None = None, offering_id: str = ANY
) -> Reservation:
    wanted = inputs.PurchaseReservedCacheNodesOffering(
        reserved_cache_nodes_offering_id=offering_id,
        reserved_cache_node_id=name,
        cache_node_count=count,
    )
    return await reserved_nodes.purchase(world.service, wanted)


def described(world: World, **filters: str) -> list[str]:
    wanted = inputs.DescribeReservedCacheNodes(**filters)  # type: ignore[arg-type] # names of fields
    return [each.reservation_id for each in reserved_nodes.describe(world.service, wanted)]


def test_every_node_type_is_offered_for_every_engine_and_term_under_a_lasting_id() -> None:
    everything = offered()
    assert len({each.offering_id for each in everything}) == len(everything)
    assert len(everything) == len(NODE_TYPES) * len(EngineName) * 2 * 3
    assert {each.node_type for each in everything} == {row.name for row in NODE_TYPES}
    modern = {each.offering_type for each in offered(cache_node_type="cache.r7g.large")}
    assert modern == {"No Upfront", "Partial Upfront", "All Upfront"}
    old = {each.offering_type for each in offered(cache_node_type="cache.m4.large")}
    assert old == {"Light Utilization", "Medium Utilization", "Heavy Utilization"}
    (one,) = offered(
        cache_node_type="cache.m5.large",
        duration="1",
        product_description="Valkey",
        offering_type="All Upfront",
    )
    assert one.offering_id == "8b11574a-7504-51bc-8321-f5ca5f886c8b"


@pytest.mark.parametrize("duration", ["3", "94608000", "P3Y"])
def test_a_term_has_three_spellings(duration: str) -> None:
    assert {each.duration_s for each in offered(duration=duration)} == {94_608_000}


@pytest.mark.parametrize(
    ("filters", "code"),
    [
        ({"duration": "2"}, "InvalidParameterValue"),
        ({"offering_type": "all upfront"}, "InvalidParameterValue"),
        ({"reserved_cache_nodes_offering_id": "x"}, "ReservedCacheNodesOfferingNotFound"),
    ],
)
def test_a_filter_that_cannot_be_is_refused(filters: dict[str, str], code: str) -> None:
    with pytest.raises(ClientFault) as caught:
        offered(**filters)
    assert caught.value.code == code


def test_an_offering_that_does_not_pass_the_other_filters_is_not_listed() -> None:
    node_type = offerings()[ANY].node_type
    known = {"reserved_cache_nodes_offering_id": ANY.upper(), "cache_node_type": node_type}
    assert offered(**known) == (offerings()[ANY],)
    assert offered(**{**known, "cache_node_type": "cache.x1.large"}) == ()


def test_a_reservation_is_kept_under_its_id_or_one_made_of_the_time(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        first, second = await purchase(world), await purchase(world)
        assert first.reservation_id == "ri-2026-01-02-03-04-05-000"
        assert second.reservation_id == "ri-2026-01-02-03-04-05-001"
        assert (first.node_count, first.started_at) == (1, NOW)
        await purchase(world, "Mine", 2)
        assert await code_of(purchase(world, "mINE")) == "ReservedCacheNodeAlreadyExists"
        assert await code_of(purchase(world, "a b")) == "InvalidParameterValue"
        assert await code_of(purchase(world, "x", 0)) == "InvalidParameterValue"
        unknown = purchase(world, "x", offering_id="nobody")
        assert await code_of(unknown) == "ReservedCacheNodesOfferingNotFound"
        assert described(world) == sorted([first.reservation_id, second.reservation_id, "mine"])
        assert described(world, reserved_cache_node_id="MINE") == ["mine"]
        with pytest.raises(ClientFault) as caught:
            described(world, reserved_cache_node_id="nobody")
        assert caught.value.code == "ReservedCacheNodeNotFound"
        assert described(world, reserved_cache_nodes_offering_id="other") == []
        assert len(described(world, reserved_cache_nodes_offering_id=ANY)) == 3

    run(tmp_path, scenario)


def test_the_quota_counts_nodes_whose_term_is_not_over(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        made = await purchase(world, count=3)
        assert await code_of(purchase(world)) == "ReservedCacheNodeQuotaExceeded"
        assert isinstance(world.clock, ManualClock)
        term = datetime.timedelta(seconds=made.offering.duration_s)
        world.clock.advance(term.total_seconds() - 1)
        assert await code_of(purchase(world)) == "ReservedCacheNodeQuotaExceeded"
        assert not made.is_retired(world.clock.now())
        world.clock.advance(1)
        assert made.is_retired(world.clock.now())
        await purchase(world)

    run(tmp_path, scenario, limits=Limits(reserved_nodes=3))
