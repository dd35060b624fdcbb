"""How does a node end, with or without its data, so that the end is proven and nothing is lost?

With its data: the engine is asked, and if it cannot save it stays alive; it is never killed.
Without: its clients have the answers to what they asked, it is asked, then killed. Nothing here
returns before the kernel has proven the end.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime

from cachewright.agent import draining, keeping, process
from cachewright.agent.folder import Record
from cachewright.agent.machine import Event
from cachewright.agent.node import ANSWER_TIMEOUT_S, Node
from cachewright.engines.adapter import Connection, EngineRefused, EngineUnreachable
from cachewright.kit import failpoints
from cachewright.model.commands import Part
from cachewright.model.facts import Unknown
from cachewright.rpc.agent import CommandFailed

#: 60 GB at 200 MB/s. It goes on after that, but nobody waits for it.
SAVE_TIMEOUT_S = 300.0
#: Without a save an engine ends within milliseconds.
END_TIMEOUT_S = 3.0


async def stop(node: Node, *, saves: bool, now: datetime.datetime) -> None:
    """End the process of the node and see its end; nothing happens if there is none."""
    keeper = node.adapter.items if node.record.launch is not None else None
    if node.process is not None:
        if saves and keeper is not None:
            await keeping.keep_and_end(node, node.process, keeper, now)
        elif saves and not _is_discovery(node):
            await _save_and_end(node, node.process, now)
        else:
            await _end(node, node.process)
    await process.end_leftovers(node.folder.output)
    if not saves:
        await keeping.drop(node)


async def remove(node: Node) -> None:
    """Remove the folder of a node whose process has ended for certain, and forget its failures."""
    if node.process is None and node.folder.exists():
        await process.end_leftovers(node.folder.output)
    state = node.next_state(Event.REMOVE)
    failpoints.passing("agent.before_forget")
    # Before the folder: whoever goes on after us finds them by it.
    await asyncio.to_thread(node.memory.remove)
    await asyncio.to_thread(node.folder.remove)
    node.record = Record(state=state)


def _is_discovery(node: Node) -> bool:
    """Tell whether it is a configuration endpoint, which has nothing to save."""
    launch = node.record.launch
    return launch is not None and launch.part is Part.DISCOVERY


async def _save_and_end(node: Node, running: process.Process, now: datetime.datetime) -> None:
    fact = await node.observe_engine()
    saved = node.saved
    if isinstance(fact, Unknown) or saved is None:
        said = fact.reason if isinstance(fact, Unknown) else "nothing is known of it"
        raise CommandFailed(f"node {node.name} cannot be told to save and runs on: {said}")
    saved.expect(role=fact.role, now=now)
    node.advance(Event.STOP)
    try:
        await _shut_down(node, saves=True, timeout_s=SAVE_TIMEOUT_S)
    except EngineRefused as refused:
        node.advance(Event.REFUSED_TO_STOP)
        saved.abandon()
        raise CommandFailed(f"node {node.name} could not save and runs on: {refused}") from refused
    except EngineUnreachable as silent:
        if await running.ended(END_TIMEOUT_S) is None:
            raise CommandFailed(f"node {node.name} has not ended yet: {silent}") from silent
    proof = await running.ended(END_TIMEOUT_S)
    if proof is None:
        raise CommandFailed(f"node {node.name} has not ended yet")
    if not saved.confirm():
        lines = "\n".join(node.log_tail)
        raise CommandFailed(
            f"node {node.name} {process.describe_end(proof)} without saving:\n{lines}"
        )


async def _end(node: Node, running: process.Process) -> None:
    """End a process without its data."""
    if node.saved is not None:
        with contextlib.suppress(OSError):  # the disk must not keep a process alive
            node.saved.abandon()
    node.advance(Event.STOP)
    with contextlib.suppress(EngineRefused, EngineUnreachable, CommandFailed, TimeoutError):
        async with asyncio.timeout(ANSWER_TIMEOUT_S):
            await _shut_down(node, saves=False, timeout_s=ANSWER_TIMEOUT_S)
        await running.ended(END_TIMEOUT_S)
    await running.kill()


async def _shut_down(node: Node, *, saves: bool, timeout_s: float) -> None:
    admin = await node.connect()
    try:
        if not saves:
            await _let_clients_go(node, admin)
        await node.adapter.shutdown(admin, saves=saves, timeout_s=timeout_s)
    finally:
        admin.close()


async def _let_clients_go(node: Node, admin: Connection) -> None:
    """Let nobody new in and answer who is there; if we die then, whoever looks next binds it."""
    if node.adapter.roles is not None:
        await node.adapter.bind(admin, ())
        await draining.drain(node, admin)
