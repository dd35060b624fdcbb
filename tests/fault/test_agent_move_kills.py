"""Whoever dies while slots move: nothing is lost or doubled, and it goes on to its end."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from cachewright.engines.slots import ExportState
from cachewright.engines.valkey_slots import ValkeySlots
from cachewright.kit import failpoints
from cachewright.model.commands import PromoteNode, Promotion
from cachewright.model.engines import EngineName
from cachewright.model.moves import MoveMethod
from cachewright.model.slots import SlotRanges
from cachewright.rpc.agent import CommandFailed
from tests.fault.agent_moves import (
    Pair,
    admin_of,
    carry_out_elsewhere,
    check_whole,
    configure,
    fill,
    run_with_newcomer,
    slots_of,
    spread,
    writing,
)
from tests.fault.agent_world import until

ATOMIC, COPY = MoveMethod.ATOMIC, MoveMethod.COPY
VALKEY, REDIS = (EngineName.VALKEY, "9.1"), (EngineName.REDIS, "7.0")
VALKEY_8 = (EngineName.VALKEY, "8.0")
#: Failpoints that each way of moving passes; the others belong to its end.
OF_ATOMIC = ("before_move", "after_functions", "before_export", "after_export", "after_exports")
OF_COPY = (
    "before_move", "after_functions", "after_import", "after_open", "after_copy", "after_empty",
    "after_claim", "after_give",
)  # fmt: skip
#: Of slots that go in one step.
OF_GIVE = tuple(name for name in OF_COPY if name != "after_open")
#: A slot that holds too many keys for that, and what their names begin with.
LARGE, IN_LARGE, KEYS_LARGE = slots_of((58, 58)), "{k126}", 10_500
KEYS_SMALL = 500
OF_CLOSE = ("before_close", "after_take_back", "after_close")


def test_every_failpoint_is_tried() -> None:
    tried = {f"agent.{name}" for name in (*OF_ATOMIC, *OF_COPY, *OF_CLOSE)}
    assert tried == failpoints.OF_MOVES.keys()


@pytest.mark.parametrize(
    ("build", "method", "failpoints"),
    [(VALKEY, ATOMIC, OF_ATOMIC), (REDIS, COPY, OF_GIVE), (VALKEY_8, COPY, OF_GIVE)],
)
def test_an_agent_that_is_killed_is_followed_by_one_that_goes_on(
    tmp_path: Path, build: tuple[EngineName, str], method: MoveMethod, failpoints: tuple[str, ...]
) -> None:
    """At one failpoint after the other; each time who takes owns nothing before."""
    slots = slots_of((0, 800))

    async def work(pair: Pair) -> None:
        async with writing(pair.group, keys=500, batch=20, rate=2000) as writer:
            for failpoint in failpoints:
                move = pair.order(slots, method)
                assert await carry_out_elsewhere(tmp_path, move, failpoint) == -signal.SIGKILL
                await pair.execute(move)
                await check_whole(pair.group)
                await pair.back().move(slots, method)
            await writer.end()
        await check_whole(pair.group, 5500)
        await writer.check(pair.group)

    run_with_newcomer(tmp_path, build, work, keys=5000)


@pytest.mark.parametrize(("build", "failpoints"), [(REDIS, OF_COPY), (VALKEY_8, OF_COPY[2:])])
def test_a_large_slot_is_followed_up_as_well(
    tmp_path: Path, build: tuple[EngineName, str], failpoints: tuple[str, ...]
) -> None:
    async def work(pair: Pair) -> None:
        await fill(pair.source, KEYS_LARGE, prefix=IN_LARGE)
        for failpoint in failpoints:
            move = pair.order(LARGE, COPY)
            assert await carry_out_elsewhere(tmp_path, move, failpoint) == -signal.SIGKILL
            await pair.execute(move)
            assert await pair.owned() == 1
            await check_whole(pair.group, KEYS_LARGE)
            await pair.back().move(LARGE, COPY)

    run_with_newcomer(tmp_path, build, work)


@pytest.mark.parametrize("ends", ["move", "close"])
def test_what_an_engine_moves_by_itself_is_ended_before_keys_are_moved(
    tmp_path: Path, ends: str
) -> None:
    async def work(pair: Pair) -> None:
        await configure(pair.source, rdb_key_save_delay="20000")
        slots = slots_of((0, 2000))
        move = pair.order(slots, ATOMIC)
        assert await carry_out_elsewhere(tmp_path, move, "after_export") == -signal.SIGKILL
        admin = await admin_of(pair.source)
        exports = await ValkeySlots().exports(admin)
        assert [export.state for export in exports] == [ExportState.SENDING]
        if ends == "move":
            await pair.move(slots, COPY)
            assert await pair.owned() == 2001
        else:
            await pair.execute(pair.closing(slots))
        exports = await ValkeySlots().exports(admin)
        assert [export.state for export in exports] == [ExportState.FAILED]
        admin.close()
        await check_whole(pair.group, 5000)

    run_with_newcomer(tmp_path, VALKEY, work, keys=5000)


def test_the_end_of_a_cut_move_may_be_cut_as_well(tmp_path: Path) -> None:
    async def work(pair: Pair) -> None:
        await fill(pair.source, KEYS_LARGE, prefix=IN_LARGE)
        move = pair.order(LARGE, COPY)
        for failpoint in OF_CLOSE:
            assert await carry_out_elsewhere(tmp_path, move, "after_copy") == -signal.SIGKILL
            await configure(pair.target, maxmemory="1mb")  # so that keys have to come back
            close = pair.closing()
            assert await carry_out_elsewhere(tmp_path, close, failpoint) == -signal.SIGKILL
            await pair.execute(close)
            await check_whole(pair.group, KEYS_LARGE)
            await configure(pair.target, maxmemory="64mb")

    run_with_newcomer(tmp_path, REDIS, work)


@pytest.mark.parametrize(
    ("way", "failpoint", "keys"),
    [
        *(((VALKEY, ATOMIC), name, KEYS_LARGE) for name in OF_ATOMIC[3:]),
        *(((REDIS, COPY), name, KEYS_LARGE) for name in OF_COPY[2:]),
        *(((VALKEY_8, COPY), name, KEYS_LARGE) for name in OF_COPY[2:]),
        *(((REDIS, COPY), name, KEYS_SMALL) for name in OF_GIVE[2:]),
        *(((VALKEY_8, COPY), name, KEYS_SMALL) for name in OF_GIVE[2:]),
    ],
)
def test_a_primary_that_dies_is_succeeded_and_the_move_goes_on(
    tmp_path: Path, way: tuple[tuple[EngineName, str], MoveMethod], failpoint: str, keys: int
) -> None:
    """The agent dies with it; a replica that has everything takes over. Then the other one dies."""

    async def work(pair: Pair) -> None:
        # A target with a replica: the second shard of two, which has nothing of these slots.
        pair, method = replace(pair, target=pair.group.shards[1][0]), way[1]
        for tag in ("{k126}", "{k123}"):  # slots 58 and 4255
            await fill(pair.source, keys, prefix=tag)
        await spread(pair.source, 300)
        for shard, slots in enumerate((slots_of((0, 500)), slots_of((4000, 4500)))):
            # A large one alone, for small ones go before.
            alone = slots_of((58, 58)) if shard == 0 else slots_of((4255, 4255))
            move = pair.order(alone if keys == KEYS_LARGE else slots, method)
            assert await carry_out_elsewhere(tmp_path, move, failpoint) == -signal.SIGKILL
            await succeed(pair, shard)
            pair = replace(pair, source=pair.group.shards[0][0], target=pair.group.shards[1][0])
            await move_in_the_end(pair, slots, method)
            await check_whole(pair.group, 2 * keys + 300)

    run_with_newcomer(tmp_path, way[0], work, nodes=2, shards=2)


async def succeed(pair: Pair, shard: int) -> None:
    """Let the primary of a shard die and its replica, which has everything, take over."""
    victim, successor = pair.group.shards[shard]

    async def have_same_offset() -> bool:
        facts = [await pair.group.engine(one) for one in (victim, successor)]
        return facts[0].offset == facts[1].offset

    await until(have_same_offset, "all is replicated")
    os.kill(await pair.pid(victim), signal.SIGKILL)
    over = (victim.address, victim.port)
    # It may not have heard yet of what has moved; who has it by now is asked.
    others = tuple((s[0].address, s[0].port) for s in pair.group.shards if s[0] is not victim)
    await pair.execute(
        PromoteNode(key=successor.key, how=Promotion.TAKEOVER, over=over, others=others)
    )
    pair.group.shards[shard] = [successor]


async def move_in_the_end(pair: Pair, slots: SlotRanges, method: MoveMethod) -> None:
    """Move as the controller does, which tries until it works."""

    async def is_moved() -> bool:
        try:
            await pair.move(slots, method)
        except CommandFailed:
            return False
        return True

    await until(is_moved, "the slots are there")
