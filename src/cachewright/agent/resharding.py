"""Which slots are on their way from nodes of this host, and who may not be touched meanwhile?

Moves last; so they hold no lock of a node, but a node gives to one other at a time, and whoever
gives or takes does not hand its role over.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import msgspec

from cachewright.agent import claiming, closing, exporting, functions, moving, weighing
from cachewright.agent.move import Move
from cachewright.agent.node import Node
from cachewright.agent.party import while_alive
from cachewright.agent.settings import altering
from cachewright.engines.adapter import EngineRefused, EngineUnreachable
from cachewright.kit.failpoints import passing
from cachewright.model.commands import ClaimSlots, CloseSlots, MoveSlots, WeighSlots
from cachewright.model.moves import MoveMethod
from cachewright.rpc.agent import CommandFailed


class Resharding:
    """Moves of slots under way on this host."""

    def __init__(self) -> None:
        #: Keys of the nodes that give, and to whom they do.
        self._taking: dict[str, str] = {}

    def is_busy(self, node: Node) -> bool:
        """Tell whether a node gives or takes slots."""
        return node.key in self._taking or node.key in self._taking.values()

    def require_still(self, *nodes: Node) -> None:
        """Raise `CommandFailed` where one of these nodes gives or takes slots."""
        for node in nodes:
            if self.is_busy(node):
                raise CommandFailed(f"slots of node {node.name} are on their way")

    async def move(
        self, node: Node, taker: Node | None, command: MoveSlots, check: Callable[[], None]
    ) -> None:
        """Carry out a move; `check` raises when somebody else gives the orders.

        Raises:
            CommandFailed: it was not all moved; what was stays so.
        """
        move = Move(node=node, taker=taker, command=command, check=check)
        with self._giving(node, command.to_key), altering(node, *([taker] if taker else [])):
            try:
                async with while_alive(node, "gives nothing"):
                    passing("agent.before_move")
                    await functions.bring(move)
                    if command.method is MoveMethod.ATOMIC:
                        await exporting.export(move)
                    else:
                        await exporting.end_exports(node)
                        await _note_stuck(move, await moving.move_keys(move))
            except (EngineRefused, EngineUnreachable) as error:
                raise CommandFailed(f"node {node.name}: {error}") from error

    async def close(self, node: Node, command: CloseSlots, check: Callable[[], None]) -> None:
        """Take back moves that were cut.

        Raises:
            CommandFailed: some slots may still be open.
        """
        with self._giving(node, node.key), altering(node):
            try:
                async with while_alive(node, "takes nothing back"):
                    await exporting.end_exports(node)
                    await closing.close(node, command, check)
            except (EngineRefused, EngineUnreachable) as error:
                raise CommandFailed(f"node {node.name}: {error}") from error

    async def claim(self, node: Node, command: ClaimSlots, check: Callable[[], None]) -> None:
        """Let slots have an owner that have none.

        Raises:
            CommandFailed: some have none still.
        """
        with self._giving(node, node.key):
            try:
                async with while_alive(node, "claims nothing"):
                    await claiming.claim(node, command, check)
            except (EngineRefused, EngineUnreachable) as error:
                raise CommandFailed(f"node {node.name}: {error}") from error

    @contextlib.contextmanager
    def _giving(self, node: Node, to_key: str) -> Iterator[None]:
        if node.key in self._taking:
            raise CommandFailed(f"node {node.name} gives slots already")
        self._taking[node.key] = to_key
        try:
            yield
        finally:
            del self._taking[node.key]


async def _note_stuck(move: Move, stuck: frozenset[int]) -> None:
    """Let it be known which slots stay; without that they would be moved in vain for ever."""
    if not stuck:
        return
    node, generation = move.node, move.command.generation
    if node.weights is None or node.weights.generation != generation:
        await weighing.weigh(node, WeighSlots(key=node.key, generation=generation))
    if node.weights is not None:
        known = {*node.weights.stuck} | stuck
        node.weights = msgspec.structs.replace(node.weights, stuck=tuple(sorted(known)))
