"""How is a memcached asked about itself? One connection, its text protocol, every call timed.

It has no administrator: what is asked here anybody may ask. Never retries and never reconnects:
whoever owns the connection knows what a second try means. Answers are bounded, for what listens
there may be anything.
"""

from __future__ import annotations

import asyncio
import os
import ssl

from cachewright.engines.resp import EngineClosed, EngineRefused, EngineUnreachable

#: Longest line of an answer: a `stats` line has less than 100 bytes.
_LINE_BYTES_MAX = 8192
#: Lines of one answer: `stats` and `stats settings` have fewer than 120 each.
_LINES_MAX = 1000
_MORE = b"STAT "
_REFUSALS = (b"ERROR", b"CLIENT_ERROR", b"SERVER_ERROR")
_END = "END"


class MemcachedConnection:
    """One connection; made by `open_connection`. Questions of several tasks wait for each other."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, timeout_s: float
    ) -> None:
        #: Deadline of a question.
        self.timeout_s = timeout_s
        #: Addresses that it listens on, once somebody has asked; they cannot change.
        self.bind: tuple[str, ...] | None = None
        self._reader = reader
        self._writer = writer
        self._asking = asyncio.Lock()

    @property
    def is_closed(self) -> bool:
        """Whether no further call can be made; the engine may have ended it (`idle_timeout`)."""
        return self._writer.is_closing() or self._reader.at_eof()

    def close(self) -> None:
        """Close the connection at once; a question that waits fails with `EngineUnreachable`."""
        self._writer.transport.abort()

    async def stats(self, about: str = "") -> dict[str, str]:
        """Return the engine's answer to `stats`, by name.

        Raises:
            EngineRefused: it answered with an error, in its own words.
            EngineUnreachable: it did not answer; the connection is closed.
        """
        lines = await self._ask(f"stats {about}".rstrip())
        if not lines or lines.pop() != _END:
            self.close()
            raise EngineUnreachable("what answers there is no memcached")
        words = (line.split(" ", 2) for line in lines)
        return {name: value for _, name, value in (each for each in words if len(each) > 2)}  # noqa: PLR2004 STAT name value

    async def say(self, command: str) -> str:
        """Send a command that is answered in one line, and return it; raises as `stats` does."""
        return (await self._ask(command))[0]

    async def _ask(self, question: str) -> list[str]:
        """Send one line and return the lines of its answer."""
        async with self._asking:
            try:
                async with asyncio.timeout(self.timeout_s):
                    self._writer.write(f"{question}\r\n".encode("ascii"))
                    lines = await self._read()
            except EngineRefused:
                raise  # that was the whole answer
            except TimeoutError:
                self.close()
                raise EngineUnreachable(f"no answer within {self.timeout_s:g} s") from None
            except (OSError, asyncio.IncompleteReadError):
                self.close()
                raise EngineClosed("the engine closed the connection") from None
            except asyncio.LimitOverrunError:
                self.close()
                raise EngineUnreachable("what answers there is no memcached") from None
            except BaseException:
                # The answer may still come, and would be taken for that to the next question.
                self.close()
                raise
        return lines

    async def _read(self) -> list[str]:
        lines: list[str] = []
        while len(lines) < _LINES_MAX:
            line = (await self._reader.readuntil(b"\r\n")).removesuffix(b"\r\n")
            if line.startswith(_REFUSALS):
                raise EngineRefused(line.decode(errors="replace"))
            lines.append(line.decode(errors="replace"))
            if not line.startswith(_MORE):
                return lines
        raise asyncio.LimitOverrunError("too many lines", 0)


async def open_connection(
    address: str, port: int, *, tls: ssl.SSLContext | None, timeout_s: float
) -> MemcachedConnection:
    """Connect; `timeout_s` is for that and the deadline of every later call.

    Raises:
        EngineUnreachable: nobody listens there, or nobody answers in time.
    """
    try:
        async with asyncio.timeout(timeout_s):
            reader, writer = await asyncio.open_connection(
                address, port, ssl=tls, limit=_LINE_BYTES_MAX
            )
    except TimeoutError:
        raise EngineUnreachable(f"no connection within {timeout_s:g} s") from None
    except ssl.SSLError as error:  # an OSError whose number is not the system's
        reason = (error.reason or str(error)).replace("_", " ").lower()
        raise EngineUnreachable(f"cannot connect: {reason}") from error
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)
        raise EngineUnreachable(f"cannot connect: {reason}") from error
    return MemcachedConnection(reader, writer, timeout_s)
