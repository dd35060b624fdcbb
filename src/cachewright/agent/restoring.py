"""When is taken back what was set at an engine for a while, or half set, by who was here before?

An agent that dies cannot take anything back. So whoever adopts an engine tells it once more, as
soon as it answers, what its record says; and so does who did not come to the end of something. What
cannot be told while it runs, and what it refused before, is left alone. So is its memory: it may
have got more already, and would lose keys if that were taken back. An order to change it that came
to no end is given again; who lives on learns how much it has.

What its record says need not be what is wanted: that is for the plan. An engine that does not
answer is asked at the next look, and nobody waits for it.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging

from cachewright.agent import disk
from cachewright.agent.folder import Record
from cachewright.agent.node import ANSWER_TIMEOUT_S, Node
from cachewright.agent.settings import possible_clients
from cachewright.engines.adapter import EngineRefused, EngineUnreachable, Restored
from cachewright.rpc.agent import CommandFailed

_log = logging.getLogger(__name__)


async def restore(node: Node) -> bool:
    """Let the engine, which answers, run with what the record says; tell whether that was done.

    Whoever does something with the node has the precedence.
    """
    if not node.may_be_altered or node.commands.locked():
        return False
    try:
        async with node.commands, asyncio.timeout(ANSWER_TIMEOUT_S):
            await _restore(node)
    except (TimeoutError, EngineRefused, EngineUnreachable, CommandFailed) as error:
        _log.debug("event=not_restored key=%s reason=%s", node.key, error)
        return False
    except OSError as error:
        _log.warning("event=not_restored key=%s reason=%r", node.key, disk.explain(error))
        return False
    return True


async def _restore(node: Node) -> None:
    record, launch, running = node.record, node.launch, node.process
    if running is None:
        return
    told = dataclasses.replace(
        launch,
        settings=record.settings,
        maxclients=possible_clients(launch.maxclients, running.identity.pid),
    )
    restored = await node.adapter.restore(await node.admin(), told)
    if not node.may_have_other_memory:
        restored = dataclasses.replace(restored, maxmemory_bytes=None)
    after = _after(record, restored)
    if after != record:
        node.write(after)
    node.may_be_altered = node.may_have_other_memory = False


def _after(record: Record, restored: Restored) -> Record:
    """Return the record as it is true now."""
    assert record.launch is not None
    launch = record.launch
    if restored.maxmemory_bytes:
        launch = dataclasses.replace(launch, maxmemory_bytes=restored.maxmemory_bytes)
    anew = {(one.name, one.value) for one in restored.refused}
    before = [one for one in record.refused if (one.name, one.value) not in anew]
    return dataclasses.replace(record, launch=launch, refused=(*before, *restored.refused))
