"""How many replicas may a group have, which ids and zones do new ones get, and who may go?"""

from __future__ import annotations

import asyncio
import dataclasses
from pathlib import Path
from typing import Any

import pytest

from cachewright.model.errors import ClientFault
from cachewright.model.facts import EngineFact, NodeFact, ProcessIdentity, Running
from cachewright.model.groups import GroupSpec
from cachewright.model.settings import Limits
from cachewright.model.status import GroupState, NodeState, Role
from cachewright.service import parameter_groups, replica_counts, views
from cachewright.service.inputs_parameters import (
    CreateCacheParameterGroup,
    ModifyCacheParameterGroup,
    ParameterNameValue,
)
from cachewright.service.inputs_scaling import (
    ConfigureShard,
    DecreaseReplicaCount,
    IncreaseReplicaCount,
)
from cachewright.store.records import STATUS, ChangeSet
from tests.unit.service.service_world import World, run, status_of

IPC, IPV = "InvalidParameterCombination", "InvalidParameterValue"
A, B, C = "us-east-1a", "us-east-1b", "us-east-1c"


def shard(shard_id: str, count: int, zones: tuple[str, ...] = ()) -> tuple[ConfigureShard, ...]:
    return (
        ConfigureShard(
            node_group_id=shard_id, new_replica_count=count, preferred_availability_zones=zones
        ),
    )


async def increase(world: World, count: int | None = None, **changes: Any) -> GroupSpec:
    request = IncreaseReplicaCount(
        **{"replication_group_id": "demo", "apply_immediately": True, **changes},
        new_replica_count=count,
    )
    return (await replica_counts.increase(world.service, request)).spec


async def decrease(world: World, count: int | None = None, **changes: Any) -> GroupSpec:
    request = DecreaseReplicaCount(
        **{"replication_group_id": "demo", "apply_immediately": True, **changes},
        new_replica_count=count,
    )
    return (await replica_counts.decrease(world.service, request)).spec


async def refusal(awaitable: Any) -> tuple[str, str]:
    with pytest.raises(ClientFault) as caught:
        await awaitable
    return caught.value.code, caught.value.message


def ids(spec: GroupSpec) -> list[str]:
    return [node.node_id for node in spec.nodes()]


def zones(spec: GroupSpec, shard_id: str = "0001") -> list[str]:
    found = next(one for one in spec.shards if one.shard_id == shard_id)
    return [node.zone for node in found.nodes]


async def cluster(world: World, replicas: int = 1, **changes: Any) -> GroupSpec:
    return await world.create_available(
        num_node_groups=2, replicas_per_node_group=replicas, **changes
    )


# More


def test_every_shard_grows_to_the_number_with_the_next_free_ids(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        before = await cluster(world)
        after = await increase(world, 2)
        new = ["demo-0001-003", "demo-0002-003"]
        assert sorted(set(ids(after)) - set(ids(before))) == new
        assert after.generation == before.generation + 1
        assert [world.records.uid_of_node(node_id) for node_id in new] == [before.uid] * 2
        assert len(set(zones(after))) == 3
        view = views.find_group(world.records, "demo")
        assert view.state is GroupState.MODIFYING
        assert view.node_state(new[0]) is NodeState.CREATING
        assert view.reason == f"adding {', '.join(new)}"
        assert world.woken[-1] == before.uid
        text = world.events()[-1].message
        assert text.endswith(f"accepted: adding {', '.join(new)}")

    run(tmp_path, scenario)


def test_without_cluster_mode_ids_have_no_shard_and_gaps_are_filled(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        await world.create_available(num_cache_clusters=3)
        spec = await decrease(world, replicas_to_remove=("demo-002",))
        # It is not gone yet: its name is taken, so nobody gets it.
        assert world.records.uid_of_node("demo-002") == spec.uid
        await world.settle(spec)
        assert ids(await increase(world, 2)) == ["demo-001", "demo-003", "demo-004"]

    run(tmp_path, scenario)


def test_an_id_that_a_cluster_of_its_own_has_is_passed_over(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        await world.create_available()
        single = {"engine": "valkey", "engine_version": None, "num_cache_nodes": None}
        await world.create_cluster(cache_cluster_id="demo-002", **single)
        assert ids(await increase(world, 2)) == ["demo-001", "demo-003", "demo-004"]

    run(tmp_path, scenario)


def test_one_shard_grows_alone_in_the_zones_that_are_named(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        before = await cluster(world)
        there = zones(before, "0002")
        wanted = (C, *there, C)
        after = await increase(world, replica_configuration=shard("2", 3, wanted))
        assert zones(after, "0002") == [*there, C, C]
        assert len(after.shards[0].nodes) == 2

    run(tmp_path, scenario)


def test_zones_that_do_not_match_are_refused(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        await world.create_available(preferred_cache_cluster_azs=(A, B), num_cache_clusters=2)

        async def of(count: int, *names: str) -> str:
            wanted = shard("0001", count, names)
            return (await refusal(increase(world, replica_configuration=wanted)))[0]

        assert await of(2, A, B) == IPC
        assert await of(2, A, A, C) == IPC
        assert await of(2, A, B, "us-east-1z") == IPV
        assert zones(await increase(world, replica_configuration=shard("0001", 2, (C, B, A)))) == [
            A, B, C,
        ]  # fmt: skip

    run(tmp_path, scenario)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"count": 1}, "NoOperationFault"),
        ({"count": 0}, IPV),
        ({"count": 6}, IPV),
        ({"count": -1}, IPV),
        ({}, IPC),
        ({"count": 2, "replica_configuration": shard("0001", 2)}, IPC),
        ({"replica_configuration": shard("0001", 1)}, "NoOperationFault"),
        ({"replica_configuration": shard("0001", 6)}, IPV),
        ({"replica_configuration": shard("0009", 2)}, IPV),
        ({"replica_configuration": shard("first", 2)}, IPV),
        ({"replica_configuration": shard("0001", 2) + shard("1", 3)}, IPV),
        ({"count": 2, "apply_immediately": False}, IPV),
        ({"count": 2, "replication_group_id": "nobody"}, "ReplicationGroupNotFoundFault"),
    ],
)
def test_an_increase_that_cannot_be_changes_nothing(
    tmp_path: Path, changes: dict[str, Any], code: str
) -> None:
    async def scenario(world: World) -> None:
        before = await cluster(world)
        assert (await refusal(increase(world, **changes)))[0] == code
        assert views.find_group(world.records, "demo").spec == before

    run(tmp_path, scenario)


def test_an_increase_needs_room_in_the_cluster_and_in_the_region(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        await cluster(world)
        assert (await refusal(increase(world, 2)))[0] == "NodeQuotaForClusterExceeded"

    run(tmp_path / "cluster", scenario, limits=Limits(nodes_per_cluster=5))

    async def region(world: World) -> None:
        await cluster(world)
        assert (await refusal(increase(world, 2)))[0] == "NodeQuotaForCustomerExceeded"

    run(tmp_path / "region", region, limits=Limits(nodes_per_region=5))


def test_a_second_change_waits_for_the_first_and_a_delete_does_not(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        await cluster(world)
        await increase(world, 2)
        state = "InvalidReplicationGroupState"
        assert (await refusal(increase(world, 3)))[0] == state
        assert (await refusal(decrease(world, 0)))[0] == state

    run(tmp_path, scenario)


# Fewer


def test_who_goes_leaves_the_zones_spread(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        await world.create_available(
            num_cache_clusters=5, preferred_cache_cluster_azs=(A, A, B, C, A)
        )
        assert zones(await decrease(world, 2)) == [A, B, C]

    run(tmp_path, scenario)


def test_who_does_not_serve_goes_first_among_equals(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        spec = await world.create_available(
            num_cache_clusters=4, preferred_cache_cluster_azs=(A, B, B, B)
        )
        status = status_of(spec, GroupState.AVAILABLE)
        nodes = tuple(
            dataclasses.replace(node, state=NodeState.MODIFYING)
            if node.node_id == "demo-003"
            else node
            for node in status.nodes
        )
        changes = ChangeSet()
        changes.put(STATUS + spec.uid, dataclasses.replace(status, nodes=nodes))
        await world.records.commit(changes)
        assert ids(await decrease(world, 2)) == ["demo-001", "demo-002", "demo-004"]

    run(tmp_path, scenario)


def test_who_is_not_in_sync_now_goes_first(tmp_path: Path) -> None:
    """By what engines say when it is asked for: the status is as old as the last round."""

    async def scenario(world: World) -> None:
        await world.create_available(num_cache_clusters=4, preferred_cache_cluster_azs=(A, B, C, A))
        for node_id in ("demo-001", "demo-002", "demo-003", "demo-004"):
            role = Role.PRIMARY if node_id == "demo-001" else Role.REPLICA
            world.facts[node_id] = engine_fact(role, is_in_sync=node_id != "demo-002")
        assert ids(await decrease(world, 2)) == ["demo-001", "demo-003", "demo-004"]

    run(tmp_path, scenario)


def engine_fact(role: Role, *, is_in_sync: bool) -> NodeFact:
    engine = EngineFact(
        version="9.1.2",
        role=role,
        is_held=False,
        is_loading=False,
        is_in_sync=is_in_sync,
        used_memory_bytes=0,
        bind=(),
    )
    identity = ProcessIdentity(pid=1, start_ticks=1, boot_id="b")
    return NodeFact(process=Running(identity=identity), engine=engine)


def test_the_present_primary_stays_wherever_it_is(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        spec = await world.create_available(num_cache_clusters=3)
        await world.settle(spec, primary="demo-003")
        code, text = await refusal(decrease(world, replicas_to_remove=("DEMO-003",)))
        assert (code, "is the primary" in text) == (IPV, True)
        assert ids(await decrease(world, 0)) == ["demo-003"]

    run(tmp_path, scenario)


def test_who_becomes_the_primary_meanwhile_stays(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        spec = await world.create_available(num_cache_clusters=3)
        # Both read the same; the promotion is written down first.
        _, outcome = await asyncio.gather(
            world.settle(spec, primary="demo-002"),
            decrease(world, replicas_to_remove=("demo-002",)),
            return_exceptions=True,
        )
        assert isinstance(outcome, ClientFault)
        assert "is the primary" in outcome.message

    run(tmp_path, scenario)


def test_nobody_goes_while_the_primary_is_not_known(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        spec = await world.create_available(num_cache_clusters=3)
        status = status_of(spec, GroupState.AVAILABLE)
        nodes = tuple(dataclasses.replace(node, role=Role.REPLICA) for node in status.nodes)
        changes = ChangeSet()
        changes.put(STATUS + spec.uid, dataclasses.replace(status, nodes=nodes))
        await world.records.commit(changes)
        code, text = await refusal(decrease(world, 1))
        assert (code, "has no primary now" in text) == ("InvalidReplicationGroupState", True)

    run(tmp_path, scenario)


def test_named_replicas_go_and_shards_without_one_stay(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        await cluster(world, replicas=2)
        after = await decrease(world, replicas_to_remove=("demo-0001-002",))
        assert ids(after)[:2] == ["demo-0001-001", "demo-0001-003"]
        assert len(after.shards[1].nodes) == 3
        view = views.find_group(world.records, "demo")
        assert view.node_state("demo-0001-002") is NodeState.DELETING
        assert view.reason == "removing demo-0001-002"
        assert [n.node_id for n in view.shards()[0].nodes][-1] == "demo-0001-002"

    run(tmp_path, scenario)


def test_a_cluster_may_lose_all_replicas_and_other_groups_with_failover_may_not(
    tmp_path: Path,
) -> None:
    async def scenario(world: World) -> None:
        await cluster(world, multi_az_enabled=True)
        assert ids(await decrease(world, 0)) == ["demo-0001-001", "demo-0002-001"]
        await world.create_available(
            replication_group_id="plain", num_cache_clusters=2, automatic_failover_enabled=True
        )
        code, text = await refusal(decrease(world, 0, replication_group_id="plain"))
        assert (code, text) == (
            IPV,
            "Must have at least 1 replica when cluster mode is disabled with auto failover "
            "enabled.",
        )

    run(tmp_path, scenario)


def test_multi_az_keeps_its_second_zone(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        await world.create_available(
            num_cache_clusters=3,
            preferred_cache_cluster_azs=(A, A, B),
            automatic_failover_enabled=True,
            multi_az_enabled=True,
        )
        code, text = await refusal(decrease(world, replicas_to_remove=("demo-003",)))
        assert (code, "Multi-AZ" in text) == (IPC, True)
        assert zones(await decrease(world, 1)) == [A, B]

    run(tmp_path, scenario)


def test_named_zones_decide_who_goes(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        await world.create_available(num_cache_clusters=3, preferred_cache_cluster_azs=(A, B, C))
        wanted = shard("0001", 1, (B, C))
        assert (await refusal(decrease(world, replica_configuration=wanted)))[0] == IPC
        after = await decrease(world, replica_configuration=shard("0001", 1, (C, A)))
        assert ids(after) == ["demo-001", "demo-003"]

    run(tmp_path, scenario)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"count": 2}, "NoOperationFault"),
        ({"count": 3}, IPV),
        ({}, IPC),
        ({"count": 1, "replica_configuration": shard("0001", 1)}, IPC),
        ({"replicas_to_remove": ("demo-0009-001",)}, IPV),
        ({"replicas_to_remove": ("demo-0001-002", "demo-0001-002")}, IPV),
        ({"count": 1, "replicas_to_remove": ("demo-0001-002", "demo-0001-003")}, IPC),
        (
            {
                "replica_configuration": shard("0001", 1),
                "replicas_to_remove": ("demo-0002-002",),
            },
            IPC,
        ),
        ({"count": 1, "apply_immediately": False}, IPV),
    ],
)
def test_a_decrease_that_cannot_be_changes_nothing(
    tmp_path: Path, changes: dict[str, Any], code: str
) -> None:
    async def scenario(world: World) -> None:
        before = await cluster(world, replicas=2)
        assert (await refusal(decrease(world, **changes)))[0] == code
        assert views.find_group(world.records, "demo").spec == before

    run(tmp_path, scenario)


def test_writes_that_need_replicas_keep_them(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        await parameter_groups.create(
            world.service,
            CreateCacheParameterGroup(
                cache_parameter_group_name="safe",
                cache_parameter_group_family="valkey9",
                description="two copies",
            ),
        )
        values = (ParameterNameValue(parameter_name="min-replicas-to-write", parameter_value="1"),)
        await parameter_groups.modify(
            world.service,
            ModifyCacheParameterGroup(
                cache_parameter_group_name="safe", parameter_name_values=values
            ),
        )
        await world.create_available(num_cache_clusters=2, cache_parameter_group_name="safe")
        code, text = await refusal(decrease(world, 0))
        assert (code, "min-replicas-to-write" in text) == (IPC, True)

    run(tmp_path, scenario)


def test_snapshots_come_from_another_replica_when_their_source_goes(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        before = await world.create_available(num_cache_clusters=3)
        assert before.snapshotting_node_id == "demo-002"
        after = await decrease(world, replicas_to_remove=("demo-002",))
        assert after.snapshotting_node_id == "demo-003"

    run(tmp_path, scenario)
