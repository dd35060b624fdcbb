"""Does a role change hands between living engines, and does it stand in nobody's way otherwise?"""

from __future__ import annotations

import asyncio
import dataclasses
import os
import signal
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from cachewright.agent import linking
from cachewright.agent.supervisor import LocalAgent
from cachewright.engines.home import BusView, RoleSeen
from cachewright.engines.resp import AdminConnection
from cachewright.engines.valkey_cluster import ValkeyCluster
from cachewright.engines.valkey_roles import ValkeyRoles
from cachewright.model.commands import FenceNode, HandOver, PromoteNode, Promotion, StopNode
from cachewright.model.status import Role
from cachewright.rpc.agent import CommandFailed
from tests.fault.agent_groups import (
    EPOCH,
    Group,
    hosting_all,
    identity_of,
    launches_of,
    start_group,
)
from tests.fault.agent_world import PATIENCE_S, fact_of, pid_of, say, until

#: More than the one second in which an engine has to answer, on a busy machine; less than the five
#: seconds after which the engines themselves give up.
QUICK_S = 4.5


def run(folder: Path, work: Callable[[LocalAgent], Awaitable[None]]) -> None:
    async def hosted() -> None:
        async with hosting_all(folder) as agent:
            await work(agent)

    asyncio.run(hosted())


def handover(group: Group) -> HandOver:
    primary, replica = group.shards[0][:2]
    endpoints = (group.endpoint,) if group.endpoint else ()
    return HandOver(
        key=primary.key,
        to_key=replica.key,
        to_address=replica.address,
        to_port=replica.port,
        is_cluster=group.is_cluster,
        bind=(primary.address,),
        to_bind=(replica.address, *endpoints),
    )


def strike_before(monkeypatch: pytest.MonkeyPatch, act: str, strike: Callable[[], None]) -> None:
    """Let something happen to the engines right before an act on one of them."""
    original = getattr(ValkeyRoles, act)

    async def struck(self: ValkeyRoles, admin: AdminConnection, *rest: object) -> object:
        strike()
        return await original(self, admin, *rest)

    monkeypatch.setattr(ValkeyRoles, act, struck)


@pytest.mark.parametrize("is_cluster", [False, True])
def test_both_know_their_roles_once_it_is_done(tmp_path: Path, is_cluster: bool) -> None:
    """Who looks right after it must not find two primaries."""

    async def work(agent: LocalAgent) -> None:
        group = await start_group(agent, launches_of(2, is_cluster=is_cluster))
        primary, replica = group.shards[0]
        await until(lambda: _takes_writes(primary.address), "writes")
        for _ in range(5):
            await agent.execute(handover(group), epoch=EPOCH)
            assert (await group.engine(primary)).role is Role.REPLICA
            assert (await group.engine(replica)).role is Role.PRIMARY
            assert say(replica.address, "GET", "a") == "1"
            await agent.execute(handover(group), epoch=EPOCH)  # once more
            primary, replica = replica, primary
            group.shards[0].reverse()
            await until(group.is_whole, "a whole group")

    run(tmp_path, work)


async def _takes_writes(address: str, key: str = "a") -> bool:
    """With two shards, `b` is in the first and `a` in the second."""
    return say(address, "SET", key, "1") == "OK"


@pytest.mark.parametrize(("times", "is_in_time"), [(3, True), (10_000, False)])
def test_in_cluster_mode_it_is_over_when_the_old_primary_knows_as_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, times: int, is_in_time: bool
) -> None:
    """It hears of it through the cluster's bus, which takes longer than an answer of an engine."""
    asked: list[RoleSeen] = []
    original = ValkeyRoles.seen

    async def hears_late(self: ValkeyRoles, admin: AdminConnection) -> RoleSeen:
        seen = await original(self, admin)
        if seen.primary != successor or len(asked) == times:
            return seen
        asked.append(seen)
        return RoleSeen(role=Role.PRIMARY, offset=seen.offset)

    successor = ("", 0)

    async def work(agent: LocalAgent) -> None:
        nonlocal successor
        group = await start_group(agent, launches_of(2, is_cluster=True))
        replica = group.shards[0][1]
        await until(lambda: _takes_writes(group.shards[0][0].address), "writes")
        successor = (replica.address, replica.port)
        monkeypatch.setattr(ValkeyRoles, "seen", hears_late)
        handing = agent.execute(handover(group), epoch=EPOCH)
        if not is_in_time:
            with pytest.raises(CommandFailed, match="does not know yet that it was succeeded"):
                await handing
            return
        await handing
        assert len(asked) == times

    run(tmp_path, work)


@pytest.mark.parametrize("hides", ["voter", "successor"])
@pytest.mark.parametrize(("looks", "is_in_time"), [(3, True), (10_000, False)])
def test_it_begins_only_when_everybody_would_hear_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hides: str, looks: int, is_in_time: bool
) -> None:
    """Who was just started is in sync before the others have connected to it anew."""
    original = ValkeyCluster.bus_view
    hidden: list[str] = []

    async def work(agent: LocalAgent) -> None:
        group = await start_group(agent, launches_of(2, shards=2, is_cluster=True))
        (primary, replica), (other, bystander) = group.shards
        await until(lambda: _takes_writes(primary.address, "b"), "writes")
        # Either the other primary has no connection back, or the successor none to a replica.
        stranger = replica if hides == "voter" else bystander

        async def sees_late(self: ValkeyCluster, admin: AdminConnection) -> BusView:
            view = await original(self, admin)
            is_asked = view.linked_ids and len(hidden) < looks
            mine = (await admin.command("CLUSTER", "MYID")).decode()  # type: ignore[union-attr]
            asked = other if hides == "voter" else replica
            if not is_asked or mine != asked.engine_id:
                return view
            hidden.append(mine)
            return dataclasses.replace(view, linked_ids=view.linked_ids - {stranger.engine_id})

        monkeypatch.setattr(ValkeyCluster, "bus_view", sees_late)
        monkeypatch.setattr(linking, "LINK_TIMEOUT_S", 2.0 if is_in_time else 0.1)
        handing = agent.execute(handover(group), epoch=EPOCH)
        if is_in_time:
            await handing
            assert (await group.engine(replica)).role is Role.PRIMARY
            assert len(hidden) == looks
            return
        with pytest.raises(CommandFailed, match="has no connection with"):
            await handing
        assert (await group.engine(primary)).role is Role.PRIMARY
        assert await _takes_writes(primary.address, "b"), "nobody waits"

    run(tmp_path, work)


def test_it_does_not_begin_where_too_few_could_vote(tmp_path: Path) -> None:
    async def work(agent: LocalAgent) -> None:
        group = await start_group(agent, launches_of(2, shards=2, is_cluster=True))
        primary, other = group.shards[0][0], group.shards[1][0]
        await until(lambda: _takes_writes(primary.address, "b"), "writes")
        await agent.execute(StopNode(key=other.key), epoch=EPOCH)
        with pytest.raises(CommandFailed, match="too few primaries live"):
            await agent.execute(handover(group), epoch=EPOCH)
        assert (await group.engine(primary)).role is Role.PRIMARY

    run(tmp_path, work)


@pytest.mark.parametrize(
    ("is_cluster", "act"),
    [(True, "begin_hand_over"), (False, "pause_writes"), (False, "step_down")],
)
def test_it_gives_up_when_the_old_primary_ends_and_a_promotion_follows_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_cluster: bool, act: str
) -> None:
    async def work(agent: LocalAgent) -> None:
        group = await start_group(agent, launches_of(2, is_cluster=is_cluster))
        primary, replica = group.shards[0]
        await until(lambda: _takes_writes(primary.address), "writes")
        identity = identity_of(await fact_of(agent, primary.key))
        frozen = asyncio.Event()

        def freeze() -> None:
            os.kill(identity.pid, signal.SIGSTOP)
            frozen.set()

        strike_before(monkeypatch, act, freeze)
        handing = asyncio.create_task(agent.execute(handover(group), epoch=EPOCH))
        await asyncio.wait_for(frozen.wait(), PATIENCE_S)
        await asyncio.sleep(0.05)  # what is asked of the frozen one is on its way
        began_s = time.monotonic()
        await agent.execute(FenceNode(key=primary.key, identity=identity), epoch=EPOCH)
        with pytest.raises(CommandFailed, match=r"has ended|did not hand over"):
            await handing
        promotion = PromoteNode(
            key=replica.key,
            how=Promotion.TAKEOVER if is_cluster else Promotion.STANDALONE,
            over=(primary.address, primary.port),
            bind=() if group.endpoint is None else (replica.address, group.endpoint),
        )
        await agent.execute(promotion, epoch=EPOCH)
        assert time.monotonic() - began_s < QUICK_S
        assert (await group.engine(replica)).role is Role.PRIMARY
        assert say(replica.address, "GET", "a") == "1"

    run(tmp_path, work)


@pytest.mark.parametrize("is_cluster", [False, True])
def test_one_that_is_silent_keeps_its_role_and_is_not_waited_for(
    tmp_path: Path, is_cluster: bool
) -> None:
    async def work(agent: LocalAgent) -> None:
        group = await start_group(agent, launches_of(2, is_cluster=is_cluster))
        primary, replica = group.shards[0]
        await until(lambda: _takes_writes(primary.address), "writes")
        pid = pid_of(await fact_of(agent, primary.key))
        os.kill(pid, signal.SIGSTOP)
        began_s = time.monotonic()
        with pytest.raises(CommandFailed, match=r"did not hand over: no answer within 1 s"):
            await agent.execute(handover(group), epoch=EPOCH)
        assert time.monotonic() - began_s < QUICK_S
        os.kill(pid, signal.SIGCONT)
        assert (await group.engine(primary)).role is Role.PRIMARY
        assert (await group.engine(replica)).role is Role.REPLICA
        await until(lambda: _takes_writes(primary.address), "writes")
        await agent.execute(handover(group), epoch=EPOCH)
        assert (await group.engine(primary)).role is Role.REPLICA

    run(tmp_path, work)
