"""How do keys get from one engine to another, so that each is at one of them and no write is lost?

The giving engine sends a batch, waits for the other one's answer and deletes what that one has
taken; it serves nobody meanwhile, so batches are small, and a key that is large goes alone. Both
have the slot open: a client that asks the first for a key which is not there is sent to the other,
so what is left at the first only gets less.

An answer that does not come leaves keys at both. The one that clients are sent to first is right,
and its copy replaces the other; but only after everything that was sent before is certainly read
or thrown away (`Entry.renew`): an old copy that is read late would undo what clients wrote since.
What clients have deleted meanwhile is deleted there too, unless it is not what was sent.
"""

from __future__ import annotations

import asyncio
import functools
import itertools
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

from cachewright.agent.party import Party
from cachewright.engines import acl
from cachewright.engines.slots import CopyBatch, CopyOutcome, CopyWay
from cachewright.kit.failpoints import passing
from cachewright.model.moves import LARGEST_KEY_BYTES
from cachewright.rpc.agent import CommandFailed

#: Of one batch; it keeps the giving engine busy for some 10 ms.
BATCH_BYTES = 1024 * 1024
_BATCH_KEYS = 1_000
#: Names of keys that are looked up at once.
_LISTED_KEYS = 4_096
_LISTED_OF_SLOT_MIN = 64
#: Keys of one slot among which a too large one is looked for before anything is moved.
_LOOKED_AT_OF_SLOT = 10_000
#: Small batches that are sent at once; it saves as many round trips.
_BATCHES_AT_ONCE = 4
#: The giving engine serves nobody while it waits for the other one: not longer than this, for what
#: is sent at once.
_PATIENCE_S = 0.5
#: A value that is larger is not kept for being compared after a failure.
_SENT_BYTES_MAX = 8 * 1024 * 1024
#: Packing and unpacking of a large value, bytes per second at the slowest.
_SLOWEST_BYTES_S = 20 * 1024 * 1024
#: A batch that is not answered for by then is given up, though both engines answer us.
_STALL_S = 30.0
_ID_SHOWN = 12


#: A slot, and size and name of keys in it.
_Sized: TypeAlias = tuple[int, list[tuple[int, bytes]]]
#: What keys take, by name.
_Sizes: TypeAlias = dict[bytes, int]


class _Batch(NamedTuple):
    """Keys of one slot that go together."""

    size: int
    keys: tuple[bytes, ...]


@dataclass(kw_only=True)
class Entry:
    """The name under which keys come in at an engine, for as long as a move lasts."""

    user: str
    password: str = field(default_factory=lambda: secrets.token_hex(32), repr=False)
    #: How often it was made; what came in under an earlier one has ended.
    renewals: int = 0
    _renewing: asyncio.Lock = field(default_factory=asyncio.Lock)

    @classmethod
    def of(cls, giving: Party) -> Entry:
        """Return the one for what an engine gives: each has its own."""
        return cls(user=acl.MOVER_PREFIX + giving.engine_id[:_ID_SHOWN])

    async def renew(self, taking: Party, seen: int) -> None:
        """End what came in under this name and was not read yet; wait until the engine answers.

        Nothing happens if somebody did so since `renewals` was `seen`. The connection is a new one:
        engines accept connections in their order, so what was sent before on others is there.
        """
        async with self._renewing:
            if self.renewals != seen:
                return
            taking.hang_up()
            await taking.call(lambda admin: taking.keeper.let_in(admin, self.user, self.password))
            self.renewals += 1

    async def end(self, taking: Party) -> None:
        """Let nothing in any more."""
        await taking.call(lambda admin: taking.keeper.shut_out(admin, self.user))


@dataclass(frozen=True, kw_only=True, slots=True)
class Copier:
    """Moves keys of open slots from one engine to another."""

    giving: Party
    taking: Party
    address: str
    port: int
    entry: Entry
    #: Whose copy is right where both have one.
    taker_is_right: bool
    #: There may be keys in other databases than the first.
    has_databases: bool
    #: Raises when nobody wants it any more.
    check: Callable[[], None]

    async def stuck(self, slots: Sequence[int], count: int, known: _Sizes) -> frozenset[int]:
        """Return the slots with a key that is too large to be moved, as far as is looked.

        Args:
            slots: Which slots.
            count: How many keys one of them holds at most; of very many, not all are looked at.
            known: What keys take; it is added to.
        """
        found: set[int] = set()
        limit = min(count + _LISTED_OF_SLOT_MIN, _LOOKED_AT_OF_SLOT)
        for database in await self._databases():
            self.giving.database = database
            sized = await self._sized(slots, limit, known)
            found |= {slot for slot, keys in sized if keys and max(keys)[0] > LARGEST_KEY_BYTES}
        self.giving.database = 0
        return frozenset(found)

    async def empty(self, slots: Sequence[int], known: _Sizes | None = None) -> frozenset[int]:
        """Move all keys of these slots; return those slots that a too large key keeps.

        What keys take need not be found out where it is `known`, roughly.
        """
        stuck: set[int] = set()
        sizes = known if known is not None else {}
        for database in await self._databases():
            self.giving.database = database
            waiting = [slot for slot in slots if slot not in stuck]
            while waiting := await self._round(waiting, stuck, sizes):
                pass
        self.giving.database = 0
        return frozenset(stuck)

    async def _databases(self) -> tuple[int, ...]:
        if not self.has_databases:
            return (0,)
        return (await self.giving.call(self.giving.keeper.memory)).databases

    async def _sized(self, slots: Sequence[int], limit: int, known: _Sizes) -> list[_Sized]:
        """Return some keys of each slot, with what they take; what is found out is `known` then."""
        keeper = self.giving.keeper
        listed = await self.giving.call(lambda admin: keeper.keys(admin, slots, limit))
        names = [name for name in itertools.chain.from_iterable(listed) if name not in known]
        sizes = await self.giving.call(
            lambda admin: keeper.sizes(admin, names, is_owner=not self.taker_is_right)
        )
        known.update(zip(names, sizes, strict=True))
        return [
            (slot, [(known[name], name) for name in names])
            for slot, names in zip(slots, listed, strict=True)
        ]

    async def _round(self, slots: Sequence[int], stuck: set[int], known: _Sizes) -> list[int]:
        """Move some keys of each slot; return the slots that had any."""
        if not slots:
            return []
        left: list[int] = []
        batches: list[_Batch] = []
        limit = max(_LISTED_OF_SLOT_MIN, _LISTED_KEYS // len(slots))
        for slot, sized in await self._sized(slots, limit, known):
            if any(size > LARGEST_KEY_BYTES for size, _ in sized):
                stuck.add(slot)
            elif sized:
                left.append(slot)
                batches += _batches(sized)
        for some in _together(batches):
            await self._copy_together(some)
        return left

    async def _copy_together(self, batches: Sequence[_Batch]) -> None:
        """Move batches; those that are not moved at the first try are tried one by one."""
        self.check()
        seen = self.entry.renewals
        outcomes = await self._try(
            [CopyBatch(keys=batch.keys) for batch in batches],
            patience_s=_PATIENCE_S / len(batches)
            + sum(one.size for one in batches) / _SLOWEST_BYTES_S,
        )
        passing("agent.after_copy")
        await self._settle(batches, outcomes, seen)

    async def _settle(
        self, batches: Sequence[_Batch], outcomes: Sequence[CopyOutcome], seen: int
    ) -> None:
        """Try batches again that were not moved at the first try."""
        # What was sent is looked at before anybody waits: clients go on deleting.
        tried = [
            (batch, outcome, await self._sent(batch, outcome))
            for batch, outcome in zip(batches, outcomes, strict=True)
            if outcome is not CopyOutcome.MOVED
        ]
        for batch, outcome, sent in tried:
            await self._copy(batch, outcome, sent, seen)

    async def _copy(
        self, batch: _Batch, outcome: CopyOutcome, sent: Mapping[bytes, bytes], seen: int
    ) -> None:
        """Move a batch of which a first try had this outcome; `sent` is what may have got there."""
        loop = asyncio.get_running_loop()
        patience_s = _PATIENCE_S + batch.size / _SLOWEST_BYTES_S
        deadline_s = loop.time() + _STALL_S + patience_s
        replaces = False
        while outcome is not CopyOutcome.MOVED:
            if loop.time() > deadline_s:
                raise CommandFailed(
                    f"{self.taking.name} does not take keys of {self.giving.name} ({outcome.value})"
                )
            if outcome is not CopyOutcome.TAKEN:
                await self.entry.renew(self.taking, seen)
                await self._forget_deleted(sent)
            elif self.taker_is_right:
                await self._drop_taken(batch.keys)
            else:
                replaces = True
            self.check()
            seen = self.entry.renewals
            again = CopyBatch(keys=batch.keys, replaces=replaces)
            (outcome,) = await self._try([again], patience_s=patience_s)
            sent = await self._sent(batch, outcome)

    async def _try(self, batches: Sequence[CopyBatch], *, patience_s: float) -> list[CopyOutcome]:
        """Move batches; for each the one that gives waits no longer than `patience_s`."""
        way = self._way(patience_s=patience_s)
        act = functools.partial(self.giving.keeper.copy, batches=batches, way=way)
        return await self.giving.call(act, patience_s=patience_s * len(batches))

    def _way(self, *, patience_s: float) -> CopyWay:
        return CopyWay(
            address=self.address,
            port=self.port,
            user=self.entry.user,
            password=self.entry.password,
            database=self.giving.database,
            patience_ms=int(patience_s * 1000),
        )

    async def _sent(self, batch: _Batch, outcome: CopyOutcome) -> dict[bytes, bytes]:
        """Return what was sent, was not answered for and is still here, by name."""
        if outcome is not CopyOutcome.LOST or batch.size > _SENT_BYTES_MAX:
            return {}
        act = functools.partial(
            self.giving.keeper.dumps, keys=batch.keys, is_owner=not self.taker_is_right
        )
        dumps = zip(batch.keys, await self.giving.call(act), strict=True)
        return {key: dump for key, dump in dumps if dump is not None}

    async def _forget_deleted(self, sent: Mapping[bytes, bytes]) -> None:
        """Delete at the other one what clients have deleted here since it was sent.

        Unless they have made it anew there: then it is not what was sent.
        """
        sizes = functools.partial(
            self.giving.keeper.sizes, keys=[*sent], is_owner=not self.taker_is_right
        )
        found = zip(sent, await self.giving.call(sizes), strict=True)
        gone = [key for key, size in found if not size]
        dumps = functools.partial(self.taking.keeper.dumps, keys=gone, is_owner=self.taker_is_right)
        there = zip(gone, await self.taking.call(dumps), strict=True)
        stale = [key for key, dump in there if dump == sent[key]]
        await self.taking.call(lambda admin: self.taking.keeper.drop(admin, stale))

    async def _drop_taken(self, keys: Sequence[bytes]) -> None:
        """Delete what the other one has as well."""
        sizes = await self.taking.call(lambda admin: self.taking.keeper.sizes(admin, keys))
        taken = [key for key, size in zip(keys, sizes, strict=True) if size]
        await self.giving.call(lambda admin: self.giving.keeper.drop(admin, taken))


def _batches(sized: Sequence[tuple[int, bytes]]) -> Iterator[_Batch]:
    """Yield the keys of a slot in batches; one that is too large for a batch goes alone."""
    size = 0
    names: list[bytes] = []
    for key_size, name in sorted(sized, reverse=True):
        if names and (size + key_size > BATCH_BYTES or len(names) == _BATCH_KEYS):
            yield _Batch(size, tuple(names))
            size, names = 0, []
        size += key_size
        names.append(name)
    if names:
        yield _Batch(size, tuple(names))


def _together(batches: Sequence[_Batch]) -> Iterator[list[_Batch]]:
    """Yield batches that are sent at once: small ones of several slots."""
    some: list[_Batch] = []
    for batch in batches:
        if some and (
            len(some) == _BATCHES_AT_ONCE
            or sum(one.size for one in some) + batch.size > BATCH_BYTES
        ):
            yield some
            some = []
        some.append(batch)
    if some:
        yield some
