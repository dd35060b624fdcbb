"""What do events, clusters, engine versions and node types answer?"""

from __future__ import annotations

import datetime
from pathlib import Path

import pytest

from cachewright.model.engines import EngineName
from cachewright.model.errors import ClientFault
from cachewright.model.status import Event, GroupState, SourceType
from cachewright.service import (
    cache_clusters,
    engine_versions,
    events,
    inputs,
    inputs_cache_clusters,
    node_types,
    replication_groups,
    views,
)
from cachewright.store.records import ChangeSet
from tests.unit.service.service_world import NOW, World, run

MINUTE = datetime.timedelta(minutes=1)


async def _history(world: World) -> None:
    """Write an event every ten minutes of the last three hours, about two sources in turn."""
    changes = ChangeSet()
    for number in range(18):
        is_group = number % 2 == 0
        changes.add_event(
            Event(
                source_type=SourceType.REPLICATION_GROUP if is_group else SourceType.CACHE_CLUSTER,
                source_id="demo" if is_group else "demo-001",
                message=f"{number * 10} minutes ago",
                at=NOW - number * 10 * MINUTE,
            )
        )
    await world.records.commit(changes)


def minutes_ago(world: World, **wanted: object) -> list[int]:
    found = events.describe(world.service, inputs.DescribeEvents(**wanted))  # type: ignore[arg-type] # typed by msgspec at run time
    assert [key for key, _ in found] == sorted(key for key, _ in found)
    return [int(event.message.split()[0]) for _, event in found]


def test_events_are_those_of_the_last_hour_newest_first(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        await _history(world)
        assert minutes_ago(world) == [0, 10, 20, 30, 40, 50, 60]
        assert minutes_ago(world, duration=20) == [0, 10, 20]
        assert minutes_ago(world, source_type="cache-cluster") == [10, 30, 50]
        assert minutes_ago(world, source_type="cache-cluster", source_identifier="DEMO-001") == [
            10,
            30,
            50,
        ]
        assert minutes_ago(world, source_type="replication-group", source_identifier="x") == []
        assert minutes_ago(world, source_type="user") == []

    run(tmp_path, scenario)


def test_events_of_a_span(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        await _history(world)
        start, end = NOW - 120 * MINUTE, NOW - 100 * MINUTE
        assert minutes_ago(world, start_time=start, end_time=end) == [100, 110, 120]
        assert minutes_ago(world, start_time=start, duration=10) == [110, 120]
        assert len(minutes_ago(world, start_time=start)) == 13
        assert minutes_ago(world, end_time=end) == [100, 110, 120, 130, 140, 150, 160]
        assert minutes_ago(world, end_time=end, duration=10) == [100, 110]

    run(tmp_path, scenario)


FIRST = datetime.datetime.min.replace(tzinfo=datetime.UTC)
LAST = datetime.datetime.max.replace(tzinfo=datetime.UTC)


def test_the_first_and_the_last_moment_of_all_time_are_no_trouble(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        await _history(world)
        assert len(minutes_ago(world, start_time=FIRST, end_time=LAST)) == 18
        assert minutes_ago(world, start_time=LAST, duration=20160) == [0]
        assert minutes_ago(world, end_time=FIRST, duration=20160) == []

    run(tmp_path, scenario)


@pytest.mark.parametrize(
    "wanted",
    [
        pytest.param({"source_identifier": "demo"}, id="a source without its type"),
        pytest.param({"duration": 0}, id="no time"),
        pytest.param({"duration": 20161}, id="more than 14 days"),
        pytest.param({"start_time": NOW, "end_time": NOW - MINUTE}, id="an end before the start"),
        pytest.param({"start_time": NOW, "end_time": NOW, "duration": 1}, id="all three"),
    ],
)
def test_spans_that_contradict_themselves_are_refused(
    tmp_path: Path, wanted: dict[str, object]
) -> None:
    async def scenario(world: World) -> None:
        with pytest.raises(ClientFault):
            minutes_ago(world, **wanted)

    run(tmp_path, scenario)


# Cache clusters


async def _retained(world: World) -> None:
    await world.create_available(num_cache_clusters=2)
    request = inputs.DeleteReplicationGroup(
        replication_group_id="demo", retain_primary_cluster=True
    )
    deleted = await replication_groups.delete(world.service, request)
    await world.release(deleted.spec, "demo-001")


async def _delete_cluster(world: World, cluster_id: str) -> str:
    request = inputs_cache_clusters.DeleteCacheCluster(cache_cluster_id=cluster_id)
    try:
        await cache_clusters.delete(world.service, request)
    except ClientFault as fault:
        return f"{fault.code}: {fault.message}"
    return "accepted"


def test_a_retained_cluster_stands_alone_and_can_be_deleted_once(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        await _retained(world)
        await world.create_available(replication_group_id="other")
        only_alone = inputs_cache_clusters.DescribeCacheClusters(
            show_cache_clusters_not_in_replication_groups=True
        )
        assert [n for n, _ in cache_clusters.names(world.service, only_alone)] == ["demo-001"]
        everything = cache_clusters.names(
            world.service, inputs_cache_clusters.DescribeCacheClusters()
        )
        assert [name for name, _ in everything] == ["demo-001", "other-001"]
        found = views.find_cluster(world.records, "Demo-001")
        assert found.group.is_standalone
        assert found.state.value == "available"
        with pytest.raises(ClientFault, match="demo not found"):
            views.find_group(world.records, "demo")
        assert await _delete_cluster(world, "DEMO-001") == "accepted"
        assert views.find_cluster(world.records, "demo-001").state.value == "deleting"
        assert "InvalidCacheClusterState" in await _delete_cluster(world, "demo-001")

    run(tmp_path, scenario)


def test_a_new_group_of_the_old_name_does_not_take_the_retained_cluster(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        await _retained(world)
        await world.create(num_node_groups=2)
        assert views.find_cluster(world.records, "demo-001").group.is_standalone
        assert not views.find_cluster(world.records, "demo-0001-001").group.is_standalone

    run(tmp_path, scenario)


def test_members_that_a_group_needs_cannot_be_deleted(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        await world.create_available(num_cache_clusters=2)
        await world.create_available(replication_group_id="many", num_node_groups=2)
        assert "serving as primary" in await _delete_cluster(world, "demo-001")
        assert "cluster mode enabled" in await _delete_cluster(world, "many-0001-001")
        assert await _delete_cluster(world, "nobody") == (
            "CacheClusterNotFound: CacheCluster not found: nobody"
        )
        assert world.records.uid_of_group("demo") is not None

    run(tmp_path, scenario)


def test_members_of_a_deleted_group_are_deleting_but_the_retained_one(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        await world.create_available(num_cache_clusters=2)
        request = inputs.DeleteReplicationGroup(
            replication_group_id="demo", retain_primary_cluster=True
        )
        await replication_groups.delete(world.service, request)
        group = views.find_group(world.records, "demo")
        assert group.state is GroupState.DELETING
        assert group.node_state("demo-001").value == "available"
        assert group.node_state("demo-002").value == "deleting"

    run(tmp_path, scenario)


# What can be had


def versions(world: World, **wanted: object) -> list[str]:
    request = inputs.DescribeCacheEngineVersions(**wanted)  # type: ignore[arg-type] # typed by msgspec at run time
    return [
        f"{entry.line.engine.value} {entry.line.api_version}"
        for _, entry in engine_versions.describe(world.service, request)
    ]


def test_engine_versions_are_those_that_can_run_here(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        everything = ["redis 7.0", "valkey 8.1", "valkey 9.1"]
        assert versions(world) == everything
        assert versions(world, engine="VALKEY") == everything[1:]
        assert versions(world, engine="valkey", default_only=True) == ["valkey 9.1"]
        assert versions(world, default_only=True) == ["redis 7.0", "valkey 9.1"]
        assert versions(world, engine_version="8.1") == ["valkey 8.1"]
        assert versions(world, cache_parameter_group_family="redis7") == ["redis 7.0"]
        assert versions(world, engine="memcached") == []

    run(tmp_path, scenario)


@pytest.mark.parametrize(
    ("wanted", "code"),
    [
        ({}, "InvalidParameterCombination"),
        (
            {"cache_cluster_id": "demo-001", "replication_group_id": "demo"},
            "InvalidParameterCombination",
        ),
        ({"cache_cluster_id": "nobody"}, "CacheClusterNotFound"),
        ({"replication_group_id": "nobody"}, "ReplicationGroupNotFoundFault"),
        ({"replication_group_id": "demo"}, None),
        ({"cache_cluster_id": "demo-001"}, None),
    ],
)
def test_scaling_asks_for_exactly_one_resource(
    tmp_path: Path, wanted: dict[str, str], code: str | None
) -> None:
    async def scenario(world: World) -> str | None:
        await world.create_available()
        request = inputs.ListAllowedNodeTypeModifications(**wanted)
        try:
            await node_types.allowed(world.service, request)
        except ClientFault as fault:
            return fault.code
        return None

    assert run(tmp_path, scenario) == code


def test_a_version_may_be_installed_before_anybody_offers_it(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        line = engine_versions.choose_install(world.service, "memcached", "1.6.46")
        assert (line.engine, line.api_version) == (EngineName.MEMCACHED, "1.6.46")
        for engine, version in (("memcached", "1.7.0"), ("memcached", "1.6"), ("valkey", "7.2")):
            with pytest.raises(ClientFault, match="Available here"):
                engine_versions.choose_install(world.service, engine, version)
        with pytest.raises(ClientFault, match="Available here"):
            engine_versions.choose_build(world.service, "memcached", "1.6.46")

    run(tmp_path, scenario)
