"""Groups whose slots move: newcomers, keys in every slot, and whether all of them are there."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import os
import re
import secrets
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from cachewright.agent.supervisor import LocalAgent
from cachewright.engines.cluster_view import View
from cachewright.engines.resp import AdminConnection, Argument
from cachewright.engines.valkey import ValkeyAdapter
from cachewright.engines.valkey_slots import ValkeySlots
from cachewright.model.commands import (
    AdmitNode,
    CloseSlots,
    HostCommand,
    IntroduceNode,
    Launch,
    MoveSlots,
    Peer,
    StartNode,
)
from cachewright.model.engines import EngineName
from cachewright.model.facts import ClusterFact
from cachewright.model.moves import MoveMethod
from cachewright.model.slots import SLOT_COUNT, SlotRange, SlotRanges, numbers_of
from cachewright.model.status import Role
from tests.fault.agent_groups import EPOCH, Group, hosting_all, launches_of, start_group
from tests.fault.agent_world import PASSWORD, fact_of, free_address, pid_of, until

WRITER = Path(__file__).with_name("slot_writer.py")
MOVER = Path(__file__).with_name("mover_child.py")
ALL_SLOTS: SlotRanges = (SlotRange(0, SLOT_COUNT - 1),)


def newcomer_of(group: Group) -> Launch:
    """Return what starts a primary without slots that knows the whole group."""
    model = group.launches()[0]
    address = free_address()
    own = Peer(
        engine_id=secrets.token_hex(20),
        address=address,
        port=model.port,
        role=Role.PRIMARY,
        primary_engine_id=None,
        slots=(),
        epoch=max(peer.epoch for peer in model.peers) + 1,
    )
    return dataclasses.replace(
        model,
        key=f"g.new-{own.engine_id[:4]}",
        address=address,
        peers=(*model.peers, own),
        engine_id=own.engine_id,
    )


async def cluster_of(group: Group, launch: Launch) -> ClusterFact:
    fact = (await group.engine(launch)).cluster
    assert fact is not None
    return fact


async def join(agent: LocalAgent, group: Group, launch: Launch) -> None:
    """Start and introduce a newcomer; return when everybody knows it and it serves."""
    others = group.launches()
    await agent.execute(StartNode(launch=launch), epoch=EPOCH)
    places = tuple((other.address, other.port) for other in others)
    await agent.execute(IntroduceNode(key=launch.key, others=places), epoch=EPOCH)
    group.shards.append([launch])

    async def is_known() -> bool:
        return all([launch.engine_id in (await cluster_of(group, one)).known_ids for one in others])

    await until(is_known, "everybody knows the newcomer")
    await agent.execute(AdmitNode(key=launch.key, bind=(launch.address,)), epoch=EPOCH)
    await until(group.is_whole, "a whole group")


def slots_of(*bounds: tuple[int, int]) -> SlotRanges:
    return tuple(SlotRange(first, last) for first, last in bounds)


@dataclass(frozen=True)
class Pair:
    """A group, a primary of it that gives slots, and one that takes them."""

    agent: LocalAgent
    group: Group
    source: Launch
    target: Launch

    def order(self, slots: SlotRanges, method: MoveMethod) -> MoveSlots:
        """Return the order to move slots."""
        both = (self.source, self.target)
        others = [shard[0] for shard in self.group.shards if shard[0] not in both]
        return MoveSlots(
            key=self.source.key,
            to_key=self.target.key,
            to_engine_id=self.target.engine_id,
            to_address=self.target.address,
            to_port=self.target.port,
            slots=slots,
            method=method,
            others=tuple((other.address, other.port) for other in others),
            generation=1,
        )

    def back(self) -> Pair:
        """Return the two with their roles changed."""
        return dataclasses.replace(self, source=self.target, target=self.source)

    def closing(self, slots: SlotRanges = ALL_SLOTS) -> CloseSlots:
        """Return the order to end whatever move of the giving one was cut."""
        others = ((self.target.address, self.target.port),)
        return CloseSlots(key=self.source.key, slots=slots, others=others)

    async def execute(self, command: HostCommand, *, epoch: int = EPOCH) -> None:
        await self.agent.execute(command, epoch=epoch)

    async def move(self, slots: SlotRanges, method: MoveMethod) -> None:
        await self.execute(self.order(slots, method))

    async def pid(self, launch: Launch) -> int:
        return pid_of(await fact_of(self.agent, launch.key))

    async def owned(self) -> int:
        """Return how many slots the taking one owns by its own word."""
        return sum(len(part) for part in await slots_owned(self.group, self.target))


Work = Callable[[Pair], Awaitable[None]]


def run_with_newcomer(
    folder: Path,
    build: tuple[EngineName, str],
    work: Work,
    *,
    keys: int = 0,
    nodes: int = 1,
    shards: int = 1,
) -> None:
    """Run work on a group of primaries of which the first has keys and the last owns nothing."""

    async def hosted() -> None:
        async with hosting_all(folder) as agent:
            # All at once: an engine in cluster mode takes writes two seconds after its start.
            launches = launches_of(nodes, shards, build, is_cluster=True, empty=1)
            group = await start_group(agent, launches)
            await until(lambda: has_settled(group), "all slots are served")
            source, target = group.shards[0][0], group.shards[-1][0]
            await fill(source, keys)
            await work(Pair(agent, group, source, target))

    asyncio.run(hosted())


async def carry_out_elsewhere(folder: Path, command: MoveSlots | CloseSlots, failpoint: str) -> int:
    """Let another agent carry out a command and die at a failpoint; return how it ended."""
    return await asyncio.to_thread(_carry_out, folder, command, failpoint)


def _carry_out(folder: Path, command: MoveSlots | CloseSlots, failpoint: str) -> int:
    kind = "move" if isinstance(command, MoveSlots) else "close"
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(MOVER.parents[2]), os.environ.get("PYTHONPATH", "")]),
        "CACHEWRIGHT_FAILPOINTS": f"agent.{failpoint}=kill",
    }
    with subprocess.Popen(
        [sys.executable, str(MOVER), str(folder)],
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


async def admin_of(launch: Launch) -> AdminConnection:
    return await ValkeyAdapter().connect(launch.address, launch.port, PASSWORD, timeout_s=20)


async def configure(launch: Launch, **settings: str) -> None:
    """Set parameters of an engine, with `_` for `-`."""
    admin = await admin_of(launch)
    for name, value in settings.items():
        await admin.command("CONFIG", "SET", name.replace("_", "-"), value)
    admin.close()


async def fill(source: Launch, count: int, size: int = 100, prefix: str = "k") -> None:
    """Write keys to a primary that owns all slots, as the administrator."""
    admin = await admin_of(source)
    try:
        for first in range(0, count, 1000):
            numbers = range(first, min(first + 1000, count))
            replies = await admin.pipeline(
                [("SET", f"{prefix}{number}", f"{number}".ljust(size)) for number in numbers]
            )
            assert set(replies) == {b"OK"}
    finally:
        admin.close()


async def spread(source: Launch, count: int) -> None:
    """Write keys of many slots that a primary of the first half owns."""
    admin = await admin_of(source)
    written = number = 0
    while written < count:
        (reply,) = await admin.pipeline([("SET", f"s{number}", "v")])
        written += reply == b"OK"
        number += 1
    admin.close()


async def ask(launch: Launch, *questions: Sequence[Argument]) -> list[object]:
    """Ask an engine as its administrator; a refusal is an answer."""
    admin = await admin_of(launch)
    try:
        return list(await admin.pipeline(list(questions)))
    finally:
        admin.close()


async def load(launch: Launch, name: str) -> None:
    """Give a node a library with one function, both of this name."""
    engine = "server" if launch.engine is EngineName.VALKEY else "redis"
    code = f"#!lua name={name}\n{engine}.register_function('{name}', function() return 1 end)"
    admin = await admin_of(launch)
    await admin.command("FUNCTION", "LOAD", code)
    admin.close()


async def unload(launch: Launch) -> None:
    """Delete all functions of a node."""
    admin = await admin_of(launch)
    await admin.command("FUNCTION", "FLUSH")
    admin.close()


async def functions_of(launch: Launch) -> list[str]:
    """Return the names of the functions that a node has."""
    admin = await admin_of(launch)
    reply = await admin.command("FUNCTION", "LIST")
    admin.close()
    return sorted(re.findall(r"b'name', b'(\w+)'", repr(reply)))


async def slots_owned(group: Group, launch: Launch) -> SlotRanges:
    return (await cluster_of(group, launch)).own_slots


async def check_whole(group: Group, count: int | None = None) -> None:
    """All slots are owned once and closed, and each key is at the owner of its slot alone."""
    seen: set[int] = set()
    keys = 0
    for shard in group.shards:
        admin = await admin_of(shard[0])
        try:
            view = await admin_view(admin)
            own = set(numbers_of(view.own_slots))
            assert not own & seen
            seen |= own
            assert view.open_slots == (), shard[0].key
            keeper = ValkeySlots()
            foreign = sorted(set(range(SLOT_COUNT)) - own)
            assert not sum(await keeper.counts(admin, foreign)), shard[0].key
            keys += sum(await keeper.counts(admin, sorted(own)))
        finally:
            admin.close()
    assert len(seen) == SLOT_COUNT
    assert count is None or keys == count, (keys, count)


async def admin_view(admin: AdminConnection) -> View:
    return await ValkeySlots().view(admin)


async def has_settled(group: Group) -> bool:
    """Tell whether every node says that all slots are served."""
    views = [await cluster_of(group, launch) for launch in group.launches()]
    return all(view.is_ok and view.slots_assigned == SLOT_COUNT for view in views)


class Writing:
    """A `slot_writer` at work."""

    def __init__(self, seeds: list[str], keys: int, batch: int, rate: int = 0) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(WRITER), ",".join(seeds), str(keys), str(batch), str(rate)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.report: dict[str, Any] = {}

    async def begin(self) -> None:
        assert self._process.stdout is not None
        assert await asyncio.to_thread(self._process.stdout.readline) == "ready\n"

    async def end(self) -> dict[str, Any]:
        said, _ = await asyncio.to_thread(self._process.communicate, "\n", 60)
        self.report = json.loads(said)
        return self.report

    def kill(self) -> None:
        self._process.kill()
        self._process.communicate()

    async def check(self, group: Group) -> None:
        """Every key has the newest value that was acknowledged, or one that was sent after it."""
        found: dict[str, int] = {}
        for shard in group.shards:
            admin = await admin_of(shard[0])
            try:
                names = [*self.report["sent"]]
                for name, value in zip(
                    names, await admin.pipeline([("GET", name) for name in names]), strict=True
                ):
                    if isinstance(value, bytes):
                        assert name not in found
                        found[name] = int(value.rstrip(b"x"))
            finally:
                admin.close()
        acknowledged, sent = self.report["acknowledged"], self.report["sent"]
        wrong = {
            name: (acknowledged[name], found.get(name), sent[name])
            for name in sent
            if not acknowledged[name] <= found.get(name, -1) <= sent[name]
        }
        assert not wrong, (len(wrong), dict(list(wrong.items())[:5]), self.report["errors"])


@contextlib.asynccontextmanager
async def writing(
    group: Group, keys: int = 2000, batch: int = 50, rate: int = 0
) -> AsyncIterator[Writing]:
    """Write all the time; the process is gone after the block."""
    writer = Writing([launch.address for launch in group.launches()], keys, batch, rate)
    try:
        await writer.begin()
        yield writer
    finally:
        writer.kill()
