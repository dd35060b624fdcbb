"""What do tests of webhooks talk to? An HTTP server on a loopback port, told what to answer."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
from collections.abc import AsyncIterator
from typing import Any

#: Answers of the server that are no status.
HANG = 0
CLOSE = -1
GARBAGE = -2
ENDLESS = -3


@dataclasses.dataclass(frozen=True)
class Posted:
    path: str
    headers: dict[str, str]
    document: dict[str, Any]

    @property
    def message(self) -> dict[str, str]:
        """The body of the message, in which SNS nests one document in another."""
        return dict(json.loads(self.document["Message"]))


class Webhook:
    """Takes requests; each is answered with the next of `answers`, then with 200."""

    def __init__(self) -> None:
        self.answers: list[int] = []
        self.posted: list[Posted] = []
        self.url = ""
        self._arrived = asyncio.Event()
        self._serving: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    async def wait_for(self, count: int) -> list[Posted]:
        """Wait until so many requests have come, and return them all."""
        async with asyncio.timeout(20):
            while len(self.posted) < count:
                self._arrived.clear()
                await self._arrived.wait()
        return self.posted

    def names(self) -> list[str]:
        return [f"{key} {value}" for each in self.posted for key, value in each.message.items()]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._serving[task] = writer
        try:
            with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
                await self._take(reader)
                await self._answer(self.answers.pop(0) if self.answers else 200, reader, writer)
        finally:
            writer.transport.abort()
            del self._serving[task]

    async def end(self) -> None:
        """End what is still being served."""
        for writer in self._serving.values():
            writer.transport.abort()
        await asyncio.gather(*self._serving)

    async def _answer(
        self, answer: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        if answer == HANG:
            await reader.read()
        elif answer == GARBAGE:
            writer.write(b"220 mail.example.org ESMTP\r\n")
        elif answer == ENDLESS:
            writer.write(b"HTTP/1.1 200 OK\r\n")
            while True:
                writer.write(b"x: y\r\n" * 100)
                await writer.drain()
        elif answer != CLOSE:
            writer.write(f"HTTP/1.1 {answer} Whatever\r\nContent-Length: 0\r\n\r\n".encode())
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    async def _take(self, reader: asyncio.StreamReader) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        request, *lines = head.strip().split("\r\n")
        pairs = (line.partition(":") for line in lines)
        headers = {name.lower(): value.strip() for name, _, value in pairs}
        body = await reader.readexactly(int(headers["content-length"]))
        method, path, _ = request.split(" ")
        assert method == "POST"
        self.posted.append(Posted(path, headers, json.loads(body)))
        self._arrived.set()


@contextlib.asynccontextmanager
async def webhook(path: str = "/hook?token=secret") -> AsyncIterator[Webhook]:
    """Run a webhook for the block."""
    made = Webhook()
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    made.url = f"http://127.0.0.1:{port}{path}"
    try:
        yield made
    finally:
        server.close()
        await made.end()
