"""When are clients disconnected that write to a replica? At each look, where the setting says so.

The engines have no such setting. Looking is cheap while nobody writes to the replica: one short
question more. Failing is not worth a word: the next look tries again, and an engine that does not
answer shows in the observation itself.
"""

from __future__ import annotations

import asyncio
import logging

from cachewright.agent.node import ANSWER_TIMEOUT_S, Node
from cachewright.engines.adapter import EngineRefused, EngineUnreachable
from cachewright.model.facts import EngineFact, Unknown
from cachewright.model.parameters import CLOSE_ON_REPLICA_WRITE
from cachewright.model.status import Role
from cachewright.rpc.agent import CommandFailed

_log = logging.getLogger(__name__)


async def close_writers(node: Node, seen: EngineFact | Unknown) -> None:
    """Disconnect the clients that wrote to a replica since the last look, if they shall be."""
    if not isinstance(seen, EngineFact) or seen.role is not Role.REPLICA or seen.is_held:
        return
    launch = node.record.launch
    if launch is None or dict(launch.settings).get(CLOSE_ON_REPLICA_WRITE) != "yes":
        return
    try:
        async with asyncio.timeout(ANSWER_TIMEOUT_S):
            closed = await node.adapter.close_writers(await node.admin())
    except (TimeoutError, EngineRefused, EngineUnreachable, CommandFailed) as error:
        _log.debug("event=close_writers_failed key=%s reason=%s", node.key, error)
        return
    if closed:
        _log.info("event=writers_closed key=%s clients=%d", node.key, closed)
