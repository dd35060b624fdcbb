"""Which tags are allowed, and where do they go?"""

from __future__ import annotations

from collections.abc import Awaitable
from pathlib import Path

import pytest

from cachewright.model.errors import ClientFault
from cachewright.model.settings import Settings
from cachewright.service import inputs, replication_groups, tags
from tests.unit.service.service_world import World, run


def tag(key: str | None, value: str | None = "") -> inputs.Tag:
    return inputs.Tag(key=key, value=value)


async def code_of(awaitable: Awaitable[object]) -> str:
    try:
        await awaitable
    except ClientFault as fault:
        return fault.code
    return "accepted"


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
        (OURS + "parametergroup:default.valkey9", "CacheParameterGroupNotFound"),
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
