"""Do the items of a Memcached node outlive what is planned and nothing else, and leave no trace?"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import shutil
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from cachewright.agent import memory
from cachewright.agent.supervisor import LocalAgent
from cachewright.engines.catalogue import Catalogue
from cachewright.kit import failpoints, shared_memory
from cachewright.kit.clock import SystemClock
from cachewright.model.commands import ApplySettings, Launch, RemoveNode, StartNode, StopNode
from cachewright.model.facts import Absent, NodeFact, Running, Stopped
from cachewright.rpc.agent import CommandFailed
from tests.contract.engine_lab import miss
from tests.contract.memcached_lab import MIB, Client, build_named, launch_of
from tests.fault.agent_world import PATIENCE_S, end_engines, fact_of, pid_of, until

VERSION = "1.6.38"
KEY = "abcd1234.0001"


@pytest.fixture(autouse=True)
def _build() -> None:
    if isinstance(found := build_named(VERSION), str):
        miss(found)


def memory_of(folder: Path) -> Path:
    """Return where the items of all nodes of a test are."""
    return shared_memory.folder_of(folder / "nodes")


@contextlib.asynccontextmanager
async def hosting(folder: Path) -> AsyncIterator[LocalAgent]:
    """Open an agent on `folder`; at the end, leave no engine and no items behind."""
    agent = LocalAgent(folder / "nodes", Catalogue(), SystemClock(), start_timeout_s=PATIENCE_S)
    await agent.open()
    try:
        yield agent
    finally:
        agent.close()
        end_engines(folder)


def run(folder: Path, work: Callable[[LocalAgent], Awaitable[None]]) -> None:
    async def hosted() -> None:
        async with hosting(folder) as agent:
            await work(agent)

    asyncio.run(hosted())


def small(**changes: object) -> Launch:
    return launch_of(VERSION, key=KEY, **changes)


async def start(agent: LocalAgent, launch: Launch) -> NodeFact:
    await agent.execute(StartNode(launch=launch), epoch=1)
    return await fact_of(agent, KEY)


async def stop(agent: LocalAgent, *, keeps: bool) -> NodeFact:
    await agent.execute(StopNode(key=KEY, saves=keeps), epoch=1)
    fact = await fact_of(agent, KEY)
    assert isinstance(fact.process, Stopped)
    assert fact.process.proof is not None
    return fact


def put(launch: Launch) -> None:
    client = Client(launch.address)
    client.set("k", b"v" * 700_000)
    client.close()


def got(launch: Launch) -> tuple[int, bytes] | None:
    client = Client(launch.address)
    try:
        return client.get("k")
    finally:
        client.close()


def loading(launch: Launch, **changes: object) -> Launch:
    return dataclasses.replace(launch, loads_saved_data=True, restarts=1, **changes)  # type: ignore[arg-type] # a test knows the fields


def test_a_planned_restart_keeps_items_and_a_crash_after_it_does_not(tmp_path: Path) -> None:
    async def work(agent: LocalAgent) -> None:
        launch = small()
        await start(agent, launch)
        put(launch)
        fact = await stop(agent, keeps=True)
        assert fact.has_saved_data
        assert fact.cold_start_reason == ""
        fact = await start(agent, loading(launch))
        assert got(launch) == (0, b"v" * 700_000)
        assert not fact.has_saved_data
        assert fact.cold_start_reason == ""
        assert fact.launched is not None
        assert fact.launched.restarts == 1
        os.kill(pid_of(fact), signal.SIGKILL)
        await until(lambda: is_stopped(agent), "its end is seen")
        fact = await fact_of(agent, KEY)
        assert not fact.has_saved_data
        await start(agent, small(address=launch.address, restarts=1))
        assert got(launch) is None

    run(tmp_path, work)


async def is_stopped(agent: LocalAgent) -> bool:
    return isinstance((await fact_of(agent, KEY)).process, Stopped)


def test_another_layout_starts_empty_and_says_why(tmp_path: Path) -> None:
    async def work(agent: LocalAgent) -> None:
        launch = small(settings=(("chunk_size", "48"), ("max_item_size", "1048576")))
        await start(agent, launch)
        put(launch)
        assert (await stop(agent, keeps=True)).has_saved_data
        changed = (("chunk_size", "96"), ("max_item_size", "1048576"))
        fact = await start(agent, loading(launch, settings=changed))
        assert got(launch) is None
        assert fact.cold_start_reason == "chunk_size changed from 48 to 96"
        assert not fact.has_saved_data
        # The next planned restart is another one.
        put(launch)
        fact = await stop(agent, keeps=True)
        assert (fact.has_saved_data, fact.cold_start_reason) == (True, "")

    run(tmp_path, work)


def test_more_memory_keeps_the_items(tmp_path: Path) -> None:
    async def work(agent: LocalAgent) -> None:
        launch = small()
        fact = await start(agent, launch)
        assert fact.launched is not None
        assert fact.launched.keeps_items
        put(launch)
        await stop(agent, keeps=True)
        fact = await start(agent, loading(launch, maxmemory_bytes=128 * MIB, node_type="large"))
        assert (fact.cold_start_reason, got(launch)) == ("", (0, b"v" * 700_000))
        assert (memory_of(tmp_path) / KEY / "items").stat().st_size == 128 * MIB
        assert fact.launched is not None
        assert fact.launched.node_type == "large"

    run(tmp_path, work)


@pytest.mark.parametrize("place", ["cachewright.agent.memory.MemoryFolder.claim", "items.meta"])
def test_what_cannot_grow_starts_empty_and_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    async def work(agent: LocalAgent) -> None:
        launch = small()
        await start(agent, launch)
        put(launch)
        await stop(agent, keeps=True)
        if place == "items.meta":
            (memory_of(tmp_path) / KEY / "items.meta.new").mkdir()
            words = "could not be made to fit"
        else:
            monkeypatch.setattr(memory, "FREE_BYTES_MIN", 1 << 60)
            words = "128 MiB are wanted"
        fact = await start(agent, loading(launch, maxmemory_bytes=128 * MIB))
        assert words in fact.cold_start_reason
        assert got(launch) is None

    run(tmp_path, work)


def test_a_death_after_items_were_made_to_fit_loses_none(tmp_path: Path) -> None:
    async def work(agent: LocalAgent) -> None:
        launch = small()
        await start(agent, launch)
        put(launch)
        await stop(agent, keeps=True)
        larger = loading(launch, maxmemory_bytes=128 * MIB)
        failpoints.arm("agent.before_spawn")
        with pytest.raises(failpoints.Injected):
            await agent.execute(StartNode(launch=larger), epoch=1)
        assert (await fact_of(agent, KEY)).has_saved_data
        fact = await start(agent, larger)
        assert (fact.cold_start_reason, got(launch)) == ("", (0, b"v" * 700_000))

    run(tmp_path, work)


def test_a_node_without_a_file_takes_more_memory_while_it_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "FREE_BYTES_MIN", 1 << 60)

    async def work(agent: LocalAgent) -> None:
        launch = small(node_type="small")
        before = await start(agent, launch)
        assert before.launched is not None
        assert not before.launched.keeps_items
        put(launch)
        larger = ApplySettings(key=KEY, settings=(), maxmemory_bytes=128 * MIB, node_type="large")
        await agent.execute(larger, epoch=1)
        fact = await fact_of(agent, KEY)
        assert fact.process == before.process
        assert fact.launched is not None
        assert (fact.launched.node_type, fact.launched.maxmemory_bytes) == ("large", 128 * MIB)
        assert got(launch) is not None
        # Too little is not taken, and then it is of the type that it was of.
        tiny = ApplySettings(key=KEY, settings=(), maxmemory_bytes=7 * MIB, node_type="tiny")
        await agent.execute(tiny, epoch=1)
        fact = await fact_of(agent, KEY)
        assert fact.launched is not None
        assert (fact.launched.node_type, fact.launched.maxmemory_bytes) == ("large", 128 * MIB)
        assert [one.name for one in fact.launched.refused] == ["maxmemory"]

    run(tmp_path, work)


def test_a_crash_tells_no_reason_of_a_plan(tmp_path: Path) -> None:
    async def work(agent: LocalAgent) -> None:
        launch = small()
        await start(agent, launch)
        await stop(agent, keeps=True)
        fact = await start(agent, loading(launch, maxmemory_bytes=63 * MIB))
        assert fact.cold_start_reason == "memory changed from 64 MiB to 63 MiB"
        os.kill(pid_of(fact), signal.SIGKILL)
        await until(lambda: is_stopped(agent), "its end is seen")
        assert (await fact_of(agent, KEY)).cold_start_reason == ""

    run(tmp_path, work)


def test_a_stop_that_is_not_planned_keeps_nothing_and_frees_the_memory(tmp_path: Path) -> None:
    async def work(agent: LocalAgent) -> None:
        launch = small()
        await start(agent, launch)
        assert (memory_of(tmp_path) / KEY / "items").stat().st_size == 64 * MIB
        fact = await stop(agent, keeps=False)
        assert not fact.has_saved_data
        assert not memory_of(tmp_path).exists()
        # Kept for a restart, and then it is a stop for good.
        await start(agent, launch)
        assert (await stop(agent, keeps=True)).has_saved_data
        assert not (await stop(agent, keeps=False)).has_saved_data
        assert not memory_of(tmp_path).exists()

    run(tmp_path, work)


def test_a_signal_from_outside_keeps_nothing(tmp_path: Path) -> None:
    """What lies there is of no stop of ours, so it could be of any age."""

    async def work(agent: LocalAgent) -> None:
        launch = small()
        fact = await start(agent, launch)
        put(launch)
        os.kill(pid_of(fact), signal.SIGUSR1)
        await until(lambda: is_stopped(agent), "its end is seen")
        assert (memory_of(tmp_path) / KEY / "items.meta").exists()
        assert not (await fact_of(agent, KEY)).has_saved_data
        fact = await start(agent, loading(launch))
        assert got(launch) is None
        assert fact.cold_start_reason == "there are none of a planned stop"

    run(tmp_path, work)


def test_removing_leaves_nothing_even_if_everything_was_killed(tmp_path: Path) -> None:
    async def killed() -> Launch:
        async with hosting(tmp_path) as agent:
            launch = small()
            fact = await start(agent, launch)
            put(launch)
            agent.close()  # as if we had been killed: nothing is told or written
            os.kill(pid_of(fact), signal.SIGKILL)
            shutil.copytree(memory_of(tmp_path), tmp_path / "kept")
        shutil.copytree(tmp_path / "kept", memory_of(tmp_path))
        return launch

    asyncio.run(killed())
    assert (memory_of(tmp_path) / KEY / "items").exists()

    async def work(agent: LocalAgent) -> None:
        assert not (await fact_of(agent, KEY)).has_saved_data
        await agent.execute(RemoveNode(key=KEY), epoch=1)
        assert isinstance((await fact_of(agent, KEY)).process, Absent)
        assert not memory_of(tmp_path).exists()

    run(tmp_path, work)


@pytest.mark.parametrize("is_small", [True, False])
def test_without_room_in_memory_it_runs_and_a_restart_says_why_it_is_empty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_small: bool
) -> None:
    if is_small:
        monkeypatch.setattr(memory, "FREE_BYTES_MIN", 1 << 60)
        words = "64 MiB are wanted"
    else:
        monkeypatch.setattr(memory, "_IN_MEMORY", frozenset())
        words = "is no file system in memory"

    async def work(agent: LocalAgent) -> None:
        launch = small()
        fact = await start(agent, launch)
        assert isinstance(fact.process, Running)
        assert fact.cold_start_reason == ""
        put(launch)
        assert got(launch) is not None
        assert not memory_of(tmp_path).exists()
        fact = await stop(agent, keeps=True)
        assert not fact.has_saved_data
        assert words in fact.cold_start_reason
        fact = await start(agent, dataclasses.replace(launch, restarts=1))
        assert words in fact.cold_start_reason

    run(tmp_path, work)


def test_a_folder_that_somebody_else_made_is_not_used(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir(mode=0o700)
    memory_of(tmp_path).symlink_to(elsewhere)
    try:

        async def work(agent: LocalAgent) -> None:
            launch = small()
            await start(agent, launch)
            assert list(elsewhere.iterdir()) == []
            fact = await stop(agent, keeps=True)
            assert "something else is in its place" in fact.cold_start_reason
            await agent.execute(RemoveNode(key=KEY), epoch=1)

        run(tmp_path, work)
    finally:
        memory_of(tmp_path).unlink()


def test_a_frozen_node_is_replaced_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It holds a cache: nobody waits for it for ever."""
    monkeypatch.setattr("cachewright.agent.keeping.KEEP_TIMEOUT_S", 0.3)

    async def work(agent: LocalAgent) -> None:
        launch = small()
        fact = await start(agent, launch)
        os.kill(pid_of(fact), signal.SIGSTOP)
        fact = await stop(agent, keeps=True)
        assert not fact.has_saved_data
        assert "did not end within" in fact.cold_start_reason
        assert not memory_of(tmp_path).exists()

    run(tmp_path, work)


def test_what_this_version_cannot_be_told_is_no_setting_that_it_runs_with(tmp_path: Path) -> None:
    async def work(agent: LocalAgent) -> None:
        launch = small(settings=(("chunk_size", "48"), ("worker_logbuf_size", "128")))
        launched = (await start(agent, launch)).launched
        assert launched is not None
        assert launched.settings == (("chunk_size", "48"),)
        (refused,) = launched.refused
        assert (refused.name, refused.value) == ("worker_logbuf_size", "128")
        client = Client(launch.address)
        assert client.stats("settings")["worker_logbuf_size"] == "65536"
        client.close()
        # The same again is the same, whatever was refused of it.
        await start(agent, launch)

    run(tmp_path, work)


#: A program that is taken for a memcached of the host's owner, made without TLS.
PLAIN_BUILD = """#!/bin/sh
[ "$1" = -V ] && echo "memcached 1.6.99"
[ "$1" = -h ] && echo "-p, --port=<num>"
exit 0
"""


def test_a_build_without_tls_is_not_started_for_a_node_that_needs_it(tmp_path: Path) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "memcached").write_text(PLAIN_BUILD)
    (programs / "memcached").chmod(0o755)

    async def work() -> None:
        agent = LocalAgent(
            tmp_path / "nodes",
            Catalogue(tmp_path / "engines", search_path=str(programs)),
            SystemClock(),
        )
        await agent.open()
        launch = launch_of("1.6.99", key=KEY, transit_encryption=True)
        with pytest.raises(CommandFailed, match=r"memcached 1\.6\.99 of this host cannot do TLS"):
            await agent.execute(StartNode(launch=launch), epoch=1)
        assert (await fact_of(agent, KEY)).failed_starts == 1
        agent.close()

    asyncio.run(work())


def test_a_crash_that_nobody_saw_tells_no_reason_of_a_plan(tmp_path: Path) -> None:
    async def first() -> None:
        async with hosting(tmp_path) as agent:
            launch = small()
            await start(agent, launch)
            await stop(agent, keeps=True)
            fact = await start(agent, loading(launch, maxmemory_bytes=63 * MIB))
            assert fact.cold_start_reason
            agent.close()
            os.kill(pid_of(fact), signal.SIGKILL)
            os.waitpid(pid_of(fact), 0)  # noqa: ASYNC222 nothing else runs here

    asyncio.run(first())

    async def work(agent: LocalAgent) -> None:
        fact = await fact_of(agent, KEY)
        assert isinstance(fact.process, Stopped)
        assert fact.cold_start_reason == ""

    run(tmp_path, work)
