"""How many requests a second does a memcached answer, and how late is the slowest of a hundred?

A load generator in a process of its own, for there is none in the distribution that tells both:

    python -m bench.memcached_load ADDRESS PORT --fill --pipeline 16 --seconds 0.5

It keeps some connections, each with a fixed number of requests under way: as soon as the answers
to all of them are there it sends as many again. Keys and values have fixed lengths, so that
answers are counted and not read: the generator costs as little as Python can. Says its figures as
JSON. May not be imported for anything but its command line (`argv`) and its answer (`Outcome`).
"""

from __future__ import annotations

import argparse
import random
import selectors
import socket
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass

import msgspec

CONNECTIONS = 50
KEYS = 100_000
VALUE_BYTES = 64
#: Requests that differ from each other; sent in turn by all connections.
_BATCHES = 512
#: A batch that takes longer is a failure of what is measured.
_ANSWER_TIMEOUT_S = 10.0
_READ_BYTES = 1 << 18
_FILL_BATCH = 1000


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What came of one kind of request."""

    per_second: float
    #: Time of a round trip (of a whole batch, if pipelined), milliseconds.
    p99_ms: float


@dataclass(frozen=True, kw_only=True, slots=True)
class _Batch:
    request: bytes
    answer_bytes: int


def argv(address: str, port: int, *, pipeline: int, seconds: float, fills: bool) -> tuple[str, ...]:
    """Return the command line of a run; the first one for an address `fills` it."""
    words = ("--pipeline", str(pipeline), "--seconds", str(seconds), *(("--fill",) * fills))
    return (sys.executable, "-m", "bench.memcached_load", address, str(port), *words)


def main() -> None:
    """Measure `set` and `get`, one after the other, on keys that all have a value."""
    parser = argparse.ArgumentParser(prog="python -m bench.memcached_load")
    parser.add_argument("address")
    parser.add_argument("port", type=int)
    parser.add_argument("--pipeline", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=0.5)
    parser.add_argument("--connections", type=int, default=CONNECTIONS)
    parser.add_argument("--keys", type=int, default=KEYS)
    parser.add_argument("--fill", action="store_true", help="give every key a value first")
    typed = parser.parse_args()
    where = (typed.address, typed.port)
    if typed.fill:
        _fill(where, typed.keys)
    found = {
        name: _run(where, list(batches(typed.keys, typed.pipeline)), typed)
        for name, batches in (("set", _sets), ("get", _gets))
    }
    sys.stdout.buffer.write(msgspec.json.encode(found))


def _run(where: tuple[str, int], batches: list[_Batch], typed: argparse.Namespace) -> Outcome:
    """Send batches for a while over all connections."""
    source, latencies = iter(_endlessly(batches)), []
    with selectors.DefaultSelector() as selector:
        connections = [_Connection(where) for _ in range(typed.connections)]
        try:
            for connection in connections:
                selector.register(connection.socket, selectors.EVENT_READ, connection)
            begin_s = time.perf_counter()
            end_s = begin_s + typed.seconds
            for connection in connections:
                connection.send(next(source))
            waiting = len(connections)
            while waiting:
                ready = selector.select(_ANSWER_TIMEOUT_S)
                if not ready:
                    raise SystemExit(f"no answer within {_ANSWER_TIMEOUT_S:g} s")
                for key, _ in ready:
                    connection = key.data
                    if not connection.take():
                        continue
                    now_s = time.perf_counter()
                    latencies.append(now_s - connection.sent_s)
                    if now_s < end_s:
                        connection.send(next(source))
                    else:
                        waiting -= 1
            elapsed_s = time.perf_counter() - begin_s
        finally:
            for connection in connections:
                connection.socket.close()
    latencies.sort()
    return Outcome(
        per_second=len(latencies) * typed.pipeline / elapsed_s,
        p99_ms=latencies[int(len(latencies) * 0.99)] * 1000,
    )


class _Connection:
    """One connection with one batch under way."""

    def __init__(self, where: tuple[str, int]) -> None:
        self.socket = socket.create_connection(where, timeout=_ANSWER_TIMEOUT_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sent_s = 0.0
        self._missing_bytes = 0

    def send(self, batch: _Batch) -> None:
        """Send a batch; its answers are awaited with `take`."""
        self.sent_s = time.perf_counter()
        self._missing_bytes = batch.answer_bytes
        self.socket.sendall(batch.request)

    def take(self) -> bool:
        """Read what is there; tell whether the batch is answered."""
        received = self.socket.recv(_READ_BYTES)
        if not received:
            raise SystemExit("the server closed a connection")
        if b"ERROR" in received:
            raise SystemExit(f"the server said {received[:100]!r}")
        self._missing_bytes -= len(received)
        if self._missing_bytes < 0:
            raise SystemExit(f"more than was asked for: {received[-100:]!r}")
        return self._missing_bytes == 0


def _endlessly(batches: list[_Batch]) -> Iterator[_Batch]:
    while True:
        yield from batches


def _key(number: int) -> bytes:
    return b"key:%012d" % number


def _sets(keys: int, pipeline: int) -> Iterator[_Batch]:
    for _ in range(_BATCHES):
        chosen = (random.randrange(keys) for _ in range(pipeline))  # noqa: S311 not a secret
        yield _Batch(
            request=b"".join(map(_set, chosen)), answer_bytes=len(b"STORED\r\n") * pipeline
        )


def _gets(keys: int, pipeline: int) -> Iterator[_Batch]:
    one = len(b"VALUE %s 0 %d\r\n" % (_key(0), VALUE_BYTES)) + VALUE_BYTES + len(b"\r\nEND\r\n")
    for _ in range(_BATCHES):
        chosen = (random.randrange(keys) for _ in range(pipeline))  # noqa: S311 not a secret
        request = b"".join(b"get %s\r\n" % _key(number) for number in chosen)
        yield _Batch(request=request, answer_bytes=one * pipeline)


def _set(number: int) -> bytes:
    return b"set %s 0 0 %d\r\n%s\r\n" % (_key(number), VALUE_BYTES, b"x" * VALUE_BYTES)


def _fill(where: tuple[str, int], keys: int) -> None:
    """Store every key once, so that every `get` is answered with a value."""
    connection = _Connection(where)
    try:
        for first in range(0, keys, _FILL_BATCH):
            numbers = range(first, min(first + _FILL_BATCH, keys))
            answer_bytes = len(b"STORED\r\n") * len(numbers)
            connection.send(_Batch(request=b"".join(map(_set, numbers)), answer_bytes=answer_bytes))
            while not connection.take():
                pass
    finally:
        connection.socket.close()


if __name__ == "__main__":
    main()
