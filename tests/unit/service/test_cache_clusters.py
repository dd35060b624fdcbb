"""What do calls on cache clusters write down, what is shown then, and when are they refused?"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

import pytest

from cachewright.api import render_caches
from cachewright.model.errors import ClientFault
from cachewright.model.groups import DISCOVERY_ID, GroupKind, GroupSpec
from cachewright.model.settings import Limits
from cachewright.model.status import GroupState, NodeState, Role
from cachewright.service import (
    cache_clusters,
    cluster_changes,
    inputs,
    inputs_cache_clusters,
    replicas,
    replication_groups,
    views,
)
from cachewright.store import records
from tests.unit.service.service_world import (
    CLUSTER_OFFERS,
    World,
    placement_of,
    run,
    status_of,
)

IPC, IPV = "InvalidParameterCombination", "InvalidParameterValue"
BAD_STATE = "InvalidCacheClusterState"


async def refusal(awaitable: Awaitable[object]) -> tuple[str, str]:
    """Return code and message of the fault that `awaitable` raises."""
    try:
        await awaitable
    except ClientFault as fault:
        return fault.code, fault.message
    raise AssertionError("it was not refused")


async def delete(world: World, cluster_id: str = "cache") -> views.ClusterView:
    request = inputs_cache_clusters.DeleteCacheCluster(cache_cluster_id=cluster_id)
    return await cache_clusters.delete(world.service, request)


async def reboot(world: World, *node_ids: str, of: str = "cache") -> views.ClusterView:
    return await cluster_changes.reboot(world.service, of, node_ids)


async def add_replica(world: World, cluster_id: str, **more: object) -> views.ClusterView:
    request = inputs_cache_clusters.CreateCacheCluster(
        cache_cluster_id=cluster_id,
        replication_group_id="demo",
        **more,  # type: ignore[arg-type] # typed by msgspec at run time
    )
    return await cache_clusters.create(world.service, request)


def shown(world: World, cluster_id: str = "cache") -> dict[str, Any]:
    """Return a cluster as `DescribeCacheClusters` shows it."""
    found = views.find_cluster(world.records, cluster_id)
    return render_caches.cache_cluster(world.service.arns, found, shows_nodes=True)


def spec_of(world: World, cluster_id: str) -> GroupSpec:
    return views.find_cluster(world.records, cluster_id).group.spec


async def see(world: World, spec: GroupSpec, **states: NodeState) -> None:
    """Write down that the loop saw these nodes (n0001=...) in other states than available."""
    status = status_of(spec, GroupState.AVAILABLE)
    nodes = tuple(
        dataclasses.replace(node, state=states.get(f"n{node.node_id}", node.state))
        for node in status.nodes
    )
    changes = records.ChangeSet()
    changes.put(records.STATUS + spec.uid, dataclasses.replace(status, nodes=nodes))
    await world.records.commit(changes)


# Create


def test_a_memcached_cluster_is_one_group_of_numbered_nodes(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        tags = (inputs.Tag(key="team", value="red"),)
        view = await world.create_cluster(tags=tags, cache_cluster_id="CACHE")
        spec = view.group.spec
        assert (spec.kind, spec.name, spec.port) == (GroupKind.MEMCACHED, "cache", 11211)
        assert [node.node_id for node in spec.nodes()] == ["0001", "0002", "0003"]
        assert (spec.engine_version, spec.parameter_group) == ("1.6.38", "default.memcached1.6")
        assert spec.snapshot_window == ""
        assert world.records.node_names() == (("cache", spec.uid),)
        assert world.records.group_names() == ()
        assert world.records.group(spec.uid) is not None
        assert world.records.tags(world.service.arns.of_node("cache")).value == {"team": "red"}
        assert world.woken == [spec.uid]
        assert [(e.source_id, e.message) for e in world.events()] == [
            ("cache", "Create of cache cluster cache accepted")
        ]

    run(tmp_path, scenario, offers=CLUSTER_OFFERS)


@pytest.mark.parametrize(("engine", "version"), [("valkey", "9.1"), ("redis", "7.0")])
def test_a_single_node_is_its_own_group(tmp_path: Path, engine: str, version: str) -> None:
    async def scenario(world: World) -> None:
        spec = await world.create_available_cluster(
            engine=engine,
            engine_version=version,
            num_cache_nodes=None,
            preferred_availability_zone="us-east-1c",
        )
        assert (spec.kind, spec.port) == (GroupKind.SINGLE_NODE, 6379)
        (node,) = spec.nodes()
        assert (node.node_id, node.zone) == ("cache", "us-east-1c")
        seen = shown(world)
        assert seen["ReplicationGroupId"] is None
        assert "ConfigurationEndpoint" not in seen
        assert (seen["NumCacheNodes"], seen["PreferredAvailabilityZone"]) == (1, "us-east-1c")
        assert [n["CacheNodeId"] for n in seen["CacheNodes"]] == ["0001"]
        assert seen["CacheNodes"][0]["Endpoint"] == {"Address": "127.64.0.1", "Port": 6379}
        assert seen["SnapshotWindow"] == spec.snapshot_window != ""

    run(tmp_path, scenario, offers=CLUSTER_OFFERS)


SINGLE: dict[str, object] = {"engine": "redis", "engine_version": None, "num_cache_nodes": None}


@pytest.mark.parametrize(
    ("changes", "code", "text"),
    [
        pytest.param({"engine": None}, IPV, "The parameter Engine must", id="no engine"),
        pytest.param({"engine": "dragon"}, IPV, "'dragon' for Engine", id="unknown engine"),
        pytest.param(
            {"engine_version": "9.1"}, IPC, "Cannot find version 9.1 for memcached", id="version"
        ),
        pytest.param(
            {"engine": "valkey"}, IPC, "Cannot find version 1.6.38 for valkey", id="of another"
        ),
        pytest.param(
            {"cache_parameter_group_name": "default.valkey9"},
            IPC,
            "family memcached1.6 but found one of family valkey9",
            id="parameter group of another engine",
        ),
        pytest.param({"cache_node_type": None}, IPV, "CacheNodeType must", id="no node type"),
        pytest.param({"cache_cluster_id": "a--b"}, IPV, "valid identifier", id="id"),
        pytest.param({"cache_cluster_id": "a" * 51}, IPV, "1 to 50 characters", id="long id"),
        pytest.param({"num_cache_nodes": 61}, "NodeQuotaForClusterExceeded", "60", id="61 nodes"),
        pytest.param({"snapshot_window": "05:00-06:00"}, IPC, "no snapshots", id="snapshots"),
        pytest.param(
            {**SINGLE, "num_cache_nodes": 2},
            IPV,
            "Cannot create a Redis cluster with a NumCacheNodes parameter greater than 1.",
            id="two nodes of redis",
        ),
        pytest.param({**SINGLE, "num_cache_nodes": 0}, IPV, "at least 1", id="no node of redis"),
        pytest.param({**SINGLE, "az_mode": "cross-az"}, IPC, "AZMode", id="redis across zones"),
        pytest.param(
            {**SINGLE, "preferred_availability_zones": ("us-east-1a",)},
            IPC,
            "PreferredAvailabilityZones",
            id="zones of redis",
        ),
        pytest.param(
            {**SINGLE, "cache_parameter_group_name": "default.redis7.cluster.on"},
            IPC,
            "has cluster mode enabled",
            id="a single node in cluster mode",
        ),
        pytest.param(
            {**SINGLE, "transit_encryption_enabled": True},
            IPC,
            "TransitEncryptionEnabled",
            id="redis with TLS",
        ),
        pytest.param(
            {
                **SINGLE,
                "preferred_maintenance_window": "sun:05:00-sun:07:00",
                "snapshot_window": "06:00-07:00",
            },
            IPV,
            "must not overlap",
            id="overlapping windows",
        ),
        pytest.param(
            {"tags": tuple(inputs.Tag(key=f"k{n}") for n in range(51))},
            "TagQuotaPerResourceExceeded",
            "51 tags",
            id="51 tags",
        ),
    ],
)
def test_a_create_is_refused_with_its_reason_and_writes_nothing(
    tmp_path: Path, changes: dict[str, object], code: str, text: str
) -> None:
    async def scenario(world: World) -> None:
        before = world.records.revision
        found_code, found_text = await refusal(world.create_cluster(**changes))
        assert (found_code, text in found_text) == (code, True), found_text
        assert world.records.revision == before

    run(tmp_path, scenario, offers=CLUSTER_OFFERS)


def test_names_of_clusters_and_members_are_one_space(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        await world.create_available(num_cache_clusters=2)
        taken = ("CacheClusterAlreadyExists", "Cache cluster demo-002 already exists.")
        assert await refusal(world.create_cluster(cache_cluster_id="DEMO-002")) == taken
        await world.create_cluster(cache_cluster_id="many-002")
        code, _ = await refusal(world.create(replication_group_id="many", num_cache_clusters=2))
        assert code == "CacheClusterAlreadyExists"
        # A group and a cache cluster may have the same name: their names are different things.
        await world.create_cluster(cache_cluster_id="demo")
        assert views.find_group(world.records, "demo").spec.kind is GroupKind.REPLICATION_GROUP
        assert views.find_cluster(world.records, "demo").group.spec.kind is GroupKind.MEMCACHED

    run(tmp_path, scenario, offers=CLUSTER_OFFERS)


def test_of_ten_creates_at_once_exactly_one_wins(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        outcomes = await asyncio.gather(
            *(world.create_cluster() for _ in range(10)), return_exceptions=True
        )
        faults = [outcome for outcome in outcomes if isinstance(outcome, ClientFault)]
        assert [fault.code for fault in faults] == ["CacheClusterAlreadyExists"] * 9
        assert len(world.records.uids()) == 1

    run(tmp_path, scenario, offers=CLUSTER_OFFERS)


def test_nodes_of_a_region_are_counted_one_by_one(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        spec = await world.create_available_cluster()  # 3
        await world.create_available(num_cache_clusters=2)  # 5
        code, text = await refusal(world.create_cluster(cache_cluster_id="more"))
        assert code == "NodeQuotaForCustomerExceeded"
        assert "at most 7 nodes in this region" in text
        grow = inputs_cache_clusters.ModifyCacheCluster(cache_cluster_id="cache", num_cache_nodes=5)
        await cluster_changes.modify(world.service, grow)  # 7 are promised
        code, _ = await refusal(add_replica(world, "demo-003"))
        assert code == "NodeQuotaForCustomerExceeded"
        assert len(tuple(spec_of(world, "cache").nodes())) == 3
        assert spec.uid in world.woken

    run(tmp_path, scenario, offers=CLUSTER_OFFERS, limits=Limits(nodes_per_region=7))


def test_nodes_that_are_not_gone_yet_count(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        await world.create_available_cluster()
        shrink = inputs_cache_clusters.ModifyCacheCluster(
            cache_cluster_id="cache",
            num_cache_nodes=2,
            cache_node_ids_to_remove=("0001",),
            apply_immediately=True,
        )
        spec = (await cluster_changes.modify(world.service, shrink)).group.spec
        one = {**SINGLE, "cache_cluster_id": "one"}
        assert (await refusal(world.create_cluster(**one)))[0] == "NodeQuotaForCustomerExceeded"
        await world.settle(spec)
        await world.create_cluster(**one)
        grow = inputs_cache_clusters.ModifyCacheCluster(cache_cluster_id="cache", num_cache_nodes=3)
        code, _ = await refusal(cluster_changes.modify(world.service, grow))
        assert code == "NodeQuotaForCustomerExceeded"

    run(tmp_path, scenario, offers=CLUSTER_OFFERS, limits=Limits(nodes_per_region=3))


def test_addresses_are_counted_with_the_configuration_endpoint(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        code, text = await refusal(world.create_cluster(num_cache_nodes=4))
        assert code == "InsufficientCacheClusterCapacity"
        assert "needs 5 addresses and 4 are free" in text
        await world.create_cluster(num_cache_nodes=3)
        code, _ = await refusal(world.create_cluster(**{**SINGLE, "cache_cluster_id": "one"}))
        assert code == "InsufficientCacheClusterCapacity"

    run(tmp_path, scenario, offers=CLUSTER_OFFERS, capacity=4)


# What is shown, state by state


def test_while_creating_only_what_is_the_clusters_own_is_shown(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        await world.create_cluster(num_cache_nodes=2, az_mode="cross-az")
        seen = shown(world)
        assert seen["CacheClusterStatus"] == "creating"
        assert not {"CacheNodes", "ConfigurationEndpoint"} & set(seen)
        assert seen["NumCacheNodes"] == 2
        assert seen["PreferredAvailabilityZone"] == "Multiple"
        assert seen["CacheParameterGroup"] == {
            "CacheParameterGroupName": "default.memcached1.6",
            "ParameterApplyStatus": "in-sync",
            "CacheNodeIdsToReboot": [],
        }
        assert seen["SnapshotWindow"] is None
        assert seen["PendingModifiedValues"] == {}

    run(tmp_path, scenario, offers=CLUSTER_OFFERS)


def test_an_available_cluster_shows_every_node_and_its_configuration_endpoint(
    tmp_path: Path,
) -> None:
    async def scenario(world: World) -> None:
        await world.create_available_cluster(num_cache_nodes=2)
        seen = shown(world)
        assert seen["CacheClusterStatus"] == "available"
        assert seen["ConfigurationEndpoint"] == {"Address": "127.64.0.3", "Port": 11211}
        nodes = seen["CacheNodes"]
        assert [(n["CacheNodeId"], n["CacheNodeStatus"]) for n in nodes] == [
            ("0001", "available"), ("0002", "available"),
        ]  # fmt: skip
        assert [n["Endpoint"]["Address"] for n in nodes] == ["127.64.0.1", "127.64.0.2"]
        assert {n["ParameterGroupStatus"] for n in nodes} == {"in-sync"}

    run(tmp_path, scenario, offers=CLUSTER_OFFERS)


def test_nodes_that_come_and_go_have_no_endpoint(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        spec = await world.create_available_cluster(num_cache_nodes=2)
        request = inputs_cache_clusters.ModifyCacheCluster(
            cache_cluster_id="cache", num_cache_nodes=3, apply_immediately=True
        )
        view = await cluster_changes.modify(world.service, request)
        assert view.state is NodeState.MODIFYING
        seen = shown(world)
        assert (seen["CacheClusterStatus"], seen["NumCacheNodes"]) == ("modifying", 3)
        new = seen["CacheNodes"][2]
        assert (new["CacheNodeId"], new["CacheNodeStatus"]) == ("0003", "creating")
        assert not {"Endpoint", "CacheNodeCreateTime"} & set(new)
        code, text = await refusal(reboot(world, "0001"))
        assert (code, "must be in available state" in text) == (BAD_STATE, True)

        await world.settle(view.group.spec)
        request = inputs_cache_clusters.ModifyCacheCluster(
            cache_cluster_id="cache",
            num_cache_nodes=2,
            cache_node_ids_to_remove=("0001",),
            apply_immediately=True,
        )
        await cluster_changes.modify(world.service, request)
        seen = shown(world)
        assert (seen["CacheClusterStatus"], seen["NumCacheNodes"]) == ("modifying", 2)
        first = seen["CacheNodes"][0]
        assert (first["CacheNodeId"], first["CacheNodeStatus"]) == ("0001", "deleting")
        assert "Endpoint" not in first
        assert first["CustomerAvailabilityZone"] == next(spec.nodes()).zone
        assert seen["CacheNodes"][2]["CacheNodeCreateTime"] == world.clock.now()

    run(tmp_path, scenario, offers=CLUSTER_OFFERS)


def test_parameters_say_the_worst_and_which_nodes_wait_for_a_reboot(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        spec = await world.create_available_cluster(num_cache_nodes=3)
        status = status_of(spec, GroupState.AVAILABLE)
        waits = dataclasses.replace(status.nodes[1], awaiting_reboot=("max_item_size",))
        applies = dataclasses.replace(status.nodes[2], applying=(("a", "b"),))

        async def write(*nodes: Any) -> dict[str, Any]:
            changes = records.ChangeSet()
            changes.put(records.STATUS + spec.uid, dataclasses.replace(status, nodes=nodes))
            await world.records.commit(changes)
            group: dict[str, Any] = shown(world)["CacheParameterGroup"]
            return group

        seen = await write(status.nodes[0], waits, status.nodes[2])
        assert seen["ParameterApplyStatus"] == "pending-reboot"
        assert seen["CacheNodeIdsToReboot"] == ["0002"]
        assert [n["ParameterGroupStatus"] for n in shown(world)["CacheNodes"]] == [
            "in-sync", "pending-reboot", "in-sync",
        ]  # fmt: skip
        seen = await write(status.nodes[0], waits, applies)
        assert seen["ParameterApplyStatus"] == "applying"

    run(tmp_path, scenario, offers=CLUSTER_OFFERS)


def test_listing_can_leave_members_of_groups_out(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        await world.create_cluster()
        await world.create_cluster(**{**SINGLE, "cache_cluster_id": "one"})
        await world.create(num_cache_clusters=2)
        everything = inputs_cache_clusters.DescribeCacheClusters()
        alone = inputs_cache_clusters.DescribeCacheClusters(
            show_cache_clusters_not_in_replication_groups=True
        )
        names = [name for name, _ in cache_clusters.names(world.service, everything)]
        assert names == ["cache", "demo-001", "demo-002", "one"]
        assert [n for n, _ in cache_clusters.names(world.service, alone)] == ["cache", "one"]

    run(tmp_path, scenario, offers=CLUSTER_OFFERS)


# Delete


@pytest.mark.parametrize("state", list(GroupState))
def test_a_cluster_is_deleted_once_and_never_available_again(
    tmp_path: Path, state: GroupState
) -> None:
    async def scenario(world: World) -> None:
        spec = (await world.create_cluster()).group.spec
        await world.settle(spec, state, was_available=False)
        if state is GroupState.DELETING:
            return
        view = await delete(world)
        assert view.state is NodeState.DELETING
        await world.settle(spec, GroupState.AVAILABLE)
        seen = shown(world)
        assert seen["CacheClusterStatus"] == "deleting"
        assert not {"CacheNodes", "ConfigurationEndpoint"} & set(seen)
        assert (await refusal(delete(world)))[0] == BAD_STATE
        assert (await refusal(reboot(world, "0001")))[0] == BAD_STATE
        await world.forget(spec_of(world, "cache"))
        assert (await refusal(delete(world)))[0] == "CacheClusterNotFound"
        await world.create_cluster()

    run(tmp_path, scenario, offers=CLUSTER_OFFERS)


# Reboot


def test_a_reboot_concerns_exactly_the_nodes_that_are_named(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        await world.create_available_cluster()
        view = await reboot(world, "0003", "0001", of="CACHE")
        assert view.state is NodeState.REBOOTING
        seen = shown(world)
        assert seen["CacheClusterStatus"] == "rebooting cluster nodes"
        statuses = {n["CacheNodeId"]: n["CacheNodeStatus"] for n in seen["CacheNodes"]}
        assert statuses == {"0001": "rebooting", "0002": "available", "0003": "rebooting"}
        before = view.group.spec
        assert [node.restarts > 0 for node in before.nodes()] == [True, False, True]
        # A second reboot is another restart, also of a node that was restarted before.
        await see(world, before)
        assert shown(world)["CacheClusterStatus"] == "available"
        after = (await reboot(world, "0001")).group.spec
        rose = [b.restarts < a.restarts for b, a in zip(before.nodes(), after.nodes(), strict=True)]
        assert rose == [True, False, False]
        assert [e.message for e in world.events()][1:] == [
            "Reboot of cache nodes 0001, 0003 of cache cluster cache accepted",
            "Reboot of cache nodes 0001 of cache cluster cache accepted",
        ]

    run(tmp_path, scenario, offers=CLUSTER_OFFERS)


@pytest.mark.parametrize(
    ("node_ids", "code", "text"),
    [
        ((), IPV, "CacheNodeIdsToReboot must be provided"),
        (("0004",), IPV, "no cache node with the id '0004'"),
        (("0001", "0001"), IPV, "0001 was given more than once"),
        (("1",), IPV, "no cache node with the id '1'"),
    ],
)
def test_a_reboot_of_other_nodes_is_refused(
    tmp_path: Path, node_ids: tuple[str, ...], code: str, text: str
) -> None:
    async def scenario(world: World) -> None:
        spec = await world.create_available_cluster()
        found_code, found_text = await refusal(reboot(world, *node_ids))
        assert (found_code, text in found_text) == (code, True), found_text
        assert spec_of(world, "cache") == spec

    run(tmp_path, scenario, offers=CLUSTER_OFFERS)


@pytest.mark.parametrize("state", [NodeState.CREATING, NodeState.MODIFYING, NodeState.REBOOTING])
def test_a_reboot_needs_an_available_cluster(tmp_path: Path, state: NodeState) -> None:
    async def scenario(world: World) -> None:
        spec = await world.create_available_cluster(**SINGLE)
        changes = records.ChangeSet()
        status = status_of(spec, GroupState.AVAILABLE)
        node = dataclasses.replace(status.nodes[0], state=state)
        changes.put(records.STATUS + spec.uid, dataclasses.replace(status, nodes=(node,)))
        await world.records.commit(changes)
        assert (await refusal(reboot(world, "0001")))[0] == BAD_STATE

    run(tmp_path, scenario, offers=CLUSTER_OFFERS)


def test_members_are_rebooted_by_their_own_ids_without_cluster_mode_only(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        await world.create_available(num_cache_clusters=2)
        await world.create_available(replication_group_id="many", num_node_groups=2)
        view = await reboot(world, "0001", of="demo-002")
        assert [node.restarts > 0 for node in view.group.spec.nodes()] == [False, True]
        assert views.find_cluster(world.records, "demo-001").state is NodeState.AVAILABLE
        assert views.find_group(world.records, "demo").state is GroupState.MODIFYING
        code, text = await refusal(reboot(world, "0001", of="many-0001-001"))
        assert (code, "cluster mode enabled" in text) == (IPC, True)
        assert (await refusal(reboot(world, "0001", of="nobody")))[0] == "CacheClusterNotFound"

    run(tmp_path, scenario, offers=CLUSTER_OFFERS)


def test_a_retained_primary_becomes_a_single_node_with_its_first_change(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        await world.create_available(num_cache_clusters=2)
        request = inputs.DeleteReplicationGroup(
            replication_group_id="demo", retain_primary_cluster=True
        )
        deleted = await replication_groups.delete(world.service, request)
        code, text = await refusal(reboot(world, "0001", of="demo-001"))
        assert (code, "must be in available state" in text) == (BAD_STATE, True)
        await world.release(deleted.spec, "demo-001")
        view = await reboot(world, "0001", of="demo-001")
        spec = view.group.spec
        assert (spec.kind, spec.name, spec.deletion) == (GroupKind.SINGLE_NODE, "demo-001", None)
        assert [node.node_id for node in spec.nodes()] == ["demo-001"]
        assert views.find_cluster(world.records, "demo-001").state is NodeState.REBOOTING
        await world.settle(spec)
        await delete(world, "demo-001")
        assert spec_of(world, "demo-001").deletion is not None

    run(tmp_path, scenario, offers=CLUSTER_OFFERS)


# Replicas


def test_a_replica_joins_the_one_shard_of_its_group(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        await world.create_available(
            num_cache_clusters=2, tags=(inputs.Tag(key="team", value="red"),)
        )
        view = await add_replica(
            world, "EXTRA", preferred_availability_zone="us-east-1c", num_cache_nodes=1
        )
        assert view.state is NodeState.CREATING
        spec = view.group.spec
        assert [node.node_id for node in spec.nodes()] == ["demo-001", "demo-002", "extra"]
        assert world.records.uid_of_node("extra") == spec.uid
        group = views.find_group(world.records, "demo")
        assert group.state is GroupState.MODIFYING
        seen = shown(world, "extra")
        assert seen["ReplicationGroupId"] == "demo"
        assert seen["PreferredAvailabilityZone"] == "us-east-1c"
        assert seen["CacheClusterCreateTime"] == world.clock.now()
        # Until it has a tag of its own it shows its group's.
        assert world.records.tags(world.service.arns.of_node("extra")).mod_revision == 0

        await world.settle(spec)
        await add_replica(world, "tagged", tags=(inputs.Tag(key="mine", value="yes"),))
        own = world.records.tags(world.service.arns.of_node("tagged")).value
        assert own == {"mine": "yes"}

    run(tmp_path, scenario)


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("engine", "valkey"),
        ("cache_node_type", "cache.t4g.micro"),
        ("num_cache_nodes", 2),
        ("cache_parameter_group_name", "default.valkey9"),
        ("port", 6379),
        ("snapshot_window", "05:00-06:00"),
        ("az_mode", "single-az"),
        ("auto_minor_version_upgrade", False),
        ("security_group_ids", ("sg-12345678",)),
    ],
)
def test_a_replica_is_settled_by_its_group(tmp_path: Path, member: str, value: object) -> None:
    async def scenario(world: World) -> None:
        await world.create_available(num_cache_clusters=2)
        code, text = await refusal(add_replica(world, "extra", **{member: value}))
        assert code == IPC
        assert text.startswith(
            "Cannot specify additional cache cluster parameters when creating a replica cluster"
        )
        assert world.records.uid_of_node("extra") is None

    run(tmp_path, scenario)


def test_a_replica_that_joins_keeps_its_group_modifying_and_cannot_go_before_it_has_a_place(
    tmp_path: Path,
) -> None:
    async def scenario(world: World) -> None:
        before = await world.create_available(num_cache_clusters=2)
        spec = (await add_replica(world, "extra")).group.spec
        assert (await refusal(delete(world, "extra")))[0] == BAD_STATE
        status = status_of(spec, GroupState.AVAILABLE)
        joining = dataclasses.replace(status.nodes[-1], state=NodeState.CREATING, role=None)
        changes = records.ChangeSet()
        changes.put(
            records.STATUS + spec.uid,
            dataclasses.replace(status, nodes=(*status.nodes[:-1], joining)),
        )
        await world.records.commit(changes)
        assert views.find_group(world.records, "demo").state is GroupState.MODIFYING
        # Still without a place: what the loop knows of it would have nothing to remove.
        assert (await refusal(delete(world, "extra")))[0] == BAD_STATE
        assert len(tuple(before.nodes())) == 2
        await world.settle(spec)
        await delete(world, "extra")

    run(tmp_path, scenario)


def test_a_replica_is_removed_once_however_many_ask_at_the_same_moment(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        await world.create_available(num_cache_clusters=3)
        outcomes = await asyncio.gather(
            *(replicas.remove(world.service, "demo-003") for _ in range(5)),
            return_exceptions=True,
        )
        faults = [outcome for outcome in outcomes if isinstance(outcome, ClientFault)]
        assert [fault.code for fault in faults] == [BAD_STATE] * 4
        accepted = [e for e in world.events() if "Delete" in e.message]
        assert len(accepted) == 1

    run(tmp_path, scenario)


def test_a_replica_is_refused_where_there_is_no_room_for_it(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        await world.create_available(num_cache_clusters=6)
        await world.create_cluster(**{**SINGLE, "cache_cluster_id": "taken"})
        code, text = await refusal(add_replica(world, "extra"))
        assert (code, "at most 6 nodes" in text) == ("NodeQuotaForClusterExceeded", True)
        await delete_available(world, "demo-006")
        assert (await refusal(add_replica(world, "taken")))[0] == "CacheClusterAlreadyExists"
        assert (await refusal(add_replica(world, "demo-001")))[0] == "CacheClusterAlreadyExists"
        await world.create(replication_group_id="many", num_node_groups=2)
        other = inputs_cache_clusters.CreateCacheCluster(
            cache_cluster_id="extra", replication_group_id="many"
        )
        code, text = await refusal(cache_clusters.create(world.service, other))
        assert (code, "cluster mode enabled" in text) == (IPC, True)
        nowhere = inputs_cache_clusters.CreateCacheCluster(
            cache_cluster_id="extra", replication_group_id="nowhere"
        )
        code, _ = await refusal(cache_clusters.create(world.service, nowhere))
        assert code == "ReplicationGroupNotFoundFault"

    run(tmp_path, scenario)


async def delete_available(world: World, cluster_id: str) -> None:
    """Delete a replica and let the loop be done with it."""
    view = await delete(world, cluster_id)
    spec = view.group.spec
    await world.settle(spec)
    changes = records.ChangeSet()
    changes.delete(records.NODE_NAME + cluster_id)
    await world.records.commit(changes)


@pytest.mark.parametrize("state", [GroupState.CREATING, GroupState.MODIFYING])
def test_a_replica_needs_an_available_group(tmp_path: Path, state: GroupState) -> None:
    async def scenario(world: World) -> None:
        spec = (await world.create(num_cache_clusters=2)).spec
        await world.settle(spec, state)
        assert (await refusal(add_replica(world, "extra")))[0] == "InvalidReplicationGroupState"

    run(tmp_path, scenario)


def test_a_replica_that_leaves_shows_until_it_is_gone(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        await world.create_available(num_cache_clusters=3)
        view = await delete(world, "DEMO-002")
        spec = view.group.spec
        assert [node.node_id for node in spec.nodes()] == ["demo-001", "demo-003"]
        assert spec.snapshotting_node_id == "demo-003"
        found = views.find_cluster(world.records, "demo-002")
        assert (found.state, found.node.zone) == (NodeState.DELETING, "us-east-1b")
        group = views.find_group(world.records, "demo")
        assert group.state is GroupState.MODIFYING
        assert (await refusal(delete(world, "demo-002")))[0] == BAD_STATE
        assert (await refusal(reboot(world, "0001", of="demo-002")))[0] == BAD_STATE
        assert (await refusal(add_replica(world, "demo-002")))[0] == "InvalidReplicationGroupState"

    run(tmp_path, scenario)


@pytest.mark.parametrize("failover", [True, False])
def test_the_last_replica_stays_where_failover_needs_it(tmp_path: Path, failover: bool) -> None:
    async def scenario(world: World) -> None:
        await world.create_available(num_cache_clusters=2, automatic_failover_enabled=failover)
        if failover:
            code, text = await refusal(delete(world, "demo-002"))
            assert (code, "last replica" in text) == (BAD_STATE, True)
        else:
            await delete(world, "demo-002")
        code, text = await refusal(delete(world, "demo-001"))
        assert (code, "serving as primary" in text) == (BAD_STATE, True)

    run(tmp_path, scenario)


def test_nobody_is_removed_while_nobody_knows_the_primary(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        spec = await world.create_available(num_cache_clusters=3)
        status = status_of(spec, GroupState.AVAILABLE)
        roles: dict[str, Role | None] = {"demo-001": None}
        nodes = tuple(
            dataclasses.replace(node, role=roles.get(node.node_id, node.role))
            for node in status.nodes
        )
        changes = records.ChangeSet()
        changes.put(records.STATUS + spec.uid, dataclasses.replace(status, nodes=nodes))
        await world.records.commit(changes)
        for node in spec.nodes():
            assert (await refusal(delete(world, node.node_id)))[0] == BAD_STATE

    run(tmp_path, scenario)


def test_a_placement_without_a_discovery_process_shows_no_configuration_endpoint(
    tmp_path: Path,
) -> None:
    async def scenario(world: World) -> None:
        spec = await world.create_available_cluster()
        placed = placement_of(spec)
        kept = tuple(node for node in placed.nodes if node.node_id != DISCOVERY_ID)
        changes = records.ChangeSet()
        changes.put(records.PLACEMENT + spec.uid, dataclasses.replace(placed, nodes=kept))
        await world.records.commit(changes)
        assert "ConfigurationEndpoint" not in shown(world)

    run(tmp_path, scenario, offers=CLUSTER_OFFERS)
