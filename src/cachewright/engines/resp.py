"""How do we talk to an engine as its administrator? One connection, RESP2, every call timed.

Built on an asyncio protocol and hiredis, not on a client library: a server that watches hundreds
of nodes holds one connection to each, and wants no pools, no retries and no topology of its own
there. (The import of a full client costs more time and memory than all the rest of this room.)
Replies are matched to calls by order, so calls of several tasks may overlap.

Never retries and never reconnects: whoever owns the connection knows what a second try means.
No text of an error contains an argument that was sent.
"""

from __future__ import annotations

import asyncio
import collections
import functools
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias, cast

import hiredis

from cachewright.model import errors

#: Calls that may wait for their reply on one connection. Each task of an agent has one at a time,
#: and there are fewer than ten tasks a node; more means that somebody forgot to wait.
CALLS_MAX = 64

Argument: TypeAlias = "str | bytes | int"


class EngineUnreachable(errors.Retryable):
    """The engine did not answer: refused, closed or too late. Says nothing about its life."""


class EngineSilent(EngineUnreachable):
    """Nothing came within the time that somebody waited; it may still come."""


class EngineClosed(EngineUnreachable):
    """The engine's side ended the connection while a call waited for its reply."""


class EngineRefused(errors.CachewrightError):
    """The engine answered with an error; `str()` is its own text, such as `BUSY ...`."""

    @property
    def code(self) -> str:
        """The first word of the text: `BUSY`, `LOADING`, `NOAUTH`, `ERR`, ..."""
        return str(self).partition(" ")[0]


Reply: TypeAlias = "bytes | int | EngineRefused | list[Reply] | None"


@dataclass(kw_only=True, slots=True)
class _Call:
    """Commands sent together, and the replies that have come so far."""

    count: int
    answered: Callable[[list[Reply] | EngineUnreachable], None]
    replies: list[Reply] = field(default_factory=list)


class AdminConnection(asyncio.Protocol):
    """One authenticated connection; made by `open_connection`."""

    def __init__(self, timeout_s: float) -> None:
        #: Deadline of a call that names none.
        self.timeout_s = timeout_s
        #: Whether cluster mode is on, once somebody has asked; it cannot change while it runs.
        self.is_cluster: bool | None = None
        #: How many writes the engine had refused as a replica when somebody last asked.
        self.refused_writes: int | None = None
        self._reader = hiredis.Reader(replyError=EngineRefused)
        self._calls: collections.deque[_Call] = collections.deque()
        self._transport: asyncio.Transport | None = None
        #: What the engine said without being asked, before it hung up.
        self._farewell: EngineRefused | None = None

    async def command(self, *arguments: Argument, timeout_s: float | None = None) -> Reply:
        """Send one command and return its reply; raise `EngineRefused` if that is an error."""
        (reply,) = await self.pipeline([arguments], timeout_s=timeout_s)
        return reply_or_raise(reply)

    async def pipeline(
        self, commands: Sequence[Sequence[Argument]], *, timeout_s: float | None = None
    ) -> list[Reply]:
        """Send commands in one write and return all replies; errors are values among them.

        A call that passes its deadline closes the connection, for its reply may come at any
        time. A call that is cancelled leaves the connection usable.
        """
        deadline_s = self.timeout_s if timeout_s is None else timeout_s
        done: asyncio.Future[list[Reply]] = asyncio.get_running_loop().create_future()
        self.send(commands, functools.partial(_settle, done))
        try:
            async with asyncio.timeout(deadline_s):
                return await done
        except TimeoutError:
            unanswered = EngineSilent(f"no answer within {deadline_s:g} s")
            self._end(unanswered)
            raise unanswered from None

    def send(
        self,
        commands: Sequence[Sequence[Argument]],
        answered: Callable[[list[Reply] | EngineUnreachable], None],
    ) -> None:
        """Send commands in one write, and have `answered` called once, whenever that is.

        It gets all replies, or why there are none.

        Raises:
            EngineUnreachable: nothing can be sent; `answered` is not called.
        """
        if self._transport is None:
            raise self._farewell or EngineUnreachable("the connection is closed")
        if len(self._calls) >= CALLS_MAX:
            raise EngineUnreachable(f"{CALLS_MAX} calls wait for an answer already")
        self._calls.append(_Call(count=len(commands), answered=answered))
        self._transport.write(b"".join(_packed(command) for command in commands))

    def close(self) -> None:
        """Close the connection; calls that wait fail with `EngineUnreachable`."""
        self._end(EngineUnreachable("the connection was closed"))

    @property
    def is_closed(self) -> bool:
        """Whether no further call can be made."""
        return self._transport is None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport (called by the event loop)."""
        # uvloop's transports are asyncio's by behaviour, not by class.
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Hand replies to the calls that wait, oldest first (called by the event loop)."""
        try:
            self._reader.feed(data)
            while (reply := self._reader.gets()) is not False:
                self._take(reply)
        except hiredis.ProtocolError:
            self._end(EngineUnreachable("what answers there does not speak the engine's protocol"))

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail the calls that wait (called by the event loop)."""
        self._end(EngineClosed("the engine closed the connection"))

    def _take(self, reply: Reply) -> None:
        if not self._calls:  # such as "too many clients", which an engine says to a newcomer
            self._farewell = reply if isinstance(reply, EngineRefused) else None
            self._end(EngineUnreachable("the engine spoke without being asked"))
            return
        call = self._calls[0]
        call.replies.append(reply)
        if len(call.replies) == call.count:
            self._calls.popleft()
            call.answered(call.replies)

    def _end(self, reason: EngineUnreachable) -> None:
        """Close, once; the first reason is the one that the waiting calls see."""
        transport, self._transport = self._transport, None
        if transport is not None:
            transport.abort()
        while self._calls:
            self._calls.popleft().answered(reason)


def _settle(done: asyncio.Future[list[Reply]], said: list[Reply] | EngineUnreachable) -> None:
    if done.done():  # nobody waits any more
        return
    if isinstance(said, EngineUnreachable):
        done.set_exception(said)
    else:
        done.set_result(said)


def _packed(command: Sequence[Argument]) -> bytes:
    packed: bytes = hiredis.pack_command(
        tuple(command)  # type: ignore[arg-type] # its stub says a tuple of one
    )
    return packed


def reply_or_raise(reply: Reply) -> Reply:
    """Return `reply` unless it is an error of the engine, which is raised."""
    if isinstance(reply, EngineRefused):
        raise reply
    return reply


async def open_connection(
    address: str,
    port: int,
    *,
    user: str,
    password: str,
    timeout_s: float,
    socket: Path | None = None,
) -> AdminConnection:
    """Connect and authenticate; `timeout_s` is for both together, and the default of later calls.

    Where the Unix socket `socket` is there, it is used instead of the port.

    Raises:
        EngineUnreachable: nobody listens there, or nobody answers in time.
        EngineRefused: the engine lets nobody in (too many clients) or not with this password.
    """
    loop = asyncio.get_running_loop()
    connection = AdminConnection(timeout_s)
    started_s = loop.time()
    try:
        async with asyncio.timeout(timeout_s):
            if socket is None or not await _is_connected_by(socket, connection):
                await loop.create_connection(lambda: connection, address, port)
    except TimeoutError:
        connection.close()
        raise EngineSilent(f"no connection within {timeout_s:g} s") from None
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise EngineUnreachable(f"cannot connect: {reason}") from error
    try:
        left_s = max(0.0, timeout_s - (loop.time() - started_s))
        await connection.command("AUTH", user, password, timeout_s=left_s)
    except EngineSilent:
        raise EngineSilent(f"no answer within {timeout_s:g} s") from None
    except BaseException:
        connection.close()
        raise
    return connection


async def _is_connected_by(socket: Path, connection: AdminConnection) -> bool:
    """Connect through a Unix socket; false where there is none.

    By way of its folder: a path of more than 107 bytes is no address.
    """
    folder = os.open(socket.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        path = f"/proc/self/fd/{folder:d}/{socket.name}"
        await asyncio.get_running_loop().create_unix_connection(lambda: connection, path)
    except FileNotFoundError:
        return False
    finally:
        os.close(folder)
    return True
