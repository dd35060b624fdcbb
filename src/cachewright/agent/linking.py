"""Could a replica be elected now, and would all who matter hear of it?

In cluster mode votes need connections of the cluster bus. A node that was just started is in sync
before the others have connected to it anew: they do so ten times a second. An election that is
begun in between reaches nobody, or no vote comes back; the engines do not repeat it, and the writes
of a planned change of primary wait until they give up.

Everybody must hear of the new primary from itself. Whoever hears first from the old one that this
is a replica now takes both for replicas of each other, and Valkey (8.0 to 9.1 at least, see
valkey#651) then looks for the end of that chain for ever.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from cachewright.agent.node import Node
from cachewright.engines.adapter import EngineRefused, EngineUnreachable
from cachewright.engines.home import BusView
from cachewright.rpc.agent import CommandFailed

#: Far longer than all others need to connect.
LINK_TIMEOUT_S = 2.0
_LOOK_AGAIN_S = 0.01


async def wait_until_linked(node: Node, others: Sequence[Node]) -> None:
    """Return when `node` has a connection with each of `others`, and those that vote have one back.

    `others` are all other nodes of the group here.

    Raises:
        CommandFailed: they do not in time, or are no majority that could elect it.
    """
    deadline_s = asyncio.get_running_loop().time() + LINK_TIMEOUT_S
    while True:
        strangers = await _strangers(node, others)
        if not strangers:
            return
        if asyncio.get_running_loop().time() > deadline_s:
            raise CommandFailed(f"node {node.name} has no connection with {', '.join(strangers)}")
        await asyncio.sleep(_LOOK_AGAIN_S)


async def _strangers(node: Node, others: Sequence[Node]) -> list[str]:
    """Return the names of those that `node` cannot reach, or that cannot reach it."""
    view = await _view_of(node)
    if view is None:
        return [node.name]
    mine = node.launch.engine_id
    by_id = {other.launch.engine_id: other for other in others if other.process is not None}
    voters = sorted(view.owner_ids & by_id.keys())
    if len(voters) <= len(view.owner_ids) // 2:
        raise CommandFailed(f"node {node.name} cannot be elected: too few primaries live")
    strangers = {one for one in by_id if one not in view.linked_ids}
    answers = await asyncio.gather(*(_view_of(by_id[one]) for one in voters))
    for one, its in zip(voters, answers, strict=True):
        if its is None or mine not in its.linked_ids:
            strangers.add(one)
    return sorted(by_id[one].name for one in strangers)


async def _view_of(node: Node) -> BusView | None:
    try:
        view: BusView = await node.cluster.bus_view(await node.admin())
    except (EngineRefused, EngineUnreachable):
        return None
    return view
