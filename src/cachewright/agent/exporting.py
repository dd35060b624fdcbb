"""How do the engines move whole slots by themselves, and when are they stopped?

A move is cut into exports, each of which the engine carries out alone: it forks, sends what the
slots hold, then what is written meanwhile, makes all writes to it wait for the moment in which the
other one takes over, and at last deletes what it gave. The pause and the deletion keep clients
waiting, so an export is bounded by keys and bytes. While one sends, the next gets ready.

An export is left to itself when we die, and whoever comes next waits for its end first. It is
cancelled when the one that takes has ended, or has been silent for too long; never once that one
may own the slots, for writes that come after that would be lost with the slots.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import functools
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cachewright.agent.move import Move, party
from cachewright.agent.node import Node
from cachewright.agent.party import Party, while_alive
from cachewright.engines.adapter import EngineRefused
from cachewright.engines.slots import ENDED, Export, ExportState
from cachewright.kit.failpoints import passing
from cachewright.model.engines import capabilities_of
from cachewright.model.slots import SlotRanges, numbers_of, ranges_of, render_ranges
from cachewright.rpc.agent import CommandFailed, StaleEpoch

_log = logging.getLogger(__name__)

#: The giving engine deletes this many in one go when it has given them, and serves nobody
#: meanwhile: a microsecond each, two where others do the same. Each export costs it a fork and a
#: hand-over beside, some 25 ms in which nobody is served either: many small ones cost clients more.
KEYS_PER_EXPORT = 100_000
#: What is written while this is sent has to be kept by the giving engine.
BYTES_PER_EXPORT = 256 * 1024 * 1024
#: One sends, and one waits for its turn.
_EXPORTS_AT_ONCE = 2
_FIRST_LOOK_S = 0.005
_LAST_LOOK_S = 0.02
#: Between two questions whether the one that takes still answers.
_PING_S = 0.2
#: Clients' writes wait no longer than this for one that takes and has fallen silent.
_PAUSE_MAX_S = 1.0
#: How long the news that slots have a new owner take at most, from one that has ended since.
_NEWS_S = 0.1
#: The engine waits no longer than 10 s for one that may own the slots.
_GRANTED_MAX_S = 12.0
#: How long an export may stay in one state: for another child process of the engine to end, and
#: for its own bytes at the slowest.
_STATE_MAX_S = 120.0
_SLOWEST_BYTES_S = 5 * 1024 * 1024
#: An export that was aborted by a FLUSHALL has nothing to move any more; it is tried again.
_FLUSHED = "flushed"
_TRIES_MAX = 5


@dataclass(kw_only=True, slots=True)
class _Job:
    """Slots that go together."""

    slots: SlotRanges
    size_bytes: int = 0
    tries: int = 0
    #: We have cancelled it, to begin anew later.
    is_withdrawn: bool = False
    said: str = ""
    #: Since when the engine has said the same.
    since_s: float = 0.0


@dataclass(kw_only=True, slots=True)
class _Exporter:
    """The exports of one move."""

    move: Move
    giving: Party
    taking: Party
    waiting: collections.deque[_Job] = field(default_factory=collections.deque)
    #: By the names of their exports.
    running: dict[str, _Job] = field(default_factory=dict)
    #: When the one that takes has last answered.
    heard_s: float = 0.0

    async def run(self) -> None:
        """Move what is left to be moved."""
        await self._finish_others()
        await self.move.acquaint(self.giving, self.taking)
        left = await self.move.left(self.giving, self.taking)
        if not left:
            return
        await self.giving.call(self.giving.keeper.prepare_exports)
        self.move.quicken()
        passing("agent.before_export")
        self.waiting.extend(await _jobs(self.giving, left))
        while self.waiting or self.running:
            while self.waiting and len(self.running) < _EXPORTS_AT_ONCE:
                await self._begin(self.waiting.popleft())
            await self._look()
        passing("agent.after_exports")

    async def listen(self) -> None:
        """Notice whether the one that takes answers; ends when it does not for long."""
        listener = self.move.taking()
        try:
            while True:
                await listener.call(listener.keeper.ping)
                self.heard_s = asyncio.get_running_loop().time()
                await asyncio.sleep(_PING_S)
        finally:
            listener.hang_up()

    async def cancel(self) -> None:
        """End what runs, as far as nothing can be lost by it."""
        taker = self.move.taker
        has_ended = taker is not None and taker.process is None
        try:
            async with asyncio.timeout(_PAUSE_MAX_S):
                if not await _cancel(self.giving, is_granted_too=False) and has_ended:
                    await asyncio.sleep(_NEWS_S)
                    await _cancel(self.giving, is_granted_too=True)
        except (CommandFailed, EngineRefused, TimeoutError) as error:
            _log.warning("event=exports_run_on key=%s reason=%r", self.move.node.key, str(error))

    async def _finish_others(self) -> None:
        """Wait for exports that somebody began before us; what became of them does not matter."""
        for export in await self.giving.call(self.giving.keeper.exports):
            if export.state not in ENDED:
                self.running[export.name] = _Job(slots=export.slots, tries=_TRIES_MAX)
        while self.running:
            with contextlib.suppress(_ExportFailed):
                await self._look()

    async def _begin(self, job: _Job) -> None:
        keeper, to_id = self.giving.keeper, self.taking.engine_id

        async def begin(admin: Any) -> str:
            for export in await keeper.exports(admin):
                if export.slots == job.slots and export.state not in ENDED:
                    return export.name  # we were not answered the first time
            return await keeper.begin_export(admin, job.slots, to_id)

        name = await self.giving.call(begin)
        job.tries += 1
        job.is_withdrawn = False
        job.since_s = asyncio.get_running_loop().time()
        self.running[name] = job
        passing("agent.after_export")

    async def _look(self) -> None:
        """Wait until an export has ended, and take what became of it."""
        delay_s = _FIRST_LOOK_S
        while True:
            await asyncio.sleep(delay_s)
            self.move.check()
            delay_s = min(_LAST_LOOK_S, delay_s * 1.5)
            exports = await self.giving.call(self.giving.keeper.exports)
            listed = {export.name: export for export in exports}
            ended = [name for name in self.running if _has_ended(listed.get(name))]
            for name in ended:
                await self._take(listed.get(name), self.running.pop(name))
            if ended:
                return
            await self._bound(listed)

    async def _take(self, export: Export | None, job: _Job) -> None:
        if export is not None and export.state is ExportState.DONE:
            return
        said = "the engine does not know of it any more" if export is None else export.said
        if job.tries < _TRIES_MAX and (job.is_withdrawn or _FLUSHED in said):
            self.waiting.append(job)
            return
        if export is not None:
            said = await self._other_side(export.name) or said
        # Who gave may have given up waiting for news that came after all.
        left = await self.move.left(self.giving, self.taking)
        if {*numbers_of(job.slots)}.isdisjoint(left):
            return
        raise _ExportFailed(f"slots {render_ranges(job.slots)} were not moved: {said}")

    async def _other_side(self, name: str) -> str:
        """Return what the one that takes says, if it says anything soon: it knows why."""
        keeper = self.taking.keeper
        with contextlib.suppress(CommandFailed, EngineRefused, TimeoutError):
            async with asyncio.timeout(_PAUSE_MAX_S):
                return await self.taking.call(lambda admin: keeper.said_of(admin, name))
        return ""

    async def _bound(self, listed: Mapping[str, Export]) -> None:
        """Let nothing take too long."""
        now_s = asyncio.get_running_loop().time()
        for name, job in self.running.items():
            export = listed[name]
            if job.said != export.said:
                job.said, job.since_s = export.said, now_s
            stays_s = now_s - job.since_s
            is_paused = export.state is ExportState.PAUSED
            if is_paused and min(stays_s, now_s - self.heard_s) > _PAUSE_MAX_S:
                await self._withdraw()
                return
            if stays_s > _STATE_MAX_S + job.size_bytes / _SLOWEST_BYTES_S:
                raise _ExportFailed(f"nothing has happened for {stays_s:.0f} s: {export.said}")

    async def _withdraw(self) -> None:
        """Let clients write, and begin again: the other one does not answer while they wait."""
        if await _cancel(self.giving, is_granted_too=False):
            _log.warning("event=exports_withdrawn key=%s", self.move.node.key)
            for job in self.running.values():
                job.is_withdrawn = True


class _ExportFailed(CommandFailed):
    """An export did not do it; nothing has changed."""


def _has_ended(export: Export | None) -> bool:
    return export is None or export.state in ENDED


async def _cancel(giving: Party, *, is_granted_too: bool) -> bool:
    act = functools.partial(giving.keeper.cancel_exports, is_granted_too=is_granted_too)
    return await giving.call(act)


async def end_exports(node: Node) -> None:
    """Cancel what the engine moves by itself, or wait for its end where that is not possible.

    Raises:
        CommandFailed: it does not end.
    """
    launch = node.launch
    if not capabilities_of(launch.engine, launch.engine_version).atomic_slot_migration:
        return
    giving = party(node, node.name, launch.engine_id, launch.address, launch.port)
    try:
        deadline_s = asyncio.get_running_loop().time() + _GRANTED_MAX_S
        while not await _cancel(giving, is_granted_too=False):
            if asyncio.get_running_loop().time() > deadline_s:
                raise CommandFailed(f"node {node.name} does not end what it moves by itself")
            await asyncio.sleep(_LAST_LOOK_S)
    finally:
        giving.hang_up()


async def _jobs(giving: Party, slots: Sequence[int]) -> list[_Job]:
    """Cut slots into jobs of bounded size; a slot alone may be larger."""
    counts = await giving.call(lambda admin: giving.keeper.counts(admin, slots))
    memory = await giving.call(giving.keeper.memory)
    key_bytes = memory.key_bytes(counts)
    keys_max = min(KEYS_PER_EXPORT, max(1, BYTES_PER_EXPORT // max(1, key_bytes)))
    parts: list[list[int]] = []
    keys = 0
    sizes: list[int] = []
    for slot, count in zip(slots, counts, strict=True):
        if not parts or keys + count > keys_max:
            parts.append([])
            sizes.append(0)
            keys = 0
        parts[-1].append(slot)
        keys += count
        sizes[-1] += count * key_bytes
    return [
        _Job(slots=ranges_of(part), size_bytes=size)
        for part, size in zip(parts, sizes, strict=True)
    ]


async def export(move: Move) -> None:
    """Let the engines move what is left to be moved.

    Raises:
        CommandFailed: it was not all moved.
        EngineRefused: the engine does not do it.
    """
    exporter = _Exporter(move=move, giving=move.giving(), taking=move.taking())
    exporter.heard_s = asyncio.get_running_loop().time()
    tasks = [asyncio.create_task(exporter.run()), asyncio.create_task(exporter.listen())]
    try:
        async with contextlib.AsyncExitStack() as stack:
            if move.taker is not None:
                await stack.enter_async_context(while_alive(move.taker, "takes nothing"))
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
    except StaleEpoch:
        raise  # whoever gives the orders now goes on with it
    except (CommandFailed, EngineRefused):
        await _stop(tasks)
        await exporter.cancel()
        raise
    finally:
        await _stop(tasks)
        exporter.giving.hang_up()
        exporter.taking.hang_up()


async def _stop(tasks: Sequence[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
