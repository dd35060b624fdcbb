"""Which subnet groups may be made, and what keeps one from being changed?"""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from cachewright.model.settings import Limits
from cachewright.model.subnet_groups import SubnetGroup, in_zones
from cachewright.service import inputs_subnet_groups as inputs
from cachewright.service import replication_groups, subnet_groups
from cachewright.service.inputs import DeleteReplicationGroup
from cachewright.store.records import TAGS
from tests.unit.service.service_world import World, code_of, run

ZONES = ("us-east-1a", "us-east-1b", "us-east-1c")


def subnet(number: int) -> str:
    return f"subnet-{number:08x}"


SUBNETS = tuple(subnet(number) for number in range(3))


async def create(
    world: World, name: str = "mine", subnets: tuple[str, ...] = SUBNETS, description: str = "d"
) -> SubnetGroup:
    wanted = inputs.CreateCacheSubnetGroup(
        cache_subnet_group_name=name,
        cache_subnet_group_description=description,
        subnet_ids=subnets,
    )
    return await subnet_groups.create(world.service, wanted)


async def modify(
    world: World,
    name: str = "mine",
    subnets: tuple[str, ...] | None = None,
    description: str | None = None,
) -> SubnetGroup:
    wanted = inputs.ModifyCacheSubnetGroup(
        cache_subnet_group_name=name,
        cache_subnet_group_description=description,
        subnet_ids=subnets,
    )
    return await subnet_groups.modify(world.service, wanted)


async def delete(world: World, name: str = "mine") -> None:
    wanted = inputs.DeleteCacheSubnetGroup(cache_subnet_group_name=name)
    await subnet_groups.delete(world.service, wanted)


@pytest.mark.parametrize(
    ("name", "subnets", "description", "code"),
    [
        pytest.param("", SUBNETS, "d", "InvalidParameterValue", id="no name"),
        pytest.param("a" * 256, SUBNETS, "d", "InvalidParameterValue", id="256 characters"),
        pytest.param("a_b", SUBNETS, "d", "InvalidParameterValue", id="an underscore"),
        pytest.param("\u00e4", SUBNETS, "d", "InvalidParameterValue", id="an umlaut"),
        pytest.param("mine", SUBNETS, " ", "InvalidParameterValue", id="no description"),
        pytest.param("mine", SUBNETS, "d" * 256, "InvalidParameterValue", id="a long description"),
        pytest.param("mine", (), "d", "InvalidParameterValue", id="no subnet"),
        pytest.param("mine", ("subnet-0",), "d", "InvalidSubnet", id="a short subnet id"),
        pytest.param("mine", ("subnet-0123456G",), "d", "InvalidSubnet", id="no hexadecimal"),
        pytest.param("mine", ("vpc-01234567",), "d", "InvalidSubnet", id="a VPC"),
        pytest.param(
            "mine", tuple(map(subnet, range(21))), "d", "CacheSubnetQuotaExceededFault", id="21"
        ),
        pytest.param("Default", SUBNETS, "d", "CacheSubnetGroupAlreadyExists", id="the default"),
        pytest.param("a" * 255, tuple(map(subnet, range(20))), "d" * 255, "accepted", id="limits"),
        pytest.param("1-", SUBNETS, "d", "accepted", id="odd but allowed"),
    ],
)
def test_a_group_that_is_wrong_is_refused(
    tmp_path: Path, name: str, subnets: tuple[str, ...], description: str, code: str
) -> None:
    async def scenario(world: World) -> None:
        assert await code_of(create(world, name, subnets, description)) == code
        made = code == "accepted"
        assert len(world.events()) == made

    run(tmp_path, scenario)


def test_a_name_is_taken_in_any_case_of_letters_and_a_subnet_counts_once(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        made = await create(world, "Mine", SUBNETS * 8)
        assert [s.subnet_id for s in made.subnets] == list(SUBNETS)
        assert await code_of(create(world, "mINE")) == "CacheSubnetGroupAlreadyExists"

    run(tmp_path, scenario)


def test_the_quota_counts_what_callers_made(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        await create(world, "one")
        await create(world, "two")
        assert await code_of(create(world, "three")) == "CacheSubnetGroupQuotaExceeded"
        await delete(world, "one")
        await create(world, "three")

    run(tmp_path, scenario, limits=Limits(subnet_groups=2))


def test_subnets_spread_over_the_zones_and_keep_theirs() -> None:
    ids = [subnet(number) for number in range(9)]
    spread = in_zones(ids, {}, ZONES)
    assert [sum(s.zone == zone for s in spread) for zone in ZONES] == [3, 3, 3]
    assert spread == in_zones(ids, {}, ZONES)
    known = {ids[0]: ZONES[2], ids[1]: ZONES[2]}
    again = {s.subnet_id: s.zone for s in in_zones(ids[:4], known, ZONES)}
    assert {**again, **known} == again
    assert {again[ids[2]], again[ids[3]]} == set(ZONES[:2])
    assert len({in_zones([each], {}, ZONES)[0].zone for each in ids}) > 1


def test_a_subnet_is_in_the_same_zone_in_every_group(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        first = await create(world, "one")
        second = await create(world, "two", (subnet(77), *reversed(SUBNETS)))
        zones = {s.subnet_id: s.zone for s in second.subnets}
        assert {s.subnet_id: zones[s.subnet_id] for s in first.subnets} == {
            s.subnet_id: s.zone for s in first.subnets
        }

    run(tmp_path, scenario)


def test_nodes_without_a_zone_go_into_the_zones_of_their_subnets(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        made = await create(world, subnets=SUBNETS[:2])
        group = await world.create(cache_subnet_group_name="MINE", num_cache_clusters=4)
        assert group.spec.subnet_group == "mine"
        assert {node.zone for node in group.spec.nodes()} == set(made.zones())
        other = next(zone for zone in ZONES if zone not in made.zones())
        chosen = await world.create(
            replication_group_id="chosen",
            cache_subnet_group_name="mine",
            num_cache_clusters=2,
            preferred_cache_cluster_azs=(other, other),
        )
        assert {node.zone for node in chosen.spec.nodes()} == {other}

    run(tmp_path, scenario)


def test_a_modification_replaces_the_subnets_unless_nodes_would_lose_their_zone(
    tmp_path: Path,
) -> None:
    async def scenario(world: World) -> None:
        made = await create(world)
        zones = {s.zone: s.subnet_id for s in made.subnets}
        view = await world.create(cache_subnet_group_name="mine")
        (node,) = view.spec.nodes()
        used = zones[node.zone]
        others = tuple(each for each in SUBNETS if each != used)
        assert await code_of(modify(world, subnets=others)) == "SubnetInUse"
        assert subnet_groups.find(world.service, "mine") == made
        assert [s.subnet_id for s in (await modify(world, subnets=(used,))).subnets] == [used]
        assert (await modify(world, description="new")).description == "new"
        assert await code_of(modify(world)) == "InvalidParameterCombination"
        assert await code_of(modify(world, subnets=("x",))) == "InvalidSubnet"
        assert await code_of(modify(world, description="")) == "InvalidParameterValue"
        too_many = tuple(map(subnet, range(21)))
        assert await code_of(modify(world, subnets=too_many)) == "CacheSubnetQuotaExceededFault"
        assert await code_of(modify(world, "nobody", SUBNETS)) == "CacheSubnetGroupNotFoundFault"

    run(tmp_path, scenario)


def test_a_group_goes_with_its_tags_once_nothing_uses_it(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        await create(world)
        arn = world.service.arns.of_subnet_group("mine")
        spec = await world.create_available(cache_subnet_group_name="mine")
        assert await code_of(delete(world)) == "CacheSubnetGroupInUse"
        request = DeleteReplicationGroup(replication_group_id="demo")
        await replication_groups.delete(world.service, request)
        assert await code_of(delete(world)) == "CacheSubnetGroupInUse"
        await world.forget(spec)
        await delete(world)
        assert world.records.store.get(TAGS + arn) is None
        assert await code_of(delete(world)) == "CacheSubnetGroupNotFoundFault"

    run(tmp_path, scenario)


def test_of_a_create_and_a_delete_at_once_one_is_told(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        for number in range(20):
            await create(world)
            outcomes = await asyncio.gather(
                code_of(world.create(cache_subnet_group_name="mine", replication_group_id="g")),
                code_of(delete(world)),
            )
            assert sorted(outcomes) in (
                ["CacheSubnetGroupInUse", "accepted"],
                ["CacheSubnetGroupNotFoundFault", "accepted"],
            ), number
            if world.records.uid_of_group("g") is not None:
                uid = world.records.uid_of_group("g") or ""
                spec = world.records.spec(uid)
                assert spec is not None
                await world.forget(spec.value)
                await delete(world)

    run(tmp_path, scenario)
