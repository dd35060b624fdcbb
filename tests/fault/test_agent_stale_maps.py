"""Does a replica that has not heard of moved slots leave them with who has them by now?

It is made deaf to the one that takes, as a lost link would: engines take no news of a node that
they were told to forget.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from cachewright.agent.supervisor import LocalAgent
from cachewright.model.commands import Launch, PromoteNode, Promotion
from cachewright.model.engines import EngineName
from cachewright.model.moves import MoveMethod
from cachewright.model.slots import numbers_of
from tests.fault.agent_groups import EPOCH, Group, hosting_all, launches_of, start_group
from tests.fault.agent_moves import (
    Pair,
    admin_of,
    has_settled,
    slots_of,
    slots_owned,
)
from tests.fault.agent_world import fact_of, pid_of, until

WAYS = [
    pytest.param((EngineName.REDIS, "7.0"), MoveMethod.COPY, id="redis-7.0"),
    pytest.param((EngineName.VALKEY, "9.1"), MoveMethod.ATOMIC, id="valkey-9.1"),
]
#: Of the first of three shards.
KEYS = [f"{{b}}-{number}" for number in range(20)]
SLOT = 3300
MOVED = slots_of((3000, 3500))


Work = Callable[[LocalAgent, Group], Awaitable[None]]


def run(folder: Path, build: tuple[EngineName, str], work: Work) -> None:
    """Run work on a group of three shards with a replica each."""

    async def hosted() -> None:
        async with hosting_all(folder) as agent:
            group = await start_group(agent, launches_of(2, 3, build, is_cluster=True))
            await until(lambda: has_settled(group), "all slots are served")
            await work(agent, group)

    asyncio.run(hosted())


async def tell(launch: Launch, *words: str | int) -> object:
    admin = await admin_of(launch)
    try:
        return await admin.command(*words)
    finally:
        admin.close()


async def owns(group: Group, launch: Launch) -> set[int]:
    return {*numbers_of(await slots_owned(group, launch))}


async def has_all_keys(launch: Launch) -> bool:
    return await tell(launch, "CLUSTER", "COUNTKEYSINSLOT", SLOT) == len(KEYS)


def promotion(group: Group, primary: Launch, replica: Launch, how: Promotion) -> PromoteNode:
    others = tuple((s[0].address, s[0].port) for s in group.shards if s[0] is not primary)
    over = (primary.address, primary.port)
    return PromoteNode(key=replica.key, how=how, over=over, others=others)


@pytest.mark.parametrize("how", [Promotion.FORCE, Promotion.TAKEOVER])
@pytest.mark.parametrize(("build", "method"), WAYS)
def test_slots_that_have_moved_are_not_taken_back(
    tmp_path: Path, build: tuple[EngineName, str], method: MoveMethod, how: Promotion
) -> None:
    async def work(agent: LocalAgent, group: Group) -> None:
        (primary, replica), (taker, _), _ = group.shards
        for key in KEYS:
            await tell(primary, "SET", key, key)
        await tell(replica, "CLUSTER", "FORGET", taker.engine_id)
        await Pair(agent, group, primary, taker).move(MOVED, method)
        before = await owns(group, primary)
        assert SLOT not in before
        os.kill(pid_of(await fact_of(agent, primary.key)), signal.SIGKILL)
        await agent.execute(promotion(group, primary, replica, how), epoch=EPOCH)
        assert await owns(group, replica) == before
        assert {*numbers_of(MOVED)} <= await owns(group, taker)
        assert await has_all_keys(taker)

    run(tmp_path, build, work)


@pytest.mark.parametrize(("build", "method"), WAYS[:1])
def test_what_a_primary_had_given_away_is_not_taken_back_from_who_has_ended_too(
    tmp_path: Path, build: tuple[EngineName, str], method: MoveMethod
) -> None:
    """The new owner cannot say so, but the last word of the one before does."""

    async def work(agent: LocalAgent, group: Group) -> None:
        (primary, replica), (taker, heir), _ = group.shards
        for key in KEYS:
            await tell(primary, "SET", key, key)
        await tell(replica, "CLUSTER", "FORGET", taker.engine_id)
        await Pair(agent, group, primary, taker).move(MOVED, method)
        await until(lambda: has_all_keys(heir), "its replica has the keys")
        before = await owns(group, primary)
        for victim in (primary, taker):
            os.kill(pid_of(await fact_of(agent, victim.key)), signal.SIGKILL)
        command = promotion(group, primary, replica, Promotion.TAKEOVER)
        await agent.execute(command, epoch=EPOCH)
        assert await owns(group, replica) == before
        command = promotion(group, taker, heir, Promotion.TAKEOVER)
        await agent.execute(command, epoch=EPOCH)
        assert {*numbers_of(MOVED)} <= await owns(group, heir)
        assert await has_all_keys(heir)

    run(tmp_path, build, work)


@pytest.mark.parametrize(("build", "method"), WAYS[:1])
def test_what_another_one_owned_before_is_taken_over(
    tmp_path: Path, build: tuple[EngineName, str], method: MoveMethod
) -> None:
    """Who gave the slots may not have heard that they are gone; its epoch is lower."""

    async def work(agent: LocalAgent, group: Group) -> None:
        (giver, _), (primary, replica), _ = group.shards
        await tell(giver, "CLUSTER", "FORGET", replica.engine_id)
        await Pair(agent, group, giver, primary).move(MOVED, method)
        before = await owns(group, primary)
        assert {*numbers_of(MOVED)} <= before
        await until(lambda: knows(replica, giver, MOVED[0].first), "the replica has heard of it")
        await tell(giver, "CLUSTER", "FORGET", primary.engine_id)
        await tell(giver, "CLUSTER", "ADDSLOTSRANGE", MOVED[0].first, MOVED[0].last)
        os.kill(pid_of(await fact_of(agent, primary.key)), signal.SIGKILL)
        command = promotion(group, primary, replica, Promotion.TAKEOVER)
        await agent.execute(command, epoch=EPOCH)
        assert await owns(group, replica) == before

    run(tmp_path, build, work)


async def knows(replica: Launch, giver: Launch, slot: int) -> bool:
    """Tell whether a node knows that another one does not own a slot any more."""
    said = await tell(replica, "CLUSTER", "NODES")
    assert isinstance(said, bytes)
    line = next(one for one in said.splitlines() if one.startswith(giver.engine_id.encode()))
    return b"0-%d" % (slot - 1) in line
