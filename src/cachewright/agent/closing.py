"""How does a move end that was begun and cut, so that no slot of it is open?

What others hold of a slot that they do not own came there from the owner, or was written there by
clients that the owner sent on. Where the owner still sends them on, the move goes on to its end:
clients notice nothing of it. Where that is not possible, the keys come back.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

from cachewright.agent import moving
from cachewright.agent.move import Move, party
from cachewright.agent.node import Node
from cachewright.agent.party import Party
from cachewright.agent.returning import take_back
from cachewright.engines.adapter import EngineRefused
from cachewright.engines.cluster_view import View
from cachewright.kit.failpoints import passing
from cachewright.model.commands import CloseSlots, MoveSlots
from cachewright.model.moves import MoveMethod
from cachewright.model.slots import numbers_of, ranges_of
from cachewright.rpc.agent import CommandFailed, StaleEpoch

_log = logging.getLogger(__name__)


async def close(node: Node, command: CloseSlots, check: Callable[[], None]) -> None:
    """End moves of these slots; none of them is open afterwards."""
    launch = node.launch
    owner = party(node, node.name, launch.engine_id, launch.address, launch.port)
    try:
        passing("agent.before_close")
        for address, port in command.others:
            check()
            holder = party(node, address, "", address, port)
            try:
                await _Closing(node, owner, holder, (address, port), check).run(command)
            finally:
                holder.hang_up()
        view = await owner.call(owner.keeper.view)
        wanted = set(numbers_of(command.slots))
        left = sorted({one.slot for one in view.open_slots} & wanted)
        await owner.call(lambda admin: owner.keeper.close_slots(admin, left))
        passing("agent.after_close")
    finally:
        owner.hang_up()


@dataclass(frozen=True, slots=True)
class _Closing:
    """What is between an owner and one other primary."""

    node: Node
    owner: Party
    holder: Party
    #: Where the holder listens.
    place: tuple[str, int]
    check: Callable[[], None]

    async def run(self, command: CloseSlots) -> None:
        """End what is open between both, and what the other one holds without owning it."""
        mine, theirs = await self._views()
        self.holder.engine_id = theirs.own_id
        wanted = set(numbers_of(command.slots))
        opened = {one.slot for one in mine.open_slots if one.peer_id == theirs.own_id} & wanted
        if opened:
            await self._go_on(sorted(opened))
            mine, theirs = await self._views()
        wanted &= set(numbers_of(mine.own_slots))
        foreign = sorted(wanted - set(numbers_of(theirs.own_slots)))
        keeper = self.holder.keeper
        counts = await self.holder.call(lambda admin: keeper.counts(admin, foreign))
        is_open = {one.slot for one in theirs.open_slots}
        held = [s for s, count in zip(foreign, counts, strict=True) if count or s in is_open]
        if held:
            await take_back(self.node, self.owner, self.holder, held, self.check)

    async def _views(self) -> tuple[View, View]:
        owner, holder = self.owner, self.holder
        return await owner.call(owner.keeper.view), await holder.call(holder.keeper.view)

    async def _go_on(self, slots: list[int]) -> None:
        """Try to end the move as it was meant; some slots may be open still."""
        command = MoveSlots(
            key=self.node.key,
            to_key="",
            to_engine_id=self.holder.engine_id,
            to_address=self.place[0],
            to_port=self.place[1],
            slots=ranges_of(slots),
            method=MoveMethod.COPY,
        )
        move = Move(node=self.node, taker=None, command=command, check=self.check)
        try:
            await moving.move_keys(move)
        except StaleEpoch:
            raise
        except (CommandFailed, EngineRefused) as error:
            _log.warning("event=move_not_ended key=%s reason=%r", self.node.key, str(error))
