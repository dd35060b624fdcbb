"""What do callers get to say about failover, when is it refused, and what do they see of it?"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from cachewright.api import render
from cachewright.model.errors import ClientFault
from cachewright.model.groups import GroupSpec, PendingChanges
from cachewright.model.status import GroupState, NodeState
from cachewright.service import (
    cache_clusters,
    inputs,
    inputs_cache_clusters,
    pending,
    replication_groups,
    views,
)
from cachewright.store import records
from tests.unit.service.service_world import NOW, World, code_of, run, status_of

IPC, IPV = "InvalidParameterCombination", "InvalidParameterValue"
NOTHING = (IPC, "No modifications were requested")
#: `NOW` is a Friday, 03:04:05.
OPEN = "fri:03:00-fri:04:00"


async def modify(world: World, **changes: object) -> views.GroupView:
    request = inputs.ModifyReplicationGroup(replication_group_id="demo", **changes)  # type: ignore[arg-type] # typed by msgspec at run time
    return await replication_groups.modify(world.service, request)


async def refusal(world: World, **changes: object) -> tuple[str, str]:
    before = world.records.revision
    with pytest.raises(ClientFault) as caught:
        await modify(world, **changes)
    assert world.records.revision == before
    return caught.value.code, caught.value.message


async def put(world: World, spec: GroupSpec) -> None:
    changes = records.ChangeSet()
    changes.put(records.SPEC + spec.uid, spec)
    await world.records.commit(changes)


async def set_state(world: World, spec: GroupSpec, node_id: str, state: NodeState) -> None:
    status = status_of(spec, GroupState.AVAILABLE)
    nodes = tuple(
        dataclasses.replace(node, state=state) if node.node_id == node_id else node
        for node in status.nodes
    )
    changes = records.ChangeSet()
    changes.put(records.STATUS + spec.uid, dataclasses.replace(status, nodes=nodes))
    await world.records.commit(changes)


def shown(world: World) -> dict[str, Any]:
    group = views.find_group(world.records, "demo")
    return render.replication_group(world.service.arns, group)


def texts(world: World) -> list[str]:
    return [event.message for event in world.events()]


# Automatic failover and Multi-AZ


def test_failover_is_turned_on_and_off_with_its_events_and_statuses(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        await world.create_available(num_cache_clusters=2)
        spec = (await modify(world, automatic_failover_enabled=True)).spec
        assert spec.automatic_failover
        assert texts(world)[-2:] == [
            "Modification of replication group demo accepted",
            "Automatic failover has been turned on for replication group demo",
        ]
        assert shown(world)["AutomaticFailover"] == "enabling"
        assert shown(world)["PendingModifiedValues"] == {"AutomaticFailoverStatus": "enabled"}
        await world.settle(spec)
        assert shown(world)["AutomaticFailover"] == "enabled"
        assert shown(world)["PendingModifiedValues"] == {}
        # What it is already is no modification.
        assert await refusal(world, automatic_failover_enabled=True) == NOTHING

        spec = (await modify(world, automatic_failover_enabled=False)).spec
        assert texts(world)[-1] == (
            "Automatic failover has been turned off for replication group demo"
        )
        assert shown(world)["AutomaticFailover"] == "disabling"
        assert shown(world)["PendingModifiedValues"] == {"AutomaticFailoverStatus": "disabled"}
        await world.settle(spec)
        assert shown(world)["AutomaticFailover"] == "disabled"
        # Another change switches nothing.
        await modify(world, replication_group_description="new")
        assert shown(world)["AutomaticFailover"] == "disabled"
        assert sum("turned" in text for text in texts(world)) == 2

    run(tmp_path, scenario)


def test_both_switches_go_in_one_call(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        await world.create_available(num_cache_clusters=2)
        spec = (await modify(world, automatic_failover_enabled=True, multi_az_enabled=True)).spec
        assert (spec.automatic_failover, spec.multi_az) == (True, True)
        await world.settle(spec)
        assert shown(world)["MultiAZ"] == "enabled"
        assert await refusal(world, multi_az_enabled=True) == NOTHING
        assert await refusal(world, automatic_failover_enabled=False) == (
            IPC,
            "MultiAZEnabled requires AutomaticFailoverEnabled.",
        )
        spec = (await modify(world, automatic_failover_enabled=False, multi_az_enabled=False)).spec
        assert (spec.automatic_failover, spec.multi_az) == (False, False)

    run(tmp_path, scenario)


def test_failover_needs_a_replica(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        await world.create_available()
        assert await refusal(world, automatic_failover_enabled=True) == (
            IPC,
            "Replication group must have at least one read replica to enable autofailover.",
        )

    run(tmp_path, scenario)


def test_multi_az_needs_failover_and_another_zone(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        zones = ("us-east-1a", "us-east-1a")
        await world.create_available(num_cache_clusters=2, preferred_cache_cluster_azs=zones)
        assert await refusal(world, multi_az_enabled=True) == (
            IPC,
            "MultiAZEnabled requires AutomaticFailoverEnabled.",
        )
        code, text = await refusal(world, automatic_failover_enabled=True, multi_az_enabled=True)
        assert (code, "node group 0001 has none" in text) == (IPC, True)

    run(tmp_path, scenario)


def test_cluster_mode_cannot_turn_failover_off_but_multi_az(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        await world.create_available(num_node_groups=2, replicas_per_node_group=1)
        assert await refusal(world, automatic_failover_enabled=False) == (
            IPC,
            "Turning off automatic failover for replication group with cluster mode enabled is "
            "not supported.",
        )
        assert await refusal(world, automatic_failover_enabled=True) == NOTHING
        spec = (await modify(world, multi_az_enabled=True)).spec
        await world.settle(spec)
        assert not (await modify(world, multi_az_enabled=False)).spec.multi_az

    run(tmp_path, scenario)


def test_every_shard_needs_another_zone_for_multi_az(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        shards = (
            inputs.NodeGroup(replica_count=1),
            inputs.NodeGroup(replica_count=0),
        )
        await world.create_available(num_node_groups=2, node_group_configuration=shards)
        code, text = await refusal(world, multi_az_enabled=True)
        assert (code, "node group 0002 has none" in text) == (IPC, True)

    run(tmp_path, scenario)


# Promotion on request


def test_a_replica_is_promoted_at_once_if_that_is_asked(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        await world.create_available(num_cache_clusters=2)
        view = await modify(world, primary_cluster_id="DEMO-002", apply_immediately=True)
        assert view.spec.primary_node_id == "demo-002"
        assert view.spec.pending is None
        assert view.state is GroupState.MODIFYING
        # Until the roles have changed, also after the loop has looked.
        await world.settle(view.spec)
        assert shown(world)["Status"] == "modifying"
        group = views.find_group(world.records, "demo")
        assert group.reason == "demo-002 becomes the primary"
        assert await code_of(modify(world, replication_group_description="new")) == (
            "InvalidReplicationGroupState"
        )
        await world.settle(view.spec, primary="demo-002")
        assert shown(world)["Status"] == "available"
        assert views.find_group(world.records, "demo").reason == ""

    run(tmp_path, scenario)


def test_a_wish_that_cannot_be_met_now_holds_nothing_up(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        await world.create_available(num_cache_clusters=2)
        spec = (await modify(world, primary_cluster_id="demo-002", apply_immediately=True)).spec
        await set_state(world, spec, "demo-002", NodeState.MODIFYING)
        assert shown(world)["Status"] == "available"
        # Naming the one that is primary takes the wish back.
        view = await modify(world, primary_cluster_id="demo-001", apply_immediately=True)
        assert view.spec.primary_node_id == "demo-001"

    run(tmp_path, scenario)


def test_a_promotion_waits_for_the_window_and_shows(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        await world.create_available(
            num_cache_clusters=2, preferred_maintenance_window="sun:05:00-sun:06:00"
        )
        view = await modify(world, primary_cluster_id="demo-002")
        assert view.spec.primary_node_id is None
        assert view.spec.pending == PendingChanges(primary_node_id="demo-002")
        assert view.state is GroupState.AVAILABLE
        assert shown(world)["PendingModifiedValues"] == {"PrimaryClusterId": "demo-002"}
        assert "waiting for the maintenance window" in texts(world)[-1]
        # Another change keeps it waiting, and the window makes it so.
        await modify(world, replication_group_description="new")
        assert shown(world)["PendingModifiedValues"] == {"PrimaryClusterId": "demo-002"}
        await world.settle(views.find_group(world.records, "demo").spec)
        await put(
            world,
            dataclasses.replace(
                views.find_group(world.records, "demo").spec, maintenance_window=OPEN
            ),
        )
        assert await pending.apply_due(world.service, NOW) == ("demo",)
        spec = views.find_group(world.records, "demo").spec
        assert (spec.primary_node_id, spec.pending) == ("demo-002", None)

    run(tmp_path, scenario)


def test_an_immediate_change_takes_a_waiting_promotion_with_it(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        await world.create_available(num_cache_clusters=2)
        await modify(world, primary_cluster_id="demo-002")
        view = await modify(world, replication_group_description="x", apply_immediately=True)
        assert view.spec.primary_node_id == "demo-002"

    run(tmp_path, scenario)


def test_naming_the_primary_takes_a_waiting_promotion_back(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        await world.create_available(num_cache_clusters=2)
        assert await refusal(world, primary_cluster_id="demo-001") == NOTHING
        await modify(world, primary_cluster_id="demo-002")
        assert await refusal(world, primary_cluster_id="demo-002") == NOTHING
        view = await modify(world, primary_cluster_id="demo-001")
        assert (view.spec.pending, view.spec.primary_node_id) == (None, None)

    run(tmp_path, scenario)


@pytest.mark.parametrize("multi_az", [False, True])
def test_nobody_is_promoted_while_failover_is_automatic(tmp_path: Path, multi_az: bool) -> None:
    async def scenario(world: World) -> None:
        await world.create_available(
            num_cache_clusters=2, automatic_failover_enabled=True, multi_az_enabled=multi_az
        )
        for more in ({}, {"automatic_failover_enabled": False, "multi_az_enabled": False}):
            code, text = await refusal(
                world, primary_cluster_id="demo-002", apply_immediately=True, **more
            )
            assert (code, "while automatic failover is enabled" in text) == (IPC, True)

    run(tmp_path, scenario)


def test_nobody_is_promoted_while_failover_is_being_turned_on(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        await world.create_available(num_cache_clusters=2)
        code, _ = await refusal(
            world, primary_cluster_id="demo-002", automatic_failover_enabled=True
        )
        assert code == IPC

    run(tmp_path, scenario)


def test_nobody_is_promoted_while_multi_az_is_on(tmp_path: Path) -> None:
    """It cannot be on without failover, unless an older state folder says so."""

    async def scenario(world: World) -> None:
        spec = await world.create_available(num_cache_clusters=2)
        await put(world, dataclasses.replace(spec, multi_az=True))
        code, text = await refusal(world, primary_cluster_id="demo-002", multi_az_enabled=False)
        assert (code, "while Multi-AZ is enabled" in text) == (IPC, True)

    run(tmp_path, scenario)


def test_cluster_mode_has_no_primary_to_name(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        await world.create_available(num_node_groups=1, cluster_mode="enabled")
        code, text = await refusal(world, primary_cluster_id="demo-0001-001")
        assert (code, "use TestFailover" in text) == (IPC, True)

    run(tmp_path, scenario)


@pytest.mark.parametrize("node_id", ["demo-003", "other-001", "../x", "a" * 5_000])
def test_a_node_that_is_not_in_the_group_is_not_found(tmp_path: Path, node_id: str) -> None:
    async def scenario(world: World) -> None:
        await world.create_available(num_cache_clusters=2)
        await world.create_available(replication_group_id="other", num_cache_clusters=2)
        code, text = await refusal(world, primary_cluster_id=node_id, apply_immediately=True)
        assert code == "CacheClusterNotFound"
        assert len(text) < 200

    run(tmp_path, scenario)


def test_a_replica_that_is_not_available_is_not_promoted(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        spec = await world.create_available(num_cache_clusters=2)
        await set_state(world, spec, "demo-002", NodeState.MODIFYING)
        code, text = await refusal(world, primary_cluster_id="demo-002", apply_immediately=True)
        assert (code, "demo-002 must be in available state" in text) == (
            "InvalidCacheClusterState",
            True,
        )

    run(tmp_path, scenario)


@pytest.mark.parametrize("is_immediate", [False, True])
def test_turning_failover_on_gives_up_the_wish(tmp_path: Path, is_immediate: bool) -> None:
    async def scenario(world: World) -> None:
        await world.create_available(num_cache_clusters=2)
        view = await modify(world, primary_cluster_id="demo-002", apply_immediately=is_immediate)
        await world.settle(view.spec, primary="demo-002")
        after = (await modify(world, automatic_failover_enabled=True)).spec
        assert (after.primary_node_id, after.pending) == (None, None)

    run(tmp_path, scenario)


@pytest.mark.parametrize("is_immediate", [False, True])
def test_a_wish_goes_with_its_node_and_stays_with_another(
    tmp_path: Path, is_immediate: bool
) -> None:
    async def scenario(world: World) -> None:
        await world.create_available(num_cache_clusters=3)
        view = await modify(world, primary_cluster_id="demo-002", apply_immediately=is_immediate)
        for gone, wish in (("demo-003", "demo-002"), ("demo-002", None)):
            request = inputs_cache_clusters.DeleteCacheCluster(cache_cluster_id=gone)
            await cache_clusters.delete(world.service, request)
            spec = views.find_group(world.records, "demo").spec
            waiting = spec.pending.primary_node_id if spec.pending else None
            assert (spec.primary_node_id, waiting) == (
                (wish, None) if is_immediate else (None, wish)
            )
        assert view.spec.uid == spec.uid

    run(tmp_path, scenario)


def test_a_delete_gives_up_the_wish(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        await world.create_available(num_cache_clusters=2)
        view = await modify(world, primary_cluster_id="demo-002", apply_immediately=True)
        await world.settle(view.spec, primary="demo-002")
        request = inputs.DeleteReplicationGroup(
            replication_group_id="demo", retain_primary_cluster=True
        )
        spec = (await replication_groups.delete(world.service, request)).spec
        assert spec.primary_node_id is None

    run(tmp_path, scenario)


# Replicas of groups with failover


async def delete_replica(world: World, cluster_id: str) -> str:
    request = inputs_cache_clusters.DeleteCacheCluster(cache_cluster_id=cluster_id)
    return await code_of(cache_clusters.delete(world.service, request))


def test_the_last_replica_stays_while_failover_is_automatic(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        await world.create_available(num_cache_clusters=2, automatic_failover_enabled=True)
        assert await delete_replica(world, "demo-002") == "InvalidCacheClusterState"
        spec = (await modify(world, automatic_failover_enabled=False)).spec
        await world.settle(spec)
        assert await delete_replica(world, "demo-002") == "accepted"

    run(tmp_path, scenario)


def test_the_last_node_in_another_zone_stays_while_multi_az_is_on(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        zones = ("us-east-1a", "us-east-1a", "us-east-1b")
        await world.create_available(
            num_cache_clusters=3,
            preferred_cache_cluster_azs=zones,
            automatic_failover_enabled=True,
            multi_az_enabled=True,
        )
        assert await delete_replica(world, "demo-003") == "InvalidCacheClusterState"
        assert await delete_replica(world, "demo-002") == "accepted"

    run(tmp_path, scenario)


# Durability


def test_durability_is_remembered_as_it_was_asked_for(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        for name, asked, said in (
            ("a", None, "default"),
            ("b", "default", "default"),
            ("c", "disabled", "disabled"),
        ):
            view = await world.create(replication_group_id=name, durability=asked)
            output = render.replication_group(world.service.arns, view)
            assert (output["Durability"], output["EffectiveDurability"]) == (said, "disabled")

    run(tmp_path, scenario)


@pytest.mark.parametrize("asked", ["sync", "async"])
def test_more_durability_is_refused_with_what_is_offered(tmp_path: Path, asked: str) -> None:
    async def scenario(world: World) -> None:
        with pytest.raises(ClientFault) as caught:
            await world.create(durability=asked)
        assert caught.value.code == IPC
        await world.create_available()
        code, text = await refusal(world, durability=asked, replication_group_description="new")
        assert code == IPC
        for word in (asked, "appendonly", "appendfsync", "min-replicas-to-write"):
            assert word in text
        assert (await refusal(world, durability="always" * 1_000))[0] == IPV
        for harmless in ("default", "disabled", ""):
            assert await refusal(world, durability=harmless) == NOTHING

    run(tmp_path, scenario)
