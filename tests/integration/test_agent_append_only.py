"""Does the agent keep an append-only file for the start that wants it, and for no other?"""

from __future__ import annotations

import asyncio
import dataclasses
import os
import re
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from cachewright.agent import append_only
from cachewright.agent.supervisor import LocalAgent
from cachewright.model.commands import ApplySettings, Launch, StartNode, StopNode
from cachewright.model.facts import Stopped
from cachewright.rpc.agent import CommandFailed
from tests.fault.agent_world import (
    KEY,
    fact_of,
    hosting,
    launch_of,
    pid_of,
    say,
    start_serving,
    until,
)

COUNT = 100
#: Of an engine that cannot start; few of them are asked in the wrong moment.
STARTS_MAX = 20
KEPT = (("appendfsync", "no"), ("appendonly", "yes"))
GIVEN_UP = (("appendfsync", "no"), ("appendonly", "no"))


def run(folder: Path, work: Callable[[LocalAgent], Awaitable[None]]) -> None:
    async def hosted() -> None:
        async with hosting(folder) as agent:
            await work(agent)

    asyncio.run(hosted())


def keeping(**changes: object) -> Launch:
    return dataclasses.replace(launch_of(), settings=KEPT, **changes)  # type: ignore[arg-type] # fields of a launch


def write(launch: Launch, start: int = 0) -> None:
    for number in range(start, start + COUNT):
        assert say(launch.address, "SET", f"key:{number}", "x") == "OK"


def count(launch: Launch) -> object:
    return say(launch.address, "DBSIZE")


async def kill(agent: LocalAgent) -> None:
    os.kill(pid_of(await fact_of(agent)), signal.SIGKILL)
    await until(lambda: has_ended(agent), "its end is proven")


async def has_ended(agent: LocalAgent) -> bool:
    return isinstance((await fact_of(agent)).process, Stopped)


def loading(launch: Launch) -> Launch:
    return dataclasses.replace(launch, loads_append_only_file=True)


def test_a_killed_engine_has_its_data_again_as_often_as_it_takes(tmp_path: Path) -> None:
    async def work(agent: LocalAgent) -> None:
        launch = keeping()
        await start_serving(agent, launch)
        for times in (1, 2, 3):
            write(launch, (times - 1) * COUNT)
            await kill(agent)
            assert (await fact_of(agent)).has_append_only_file
            pid = await start_serving(agent, loading(launch))
            assert count(launch) == times * COUNT
            # What it has loaded makes it no other engine.
            assert await start_serving(agent, launch) == pid

    run(tmp_path, work)


def test_the_file_outlives_the_agent(tmp_path: Path) -> None:
    launch = keeping()

    async def first(agent: LocalAgent) -> None:
        await start_serving(agent, launch)
        write(launch)

    async def second(agent: LocalAgent) -> None:
        fact = await fact_of(agent)
        assert isinstance(fact.process, Stopped)
        assert fact.has_append_only_file
        await start_serving(agent, loading(launch))
        assert count(launch) == COUNT

    run(tmp_path, first)
    run(tmp_path, second)


def test_a_start_that_does_not_want_it_throws_it_away(tmp_path: Path) -> None:
    async def work(agent: LocalAgent) -> None:
        launch = keeping()
        await start_serving(agent, launch)
        write(launch)
        await kill(agent)
        await start_serving(agent, launch)
        assert count(launch) == 0
        write(launch)
        await kill(agent)
        await start_serving(agent, loading(launch))
        assert count(launch) == COUNT

    run(tmp_path, work)


def test_there_is_nothing_to_load_where_no_file_was_kept(tmp_path: Path) -> None:
    async def work(agent: LocalAgent) -> None:
        launch = launch_of()
        for _ in range(2):
            with pytest.raises(CommandFailed, match="no append-only file to load"):
                await agent.execute(StartNode(launch=loading(launch)), epoch=1)
            await start_serving(agent, launch)
            await kill(agent)
            assert not (await fact_of(agent)).has_append_only_file

    run(tmp_path, work)


def test_a_file_that_was_given_up_is_removed_at_once(tmp_path: Path) -> None:
    async def work(agent: LocalAgent) -> None:
        launch = keeping()
        await start_serving(agent, launch)
        write(launch)
        place = tmp_path / "nodes" / KEY / append_only.FOLDER_NAME
        assert place.is_dir()

        async def tell(settings: tuple[tuple[str, str], ...]) -> None:
            command = ApplySettings(
                key=KEY, settings=settings, maxmemory_bytes=launch.maxmemory_bytes
            )
            await agent.execute(command, epoch=1)

        await tell(GIVEN_UP)
        assert not place.exists()
        assert not (await fact_of(agent)).has_append_only_file
        write(launch, COUNT)
        # Begun anew, it has everything once its first part is written, and counts only then.
        await tell(KEPT)

        async def is_written() -> bool:
            return (await fact_of(agent)).has_append_only_file

        await until(is_written, "the first part is written")
        await kill(agent)
        await start_serving(agent, loading(launch))
        assert count(launch) == 2 * COUNT

    run(tmp_path, work)


def test_who_loads_the_file_keeps_it_until_told_otherwise(tmp_path: Path) -> None:
    """The wish for it may have gone while the node was down."""

    async def work(agent: LocalAgent) -> None:
        launch = keeping()
        await start_serving(agent, launch)
        write(launch)
        await kill(agent)
        await start_serving(agent, loading(dataclasses.replace(launch, settings=GIVEN_UP)))
        assert count(launch) == COUNT
        launched = (await fact_of(agent)).launched
        assert launched is not None
        assert dict(launched.settings)["appendonly"] == "yes"

    run(tmp_path, work)


def test_a_saved_snapshot_is_loaded_and_becomes_the_first_part_of_the_file(tmp_path: Path) -> None:
    """An engine that keeps a file ignores every snapshot."""

    async def work(agent: LocalAgent) -> None:
        for launch in (launch_of(), keeping()):
            await start_serving(agent, launch)
            write(launch)
            await agent.execute(StopNode(key=KEY, saves=True), epoch=1)
            assert (await fact_of(agent)).has_saved_data
            after = dataclasses.replace(launch, settings=KEPT, loads_saved_data=True)
            await start_serving(agent, after)
            assert count(launch) == COUNT
            write(launch, COUNT)
            await kill(agent)
            assert not (await fact_of(agent)).has_saved_data
            await start_serving(agent, loading(dataclasses.replace(after, loads_saved_data=False)))
            assert count(launch) == 2 * COUNT
            await agent.execute(StopNode(key=KEY), epoch=1)

    run(tmp_path, work)


def test_a_file_that_is_broken_keeps_the_engine_from_starting_and_stays(tmp_path: Path) -> None:
    async def work(agent: LocalAgent) -> None:
        launch = keeping()
        await start_serving(agent, launch)
        write(launch)
        await kill(agent)
        (part,) = (tmp_path / "nodes" / KEY / append_only.FOLDER_NAME).glob("*.incr.aof")
        part.write_bytes(b"this was a disk once" + part.read_bytes())
        failures, said = 0, list[str]()
        for _ in range(STARTS_MAX):
            try:
                await agent.execute(StartNode(launch=loading(launch)), epoch=1)
            except CommandFailed as failed:
                said.append(str(failed))
                failures += 1
            else:
                # It was asked in the one moment in which it listens and has not read the file.
                await until(lambda: has_ended(agent), "its end")
                failures = 0
            fact = await fact_of(agent)
            assert (fact.failed_starts, fact.has_append_only_file) == (failures, True)
            if failures == 2:
                reason = re.compile("bad file format|aof|append", re.IGNORECASE)
                assert all(map(reason.search, said)), said
                return
        raise AssertionError(f"{failures} failures in a row")

    run(tmp_path, work)
