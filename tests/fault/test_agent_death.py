"""Do engines outlive an agent that is killed, and does the next one know all of them?"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cachewright.agent import process
from cachewright.model.commands import RemoveNode, StopNode
from cachewright.model.facts import NO_NODE, Running, Stopped
from tests.fault.agent_world import (
    KEY,
    PATIENCE_S,
    fact_of,
    free_address,
    hosting,
    launch_of,
    pid_of,
    say,
    slow_down_saving,
    start_serving,
    until,
)

CHILD = Path(__file__).with_name("agent_child.py")
ROOT = CHILD.parents[2]


@contextlib.contextmanager
def child(
    folder: Path, address: str, deed: str, failpoint: str = ""
) -> Iterator[subprocess.Popen[str]]:
    """Run an agent in a process of its own, which dies at `failpoint`, or else when told to."""
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
        "CACHEWRIGHT_FAILPOINTS": f"{failpoint}=kill" if failpoint else "",
    }
    with subprocess.Popen(
        [sys.executable, str(CHILD), str(folder), address, deed],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as started:
        try:
            yield started
        finally:
            started.kill()


def first_line(started: subprocess.Popen[str]) -> str:
    assert started.stdout is not None
    return started.stdout.readline()


def test_engines_serve_on_after_kill_9_and_are_adopted(tmp_path: Path) -> None:
    address = free_address()
    with child(tmp_path, address, "serve") as host:
        pid = int(first_line(host))
        identity = process.identify(pid)
        say(address, "SET", "a", "1")
        host.kill()
        host.wait()
    assert say(address, "GET", "a") == "1"

    async def adopt() -> None:
        async with hosting(tmp_path) as agent:
            ended = asyncio.Queue[str]()
            agent.on_exit(ended.put_nowait)
            fact = await fact_of(agent)
            assert isinstance(fact.process, Running)
            assert fact.process.identity == identity
            assert await start_serving(agent, launch_of(address=address)) == pid
            assert say(address, "GET", "a") == "1"
            os.kill(pid, signal.SIGKILL)
            assert await asyncio.wait_for(ended.get(), PATIENCE_S) == KEY
            stopped = (await fact_of(agent)).process
            assert isinstance(stopped, Stopped)
            assert stopped.proof is not None
            assert stopped.proof.exit_code is None  # not our child

    asyncio.run(adopt())


@pytest.mark.parametrize(
    ("failpoint", "runs"),
    [
        ("agent.before_spawn", False),
        ("agent.after_spawn", True),
        ("agent.after_identity", True),
        ("agent.before_forget", False),
    ],
)
def test_whenever_it_dies_the_next_agent_knows_the_truth(
    tmp_path: Path, failpoint: str, *, runs: bool
) -> None:
    """No orphan that nobody knows, no second process, nothing that cannot be removed."""
    address = free_address()
    with child(tmp_path, address, "remove", failpoint) as host:
        assert host.wait(30) == -signal.SIGKILL
    output = tmp_path / "nodes" / KEY / "start.log"
    left = process.find_by_output(output)
    assert len(left) == int(runs)

    async def adopt() -> None:
        async with hosting(tmp_path) as agent:
            fact = await fact_of(agent)
            if runs:
                assert pid_of(fact) == left[0].pid
            else:
                assert isinstance(fact.process, Stopped)
            pid = await start_serving(agent, launch_of(address=address))
            assert [identity.pid for identity in process.find_by_output(output)] == [pid]
            assert not runs or pid == left[0].pid
            await agent.execute(StopNode(key=KEY), epoch=1)
            await agent.execute(RemoveNode(key=KEY), epoch=1)
            assert await fact_of(agent) == NO_NODE

    asyncio.run(adopt())
    assert [path.name for path in (tmp_path / "nodes").iterdir()] == ["epoch"]


def test_data_that_was_being_saved_when_it_died_is_known_to_the_next_agent(tmp_path: Path) -> None:
    address = free_address()

    async def is_saving() -> bool:
        return bool(list((tmp_path / "nodes" / KEY).glob("temp-*.rdb")))

    async def order_and_kill(host: subprocess.Popen[str]) -> None:
        (await slow_down_saving(address)).close()
        assert host.stdin is not None
        host.stdin.write("\n")
        host.stdin.flush()
        await until(is_saving, "snapshot under way")
        host.kill()

    async def adopt() -> None:
        async with hosting(tmp_path) as agent:

            async def has_ended() -> bool:
                return isinstance((await fact_of(agent)).process, Stopped)

            assert await is_saving()  # the next agent is here before the end
            await until(has_ended, "the end of the engine")
            assert (await fact_of(agent)).has_saved_data
            launch = dataclasses.replace(launch_of(address=address), loads_saved_data=True)
            await start_serving(agent, launch)
            assert say(address, "GET", "key-7") == "kept"

    with child(tmp_path, address, "save") as host:
        assert int(first_line(host))
        asyncio.run(order_and_kill(host))
    asyncio.run(adopt())
