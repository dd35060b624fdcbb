"""How does a replica become primary in place of one that lives, so that nothing is lost?

Cluster mode has the engine's own way. Without it, in this order: writes wait at the old primary
until the successor has everything; the old primary becomes a replica; what it had written by then
is compared once more, for the wait may have been ended by others, or we may have slept; only then
is the successor a primary. So there are never two writers. If anything fails before the old
primary is a replica, writes go on there and all is as it was; after that there is no primary for
a moment, and whoever looks next finds replicas only and promotes the one that has most.

The `FAILOVER` command of the engines is not used: if its last answer is lost, both are primaries.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Sequence

from cachewright.agent import bus, draining, linking
from cachewright.agent.node import ANSWER_TIMEOUT_S, Node
from cachewright.agent.party import while_alive
from cachewright.agent.promoting import is_primary_within
from cachewright.engines.adapter import Connection, EngineRefused, EngineUnreachable
from cachewright.engines.home import RoleSeen
from cachewright.model.commands import HandOver, Promotion
from cachewright.model.status import Role
from cachewright.rpc.agent import CommandFailed

_log = logging.getLogger(__name__)

#: Writes wait no longer than this if we die in between. Longer than all that happens in between.
PAUSE_MS = 2_000
#: A replica in sync lags by less than a millisecond; what it still needs must not keep writers.
CATCH_UP_TIMEOUT_S = 0.5
#: Before writes wait, what the primary has written must be at the replica this soon. Right after a
#: first sync Redis sends nothing until the replica's next report, which comes once a second.
_KEEPS_UP_S = 0.02
#: How long a replica may take until it keeps up so well.
KEEP_UP_TIMEOUT_S = 2.0
#: In cluster mode the engines give up by themselves after 5 s, and writes go on.
_CLUSTER_TIMEOUT_S = 5.5
#: In cluster mode the successor tells the others right after it has taken over.
_STEP_DOWN_TIMEOUT_S = 1.0
_LOOK_AGAIN_S = 0.001


async def hand_over(
    node: Node, successor: Node, command: HandOver, *, others: Sequence[Node]
) -> None:
    """Make `successor` the primary in place of `node`; nothing is lost, and both live on.

    Done already, it only binds their addresses. `others` are all other nodes of the group here.

    Raises:
        CommandFailed: it was not done; `node` is still the primary, or no node is.
    """
    async with contextlib.AsyncExitStack() as stack:
        await stack.enter_async_context(while_alive(node, "hands nothing over"))
        # Connections of its own: a deadline of another call on a shared one would end this act.
        old = await _connected(stack, node)
        new = await _connected(stack, successor)
        if (await successor.roles.seen(new)).role is Role.PRIMARY:
            if (await node.roles.seen(old)).role is Role.PRIMARY:
                raise CommandFailed(f"{node.name} and {successor.name} are both primaries")
            await _bind(node, old, successor, new, command)
            return
        await _require_in_sync(node, old, successor, new)
        if command.is_cluster:
            await linking.wait_until_linked(successor, (node, *others))
            await _hand_over_cluster(node, old, successor, new)
            await _bind(node, old, successor, new, command)
        else:
            await _hand_over(node, old, successor, new, command)
    _log.info("event=handed_over from=%s to=%s", node.key, successor.key)


async def _connected(stack: contextlib.AsyncExitStack, node: Node) -> Connection:
    if node.process is None:
        raise CommandFailed(f"node {node.name} does not run")
    admin = await node.connect()
    stack.callback(admin.close)
    return admin


async def _require_in_sync(node: Node, old: Connection, successor: Node, new: Connection) -> None:
    primary, replica = await node.roles.seen(old), await successor.roles.seen(new)
    place = (node.launch.address, node.launch.port)
    if primary.role is not Role.PRIMARY:
        raise CommandFailed(f"node {node.name} is no primary")
    if replica.primary != place or not replica.is_linked:
        raise CommandFailed(f"node {successor.name} is not in sync with {node.name}")
    loop = asyncio.get_running_loop()
    deadline_s = loop.time() + KEEP_UP_TIMEOUT_S
    while True:
        began_s, offset = loop.time(), (await node.roles.seen(old)).offset
        await _wait_until_it_has(successor, new, offset, deadline_s)
        if loop.time() - began_s < _KEEPS_UP_S:
            return


async def _hand_over_cluster(node: Node, old: Connection, successor: Node, new: Connection) -> None:
    """Let the engines do it; over when the old primary knows as well that it is a replica.

    Until they give up there is no way to call it off, so it is waited for all that time.
    """
    if successor.process is not None:
        bus.quicken(successor.process, successor.launch)
    await successor.roles.begin_hand_over(new)
    if not await is_primary_within(successor, _CLUSTER_TIMEOUT_S):
        raise CommandFailed(f"node {successor.name} did not take over within 5 s")
    deadline_s = asyncio.get_running_loop().time() + _STEP_DOWN_TIMEOUT_S
    while (await node.roles.seen(old)).role is not Role.REPLICA:
        if asyncio.get_running_loop().time() > deadline_s:
            raise CommandFailed(f"node {node.name} does not know yet that it was succeeded")
        await asyncio.sleep(_LOOK_AGAIN_S)


async def _hand_over(
    node: Node, old: Connection, successor: Node, new: Connection, command: HandOver
) -> None:
    """Change the roles; clients are closed, and come back when the successor listens.

    Who came back earlier would be refused its writes: so the old primary lets go of its endpoint
    first, then of clients that wait for nothing, and of all others in the same moment in which it
    becomes a replica.
    """
    is_replica, before = False, (await node.adapter.observe(old)).bind
    try:
        await node.adapter.bind(old, command.bind)
        await draining.drain(node, old)
        offset = await node.roles.pause_writes(old, PAUSE_MS)
        deadline_s = asyncio.get_running_loop().time() + CATCH_UP_TIMEOUT_S
        await _wait_until_it_has(successor, new, offset, deadline_s)
        offset = await node.roles.step_down(old, command.to_address, command.to_port)
        is_replica = True
        deadline_s = asyncio.get_running_loop().time() + CATCH_UP_TIMEOUT_S
        await _wait_until_it_has(successor, new, offset, deadline_s)
        await successor.adapter.promote(new, Promotion.STANDALONE)
        await _bind(node, old, successor, new, command)
    finally:
        await asyncio.shield(_resume(node, old, before=() if is_replica else before))


async def _wait_until_it_has(
    successor: Node, new: Connection, offset: int, deadline_s: float
) -> None:
    loop = asyncio.get_running_loop()
    while (seen := await _seen_replica(successor, new)).offset < offset:
        if loop.time() > deadline_s:
            raise CommandFailed(f"node {successor.name} lags by {offset - seen.offset} bytes")
        await asyncio.sleep(_LOOK_AGAIN_S)


async def _seen_replica(successor: Node, new: Connection) -> RoleSeen:
    seen = await successor.roles.seen(new)
    if seen.role is not Role.REPLICA:
        raise CommandFailed(f"node {successor.name} is a primary already")
    return seen


async def _bind(
    node: Node, old: Connection, successor: Node, new: Connection, command: HandOver
) -> None:
    """Move the addresses: the old one lets go first, since one address has one listener."""
    await node.adapter.bind(old, command.bind)
    await successor.adapter.bind(new, command.to_bind)


async def _resume(node: Node, old: Connection, *, before: tuple[str, ...]) -> None:
    """Let writes go on, and listen on what was listened on `before`.

    On the same connection if it still serves: behind what was sent on it.
    """
    with contextlib.suppress(EngineRefused, EngineUnreachable, CommandFailed, TimeoutError):
        if not old.is_closed:
            await _go_on(node, old, before)
            return
    if node.process is None:
        return
    try:
        async with asyncio.timeout(ANSWER_TIMEOUT_S):
            await _go_on(node, await node.admin(), before)
    except (EngineRefused, EngineUnreachable, CommandFailed, TimeoutError) as error:
        _log.warning("event=writes_wait key=%s ms=%d reason=%s", node.key, PAUSE_MS, error)


async def _go_on(node: Node, admin: Connection, before: tuple[str, ...]) -> None:
    await node.roles.resume_writes(admin)
    if before:
        await node.adapter.bind(admin, before)
