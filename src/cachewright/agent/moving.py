"""How are slots moved key by key, while both primaries serve?

In small groups, so that a slot is open for some ten milliseconds only: clients that ask for several
keys at once are put off for as long (`TRYAGAIN`). Two lanes work at the same time, each on a group
of its own: while one waits for an answer, the engines work for the other.

The order keeps every key reachable: the one that takes lets keys in, then the one that gives sends
clients on; all keys are moved; then the one that takes owns the slot, then the one that gives knows
it. Whoever goes on after us finds the slots open and does the same again.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
from collections.abc import Coroutine, Iterator, Sequence
from typing import Any, NamedTuple

from cachewright.agent.copying import BATCH_BYTES, Copier, Entry
from cachewright.agent.move import Move, party
from cachewright.agent.party import Party, while_alive
from cachewright.agent.returning import take_back
from cachewright.engines.adapter import EngineRefused
from cachewright.kit.failpoints import passing
from cachewright.model.slots import numbers_of
from cachewright.rpc.agent import CommandFailed

_log = logging.getLogger(__name__)

_LANES = 2
#: Slots that one lane has open at once: some that hold keys, or many that are empty.
_OPEN_MAX = 16
#: redis-py and valkey-py fail when they are sent on (`ASK`) to a node that they have never heard
#: of; they hear of it when they ask for a slot that it owns (`MOVED`). So the first slots go while
#: clients wait for a moment, and then few are open at once until it owns many.
_UNSEEN_SLOTS = 64
_UNSEEN_OPEN = 8
_KNOWN_PER_OPEN = 32
_OPEN_EMPTY_MAX = 256
#: The other primaries hear of it anyway, through the engines' gossip.
_TELL_TIMEOUT_S = 1.0


async def move_keys(move: Move) -> frozenset[int]:
    """Move what is left to be moved; return the slots that stay because of a too large key.

    Raises:
        CommandFailed: it was not all moved; some slots may be open.
        EngineRefused: an engine does not do it.
    """
    giving, taking = move.giving(), move.taking()
    entry = Entry.of(giving)
    try:
        async with contextlib.AsyncExitStack() as stack:
            if move.taker is not None:
                await stack.enter_async_context(while_alive(move.taker, "takes nothing"))
            left = await move.left(giving, taking)
            await _close_claimed(move, giving, taking)
            if not left:
                return frozenset()
            await entry.renew(taking, entry.renewals)
            theirs = await taking.call(taking.keeper.view)
            known = sum(map(len, theirs.own_slots))
            groups = iter(await _groups(giving, left, known))
            has_databases = await giving.call(giving.keeper.has_databases)
            lanes = [_Lane(move, entry, has_databases=has_databases) for _ in range(_LANES)]
            stuck = await _all([lane.run(groups) for lane in lanes])
            await entry.end(taking)
            await _tell_others(move, [slot for slot in left if slot not in stuck])
            return stuck
    finally:
        giving.hang_up()
        taking.hang_up()


class _Group(NamedTuple):
    """Slots that are open at the same time, and how many keys one of them holds at most."""

    slots: list[int]
    key_count: int
    #: Clients may not know the one that takes yet.
    is_unseen: bool = False


class _Lane:
    """Moves one group of slots after the other, on connections of its own."""

    def __init__(self, move: Move, entry: Entry, *, has_databases: bool) -> None:
        self._move = move
        self._giving, self._taking = move.giving(), move.taking()
        self._copier = Copier(
            giving=self._giving,
            taking=self._taking,
            address=move.command.to_address,
            port=move.command.to_port,
            entry=entry,
            taker_is_right=False,
            has_databases=has_databases,
            check=move.check,
        )

    async def run(self, groups: Iterator[_Group]) -> frozenset[int]:
        """Move groups as long as there are some; return the slots that stay."""
        stuck: frozenset[int] = frozenset()
        try:
            for group in groups:
                self._move.check()
                stuck |= await self._move_group(group)
        finally:
            self._giving.hang_up()
            self._taking.hang_up()
        return stuck

    async def _move_group(self, group: _Group) -> frozenset[int]:
        giving, taking = self._giving, self._taking
        keeper = giving.keeper
        sizes: dict[bytes, int] = {}
        stuck = await self._copier.stuck(group.slots, group.key_count, sizes)
        slots = [slot for slot in group.slots if slot not in stuck]
        await taking.call(lambda admin: keeper.open_imports(admin, slots, giving.engine_id))
        passing("agent.after_import")
        await giving.call(lambda admin: keeper.open_exports(admin, slots, taking.engine_id))
        passing("agent.after_open")
        late: frozenset[int] = frozenset()
        if not group.is_unseen or not await self._copier.empty_unseen(slots, sizes):
            late = await self._copier.empty(slots, sizes)
        if late:
            await take_back(self._move.node, giving, taking, sorted(late), self._move.check)
        stuck |= late
        gone = [slot for slot in slots if slot not in late]
        passing("agent.after_empty")
        await taking.call(lambda admin: keeper.assign(admin, gone, taking.engine_id))
        passing("agent.after_claim")
        await giving.call(lambda admin: keeper.assign(admin, gone, taking.engine_id))
        passing("agent.after_give")
        return stuck


async def _close_claimed(move: Move, giving: Party, taking: Party) -> None:
    """Let the one that gives know what the other one owns already: somebody was cut there."""
    theirs = await taking.call(taking.keeper.view)
    mine = await giving.call(giving.keeper.view)
    claimed = set(numbers_of(theirs.own_slots)) & set(numbers_of(move.command.slots))
    unaware = claimed & ({one.slot for one in mine.open_slots} | set(numbers_of(mine.own_slots)))
    if unaware:
        await giving.call(
            lambda admin: giving.keeper.assign(admin, sorted(unaware), taking.engine_id)
        )


async def _groups(giving: Party, slots: Sequence[int], known: int) -> list[_Group]:
    """Cut slots into groups of about a batch of bytes each; empty ones go together, and first.

    `known` is how many slots the one that takes owns already.
    """
    counts = await giving.call(lambda admin: giving.keeper.counts(admin, slots))
    memory = await giving.call(giving.keeper.memory)
    key_bytes = memory.dataset_bytes // max(1, memory.keys)
    empty = [slot for slot, count in zip(slots, counts, strict=True) if not count]
    groups = [
        _Group(empty[first : first + _OPEN_EMPTY_MAX], 0)
        for first in range(0, len(empty), _OPEN_EMPTY_MAX)
    ]
    held, group, most = 0, list[int](), 0
    for slot, count in zip(slots, counts, strict=True):
        if not count:
            continue
        is_unseen = known < _UNSEEN_SLOTS
        open_max = _UNSEEN_OPEN if is_unseen else min(_OPEN_MAX, 1 + known // _KNOWN_PER_OPEN)
        if group and (len(group) >= open_max or held + count * key_bytes > BATCH_BYTES):
            groups.append(_Group(group, most, is_unseen))
            known += len(group)
            held, group, most = 0, [], 0
        group.append(slot)
        held += count * key_bytes
        most = max(most, count)
    return [*groups, _Group(group, most, known < _UNSEEN_SLOTS)] if group else groups


async def _all(lanes: Sequence[Coroutine[Any, Any, frozenset[int]]]) -> frozenset[int]:
    """Run lanes at the same time; the first failure ends all of them."""
    tasks = [asyncio.create_task(lane) for lane in lanes]
    try:
        return frozenset(itertools.chain.from_iterable(await asyncio.gather(*tasks)))
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _tell_others(move: Move, slots: Sequence[int]) -> None:
    """Tell the other primaries who owns the slots now, as far as they listen."""

    async def tell(address: str, port: int) -> None:
        other = party(move.node, address, "", address, port)
        to_id = move.command.to_engine_id
        try:
            async with asyncio.timeout(_TELL_TIMEOUT_S):
                await other.call(lambda admin: other.keeper.assign(admin, slots, to_id))
        except (CommandFailed, EngineRefused, TimeoutError) as error:
            _log.info("event=owner_not_told address=%s reason=%r", address, str(error))
        finally:
            other.hang_up()

    await asyncio.gather(*(tell(address, port) for address, port in move.command.others))
