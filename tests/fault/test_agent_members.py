"""What does an agent say of who is in a cluster, and of what those owned that have ended?"""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest

from cachewright.engines.nodes_conf import own_line
from cachewright.kit import failpoints
from cachewright.model.commands import AdmitNode, ForgetNodes, IntroduceNode, StartNode, StopNode
from cachewright.model.facts import Stopped, Unknown
from cachewright.model.slots import SlotRange
from cachewright.rpc.agent import CommandFailed
from tests.fault.agent_groups import EPOCH, hosting_all, launches_of, start_group
from tests.fault.agent_moves import admin_of, cluster_of, join, newcomer_of
from tests.fault.agent_world import (
    fact_of,
    hosting,
    launch_of,
    new_agent,
    pid_of,
    start_serving,
    until,
)


def test_a_newcomer_joins_and_is_forgotten(tmp_path: Path) -> None:
    async def work() -> None:
        async with hosting_all(tmp_path) as agent:
            group = await start_group(agent, launches_of(1, 2, is_cluster=True))
            others = group.launches()
            fresh = newcomer_of(group)
            await join(agent, group, fresh)
            assert len((await cluster_of(group, fresh)).known_ids) == 3
            await agent.execute(StopNode(key=fresh.key), epoch=EPOCH)
            for other in others:
                forget = ForgetNodes(key=other.key, engine_ids=(fresh.engine_id,))
                await agent.execute(forget, epoch=EPOCH)
                assert len((await cluster_of(group, other)).known_ids) == 2

    asyncio.run(work())


def test_who_has_ended_leaves_word_of_what_it_owned(tmp_path: Path) -> None:
    async def work() -> None:
        async with hosting_all(tmp_path) as agent:
            group = await start_group(agent, launches_of(2, 2, is_cluster=True))
            primary, replica = group.shards[0]
            assert (await fact_of(agent, primary.key)).last_slots is None
            for launch, owned in ((primary, (SlotRange(0, 8191),)), (replica, ())):
                os.kill(pid_of(await fact_of(agent, launch.key)), signal.SIGKILL)

                async def has_ended(key: str = launch.key) -> bool:
                    return isinstance((await fact_of(agent, key)).process, Stopped)

                await until(has_ended, "the end")
                assert (await fact_of(agent, launch.key)).last_slots == owned
            other = new_agent(tmp_path)
            await other.open()  # the word is in the folder, not in our memory
            assert (await fact_of(other, primary.key)).last_slots == (SlotRange(0, 8191),)
            other.close()

    asyncio.run(work())


def test_a_map_that_makes_no_sense_is_no_word(tmp_path: Path) -> None:
    async def work() -> None:
        async with hosting_all(tmp_path) as agent:
            group = await start_group(agent, launches_of(1, 1, is_cluster=True))
            (launch,) = group.launches()
            path = tmp_path / "nodes" / launch.key / "nodes.conf"
            for content in (b"", b"x a:1@2 myself,master - 0 0 1 connected 7-x\n", None):
                await agent.execute(StopNode(key=launch.key), epoch=EPOCH)
                path.unlink(missing_ok=True)
                if content is not None:
                    path.write_bytes(content)
                other = new_agent(tmp_path)
                await other.open()
                assert (await fact_of(other, launch.key)).last_slots is None
                other.close()

    asyncio.run(work())


def test_only_members_of_a_cluster_are_introduced(tmp_path: Path) -> None:
    async def work() -> None:
        async with hosting(tmp_path) as agent:
            launch = launch_of()
            await start_serving(agent, launch)
            command = IntroduceNode(key=launch.key, others=(("127.0.0.1", 1),))
            with pytest.raises(CommandFailed, match="cluster support disabled"):
                await agent.execute(command, epoch=EPOCH)
            await agent.execute(StopNode(key=launch.key), epoch=EPOCH)
            assert (await fact_of(agent)).last_slots is None
            with pytest.raises(CommandFailed, match="does not run"):
                await agent.execute(command, epoch=EPOCH)

    asyncio.run(work())


def test_a_newcomer_whose_start_was_cut_leads_once_it_is_admitted(tmp_path: Path) -> None:
    async def work() -> None:
        async with hosting_all(tmp_path) as agent:
            group = await start_group(agent, launches_of(1, 2, is_cluster=True))
            newcomer = newcomer_of(group)
            failpoints.arm("agent.after_identity")
            with pytest.raises(failpoints.Injected):
                await agent.execute(StartNode(launch=newcomer), epoch=EPOCH)

            async def answers() -> bool:
                return not isinstance((await fact_of(agent, newcomer.key)).engine, Unknown)

            await until(answers, "an answer")
            await agent.execute(AdmitNode(key=newcomer.key, bind=(newcomer.address,)), epoch=EPOCH)
            admin = await admin_of(newcomer)
            try:
                said = await admin.command("CLUSTER", "NODES")
            finally:
                admin.close()
            assert isinstance(said, bytes)
            assert own_line(said).split()[2] == b"myself,master"

    try:
        asyncio.run(work())
    finally:
        failpoints.disarm_all()
