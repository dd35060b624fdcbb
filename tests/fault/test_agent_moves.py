"""Do slots move between primaries that serve, so that each key is at one of them, the newest?"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from pathlib import Path

import msgspec
import pytest

from cachewright.agent.party import SILENCE_S
from cachewright.engines.slots import ENDED
from cachewright.engines.valkey_slots import ValkeySlots
from cachewright.model.commands import BindNode, HandOver
from cachewright.model.engines import EngineName
from cachewright.model.moves import MoveMethod
from cachewright.model.slots import SLOT_COUNT
from cachewright.rpc.agent import CommandFailed, StaleEpoch
from tests.fault.agent_groups import EPOCH
from tests.fault.agent_moves import (
    Pair,
    admin_of,
    check_whole,
    configure,
    functions_of,
    load,
    run_with_newcomer,
    slots_of,
    slots_owned,
    unload,
    writing,
)
from tests.fault.agent_world import PATIENCE_S

ATOMIC, COPY = MoveMethod.ATOMIC, MoveMethod.COPY
WAYS = [
    pytest.param((EngineName.VALKEY, "9.1"), ATOMIC, id="valkey-9.1-atomic"),
    pytest.param((EngineName.VALKEY, "9.1"), COPY, id="valkey-9.1-copy"),
    pytest.param((EngineName.VALKEY, "8.0"), COPY, id="valkey-8.0-copy"),
    pytest.param((EngineName.REDIS, "7.0"), COPY, id="redis-7.0-copy"),
]


@pytest.mark.parametrize(("build", "method"), WAYS)
def test_slots_move_there_and_back(
    tmp_path: Path, build: tuple[EngineName, str], method: MoveMethod
) -> None:
    async def work(pair: Pair) -> None:
        slots = slots_of((0, 1000), (5000, 5000), (15000, 16383))
        move = pair.order(slots, method)
        await pair.execute(move)
        assert await slots_owned(pair.group, pair.target) == slots
        await check_whole(pair.group, 5000)
        await pair.execute(move)  # once more changes nothing
        await check_whole(pair.group, 5000)
        await pair.back().move(slots, method)
        assert await pair.back().owned() == SLOT_COUNT
        await check_whole(pair.group, 5000)

    run_with_newcomer(tmp_path, build, work, keys=5000)


@pytest.mark.parametrize(("build", "method"), WAYS)
def test_clients_write_all_the_time(
    tmp_path: Path, build: tuple[EngineName, str], method: MoveMethod
) -> None:
    """Into the slots that move, as fast as they can."""

    async def work(pair: Pair) -> None:
        async with writing(pair.group) as writer:
            await pair.move(slots_of((0, 4000)), method)
            await pair.back().move(slots_of((0, 4000)), method)
            report = await writer.end()
        await check_whole(pair.group, 22000)
        await writer.check(pair.group)
        assert set(report["errors"]) <= {"MOVED", "ASK", "CLUSTERDOWN"}

    run_with_newcomer(tmp_path, build, work, keys=20000)


@pytest.mark.parametrize(("build", "method"), WAYS)
def test_who_owns_nothing_gets_the_functions_before_the_first_slot(
    tmp_path: Path, build: tuple[EngineName, str], method: MoveMethod
) -> None:
    async def work(pair: Pair) -> None:
        await load(pair.source, "ours")
        await pair.move(slots_of((0, 10)), method)
        assert await functions_of(pair.target) == ["ours"]
        # Who owns slots is left alone: clients load and delete there what they want.
        await unload(pair.target)
        await pair.move(slots_of((11, 20)), method)
        assert await functions_of(pair.target) == []
        # And who has one of these names already keeps that, and gets no other.
        await pair.back().move(slots_of((0, 20)), method)
        await load(pair.target, "ours")
        await load(pair.source, "later")
        await pair.move(slots_of((0, 20)), method)
        assert await functions_of(pair.target) == ["ours"]

    run_with_newcomer(tmp_path, build, work, keys=500)


def test_functions_that_find_no_memory_let_the_move_fail(tmp_path: Path) -> None:
    async def work(pair: Pair) -> None:
        await load(pair.source, "ours")
        await configure(pair.target, maxmemory="1")
        with pytest.raises(CommandFailed, match="OOM"):
            await pair.move(slots_of((0, 10)), ATOMIC)
        assert await pair.owned() == 0
        await configure(pair.target, maxmemory="0")
        await pair.move(slots_of((0, 10)), ATOMIC)
        assert await functions_of(pair.target) == ["ours"]

    run_with_newcomer(tmp_path, (EngineName.VALKEY, "9.1"), work)


async def slow_down(pair: Pair, method: MoveMethod) -> None:
    """Let a move not end by itself: the snapshot takes seconds, or the other engine is frozen."""
    if method is ATOMIC:
        await configure(pair.source, rdb_key_save_delay="20000")
    else:
        os.kill(await pair.pid(pair.target), signal.SIGSTOP)


@pytest.mark.parametrize(("build", "method"), WAYS[:2])
def test_nothing_else_happens_to_who_gives_or_takes(
    tmp_path: Path, build: tuple[EngineName, str], method: MoveMethod
) -> None:
    """Other commands do not wait for a move; roles do not change, and there is one move a node."""

    async def work(pair: Pair) -> None:
        (source, replica), (target,) = pair.group.shards
        await slow_down(pair, method)
        move = pair.order(slots_of((0, 1000)), method)
        moving = asyncio.create_task(pair.execute(move))
        await asyncio.sleep(0.5)
        assert not moving.done()
        with pytest.raises(CommandFailed, match="gives slots already"):
            await pair.execute(move)
        handover = HandOver(
            key=source.key, to_key=replica.key, to_address=replica.address, to_port=replica.port,
            is_cluster=True, bind=(source.address,), to_bind=(replica.address,),
        )  # fmt: skip
        with pytest.raises(CommandFailed, match="are on their way"):
            await pair.execute(handover)
        bind = BindNode(key=source.key, bind=(source.address,))
        await asyncio.wait_for(pair.execute(bind, epoch=EPOCH + 1), SILENCE_S / 2)
        # Somebody else gives the orders now; who comes next finds what is under way.
        os.kill(await pair.pid(target), signal.SIGCONT)
        with pytest.raises(StaleEpoch):
            await asyncio.wait_for(moving, PATIENCE_S)
        with pytest.raises(StaleEpoch):
            await pair.execute(move)
        await configure(source, rdb_key_save_delay="0")
        await pair.execute(move, epoch=EPOCH + 1)
        await check_whole(pair.group, 2000)

    run_with_newcomer(tmp_path, build, work, keys=2000, nodes=2)


@pytest.mark.parametrize("who", ["source", "target"])
@pytest.mark.parametrize(("build", "method"), WAYS[:2])
def test_it_ends_at_once_when_one_of_both_has_ended(
    tmp_path: Path, build: tuple[EngineName, str], method: MoveMethod, who: str
) -> None:
    async def work(pair: Pair) -> None:
        source, target = pair.source, pair.target
        victim = source if who == "source" else target
        await slow_down(pair, method)
        move = pair.order(slots_of((0, 8000)), method)
        moving = asyncio.create_task(pair.execute(move))
        await asyncio.sleep(0.5)
        began_s = time.monotonic()
        os.kill(await pair.pid(victim), signal.SIGKILL)
        with pytest.raises(CommandFailed, match="has ended, and"):
            await moving
        assert time.monotonic() - began_s < SILENCE_S / 2
        if victim is target:
            admin = await admin_of(source)
            exports = await ValkeySlots().exports(admin) if method is ATOMIC else ()
            assert all(export.state in ENDED for export in exports)
            assert sum(await ValkeySlots().counts(admin, range(SLOT_COUNT))) == 2000
            admin.close()

    run_with_newcomer(tmp_path, build, work, keys=2000)


def test_slots_of_somebody_else_are_not_moved(tmp_path: Path) -> None:
    async def work(pair: Pair) -> None:
        move = pair.order(slots_of((8000, 9000)), COPY)
        with pytest.raises(CommandFailed, match="slots 8192-9000 are neither of"):
            await pair.execute(move)
        stranger = msgspec.structs.replace(move, key="g.nobody")
        with pytest.raises(CommandFailed, match="by the host of their node"):
            await pair.execute(stranger)
        await check_whole(pair.group)

    run_with_newcomer(tmp_path, (EngineName.VALKEY, "9.1"), work, shards=2)


@pytest.mark.parametrize("can_go_on", [True, False])
@pytest.mark.parametrize("build", [way.values[0] for way in WAYS[1:]])
def test_a_move_that_was_cut_ends(
    tmp_path: Path, build: tuple[EngineName, str], *, can_go_on: bool
) -> None:
    """Keys on both sides, keys that were written to the other side since, slots open on one."""

    async def work(pair: Pair) -> None:
        source, target = pair.source, pair.target
        keeper = ValkeySlots()
        giving, taking = await admin_of(source), await admin_of(target)
        slots = [*range(1000)]
        await keeper.open_imports(taking, slots, source.engine_id)
        await keeper.open_exports(giving, slots[:900], target.engine_id)
        names = [name for keys in await keeper.keys(giving, slots, 100) for name in keys]
        assert len(names) > 30
        for index, name in enumerate(names):
            if index % 3 == 0:  # it is there alone
                await taking.pipeline([("ASKING",), ("SET", name, "there")])
                await keeper.drop(giving, [name])
            elif index % 3 == 1:  # it is on both sides, and here is right
                await taking.pipeline([("ASKING",), ("SET", name, "old")])
        if not can_go_on:
            await configure(target, maxmemory="1mb")
        await pair.execute(pair.closing())
        await check_whole(pair.group, 1000)
        assert (await pair.owned() == 900) is can_go_on  # empty slots always move
        gets = [("GET", name) for name in names]
        said = [await admin.pipeline(gets) for admin in (giving, taking)]
        values = [one if isinstance(one, bytes) else two for one, two in zip(*said, strict=True)]
        assert [value == b"there" for value in values] == [
            index % 3 == 0 for index, _ in enumerate(names)
        ]
        assert b"old" not in values
        giving.close()
        taking.close()
        await pair.execute(pair.closing())
        await check_whole(pair.group, 1000)

    run_with_newcomer(tmp_path, build, work, keys=1000)
