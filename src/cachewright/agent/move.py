"""What is one order to move slots, and who takes part in it?"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Collection
from dataclasses import dataclass

from cachewright.agent import bus
from cachewright.agent.node import Node
from cachewright.agent.party import Party
from cachewright.engines.adapter import Connection
from cachewright.model.commands import MoveSlots
from cachewright.model.slots import numbers_of, ranges_of, render_ranges
from cachewright.rpc.agent import CommandFailed

#: A slot that has just changed hands is known to both after gossip of that long, seconds.
_NEWS_S = 1.0
_LOOK_AGAIN_S = 0.005
#: An engine calls every other one twice in each `cluster-node-timeout`, which is 15 s.
_HEARD_S = 10.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Move:
    """An order, while it is carried out."""

    #: The node that gives.
    node: Node
    #: The node that takes, where it is of this host.
    taker: Node | None
    command: MoveSlots
    #: Raises `StaleEpoch` when somebody newer gives the orders.
    check: Callable[[], None]

    def giving(self) -> Party:
        """Return the one that gives, with a connection of its own."""
        launch = self.node.launch
        return party(self.node, self.node.name, launch.engine_id, launch.address, launch.port)

    def taking(self) -> Party:
        """Return the one that takes, with a connection of its own."""
        command = self.command
        name = self.taker.name if self.taker is not None else command.to_address
        return party(self.node, name, command.to_engine_id, command.to_address, command.to_port)

    def quicken(self) -> None:
        """Let the one that gives hear at once what the other one says, past Nagle's delay."""
        taker, giver = self.taker, self.node.launch
        if taker is not None and taker.process is not None:
            # It may have been launched before the other one was there.
            bus.quicken(taker.process, taker.launch, (giver.address, giver.port))

    async def acquaint(self, giving: Party, taking: Party) -> None:
        """Wait until the one that takes has heard what the one that gives says of itself.

        It owns what it takes in a newer epoch than all that it knows of. An epoch that it does not
        know is with what is on its way from the other one, which would take the slots back from it:
        then nobody owns them, and their keys are deleted. And what it believes to own, and the
        other one owns since, it would claim along with them.

        Raises:
            CommandFailed: it does not hear of it.
        """
        loop = asyncio.get_running_loop()
        deadline_s = loop.time() + _HEARD_S
        while not await self._is_heard(giving, taking):
            if loop.time() > deadline_s:
                raise CommandFailed(f"{taking.name} does not hear of {giving.name}")
            await asyncio.sleep(_LOOK_AGAIN_S)

    async def _is_heard(self, giving: Party, taking: Party) -> bool:
        giver = giving.engine_id
        epoch = await giving.call(lambda admin: giving.keeper.epoch(admin, giver))
        if await taking.call(lambda admin: taking.keeper.epoch(admin, giver)) < epoch:
            return False
        mine = await giving.call(giving.keeper.view)
        theirs = await taking.call(taking.keeper.view)
        return set(numbers_of(mine.own_slots)).isdisjoint(numbers_of(theirs.own_slots))

    async def let_hear(self, giving: Party, slots: Collection[int]) -> None:
        """Wait until the one that gives has heard that another one owns these slots, if it does.

        Told by us before, Redis 7.0 would note of what is on its way from the new owner that it
        does not claim them, and keep that note: when it owned them again, it would lose them to
        whatever comes late (`owner_not_claiming_slot` of cluster.c; mended in 7.2).
        """
        wanted = set(slots)
        loop = asyncio.get_running_loop()
        deadline_s = loop.time() + _NEWS_S
        while loop.time() < deadline_s:
            mine = await giving.call(giving.keeper.view)
            if wanted.isdisjoint(numbers_of(mine.own_slots)):
                return
            await asyncio.sleep(_LOOK_AGAIN_S)

    async def left(self, giving: Party, taking: Party) -> list[int]:
        """Return the slots that are still to be moved, ascending.

        Raises:
            CommandFailed: some are owned by neither.
        """
        wanted = set(numbers_of(self.command.slots))
        loop = asyncio.get_running_loop()
        deadline_s = loop.time() + _NEWS_S
        while True:
            mine = await giving.call(giving.keeper.view)
            theirs = await taking.call(taking.keeper.view)
            left = wanted - set(numbers_of(theirs.own_slots))
            strange = left - set(numbers_of(mine.own_slots))
            if not strange:
                return sorted(left)
            if loop.time() > deadline_s:
                raise CommandFailed(
                    f"slots {render_ranges(ranges_of(sorted(strange)))} are neither of "
                    f"{giving.name} nor of {taking.name}"
                )
            await asyncio.sleep(_LOOK_AGAIN_S)


def party(node: Node, name: str, engine_id: str, address: str, port: int) -> Party:
    """Return a node of the same group as `node`: they share the administrator's password."""
    return Party(name, engine_id, node.slots, functools.partial(_connect, node, address, port))


async def _connect(node: Node, address: str, port: int, timeout_s: float) -> Connection:
    connection: Connection = await node.adapter.connect(
        address, port, node.launch.admin_password, timeout_s=timeout_s
    )
    return connection
