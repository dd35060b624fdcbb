"""Does nobody own slots before it knows what the one that gives them says of itself?

What is on its way from that one would take them back otherwise, and their keys would be deleted.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path

import pytest

from cachewright.agent.giving import Giver
from cachewright.agent.move import Move
from cachewright.agent.party import Party
from cachewright.engines import slot_scripts
from cachewright.engines.resp import AdminConnection, Argument, Reply
from cachewright.engines.slots import GiveOutcome
from cachewright.engines.valkey_slots import ValkeySlots
from cachewright.model.commands import Launch
from cachewright.model.engines import EngineName
from cachewright.model.moves import MoveMethod
from cachewright.model.slots import SLOT_COUNT
from cachewright.rpc.agent import CommandFailed
from tests.fault.agent_moves import (
    Pair,
    ask,
    check_whole,
    cluster_of,
    run_with_newcomer,
    slots_of,
)
from tests.fault.test_agent_giving import BUILDS, outcomes, patient
from tests.fault.test_agent_moves import WAYS

__all__ = ["outcomes", "patient"]
pytestmark = pytest.mark.usefixtures("patient")
COPY = MoveMethod.COPY
REDIS = (EngineName.REDIS, "7.0")


async def epoch_of(pair: Pair, launch: Launch) -> int:
    return (await cluster_of(pair.group, launch)).config_epoch


async def bump(launch: Launch) -> None:
    """Give it a newer epoch than all that it knows of, and let it tell nobody for now."""
    (said,) = await ask(launch, ("CLUSTER", "BUMPEPOCH"))
    assert isinstance(said, bytes)
    assert said.startswith(b"BUMPED")


@pytest.mark.parametrize(("build", "method"), WAYS)
def test_who_takes_owns_in_a_newer_epoch_than_who_gives(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    build: tuple[EngineName, str],
    method: MoveMethod,
) -> None:
    original, known = Move.left, list[bool]()

    async def left(self: Move, giving: Party, taking: Party) -> list[int]:
        epochs = [
            await one.call(functools.partial(one.keeper.epoch, engine_id=giving.engine_id))
            for one in (giving, taking)
        ]
        known.append(epochs[0] == epochs[1])
        return await original(self, giving, taking)

    async def work(pair: Pair) -> None:
        monkeypatch.setattr(Move, "left", left)
        await bump(pair.source)
        await pair.move(slots_of((0, 1000)), method)
        assert known == [True]
        assert await pair.owned() == 1001
        assert await epoch_of(pair, pair.target) > await epoch_of(pair, pair.source)
        await check_whole(pair.group, 2000)

    run_with_newcomer(tmp_path, build, work, keys=2000)


@pytest.mark.parametrize(("build", "method"), WAYS)
def test_nothing_moves_before_who_takes_has_heard_the_epoch_of_who_gives(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    build: tuple[EngineName, str],
    method: MoveMethod,
) -> None:
    """How late the news of an epoch is, is the test's: they take less than the time to ask."""
    original = ValkeySlots.epoch

    async def not_heard_yet(keeper: ValkeySlots, admin: AdminConnection, engine_id: str) -> int:
        epoch = await original(keeper, admin, engine_id)
        is_own = await admin.command("CLUSTER", "MYID") == engine_id.encode()
        return epoch if is_own else epoch - 1

    async def work(pair: Pair) -> None:
        slots = slots_of((0, 10))
        with monkeypatch.context() as patched:
            patched.setattr("cachewright.agent.move._HEARD_S", 0.1)
            patched.setattr(ValkeySlots, "epoch", not_heard_yet)
            with pytest.raises(CommandFailed, match="does not hear of"):
                await pair.move(slots, method)
        assert await pair.owned() == 0
        assert await ask(pair.target, ("DBSIZE",)) == [0]
        await pair.move(slots, method)
        assert await pair.owned() == 11
        await check_whole(pair.group, 500)

    run_with_newcomer(tmp_path, build, work, keys=500)


@pytest.mark.parametrize("build", BUILDS)
def test_a_step_is_not_taken_while_an_epoch_is_not_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, build: tuple[EngineName, str]
) -> None:
    original, steps = Giver._give, list[int]()

    async def work(pair: Pair) -> None:
        async def give(self: Giver, slots: list[int], left: list[int]) -> list[list[int]]:
            steps.append(len(slots))
            if len(steps) == 3:
                await bump(pair.source)
            return await original(self, slots, left)

        monkeypatch.setattr(Giver, "_give", give)
        await pair.move(slots_of((0, 1000)), COPY)
        assert await pair.owned() == 1001
        assert await epoch_of(pair, pair.target) > await epoch_of(pair, pair.source)
        await check_whole(pair.group, 2000)

    run_with_newcomer(tmp_path, build, work, keys=2000)


def test_a_step_waits_until_all_is_sent_that_was_said_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, outcomes: list[GiveOutcome]
) -> None:
    """What an engine has to say to the others is sent when it has read its clients."""
    original, before = AdminConnection.pipeline, list[int]()

    async def pipeline(
        self: AdminConnection,
        commands: Sequence[Sequence[Argument]],
        *,
        timeout_s: float | None = None,
    ) -> list[Reply]:
        if commands[0][:2] != ("EVAL", slot_scripts.GIVE) or len(before) == 3:
            return await original(self, commands, timeout_s=timeout_s)
        before.append(len(outcomes))
        told = ("PUBLISH", "news", "something")
        return (await original(self, [told, *commands], timeout_s=timeout_s))[1:]

    async def work(pair: Pair) -> None:
        monkeypatch.setattr(AdminConnection, "pipeline", pipeline)
        await pair.move(slots_of((0, 1000)), COPY)
        assert await pair.owned() == 1001
        await check_whole(pair.group, 2000)

    run_with_newcomer(tmp_path, REDIS, work, keys=2000)
    assert before == [0, 0, 0]
    assert {*outcomes} == {GiveOutcome.GIVEN}


def test_slots_that_go_back_and_forth_are_never_nobodys(tmp_path: Path) -> None:
    """Each time before all news of the last time have been read."""

    async def work(pair: Pair) -> None:
        for _ in range(10):
            for one in (pair, pair.back()):
                await one.move(slots_of((0, 40)), COPY)
        assert await pair.back().owned() == SLOT_COUNT
        await check_whole(pair.group, 2000)

    run_with_newcomer(tmp_path, REDIS, work, keys=2000)
