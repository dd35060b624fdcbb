"""What becomes of shards that were to go, once it is over?"""

from __future__ import annotations

import asyncio
import dataclasses
from pathlib import Path
from typing import Any

import pytest

from cachewright.api import render
from cachewright.model.groups import Deletion, GroupSpec
from cachewright.model.slots import SlotRange, split_evenly
from cachewright.model.status import GroupState, GroupStatus, Resharding, ShardSlots
from cachewright.service import shard_settling, views
from cachewright.store.records import NODE_NAME, SPEC, STATUS, ChangeSet
from tests.unit.service.service_world import NOW, World, run, status_of

HALVES = split_evenly(2)
#: Two shards own everything, two of four are empty.
MOVED = tuple(
    ShardSlots(shard_id=shard_id, slots=slots)
    for shard_id, slots in zip(("0001", "0002", "0003", "0004"), (*HALVES, (), ()), strict=True)
)
OVER = Resharding(generation=2, is_over=True, emptied=("0003", "0004"), progress_percent=100.0)


async def leaving(world: World) -> GroupSpec:
    """Make a group with four shards, the last two of which are to go."""
    spec = await world.create_available(num_node_groups=4)
    shards = tuple(
        dataclasses.replace(shard, is_leaving=shard.shard_id in {"0003", "0004"})
        for shard in spec.shards
    )
    after = dataclasses.replace(spec, shards=shards, generation=2, resharding_generation=2)
    await put(world, SPEC + spec.uid, after)
    return after


async def put(world: World, key: str, value: object) -> None:
    changes = ChangeSet()
    changes.put(key, value)
    await world.records.commit(changes)


async def seen(world: World, spec: GroupSpec, **changes: Any) -> GroupStatus:
    """Write a status in which the resharding is over, with `changes`."""
    status = status_of(spec, GroupState.MODIFYING)
    usual: dict[str, Any] = {"owned": MOVED, "resharding": OVER}
    status = dataclasses.replace(status, **{**usual, **changes})
    await put(world, STATUS + spec.uid, status)
    return status


def spec_of(world: World) -> GroupSpec:
    return views.find_group(world.records, "demo").spec


def shards(spec: GroupSpec) -> dict[str, bool]:
    return {shard.shard_id: shard.is_leaving for shard in spec.shards}


def test_empty_shards_are_dropped_once_and_their_names_stay_taken(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        before = await leaving(world)
        await seen(world, before)
        assert shard_settling.is_due(world.service, before.uid)
        done = await asyncio.gather(
            *(shard_settling.settle(world.service, before.uid) for _ in range(3))
        )
        assert sorted(done) == [False, False, True]
        after = spec_of(world)
        assert shards(after) == {"0001": False, "0002": False}
        assert after.generation == before.generation + 1
        assert after.resharding_generation == before.resharding_generation
        assert world.records.uid_of_node("demo-0003-001") == before.uid
        assert world.woken[-1] == before.uid
        told = [event.message for event in world.events()][-1]
        assert told == "Removing node groups 0003, 0004 of replication group demo"
        assert not shard_settling.is_due(world.service, before.uid)

    run(tmp_path, scenario)


def test_a_dropped_shard_is_shown_until_its_last_place_is_gone(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        before = await leaving(world)
        status = await seen(world, before)
        await shard_settling.settle(world.service, before.uid)
        group = views.find_group(world.records, "demo")
        assert group.state is GroupState.MODIFYING
        shown: Any = render.replication_group(world.service.arns, group)
        assert [(g["NodeGroupId"], g["Status"], g["Slots"]) for g in shown["NodeGroups"]] == [
            ("0001", "modifying", "0-8191"),
            ("0002", "modifying", "8192-16383"),
            ("0003", "deleting", ""),
            ("0004", "deleting", ""),
        ]
        after = group.spec
        await world.settle(after)
        kept = dataclasses.replace(status_of(after, GroupState.AVAILABLE), owned=status.owned[:2])
        await put(
            world, STATUS + after.uid, dataclasses.replace(kept, resharding=status.resharding)
        )
        group = views.find_group(world.records, "demo")
        assert group.state is GroupState.AVAILABLE
        shown = render.replication_group(world.service.arns, group)
        assert [g["NodeGroupId"] for g in shown["NodeGroups"]] == ["0001", "0002"]
        assert shown["PendingModifiedValues"] == {}

    run(tmp_path, scenario)


def test_a_shard_that_keeps_slots_stays_and_people_are_told_why(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        before = await leaving(world)
        stuck = ShardSlots(shard_id="0004", slots=(SlotRange(8192, 16383),))
        owned = (MOVED[0], ShardSlots(shard_id="0002", slots=()), MOVED[2], stuck)
        ended = dataclasses.replace(OVER, emptied=("0003",), failure="a key is too large")
        await seen(world, before, owned=owned, resharding=ended)
        assert await shard_settling.settle(world.service, before.uid)
        assert shards(spec_of(world)) == {"0001": False, "0002": False, "0004": False}
        assert [event.message for event in world.events()][-2:] == [
            "Removing node group 0003 of replication group demo",
            "Keeping node group 0004 of replication group demo: a key is too large",
        ]

    run(tmp_path, scenario)


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"owned": ()}, id="nobody has seen any owner"),
        pytest.param({"owned": MOVED[:1]}, id="half of the slots have no owner"),
        pytest.param(
            {"owned": (*MOVED[:1], MOVED[2], dataclasses.replace(MOVED[3], slots=HALVES[1]))},
            id="it was seen to own slots",
        ),
        pytest.param(
            {"resharding": dataclasses.replace(OVER, emptied=())}, id="it was not proven empty"
        ),
    ],
)
def test_without_proof_no_shard_goes(tmp_path: Path, changes: dict[str, Any]) -> None:
    async def scenario(world: World) -> None:
        before = await leaving(world)
        await seen(world, before, **changes)
        assert await shard_settling.settle(world.service, before.uid)
        after = shards(spec_of(world))
        assert after["0004"] is False
        assert True not in after.values()

    run(tmp_path, scenario)


def test_slots_that_turn_up_meanwhile_keep_their_shard(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        before = await leaving(world)
        await seen(world, before)
        owned = (MOVED[0], MOVED[2], dataclasses.replace(MOVED[3], slots=HALVES[1]))
        # Both read the same; what was seen now is written down first.
        await asyncio.gather(
            seen(world, before, owned=owned), shard_settling.settle(world.service, before.uid)
        )
        assert "0004" in shards(spec_of(world))

    run(tmp_path, scenario)


@pytest.mark.parametrize(
    "resharding",
    [
        None,
        dataclasses.replace(OVER, is_over=False),
        dataclasses.replace(OVER, generation=1),
    ],
)
def test_nothing_is_settled_before_it_is_over(
    tmp_path: Path, resharding: Resharding | None
) -> None:
    async def scenario(world: World) -> None:
        before = await leaving(world)
        await seen(world, before, resharding=resharding)
        assert not await shard_settling.settle(world.service, before.uid)
        assert spec_of(world) == before

    run(tmp_path, scenario)


def test_a_group_that_is_deleted_or_gone_is_left_alone(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        before = await leaving(world)
        await seen(world, before)
        deleted = dataclasses.replace(before, deletion=Deletion(requested_at=NOW), generation=3)
        await put(world, SPEC + before.uid, deleted)
        assert not await shard_settling.settle(world.service, before.uid)
        assert spec_of(world) == deleted
        await world.forget(before)
        assert not await shard_settling.settle(world.service, before.uid)
        assert NODE_NAME + "demo-0003-001" not in world.records.keys(NODE_NAME)

    run(tmp_path, scenario)


def test_progress_and_slots_are_shown_as_they_were_seen(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        before = await leaving(world)
        going_on = Resharding(generation=2, progress_percent=37.5)
        owned = (
            ShardSlots(shard_id="0001", slots=(SlotRange(0, 99), SlotRange(200, 16383))),
            ShardSlots(shard_id="0003", slots=(SlotRange(100, 199),)),
        )
        await seen(world, before, owned=owned, resharding=going_on)
        group = views.find_group(world.records, "demo")
        shown: Any = render.replication_group(world.service.arns, group)
        migration = shown["PendingModifiedValues"]["Resharding"]["SlotMigration"]
        assert migration == {"ProgressPercentage": 37.5}
        slots = [g["Slots"] for g in shown["NodeGroups"]]
        assert slots == ["0-99,200-16383", "", "100-199", ""]
        asked_again = dataclasses.replace(before, generation=3, resharding_generation=3)
        assert views.with_spec(group, asked_again).resharding_percent == 0.0

    run(tmp_path, scenario)
