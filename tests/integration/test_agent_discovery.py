"""Does the agent keep a configuration endpoint as it keeps an engine, and is the list true?"""

from __future__ import annotations

import asyncio
import dataclasses
import os
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from cachewright.agent.supervisor import LocalAgent
from cachewright.model.commands import (
    AdmitNode,
    BindNode,
    HostCommand,
    RemoveNode,
    StartNode,
    StopNode,
    TellMembers,
)
from cachewright.model.errors import Terminal
from cachewright.model.facts import NO_NODE, EngineFact, NodeFact, Stopped
from cachewright.rpc.agent import CommandFailed
from tests.fault.agent_world import KEY, fact_of, hosting, launch_of, new_agent, pid_of, until
from tests.integration.discovery_world import DISCOVERY_KEY, endpoint_launch, member, say

_ONE, _TWO = member("127.1.0.1"), member("127.1.0.2")
_ASK = b"config get cluster\r\n"
_END = b"\n\r\nEND\r\n"


def run(folder: Path, work: Callable[[LocalAgent], Awaitable[None]]) -> None:
    async def hosted() -> None:
        async with hosting(folder) as agent:
            await work(agent)

    asyncio.run(hosted())


async def endpoint_fact(agent: LocalAgent) -> NodeFact:
    return await fact_of(agent, DISCOVERY_KEY)


async def told_version(agent: LocalAgent) -> int | None:
    fact = await endpoint_fact(agent)
    assert isinstance(fact.engine, EngineFact), fact
    return fact.engine.config_version


def test_the_life_of_an_endpoint(tmp_path: Path) -> None:
    """Start, tell, be told again, die, be proven dead, start again, stop, go without a trace."""

    async def work(agent: LocalAgent) -> None:
        launch = endpoint_launch(_ONE)
        await agent.execute(StartNode(launch=launch), epoch=1)
        pid = pid_of(await endpoint_fact(agent))
        assert await told_version(agent) == 1
        one = b"CONFIG cluster 0 28\r\n1\n127.1.0.1|127.1.0.1|11211\n\r\nEND\r\n"
        assert await asyncio.to_thread(say, launch.address, _ASK, end=_END) == one

        both = (_TWO, _ONE)
        tell = TellMembers(key=DISCOVERY_KEY, config_version=2, members=both)
        for _ in range(2):  # twice is once
            await agent.execute(tell, epoch=1)
        two = (
            b"CONFIG cluster 0 54\r\n"
            b"2\n127.1.0.1|127.1.0.1|11211 127.1.0.2|127.1.0.2|11211\n\r\nEND\r\n"
        )
        assert await asyncio.to_thread(say, launch.address, _ASK, end=_END) == two
        await agent.execute(StartNode(launch=launch), epoch=1)  # it runs, and is left as it is
        assert (await told_version(agent), pid_of(await endpoint_fact(agent))) == (2, pid)

        os.kill(pid, signal.SIGKILL)
        await until(lambda: _is_stopped(agent), "the proof of its end")
        latest = dataclasses.replace(launch, members=both, config_version=3)
        await agent.execute(StartNode(launch=latest), epoch=1)
        assert await told_version(agent) == 3
        for command in (StopNode(key=DISCOVERY_KEY, saves=True), RemoveNode(key=DISCOVERY_KEY)):
            await agent.execute(command, epoch=1)
        assert await endpoint_fact(agent) == NO_NODE
        assert not (tmp_path / "nodes" / DISCOVERY_KEY).exists()

    run(tmp_path, work)


async def _is_stopped(agent: LocalAgent) -> bool:
    return isinstance((await endpoint_fact(agent)).process, Stopped)


def test_an_endpoint_outlives_the_agent_and_is_adopted(tmp_path: Path) -> None:
    async def work(agent: LocalAgent) -> None:
        launch = endpoint_launch(_ONE)
        await agent.execute(StartNode(launch=launch), epoch=1)
        pid = pid_of(await endpoint_fact(agent))
        agent.close()
        assert b"CONFIG cluster" in await asyncio.to_thread(say, launch.address, _ASK, end=_END)
        again = new_agent(tmp_path)
        await again.open()
        try:
            assert pid_of(await endpoint_fact(again)) == pid
            tell = TellMembers(key=DISCOVERY_KEY, config_version=2, members=(_TWO,))
            await again.execute(tell, epoch=1)
            assert await told_version(again) == 2
        finally:
            again.close()

    run(tmp_path, work)


def test_what_makes_no_sense_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    async def refused(agent: LocalAgent, command: HostCommand, words: str) -> None:
        with pytest.raises((CommandFailed, Terminal), match=words):
            await agent.execute(command, epoch=1)

    async def work(agent: LocalAgent) -> None:
        launch = endpoint_launch(_ONE, version=5)
        tell = TellMembers(key=DISCOVERY_KEY, config_version=6, members=(_TWO,))
        await refused(agent, tell, "never started")
        await agent.execute(StartNode(launch=launch), epoch=1)
        older = TellMembers(key=DISCOVERY_KEY, config_version=4, members=(_TWO,))
        await refused(agent, older, "tells clients of version 5, later than 4")
        bad = dataclasses.replace(_TWO, name="a|b")
        tell_bad = TellMembers(key=DISCOVERY_KEY, config_version=6, members=(bad,))
        await refused(agent, tell_bad, "no name of a host")
        await refused(agent, BindNode(key=DISCOVERY_KEY, bind=("127.0.0.1",)), "only tells")
        await agent.execute(AdmitNode(key=DISCOVERY_KEY, bind=(launch.address,)), epoch=1)
        assert await told_version(agent) == 5

        await agent.execute(StopNode(key=DISCOVERY_KEY), epoch=1)
        await refused(agent, tell, "does not run")
        engine = launch_of()
        await agent.execute(StartNode(launch=engine), epoch=1)
        to_engine = TellMembers(key=KEY, config_version=6, members=(_TWO,))
        await refused(agent, to_engine, "is no configuration endpoint")

    run(tmp_path, work)


def test_an_endpoint_that_cannot_start_says_why(tmp_path: Path) -> None:
    async def work(agent: LocalAgent) -> None:
        launch = dataclasses.replace(endpoint_launch(_ONE), config_version=0)
        with pytest.raises(CommandFailed, match="config_version is not a version"):
            await agent.execute(StartNode(launch=launch), epoch=1)
        nowhere = dataclasses.replace(endpoint_launch(_ONE), address="192.0.2.1")
        with pytest.raises(CommandFailed, match="does not exist on this host"):
            await agent.execute(StartNode(launch=nowhere), epoch=1)

    run(tmp_path, work)
