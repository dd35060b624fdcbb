"""Does the agent start, admit, stop, adopt and remove real engines, and say only what is true?"""

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
    FollowPrimary,
    HostCommand,
    RemoveNode,
    StartNode,
    StopNode,
)
from cachewright.model.engines import EngineName
from cachewright.model.errors import Terminal
from cachewright.model.facts import NO_NODE, Absent, EngineFact, NodeFact, Running, Stopped, Unknown
from cachewright.model.status import Role
from cachewright.rpc.agent import CommandFailed, StaleEpoch
from tests.fault.agent_world import (
    KEY,
    PASSWORD,
    PATIENCE_S,
    PORT,
    fact_of,
    free_address,
    hosting,
    launch_of,
    new_agent,
    pid_of,
    say,
    start_serving,
    until,
)

#: Enough to notice a cost for each node, few enough for two cores.
NODES = 10


def run(folder: Path, work: Callable[[LocalAgent], Awaitable[None]]) -> None:
    async def hosted() -> None:
        async with hosting(folder) as agent:
            await work(agent)

    asyncio.run(hosted())


async def refused(agent: LocalAgent, command: HostCommand, words: str) -> None:
    with pytest.raises(CommandFailed, match=words):
        await agent.execute(command, epoch=1)


def engine_of(fact: NodeFact) -> EngineFact:
    assert isinstance(fact.engine, EngineFact), fact
    return fact.engine


def test_the_life_of_a_node(tmp_path: Path) -> None:
    """Start held, admit, serve, die, be proven dead, start again, stop, go without a trace."""

    async def work(agent: LocalAgent) -> None:
        launch, ended = launch_of(), asyncio.Queue[str]()
        agent.on_exit(ended.put_nowait)
        assert await fact_of(agent) == NO_NODE

        await agent.execute(StartNode(launch=launch), epoch=1)
        fact = await fact_of(agent)
        engine, pid = engine_of(fact), pid_of(fact)
        assert (engine.role, engine.is_held, engine.bind) == (Role.PRIMARY, True, (launch.address,))
        assert "NOAUTH" in str(say(launch.address, "SET", "a", "1"))

        await agent.execute(AdmitNode(key=KEY, bind=(launch.address,)), epoch=1)
        assert say(launch.address, "SET", "a", "1") == "OK"
        assert not engine_of(await fact_of(agent)).is_held

        os.kill(pid, signal.SIGKILL)
        assert await asyncio.wait_for(ended.get(), PATIENCE_S) == KEY
        fact = await fact_of(agent)
        assert isinstance(fact.process, Stopped)
        assert fact.process.proof is not None
        assert fact.process.proof.identity.pid == pid
        assert fact.process.proof.exit_code == -signal.SIGKILL
        assert any("Ready to accept connections" in line for line in fact.process.log_tail)
        assert isinstance(fact.engine, Unknown)
        assert not fact.has_saved_data

        assert await start_serving(agent, launch) != pid
        assert say(launch.address, "GET", "a") is None
        await agent.execute(StopNode(key=KEY), epoch=1)
        assert isinstance((await fact_of(agent)).process, Stopped)
        await agent.execute(RemoveNode(key=KEY), epoch=1)
        assert await fact_of(agent) == NO_NODE
        assert not (tmp_path / "nodes" / KEY).exists()

    run(tmp_path, work)


def test_commands_can_be_repeated(tmp_path: Path) -> None:
    async def work(agent: LocalAgent) -> None:
        launch = launch_of()
        pid = await start_serving(agent, launch)
        assert await start_serving(agent, launch) == pid
        for command in (StopNode(key=KEY), RemoveNode(key=KEY)):
            await agent.execute(command, epoch=1)
            await agent.execute(command, epoch=1)
        assert await fact_of(agent) == NO_NODE

    run(tmp_path, work)


def test_what_is_not_possible_is_refused_with_the_reason(tmp_path: Path) -> None:
    async def work(agent: LocalAgent) -> None:
        launch = launch_of()
        for command in (
            AdmitNode(key=KEY, bind=("127.0.0.1",)),
            BindNode(key=KEY, bind=("127.0.0.1",)),
            FollowPrimary(key=KEY, address="127.0.0.1", port=1),
        ):
            await refused(agent, command, "does not run")
        await refused(agent, StopNode(key="../escape"), "no key of a node")
        assert await agent.observe(["../escape"]) == {"../escape": NO_NODE}
        pid = await start_serving(agent, launch)
        await refused(agent, RemoveNode(key=KEY), "stop it first")
        other = dataclasses.replace(launch, maxclients=77)
        await refused(agent, StartNode(launch=other), "other settings: stop it first")
        fact = await fact_of(agent)
        assert (pid_of(fact), fact.failed_starts) == (pid, 0)

    run(tmp_path, work)


def test_data_comes_back_after_a_saving_stop_and_only_once(tmp_path: Path) -> None:
    async def work(agent: LocalAgent) -> None:
        launch = launch_of()
        await start_serving(agent, launch)
        say(launch.address, "SET", "a", "kept")
        await agent.execute(StopNode(key=KEY, saves=True), epoch=1)
        assert (await fact_of(agent)).has_saved_data

        loading = StartNode(launch=dataclasses.replace(launch, loads_saved_data=True))
        await agent.execute(loading, epoch=1)
        # Held, it has accepted nothing new: if it dies now, the snapshot is still the truth.
        os.kill(pid_of(await fact_of(agent)), signal.SIGKILL)
        await until(lambda: is_stopped(agent), "its end")
        assert (await fact_of(agent)).has_saved_data

        await start_serving(agent, loading.launch)
        assert say(launch.address, "GET", "a") == "kept"
        say(launch.address, "SET", "a", "newer")
        fact = await fact_of(agent)
        assert not fact.has_saved_data
        os.kill(pid_of(fact), signal.SIGKILL)
        await until(lambda: is_stopped(agent), "its end")
        assert not (await fact_of(agent)).has_saved_data
        await refused(agent, loading, "no saved data to load")
        await start_serving(agent, launch)
        assert say(launch.address, "GET", "a") is None

    run(tmp_path, work)


def test_a_start_that_does_not_load_throws_saved_data_away(tmp_path: Path) -> None:
    async def work(agent: LocalAgent) -> None:
        launch = launch_of()
        await start_serving(agent, launch)
        say(launch.address, "SET", "a", "old")
        await agent.execute(StopNode(key=KEY, saves=True), epoch=1)
        await start_serving(agent, launch)
        assert say(launch.address, "GET", "a") is None
        assert not (await fact_of(agent)).has_saved_data
        await agent.execute(StopNode(key=KEY), epoch=1)
        assert not (await fact_of(agent)).has_saved_data

    run(tmp_path, work)


def test_an_endpoint_is_bound_and_given_up_while_the_node_serves(tmp_path: Path) -> None:
    async def work(agent: LocalAgent) -> None:
        launch, endpoint = launch_of(), free_address()
        await start_serving(agent, launch)
        await agent.execute(BindNode(key=KEY, bind=(launch.address, endpoint)), epoch=1)
        assert say(endpoint, "PING") == "PONG"
        await agent.execute(BindNode(key=KEY, bind=(launch.address,)), epoch=1)
        with pytest.raises(ConnectionRefusedError):
            say(endpoint, "PING")
        assert engine_of(await fact_of(agent)).bind == (launch.address,)

    run(tmp_path, work)


def test_a_replica_follows_and_forgets_what_it_had_saved(tmp_path: Path) -> None:
    async def work(agent: LocalAgent) -> None:
        primary, replica = launch_of(), launch_of("abcd1234.store-002")
        await start_serving(agent, primary)
        say(primary.address, "SET", "a", "1")
        await start_serving(agent, replica)
        await agent.execute(StopNode(key=replica.key, saves=True), epoch=1)
        loading = dataclasses.replace(replica, loads_saved_data=True)
        await agent.execute(StartNode(launch=loading), epoch=1)
        follow = FollowPrimary(key=replica.key, address=primary.address, port=PORT)
        await agent.execute(follow, epoch=1)

        async def is_in_sync() -> bool:
            engine = (await fact_of(agent, replica.key)).engine
            return isinstance(engine, EngineFact) and engine.is_in_sync

        await until(is_in_sync, "sync")
        fact = await fact_of(agent, replica.key)
        assert engine_of(fact).primary == (primary.address, PORT)
        assert not fact.has_saved_data

    run(tmp_path, work)


def test_a_new_agent_adopts_what_runs_and_restarts_nothing(tmp_path: Path) -> None:
    keys = [f"abcd1234.store-{number:03}" for number in range(NODES)]
    before: dict[str, NodeFact] = {}
    addresses: dict[str, str] = {}

    async def start(agent: LocalAgent) -> None:
        launches = [launch_of(key) for key in keys]
        await asyncio.gather(*(start_serving(agent, launch) for launch in launches))
        addresses.update({launch.key: launch.address for launch in launches})
        say(addresses[keys[0]], "SET", "a", "1")
        before.update(await agent.observe(keys))
        agent.close()

        again = new_agent(tmp_path)
        await again.open()
        ended = asyncio.Queue[str]()
        again.on_exit(ended.put_nowait)
        after = await again.observe(keys)
        assert {k: f.process for k, f in after.items()} == {k: f.process for k, f in before.items()}
        assert not engine_of(after[keys[0]]).is_held
        assert say(addresses[keys[0]], "GET", "a") == "1"

        os.kill(pid_of(after[keys[1]]), signal.SIGKILL)
        assert await asyncio.wait_for(ended.get(), PATIENCE_S) == keys[1]
        await again.execute(StopNode(key=keys[0], saves=True), epoch=1)
        assert (await fact_of(again, keys[0])).has_saved_data
        again.close()

    run(tmp_path, start)


def test_an_engine_that_ended_while_nobody_looked_is_proven_to(tmp_path: Path) -> None:
    async def work(agent: LocalAgent) -> None:
        pid = await start_serving(agent, launch_of())
        agent.close()
        os.kill(pid, signal.SIGKILL)
        again = new_agent(tmp_path)
        await again.open()
        fact = await fact_of(again)
        if isinstance(fact.process, Running):  # adopted in the instant before its end
            await until(lambda: is_stopped(again), "its end")
            fact = await fact_of(again)
        assert isinstance(fact.process, Stopped)
        assert fact.process.proof is not None
        assert fact.process.proof.identity.pid == pid
        assert fact.process.log_tail
        again.close()

    run(tmp_path, work)


def test_commands_of_a_controller_that_was_replaced_are_refused(tmp_path: Path) -> None:
    async def work(agent: LocalAgent) -> None:
        await agent.execute(StopNode(key=KEY), epoch=7)
        with pytest.raises(StaleEpoch, match="epoch 6 is over"):
            await agent.execute(StartNode(launch=launch_of()), epoch=6)
        agent.close()
        again = new_agent(tmp_path)
        await again.open()
        with pytest.raises(StaleEpoch):
            await again.execute(StopNode(key=KEY), epoch=6)
        await again.execute(StopNode(key=KEY), epoch=7)
        assert isinstance((await fact_of(again)).process, Absent)
        again.close()

    run(tmp_path, work)


def test_commands_for_one_node_wait_for_each_other(tmp_path: Path) -> None:
    async def work(agent: LocalAgent) -> None:
        launch = launch_of()
        start, stop = StartNode(launch=launch), StopNode(key=KEY)
        commands: list[HostCommand] = [start, stop, RemoveNode(key=KEY), start, start, stop, start]
        await asyncio.gather(*(agent.execute(command, epoch=1) for command in commands))
        assert isinstance((await fact_of(agent)).process, Running)

    run(tmp_path, work)


def test_the_host_says_which_engines_it_has(tmp_path: Path) -> None:
    async def work(agent: LocalAgent) -> None:
        (offer,) = agent.offers()
        assert (offer.engine, offer.api_version) == (EngineName.VALKEY, "9.1")
        assert offer.is_installed
        assert offer.source == "embedded"
        with pytest.raises(CommandFailed, match="cannot install valkey"):
            await agent.install(EngineName.VALKEY, "8.0")

    run(tmp_path, work)


def test_no_secret_is_seen_by_others(tmp_path: Path) -> None:
    async def work(agent: LocalAgent) -> None:
        pid = await start_serving(agent, launch_of())
        process = Path(f"/proc/{pid}")
        assert PASSWORD.encode() not in process.joinpath("cmdline").read_bytes()
        environment = process.joinpath("environ").read_bytes()
        assert b"CACHEWRIGHT" not in environment
        for path in (tmp_path / "nodes" / KEY).iterdir():
            assert path.stat().st_mode & 0o077 == 0, path
        assert (tmp_path / "nodes").stat().st_mode & 0o077 == 0

    os.environ["CACHEWRIGHT_SECRET_ACCESS_KEY"] = "not for engines"
    try:
        run(tmp_path, work)
    finally:
        del os.environ["CACHEWRIGHT_SECRET_ACCESS_KEY"]


def test_a_folder_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "nodes").touch()
    with pytest.raises(Terminal, match=rf"{tmp_path}/nodes: .*--state-dir"):
        asyncio.run(new_agent(tmp_path).open())


async def is_stopped(agent: LocalAgent) -> bool:
    return isinstance((await fact_of(agent)).process, Stopped)
