"""What does a client want: the list of nodes, or something that a node has to answer?

Cuts what a client sends into actions, in order: `Relay` (bytes for a node, as they came), `Ask`
(for the list), `Reply` (an answer that is certain), `Quit`. The same bytes give the same actions
however they arrive, but for where a `Relay` is cut. No I/O.

What belongs to which protocol is in `text` and `binary`; the first byte of a connection settles
which one it speaks.
"""

from __future__ import annotations

from cachewright.discovery import answers
from cachewright.discovery.actions import Action, Quit, Reply
from cachewright.discovery.binary import BinaryRequests
from cachewright.discovery.text import TextRequests


class Requests:
    """What one client sends: `feed` bytes, then `take` actions until there is none."""

    def __init__(self) -> None:
        self._buffer = b""
        self._start = 0
        self._parser: TextRequests | BinaryRequests | None = None
        self._is_over = False

    @property
    def is_binary(self) -> bool:
        """Whether the client speaks the binary protocol."""
        return isinstance(self._parser, BinaryRequests)

    @property
    def held_bytes(self) -> int:
        """How much was fed and is not part of an action yet."""
        return len(self._buffer) - self._start

    def feed(self, data: bytes) -> None:
        """Take what the client sent; after the end of the connection it is thrown away."""
        if not self._is_over:
            self._buffer = self._buffer[self._start :] + data
            self._start = 0

    def take(self) -> Action | None:
        """Return the next action; `None` until more is fed."""
        while self._start < len(self._buffer):
            if self._parser is None:
                is_binary = self._buffer[self._start] == answers.REQUEST_MAGIC
                self._parser = BinaryRequests() if is_binary else TextRequests()
            end, action = self._parser.scan(self._buffer, self._start)
            if isinstance(action, Quit) or (isinstance(action, Reply) and action.closes):
                self._is_over, self._buffer, self._start = True, b"", 0
                return action
            if end == self._start:
                return None
            self._start = end
            if action is not None:
                return action
        return None
