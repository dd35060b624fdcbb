"""How are slots moved key by key, while both primaries serve?

Small ones first, each group in one step of the engine that gives (`giving`): clients notice a short
wait. What holds too much for that, or was begun before, is opened for clients in small groups, so
that a slot is open for some ten milliseconds only: clients that ask for several keys at once are
put off for as long (`TRYAGAIN`). Two lanes work at the same time, each on a group of its own: while
one waits for an answer, the engines work for the other.

The order keeps every key reachable: the one that takes lets keys in, then the one that gives sends
clients on; all keys are moved; then the one that takes owns the slot, then the one that gives knows
it. Whoever goes on after us finds the slots open and does the same again.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from cachewright.agent.copying import BATCH_BYTES, Copier, Entry
from cachewright.agent.giving import Giver
from cachewright.agent.move import Move, party
from cachewright.agent.party import Parties, Party, all_of, while_alive
from cachewright.agent.returning import take_back
from cachewright.engines.adapter import EngineRefused
from cachewright.kit.failpoints import passing
from cachewright.model.slots import numbers_of
from cachewright.rpc.agent import CommandFailed

_log = logging.getLogger(__name__)

_LANES = 2
#: Slots that one lane has open at once.
_OPEN_MAX = 16
#: redis-py and valkey-py fail when they are sent on (`ASK`) to a node that they have never heard
#: of; they hear of it when they ask for a slot that it owns (`MOVED`). So few are open at once
#: until it owns many.
_KNOWN_PER_OPEN = 32
#: Connections for what Valkey waits for its replicas with, so that it waits at once.
_CONNECTIONS = 8
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
            move.quicken()
            await move.acquaint(giving, taking)
            await _claim_disowned(move, giving, taking)
            left = await move.left(giving, taking)
            await _close_claimed(move, giving, taking)
            if not left:
                return frozenset()
            await entry.renew(taking, entry.renewals)
            large = await _give_small(move, entry, giving, taking, left)
            stuck = await _move_open(move, entry, giving, taking, large)
            await entry.end(taking)
            await _tell_others(move, [slot for slot in left if slot not in stuck])
            return stuck
    finally:
        giving.hang_up()
        taking.hang_up()


async def _give_small(
    move: Move, entry: Entry, giving: Party, taking: Party, slots: Sequence[int]
) -> list[int]:
    """Let small slots go in one step each; return those that have to be opened for clients."""
    if await giving.call(giving.keeper.has_databases):
        return [*slots]
    mine = await giving.call(giving.keeper.view)
    opened = {one.slot for one in mine.open_slots}
    there = await taking.call(lambda admin: taking.keeper.counts(admin, slots))
    fresh = [
        slot for slot, count in zip(slots, there, strict=True) if not count and slot not in opened
    ]
    counts = await giving.call(lambda admin: giving.keeper.counts(admin, fresh))
    memory = await giving.call(giving.keeper.memory)
    awaited = await taking.call(taking.keeper.replicas_awaited)
    giver = Giver(
        move=move,
        entry=entry,
        awaits_replicas=awaited is not None,
        awaited=awaited or 0,
        online=await taking.call(taking.keeper.replicas_online) if awaited is None else 0,
    )
    async with giver.opened():
        left = await giver.give(dict(zip(fresh, counts, strict=True)), memory.key_bytes(counts))
    await _close_claimed(move, giving, taking)
    theirs = await taking.call(taking.keeper.view)
    return sorted({*slots}.difference(fresh).union(left) - {*numbers_of(theirs.own_slots)})


async def _move_open(
    move: Move, entry: Entry, giving: Party, taking: Party, slots: Sequence[int]
) -> frozenset[int]:
    """Move slots while clients are sent after their keys; return those that stay."""
    if not slots:
        return frozenset()
    theirs = await taking.call(taking.keeper.view)
    groups = iter(await _groups(giving, slots, sum(map(len, theirs.own_slots))))
    has_databases = await giving.call(giving.keeper.has_databases)
    lanes = [_Lane(move, entry, has_databases=has_databases) for _ in range(_LANES)]
    return frozenset().union(*await all_of([lane.run(groups) for lane in lanes]))


class _Group(NamedTuple):
    """Slots that are open at the same time, and how many keys one of them holds at most."""

    slots: list[int]
    key_count: int


class _Lane:
    """Moves one group of slots after the other, on connections of its own."""

    def __init__(self, move: Move, entry: Entry, *, has_databases: bool) -> None:
        self._move = move
        self._giving, self._taking = move.giving(), move.taking()
        self._mine = Parties(move.giving, _CONNECTIONS)
        self._theirs = Parties(move.taking, _CONNECTIONS)
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
            for one in (self._giving, self._taking, self._mine, self._theirs):
                one.hang_up()
        return stuck

    async def _move_group(self, group: _Group) -> frozenset[int]:
        giving, taking = self._giving, self._taking
        sizes: dict[bytes, int] = {}
        stuck = await self._copier.stuck(group.slots, group.key_count, sizes)
        slots = [slot for slot in group.slots if slot not in stuck]
        await self._theirs.open_imports(slots, giving.engine_id)
        passing("agent.after_import")
        await self._mine.open_exports(slots, taking.engine_id)
        passing("agent.after_open")
        late = await self._copier.empty(slots, sizes)
        if late:
            await take_back(self._move.node, giving, taking, sorted(late), self._move.check)
        gone = [slot for slot in slots if slot not in late]
        passing("agent.after_empty")
        await self._move.acquaint(giving, taking)
        await self._theirs.assign(gone, taking.engine_id)
        passing("agent.after_claim")
        await self._move.let_hear(giving, gone)
        await self._mine.assign(gone, taking.engine_id)
        passing("agent.after_give")
        return stuck | late


async def _claim_disowned(move: Move, giving: Party, taking: Party) -> None:
    """Let the one that takes own what the other gave up, with all keys, when somebody was cut."""
    theirs = await taking.call(taking.keeper.view)
    opened = {one.slot for one in theirs.open_slots if one.is_import}
    wanted = {*numbers_of(move.command.slots)} & {*numbers_of(theirs.own_slots), *opened}
    if not wanted:
        return
    disowned = wanted & await giving.call(giving.keeper.unowned)
    for one, slots in ((taking, disowned & opened), (giving, disowned)):
        act = functools.partial(
            one.keeper.assign, slots=sorted(slots), to_id=move.command.to_engine_id
        )
        await one.call(act)


async def _close_claimed(move: Move, giving: Party, taking: Party) -> None:
    """Let the one that gives know what the other one owns already: somebody was cut there."""
    theirs = await taking.call(taking.keeper.view)
    mine = await giving.call(giving.keeper.view)
    claimed = set(numbers_of(theirs.own_slots)) & set(numbers_of(move.command.slots))
    unaware = claimed & ({one.slot for one in mine.open_slots} | set(numbers_of(mine.own_slots)))
    if unaware:
        await move.let_hear(giving, unaware)
        await giving.call(
            lambda admin: giving.keeper.assign(admin, sorted(unaware), taking.engine_id)
        )


async def _groups(giving: Party, slots: Sequence[int], known: int) -> list[_Group]:
    """Cut slots into groups of about a batch of bytes each.

    `known` is how many slots the one that takes owns already.
    """
    counts = await giving.call(lambda admin: giving.keeper.counts(admin, slots))
    memory = await giving.call(giving.keeper.memory)
    key_bytes = memory.key_bytes(counts)
    groups: list[_Group] = []
    held, group, most = 0, list[int](), 0
    for slot, count in zip(slots, counts, strict=True):
        open_max = min(_OPEN_MAX, 1 + known // _KNOWN_PER_OPEN)
        if group and (len(group) >= open_max or held + count * key_bytes > BATCH_BYTES):
            groups.append(_Group(group, most))
            known += len(group)
            held, group, most = 0, [], 0
        group.append(slot)
        held += count * key_bytes
        most = max(most, count)
    return [*groups, _Group(group, most)] if group else groups


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
