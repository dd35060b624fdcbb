"""Do moves survive what goes wrong beside them: frozen engines, no memory, large keys, FLUSHALL?"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from dataclasses import replace
from pathlib import Path

import pytest

from cachewright.engines import valkey_slots
from cachewright.engines.resp import AdminConnection
from cachewright.engines.slots import Export, ExportState
from cachewright.engines.valkey_slots import ValkeySlots
from cachewright.model.engines import EngineName
from cachewright.model.moves import MoveMethod
from cachewright.model.slots import SLOT_COUNT
from cachewright.rpc.agent import CommandFailed
from tests.fault.agent_groups import Group
from tests.fault.agent_moves import (
    ALL_SLOTS,
    Pair,
    admin_of,
    check_whole,
    configure,
    fill,
    run_with_newcomer,
    slots_of,
    writing,
)
from tests.fault.agent_world import until

ATOMIC, COPY = MoveMethod.ATOMIC, MoveMethod.COPY
VALKEY, REDIS = (EngineName.VALKEY, "9.1"), (EngineName.REDIS, "7.0")
WAYS = [
    pytest.param(VALKEY, ATOMIC, id="valkey-9.1-atomic"),
    pytest.param(REDIS, COPY, id="redis-7.0-copy"),
    pytest.param((EngineName.VALKEY, "8.0"), COPY, id="valkey-8.0-copy"),
    pytest.param(VALKEY, COPY, id="valkey-9.1-copy"),
]
FROZEN_S = 5.0
#: After so long who gives serves its clients again, although who takes is still frozen.
BLOCKED_S = 2.5
#: On a busy machine; both together are far below the time after which a move is given up.
ANSWER_S = 4.0
#: The one that takes is frozen so often at most until it is another moment than the last one.
MOMENTS_MAX = 5


async def is_granted(admin: AdminConnection) -> bool:
    """Tell whether an export has gone so far that the other one may own its slots."""
    return any(one.state is ExportState.GRANTED for one in await ValkeySlots().exports(admin))


@pytest.mark.parametrize("after_s", [0.0, 0.1, 0.3])
@pytest.mark.parametrize(("build", "method"), WAYS)
def test_a_target_that_is_frozen_for_a_while_is_waited_for(
    tmp_path: Path, build: tuple[EngineName, str], method: MoveMethod, after_s: float
) -> None:
    """Clients that write to who gives are served meanwhile, after a moment."""

    async def work(pair: Pair) -> None:
        pid = await pair.pid(pair.target)
        async with writing(pair.group, keys=1000, batch=20) as writer:
            admin = await admin_of(pair.source)
            for _ in range(MOMENTS_MAX):
                moving = asyncio.create_task(pair.move(slots_of((0, 4000)), method))
                await asyncio.sleep(after_s)
                os.kill(pid, signal.SIGSTOP)
                thawing = asyncio.create_task(asyncio.sleep(FROZEN_S))
                await asyncio.sleep(BLOCKED_S)
                if method is COPY or not await is_granted(admin):
                    break
                # It may own them, so that writes have to wait for it: another moment is tried.
                os.kill(pid, signal.SIGCONT)
                await moving
                await pair.back().move(slots_of((0, 4000)), method)
            # Slot 15495 stays where it is.
            await admin.command("SET", "a", "x", timeout_s=ANSWER_S)
            admin.close()
            await thawing
            os.kill(pid, signal.SIGCONT)
            await moving
            await writer.end()
        await check_whole(pair.group, 31001)
        await writer.check(pair.group)

    run_with_newcomer(tmp_path, build, work, keys=30000)


@pytest.mark.parametrize(("build", "method"), WAYS)
def test_a_target_that_stays_frozen_is_given_up(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    build: tuple[EngineName, str],
    method: MoveMethod,
) -> None:
    monkeypatch.setattr("cachewright.agent.party.SILENCE_S", 3.0)

    async def work(pair: Pair) -> None:
        pid = await pair.pid(pair.target)
        os.kill(pid, signal.SIGSTOP)
        move = pair.order(slots_of((0, 8000)), method)
        with pytest.raises(CommandFailed, match="has not answered for 3 s"):
            await pair.execute(move)
        os.kill(pid, signal.SIGCONT)
        await pair.execute(move)
        await check_whole(pair.group, 3000)

    run_with_newcomer(tmp_path, build, work, keys=3000)


@pytest.mark.parametrize(("build", "method"), WAYS)
def test_a_target_without_memory_refuses_and_what_it_has_is_whole(
    tmp_path: Path, build: tuple[EngineName, str], method: MoveMethod
) -> None:
    async def work(pair: Pair) -> None:
        await fill(pair.source, 5000, size=8000)
        await configure(pair.target, maxmemory="8mb", maxmemory_policy="noeviction")
        move = pair.order(slots_of((0, 3000)), method)
        with pytest.raises(CommandFailed, match=r"OOM|memory"):
            await pair.execute(move)
        await pair.execute(pair.closing())
        await check_whole(pair.group, 5000)
        await configure(pair.target, maxmemory="64mb")
        await pair.execute(move)
        assert await pair.owned() == 3001
        await check_whole(pair.group, 5000)

    run_with_newcomer(tmp_path, build, work)


@pytest.mark.parametrize(("build", "method"), WAYS)
def test_a_key_of_100_mb_moves_and_one_of_300_mb_stays(
    tmp_path: Path, build: tuple[EngineName, str], method: MoveMethod
) -> None:
    """The engines themselves can move it; which slots they move is decided by who weighs."""

    async def work(pair: Pair) -> None:
        for launch in (pair.source, pair.target):
            await configure(launch, maxmemory="1gb")
        admin = await admin_of(pair.source)
        await admin.command("SET", "b", b"x" * 100_000_000)  # slot 3300
        if method is COPY:
            await admin.command("SETRANGE", "c", 300_000_000, b"x")  # slot 7365
        admin.close()
        await pair.move(slots_of((3200, 3400), (7300, 7400)), method)
        assert await pair.owned() == (301 if method is COPY else 302)
        await check_whole(pair.group, 2002 if method is COPY else 2001)
        admin = await admin_of(pair.target)
        assert await admin.command("STRLEN", "b") == 100_000_000
        admin.close()

    run_with_newcomer(tmp_path, build, work, keys=2000)


@pytest.mark.parametrize(("build", "method"), WAYS)
def test_all_is_flushed_in_the_middle(
    tmp_path: Path, build: tuple[EngineName, str], method: MoveMethod
) -> None:
    async def work(pair: Pair) -> None:
        move = pair.order(slots_of((0, 8000)), method)
        moving = asyncio.create_task(pair.execute(move))
        admins = [await admin_of(launch) for launch in (pair.source, pair.target)]
        for _ in range(10):
            await asyncio.sleep(0.03)
            for admin in admins:
                await admin.command("FLUSHALL")
        # One that is flushed where it goes to has failed, and is asked for again.
        with contextlib.suppress(CommandFailed):
            await moving
        await pair.execute(move)
        assert await pair.owned() == 8001
        await check_whole(pair.group, 0)
        for admin in admins:
            admin.close()

    run_with_newcomer(tmp_path, build, work, keys=50000)


@pytest.mark.parametrize(("build", "method"), WAYS)
def test_thousands_of_writes_a_second_go_to_the_slots_that_move(
    tmp_path: Path, build: tuple[EngineName, str], method: MoveMethod
) -> None:
    """Half of them to these slots; as many as this machine can, up to 30,000 a second."""

    async def work(pair: Pair) -> None:
        async with writing(pair.group, keys=20000, batch=200, rate=30_000) as writer:
            await pair.move(slots_of((0, 8000)), method)
            await pair.back().move(slots_of((0, 8000)), method)
            report = await writer.end()
        await check_whole(pair.group, 20000)
        await writer.check(pair.group)
        # Valkey lets clients in between two pauses (ADR 0021); stock clients try again.
        is_paused = method is COPY and build[0] is EngineName.VALKEY
        allowed = {"MOVED", "ASK", "CLUSTERDOWN"} if is_paused else {"MOVED", "ASK"}
        assert set(report["errors"]) <= allowed
        counts = await keys_held(pair.group)
        assert sum(counts) == 20000

    run_with_newcomer(tmp_path, build, work)


async def keys_held(group: Group) -> list[int]:
    counts = []
    for shard in group.shards:
        admin = await admin_of(shard[0])
        counts.append((await ValkeySlots().memory(admin)).keys)
        admin.close()
    return counts


@pytest.mark.parametrize("build", [REDIS, (EngineName.VALKEY, "8.0")])
def test_what_clients_delete_while_the_target_is_frozen_stays_deleted(
    tmp_path: Path, build: tuple[EngineName, str]
) -> None:
    """It may be at the target already, or on its way; what was made anew there stays."""

    async def work(pair: Pair) -> None:
        await fill(pair.source, 60000, prefix="{k126}")  # one slot, which is open for a while
        pid = await pair.pid(pair.target)
        moving = asyncio.create_task(pair.move(slots_of((58, 58)), COPY))
        giving, keeper = await admin_of(pair.source), ValkeySlots()
        left: list[bytes] = []
        while not left:  # until it is frozen while it takes keys
            assert not moving.done()
            await asyncio.sleep(0.02)
            os.kill(pid, signal.SIGSTOP)
            await asyncio.sleep(1.5)  # what is sent is given up
            opened = [one.slot for one in (await keeper.view(giving)).open_slots]
            left = [name for keys in await keeper.keys(giving, opened, 1000) for name in keys]
            if not left:
                os.kill(pid, signal.SIGCONT)
        replies = await giving.pipeline([("DEL", name) for name in left])
        deleted = [name for name, reply in zip(left, replies, strict=True) if reply == 1]
        os.kill(pid, signal.SIGCONT)
        await moving
        giving.close()
        await check_whole(pair.group, 60000 - len(deleted))
        taking = await admin_of(pair.target)
        assert not sum(await keeper.sizes(taking, deleted))
        taking.close()

    run_with_newcomer(tmp_path, build, work)


def test_writes_do_not_wait_for_a_target_that_is_frozen_when_it_shall_take_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engine would let them wait for ten seconds. The moment is too short to be met here."""
    is_frozen = False
    original = ValkeySlots.exports

    async def as_paused(self: ValkeySlots, admin: AdminConnection) -> tuple[Export, ...]:
        exports = await original(self, admin)
        if not is_frozen:
            return exports
        return tuple(
            replace(one, state=ExportState.PAUSED) if one.state is ExportState.SENDING else one
            for one in exports
        )

    async def work(pair: Pair) -> None:
        nonlocal is_frozen
        source, target = pair.source, pair.target
        admin = await admin_of(source)
        await admin.command("CONFIG", "SET", "rdb-key-save-delay", "20000")
        pid = await pair.pid(target)
        monkeypatch.setattr(ValkeySlots, "exports", as_paused)
        moving = asyncio.create_task(pair.move(ALL_SLOTS, ATOMIC))

        async def is_sent() -> bool:
            exports = await original(ValkeySlots(), admin)
            return [one.state for one in exports] == [ExportState.SENDING]

        await until(is_sent, "a snapshot")
        os.kill(pid, signal.SIGSTOP)
        is_frozen = True
        began_s = time.monotonic()

        async def is_withdrawn() -> bool:
            exports = await original(ValkeySlots(), admin)
            return exports[-1].state is ExportState.FAILED

        await until(is_withdrawn, "the export is withdrawn")
        assert time.monotonic() - began_s > 0.9
        await admin.command("CONFIG", "SET", "rdb-key-save-delay", "0")
        is_frozen = False
        await asyncio.sleep(1)
        assert not moving.done()
        os.kill(pid, signal.SIGCONT)
        await moving
        admin.close()
        assert await pair.owned() == SLOT_COUNT
        await check_whole(pair.group, 5000)

    run_with_newcomer(tmp_path, VALKEY, work, keys=5000)


@pytest.mark.parametrize("state", ["failover-granted", "snapshotting"])
def test_nothing_is_cancelled_once_the_other_one_may_own_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    """Told and cancelled in one step of the engine; the state that is asked for is the test's."""
    script = valkey_slots._CANCEL_UNLESS_GRANTED.replace("failover-granted", state)
    monkeypatch.setattr(valkey_slots, "_CANCEL_UNLESS_GRANTED", script)

    async def work(pair: Pair) -> None:
        keeper, admin = ValkeySlots(), await admin_of(pair.source)
        assert await keeper.cancel_exports(admin, is_granted_too=False)
        await admin.command("CONFIG", "SET", "rdb-key-save-delay", "20000")
        await keeper.begin_export(admin, ALL_SLOTS, pair.target.engine_id)

        async def sends() -> bool:
            return "snapshotting" in repr(await admin.command("CLUSTER", "GETSLOTMIGRATIONS"))

        await until(sends, "a snapshot")
        is_cancelled = await keeper.cancel_exports(admin, is_granted_too=False)
        assert is_cancelled is (state == "failover-granted")
        (export,) = await keeper.exports(admin)
        assert export.state is (ExportState.FAILED if is_cancelled else ExportState.SENDING)
        assert await keeper.cancel_exports(admin, is_granted_too=True)
        (export,) = await keeper.exports(admin)
        assert export.state is ExportState.FAILED
        admin.close()

    run_with_newcomer(tmp_path, VALKEY, work, keys=5000)
