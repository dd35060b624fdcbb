"""How does a running engine get other settings, so that the record says what it runs with?

The engine first, then the record: if we die in between, the same command is given again, and
setting what is set already changes nothing. What the engine refuses stays as it was and is written
down, so that nobody tries it again and again. Decides nothing about which settings there shall be.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import resource
from collections.abc import Iterator, Sequence

from cachewright.agent import append_only
from cachewright.agent.folder import Record
from cachewright.agent.node import Node
from cachewright.model.commands import ApplySettings
from cachewright.model.facts import RefusedSetting
from cachewright.rpc.agent import CommandFailed

_MEMORY = "maxmemory"
_CLIENTS = "maxclients"
#: Files that an engine keeps for itself, apart from its clients (`CONFIG_MIN_RESERVED_FDS`).
_OWN_FILES = 32


async def apply(node: Node, command: ApplySettings) -> None:
    """Tell the engine what differs from what it runs with."""
    if node.process is None:
        raise CommandFailed(f"node {node.name} does not run")
    launch = node.launch
    wanted = dict(command.settings)
    changes = {n: v for n, v in wanted.items() if dict(launch.settings).get(n) != v}
    if command.maxmemory_bytes != launch.maxmemory_bytes:
        changes[_MEMORY] = str(command.maxmemory_bytes)
    if command.maxclients not in {0, launch.maxclients}:
        changes[_CLIENTS] = str(command.maxclients)
    if not changes:
        return
    told = changes
    if _CLIENTS in changes:
        clients = possible_clients(command.maxclients, node.process.identity.pid)
        told = changes | {_CLIENTS: str(clients)}
    with altering(node, with_memory=True):
        refused = await node.adapter.configure(await node.admin(), told)
        if append_only.is_given_up(changes, refused):
            await asyncio.to_thread(append_only.give_up, node.folder.path)
        node.write(_after(node.record, command, changes, refused))


@contextlib.contextmanager
def altering(*nodes: Node, with_memory: bool = False) -> Iterator[None]:
    """Note that engines may run with what no record says if the block does not come to its end."""
    try:
        yield
    except BaseException:
        for node in nodes:
            node.may_be_altered = True
            node.may_have_other_memory |= with_memory
        raise


def possible_clients(maxclients: int, pid: int) -> int:
    """Return how many clients a process can have: as many as it would take if it started now.

    At its start an engine settles for what its host allows, while it runs it refuses the number.
    """
    _, files_max = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    if files_max == resource.RLIM_INFINITY:
        return maxclients
    return max(1, min(maxclients, files_max - _OWN_FILES))


def _after(
    record: Record,
    command: ApplySettings,
    changes: dict[str, str],
    refused: Sequence[RefusedSetting],
) -> Record:
    """Return the record of a node whose engine took all `changes` but the `refused`."""
    assert record.launch is not None
    names = {setting.name for setting in refused}
    taken = {name: value for name, value in changes.items() if name not in names}
    has_type = _MEMORY in taken and command.node_type
    memory_bytes = int(taken.pop(_MEMORY, record.launch.maxmemory_bytes))
    clients = int(taken.pop(_CLIENTS, record.launch.maxclients))
    settings = dict(record.launch.settings) | taken
    launch = dataclasses.replace(
        record.launch,
        settings=tuple(sorted(settings.items())),
        maxmemory_bytes=memory_bytes,
        maxclients=clients,
        node_type=command.node_type if has_type else record.launch.node_type,
    )
    before = [setting for setting in record.refused if setting.name not in changes]
    return dataclasses.replace(
        record,
        launch=launch,
        refused=(*before, *refused),
        # Only who serves is told; a file that is begun now has what it holds.
        had_copy=record.had_copy or append_only.is_begun(taken),
    )
