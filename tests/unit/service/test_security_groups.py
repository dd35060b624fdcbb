"""Which cache security groups may be made, and who may connect?"""

from __future__ import annotations

from pathlib import Path

import pytest

from cachewright.model.errors import ClientFault
from cachewright.model.security_groups import Ingress, SecurityGroup
from cachewright.model.settings import Limits
from cachewright.service import inputs_security_groups as inputs
from cachewright.service import security_groups
from tests.unit.service.service_world import World, code_of, run


async def create(world: World, name: str = "mine", description: str = "d") -> SecurityGroup:
    wanted = inputs.CreateCacheSecurityGroup(
        cache_security_group_name=name, description=description
    )
    return await security_groups.create(world.service, wanted)


async def delete(world: World, name: str = "mine") -> None:
    wanted = inputs.DeleteCacheSecurityGroup(cache_security_group_name=name)
    await security_groups.delete(world.service, wanted)


async def authorize(world: World, ec2: str = "web", owner: str = "1", name: str = "mine") -> None:
    wanted = inputs.AuthorizeCacheSecurityGroupIngress(
        cache_security_group_name=name,
        ec2_security_group_name=ec2,
        ec2_security_group_owner_id=owner,
    )
    await security_groups.authorize(world.service, wanted)


async def revoke(world: World, ec2: str = "web", owner: str = "1", name: str = "mine") -> None:
    wanted = inputs.RevokeCacheSecurityGroupIngress(
        cache_security_group_name=name,
        ec2_security_group_name=ec2,
        ec2_security_group_owner_id=owner,
    )
    await security_groups.revoke(world.service, wanted)


def described(world: World, name: str | None = None) -> tuple[SecurityGroup, ...]:
    wanted = inputs.DescribeCacheSecurityGroups(cache_security_group_name=name)
    return security_groups.describe(world.service, wanted)


@pytest.mark.parametrize(
    ("name", "description", "code"),
    [
        pytest.param("", "d", "InvalidParameterValue", id="no name"),
        pytest.param("a" * 256, "d", "InvalidParameterValue", id="256 characters"),
        pytest.param("a b", "d", "InvalidParameterValue", id="a space"),
        pytest.param("DEFAULT", "d", "InvalidParameterValue", id="the default"),
        pytest.param("mine", "", "InvalidParameterValue", id="no description"),
        pytest.param("a" * 255, "d" * 255, "accepted", id="the limits"),
    ],
)
def test_a_group_that_is_wrong_is_refused(
    tmp_path: Path, name: str, description: str, code: str
) -> None:
    async def scenario(world: World) -> None:
        assert await code_of(create(world, name, description)) == code
        assert [group.name for group in described(world)] == sorted(
            ["default"] + [name.lower()] * (code == "accepted")
        )

    run(tmp_path, scenario)


def test_names_are_taken_in_any_case_and_the_quota_counts_what_callers_made(
    tmp_path: Path,
) -> None:
    async def scenario(world: World) -> None:
        assert (await create(world, "Mine")).name == "mine"
        assert await code_of(create(world, "mINE")) == "CacheSecurityGroupAlreadyExists"
        await authorize(world, name="default")
        await create(world, "other")
        assert await code_of(create(world, "third")) == "QuotaExceeded.CacheSecurityGroup"
        await delete(world, "OTHER")
        await create(world, "third")
        assert await code_of(delete(world, "other")) == "CacheSecurityGroupNotFound"
        assert await code_of(delete(world, "default")) == "InvalidCacheSecurityGroupState"

    run(tmp_path, scenario, limits=Limits(security_groups=2))


def test_an_authorization_is_kept_until_it_is_revoked(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        await create(world)
        await authorize(world)
        assert await code_of(authorize(world)) == "AuthorizationAlreadyExists"
        await authorize(world, owner="2")
        (group,) = described(world, "MINE")
        assert group.ingress == (
            Ingress(name="web", owner_id="1"),
            Ingress(name="web", owner_id="2"),
        )
        await revoke(world)
        assert await code_of(revoke(world)) == "AuthorizationNotFound"
        assert described(world, "mine")[0].ingress == (Ingress(name="web", owner_id="2"),)
        assert await code_of(authorize(world, name="x")) == "CacheSecurityGroupNotFound"
        assert await code_of(revoke(world, name="x")) == "CacheSecurityGroupNotFound"
        assert await code_of(authorize(world, owner="me")) == "InvalidParameterValue"
        assert await code_of(authorize(world, ec2="")) == "InvalidParameterValue"

    run(tmp_path, scenario)


def test_authorizations_are_bounded(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        await create(world)
        for number in range(100):
            await authorize(world, ec2=f"g{number}")
        with pytest.raises(ClientFault, match="at most 100"):
            await authorize(world)

    run(tmp_path, scenario)
