"""How do keys come back that another one holds, to the owner of their slot?

An owner that sends clients on takes no key in, so it stops that first: from then on clients miss
what is not back yet. Therefore a few slots at a time, and only where going on is not possible;
where they cannot come back either, it sends clients on again.
Where both have a key, the owner's copy is right: clients ask it first.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

from cachewright.agent.copying import Copier, Entry
from cachewright.agent.node import Node
from cachewright.agent.party import Party
from cachewright.engines.adapter import EngineRefused
from cachewright.kit.failpoints import passing
from cachewright.rpc.agent import CommandFailed

#: Slots whose keys may be missed at the same time.
_AT_ONCE = 4


async def take_back(
    node: Node, owner: Party, holder: Party, slots: Sequence[int], check: Callable[[], None]
) -> None:
    """Let everything come back that the holder has of slots of the owner, which is `node`."""
    entry = Entry.of(holder)
    copier = Copier(
        giving=holder,
        taking=owner,
        address=node.launch.address,
        port=node.launch.port,
        entry=entry,
        taker_is_right=True,
        has_databases=await holder.call(holder.keeper.has_databases),
        check=check,
    )
    await entry.renew(owner, entry.renewals)
    for first in range(0, len(slots), _AT_ONCE):
        some = slots[first : first + _AT_ONCE]
        await holder.call(
            functools.partial(holder.keeper.open_imports, slots=some, from_id=owner.engine_id)
        )
        await owner.call(functools.partial(owner.keeper.close_slots, slots=some))
        try:
            await copier.empty(some)
        except (CommandFailed, EngineRefused):
            # Clients find at the other one what cannot come back.
            await owner.call(
                functools.partial(owner.keeper.open_exports, slots=some, to_id=holder.engine_id)
            )
            raise
        passing("agent.after_take_back")
        await holder.call(functools.partial(holder.keeper.close_slots, slots=some))
    await entry.end(owner)
