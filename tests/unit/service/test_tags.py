"""Which tags are allowed, and where do they go?"""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from cachewright.model.errors import ClientFault
from cachewright.model.parameters.groups import ParameterGroup
from cachewright.model.reservations import offerings
from cachewright.model.settings import Settings
from cachewright.service import (
    inputs,
    replication_groups,
    reserved_nodes,
    security_groups,
    subnet_groups,
    tags,
)
from cachewright.service.inputs_reserved_nodes import PurchaseReservedCacheNodesOffering as Purchase
from cachewright.service.inputs_security_groups import CreateCacheSecurityGroup
from cachewright.service.inputs_subnet_groups import CreateCacheSubnetGroup, DeleteCacheSubnetGroup
from cachewright.store.records import PARAMETER_GROUP, TAGS, ChangeSet
from tests.unit.service.service_world import NOW, World, code_of, run


def tag(key: str | None, value: str | None = "") -> inputs.Tag:
    return inputs.Tag(key=key, value=value)


@pytest.mark.parametrize(
    "bad",
    [
        pytest.param(tag("", "x"), id="no key"),
        pytest.param(tag(None), id="not even an empty key"),
        pytest.param(tag("k" * 129), id="a key of 129 characters"),
        pytest.param(tag("k", "v" * 257), id="a value of 257 characters"),
        pytest.param(tag("a;b"), id="a semicolon in the key"),
        pytest.param(tag("k", "<x>"), id="brackets in the value"),
        pytest.param(tag("\N{GRINNING FACE}"), id="an emoji"),
        pytest.param(tag("aws:x"), id="the reserved prefix"),
        pytest.param(tag("AWS:x"), id="the reserved prefix in capitals"),
    ],
)
def test_a_tag_that_is_wrong_is_refused(tmp_path: Path, bad: inputs.Tag) -> None:
    with pytest.raises(ClientFault) as caught:
        tags.checked([tag("good", "x"), bad], Settings(state_dir=tmp_path))
    assert caught.value.code == "InvalidParameterValue"


def test_tags_that_are_right_are_kept_and_the_later_of_two_values_wins(tmp_path: Path) -> None:
    given = [
        tag("\u00c4 1+-=._:/@", "\u03a9" * 256),
        tag("k" * 128, None),
        tag("x", "1"),
        tag("x", "2"),
    ]
    checked = tags.checked(given, Settings(state_dir=tmp_path))
    assert list(checked.values()) == ["\u03a9" * 256, "", "2"]


def test_a_resource_has_at_most_fifty_tags(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        await world.create_available(tags=tuple(tag(f"k{number}") for number in range(49)))
        arn = world.service.arns.of_group("demo")
        assert len(await tags.add_tags(world.service, arn, [tag("k1", "again"), tag("new")])) == 50
        more = tags.add_tags(world.service, arn, [tag("one too many")])
        assert await code_of(more) == "TagQuotaPerResourceExceeded"

    run(tmp_path, scenario)


def test_tags_of_a_group_are_those_of_its_members_until_a_member_has_its_own(
    tmp_path: Path,
) -> None:
    async def scenario(world: World) -> None:
        service = world.service
        await world.create_available(num_cache_clusters=2, tags=(tag("a", "1"), tag("b", "1")))
        group, first, second = (
            service.arns.of_group("demo"),
            service.arns.of_node("demo-001"),
            service.arns.of_node("demo-002"),
        )
        assert tags.list_tags(service, first) == {"a": "1", "b": "1"}
        assert await tags.add_tags(service, first, [tag("c", "1")]) == {
            "a": "1",
            "b": "1",
            "c": "1",
        }
        assert tags.list_tags(service, group) == {"a": "1", "b": "1"}
        assert await tags.add_tags(service, group, [tag("a", "2")]) == {"a": "2", "b": "1"}
        assert tags.list_tags(service, first) == {"a": "2", "b": "1", "c": "1"}
        assert tags.list_tags(service, second) == {"a": "2", "b": "1"}
        assert await tags.remove_tags(service, group, ["b"]) == {"a": "2"}
        assert tags.list_tags(service, first) == {"a": "2", "c": "1"}
        assert await code_of(tags.remove_tags(service, group, ["c"])) == "TagNotFound"

    run(tmp_path, scenario)


def test_the_tags_of_the_last_member_outlive_its_group(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        await world.create_available(num_cache_clusters=2, tags=(tag("a", "1"),))
        request = inputs.DeleteReplicationGroup(
            replication_group_id="demo", retain_primary_cluster=True
        )
        deleted = await replication_groups.delete(world.service, request)
        await world.release(deleted.spec, "demo-001")
        arn = world.service.arns.of_node("demo-001")
        assert tags.list_tags(world.service, arn) == {"a": "1"}
        assert await tags.remove_tags(world.service, arn, ["a"]) == {}

    run(tmp_path, scenario)


OURS = "arn:aws:elasticache:us-east-1:000000000000:"


@pytest.mark.parametrize(
    ("arn", "code"),
    [
        ("", "InvalidARN"),
        ("demo", "InvalidARN"),
        (OURS + "replicationgroup", "InvalidARN"),
        (OURS + "replicationgroup:", "InvalidARN"),
        (OURS + "sandwich:demo", "InvalidARN"),
        (OURS + "replicationgroup:" + "x" * 5000, "InvalidARN"),
        ("arn:aws:elasticache:eu-west-1:000000000000:replicationgroup:demo", "InvalidARN"),
        ("arn:aws:elasticache:us-east-1:111111111111:replicationgroup:demo", "InvalidARN"),
        ("arn:aws:s3:us-east-1:000000000000:replicationgroup:demo", "InvalidARN"),
        (OURS + "replicationgroup:nobody", "ReplicationGroupNotFoundFault"),
        (OURS + "replicationgroup:de:mo", "ReplicationGroupNotFoundFault"),
        (OURS + "cluster:nobody", "CacheClusterNotFound"),
        (OURS + "snapshot:nobody", "SnapshotNotFoundFault"),
        (OURS + "user:nobody", "UserNotFound"),
        (OURS + "parametergroup:mine", "CacheParameterGroupNotFound"),
    ],
)
def test_an_arn_without_a_resource_is_refused(tmp_path: Path, arn: str, code: str) -> None:
    async def scenario(world: World) -> None:
        await world.create_available()
        with pytest.raises(ClientFault) as caught:
            tags.list_tags(world.service, arn)
        assert caught.value.code == code

    run(tmp_path, scenario)


def test_a_group_that_is_not_available_shows_no_tags(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        await world.create()
        for arn in (world.service.arns.of_group("demo"), world.service.arns.of_node("demo-001")):
            with pytest.raises(ClientFault) as caught:
                tags.list_tags(world.service, arn)
            assert (caught.value.code, caught.value.message) == (
                "InvalidReplicationGroupState",
                "Cluster not in available state to perform tagging operations.",
            )

    run(tmp_path, scenario)


def test_more_tags_than_one_transaction_holds_are_refused_before_the_store_is_asked(
    tmp_path: Path,
) -> None:
    async def scenario(world: World) -> None:
        await world.create_available(num_node_groups=90)
        long = [tag(f"k{number}", "\u03a9" * 256) for number in range(30)]
        for number in range(1, 91):
            arn = world.service.arns.of_node(f"demo-{number:04}-001")
            await tags.add_tags(world.service, arn, long)
        arn = world.service.arns.of_group("demo")
        code = await code_of(tags.add_tags(world.service, arn, [tag("new")]))
        assert code == "InvalidParameterValue"

    run(tmp_path, scenario)


def subnet_group(name: str, tags: tuple[inputs.Tag, ...] = ()) -> CreateCacheSubnetGroup:
    return CreateCacheSubnetGroup(
        cache_subnet_group_name=name,
        cache_subnet_group_description="d",
        subnet_ids=("subnet-01234567",),
        tags=tags,
    )


def security_group(name: str, tags: tuple[inputs.Tag, ...] = ()) -> CreateCacheSecurityGroup:
    return CreateCacheSecurityGroup(cache_security_group_name=name, description="d", tags=tags)


def reservation(name: str, tags: tuple[inputs.Tag, ...] = ()) -> Purchase:
    return Purchase(
        reserved_cache_nodes_offering_id=next(iter(offerings())),
        reserved_cache_node_id=name,
        tags=tags,
    )


async def make(world: World, kind: str, name: str, given: tuple[inputs.Tag, ...] = ()) -> None:
    """Make a resource that is tagged by ARNs of this kind."""
    service = world.service
    match kind:
        case "subnetgroup":
            await subnet_groups.create(service, subnet_group(name, given))
        case "securitygroup":
            await security_groups.create(service, security_group(name, given))
        case "reserved-instance":
            await reserved_nodes.purchase(service, reservation(name, given))


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        ("subnetgroup", "CacheSubnetGroupNotFoundFault"),
        ("securitygroup", "CacheSecurityGroupNotFound"),
        ("reserved-instance", "ReservedCacheNodeNotFound"),
    ],
)
def test_everything_that_stands_around_groups_has_tags(
    tmp_path: Path, kind: str, code: str
) -> None:
    async def scenario(world: World) -> None:
        service, arn = world.service, f"{OURS}{kind}:mine"
        assert await code_of(tags.add_tags(service, arn, [tag("a")])) == code
        with pytest.raises(ClientFault) as caught:
            tags.list_tags(service, arn)
        assert caught.value.code == code
        many = tuple(tag(f"k{number}") for number in range(51))
        assert await code_of(make(world, kind, "mine", many)) == "TagQuotaPerResourceExceeded"
        assert await code_of(make(world, kind, "mine", (tag("aws:x"),))) == "InvalidParameterValue"
        await make(world, kind, "mine", (tag("a", "1"), tag("b", "1")))
        assert tags.list_tags(service, arn) == {"a": "1", "b": "1"}
        assert await tags.add_tags(service, f"{OURS}{kind}:MINE", [tag("a", "2")]) == {
            "a": "2",
            "b": "1",
        }
        assert await tags.remove_tags(service, arn, ["b"]) == {"a": "2"}
        assert await code_of(tags.remove_tags(service, arn, ["b"])) == "TagNotFound"
        full = [tag(f"k{number}") for number in range(50)]
        assert await code_of(tags.add_tags(service, arn, full)) == "TagQuotaPerResourceExceeded"
        assert tags.list_tags(service, arn) == {"a": "2"}
        await make(world, kind, "other")
        assert tags.list_tags(service, f"{OURS}{kind}:other") == {}

    run(tmp_path, scenario)


@pytest.mark.parametrize(
    ("arn", "code"),
    [
        ("parametergroup:default.valkey9", "InvalidARN"),
        ("parametergroup:default.redis7.cluster.on", "InvalidARN"),
        ("securitygroup:default", "InvalidARN"),
        ("subnetgroup:default", "accepted"),
    ],
)
def test_defaults_are_shown_without_tags_and_most_get_none(
    tmp_path: Path, arn: str, code: str
) -> None:
    async def scenario(world: World) -> None:
        assert tags.list_tags(world.service, OURS + arn) == {}
        assert await code_of(tags.add_tags(world.service, OURS + arn, [tag("a")])) == code
        assert len(tags.list_tags(world.service, OURS + arn)) == (code == "accepted")

    run(tmp_path, scenario)


def test_tags_of_a_parameter_group_that_somebody_made(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        group = ParameterGroup(
            name="mine", family="valkey9", description="d", values={}, created_at=NOW
        )
        changes = ChangeSet()
        changes.create(PARAMETER_GROUP + group.name, group)
        await world.records.commit(changes)
        arn = OURS + "parametergroup:mine"
        assert await tags.add_tags(world.service, arn, [tag("a", "1")]) == {"a": "1"}
        assert tags.list_tags(world.service, arn) == {"a": "1"}

    run(tmp_path, scenario)


def test_no_tag_is_left_behind_by_a_delete_at_the_same_moment(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        await make(world, "subnetgroup", "mine")
        arn = OURS + "subnetgroup:mine"
        ending = subnet_groups.delete(
            world.service, DeleteCacheSubnetGroup(cache_subnet_group_name="mine")
        )
        ended, tagged = await asyncio.gather(
            code_of(ending), code_of(tags.add_tags(world.service, arn, [tag("a")]))
        )
        assert (ended, tagged) == ("accepted", "CacheSubnetGroupNotFoundFault")
        assert world.records.store.get(TAGS + arn) is None

    run(tmp_path, scenario)
