"""What changes in a cache cluster at once, what waits, and what makes it happen?"""

from __future__ import annotations

import dataclasses
import datetime
from pathlib import Path
from typing import Any

import pytest

from cachewright.api import render_caches
from cachewright.model.errors import ClientFault
from cachewright.model.groups import GroupSpec, PendingChanges
from cachewright.model.status import GroupState
from cachewright.service import (
    cache_clusters,
    cluster_changes,
    inputs,
    inputs_cache_clusters,
    parameter_groups,
    pending,
    replication_groups,
    views,
)
from cachewright.service.inputs_parameters import CreateCacheParameterGroup
from cachewright.store.records import SPEC, ChangeSet
from tests.unit.service.service_world import CLUSTER_OFFERS, NOW, World, run

IPC, IPV = "InvalidParameterCombination", "InvalidParameterValue"
#: `NOW` is a Friday, 03:04:05.
CLOSED, OPEN = "sun:05:00-sun:06:00", "fri:03:00-fri:04:00"
SINGLE: dict[str, Any] = {"engine": "redis", "engine_version": None, "num_cache_nodes": None}


async def modify(world: World, cluster_id: str = "cache", **changes: object) -> GroupSpec:
    request = inputs_cache_clusters.ModifyCacheCluster(
        cache_cluster_id=cluster_id,
        **changes,  # type: ignore[arg-type] # typed by msgspec at run time
    )
    return (await cluster_changes.modify(world.service, request)).group.spec


async def refusal(world: World, cluster_id: str = "cache", **changes: Any) -> tuple[str, str]:
    with pytest.raises(ClientFault) as caught:
        await modify(world, cluster_id, **changes)
    return caught.value.code, caught.value.message


def shown(world: World) -> dict[str, Any]:
    found = views.find_cluster(world.records, "cache")
    return render_caches.cache_cluster(world.service.arns, found, shows_nodes=False)


def ids(spec: GroupSpec) -> list[str]:
    return [node.node_id for node in spec.nodes()]


async def put(world: World, spec: GroupSpec) -> None:
    changes = ChangeSet()
    changes.put(SPEC + spec.uid, spec)
    await world.records.commit(changes)


async def new_cluster(world: World, window: str = CLOSED, **changes: Any) -> GroupSpec:
    return await world.create_available_cluster(preferred_maintenance_window=window, **changes)


# At once


def test_notes_change_at_once(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        await new_cluster(world)
        topic = "arn:aws:sns:us-east-1:000000000000:alarm"
        spec = await modify(
            world,
            security_group_ids=("sg-12345678",),
            preferred_maintenance_window="MON:01:00-MON:02:00",
            notification_topic_arn=topic,
            auto_minor_version_upgrade=False,
        )
        assert spec.pending is None
        assert spec.security_group_ids == ("sg-12345678",)
        assert spec.maintenance_window == "mon:01:00-mon:02:00"
        assert spec.notification is not None
        assert (spec.notification.topic_arn, spec.notification.topic_status) == (topic, "active")
        assert spec.auto_minor_version_upgrade is False
        assert shown(world)["CacheClusterStatus"] == "available"

    run(tmp_path, scenario, offers=CLUSTER_OFFERS)


def test_what_is_immediate_becomes_the_spec_and_wakes_the_loop(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        before = await new_cluster(world)
        spec = await modify(
            world,
            num_cache_nodes=2,
            cache_node_ids_to_remove=("0002",),
            engine_version="1.6.45",
            apply_immediately=True,
        )
        assert (ids(spec), spec.engine_version) == (["0001", "0003"], "1.6.45")
        assert (spec.pending, spec.generation) == (None, before.generation + 1)
        assert shown(world)["CacheClusterStatus"] == "modifying"
        assert world.woken[-1] == spec.uid
        assert shown(world)["PendingModifiedValues"] == {}

    run(tmp_path, scenario, offers=CLUSTER_OFFERS)


def test_a_new_version_shows_before_the_loop_has_looked(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        await new_cluster(world)
        assert shown(world)["CacheClusterStatus"] == "available"
        spec = await modify(world, engine_version="1.6.45", apply_immediately=True)
        assert shown(world)["CacheClusterStatus"] == "rebooting cluster nodes"
        await world.settle(spec)
        seen = shown(world)
        assert (seen["CacheClusterStatus"], seen["EngineVersion"]) == ("available", "1.6.45")

    run(tmp_path, scenario, offers=CLUSTER_OFFERS)


# What waits


def test_what_waits_is_shown_and_changes_nothing_yet(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        await new_cluster(world)
        spec = await modify(world, num_cache_nodes=5, engine_version="1.6.45")
        assert (ids(spec), spec.engine_version) == (["0001", "0002", "0003"], "1.6.38")
        seen = shown(world)
        assert seen["PendingModifiedValues"] == {"NumCacheNodes": 5, "EngineVersion": "1.6.45"}
        assert (seen["CacheClusterStatus"], seen["NumCacheNodes"]) == ("available", 3)
        await modify(world, num_cache_nodes=1, cache_node_ids_to_remove=("0001", "0003"))
        assert shown(world)["PendingModifiedValues"] == {
            "NumCacheNodes": 1,
            "CacheNodeIdsToRemove": ["0001", "0003"],
            "EngineVersion": "1.6.45",
        }
        assert "waiting for the maintenance window sun:05:00" in world.events()[-1].message
        spec = await modify(world, num_cache_nodes=3, engine_version="1.6.38")
        assert spec.pending is None
        assert shown(world)["PendingModifiedValues"] == {}

    run(tmp_path, scenario, offers=CLUSTER_OFFERS)


def test_an_immediate_change_takes_what_waits_with_it(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        before = await new_cluster(world)
        await modify(world, num_cache_nodes=4)
        spec = await modify(world, num_cache_nodes=5, apply_immediately=True)
        assert ids(spec) == ["0001", "0002", "0003", "0004", "0005"]
        assert spec.pending is None
        await put(world, before)
        await modify(world, num_cache_nodes=4, engine_version="1.6.45")
        spec = await modify(world, apply_immediately=True)
        assert (ids(spec)[3:], spec.engine_version) == (["0004"], "1.6.45")
        code, text = await refusal(world, apply_immediately=True)
        assert (code, text) == ("InvalidCacheClusterState", text)
        await world.settle(spec)
        assert await refusal(world, apply_immediately=True) == (
            IPC,
            "No modifications were requested",
        )

    run(tmp_path, scenario, offers=CLUSTER_OFFERS)


def test_an_immediate_cancel_cancels(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        await new_cluster(world)
        await modify(world, num_cache_nodes=4)
        spec = await modify(world, num_cache_nodes=3, apply_immediately=True)
        assert (ids(spec), spec.pending) == (["0001", "0002", "0003"], None)

    run(tmp_path, scenario, offers=CLUSTER_OFFERS)


# The window


def at(text: str) -> datetime.datetime:
    return datetime.datetime.fromisoformat(text).replace(tzinfo=datetime.UTC)


def test_the_window_makes_what_waits_true(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        await new_cluster(world, num_cache_nodes=2)
        spec = await modify(world, num_cache_nodes=3, engine_version="1.6.45")
        before, first = at("2026-01-04T04:59:59"), at("2026-01-04T05:00:00")
        last, after = at("2026-01-04T05:59:59"), at("2026-01-04T06:00:00")
        for closed in (NOW, before, after):
            assert await pending.apply_due(world.service, closed) == ()
        world.woken.clear()
        assert await pending.apply_due(world.service, first) == ("cache",)
        written = world.records.spec(spec.uid)
        assert written is not None
        done = written.value
        assert (ids(done), done.engine_version) == (["0001", "0002", "0003"], "1.6.45")
        assert (done.pending, done.generation) == (None, spec.generation + 1)
        assert world.woken == [spec.uid]
        assert world.events()[-1].message == (
            "Applying pending modifications in the maintenance window sun:05:00-sun:06:00"
        )
        assert await pending.apply_due(world.service, last) == ()

    run(tmp_path, scenario, offers=CLUSTER_OFFERS)


def test_a_group_that_is_not_available_waits_for_the_next_look(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        await new_cluster(world)
        spec = await modify(world, num_cache_nodes=4)
        opened = at("2026-01-04T05:10:00")
        await world.settle(spec, GroupState.MODIFYING)
        assert await pending.apply_due(world.service, opened) == ()
        await world.settle(spec)
        assert await pending.apply_due(world.service, opened) == ("cache",)

    run(tmp_path, scenario, offers=CLUSTER_OFFERS)


def test_a_deleted_cluster_changes_no_more(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        await new_cluster(world)
        spec = await modify(world, num_cache_nodes=4)
        request = inputs_cache_clusters.DeleteCacheCluster(cache_cluster_id="cache")
        await cache_clusters.delete(world.service, request)
        await world.settle(spec)
        assert await pending.apply_due(world.service, at("2026-01-04T05:10:00")) == ()

    run(tmp_path, scenario, offers=CLUSTER_OFFERS)


def test_a_window_that_is_moved_to_now_lets_it_happen_at_once(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        await new_cluster(world)
        await modify(world, num_cache_nodes=4)
        spec = await modify(world, preferred_maintenance_window="mon:01:00-mon:02:00")
        assert spec.pending is not None
        spec = await modify(world, preferred_maintenance_window=OPEN)
        assert (ids(spec)[3:], spec.pending) == (["0004"], None)

    run(tmp_path, scenario, offers=CLUSTER_OFFERS)


def test_a_window_that_overlaps_the_snapshot_window_is_refused(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        spec = await new_cluster(world, **SINGLE, snapshot_window="10:00-11:00")
        asked: dict[str, Any] = {"preferred_maintenance_window": "wed:10:30-wed:11:30"}
        code, text = await refusal(world, **asked)
        assert (code, "must not overlap" in text) == (IPV, True)
        code, text = await refusal(world, snapshot_window="05:30-06:30")
        assert (code, "must not overlap" in text) == (IPV, True)
        # Without snapshots there is nothing to overlap.
        await world.create_available_cluster(cache_cluster_id="other", **asked)
        assert spec.maintenance_window == CLOSED

    run(tmp_path, scenario, offers=CLUSTER_OFFERS)


# Refusals


@pytest.mark.parametrize(
    ("changes", "code", "text"),
    [
        pytest.param({}, IPC, "No modifications were requested", id="nothing"),
        pytest.param({"num_cache_nodes": 3}, IPC, "No modifications", id="as many as there are"),
        pytest.param(
            {"engine_version": "1.6.18"},
            IPC,
            "Cannot modify memcached from 1.6.38 to 1.6.18",
            id="downgrade",
        ),
        pytest.param(
            {"engine_version": "1.6.99"}, IPC, "Cannot find version 1.6.99", id="unknown version"
        ),
        pytest.param({"engine_version": "9.1"}, IPC, "Cannot find version 9.1", id="of valkey"),
        pytest.param({"engine": "redis"}, IPC, "modify memcached to redis", id="engine"),
        pytest.param({"snapshot_window": "01:00-02:00"}, IPC, "no snapshots", id="snapshots"),
        pytest.param(
            {"cache_parameter_group_name": "default.redis7"},
            IPC,
            "family memcached1.6 but found one of family redis7",
            id="parameter group of another engine",
        ),
        pytest.param(
            {"cache_parameter_group_name": "nobody"},
            "CacheParameterGroupNotFound",
            "CacheParameterGroup not found: nobody",
            id="unknown parameter group",
        ),
        pytest.param(
            {"num_cache_nodes": 61}, "NodeQuotaForClusterExceeded", "60 nodes", id="61 nodes"
        ),
    ],
)
def test_a_change_is_refused_with_its_reason_and_loses_nothing(
    tmp_path: Path, changes: dict[str, Any], code: str, text: str
) -> None:
    async def scenario(world: World) -> None:
        spec = await new_cluster(world)
        found_code, found_text = await refusal(world, **changes)
        assert (found_code, text in found_text) == (code, True), found_text
        written = world.records.spec(spec.uid)
        assert written is not None
        assert written.value == spec

    run(tmp_path, scenario, offers=CLUSTER_OFFERS)


@pytest.mark.parametrize(
    "changes",
    [
        {"num_cache_nodes": 2},
        {"cache_node_ids_to_remove": ("0001",)},
        {"new_availability_zones": ("us-east-1a",)},
        {"az_mode": "cross-az"},
        {"engine_version": "7.1"},
    ],
)
def test_a_single_node_stays_one_node(tmp_path: Path, changes: dict[str, Any]) -> None:
    async def scenario(world: World) -> None:
        await new_cluster(world, **SINGLE)
        code, _ = await refusal(world, **changes)
        assert code == IPC

    run(tmp_path, scenario, offers=CLUSTER_OFFERS)


def test_members_are_changed_through_their_group(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        await world.create_available(num_cache_clusters=2)
        code, text = await refusal(world, "demo-001", auto_minor_version_upgrade=False)
        assert (code, "use ModifyReplicationGroup" in text) == (IPC, True)

    run(tmp_path, scenario)


@pytest.mark.parametrize("state", [GroupState.CREATING, GroupState.MODIFYING])
def test_a_change_needs_an_available_cluster(tmp_path: Path, state: GroupState) -> None:
    async def scenario(world: World) -> None:
        spec = await new_cluster(world)
        await world.settle(spec, state)
        code, _ = await refusal(world, auto_minor_version_upgrade=False)
        assert code == "InvalidCacheClusterState"

    run(tmp_path, scenario, offers=CLUSTER_OFFERS)


# Replication groups


async def modify_group(world: World, **changes: object) -> GroupSpec:
    request = inputs.ModifyReplicationGroup(replication_group_id="demo", **changes)  # type: ignore[arg-type] # typed by msgspec at run time
    return (await replication_groups.modify(world.service, request)).spec


def test_a_parameter_group_of_a_group_waits_for_the_window_or_not(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        spec = await world.create_available(preferred_maintenance_window=CLOSED)
        other = "default.valkey9"
        mine = CreateCacheParameterGroup(
            cache_parameter_group_name="mine",
            cache_parameter_group_family="valkey9",
            description="mine",
        )
        await parameter_groups.create(world.service, mine)
        await put(world, dataclasses.replace(spec, parameter_group="mine"))
        spec = await modify_group(world, cache_parameter_group_name=other)
        assert (spec.parameter_group, spec.pending) == (
            "mine",
            PendingChanges(parameter_group=other),
        )
        spec = await modify_group(world, replication_group_description="still waiting")
        assert spec.pending is not None
        assert await pending.apply_due(world.service, at("2026-01-04T05:10:00")) == ("demo",)
        written = world.records.spec(spec.uid)
        assert written is not None
        assert (written.value.parameter_group, written.value.pending) == (other, None)
        await put(world, dataclasses.replace(spec, parameter_group="mine", pending=None))
        spec = await modify_group(world, cache_parameter_group_name=other, apply_immediately=True)
        assert (spec.parameter_group, spec.pending) == (other, None)

    run(tmp_path, scenario)
