"""Can a shard that is new do all that the others can? Functions belong to nodes, not to slots.

Who owns no slot gets the functions of the one that gives before the first slot comes, so that no
client ever calls one there in vain. A node that has some of its own keeps them, and one that owns
slots is never touched: what is loaded there is the business of clients (ElastiCache user guide,
"Online resharding": functions are copied when shards are added).
"""

from __future__ import annotations

import contextlib

from cachewright.agent.move import Move
from cachewright.agent.party import while_alive
from cachewright.kit.failpoints import passing


async def bring(move: Move) -> None:
    """Let the one that takes have the functions of the one that gives, if it owns nothing.

    Raises:
        CommandFailed: one of both does not answer.
        EngineRefused: the one that takes has no memory for them.
    """
    giving, taking = move.giving(), move.taking()
    try:
        async with contextlib.AsyncExitStack() as stack:
            if move.taker is not None:
                await stack.enter_async_context(while_alive(move.taker, "takes nothing"))
            if (await taking.call(taking.keeper.view)).own_slots:
                return
            content = await giving.call(giving.keeper.functions)
            move.check()
            await taking.call(lambda admin: taking.keeper.add_functions(admin, content))
            passing("agent.after_functions")
    finally:
        giving.hang_up()
        taking.hang_up()
