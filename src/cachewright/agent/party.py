"""How is an engine spoken to that may fall silent for a while, and until when is it waited for?

For work that lasts: a `Party` has a connection of its own, makes it anew when it is lost, and
repeats what was not answered; so only what may be done twice is asked through it. The end of a
process that we know breaks the work off at once (`while_alive`); mere silence only after
`SILENCE_S`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from typing import Any, TypeVar

from cachewright.agent import process
from cachewright.agent.node import Node
from cachewright.engines.adapter import Connection, EngineRefused, EngineUnreachable
from cachewright.engines.slots import SlotKeeper
from cachewright.rpc.agent import CommandFailed

#: An engine that is silent for longer is given up. Three times the 5 s that a frozen process or a
#: stalled disk are seen to take, and as long as the engines wait before they call a peer failed.
SILENCE_S = 15.0
#: One try. Longer than any act takes an engine, except for a key of hundreds of megabytes.
_ANSWER_TIMEOUT_S = 2.0
_TRY_AGAIN_S = 0.05
#: Answers of engines that are there and cannot do anything yet.
_LATER = frozenset({"BUSY", "LOADING"})

T = TypeVar("T")


class Party:
    """An engine that takes part in moving slots; use it from one task."""

    def __init__(
        self,
        name: str,
        engine_id: str,
        keeper: SlotKeeper[Any],
        connect: Callable[[float], Awaitable[Connection]],
    ) -> None:
        #: For people.
        self.name = name
        self.engine_id = engine_id
        self.keeper = keeper
        #: The database that calls are about.
        self.database = 0
        self._connect = connect
        self._connection: Connection | None = None
        self._selected = 0

    async def call(self, act: Callable[[Any], Awaitable[T]], *, patience_s: float = 0.0) -> T:
        """Do something with the connection; again and again while there is no answer.

        Args:
            act: What is done. It may be done more than once.
            patience_s: How much longer than usual an answer may take.

        Raises:
            CommandFailed: no answer for `SILENCE_S`.
            EngineRefused: the engine does not do it.
        """
        loop = asyncio.get_running_loop()
        deadline_s = loop.time() + SILENCE_S + patience_s
        while True:
            try:
                return await act(await self._connected())
            except EngineUnreachable as error:
                said = str(error)
                self.hang_up()
            except EngineRefused as error:
                if error.code not in _LATER:
                    raise
                said = str(error)
            if loop.time() > deadline_s:
                raise CommandFailed(f"{self.name} has not answered for {SILENCE_S:g} s: {said}")
            await asyncio.sleep(_TRY_AGAIN_S)

    async def come_round(self) -> None:
        """Return when it has read what was there before, and sent what it had to say.

        Whoever answers has begun with what was there; the second time it is through.
        """
        for _ in range(2):
            await self.call(self.keeper.ping)

    def hang_up(self) -> None:
        """Close the connection; the next call makes another one."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    async def _connected(self) -> Connection:
        if self._connection is None or self._connection.is_closed:
            self._connection = await self._connect(_ANSWER_TIMEOUT_S)
            self._selected = 0
        if self._selected != self.database:
            await self.keeper.select(self._connection, self.database)
            self._selected = self.database
        return self._connection


class Parties:
    """One engine on several connections, for acts in each of which it waits for somebody else."""

    def __init__(self, make: Callable[[], Party], count: int) -> None:
        self._parties = [make() for _ in range(count)]
        self.first = self._parties[0]

    async def open_imports(self, slots: Sequence[int], from_id: str) -> None:
        """Let keys of slots that another one owns come in."""
        await self._each(slots, self.first.keeper.open_imports, from_id)

    async def open_exports(self, slots: Sequence[int], to_id: str) -> None:
        """Send clients that ask for keys which are not here on to another one."""
        await self._each(slots, self.first.keeper.open_exports, to_id)

    async def assign(self, slots: Sequence[int], to_id: str) -> None:
        """Make a node own slots, in the eyes of this one."""
        await self._each(slots, self.first.keeper.assign, to_id)

    async def _each(
        self, slots: Sequence[int], act: Callable[[Any, Sequence[int], str], Any], peer_id: str
    ) -> None:
        parts = [(p, slots[i :: len(self._parties)]) for i, p in enumerate(self._parties)]
        await all_of([p.call(_bound(act, part, peer_id)) for p, part in parts if part])

    def hang_up(self) -> None:
        """Close the connections."""
        for party in self._parties:
            party.hang_up()


def _bound(
    act: Callable[[Any, Sequence[int], str], Any], slots: Sequence[int], peer_id: str
) -> Callable[[Any], Awaitable[Any]]:
    return lambda admin: act(admin, slots, peer_id)


async def all_of(acts: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
    """Do acts at the same time; the first failure ends all of them."""
    tasks = [asyncio.create_task(act) for act in acts]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@contextlib.asynccontextmanager
async def while_alive(node: Node, what: str) -> AsyncIterator[None]:
    """Break off the block when the process of the node ends; `what` comes of that, for people."""
    if node.process is None:
        raise CommandFailed(f"node {node.name} does not run")
    try:
        async with asyncio.timeout(None) as limit:
            watching = asyncio.create_task(_expire_at_end(node.process, limit))
            try:
                yield
            finally:
                watching.cancel()
    except TimeoutError:
        if not limit.expired():
            raise
        raise CommandFailed(f"node {node.name} has ended, and {what}") from None


async def _expire_at_end(running: process.Process, limit: asyncio.Timeout) -> None:
    await running.ended(None)
    limit.reschedule(asyncio.get_running_loop().time())
