"""How do the items of a node outlive a planned restart, and why not if they do not?

For engines with an `ItemKeeper`: they hold a cache, so nothing here ever keeps a process alive or
down. What cannot be kept is lost, and the record says why, so that people can be told. `saved` says
whether what lies there is what the last stop left; a crash leaves nothing that is ever used.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import datetime
import time
from typing import Any

from cachewright.agent import disk, process
from cachewright.agent.folder import ItemsRecord, Record
from cachewright.agent.machine import Event
from cachewright.agent.node import Node
from cachewright.engines.adapter import EngineRefused, EngineUnreachable, Home, ItemKeeper
from cachewright.model.builds import Build
from cachewright.model.status import Role
from cachewright.rpc.agent import CommandFailed

#: With 750 MB of items an engine ended within 0.4 s on a busy machine; most of it is the kernel's
#: time, and grows with the memory.
KEEP_TIMEOUT_S = 10.0
_KEEP_S_PER_GIB = 2.0
#: Moving a page takes milliseconds, or seconds while many clients write to what is on it.
_QUIET_TIMEOUT_S = 5.0
#: 750 MB of small items took up to 2 s on a busy machine.
_TAKE_S_PER_GIB = 10.0
#: A connection that only wakes the engine.
_KNOCK_TIMEOUT_S = 1.0
_GIB = 1 << 30
_UNFINISHED = "the start that was to take them over did not come to its end"


async def prepare(
    node: Node, record: Record, keeper: ItemKeeper[Any], build: Build
) -> tuple[bool, Record]:
    """Make the place of the items of the process that is about to start.

    Returns:
        Whether it will find items there, and the record with how it holds them.
    """
    launch = record.launch
    assert launch is not None
    layout = dict(keeper.layout(build, launch))
    reason = record.cold_start_reason
    if launch.loads_saved_data:
        reason = _why_not(node, record, keeper, layout)
    loads = launch.loads_saved_data and not reason
    if loads:
        await _wait_until_ready(node, keeper)
        reason = await asyncio.to_thread(_fit, node, record, keeper, layout)
        loads = not reason
    obstacle = await asyncio.to_thread(
        node.memory.claim, keeper.items_name, keeper.size_bytes(launch), keeps=loads
    )
    if loads and obstacle:
        loads, reason = False, obstacle
    return loads, dataclasses.replace(
        record,
        items=ItemsRecord(layout=layout, obstacle=obstacle),
        cold_start_reason=_UNFINISHED if loads else reason,
    )


def home_of(node: Node) -> Home:
    """Return the places of the process of a node, as its record has them."""
    items = node.record.items
    has_items = items is not None and not items.obstacle
    return Home(folder=node.folder.path, items=node.memory.path if has_items else None)


def extra_time_s(node: Node) -> float:
    """Return how much longer a start may take because it goes through items, in seconds."""
    keeper, launch = node.adapter.items, node.launch
    if keeper is None or not launch.loads_saved_data:
        return 0.0
    return keeper.size_bytes(launch) / _GIB * _TAKE_S_PER_GIB


def note_outcome(node: Node) -> None:
    """After the engine has answered: remember whether it took the items that it was to take."""
    keeper = node.adapter.items
    if keeper is None or node.record.cold_start_reason != _UNFINISHED:
        return
    refusal = keeper.refusal(node.folder.log_tail(node.adapter.log_name, ()))
    node.record = dataclasses.replace(node.record, cold_start_reason=refusal)
    node.saved_by(node.adapter).discard()


async def keep_and_end(
    node: Node, running: process.Process, keeper: ItemKeeper[Any], now: datetime.datetime
) -> None:
    """End the process of a node, with its items kept if that is possible."""
    items = node.record.items
    reason = "nothing is known of how it held them" if items is None else items.obstacle
    if reason:
        node.advance(Event.STOP)
        await running.kill()
    else:
        reason = await _keep_and_end(node, running, keeper, now)
    if reason:
        await asyncio.to_thread(node.memory.remove)
    node.record = dataclasses.replace(node.record, cold_start_reason=reason)
    with contextlib.suppress(OSError):  # the disk may be full; then only we know it
        node.folder.write(node.record)


async def drop(node: Node) -> None:
    """Free the memory of items that nobody will use; their process has ended."""
    if node.record.items is not None:
        await asyncio.to_thread(node.memory.remove)


async def _keep_and_end(
    node: Node, running: process.Process, keeper: ItemKeeper[Any], now: datetime.datetime
) -> str:
    """Return why nothing was kept, or nothing."""
    saved = node.saved_by(node.adapter)
    try:
        saved.expect(role=Role.PRIMARY, now=now)
    except OSError as error:
        node.advance(Event.STOP)
        await running.kill()
        return f"no note of them could be kept: {disk.explain(error)}"
    with contextlib.suppress(EngineRefused, EngineUnreachable, CommandFailed, TimeoutError):
        async with asyncio.timeout(_QUIET_TIMEOUT_S):
            await keeper.quiet(await node.admin())
    if node.process is None:
        return "it ended before it was told to"
    node.advance(Event.STOP)
    running.send(keeper.stop_signal)
    await _knock(node)
    timeout_s = KEEP_TIMEOUT_S + keeper.size_bytes(node.launch) / _GIB * _KEEP_S_PER_GIB
    proof = await running.ended(timeout_s)
    if proof is None:
        await running.kill()
        reason = f"it did not end within {timeout_s:.0f} s of being told to"
    else:
        reason = f"{node.launch.engine.value} {process.describe_end(proof)} without keeping them"
    with contextlib.suppress(OSError):  # told from the files again when it is asked for
        return "" if saved.confirm() and proof is not None else reason
    return ""


async def _knock(node: Node) -> None:
    """Let the engine look at its signal now; by itself it looks once a second."""
    launch = node.launch
    with contextlib.suppress(OSError, TimeoutError):
        async with asyncio.timeout(_KNOCK_TIMEOUT_S):
            _, writer = await asyncio.open_connection(launch.address, launch.port)
            writer.transport.abort()


async def _wait_until_ready(node: Node, keeper: ItemKeeper[Any]) -> None:
    """Wait, a second at most, until the items can be taken."""
    changed_s = (node.memory.path / keeper.state_name).stat().st_mtime
    wait_s = keeper.ready_at_s(changed_s) - time.time()
    await asyncio.sleep(min(1.0, max(0.0, wait_s)))


def _fit(node: Node, record: Record, keeper: ItemKeeper[Any], layout: dict[str, str]) -> str:
    """Make the items fit a process with more memory, if it has; return why not, or nothing."""
    assert record.launch is not None
    if record.items is None or not keeper.grows(record.items.layout, layout):
        return ""
    try:
        state = (node.memory.path / keeper.state_name).read_bytes()
        content = keeper.grown(state, record.launch)
        if content is None:
            return f"{record.launch.engine.value} did not say for how much memory they were kept"
        node.saved_by(node.adapter).rewrite(content)
    except OSError as error:
        return f"they could not be made to fit more memory: {disk.explain(error)}"
    return ""


def _why_not(node: Node, record: Record, keeper: ItemKeeper[Any], layout: dict[str, str]) -> str:
    """Return why the items of the run before cannot be taken over, or nothing."""
    assert record.launch is not None
    if record.items is None or not node.saved_by(node.adapter).is_whole():
        return "there are none of a planned stop"
    before = record.items.layout
    if keeper.grows(before, layout):
        return ""
    changed = [
        f"{name} changed from {before.get(name, 'unset')} to {layout.get(name, 'unset')}"
        for name in sorted(before.keys() | layout.keys())
        if before.get(name) != layout.get(name)
    ]
    return ", ".join(changed)
