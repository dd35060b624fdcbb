"""How many shards may a group have, which ids, zones and tags do new ones get, and which may go?"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from cachewright.api import render
from cachewright.model.errors import ClientFault
from cachewright.model.groups import GroupSpec
from cachewright.model.settings import Limits
from cachewright.model.status import GroupState
from cachewright.service import inputs, replica_counts, replication_groups, resharding, tags, views
from cachewright.service.inputs import DeleteReplicationGroup, Tag
from cachewright.service.inputs_scaling import (
    DecreaseReplicaCount,
    ModifyReplicationGroupShardConfiguration,
    NewShard,
)
from cachewright.store.records import SPEC, ChangeSet
from tests.unit.service.service_world import World, run

IPC, IPV = "InvalidParameterCombination", "InvalidParameterValue"
A, B, C = "us-east-1a", "us-east-1b", "us-east-1c"
STATE = "InvalidReplicationGroupState"
MIB = 1 << 20


async def reshard(world: World, count: int, **changes: Any) -> GroupSpec:
    given = {"replication_group_id": "demo", "apply_immediately": True, **changes}
    request = ModifyReplicationGroupShardConfiguration(**given, node_group_count=count)
    return (await resharding.modify(world.service, request)).spec


async def refusal(world: World, count: int, **changes: Any) -> tuple[str, str]:
    with pytest.raises(ClientFault) as caught:
        await reshard(world, count, **changes)
    return caught.value.code, caught.value.message


def shard_ids(spec: GroupSpec, *, leaving: bool | None = None) -> list[str]:
    return [s.shard_id for s in spec.shards if leaving in {None, s.is_leaving}]


def new(*zones: str, shard_id: str | None = None) -> NewShard:
    return NewShard(node_group_id=shard_id, preferred_availability_zones=zones)


async def cluster(world: World, shards: int = 3, **changes: Any) -> GroupSpec:
    usual: dict[str, Any] = {"num_node_groups": shards, "replicas_per_node_group": 1}
    return await world.create_available(**{**usual, **changes})


def shown(world: World) -> dict[str, Any]:
    return render.replication_group(world.service.arns, views.find_group(world.records, "demo"))


# Scale out


def test_new_shards_continue_the_numbering_and_own_nothing_yet(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        before = await cluster(world)
        after = await reshard(world, 5)
        assert after.shards[:3] == before.shards
        added = after.shards[3:]
        assert [shard.shard_id for shard in added] == ["0004", "0005"]
        assert [shard.slots for shard in added] == [(), ()]
        assert after.generation == after.resharding_generation == before.generation + 1
        ids = [node.node_id for shard in added for node in shard.nodes]
        assert ids == ["demo-0004-001", "demo-0004-002", "demo-0005-001", "demo-0005-002"]
        assert [world.records.uid_of_node(node_id) for node_id in ids] == [before.uid] * 4
        assert all(node.created_at == world.clock.now() for s in added for node in s.nodes)
        assert all(len({node.zone for node in shard.nodes}) == 2 for shard in added)
        assert world.woken[-1] == before.uid
        assert "from 3 to 5 accepted" in world.events()[-1].message

    run(tmp_path, scenario)


def test_a_change_shows_at_once(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        await cluster(world, 2)
        await reshard(world, 3)
        seen = shown(world)
        assert seen["Status"] == "modifying"
        progress = {"Resharding": {"SlotMigration": {"ProgressPercentage": 0.0}}}
        assert seen["PendingModifiedValues"] == progress
        assert [group["Status"] for group in seen["NodeGroups"]] == [
            "available", "available", "creating",
        ]  # fmt: skip
        assert [group["Slots"] for group in seen["NodeGroups"]] == ["0-8191", "8192-16383", ""]
        assert seen["MemberClusters"][-2:] == ["demo-0003-001", "demo-0003-002"]

    run(tmp_path, scenario)


def test_new_shards_are_as_large_as_the_smallest(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        await cluster(world, replicas_per_node_group=2)
        request = DecreaseReplicaCount(
            replication_group_id="demo",
            apply_immediately=True,
            replicas_to_remove=("demo-0002-002",),
        )
        await world.settle((await replica_counts.decrease(world.service, request)).spec)
        assert [len(shard.nodes) for shard in (await reshard(world, 4)).shards] == [3, 2, 3, 2]

    run(tmp_path, scenario)


def test_zones_and_ids_are_taken_as_they_are_named(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        await cluster(world, 2)
        wanted = (new(C, C, shard_id="9"), new(B, A), new())
        after = await reshard(world, 5, resharding_configuration=wanted)
        assert shard_ids(after)[2:] == ["0009", "0003", "0004"]
        zones = [[node.zone for node in shard.nodes] for shard in after.shards[2:]]
        assert zones[:2] == [[C, C], [B, A]]
        assert len(set(zones[2])) == 2

    run(tmp_path, scenario)


def test_shards_that_are_there_may_be_described_as_they_are(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        spec = await cluster(world, 2)
        there = [tuple(node.zone for node in shard.nodes) for shard in spec.shards]
        moved = (C, C)
        for all_four in (
            (new(*reversed(there[0])), new(*there[1]), new(A, B), new(C, A)),
            (new(A, B), new(*there[0], shard_id="0001"), new(C, A)),
        ):
            changed = tuple(
                new(*moved, shard_id=one.node_group_id)
                if sorted(one.preferred_availability_zones) == sorted(there[0])
                else one
                for one in all_four
            )
            code, text = await refusal(world, 4, resharding_configuration=changed)
            assert (code, "0001" in text) == (IPC, True), text
        order = (new(*reversed(there[0])), new(*there[1]), new(A, B), new(C, A))
        after = await reshard(world, 4, resharding_configuration=order)
        assert [[n.zone for n in shard.nodes] for shard in after.shards[2:]] == [[A, B], [C, A]]
        assert after.shards[:2] == spec.shards

    run(tmp_path, scenario)


def test_ids_do_not_go_past_the_last_one_with_four_digits(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        await cluster(world, 2, node_group_configuration=(
            inputs.NodeGroup(node_group_id="9998"), inputs.NodeGroup(node_group_id="0001"),
        ))  # fmt: skip
        assert shard_ids(await reshard(world, 5))[2:] == ["9999", "0002", "0003"]

    run(tmp_path, scenario)


def test_an_id_is_not_used_again_while_a_node_of_it_has_a_place(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        spec = await cluster(world, 3)
        view = views.find_group(world.records, "demo")
        fewer = dataclasses.replace(spec, shards=spec.shards[:2])
        seen = dataclasses.replace(view, spec=fewer)
        assert next(resharding.free_ids(seen, set())) == "0004"
        assert [shard.shard_id for shard in seen.shards()] == ["0001", "0002", "0003"]
        assert seen.shards()[2].is_leaving

    run(tmp_path, scenario)


def test_new_nodes_get_the_tags_that_all_others_have(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        spec = await cluster(
            world, 2, tags=(Tag(key="team", value="blue"), Tag(key="tier", value="gold"))
        )
        arns = world.service.arns
        first = next(spec.nodes()).node_id
        after = await reshard(world, 3)
        assert world.records.tags(arns.of_node("demo-0003-001")).mod_revision == 0
        await world.settle(dataclasses.replace(after, resharding_generation=0))
        await _forget_resharding(world, after)
        await tags.remove_tags(world.service, arns.of_node(first), ["tier"])
        await reshard(world, 4)
        for node_id in ("demo-0004-001", "demo-0004-002"):
            written = world.records.tags(arns.of_node(node_id))
            assert (written.value, written.mod_revision > 0) == ({"team": "blue"}, True)

    run(tmp_path, scenario)


async def _forget_resharding(world: World, spec: GroupSpec) -> None:
    """Write the spec as if the resharding had never been asked for."""
    changes = ChangeSet()
    changes.put(SPEC + spec.uid, dataclasses.replace(spec, resharding_generation=0))
    await world.records.commit(changes)


def test_multi_az_shards_span_zones(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        await cluster(world, 2, multi_az_enabled=True)
        code, text = await refusal(world, 3, resharding_configuration=(new(A, A),))
        assert (code, "0003" in text) == (IPC, True)
        after = await reshard(world, 3)
        assert len({node.zone for node in after.shards[2].nodes}) == 2

    run(tmp_path, scenario)


@pytest.mark.parametrize(
    ("limits", "code"),
    [
        (Limits(nodes_per_cluster=3), "NodeGroupsPerReplicationGroupQuotaExceeded"),
        (Limits(nodes_per_cluster=7), "NodeQuotaForClusterExceeded"),
        (Limits(nodes_per_region=7), "NodeQuotaForCustomerExceeded"),
    ],
)
def test_more_than_the_quota_is_refused(tmp_path: Path, limits: Limits, code: str) -> None:
    async def scenario(world: World) -> None:
        await cluster(world, 2, replicas_per_node_group=0 if code.startswith("NodeGroups") else 1)
        assert (await refusal(world, 4))[0] == code

    run(tmp_path, scenario, limits=limits)


# Scale in


@pytest.mark.parametrize(
    "named",
    [
        {"node_groups_to_remove": ("0002", "3")},
        {"node_groups_to_retain": ("0001", "0004")},
    ],
)
def test_shards_that_go_are_marked_and_stay_until_they_are_empty(
    tmp_path: Path, named: dict[str, Any]
) -> None:
    async def scenario(world: World) -> None:
        before = await cluster(world, 4)
        after = await reshard(world, 2, **named)
        assert shard_ids(after, leaving=True) == ["0002", "0003"]
        assert list(after.nodes()) == list(before.nodes())
        assert after.resharding_generation == after.generation == before.generation + 1
        seen = shown(world)
        assert [group["Status"] for group in seen["NodeGroups"]] == [
            "available", "deleting", "deleting", "available",
        ]  # fmt: skip
        assert seen["Status"] == "modifying"

    run(tmp_path, scenario)


@pytest.mark.parametrize(
    ("count", "named", "code"),
    [
        (0, {"node_groups_to_remove": ("0001", "0002", "0003")}, IPV),
        (-1, {}, IPV),
        (2, {}, IPC),
        (2, {"node_groups_to_remove": ("0003",), "node_groups_to_retain": ("0001", "0002")}, IPC),
        (2, {"node_groups_to_remove": ("0009",)}, IPV),
        (2, {"node_groups_to_remove": ("last",)}, IPV),
        (1, {"node_groups_to_remove": ("0003", "3")}, IPV),
        (1, {"node_groups_to_remove": ("0003",)}, IPC),
        (2, {"node_groups_to_remove": ("0001", "0002", "0003")}, IPC),
        (2, {"node_groups_to_retain": ("0001",)}, IPC),
        (2, {"node_groups_to_retain": ("0001", "0001")}, IPV),
        (2, {"node_groups_to_remove": ("0003",), "resharding_configuration": (new(A, B),)}, IPC),
        (3, {"node_groups_to_remove": ("0003",)}, IPC),
        (3, {"resharding_configuration": (new(A, B),)}, IPC),
        (4, {"node_groups_to_retain": ("0001",)}, IPC),
        (4, {"resharding_configuration": (new(A),)}, IPC),
        (4, {"resharding_configuration": (new(A, "us-east-1z"),)}, IPV),
        (5, {"resharding_configuration": (new(A, B),)}, IPC),
        (4, {"resharding_configuration": (new(shard_id="0002"),)}, IPC),
        (5, {"resharding_configuration": (new(shard_id="7"), new(shard_id="0007"))}, IPV),
        (4, {"apply_immediately": False}, IPV),
        (91, {}, "NodeGroupsPerReplicationGroupQuotaExceeded"),
        (20_000, {}, "NodeGroupsPerReplicationGroupQuotaExceeded"),
        (4, {"replication_group_id": "nobody"}, "ReplicationGroupNotFoundFault"),
    ],
)
def test_what_cannot_be_changes_nothing(
    tmp_path: Path, count: int, named: dict[str, Any], code: str
) -> None:
    async def scenario(world: World) -> None:
        before = await cluster(world)
        assert (await refusal(world, count, **named))[0] == code
        assert views.find_group(world.records, "demo").spec == before
        assert shown(world)["Status"] == "available"

    run(tmp_path, scenario)


def test_data_that_plainly_does_not_fit_is_refused_at_once(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        spec = await cluster(world, 3)  # cache.t4g.micro: 384 MiB for data
        removes = {"node_groups_to_remove": ("0003",)}
        usage = {node.node_id: 300 * MIB for node in spec.nodes()}
        world.usage[spec.uid] = usage
        code, text = await refusal(world, 2, **removes)
        assert (code, "does not fit in 2 node groups" in text) == (IPC, True)
        # Where a shard has not said what it holds, the planner will find out; and what engines
        # need for themselves is no data.
        unknown = {node_id: used * 2 for node_id, used in usage.items() if "-0003-" not in node_id}
        nearly = dict.fromkeys(usage, 256 * MIB + MIB)
        for known in (usage | {"demo-0003-001": 100 * MIB, "demo-0003-002": 1}, unknown, nearly):
            world.usage[spec.uid] = known
            after = await reshard(world, 2, **removes)
            await _forget_resharding(world, dataclasses.replace(after, shards=spec.shards))

    run(tmp_path, scenario)


# Rebalance, and what comes between


def test_the_same_number_spreads_the_slots_anew(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        before = await cluster(world)
        after = await reshard(world, 3)
        assert after.shards == before.shards
        assert after.resharding_generation == after.generation == before.generation + 1
        assert shown(world)["Status"] == "modifying"
        assert (await refusal(world, 3))[0] == STATE

    run(tmp_path, scenario)


def test_without_cluster_mode_there_is_one_shard(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        await world.create_available(num_cache_clusters=2)
        assert (await refusal(world, 2))[0] == IPC

    run(tmp_path, scenario)


def test_a_second_change_is_refused_and_a_delete_comes_through(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        await cluster(world)
        await reshard(world, 2, node_groups_to_remove=("0003",))
        assert (await refusal(world, 4))[0] == STATE
        description = inputs.ModifyReplicationGroup(
            replication_group_id="demo", replication_group_description="other"
        )
        with pytest.raises(ClientFault, match="available state"):
            await replication_groups.modify(world.service, description)
        delete = DeleteReplicationGroup(replication_group_id="demo")
        view = await replication_groups.delete(world.service, delete)
        assert view.state is GroupState.DELETING
        assert shown(world)["PendingModifiedValues"] == {}
        assert (await refusal(world, 4))[0] == STATE

    run(tmp_path, scenario)
