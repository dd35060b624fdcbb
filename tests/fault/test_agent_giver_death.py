"""Is every key in one place when the primary that gives a slot dies half way, or forgets the slot?

Valkey lets a primary own a slot that it imports as soon as the one that gives claims it no more;
what that one still holds would be lost to clients. So whoever comes in its place has to claim it.
"""

from __future__ import annotations

import asyncio
import dataclasses
import os
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from cachewright.agent.supervisor import LocalAgent
from cachewright.engines.slots import ExportState
from cachewright.engines.valkey_slots import ValkeySlots
from cachewright.model.commands import AdmitNode, Launch, PromoteNode, Promotion, StartNode
from cachewright.model.engines import EngineName
from cachewright.model.facts import Stopped
from cachewright.model.moves import MoveMethod
from cachewright.model.slots import numbers_of
from cachewright.rpc.agent import CommandFailed
from tests.fault.agent_groups import Group, hosting_all, launches_of, start_group
from tests.fault.agent_moves import (
    ALL_SLOTS,
    Pair,
    admin_of,
    ask,
    check_whole,
    configure,
    has_settled,
    slots_of,
    slots_owned,
)
from tests.fault.agent_world import fact_of, pid_of, until

VALKEY, VALKEY_8 = (EngineName.VALKEY, "9.1"), (EngineName.VALKEY, "8.0")
BUILDS = [
    pytest.param((EngineName.REDIS, "7.0"), id="redis-7.0"),
    pytest.param(VALKEY_8, id="valkey-8.0"),
    pytest.param(VALKEY, id="valkey-9.1"),
]
KEPT = (("appendfsync", "always"), ("appendonly", "yes"))
#: They go together into one slot, of the first of three shards.
KEYS = [f"{{b}}-{number}" for number in range(20)]
SLOT = 3300

Work = Callable[[Pair], Awaitable[None]]


def run(folder: Path, build: tuple[EngineName, str], work: Work, *, nodes: int) -> None:
    """Run work on a group of three shards, of which the first gives to the second."""

    async def hosted() -> None:
        async with hosting_all(folder) as agent:
            shards = launches_of(nodes, 3, build, is_cluster=True)
            if nodes == 1:
                shards[0] = [dataclasses.replace(shards[0][0], settings=KEPT)]
            group = await start_group(agent, shards)
            await until(lambda: has_settled(group), "all slots are served")
            await work(Pair(agent, group, group.shards[0][0], group.shards[1][0]))

    asyncio.run(hosted())


async def open_half_way(pair: Pair) -> None:
    """Begin to move the slot: half of its keys have gone, and one of them was not answered for."""
    source, target = pair.source, pair.target
    set_all = [("SET", key, key) for key in KEYS]
    assert set(await ask(source, *set_all)) == {b"OK"}
    await ask(target, ("CLUSTER", "SETSLOT", SLOT, "IMPORTING", source.engine_id))
    await ask(source, ("CLUSTER", "SETSLOT", SLOT, "MIGRATING", target.engine_id))
    gone = [words for key in KEYS[:10] for words in (("ASKING",), ("SET", key, key))]
    assert set(await ask(target, *gone)) == {b"OK"}
    assert set(await ask(source, *[("DEL", key) for key in KEYS[:9]])) == {1}


async def owns(group: Group, launch: Launch) -> bool:
    return SLOT in {*numbers_of(await slots_owned(group, launch))}


async def count(launch: Launch) -> object:
    return (await ask(launch, ("CLUSTER", "COUNTKEYSINSLOT", SLOT)))[0]


async def kill(agent: LocalAgent, launch: Launch) -> None:
    os.kill(pid_of(await fact_of(agent, launch.key)), signal.SIGKILL)

    async def has_ended() -> bool:
        return isinstance((await fact_of(agent, launch.key)).process, Stopped)

    await until(has_ended, "its end is proven")


async def promote(pair: Pair) -> Pair:
    """Let the replica of the one that gives take over; return the two."""
    group, source, replica = pair.group, pair.source, pair.group.shards[0][1]
    others = tuple((s[0].address, s[0].port) for s in group.shards if s[0] is not source)
    over = (source.address, source.port)
    command = PromoteNode(key=replica.key, how=Promotion.FORCE, over=over, others=others)

    async def has_taken_over() -> bool:
        try:
            await pair.execute(command)
        except CommandFailed as failed:
            if "its primary is up" in str(failed):
                return False
            raise
        return True

    # A child that sends a snapshot holds the link for as long as that takes.
    await until(has_taken_over, "a replica that can take over")
    group.shards[0] = [replica]
    return dataclasses.replace(pair, source=replica)


@pytest.mark.parametrize("build", BUILDS)
def test_a_replica_that_takes_over_goes_on_with_an_open_slot(
    tmp_path: Path, build: tuple[EngineName, str]
) -> None:
    async def work(pair: Pair) -> None:
        replica = pair.group.shards[0][1]
        await open_half_way(pair)
        await until(lambda: held(replica, 11), "the replica has everything")
        await kill(pair.agent, pair.source)
        after = await promote(pair)
        await until(lambda: has_settled(pair.group), "all slots are served")
        assert await owns(pair.group, replica)
        assert not await owns(pair.group, pair.target)
        await after.execute(after.closing())
        await check_whole(pair.group, len(KEYS))

    run(tmp_path, build, work, nodes=2)


async def held(launch: Launch, number: int) -> bool:
    return await count(launch) == number


@pytest.mark.parametrize("build", BUILDS)
def test_who_comes_back_with_its_data_goes_on_with_an_open_slot(
    tmp_path: Path, build: tuple[EngineName, str]
) -> None:
    async def work(pair: Pair) -> None:
        source, target = pair.source, pair.target
        await open_half_way(pair)
        await kill(pair.agent, source)
        again = dataclasses.replace(source, loads_append_only_file=True)
        await pair.execute(StartNode(launch=again))
        await pair.execute(AdmitNode(key=source.key, bind=(source.address,)))
        await until(lambda: has_settled(pair.group), "all slots are served")
        assert await owns(pair.group, source)
        assert (await count(source), await count(target)) == (11, 10)
        await pair.execute(pair.closing())
        await check_whole(pair.group, len(KEYS))

    run(tmp_path, build, work, nodes=1)


def test_a_primary_that_dies_while_it_exports_leaves_nothing_behind(tmp_path: Path) -> None:
    """What had come from it is thrown away, and its replica has everything."""

    async def work(pair: Pair) -> None:
        replica = pair.group.shards[0][1]
        assert set(await ask(pair.source, *[("SET", key, key) for key in KEYS])) == {b"OK"}
        await until(lambda: held(replica, len(KEYS)), "the replica has everything")
        await configure(pair.source, rdb_key_save_delay="100000")
        moving = asyncio.create_task(pair.move(slots_of((3000, 4000)), MoveMethod.ATOMIC))
        admin = await admin_of(pair.source)

        async def is_sent() -> bool:
            exports = await ValkeySlots().exports(admin)
            return [export.state for export in exports] == [ExportState.SENDING]

        await until(is_sent, "a snapshot is sent")
        admin.close()
        await kill(pair.agent, pair.source)
        await asyncio.gather(moving, return_exceptions=True)
        assert moving.exception() is not None
        after = await promote(pair)
        await until(lambda: has_settled(pair.group), "all slots are served")
        assert await owns(pair.group, replica)
        await until(lambda: held(pair.target, 0), "the other one holds nothing")
        await after.execute(after.closing())
        await check_whole(pair.group, len(KEYS))

    run(tmp_path, VALKEY, work, nodes=2)


@pytest.mark.parametrize("build", BUILDS[1:])
def test_what_a_primary_still_holds_of_a_slot_that_it_gave_up_comes_home(
    tmp_path: Path, build: tuple[EngineName, str]
) -> None:
    """By somebody's hand: the one that imports takes the slot. What it has already is newer."""

    async def work(pair: Pair) -> None:
        source, target = pair.source, pair.target
        await open_half_way(pair)
        assert await ask(source, ("CLUSTER", "DELSLOTS", SLOT)) == [b"OK"]
        await until(lambda: owns(pair.group, target), "the other one takes it")
        assert await ask(target, ("SET", KEYS[9], "newer")) == [b"OK"]
        await until(lambda: has_settled(pair.group), "all slots are served")
        assert (await count(source), await count(target)) == (11, 10)
        back = pair.back()
        await back.execute(back.closing(ALL_SLOTS))
        await check_whole(pair.group, len(KEYS))
        assert await ask(target, ("GET", KEYS[9])) == [b"newer"]

    run(tmp_path, build, work, nodes=1)
