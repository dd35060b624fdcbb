"""Which numbered writes did one engine take from one plain connection?

For what a stock client would hide: whether a primary that was frozen takes writes after another
has taken over, and how many acknowledged writes a crash costs at full speed. Nothing is repeated
and no redirect is followed: a number counts as taken when the engine itself says so.
"""

from __future__ import annotations

import contextlib
import select
import socket
import time
from collections.abc import Sequence

import hiredis

from bench import engines
from cachewright.model.slots import SlotRanges

_TIMEOUT_S = 5.0
_BYTES = 1 << 16
#: Writes that are under way at once, and the most that one read of answers may stand for.
_PIPELINE = 64


class Numbered:
    """Writes `1`, `2`, ... to a list at one engine; knows which ones the engine took."""

    def __init__(self, address: str, key: str) -> None:
        self.address, self.key = address, key
        self.taken: list[int] = []
        #: Numbers that were sent on the present connection and are not answered yet.
        self._asked: list[int] = []
        self._next = 1
        self._connect()

    def send(self, count: int) -> None:
        """Send this many writes without waiting for answers."""
        numbers = range(self._next, self._next + count)
        self._next += count
        self._socket.sendall(b"".join(packed(("RPUSH", self.key, number)) for number in numbers))
        self._asked += numbers

    def receive(self, timeout_s: float) -> None:
        """Read answers until none is missing, the time is over, or the engine is gone."""
        deadline = time.monotonic() + timeout_s
        while self._asked:
            ready, _, _ = select.select([self._socket], [], [], max(0, deadline - time.monotonic()))
            try:
                received = self._socket.recv(_BYTES) if ready else b""
            except OSError:
                received = b""
            if not received:
                return
            self._reader.feed(received)
            while self._asked and (answer := self._reader.gets()) is not False:
                number = self._asked.pop(0)
                if isinstance(answer, int):
                    self.taken.append(number)

    def write_for(self, duration_s: float, pace_s: float) -> None:
        """Write one after the other, on new connections whenever the engine was away."""
        deadline = time.monotonic() + duration_s
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError):
                if self._asked:
                    self.close()
                    self._connect()
                self.send(1)
                self.receive(pace_s)
            time.sleep(pace_s)

    def flood(self, until_s: float) -> None:
        """Write as fast as one connection can until a moment or the end of the engine."""
        with contextlib.suppress(OSError):
            while time.monotonic() < until_s:
                self.send(_PIPELINE)
                self.receive(_TIMEOUT_S)
                if self._asked:
                    return

    def close(self) -> None:
        """Hang up."""
        self._asked.clear()
        self._socket.close()

    def _connect(self) -> None:
        self._asked.clear()
        self._socket = socket.create_connection((self.address, engines.PORT), _TIMEOUT_S)
        self._reader = hiredis.Reader()


def packed(words: tuple[str | bytes | int, ...]) -> bytes:
    """Return a command as engines read it."""
    return bytes(hiredis.pack_command(words))  # type: ignore[arg-type] # takes more than it says


def missing(taken: Sequence[int], held: object) -> int:
    """Return how many of the numbers that were taken are not in what an engine holds now."""
    found = {int(value) for value in held} if isinstance(held, list) else set()
    return len(set(taken) - found)


def key_in(slots: SlotRanges, prefix: str) -> str:
    """Return a key whose slot is one of these."""
    from valkey.crc import key_slot  # noqa: PLC0415 its package imports much

    for number in range(1_000_000):
        key = f"{prefix}-{number}"
        slot = key_slot(key.encode())
        if any(part.first <= slot <= part.last for part in slots):
            return key
    raise AssertionError("a million keys miss no shard")
