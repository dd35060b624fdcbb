"""Do small slots go in one step, so that no client is sent after a key, whatever goes wrong?"""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import os
import re
import signal
from collections.abc import Sequence
from pathlib import Path

import pytest

from cachewright.agent import giving
from cachewright.agent.copying import Copier
from cachewright.agent.gate import Passage
from cachewright.agent.giving import Giver
from cachewright.engines import slot_scripts
from cachewright.engines.resp import AdminConnection, Argument, EngineRefused, Reply
from cachewright.engines.slot_replies import int_of, list_of
from cachewright.engines.slots import Given, GiveOutcome, GiveWay, MemoryUse
from cachewright.engines.valkey_slots import ValkeySlots
from cachewright.model.engines import EngineName
from cachewright.model.moves import MoveMethod
from cachewright.model.slots import SLOT_COUNT
from cachewright.rpc.agent import CommandFailed
from tests.fault.agent_moves import (
    ALL_SLOTS,
    Pair,
    admin_of,
    ask,
    check_whole,
    configure,
    fill,
    run_with_newcomer,
    slots_of,
    spread,
    writing,
)
from tests.fault.agent_world import PATIENCE_S

pytestmark = pytest.mark.usefixtures("patient")
COPY = MoveMethod.COPY
BUILDS = [
    pytest.param((EngineName.REDIS, "7.0"), id="redis-7.0"),
    pytest.param((EngineName.VALKEY, "8.0"), id="valkey-8.0"),
    pytest.param((EngineName.VALKEY, "8.1"), id="valkey-8.1"),
]


@pytest.fixture
def outcomes(monkeypatch: pytest.MonkeyPatch) -> list[GiveOutcome]:
    """What has come of each step, once it began."""
    seen: list[GiveOutcome] = []
    original = ValkeySlots.give

    async def give(
        self: ValkeySlots, admin: AdminConnection, ways: Sequence[GiveWay]
    ) -> list[Given]:
        found = await original(self, admin, ways)
        seen.extend(one.outcome for one in found if one.outcome is not GiveOutcome.BUSY)
        return found

    monkeypatch.setattr(ValkeySlots, "give", give)
    return seen


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a busy machine be no reason to cut a step."""
    monkeypatch.setattr(giving, "_PATIENCE_S", 5.0)
    monkeypatch.setattr(giving, "_CLAIM_S", 4.0)


@pytest.mark.slow(40)
@pytest.mark.parametrize("build", BUILDS)
def test_no_client_is_sent_after_a_key(
    tmp_path: Path, outcomes: list[GiveOutcome], build: tuple[EngineName, str]
) -> None:
    """Where replicas are waited for, however long; all slots of a shard go, and come back."""

    async def work(pair: Pair) -> None:
        pair = dataclasses.replace(pair, target=pair.group.shards[1][0])
        async with writing(pair.group) as writer:
            await pair.move(slots_of((0, 8191)), COPY)
            await pair.back().move(slots_of((0, 8191)), COPY)
            report = await writer.end()
        await check_whole(pair.group, 2000)
        await writer.check(pair.group)
        assert {*report["errors"]} - {"CLUSTERDOWN"} == {"MOVED"}
        assert {*outcomes} == {GiveOutcome.GIVEN}

    run_with_newcomer(tmp_path, build, work, nodes=2, shards=2)


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> list[Reply]:
    """What is said to a write that comes right after a step, before the engine reads news.

    It comes on the connection of the step, in the same piece: nothing is read in between.
    """
    seen: list[Reply] = []
    original = AdminConnection.pipeline

    async def pipeline(
        self: AdminConnection,
        commands: Sequence[Sequence[Argument]],
        *,
        timeout_s: float | None = None,
    ) -> list[Reply]:
        if commands[0][:2] != ("EVAL", slot_scripts.GIVE):
            return await original(self, commands, timeout_s=timeout_s)
        steps = [words for words in commands if words[0] == "EVAL"]
        name = giving._marker_in({int(slot) for slot in steps[-1][4:]})
        behind = [*steps, ("SET", name, "late"), *commands[len(steps) :]]
        replies = await original(self, behind, timeout_s=timeout_s)
        seen.append(replies.pop(len(steps)))
        return replies

    monkeypatch.setattr(AdminConnection, "pipeline", pipeline)
    return seen


@pytest.mark.parametrize("build", BUILDS)
def test_replicas_have_all_keys_before_they_are_dropped_where_they_were(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, build: tuple[EngineName, str]
) -> None:
    """Redis says so by itself but once a second."""
    original, lags = Giver._claim, list[int]()
    monkeypatch.setattr(giving, "_REPLICATE_S", 1.0)

    async def work(pair: Pair) -> None:
        pair = dataclasses.replace(pair, target=pair.group.shards[1][0])

        async def offsets() -> tuple[int, int]:
            """Return what the one that takes has, and what its replica has said that it has."""
            (said,) = await ask(pair.target, ("INFO", "replication"))
            found = re.findall(r"slave0:[^\\]*,offset=(\d+)|master_repl_offset:(\d+)", str(said))
            (replica, _), (_, primary) = found
            return int(primary), int(replica)

        async def claim(self: Giver, slots: list[int], passage: Passage) -> None:
            there, _ = await offsets()
            await original(self, slots, passage)
            _, has = await offsets()
            lags.append(there - has)

        monkeypatch.setattr(Giver, "_claim", claim)
        await spread(pair.source, 1000)
        await pair.move(slots_of((0, 1000)), COPY)
        assert await pair.owned() == 8192 + 1001
        assert len(lags) > 5
        assert max(lags) <= 0

    run_with_newcomer(tmp_path, build, work, nodes=2, shards=2)


@pytest.mark.parametrize("build", BUILDS[:2])
def test_keys_stay_where_they_are_while_who_takes_hangs_and_owns_nothing_yet(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    outcomes: list[GiveOutcome],
    build: tuple[EngineName, str],
) -> None:
    """Its replica may not have them, and may have to take over."""
    original, pids = Giver._replicate, list[int]()

    async def work(pair: Pair) -> None:
        async def hang(self: Giver) -> None:
            if pids:
                pid = pids.pop()
                os.kill(pid, signal.SIGSTOP)
                # Later than the one that gives waits for it.
                asyncio.get_running_loop().call_later(6.0, os.kill, pid, signal.SIGCONT)
                await self.claiming.first.call(self.claiming.first.keeper.ping)
            await original(self)

        monkeypatch.setattr(Giver, "_replicate", hang)
        pids.append(await pair.pid(pair.target))
        await pair.move(slots_of((0, 1000)), COPY)
        await check_whole(pair.group, 2000)
        assert GiveOutcome.KEPT in outcomes
        assert GiveOutcome.CUT not in outcomes

    run_with_newcomer(tmp_path, build, work, keys=2000)


def test_a_replica_that_hangs_holds_no_move_up(tmp_path: Path) -> None:
    async def work(pair: Pair) -> None:
        target, replica = pair.group.shards[1]
        pair = dataclasses.replace(pair, target=target)
        await spread(pair.source, 1000)
        os.kill(await pair.pid(replica), signal.SIGSTOP)
        await pair.move(slots_of((0, 8191)), COPY)
        os.kill(await pair.pid(replica), signal.SIGCONT)
        await check_whole(pair.group, 1000)

    run_with_newcomer(tmp_path, (EngineName.REDIS, "7.0"), work, nodes=2, shards=2)


@pytest.mark.parametrize("build", BUILDS)
def test_nothing_is_written_that_the_news_would_throw_away(
    tmp_path: Path, answers: list[Reply], build: tuple[EngineName, str]
) -> None:
    async def work(pair: Pair) -> None:
        await pair.move(slots_of((0, 500)), COPY)
        assert await pair.owned() == 501
        await check_whole(pair.group, 2000)
        codes = {said.code for said in answers if isinstance(said, EngineRefused)}
        assert codes == {"MOVED" if build[0] is EngineName.REDIS else "CLUSTERDOWN"}
        assert all(isinstance(said, EngineRefused) for said in answers)

    run_with_newcomer(tmp_path, build, work, keys=2000, nodes=2)


@pytest.mark.parametrize("build", BUILDS)
def test_who_asks_while_a_step_goes_on_is_sent_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, build: tuple[EngineName, str]
) -> None:
    """What it has sent lies there before the news of the new owner, and is read after them."""
    original, names = Giver._claim, list[str]()

    async def work(pair: Pair) -> None:
        reader, writer = await asyncio.open_connection(pair.source.address, pair.source.port)

        async def claim(self: Giver, slots: list[int], passage: Passage) -> None:
            if slots[1:]:  # not the one that goes ahead
                names.append(giving._marker_in({*slots}))
                writer.write(f"SET {names[-1]} late\r\n".encode())
            await original(self, slots, passage)

        monkeypatch.setattr(Giver, "_claim", claim)
        await pair.move(slots_of((0, 1000)), COPY)
        async with asyncio.timeout(PATIENCE_S):
            answers = [await reader.readline() for _ in names]
        writer.close()
        await writer.wait_closed()
        assert len(answers) > 10
        said = [answer.split()[0] for answer in answers]
        # News that a busy machine brings late are read later; without them nobody would be sent on.
        assert {*said} <= {b"-MOVED", b"-CLUSTERDOWN"}
        assert said.count(b"-MOVED") > len(said) // 2
        await check_whole(pair.group, 2000)

    run_with_newcomer(tmp_path, build, work, keys=2000, nodes=2)


@pytest.mark.parametrize("build", BUILDS)
def test_hardly_anybody_is_shown_a_slot_without_an_owner(
    tmp_path: Path, build: tuple[EngineName, str]
) -> None:
    """Python clients would compare what other nodes say of it, and fail where they differ."""

    async def work(pair: Pair) -> None:
        admin = await admin_of(pair.source)
        shown = list[int]()

        async def look() -> None:
            while True:
                parts = list_of(await admin.command("CLUSTER", "SLOTS"))
                ends = [list_of(part)[:2] for part in parts]
                shown.append(sum(int_of(last) + 1 - int_of(first) for first, last in ends))

        looking = asyncio.create_task(look())
        await pair.move(slots_of((0, 1000)), COPY)
        looking.cancel()
        await asyncio.gather(looking, return_exceptions=True)
        admin.close()
        assert len(shown) > 20
        # A busy machine may bring the news after the pause, once or twice; without a pause a dozen
        # groups are seen on their way.
        assert sum(count != SLOT_COUNT for count in shown) <= 3

    run_with_newcomer(tmp_path, build, work, keys=2000, nodes=2)


@pytest.mark.parametrize("build", BUILDS[1:])
def test_all_others_are_served_while_some_slots_have_no_owner(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, build: tuple[EngineName, str]
) -> None:
    """Also where it is asked for that nobody is (`cluster-require-full-coverage`)."""
    original, ended = Giver._end, list[int]()

    async def claim(self: Giver, slots: list[int], passage: Passage) -> None:
        passage.has_begun = True
        raise CommandFailed("somebody does not answer")

    async def work(pair: Pair) -> None:
        admin = await admin_of(pair.source)

        async def end(self: Giver, slots: list[int]) -> list[int]:
            assert await admin.command("SET", "a", "x") == b"OK"  # slot 15495 stays where it is
            ended.extend(slots)
            return await original(self, slots)

        monkeypatch.setattr(Giver, "_claim", claim)
        monkeypatch.setattr(Giver, "_end", end)
        asked = ("CONFIG", "GET", "cluster-require-full-coverage")
        assert await admin.command(*asked) == [asked[-1].encode(), b"yes"]
        await pair.move(slots_of((0, 100)), COPY)
        assert sorted(ended) == [*range(101)]
        assert await admin.command(*asked) == [asked[-1].encode(), b"yes"]
        admin.close()
        await check_whole(pair.group, 1001)

    run_with_newcomer(tmp_path, build, work, keys=1000)


@pytest.mark.parametrize("build", BUILDS)
def test_a_few_keys_go_in_one_step_as_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, build: tuple[EngineName, str]
) -> None:
    """By an engine's own account most of what it holds then is no overhead, so they look large."""

    async def empty(*_: object) -> frozenset[int]:
        raise AssertionError("slots are opened for clients")

    monkeypatch.setattr(Copier, "empty", empty)

    async def memory(self: ValkeySlots, admin: AdminConnection) -> MemoryUse:
        said = await original(self, admin)
        return dataclasses.replace(said, dataset_bytes=48 * 1024 * 1024)

    original = ValkeySlots.memory
    monkeypatch.setattr(ValkeySlots, "memory", memory)

    async def work(pair: Pair) -> None:
        await fill(pair.source, 6, prefix="{k126}")  # slot 58
        await pair.move(slots_of((0, 1000)), COPY)
        assert await pair.owned() == 1001
        await check_whole(pair.group, 6)

    run_with_newcomer(tmp_path, build, work)


@pytest.mark.parametrize("when", ["before", "begun", "after"])
@pytest.mark.parametrize("build", BUILDS)
def test_a_step_may_fail_while_somebody_is_waited_for(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    outcomes: list[GiveOutcome],
    build: tuple[EngineName, str],
    when: str,
) -> None:
    """Every third one: before the slots may have their new owner, or when they may or do."""
    original, numbers = Giver._claim, itertools.count()

    async def claim(self: Giver, slots: list[int], passage: Passage) -> None:
        if next(numbers) % 3:
            await original(self, slots, passage)
            return
        if when == "after":
            await original(self, slots, passage)
        passage.has_begun = when != "before"
        raise CommandFailed("somebody does not answer")

    monkeypatch.setattr(Giver, "_claim", claim)

    async def work(pair: Pair) -> None:
        async with writing(pair.group) as writer:
            await pair.move(slots_of((0, 2000)), COPY)
            await pair.back().move(slots_of((0, 2000)), COPY)
            await writer.end()
        await check_whole(pair.group, 7000)
        await writer.check(pair.group)
        failed = GiveOutcome.KEPT if when == "before" else GiveOutcome.CUT
        assert {*outcomes} == {GiveOutcome.GIVEN, failed}

    run_with_newcomer(tmp_path, build, work, keys=5000)


@pytest.mark.parametrize("build", BUILDS[:2])
def test_what_turns_out_to_be_large_is_moved_in_the_open(
    tmp_path: Path, outcomes: list[GiveOutcome], build: tuple[EngineName, str]
) -> None:
    async def work(pair: Pair) -> None:
        await fill(pair.source, 11, size=1_000_000, prefix="{k126}large")  # slot 58
        await pair.move(slots_of((0, 127)), COPY)
        assert await pair.owned() == 128
        await check_whole(pair.group, 3011)
        assert outcomes.count(GiveOutcome.LARGE) > 1

    run_with_newcomer(tmp_path, build, work, keys=3000)


@pytest.mark.parametrize("build", BUILDS)
def test_nothing_is_opened_for_clients_where_an_engine_is_full(
    tmp_path: Path, outcomes: list[GiveOutcome], build: tuple[EngineName, str]
) -> None:
    """The slots that have found room stay there, and the others where they are."""

    async def work(pair: Pair) -> None:
        await fill(pair.source, 400, size=10_000)
        (used,) = await ask(pair.target, ("INFO", "memory"))
        room = int(re.findall(r"used_memory:([0-9]+)", str(used))[0]) + 2_000_000
        await configure(pair.target, maxmemory=str(room), maxmemory_policy="noeviction")
        with pytest.raises(CommandFailed, match=r"is full: .*OOM"):
            await pair.move(ALL_SLOTS, COPY)
        owned = await pair.owned()
        assert 0 < owned < SLOT_COUNT // 2
        (nodes,) = await ask(pair.source, ("CLUSTER", "NODES"))
        assert "->-" not in str(nodes)
        assert {*outcomes} == {GiveOutcome.GIVEN, GiveOutcome.FULL}
        with pytest.raises(CommandFailed, match="is full"):
            await pair.move(ALL_SLOTS, COPY)
        assert owned <= await pair.owned() < SLOT_COUNT // 2
        await pair.execute(pair.closing())
        await check_whole(pair.group, 400)
        await configure(pair.target, maxmemory="64mb")
        await pair.move(ALL_SLOTS, COPY)
        await check_whole(pair.group, 400)

    run_with_newcomer(tmp_path, build, work)


@pytest.mark.parametrize("build", BUILDS[:2])
def test_an_engine_that_is_full_gives_all_the_same(
    tmp_path: Path, outcomes: list[GiveOutcome], build: tuple[EngineName, str]
) -> None:
    async def work(pair: Pair) -> None:
        await configure(pair.source, maxmemory="1mb", maxmemory_policy="noeviction")
        await pair.move(ALL_SLOTS, COPY)
        await check_whole(pair.group, 2000)
        assert {*outcomes} <= {GiveOutcome.GIVEN, GiveOutcome.LARGE}

    run_with_newcomer(tmp_path, build, work, keys=2000)
