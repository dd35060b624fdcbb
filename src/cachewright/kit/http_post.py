"""What does an HTTP server answer to a POST? One request on a connection of its own, its status.

Everything is bounded by one deadline, whatever the server does: it may never answer, or answer a
byte a minute. Redirects are answers like any other. HTTPS checks the certificate.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import urllib.parse
from collections.abc import Mapping
from typing import Any

import httptools

#: Connecting, sending and the head of the answer together, seconds: SNS waits 15 s for the same.
DEADLINE_S = 15.0
#: The head of an answer: what servers send has under 8 kB.
_HEAD_BYTES_MAX = 64 * 1024
_CHUNK_BYTES = 16 * 1024


class Unanswered(Exception):
    """No server, no answer in time, or none that is HTTP; `str()` says which."""


async def post(
    url: str, body: bytes, headers: Mapping[str, str], *, deadline_s: float = DEADLINE_S
) -> int:
    """Send `body` to an http or https URL and return the status of the answer.

    Raises:
        Unanswered: there was none.
    """
    parts = urllib.parse.urlsplit(url)
    try:
        async with asyncio.timeout(deadline_s):
            return await _exchange(parts, _request(parts, body, headers))
    except TimeoutError:
        raise Unanswered(f"no answer within {deadline_s:g} s") from None
    except (OSError, asyncio.IncompleteReadError, httptools.HttpParserError) as error:
        raise Unanswered(f"{type(error).__name__}: {error}") from error


async def _exchange(parts: urllib.parse.SplitResult, request: bytes) -> int:
    is_secure = parts.scheme == "https"
    reader, writer = await asyncio.open_connection(
        parts.hostname,
        parts.port or (443 if is_secure else 80),
        ssl=ssl.create_default_context() if is_secure else None,
    )
    try:
        writer.write(request)
        await writer.drain()
        return await _status(reader)
    finally:
        writer.close()
        # The other side may be gone or silent: its goodbye is not waited for.
        with contextlib.suppress(OSError):
            writer.transport.abort()


class _Head:
    """Told by the parser how far it got."""

    def __init__(self) -> None:
        self.is_complete = False

    def on_headers_complete(self) -> None:
        self.is_complete = True


async def _status(reader: asyncio.StreamReader) -> int:
    head = _Head()
    parser: Any = httptools.HttpResponseParser(head)
    received = 0
    while not head.is_complete:  # bounded by the size and by the deadline around it
        chunk = await reader.read(_CHUNK_BYTES)
        received += len(chunk)
        if not chunk or received > _HEAD_BYTES_MAX:
            raise asyncio.IncompleteReadError(chunk, None)
        parser.feed_data(chunk)
    status: int = parser.get_status_code()
    return status


def _request(parts: urllib.parse.SplitResult, body: bytes, headers: Mapping[str, str]) -> bytes:
    target = urllib.parse.urlunsplit(("", "", parts.path or "/", parts.query, ""))
    lines = [
        f"POST {target} HTTP/1.1",
        f"Host: {parts.netloc}",
        f"Content-Length: {len(body)}",
        "Connection: close",
        *(f"{name}: {value}" for name, value in headers.items()),
    ]
    return "\r\n".join(lines).encode("ascii") + b"\r\n\r\n" + body
