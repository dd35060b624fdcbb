"""Who gets a slot that no primary says it owns? Whoever holds its keys, and nobody by a guess.

All primaries are asked what they own right before, after their keys were counted. Where several
hold keys of a slot, some are copies on their way: the one that sends clients on is right, else the
one that does not let keys in; what others hold comes back to it later, because the slot is still
open. Otherwise nobody can know.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from cachewright.agent.move import party
from cachewright.agent.node import Node
from cachewright.agent.party import Party
from cachewright.engines.cluster_view import View
from cachewright.model.commands import ClaimSlots
from cachewright.model.slots import numbers_of, ranges_of, render_ranges
from cachewright.rpc.agent import CommandFailed


async def claim(node: Node, command: ClaimSlots, check: Callable[[], None]) -> None:
    """Let slots have an owner that have none.

    Raises:
        CommandFailed: some have none still: a primary is silent, or nobody can know who is right.
    """
    launch = node.launch
    mine = party(node, node.name, launch.engine_id, launch.address, launch.port)
    others = [party(node, address, "", address, port) for address, port in command.others]
    claimants = [_Claimant(party=one) for one in (mine, *others)]
    try:
        wanted = [*numbers_of(command.slots)]
        for claimant in claimants:
            await claimant.count(wanted)
        unclear = _deal(claimants, await _without_owner(claimants, wanted))
        for claimant in claimants:
            check()
            await claimant.claim(node, claimants)
    finally:
        for claimant in claimants:
            claimant.party.hang_up()
    if unclear:
        text = render_ranges(ranges_of(unclear))
        raise CommandFailed(f"nobody owns slots {text}, and several nodes hold keys of them")


@dataclass(kw_only=True)
class _Claimant:
    """A primary that may hold keys of slots without an owner."""

    party: Party
    view: View | None = None
    #: Of the slots that were asked about.
    counts: dict[int, int] = field(default_factory=dict)
    #: What it shall own.
    gets: list[int] = field(default_factory=list)

    async def look(self) -> View:
        """Ask it what it owns; it must be a primary, for a replica says that it owns nothing."""
        self.view = await self.party.call(self.party.keeper.view)
        if not self.view.is_primary:
            raise CommandFailed(f"{self.party.name} is no primary any more")
        self.party.engine_id = self.view.own_id
        return self.view

    async def count(self, slots: Sequence[int]) -> None:
        """Find out how many keys it holds of each slot, in all databases."""
        keeper = self.party.keeper
        memory = await self.party.call(keeper.memory)
        for database in memory.databases:
            self.party.database = database
            counts = await self.party.call(functools.partial(keeper.counts, slots=slots))
            for slot, count in zip(slots, counts, strict=True):
                self.counts[slot] = self.counts.get(slot, 0) + count
        self.party.database = 0

    def is_moving(self, slot: int, *, is_import: bool) -> bool:
        """Tell whether it sends clients on to another one, or lets keys in."""
        opened = self.view.open_slots if self.view is not None else ()
        return any(one.slot == slot and one.is_import is is_import for one in opened)

    async def claim(self, node: Node, claimants: Sequence[_Claimant]) -> None:
        """Let it own what it gets."""
        if not self.gets:
            return
        others = [one.party.engine_id for one in claimants if one is not self]
        act = functools.partial(
            node.cluster.claim,
            slots=self.gets,
            own_id=self.party.engine_id,
            other_id=others[0] if others else "",
        )
        await self.party.call(act)


async def _without_owner(claimants: Sequence[_Claimant], slots: Sequence[int]) -> list[int]:
    """Return those of the slots that nobody says it owns."""
    owned: set[int] = set()
    for claimant in claimants:
        owned |= set(numbers_of((await claimant.look()).own_slots))
    return [slot for slot in slots if slot not in owned]


def _deal(claimants: Sequence[_Claimant], slots: Sequence[int]) -> list[int]:
    """Deal out slots, those of which nobody holds keys to the first; return those left over."""
    unclear: list[int] = []
    for slot in slots:
        holders = [one for one in claimants if one.counts.get(slot)]
        if len(holders) > 1:
            givers = [one for one in holders if one.is_moving(slot, is_import=False)]
            holders = givers or [one for one in holders if not one.is_moving(slot, is_import=True)]
            if len(holders) != 1:
                unclear.append(slot)
                continue
        (holders or claimants)[0].gets.append(slot)
    return unclear
