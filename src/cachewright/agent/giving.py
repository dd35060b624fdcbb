"""How do small slots get another owner with all their keys, so that no client is sent after a key?

A group of slots goes in one step of the engine that gives (`SlotKeeper.give`): it copies the keys,
waits at the gate while we make the other one own the slots, drops the keys and knows the owner.
Clients wait for as long, which is bounded by bytes and keys; before it they are served here, after
it they are sent on to an owner, and a client that has never heard of it hears of it by that.

The other one lets keys in before (`IMPORTING`), which clients do not notice; that is done for the
next group while one goes. What cannot go in one step is left to whoever asked, untouched, or open
with all keys on the other side.
"""

from __future__ import annotations

import asyncio
import binascii
import contextlib
import functools
import itertools
import logging
import secrets
from collections.abc import AsyncIterator, Collection, Iterator, Sequence
from dataclasses import dataclass, field

from cachewright.agent.copying import Entry
from cachewright.agent.gate import Gate, Passage
from cachewright.agent.move import Move
from cachewright.agent.party import Parties, Party
from cachewright.engines.adapter import EngineRefused, EngineUnreachable
from cachewright.engines.slot_replies import epoch_of
from cachewright.engines.slots import CopyWay, Given, GiveOutcome, GiveWay
from cachewright.kit.failpoints import passing
from cachewright.model.moves import STEP_BYTES_MAX, STEP_KEYS_MAX
from cachewright.model.slots import SLOT_COUNT
from cachewright.rpc.agent import CommandFailed, StaleEpoch

_log = logging.getLogger(__name__)

#: What a group holds about, at most. It keeps clients waiting for some 10 ms.
_GROUP_BYTES = 1280 * 1024
_GROUP_KEYS = 1_000
_GROUP_SLOTS = 64
#: Keys of a slot are sent on their own; the two engines wait for each other as long as this many
#: keys take them.
_KEYS_PER_SLOT = 20
#: For the one that takes, and for us: in each of both waits.
_PATIENCE_S = 0.5
_CLAIM_S = 0.4
#: For replicas of the one that takes, before: within the patience for the gate. They need as long
#: for the keys as it did, which is some milliseconds.
_REPLICATE_S = 0.2
#: Connections for what an engine waits for its replicas with, so that it waits at once.
_CONNECTIONS = 16
#: Valkey hears of the new owner by gossip: at once, or when a kernel has put an acknowledgement
#: off by 40 ms.
_NEWS_S = 0.1
#: Clients are paused so long for that. The news are there, and the next that it reads; until then
#: it shows slots without an owner, and redis-py and valkey-py would compare what other nodes say of
#: them, and fail.
_PAUSE_MS = 10
_LOOK_EVERY_S = 0.005
#: An engine sends at once what it has to say; one whose peer does not read is given up after 1 s.
_BUSY_MAX = 200
#: The engine that gives may have ended.
_RESTORE_S = 1.0
_FULL_COVERAGE = "cluster-require-full-coverage"
_MARKER = "cachewright-mover"


@dataclass(kw_only=True, slots=True)
class Giver:
    """Small slots on their way, while `opened`."""

    move: Move
    entry: Entry
    #: Whether the engines wait for replicas, and for how many the one that takes does.
    awaits_replicas: bool
    awaited: int
    #: How many replicas the one that takes has that it does not wait for by itself.
    online: int
    giving: Party = field(init=False)
    #: The one that takes, for what is done to slots: one for the next group, one for this.
    opening: Parties = field(init=False)
    claiming: Parties = field(init=False)
    _gate: Gate = field(init=False, default_factory=Gate)
    #: Of the one that gives, as far as the one that takes knows.
    _epoch: int = field(init=False, default=-1)
    #: How often is still waited for it to have sent something.
    _patience: int = field(init=False, default=_BUSY_MAX)

    @contextlib.asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        """Have connections and the gate in the block."""
        count = _CONNECTIONS if self.awaited else 1
        self.giving = self.move.giving()
        self.opening = Parties(self.move.taking, count)
        self.claiming = Parties(self.move.taking, count)
        try:
            async with self._gate.opened(), self._gaps_allowed():
                yield
        finally:
            for one in (self.giving, self.opening, self.claiming):
                one.hang_up()

    @contextlib.asynccontextmanager
    async def _gaps_allowed(self) -> AsyncIterator[None]:
        """Let it serve all other slots while it knows no owner of some, whatever is asked for."""
        node = self.move.node

        def is_asked() -> bool:
            return dict(node.launch.settings).get(_FULL_COVERAGE, "yes") == "yes"

        if not self.awaits_replicas or not is_asked():
            yield
            return
        try:
            await node.adapter.configure(await node.admin(), {_FULL_COVERAGE: "no"})
            yield
        finally:
            try:
                async with asyncio.timeout(_RESTORE_S):
                    if is_asked():
                        await node.adapter.configure(await node.admin(), {_FULL_COVERAGE: "yes"})
            except (CommandFailed, EngineRefused, EngineUnreachable, TimeoutError) as error:
                node.may_be_altered = True
                _log.warning("event=coverage_not_restored key=%s reason=%r", node.key, str(error))

    async def give(self, counts: dict[int, int], key_bytes: int) -> list[int]:
        """Let slots go that are small; return those that did not.

        Args:
            counts: How many keys each of the slots holds about; nobody else has anything of them.
            key_bytes: What a key takes with its value, on average, at most.
        """
        # Where little is held, a key takes far less than that: the engine itself measures all.
        small = [slot for slot, count in counts.items() if count <= STEP_KEYS_MAX]
        left = sorted(counts.keys() - set(small))
        waiting = [*_groups(small, counts, key_bytes)][::-1]
        opened = asyncio.create_task(self._open(waiting[-1])) if waiting else None
        try:
            while waiting and opened is not None:
                group = waiting.pop()
                await opened
                passing("agent.after_import")
                opened = asyncio.create_task(self._open(waiting[-1])) if waiting else None
                halves = await self._give(group, left)
                if halves:
                    waiting += halves[::-1]
                    opened = opened or asyncio.create_task(self._open(waiting[-1]))
        finally:
            if opened is not None:
                opened.cancel()
                await asyncio.gather(opened, return_exceptions=True)
        return left

    async def _open(self, slots: Sequence[int]) -> None:
        """Let keys of these slots come in."""
        await self.opening.open_imports(slots, self.giving.engine_id)

    async def _give(self, slots: list[int], left: list[int]) -> list[list[int]]:
        """Let a group go, or add to `left`; return smaller groups to try instead.

        Where gossip brings the news, one slot goes ahead, so that they are read before all that
        clients send meanwhile. An engine reads its sockets in the order in which they had something
        to read; one that had before the step, and has again after it, comes before those that had
        nothing.
        """
        self.move.check()
        steps = [slots[:1], slots[1:]] if self.awaits_replicas and slots[1:] else [slots]
        ways = [self._way(step) for step in steps]
        async with contextlib.AsyncExitStack() as stack:
            passages = [
                await stack.enter_async_context(
                    self._gate.awaited(way.marker, functools.partial(self._claim, way.slots))
                )
                for way in ways
            ]
            act = functools.partial(self.giving.keeper.give, ways=ways)
            patience_s = 2 * _PATIENCE_S * len(ways)
            found = await self.giving.call(act, patience_s=patience_s)
        halves: list[list[int]] = []
        for step, given, passage in zip(steps, found, passages, strict=True):
            halves += await self._settle(step, given, passage, left)
        for given in found:
            if given.outcome is GiveOutcome.FULL:
                # Slots that are opened for clients now could not be closed.
                raise CommandFailed(f"{self.claiming.first.name} is full: {given.said}")
        return halves

    async def _settle(
        self, slots: list[int], given: Given, passage: Passage, left: list[int]
    ) -> list[list[int]]:
        """Take what has come of a step, as `_give`, and of what was done at the gate."""
        match given.outcome:
            case GiveOutcome.GIVEN:
                if self.awaits_replicas:
                    await self._hear(slots)
                passing("agent.after_give")
            case GiveOutcome.BUSY if self._patience:
                self._patience -= 1
                await asyncio.sleep(_LOOK_EVERY_S)
                return [slots]
            case GiveOutcome.LARGE if slots[1:]:
                middle = len(slots) // 2
                return [slots[:middle], slots[middle:]]
            case GiveOutcome.BUSY | GiveOutcome.LARGE | GiveOutcome.KEPT | GiveOutcome.FULL:
                if given.outcome in {GiveOutcome.KEPT, GiveOutcome.FULL}:
                    await self._clear(slots)
                taking = self.claiming.first
                await taking.call(lambda admin: taking.keeper.close_slots(admin, slots))
                left += slots
            case GiveOutcome.CUT:
                left += await self._end(slots)
            case GiveOutcome.STRANGE:
                raise CommandFailed(f"{self.giving.name} does not give slots: {given.said}")
        if isinstance(passage.failure, StaleEpoch):
            raise passage.failure
        return []

    def _way(self, slots: Sequence[int]) -> GiveWay:
        move, entry = self.move.command, self.entry
        return GiveWay(
            slots=slots,
            copy=CopyWay(
                address=move.to_address,
                port=move.to_port,
                user=entry.user,
                password=entry.password,
                patience_ms=int(_PATIENCE_S * 1000),
            ),
            to_id=move.to_engine_id,
            gate_address=self._gate.address,
            gate_port=self._gate.port,
            marker=_marker_in({*slots}),
            awaits_replicas=self.awaits_replicas,
            pause_ms=_PAUSE_MS if self.awaits_replicas else 0,
            bytes_max=STEP_BYTES_MAX,
            keys_max=STEP_KEYS_MAX,
        )

    async def _claim(self, slots: Sequence[int], passage: Passage) -> None:
        """Let the other one own the slots; it has all keys, and the one that gives waits."""
        self.move.check()
        passing("agent.after_copy")
        async with asyncio.timeout(_CLAIM_S):  # what has not begun by then leaves the keys there
            await self._replicate()
            await self._require_known(epoch_of(passage.packed))
            passing("agent.after_empty")
            await self.claiming.first.come_round()  # it has read what the giver said before
            passage.has_begun = True
            await self.claiming.assign(slots, self.move.command.to_engine_id)
            await self.claiming.first.come_round()  # it has told everybody
        passing("agent.after_claim")

    async def _require_known(self, epoch: int) -> None:
        """Raise where the one that takes does not know this epoch of the other; see `acquaint`."""
        if self._epoch < epoch:
            taking, giver = self.claiming.first, self.giving.engine_id
            self._epoch = await taking.call(lambda admin: taking.keeper.epoch(admin, giver))
        if self._epoch < epoch:
            raise CommandFailed(f"{taking.name} has not heard of {self.giving.name} yet")

    async def _replicate(self) -> None:
        """Let replicas of the one that takes have what is about to be dropped here.

        Else its death would cost not what clients wrote last, but what they wrote long ago. Once
        that takes too long, only what they do themselves counts: clients are waiting.
        """
        if self.online:
            taking, patience_ms = self.claiming.first, int(_REPLICATE_S * 1000)
            act = functools.partial(
                taking.keeper.replicate, replicas=self.online, patience_ms=patience_ms
            )
            if not await taking.call(act):
                _log.warning("event=moved_before_replicated node=%s", taking.name)
                self.online = 0

    async def _clear(self, slots: Sequence[int]) -> None:
        """Drop the copies that the other one has: the keys never left."""
        taking, keeper = self.claiming.first, self.claiming.first.keeper
        await self.entry.renew(taking, self.entry.renewals)
        listed = await taking.call(lambda admin: keeper.keys(admin, slots, STEP_KEYS_MAX))
        names = [*itertools.chain.from_iterable(listed)]
        await taking.call(lambda admin: keeper.drop(admin, names))

    async def _end(self, slots: Sequence[int]) -> list[int]:
        """Go on after an answer that did not come; return the slots that are open still."""
        if not self.awaits_replicas:
            return [*slots]
        await self.claiming.assign(slots, self.move.command.to_engine_id)
        await self._tell(slots)
        return []

    async def _hear(self, slots: Sequence[int]) -> None:
        """Wait until the one that gives has heard of the new owner; at last, tell it.

        An engine notices the end of a pause when something comes after it.
        """
        await asyncio.sleep(_PAUSE_MS / 1000)
        loop = asyncio.get_running_loop()
        deadline_s = loop.time() + _NEWS_S
        while not (await self.giving.call(self.giving.keeper.unowned)).isdisjoint(slots):
            if loop.time() > deadline_s:
                await self._tell(slots)
                return
            await asyncio.sleep(_LOOK_EVERY_S)

    async def _tell(self, slots: Sequence[int]) -> None:
        """Let the one that gives know the new owner."""
        to_id = self.move.command.to_engine_id
        await self.giving.call(lambda admin: self.giving.keeper.assign(admin, slots, to_id))


def _groups(slots: Sequence[int], counts: dict[int, int], key_bytes: int) -> Iterator[list[int]]:
    """Cut slots into groups that go in one step each; the smallest of each is the first."""
    group: list[int] = []
    held = 0
    keys_max = min(_GROUP_KEYS, _GROUP_BYTES // max(1, key_bytes))
    for slot in slots:
        holds = counts[slot] and counts[slot] + _KEYS_PER_SLOT
        if group and (held + holds > keys_max or len(group) == _GROUP_SLOTS):
            yield sorted(group, key=counts.__getitem__)
            group, held = [], 0
        group.append(slot)
        held += holds
    if group:
        yield sorted(group, key=counts.__getitem__)


def _marker_in(slots: Collection[int]) -> str:
    """Return the name of a key of one of these slots, that nobody can guess."""
    return f"{_MARKER}:{secrets.token_hex(16)}:{{{_tags()[min(slots)]}}}"


@functools.cache
def _tags() -> dict[int, str]:
    """Return a hash tag for each slot; it takes a tenth of a second, once."""
    tags: dict[int, str] = {}
    numbers = map(str, itertools.count())
    while len(tags) < SLOT_COUNT:
        number = next(numbers)
        tags.setdefault(binascii.crc_hqx(number.encode(), 0) % SLOT_COUNT, number)
    return tags
