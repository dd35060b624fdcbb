"""What do create, modify and delete write down, and when do they refuse?"""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from cachewright.kit import failpoints
from cachewright.model.errors import ClientFault
from cachewright.model.groups import GroupSpec
from cachewright.model.settings import Limits
from cachewright.model.status import GroupState
from cachewright.service import inputs, replication_groups, views
from cachewright.store import records
from tests.unit.service.service_world import World, run, wanted


async def refusal(awaitable: object) -> tuple[str, str]:
    """Return code and message of the fault that `awaitable` raises."""
    try:
        await awaitable  # type: ignore[misc] # a coroutine of the service
    except ClientFault as fault:
        return fault.code, fault.message
    raise AssertionError("it was not refused")


async def modify(world: World, **changes: object) -> views.GroupView:
    request = inputs.ModifyReplicationGroup(replication_group_id="demo", **changes)  # type: ignore[arg-type] # typed by msgspec at run time
    return await replication_groups.modify(world.service, request)


async def delete(world: World, *, retain: bool | None = None) -> views.GroupView:
    request = inputs.DeleteReplicationGroup(
        replication_group_id="DEMO", retain_primary_cluster=retain
    )
    return await replication_groups.delete(world.service, request)


# Create


def test_a_create_writes_spec_secret_names_tags_and_event_and_wakes_the_loop(
    tmp_path: Path,
) -> None:
    async def scenario(world: World) -> None:
        tags = (inputs.Tag(key="team", value="red"),)
        view = await world.create(num_cache_clusters=2, tags=tags)
        uid = view.spec.uid
        group = world.records.group(uid)
        assert group is not None
        assert group.spec == view.spec
        assert len(group.secret.admin_password) == 64
        assert group.secret.admin_password != group.secret.replication_password
        assert world.records.uid_of_group("demo") == uid
        assert world.records.node_names() == (("demo-001", uid), ("demo-002", uid))
        assert world.records.tags(world.service.arns.of_group("demo")).value == {"team": "red"}
        assert [(event.source_id, event.message) for event in world.events()] == [
            ("demo", "Create of replication group demo accepted")
        ]
        assert world.woken == [uid]
        assert view.state is GroupState.CREATING

    run(tmp_path, scenario)


def test_a_refused_create_writes_nothing(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        before = world.records.revision
        tags = (inputs.Tag(key="aws:mine", value=""),)
        code, _ = await refusal(world.create(tags=tags))
        assert code == "InvalidParameterValue"
        assert world.records.revision == before
        assert world.woken == []

    run(tmp_path, scenario)


@pytest.mark.parametrize("state", [GroupState.CREATING, GroupState.AVAILABLE])
def test_an_id_in_use_is_refused_in_any_case_of_letters(tmp_path: Path, state: GroupState) -> None:
    async def scenario(world: World) -> None:
        spec = (await world.create()).spec
        await world.settle(spec, state)
        code, text = await refusal(world.create(replication_group_id="DEMO"))
        assert (code, text) == (
            "ReplicationGroupAlreadyExists",
            "Replication group demo already exists.",
        )

    run(tmp_path, scenario)


def test_an_id_that_is_being_deleted_is_refused_and_free_afterwards(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        spec = await world.create_available()
        deleted = await delete(world)
        code, _ = await refusal(world.create())
        assert code == "ReplicationGroupAlreadyExists"
        await world.forget(deleted.spec)
        again = await world.create()
        assert again.spec.uid != spec.uid

    run(tmp_path, scenario)


def test_of_twenty_creates_at_once_exactly_one_wins(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        outcomes = await asyncio.gather(
            *(world.create() for _ in range(20)), return_exceptions=True
        )
        faults = [outcome for outcome in outcomes if isinstance(outcome, ClientFault)]
        assert [fault.code for fault in faults] == ["ReplicationGroupAlreadyExists"] * 19
        assert len(world.records.uids()) == 1
        assert len(world.records.node_names()) == 1

    run(tmp_path, scenario)


def test_creates_of_different_groups_at_once_all_win(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        await asyncio.gather(
            *(world.create(replication_group_id=f"demo{number}") for number in range(20))
        )
        assert len(world.records.group_names()) == 20

    run(tmp_path, scenario)


def test_a_member_cannot_have_the_id_of_a_cluster_that_stayed_behind(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        await world.create_available(num_cache_clusters=2, automatic_failover_enabled=True)
        deleted = await delete(world, retain=True)
        await world.release(deleted.spec, "demo-001")
        code, text = await refusal(world.create())
        assert (code, text) == (
            "CacheClusterAlreadyExists",
            "Cache cluster demo-001 already exists.",
        )

    run(tmp_path, scenario)


def test_the_region_has_a_quota_of_nodes(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        await world.create(num_cache_clusters=3)
        code, text = await refusal(world.create(replication_group_id="more", num_cache_clusters=3))
        assert (code, text) == (
            "NodeQuotaForCustomerExceeded",
            "Customer node quota exceeded. You can have at most 5 nodes in this region",
        )
        await world.create(replication_group_id="more", num_cache_clusters=2)

    run(tmp_path, scenario, limits=Limits(nodes_per_region=5))


def test_the_address_pool_has_room_for_placed_and_for_promised_groups_only(
    tmp_path: Path,
) -> None:
    async def scenario(world: World) -> None:
        first = await world.create(replication_group_id="one")  # a node and two endpoints
        code, text = await refusal(
            world.create(num_node_groups=2)  # two nodes and an endpoint
        )
        assert code == "InsufficientCacheClusterCapacity"
        assert "needs 3 addresses and 2 are free" in text
        await world.forget(first.spec)
        await world.create(num_node_groups=2)

    run(tmp_path, scenario, capacity=5)


def test_a_create_is_durable_when_the_process_dies_before_it_answers(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        failpoints.arm("service.after_commit")
        try:
            with pytest.raises(failpoints.Injected):
                await world.create()
        finally:
            failpoints.disarm_all()
        assert world.records.uid_of_group("demo") is not None
        assert world.woken == [world.records.uid_of_group("demo")]

    run(tmp_path, scenario)


# Modify


def test_metadata_can_be_modified_at_once(tmp_path: Path) -> None:
    async def scenario(world: World) -> GroupSpec:
        await world.create_available(num_cache_clusters=2)
        view = await modify(
            world,
            replication_group_description="new",
            preferred_maintenance_window="sun:05:00-sun:06:00",
            snapshot_window="10:00-11:00",
            notification_topic_arn="arn:aws:sns:us-east-1:000000000000:topic",
            notification_topic_status="inactive",
            auto_minor_version_upgrade=False,
            security_group_ids=("sg-12345678",),
            snapshotting_cluster_id="DEMO-001",
        )
        written = world.records.spec(view.spec.uid)
        assert written is not None
        assert view.state is GroupState.AVAILABLE
        assert written.value == view.spec
        assert world.events()[-1].message == "Modification of replication group demo accepted"
        return written.value

    spec = run(tmp_path, scenario)
    assert spec.generation == 2
    assert spec.description == "new"
    assert (spec.maintenance_window, spec.snapshot_window) == ("sun:05:00-sun:06:00", "10:00-11:00")
    assert spec.notification is not None
    assert spec.notification.topic_status == "inactive"
    assert spec.auto_minor_version_upgrade is False
    assert spec.security_group_ids == ("sg-12345678",)
    assert spec.snapshotting_node_id == "demo-001"


def test_an_empty_topic_takes_the_notification_away(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        topic = "arn:aws:sns:us-east-1:000000000000:topic"
        await world.create_available(notification_topic_arn=topic)
        view = await modify(world, notification_topic_arn="", notification_topic_status="inactive")
        assert view.spec.notification is None

    run(tmp_path, scenario)


IPC = "InvalidParameterCombination"
NOT_OFFERED = "changing it is not offered yet"


@pytest.mark.parametrize(
    ("changes", "code", "text"),
    [
        pytest.param({}, IPC, "No modifications were requested", id="nothing"),
        pytest.param(
            {"apply_immediately": True}, IPC, "No modifications were requested", id="only at once"
        ),
        pytest.param(
            {"replication_group_description": "a demo", "cache_node_type": "cache.t4g.micro"},
            IPC,
            "No modifications were requested",
            id="what is there already",
        ),
        pytest.param(
            {"cache_node_type": "cache.r9g.large"},
            "InvalidParameterValue",
            "Invalid value 'cache.r9g.large' for CacheNodeType",
            id="node type",
        ),
        pytest.param(
            {"engine_version": "9.2"}, IPC, "Cannot find version 9.2 for valkey", id="version"
        ),
        pytest.param(
            {"engine_version": "8.1"}, IPC, "Cannot modify valkey from 9.1 to 8.1", id="downgrade"
        ),
        pytest.param({"engine": "redis"}, IPC, "Cannot modify valkey to redis", id="engine"),
        pytest.param(
            {"multi_az_enabled": True}, IPC, "requires AutomaticFailoverEnabled", id="zones"
        ),
        pytest.param({"cluster_mode": "compatible"}, IPC, NOT_OFFERED, id="mode"),
        pytest.param(
            {"cache_parameter_group_name": "default.redis7"},
            IPC,
            "family valkey9 but found one of family redis7",
            id="parameter group of another engine",
        ),
        pytest.param(
            {"cache_parameter_group_name": "default.valkey9.cluster.on"},
            IPC,
            "has cluster mode enabled",
            id="parameter group of the other mode",
        ),
        pytest.param(
            {"automatic_failover_enabled": True},
            IPC,
            "at least one read replica",
            id="failover without a replica",
        ),
        pytest.param(
            {"replication_group_description": "x" * 256},
            "InvalidParameterValue",
            "at most 255",
            id="long description",
        ),
        pytest.param(
            {"snapshotting_cluster_id": "other-001"},
            "CacheClusterNotFound",
            "Specified snapshotting cluster does not exist",
            id="snapshotting cluster of another group",
        ),
        pytest.param(
            {"notification_topic_status": "inactive"},
            IPC,
            "needs a NotificationTopicArn",
            id="status without topic",
        ),
        pytest.param(
            {"notification_topic_status": "loud"},
            "InvalidParameterValue",
            "active and inactive",
            id="status nobody knows",
        ),
        pytest.param(
            {"preferred_maintenance_window": "now"},
            "InvalidParameterValue",
            "ddd:hh24:mi",
            id="window",
        ),
    ],
)
def test_a_modification_is_refused_with_its_reason(
    tmp_path: Path, changes: dict[str, object], code: str, text: str
) -> None:
    async def scenario(world: World) -> None:
        spec = await world.create_available()
        found_code, found_text = await refusal(modify(world, **changes))
        assert (found_code, text in found_text) == (code, True), found_text
        written = world.records.spec(spec.uid)
        assert written is not None
        assert written.value == spec

    run(tmp_path, scenario)


def test_rotating_the_token_of_a_group_without_one_changes_nothing(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        spec = await world.create_available()
        events = world.events()
        view = await modify(world, auth_token_update_strategy="ROTATE", apply_immediately=True)
        assert view.spec == spec
        assert world.events() == events
        with_more = await modify(
            world, auth_token_update_strategy="ROTATE", replication_group_description="new"
        )
        assert with_more.spec.description == "new"

    run(tmp_path, scenario)


def test_cluster_mode_keeps_failover_and_has_no_snapshotting_cluster(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        await world.create_available(num_node_groups=2)
        assert await refusal(modify(world, automatic_failover_enabled=False)) == (
            IPC,
            "Turning off automatic failover for replication group with cluster mode enabled is "
            "not supported.",
        )
        assert await refusal(modify(world, snapshotting_cluster_id="demo-0001-001")) == (
            IPC,
            "Cannot set snapshotting cluster for cluster mode enabled replication group",
        )

    run(tmp_path, scenario)


@pytest.mark.parametrize(
    "state", [GroupState.CREATING, GroupState.MODIFYING, GroupState.CREATE_FAILED]
)
def test_only_an_available_group_can_be_modified(tmp_path: Path, state: GroupState) -> None:
    async def scenario(world: World) -> None:
        spec = (await world.create()).spec
        await world.settle(spec, state)
        code, text = await refusal(modify(world, replication_group_description="new"))
        assert (code, text) == (
            "InvalidReplicationGroupState",
            "Replication group must be in available state to modify.",
        )

    run(tmp_path, scenario)


def test_modifications_at_once_are_all_kept(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        spec = await world.create_available()
        await asyncio.gather(
            *(modify(world, replication_group_description=f"d{number}") for number in range(20))
        )
        written = world.records.spec(spec.uid)
        assert written is not None
        assert written.value.generation == 21

    run(tmp_path, scenario)


@pytest.mark.parametrize("name", ["nobody", "../x", "a" * 5000, "", "\N{KELVIN SIGN}"])
def test_a_group_that_is_not_there_is_not_found(tmp_path: Path, name: str) -> None:
    async def scenario(world: World) -> None:
        request = inputs.ModifyReplicationGroup(replication_group_id=name)
        code, text = await refusal(replication_groups.modify(world.service, request))
        assert code == "ReplicationGroupNotFoundFault"
        assert len(text) < 200

    run(tmp_path, scenario)


# Delete


@pytest.mark.parametrize(
    "state",
    [None, GroupState.CREATING, GroupState.AVAILABLE, GroupState.MODIFYING,
     GroupState.CREATE_FAILED],
)  # fmt: skip
def test_a_group_can_be_deleted_once_in_any_state(tmp_path: Path, state: GroupState | None) -> None:
    async def scenario(world: World) -> None:
        spec = (await world.create()).spec
        if state is not None:
            await world.settle(spec, state)
        view = await delete(world)
        assert view.state is GroupState.DELETING
        assert (view.spec.generation, view.spec.deletion is not None) == (2, True)
        assert views.find_group(world.records, "demo").state is GroupState.DELETING
        code, text = await refusal(delete(world))
        assert (code, "has status deleting" in text) == ("InvalidReplicationGroupState", True)

    run(tmp_path, scenario)


def test_a_group_that_is_being_deleted_is_never_available_again(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        spec = await world.create_available()
        await delete(world)
        await world.settle(spec, GroupState.AVAILABLE)
        assert views.find_group(world.records, "demo").state is GroupState.DELETING

    run(tmp_path, scenario)


def test_the_primary_of_now_is_retained_and_inherits_the_groups_tags(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        tags = (inputs.Tag(key="team", value="red"),)
        spec = (await world.create(num_cache_clusters=2, tags=tags)).spec
        await world.settle(spec, primary="demo-002")
        view = await delete(world, retain=True)
        assert view.spec.deletion is not None
        assert view.spec.deletion.retained_node_id == "demo-002"
        assert world.records.tags(world.service.arns.of_node("demo-002")).value == {"team": "red"}
        assert world.records.tags(world.service.arns.of_node("demo-001")).mod_revision == 0

    run(tmp_path, scenario)


def test_no_primary_is_retained_where_there_is_none_or_are_several(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        await world.create()
        assert (await refusal(delete(world, retain=True)))[0] == "InvalidReplicationGroupState"
        spec = (await world.create(replication_group_id="many", num_node_groups=2)).spec
        await world.settle(spec)
        request = inputs.DeleteReplicationGroup(
            replication_group_id="many", retain_primary_cluster=True
        )
        code, _ = await refusal(replication_groups.delete(world.service, request))
        assert code == IPC
        assert all(
            written.value.deletion is None
            for uid in world.records.uids()
            if (written := world.records.spec(uid))
        )

    run(tmp_path, scenario)


def test_a_request_with_a_thousand_million_shards_costs_nothing(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        code, _ = await refusal(
            replication_groups.create(world.service, wanted(num_node_groups=2**31 - 1))
        )
        assert code == "NodeGroupsPerReplicationGroupQuotaExceeded"
        assert world.records.store.list(records.SPEC) == ()

    run(tmp_path, scenario)
