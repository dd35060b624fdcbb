"""How does a replica become primary after the end of its primary, and when does it not?

Right before the order the present world is looked at once more: whom the replica follows, whether
that primary lives on this host, and whether the link to it is down. While the link is up the
replica may still read what its primary sent before it ended. Done means that the engine itself
says it is a primary, and that it listens where it shall. Decides nothing about who is promoted.

A replica claims all slots that it knows its primary to have owned. Where it has not heard of some
that have moved, that would take them back from who has their keys, with a higher epoch; a vote may
be denied for that, and on its own word nobody is asked. So it forgets them first: those that its
primary had given away by its own last word, and those that another primary owns more lately.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from cachewright.agent import bus, process
from cachewright.agent.node import Node
from cachewright.engines.adapter import Claim, EngineRefused, EngineUnreachable
from cachewright.kit.failpoints import passing
from cachewright.model.commands import PromoteNode, Promotion
from cachewright.model.facts import Unknown
from cachewright.model.slots import numbers_of
from cachewright.model.status import Role
from cachewright.rpc.agent import CommandFailed

_log = logging.getLogger(__name__)

#: A replica reads what is left in its socket and then the end, within a millisecond.
LINK_TIMEOUT_S = 1.0
#: A vote takes 8 ms; one that is lost is not held again by itself for a long time.
VOTE_TIMEOUT_S = 0.3
#: The engine takes over by itself within a millisecond of the order.
_TAKEOVER_TIMEOUT_S = 2.0
_LOOK_AGAIN_S = 0.002
#: A primary that does not answer within this is not waited for: a shard is without one meanwhile.
_CLAIM_TIMEOUT_S = 0.2


async def promote(
    node: Node, command: PromoteNode, over: Node | None, others: Sequence[Node]
) -> None:
    """Make a replica the primary; one that is a primary already only binds its addresses.

    `over` and `others` are the nodes of this host at the places that the command names.

    Raises:
        CommandFailed: the world is not as the command says, or the engine did not do it.
    """
    admin = await node.admin()
    if (await node.roles.seen(admin)).role is Role.REPLICA:
        await _require_orphan(node, command, over)
        passing("agent.before_promote")
        await _promote(node, command.how, over, others)
        passing("agent.after_promote")
    if command.bind:
        await node.adapter.bind(admin, command.bind)


async def _require_orphan(node: Node, command: PromoteNode, over: Node | None) -> None:
    """Return when the primary of `node` is the one that was named, and has certainly ended."""
    if command.over == ("", 0):
        return
    deadline_s = asyncio.get_running_loop().time() + LINK_TIMEOUT_S
    is_replica = over is not None and await _gave_way(over, deadline_s)
    admin = await node.admin()
    while True:
        seen = await node.roles.seen(admin)
        if seen.role is Role.PRIMARY:
            return
        if seen.primary != command.over:
            address, port = seen.primary or ("nobody", 0)
            raise CommandFailed(f"node {node.name} follows {address}:{port} by now")
        if not seen.is_linked or is_replica:
            return
        if asyncio.get_running_loop().time() > deadline_s:
            raise CommandFailed(f"the link of node {node.name} to its primary is up")
        await asyncio.sleep(_LOOK_AGAIN_S)


async def _gave_way(over: Node, deadline_s: float) -> bool:
    """Tell whether the primary lives on as a replica; false when it has ended or is held."""
    while True:
        process.notice_ends([over.process])
        if over.process is None:
            return False
        fact = await over.observe_engine()
        if not isinstance(fact, Unknown):
            break
        if asyncio.get_running_loop().time() > deadline_s and over.process is not None:
            raise CommandFailed(f"the primary {over.name} lives and is silent: {fact.reason}")
        await asyncio.sleep(_LOOK_AGAIN_S)
    if fact.role is Role.PRIMARY and not fact.is_held:
        raise CommandFailed(f"the primary {over.name} lives and serves")
    return fact.role is Role.REPLICA


async def _promote(node: Node, how: Promotion, over: Node | None, others: Sequence[Node]) -> None:
    admin = await node.admin()
    await _forget_moved(node, over, others)
    if how is Promotion.FORCE and node.process is not None:
        bus.quicken(node.process, node.launch)
    await node.adapter.promote(admin, how)
    timeout_s = VOTE_TIMEOUT_S if how is Promotion.FORCE else _TAKEOVER_TIMEOUT_S
    if await is_primary_within(node, timeout_s):
        return
    if how is Promotion.FORCE:
        # That its primary has ended is proven, so only the epochs of slots are at stake.
        await node.adapter.promote(admin, Promotion.TAKEOVER)
        if await is_primary_within(node, _TAKEOVER_TIMEOUT_S):
            return
    raise CommandFailed(f"node {node.name} was told to take over and is still a replica")


async def _forget_moved(node: Node, over: Node | None, others: Sequence[Node]) -> None:
    """Let a replica know nothing of slots of its primary that are somebody else's by now."""
    if not others:
        return
    admin = await node.admin()
    claim = await node.cluster.followed_claim(admin)
    if claim is None:
        return
    mine = set(numbers_of(claim.slots))
    last_words = over.glance().last_slots if over is not None else None
    moved = mine - set(numbers_of(last_words)) if last_words else set[int]()
    for other in await asyncio.gather(*(_claim_of(one) for one in others)):
        if other is not None and other.epoch > claim.epoch:
            moved |= mine & set(numbers_of(other.slots))
    if moved:
        _log.warning("event=slots_not_taken_over key=%s count=%d", node.key, len(moved))
        await node.cluster.disclaim(admin, sorted(moved))


async def _claim_of(other: Node) -> Claim | None:
    """Return what a primary owns; `None` if it has ended, or does not say so in time."""
    if other.process is None or other.silence is not None:
        return None
    try:
        async with asyncio.timeout(_CLAIM_TIMEOUT_S):
            return await other.cluster.own_claim(await other.admin())
    except (TimeoutError, CommandFailed, EngineRefused, EngineUnreachable) as error:
        _log.info("event=claim_not_heard key=%s reason=%r", other.key, str(error))
        return None


async def is_primary_within(node: Node, timeout_s: float) -> bool:
    """Wait until the engine says that it is a primary; false when it does not in time."""
    admin = await node.admin()
    deadline_s = asyncio.get_running_loop().time() + timeout_s
    while (await node.roles.seen(admin)).role is not Role.PRIMARY:
        if asyncio.get_running_loop().time() > deadline_s:
            return False
        await asyncio.sleep(_LOOK_AGAIN_S)
    return True
