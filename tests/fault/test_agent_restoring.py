"""What was set at an engine for a while is taken back by who adopts it, and by who failed."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import signal
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path

import hiredis
import pytest

from cachewright.agent.giving import Giver
from cachewright.agent.supervisor import LocalAgent
from cachewright.engines.resp import AdminConnection, EngineUnreachable
from cachewright.engines.valkey import ValkeyAdapter
from cachewright.model.commands import ApplySettings, Launch
from cachewright.model.engines import EngineName
from cachewright.model.facts import EngineFact, LaunchFact, NodeFact
from cachewright.model.moves import MoveMethod
from cachewright.rpc.agent import CommandFailed
from tests.fault.agent_groups import hosting_all, launches_of, start_group
from tests.fault.agent_moves import (
    Pair,
    ask,
    carry_out_elsewhere,
    check_whole,
    configure,
    fill,
    has_settled,
    slots_of,
)
from tests.fault.agent_world import (
    PATIENCE_S,
    PORT,
    fact_of,
    hosting,
    launch_of,
    new_agent,
    pid_of,
    start_serving,
    until,
)

VALKEY_8 = (EngineName.VALKEY, "8.0")
COVERAGE = "cluster-require-full-coverage"
MIB = 1 << 20
#: As a launch of the service has them; the last is none of the engine's own.
SETTINGS = (
    ("appendonly", "no"),
    ("databases", "16"),
    ("maxmemory-policy", "volatile-lru"),
    ("rename-commands", ""),
    ("timeout", "0"),
)


def run(folder: Path, work: Callable[[Pair], Awaitable[None]]) -> None:
    """Run work on two primaries of Valkey 8.0; nobody is served where a slot has no owner."""

    async def hosted() -> None:
        async with hosting_all(folder) as agent:
            launches = launches_of(1, 1, VALKEY_8, is_cluster=True, empty=1)
            asked = [
                [dataclasses.replace(one, settings=((COVERAGE, "yes"),)) for one in shard]
                for shard in launches
            ]
            group = await start_group(agent, asked)
            await until(lambda: has_settled(group), "all slots are served")
            await fill(group.shards[0][0], 500)
            await work(Pair(agent, group, group.shards[0][0], group.shards[1][0]))

    asyncio.run(hosted())


@contextlib.asynccontextmanager
async def adopting(folder: Path) -> AsyncIterator[LocalAgent]:
    """Open another agent on the engines of a folder; they live on."""
    agent = new_agent(folder)
    await agent.open()
    try:
        yield agent
    finally:
        agent.close()


async def value_of(launch: Launch, name: str) -> str:
    (reply,) = await ask(launch, ("CONFIG", "GET", name))
    assert isinstance(reply, list)
    return str(reply[1], "ascii")


async def strangers_at(launch: Launch) -> list[str]:
    """Return the users of an engine that are not those of its start."""
    (reply,) = await ask(launch, ("ACL", "USERS"))
    assert isinstance(reply, list)
    known = {"default", "cachewright-admin", "cachewright-replication"}
    return [name for name in (str(user, "ascii") for user in reply) if name not in known]


@pytest.mark.parametrize("failpoint", ["after_import", "after_claim"])
def test_who_adopts_takes_back_what_a_move_has_set(tmp_path: Path, failpoint: str) -> None:
    async def work(pair: Pair) -> None:
        order = pair.order(slots_of((0, 800)), MoveMethod.COPY)
        assert await carry_out_elsewhere(tmp_path, order, failpoint) == -signal.SIGKILL
        assert await value_of(pair.source, COVERAGE) == "no"
        assert len(await strangers_at(pair.target)) == 1
        async with adopting(tmp_path) as agent:
            await agent.observe([pair.source.key, pair.target.key])
            assert await value_of(pair.source, COVERAGE) == "yes"
            assert await strangers_at(pair.target) == []
            await agent.execute(order, epoch=1)  # and the move goes on
        await check_whole(pair.group, 500)

    run(tmp_path, work)


def test_who_fails_in_a_move_takes_back_what_it_has_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def give(*_: object) -> list[int]:
        raise CommandFailed("somebody does not answer")

    async def work(pair: Pair) -> None:
        await configure(pair.target, maxmemory=str(96 * MIB))  # by hand: no move does that
        with pytest.raises(CommandFailed, match="somebody does not answer"):
            await pair.move(slots_of((0, 800)), MoveMethod.COPY)
        assert len(await strangers_at(pair.target)) == 1
        await pair.agent.observe([pair.source.key, pair.target.key])
        assert await value_of(pair.source, COVERAGE) == "yes"
        assert await strangers_at(pair.target) == []
        fact = launched(await fact_of(pair.agent, pair.target.key))
        assert fact.maxmemory_bytes == pair.target.maxmemory_bytes

    monkeypatch.setattr(Giver, "give", give)
    run(tmp_path, work)


def test_what_could_not_be_taken_back_at_the_end_of_a_move_is_taken_back_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, failed = ValkeyAdapter.configure, list[object]()

    async def configure_once_failing(
        self: ValkeyAdapter, admin: AdminConnection, settings: Mapping[str, str]
    ) -> object:
        if settings == {COVERAGE: "yes"}:
            failed.append(settings)
            raise EngineUnreachable("no answer")
        return await original(self, admin, settings)

    async def work(pair: Pair) -> None:
        await pair.move(slots_of((0, 800)), MoveMethod.COPY)
        assert len(failed) == 1
        assert await value_of(pair.source, COVERAGE) == "no"
        monkeypatch.undo()
        await pair.agent.observe([pair.source.key])
        assert await value_of(pair.source, COVERAGE) == "yes"

    monkeypatch.setattr(ValkeyAdapter, "configure", configure_once_failing)
    run(tmp_path, work)


def test_nothing_is_taken_back_that_a_move_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also of an engine that was adopted and has not been told anything yet."""
    seen: list[str] = []

    async def work(pair: Pair) -> None:
        original = Giver.give

        async def give(self: Giver, counts: dict[int, int], key_bytes: int) -> list[int]:
            await agent.observe([pair.source.key, pair.target.key])
            seen.append(await value_of(pair.source, COVERAGE))
            assert len(await strangers_at(pair.target)) == 1
            return await original(self, counts, key_bytes)

        monkeypatch.setattr(Giver, "give", give)
        async with adopting(tmp_path) as agent:
            await agent.execute(pair.order(slots_of((0, 800)), MoveMethod.COPY), epoch=1)
            assert seen == ["no"]
            assert await value_of(pair.source, COVERAGE) == "yes"
        await check_whole(pair.group, 500)

    run(tmp_path, work)


def test_a_look_waits_for_nobody_who_does_something_with_the_node(tmp_path: Path) -> None:
    launch = dataclasses.replace(launch_of(), settings=SETTINGS)

    async def work() -> None:
        async with hosting(tmp_path) as first:
            await start_serving(first, launch)
            await configure(launch, timeout="77")
            first.close()
            async with adopting(tmp_path) as second:
                async with second._nodes[launch.key].commands, asyncio.timeout(PATIENCE_S):
                    await second.observe([launch.key])
                assert await value_of(launch, "timeout") == "77"
                await second.observe([launch.key])
                assert await value_of(launch, "timeout") == "0"

    asyncio.run(work())


def launched(fact: NodeFact) -> LaunchFact:
    assert fact.launched is not None
    return fact.launched


def test_an_adopted_engine_runs_with_what_its_record_says(tmp_path: Path) -> None:
    """As if whoever was here had told it something, and died before writing that down."""
    launch = dataclasses.replace(launch_of(), settings=SETTINGS)

    async def work() -> None:
        async with hosting(tmp_path) as first:
            await start_serving(first, launch)
            await configure(launch, timeout="77", maxmemory_policy="noeviction", maxclients="300")
            await ask(launch, ("ACL", "SETUSER", "default", "-get"))
            await configure(launch, maxmemory=str(96 * MIB), loglevel="debug")
            await first.observe([launch.key])  # it has nothing to take back
            assert await value_of(launch, "timeout") == "77"
            first.close()
            async with adopting(tmp_path) as second:
                fact = await fact_of(second, launch.key)
                assert await value_of(launch, "timeout") == "0"
                assert await value_of(launch, "maxmemory-policy") == "volatile-lru"
                assert await value_of(launch, "maxclients") == "400"
                assert await value_of(launch, "loglevel") == "debug"  # is in no record
                (commands,) = await ask(launch, ("ACL", "GETUSER", "default"))
                assert "-get" not in repr(commands).split()
                # More memory is not taken away from keys that may lie there.
                assert await value_of(launch, "maxmemory") == str(96 * MIB)
                assert (launched(fact).settings, launched(fact).refused) == (SETTINGS, ())

    asyncio.run(work())


def test_who_does_not_answer_is_told_later_and_keeps_nobody_waiting(tmp_path: Path) -> None:
    frozen, other = (
        dataclasses.replace(launch_of(key), settings=SETTINGS) for key in ("g.n-1", "g.n-2")
    )

    async def work() -> None:
        async with hosting(tmp_path) as first:
            pid = await start_serving(first, frozen)
            await start_serving(first, other)
            for launch in (frozen, other):
                await configure(launch, timeout="77")
            first.close()
            os.kill(pid, signal.SIGSTOP)
            async with adopting(tmp_path) as second:
                facts = await second.observe([frozen.key, other.key])
                assert pid_of(facts[frozen.key]) == pid
                assert not isinstance(facts[frozen.key].engine, EngineFact)
                assert await value_of(other, "timeout") == "0"
                os.kill(pid, signal.SIGCONT)

                async def is_told() -> bool:
                    await second.observe([frozen.key])
                    return await value_of(frozen, "timeout") == "0"

                await until(is_told, "it is told as soon as it answers")

    asyncio.run(work())


def test_what_the_engine_refuses_to_take_back_is_told(tmp_path: Path) -> None:
    """Nobody is left to believe that it runs with what its record says."""
    wrong = ("maxmemory-policy", "nonsense")
    launch = dataclasses.replace(launch_of(), settings=SETTINGS)

    async def work() -> None:
        async with hosting(tmp_path) as first:
            await start_serving(first, launch)
            node = first._nodes[launch.key]
            said = tuple(wrong if name == wrong[0] else (name, v) for name, v in SETTINGS)
            node.write(
                dataclasses.replace(node.record, launch=dataclasses.replace(launch, settings=said))
            )
            await configure(launch, timeout="77")
            first.close()
            async with adopting(tmp_path) as second:
                fact = launched(await fact_of(second, launch.key))
                assert await value_of(launch, "timeout") == "0"
                assert [(one.name, one.value) for one in fact.refused] == [wrong]
                assert wrong not in fact.settings

    asyncio.run(work())


def test_a_busy_engine_refuses_no_settings(tmp_path: Path) -> None:
    """It takes them when its script has ended; what it took half by then is told once more."""
    launch = dataclasses.replace(launch_of(), settings=SETTINGS)
    better = tuple((name, "5" if name == "timeout" else value) for name, value in SETTINGS)
    apply = ApplySettings(key=launch.key, settings=better, maxmemory_bytes=launch.maxmemory_bytes)

    async def work() -> None:
        async with hosting(tmp_path) as agent:
            await start_serving(agent, launch)
            await configure(launch, busy_reply_threshold="10")
            with socket.create_connection((launch.address, PORT)) as client:
                client.sendall(hiredis.pack_command(("EVAL", "while true do end", 0)))  # type: ignore[arg-type] # 1-tuple

                async def is_busy() -> bool:
                    return "BUSY" in str((await ask(launch, ("PING",)))[0])

                await until(is_busy, "a script runs")
                with pytest.raises(CommandFailed, match="BUSY"):
                    await agent.execute(apply, epoch=1)
                assert launched(await fact_of(agent, launch.key)).refused == ()
                await ask(launch, ("SCRIPT", "KILL"))

                async def is_free() -> bool:
                    return not await is_busy()

                await until(is_free, "the script has ended")
            await agent.execute(apply, epoch=1)
            fact = launched(await fact_of(agent, launch.key))
            assert (fact.settings, fact.refused) == (better, ())
            assert await value_of(launch, "timeout") == "5"

    asyncio.run(work())


def test_settings_that_were_told_and_not_written_down_are_taken_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the agent that lives on as well: the plan may be another one by then."""
    launch = dataclasses.replace(launch_of(), settings=SETTINGS)
    better = tuple((name, "5" if name == "timeout" else value) for name, value in SETTINGS)
    apply = ApplySettings(key=launch.key, settings=better, maxmemory_bytes=96 * MIB)

    async def work() -> None:
        async with hosting(tmp_path) as agent:
            await start_serving(agent, launch)
            record = tmp_path / "nodes" / launch.key / "node.json.new"
            record.mkdir()
            with pytest.raises(CommandFailed):
                await agent.execute(apply, epoch=1)
            assert await value_of(launch, "timeout") == "5"
            record.rmdir()
            fact = launched(await fact_of(agent, launch.key))
            assert fact.settings == SETTINGS
            assert await value_of(launch, "timeout") == "0"
            assert fact.maxmemory_bytes == 96 * MIB

    asyncio.run(work())
