"""How does a configuration endpoint hear of another list of nodes, so that it is sure to tell it?

The file first, then the signal, then the answer of the endpoint itself, then the record. If we die
in between, the same command is given again; reading the same list twice changes nothing.
"""

from __future__ import annotations

import asyncio
import dataclasses
import signal

from cachewright.agent.node import Node
from cachewright.model.commands import Launch, Part, TellMembers
from cachewright.model.facts import Unknown
from cachewright.rpc.agent import CommandFailed

#: It reads the file within a millisecond; a host that is busy with starts takes longer.
TELL_TIMEOUT_S = 5.0
_LOOK_AGAIN_S = 0.005


async def tell(node: Node, command: TellMembers) -> None:
    """Make the endpoint tell clients of `command.members`; return once it does."""
    launch = node.launch
    if launch.part is not Part.DISCOVERY:
        raise CommandFailed(f"node {node.name} is no configuration endpoint")
    if node.process is None:
        raise CommandFailed(f"node {node.name} does not run")
    told = dataclasses.replace(
        launch, members=command.members, config_version=command.config_version
    )
    now = await _version(node)
    if now > command.config_version:
        raise CommandFailed(
            f"node {node.name} tells clients of version {now}, later than {command.config_version}"
        )
    if now < command.config_version:
        await _tell(node, told)
    if node.launch != told:
        node.write(dataclasses.replace(node.record, launch=told))


async def _tell(node: Node, told: Launch) -> None:
    for name, content in node.adapter.files(told).items():
        node.folder.replace(name, content)
    if node.process is not None:
        node.process.send(signal.SIGHUP)
    loop = asyncio.get_running_loop()
    deadline_s = loop.time() + TELL_TIMEOUT_S
    while await _version(node) != told.config_version:
        if loop.time() > deadline_s:
            raise CommandFailed(
                f"node {node.name} does not tell clients of version {told.config_version} "
                f"within {TELL_TIMEOUT_S:g} s"
            )
        await asyncio.sleep(_LOOK_AGAIN_S)


async def _version(node: Node) -> int:
    """Return what clients are told now; it has answered, so it knows what the signal means."""
    fact = await node.observe_engine()
    if isinstance(fact, Unknown) or fact.config_version is None:
        said = fact.reason if isinstance(fact, Unknown) else "it knows of no version"
        raise CommandFailed(f"node {node.name} cannot be told of members: {said}")
    return fact.config_version
