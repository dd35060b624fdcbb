"""Is one process fenced and one replica promoted, at once, and only if the world is as it was?"""

from __future__ import annotations

import asyncio
import os
import select
import signal
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from cachewright.agent import process
from cachewright.agent.supervisor import LocalAgent
from cachewright.model.commands import (
    AdmitNode,
    FenceNode,
    FollowPrimary,
    HostCommand,
    PromoteNode,
    Promotion,
    StartNode,
    StopNode,
)
from cachewright.model.facts import NO_NODE, EngineFact, Running, Stopped, Unknown
from cachewright.model.status import Role
from cachewright.rpc.agent import CommandFailed, StaleEpoch
from tests.fault.agent_groups import (
    EPOCH,
    Group,
    hosting_all,
    identity_of,
    launches_of,
    start_group,
)
from tests.fault.agent_world import (
    PATIENCE_S,
    fact_of,
    launch_of,
    pid_of,
    say,
    start_serving,
    until,
)

#: Five to eight milliseconds on an idle machine, and much longer on a busy one; less than five
#: commands that wait for a frozen engine, one second each, and than any election of the engines.
SOON_S = 4.5
#: Nobody was waited for who does not answer.
ANSWER_TIMEOUT_S = 1.0


def run(folder: Path, work: Callable[[LocalAgent], Awaitable[None]]) -> None:
    async def hosted() -> None:
        async with hosting_all(folder) as agent:
            await work(agent)

    asyncio.run(hosted())


async def refused(agent: LocalAgent, command: HostCommand, words: str) -> None:
    with pytest.raises(CommandFailed, match=words):
        await agent.execute(command, epoch=EPOCH)


async def kill_first(group: Group, shard: int = 0) -> float:
    """End the primary that was started first, by a signal; return when."""
    pid = pid_of(await fact_of(group.agent, group.shards[shard][0].key))
    at_s = time.monotonic()
    os.kill(pid, signal.SIGKILL)
    return at_s


def promotion(group: Group, how: Promotion, shard: int = 0, number: int = 1) -> PromoteNode:
    primary, replica = group.shards[shard][0], group.shards[shard][number]
    return PromoteNode(
        key=replica.key,
        how=how,
        over=(primary.address, primary.port),
        bind=(replica.address, group.endpoint) if group.endpoint else (),
    )


def test_a_frozen_process_is_fenced_while_other_commands_of_its_node_wait(tmp_path: Path) -> None:
    async def work(agent: LocalAgent) -> None:
        launch = launch_of()
        pid = await start_serving(agent, launch)
        identity = identity_of(await fact_of(agent))
        os.kill(pid, signal.SIGSTOP)
        waiting = [
            asyncio.create_task(agent.execute(command, epoch=EPOCH))
            for command in (AdmitNode(key=launch.key, bind=("127.0.0.1",)),) * 5
        ]
        await asyncio.sleep(0)
        began_s = time.monotonic()
        await agent.execute(FenceNode(key=launch.key, identity=identity), epoch=EPOCH)
        assert time.monotonic() - began_s < SOON_S
        fact = await fact_of(agent)
        assert isinstance(fact.process, Stopped)
        assert fact.process.proof is not None
        assert fact.process.proof.identity == identity
        assert fact.process.proof.exit_code == -signal.SIGKILL
        for failed in await asyncio.gather(*waiting, return_exceptions=True):
            assert isinstance(failed, CommandFailed)

    run(tmp_path, work)


def test_only_the_process_that_is_named_is_fenced(tmp_path: Path) -> None:
    async def work(agent: LocalAgent) -> None:
        launch, other = launch_of(), launch_of("g.other")
        await start_serving(agent, other)
        stranger = identity_of(await fact_of(agent, other.key))
        await start_serving(agent, launch)
        first = identity_of(await fact_of(agent))
        await refused(agent, FenceNode(key=launch.key, identity=stranger), "is not that of node")
        woken = FenceNode(key=launch.key, identity=first, unless_it_answers=True)
        await refused(agent, woken, "answers again")
        with pytest.raises(StaleEpoch):
            await agent.execute(FenceNode(key=launch.key, identity=first), epoch=0)
        assert process.identify(first.pid) == first
        await agent.execute(FenceNode(key=launch.key, identity=first), epoch=EPOCH)
        pid = await start_serving(agent, launch)
        await agent.execute(FenceNode(key=launch.key, identity=first), epoch=EPOCH)
        assert pid_of(await fact_of(agent)) == pid
        assert process.identify(stranger.pid) == stranger

    run(tmp_path, work)


def test_a_replica_takes_over_with_the_endpoint_in_the_same_command(tmp_path: Path) -> None:
    async def work(agent: LocalAgent) -> None:
        group = await start_group(agent, launches_of(3))
        assert group.endpoint is not None
        assert say(group.endpoint, "SET", "a", "1") == "OK"
        await until(lambda: _has(group, "a"), "a copy")
        killed_s = await kill_first(group)
        ended = asyncio.Event()
        agent.on_exit(lambda _: ended.set())
        await asyncio.wait_for(ended.wait(), PATIENCE_S)
        await agent.execute(promotion(group, Promotion.STANDALONE), epoch=EPOCH)
        assert say(group.endpoint, "SET", "b", "2") == "OK"
        assert time.monotonic() - killed_s < SOON_S
        assert say(group.endpoint, "GET", "a") == "1"
        await agent.execute(promotion(group, Promotion.STANDALONE), epoch=EPOCH)  # once more

    run(tmp_path, work)


async def _has(group: Group, key: str) -> bool:
    return all(say(one.address, "EXISTS", key) == 1 for one in group.shards[0])


@pytest.mark.parametrize(
    ("shards", "how"), [(1, Promotion.TAKEOVER), (3, Promotion.FORCE), (2, Promotion.FORCE)]
)
def test_a_shard_of_a_cluster_is_taken_over(tmp_path: Path, shards: int, how: Promotion) -> None:
    """Of two shards one is no majority: the vote that cannot be won becomes a take-over."""

    async def work(agent: LocalAgent) -> None:
        group = await start_group(agent, launches_of(2, shards, is_cluster=True))
        await until(lambda: _takes_writes(group.shards[0][0].address), "writes")
        killed_s = await kill_first(group)
        await agent.execute(promotion(group, how), epoch=EPOCH)
        replica = group.shards[0][1]
        assert (await group.engine(replica)).role is Role.PRIMARY
        await until(lambda: _takes_writes(replica.address), "writes")
        assert time.monotonic() - killed_s < SOON_S

    run(tmp_path, work)


async def _takes_writes(address: str) -> bool:
    return "CLUSTERDOWN" not in str(say(address, "SET", "{0}a", "1")) and "OK" in str(
        [say(address, "SET", f"key-{number}", "1") for number in range(20)]
    )


def test_nobody_is_promoted_over_a_primary_that_lives(tmp_path: Path) -> None:
    async def work(agent: LocalAgent) -> None:
        group = await start_group(agent, launches_of(3))
        primary, replica, _ = group.shards[0]
        command = promotion(group, Promotion.STANDALONE)
        await refused(agent, command, "lives and serves")
        pid = pid_of(await fact_of(agent, primary.key))
        os.kill(pid, signal.SIGSTOP)
        await refused(agent, command, "lives and is silent")
        os.kill(pid, signal.SIGCONT)
        assert (await group.engine(replica)).role is Role.REPLICA

    run(tmp_path, work)


def test_a_replica_is_not_promoted_while_its_link_is_up_or_it_follows_another(
    tmp_path: Path,
) -> None:
    """As seen by a host that does not have the primary itself."""

    async def work(agent: LocalAgent) -> None:
        group = await start_group(agent, launches_of(3))
        primary, replica, sibling = group.shards[0]
        del agent._nodes[primary.key]  # as if it ran on another host
        await refused(agent, promotion(group, Promotion.STANDALONE), "its primary is up")
        command = FollowPrimary(key=replica.key, address=sibling.address, port=sibling.port)
        await agent.execute(command, epoch=EPOCH)
        await refused(agent, promotion(group, Promotion.STANDALONE), "by now")
        assert (await group.engine(replica)).role is Role.REPLICA
        assert say(primary.address, "SET", "a", "1") == "OK"
        for identity in process.find_by_output(tmp_path / "nodes" / primary.key / "start.log"):
            os.kill(identity.pid, signal.SIGKILL)

    run(tmp_path, work)


def test_a_primary_that_serves_is_never_told_to_follow(tmp_path: Path) -> None:
    async def work(agent: LocalAgent) -> None:
        group = await start_group(agent, launches_of(2))
        primary, replica = group.shards[0]
        command = FollowPrimary(key=primary.key, address=replica.address, port=replica.port)
        await refused(agent, command, "serves as a primary")
        assert (await group.engine(primary)).role is Role.PRIMARY

    run(tmp_path, work)


def test_a_glance_knows_an_end_before_anybody_was_told_and_asks_no_engine(tmp_path: Path) -> None:
    async def work(agent: LocalAgent) -> None:
        launches = [launch_of(f"g.n{number}") for number in range(3)]
        keys = [launch.key for launch in launches]
        for launch in launches:
            await start_serving(agent, launch)
        ended: list[str] = []
        agent.on_exit(ended.append)
        facts = await agent.observe(keys)
        assert await agent.glance(keys) == facts
        frozen, killed = pid_of(facts[keys[0]]), pid_of(facts[keys[1]])
        os.kill(frozen, signal.SIGSTOP)
        _kill_and_see(killed)
        began_s = time.monotonic()
        seen = await agent.glance([*keys, "g.none"])  # the event loop had no turn since
        assert time.monotonic() - began_s < ANSWER_TIMEOUT_S
        assert isinstance(seen[keys[0]].process, Running)
        assert isinstance(seen[keys[0]].engine, EngineFact)
        assert isinstance(seen[keys[1]].process, Stopped)
        assert isinstance(seen[keys[1]].engine, Unknown)
        assert seen[keys[2]] == facts[keys[2]]
        assert seen["g.none"] == NO_NODE
        assert ended == [keys[1]]
        await asyncio.sleep(0.05)
        assert ended == [keys[1]]

    run(tmp_path, work)


def _kill_and_see(pid: int) -> None:
    """End a process and wait for it; its first thread is a zombie before the last has ended."""
    pidfd = os.pidfd_open(pid)
    try:
        os.kill(pid, signal.SIGKILL)
        assert select.select([pidfd], [], [], 5)[0]
    finally:
        os.close(pidfd)


def test_a_new_process_is_not_taken_for_the_one_before_in_a_glance(tmp_path: Path) -> None:
    async def work(agent: LocalAgent) -> None:
        launch = launch_of()
        await start_serving(agent, launch)
        await agent.execute(StopNode(key=launch.key), epoch=EPOCH)
        assert isinstance((await agent.glance([launch.key]))[launch.key].engine, Unknown)
        await agent.execute(StartNode(launch=launch), epoch=EPOCH)
        assert isinstance((await agent.glance([launch.key]))[launch.key].engine, Unknown)

    run(tmp_path, work)
