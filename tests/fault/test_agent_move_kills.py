"""Whoever dies while slots move: nothing is lost or doubled, and it goes on to its end."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from cachewright.agent.supervisor import LocalAgent
from cachewright.engines.slots import ExportState
from cachewright.engines.valkey_slots import ValkeySlots
from cachewright.kit import failpoints
from cachewright.model.commands import CloseSlots, Launch, MoveSlots, PromoteNode, Promotion
from cachewright.model.engines import EngineName
from cachewright.model.moves import MoveMethod
from cachewright.rpc.agent import CommandFailed
from tests.fault.agent_groups import EPOCH, Group
from tests.fault.agent_moves import (
    admin_of,
    check_whole,
    fill,
    move_of,
    owned,
    run_with_newcomer,
    slots_of,
    writing,
)
from tests.fault.agent_world import fact_of, pid_of, until

CHILD = Path(__file__).with_name("mover_child.py")
ROOT = CHILD.parents[2]
ATOMIC, COPY = MoveMethod.ATOMIC, MoveMethod.COPY
VALKEY, REDIS = (EngineName.VALKEY, "9.1"), (EngineName.REDIS, "7.0")
#: Failpoints that each way of moving passes; the others belong to its end.
OF_ATOMIC = ("before_move", "before_export", "after_export", "after_exports")
OF_COPY = (
    "before_move", "after_import", "after_open", "after_copy", "after_empty", "after_claim",
    "after_give",
)  # fmt: skip
OF_CLOSE = ("before_close", "after_take_back", "after_close")


def test_every_failpoint_is_tried() -> None:
    tried = {f"agent.{name}" for name in (*OF_ATOMIC, *OF_COPY, *OF_CLOSE)}
    assert tried == failpoints.OF_MOVES.keys()


async def carry_out_elsewhere(folder: Path, command: MoveSlots | CloseSlots, failpoint: str) -> int:
    """Let another agent carry out a command and die at a failpoint; return how it ended."""
    return await asyncio.to_thread(_carry_out, folder, command, failpoint)


def _carry_out(folder: Path, command: MoveSlots | CloseSlots, failpoint: str) -> int:
    kind = "move" if isinstance(command, MoveSlots) else "close"
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
        "CACHEWRIGHT_FAILPOINTS": f"agent.{failpoint}=kill",
    }
    with subprocess.Popen(
        [sys.executable, str(CHILD), str(folder)],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as child:
        try:
            said = f"{kind} {msgspec.json.encode(command).decode()}\n"
            child.communicate(said, 60)
        finally:
            child.kill()
    return child.returncode


@pytest.mark.parametrize(
    ("build", "method", "failpoint"),
    [
        *((VALKEY, ATOMIC, name) for name in OF_ATOMIC),
        *((REDIS, COPY, name) for name in OF_COPY),
        *(((EngineName.VALKEY, "8.0"), COPY, name) for name in OF_COPY[3:6]),
    ],
)
def test_an_agent_that_is_killed_is_followed_by_one_that_goes_on(
    tmp_path: Path, build: tuple[EngineName, str], method: MoveMethod, failpoint: str
) -> None:
    async def work(agent: LocalAgent, group: Group) -> None:
        source, target = (shard[0] for shard in group.shards)
        await fill(source, 5000)
        async with writing(group, keys=500, batch=20, rate=2000) as writer:
            move = move_of(group, source, target, slots_of((0, 2000)), method)
            assert await carry_out_elsewhere(tmp_path, move, failpoint) == -signal.SIGKILL
            await agent.execute(move, epoch=EPOCH)
            await writer.end()
        await check_whole(group, 5500)
        await writer.check(group)

    run_with_newcomer(tmp_path, build, work)


@pytest.mark.parametrize("ends", ["move", "close"])
def test_what_an_engine_moves_by_itself_is_ended_before_keys_are_moved(
    tmp_path: Path, ends: str
) -> None:
    async def work(agent: LocalAgent, group: Group) -> None:
        source, target = (shard[0] for shard in group.shards)
        await fill(source, 5000)
        admin = await admin_of(source)
        await admin.command("CONFIG", "SET", "rdb-key-save-delay", "20000")
        slots = slots_of((0, 2000))
        move = move_of(group, source, target, slots, ATOMIC)
        assert await carry_out_elsewhere(tmp_path, move, "after_export") == -signal.SIGKILL
        exports = await ValkeySlots().exports(admin)
        assert [export.state for export in exports] == [ExportState.SENDING]
        if ends == "move":
            move = move_of(group, source, target, slots, COPY)
            await agent.execute(move, epoch=EPOCH)
            assert await owned(group, target) == 2001
        else:
            others = ((target.address, target.port),)
            close = CloseSlots(key=source.key, slots=slots, others=others)
            await agent.execute(close, epoch=EPOCH)
        exports = await ValkeySlots().exports(admin)
        assert [export.state for export in exports] == [ExportState.FAILED]
        admin.close()
        await check_whole(group, 5000)

    run_with_newcomer(tmp_path, VALKEY, work)


@pytest.mark.parametrize("failpoint", OF_CLOSE)
def test_the_end_of_a_cut_move_may_be_cut_as_well(tmp_path: Path, failpoint: str) -> None:
    async def work(agent: LocalAgent, group: Group) -> None:
        source, target = (shard[0] for shard in group.shards)
        await fill(source, 5000)
        move = move_of(group, source, target, slots_of((0, 2000)), COPY)
        assert await carry_out_elsewhere(tmp_path, move, "after_copy") == -signal.SIGKILL
        admin = await admin_of(target)  # so that keys have to come back
        await admin.command("CONFIG", "SET", "maxmemory", "1mb")
        admin.close()
        others = ((target.address, target.port),)
        close = CloseSlots(key=source.key, slots=slots_of((0, 16383)), others=others)
        assert await carry_out_elsewhere(tmp_path, close, failpoint) == -signal.SIGKILL
        await agent.execute(close, epoch=EPOCH)
        await check_whole(group, 5000)

    run_with_newcomer(tmp_path, REDIS, work)


@pytest.mark.parametrize("who", ["source", "target"])
@pytest.mark.parametrize(
    ("build", "method", "failpoint"),
    [
        *((VALKEY, ATOMIC, name) for name in OF_ATOMIC[2:]),
        *((REDIS, COPY, name) for name in OF_COPY[1:6]),
        *(((EngineName.VALKEY, "8.0"), COPY, name) for name in OF_COPY[3:6]),
    ],
)
def test_a_primary_that_dies_is_succeeded_and_the_move_goes_on(
    tmp_path: Path, build: tuple[EngineName, str], method: MoveMethod, failpoint: str, who: str
) -> None:
    """The agent dies with it; a replica that has everything takes over."""

    async def work(agent: LocalAgent, group: Group) -> None:
        slots = slots_of((0, 2000))
        # A target with a replica: the second shard of two, which has nothing of these slots.
        (source, heir), (target, other), _ = group.shards
        await fill(source, 4000, prefix="{k126}")  # slot 58
        await spread(source, 300)
        move = move_of(group, source, target, slots, method)
        assert await carry_out_elsewhere(tmp_path, move, failpoint) == -signal.SIGKILL
        victim, successor = (source, heir) if who == "source" else (target, other)
        await until(lambda: have_same_offset(group, victim, successor), "all is replicated")
        os.kill(pid_of(await fact_of(agent, victim.key)), signal.SIGKILL)
        takeover = PromoteNode(
            key=successor.key,
            how=Promotion.TAKEOVER,
            over=(victim.address, victim.port),
        )
        await agent.execute(takeover, epoch=EPOCH)
        group.shards[0 if who == "source" else 1] = [successor]
        source = successor if who == "source" else source
        target = successor if who == "target" else target
        move = move_of(group, source, target, slots, method)
        await until(lambda: moved(agent, move), "the slots are there")
        await check_whole(group, 4300)

    run_with_newcomer(tmp_path, build, work, nodes=2, shards=2)


async def spread(source: Launch, count: int) -> None:
    """Write keys of many slots that a primary of the first half owns."""
    admin = await admin_of(source)
    written = number = 0
    while written < count:
        (reply,) = await admin.pipeline([("SET", f"s{number}", "v")])
        written += reply == b"OK"
        number += 1
    admin.close()


async def have_same_offset(group: Group, primary: Launch, replica: Launch) -> bool:
    facts = [await group.engine(one) for one in (primary, replica)]
    return facts[0].offset == facts[1].offset


async def moved(agent: LocalAgent, move: MoveSlots) -> bool:
    """Try to move, as the controller does until it works."""
    try:
        await agent.execute(move, epoch=EPOCH)
    except CommandFailed:
        return False
    return True
