"""How many requests a second does an HTTP server answer?

One load generator for every server: some connections, each sending its next request as soon as the
answer to the last one is there. Requests are signed beforehand, all different, and none is older
than the clock skew that servers accept.
"""

from __future__ import annotations

import asyncio
import itertools
import time
import urllib.parse
import uuid
from collections.abc import Iterator
from dataclasses import dataclass

import uvloop
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from bench.processes import BenchFailed
from bench.world import REGION

#: Requests that are sent in turn. Each has a signature of its own, so that nobody can remember the
#: outcome of one; more than a server that remembers answers (ours: 256) would keep.
_REQUESTS = 512
_ANSWER_TIMEOUT_S = 60.0
#: Larger than any answer's head.
_HEAD_LIMIT_BYTES = 1 << 20


@dataclass(frozen=True, kw_only=True, slots=True)
class Load:
    """What came of it."""

    per_second: float
    #: Bytes of one answer's body.
    body_bytes: int
    #: Share of one core that the generator itself used: below 1 it was not the limit.
    generator_core: float


def signed_requests(
    url: str, key_id: str, secret: str, *, all_differ: bool, **parameters: str
) -> list[bytes]:
    """Return requests as bytes, each signed with a signature of its own.

    With `all_differ` they also differ in a parameter of the content type that means nothing, so
    that a server that gives the answer to the same question again must make each answer anew.
    """
    body = urllib.parse.urlencode({"Version": "2015-02-02", **parameters}).encode()
    signer = SigV4Auth(Credentials(key_id, secret), "elasticache", REGION)
    host = urllib.parse.urlsplit(url).netloc
    requests = []
    for number in range(_REQUESTS):
        kind = "application/x-www-form-urlencoded; charset=utf-8"
        headers = {
            "Host": host,
            "Content-Type": f"{kind}; number={number}" if all_differ else kind,
            "Amz-Sdk-Invocation-Id": str(uuid.uuid4()),
        }
        request = AWSRequest(method="POST", url=url + "/", data=body, headers=headers)
        signer.add_auth(request)
        lines = [f"{name}: {value}\r\n" for name, value in request.headers.items()]
        head = f"POST / HTTP/1.1\r\n{''.join(lines)}Content-Length: {len(body)}\r\n\r\n"
        requests.append(head.encode("ascii") + body)
    return requests


def run(url: str, requests: list[bytes], *, connections: int, duration_s: float) -> Load:
    """Send requests for a while and count the answers."""
    return uvloop.run(_run(url, requests, connections, duration_s))


def status_of(url: str, request: bytes) -> int:
    """Return the HTTP status of the answer to one request."""

    async def ask() -> int:
        connection = _Connection(url)
        try:
            status, _ = await connection.ask(request)
        finally:
            connection.close()
        return status

    return uvloop.run(ask())


async def _run(url: str, requests: list[bytes], connections: int, duration_s: float) -> Load:
    begin_s, begin_cpu_s = time.monotonic(), time.process_time()
    deadline = begin_s + duration_s
    source = itertools.cycle(requests)
    outcomes = await asyncio.gather(*(_client(url, source, deadline) for _ in range(connections)))
    elapsed_s = time.monotonic() - begin_s
    used_s = time.process_time() - begin_cpu_s
    return Load(
        per_second=sum(count for count, _ in outcomes) / elapsed_s,
        body_bytes=max(size for _, size in outcomes),
        generator_core=used_s / elapsed_s,
    )


async def _client(url: str, source: Iterator[bytes], deadline: float) -> tuple[int, int]:
    connection, count, size = _Connection(url), 0, 0
    try:
        while time.monotonic() < deadline:
            async with asyncio.timeout(_ANSWER_TIMEOUT_S):
                status, size = await connection.ask(next(source))
            if status != 200:
                raise BenchFailed(f"{url} answered {status}")
            count += 1
    finally:
        connection.close()
    return count, size


class _Connection:
    """One connection; opened again when the server closes it after an answer."""

    def __init__(self, url: str) -> None:
        host, _, port = urllib.parse.urlsplit(url).netloc.partition(":")
        self._host, self._port = host, int(port)
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, request: bytes) -> tuple[int, int]:
        """Send a request; return the status and the size of the body."""
        if self._streams is None:
            self._streams = await asyncio.open_connection(
                self._host, self._port, limit=_HEAD_LIMIT_BYTES
            )
        reader, writer = self._streams
        writer.write(request)
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        size = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])
        await reader.readexactly(size)
        if b"connection: close" in head or head.startswith(b"http/1.0"):
            self.close()
        return int(head.split(b" ", 2)[1]), size

    def close(self) -> None:
        """Close it; the next `ask` opens it again."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None
