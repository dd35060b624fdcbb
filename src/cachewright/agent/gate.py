"""Where does an engine wait until somebody else is ready? A listener that speaks its protocol.

An engine that sends a key by `MIGRATE` serves nobody until it is answered. Here the answer comes
when an act is done that the key's name stands for. The name is drawn at random, so nobody else can
set an act off.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import cast

import hiredis

_ADDRESS = "127.0.0.1"
#: Where the value stands in what an engine sends: `RESTORE key ttl value`.
_VALUE = 3
_DONE = b"+OK\r\n"
#: Nothing was done for the engine that waits; it can leave all as it is.
_NOT_YET = b"-NOTYET nothing was done\r\n"
_UNCERTAIN = b"-ERR it is done or not\r\n"
_STRANGE = b"-ERR nobody waits for that here\r\n"


class Passage:
    """An act that an engine waits for."""

    def __init__(self, act: Callable[[Passage], Awaitable[None]]) -> None:
        self._act = act
        #: What came with the key, as engines pack values (`DUMP`).
        self.packed = b""
        #: Something was done, or may have been.
        self.has_begun = False
        #: What the act raised.
        self.failure: Exception | None = None

    async def run(self) -> bytes:
        """Carry the act out; return the answer."""
        try:
            await self._act(self)
        except Exception as failure:  # noqa: BLE001 whoever waits for the act raises it
            self.failure = failure
            return _UNCERTAIN if self.has_begun else _NOT_YET
        return _DONE


class Gate:
    """A listener for the engines of this host."""

    def __init__(self) -> None:
        self.address, self.port = _ADDRESS, 0
        self._passages: dict[bytes, Passage] = {}
        self._running: set[asyncio.Task[None]] = set()
        self._lines: set[_Line] = set()

    @contextlib.asynccontextmanager
    async def opened(self) -> AsyncIterator[Gate]:
        """Listen in the block."""
        loop = asyncio.get_running_loop()
        server = await loop.create_server(self._line, _ADDRESS, 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            await self._settle()
            for line in self._lines:
                line.hang_up()

    @contextlib.asynccontextmanager
    async def awaited(
        self, marker: str, act: Callable[[Passage], Awaitable[None]]
    ) -> AsyncIterator[Passage]:
        """Carry out `act` when an engine sends `marker` in the block, once; it ends before it."""
        passage = Passage(act)
        self._passages[marker.encode()] = passage
        try:
            yield passage
        finally:
            self._passages.pop(marker.encode(), None)
            await self._settle()

    async def _settle(self) -> None:
        if self._running:
            await asyncio.wait(self._running)

    def _line(self) -> _Line:
        line = _Line(self._come)
        self._lines.add(line)
        return line

    def _come(self, line: _Line, command: list[bytes]) -> None:
        """Take what an engine sends: `SELECT 0`, then the key."""
        if command[:1] == [b"SELECT"]:
            line.answer(_DONE)
            return
        passage = self._passages.pop(command[1], None) if len(command) > 1 else None
        if passage is None:
            line.answer(_STRANGE)
            return
        passage.packed = command[_VALUE] if len(command) > _VALUE else b""
        task = asyncio.create_task(self._pass(line, passage))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _pass(self, line: _Line, passage: Passage) -> None:
        line.answer(await passage.run())


class _Line(asyncio.Protocol):
    """A connection of an engine."""

    def __init__(self, come: Callable[[_Line, list[bytes]], None]) -> None:
        self._come = come
        self._reader = hiredis.Reader()
        self._transport: asyncio.Transport | None = None

    def answer(self, said: bytes) -> None:
        """Send an answer, if anybody still waits."""
        if self._transport is not None:
            self._transport.write(said)

    def hang_up(self) -> None:
        """Close the connection."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport (called by the event loop)."""
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the transport (called by the event loop)."""
        self._transport = None

    def data_received(self, data: bytes) -> None:
        """Hand commands on, in their order (called by the event loop)."""
        try:
            self._reader.feed(data)
            while (command := self._reader.gets()) is not False:
                self._come(self, command if isinstance(command, list) else [b""])
        except hiredis.ProtocolError:
            self.hang_up()
