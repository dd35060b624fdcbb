"""How do clients leave an engine, so that none of them waits for an answer then?

An engine that is told to close a connection does so with a command unread or unanswered. A client
that does not ask twice, since the command may have been carried out, tells its caller. So the
engine is not told: through copies of its sockets the kernel is, that nothing more will be read.
The engine answers what has come, finds the end, and closes.

It promises nothing. What a client sends in the few microseconds between the last answer and the
end is lost; who is half way through a command, an answer or a transaction for longer than there is
time, or waits for something that may never happen, is left to the caller. So is everybody where
the kernel does not let us.

Nobody may be able to connect meanwhile: clients that were closed would come back.

Source: shutdown(2), pidfd_getfd(2).
"""

from __future__ import annotations

import asyncio
import logging
import socket

from cachewright.agent import bus
from cachewright.agent.node import Node
from cachewright.agent.process import Process
from cachewright.engines.adapter import Connection
from cachewright.engines.home import ClientSeen

_log = logging.getLogger(__name__)

#: An engine comes round to all of its clients within a millisecond or two. Requests of others wait
#: no less long than this takes.
_PATIENCE_S = 0.1
_LOOK_AGAIN_S = 0.001
#: A question to the engine and a copy of a socket for each take 20 ms for so many.
_CLIENTS_MAX = 2_000


async def drain(node: Node, admin: Connection) -> None:
    """Let those go who are connected now; returns when they are gone, or time is up."""
    running, roles = node.process, node.adapter.roles
    if running is None or roles is None:
        return
    deadline_s = asyncio.get_running_loop().time() + _PATIENCE_S
    before: frozenset[int] | None = None
    while True:
        there = [one for one in await roles.clients(admin) if not one.is_blocked]
        if before is None:
            before = frozenset(one.client_id for one in there)
        there = [one for one in there if one.client_id in before]
        if not there or len(there) > _CLIENTS_MAX:
            return
        if asyncio.get_running_loop().time() > deadline_s:
            _log.info("event=clients_stay key=%s count=%d", node.key, len(there))
            return
        try:
            for one in there:
                end_of(one, running)
        except OSError as error:
            _log.info("event=clients_not_drained key=%s reason=%s", node.key, error)
            return
        await asyncio.sleep(_LOOK_AGAIN_S)


def end_of(client: ClientSeen, running: Process) -> None:
    """Let the engine read no more of a client than what has come; once more changes nothing."""
    if not client.is_whole:
        return
    copy = bus.socket_of(running.pidfd, client.descriptor)
    if copy is None:
        return
    with copy:
        if bus.peer_of(copy) == client.place:
            copy.shutdown(socket.SHUT_RD)
