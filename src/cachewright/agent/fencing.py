"""How is one process ended at once, whatever it does, so that it is certain which one it was?

For a node that is suspected: it may be stopped, busy or hung, and other commands may wait for it.
So nothing is asked of it: SIGKILL through its pidfd, which also a stopped process takes, and the
kernel's proof. What it had queued in its sockets is never carried out. Decides nothing about whom.
"""

from __future__ import annotations

import logging

from cachewright.agent import process
from cachewright.agent.node import Node
from cachewright.kit.failpoints import passing
from cachewright.model.commands import FenceNode
from cachewright.rpc.agent import CommandFailed

_log = logging.getLogger(__name__)


async def fence(node: Node, command: FenceNode) -> None:
    """End the process that the command names; nothing happens if it has ended, whoever came after.

    Raises:
        CommandFailed: that process lives and is not this node's, or it answers again.
        StillAlive: the kernel could not end it yet.
    """
    running, identity = node.process, command.identity
    if running is not None and running.identity == identity:
        if command.unless_it_answers and node.silence is None:
            raise CommandFailed(f"node {node.name} answers again")
        _log.warning("event=fenced key=%s pid=%d", node.key, identity.pid)
        passing("agent.before_fence")
        await running.kill()
        passing("agent.after_fence")
        return
    found = process.adopt(identity)
    if isinstance(found, process.Process):
        found.release()
        raise CommandFailed(f"process {identity.pid} lives and is not that of node {node.name}")
