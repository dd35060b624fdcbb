"""How is a node that runs told what to do next: serve, listen, follow, know others?

The order of the acts and what is checked before them; how an engine does them is its adapter's.
Starting and ending are elsewhere, and so is what takes two nodes.
"""

from __future__ import annotations

import asyncio
import dataclasses

from cachewright.agent import append_only
from cachewright.agent.node import Node
from cachewright.engines.nodes_conf import owns_nothing
from cachewright.model.commands import (
    AdmitNode,
    BindNode,
    FollowPrimary,
    ForgetNodes,
    IntroduceNode,
)
from cachewright.model.facts import Unknown
from cachewright.model.status import Role
from cachewright.rpc.agent import CommandFailed


async def admit(node: Node, command: AdmitNode) -> None:
    """Let clients in, after the snapshot that was loaded can never be loaded again."""
    require_running(node)
    fact = await node.observe_engine()
    if isinstance(fact, Unknown):
        raise CommandFailed(f"node {node.name} cannot be admitted: {fact.reason}")
    if fact.is_loading:
        raise CommandFailed(f"node {node.name} is still loading its data")
    await _use_up_saved(node)
    if append_only.keeps(node.launch) and not node.record.had_copy:
        node.write(dataclasses.replace(node.record, had_copy=True))  # from now on its file counts
    if owns_nothing(node.launch):
        await node.cluster.lead(await node.admin())  # its start may have been cut before that
    await node.adapter.admit(await node.admin(), command.bind, node.launch)


async def follow(node: Node, command: FollowPrimary) -> None:
    """Replicate from a primary; what this node had saved is then of the past.

    Whatever the order was made on: a primary that serves never throws its data away.
    """
    require_running(node)
    fact = await node.observe_engine()
    if isinstance(fact, Unknown):
        raise CommandFailed(f"node {node.name} cannot be told to follow: {fact.reason}")
    if fact.role is Role.PRIMARY and not fact.is_held:
        raise CommandFailed(f"node {node.name} serves as a primary and follows nobody")
    await _use_up_saved(node)
    await node.adapter.follow(await node.admin(), command.address, command.port)


async def _use_up_saved(node: Node) -> None:
    if node.saved is not None:
        await asyncio.to_thread(node.saved.discard)  # a large file takes its time


async def bind(node: Node, command: BindNode) -> None:
    """Listen on exactly these addresses."""
    require_running(node)
    await node.adapter.bind(await node.admin(), command.bind)


async def introduce(node: Node, command: IntroduceNode) -> None:
    """Make it and others know each other."""
    require_running(node)
    await node.cluster.introduce(await node.admin(), command.others)


async def forget(node: Node, command: ForgetNodes) -> None:
    """Strike nodes off what it knows."""
    require_running(node)
    await node.cluster.forget(await node.admin(), command.engine_ids)


def require_running(node: Node) -> None:
    """Raise `CommandFailed` where no process lives."""
    if node.process is None:
        raise CommandFailed(f"node {node.name} does not run")
