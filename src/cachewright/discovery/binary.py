"""Which requests of the binary protocol are answered here, and which bytes are for a node?

Every request begins with a header that says how long it is, so nothing inside of one is ever
taken for another.

Source: memcached's `protocol_binary.h`; the opcodes of ElastiCache's client for Java.
"""

from __future__ import annotations

import struct

from cachewright.discovery import answers
from cachewright.discovery.actions import Ask, Relay, Reply, Scanned
from cachewright.discovery.answers import HEADER_BYTES, REQUEST_MAGIC, Question, Status

_LOCAL_OPCODES = frozenset({answers.GET_CONFIG, answers.SET_CONFIG, answers.DELETE_CONFIG})
#: Bytes after the header of a request that is answered here: `config_size_max` of ElastiCache's
#: memcached, for those who set what they may not set.
_LOCAL_BODY_MAX = 65_536
_KEY_AND_EXTRAS = struct.Struct(">xxHB")
_BODY = struct.Struct(">I")
_BODY_AT = 8
_OPAQUE = slice(12, 16)


class BinaryRequests:
    """What one client sends in the binary protocol."""

    def __init__(self) -> None:
        #: Bytes of a request that are still to come.
        self._block_bytes = 0

    def scan(self, buffer: bytes, start: int) -> Scanned:
        """Settle what one action has, from `start` on."""
        end = self._pass_over_relayed(buffer, start)
        if end > start:
            return end, Relay(buffer[start:end])
        return _answer_here(buffer, start)

    def _pass_over_relayed(self, buffer: bytes, start: int) -> int:
        """Return the end of all that is for a node."""
        position = start
        while position < len(buffer):
            if self._block_bytes:
                step = min(self._block_bytes, len(buffer) - position)
                self._block_bytes -= step
                position += step
            elif (
                len(buffer) - position < HEADER_BYTES
                or buffer[position] != REQUEST_MAGIC
                or buffer[position + 1] in _LOCAL_OPCODES
            ):
                return position
            else:
                (self._block_bytes,) = _BODY.unpack_from(buffer, position + _BODY_AT)
                position += HEADER_BYTES
        return position


def _answer_here(buffer: bytes, start: int) -> Scanned:
    if buffer[start] != REQUEST_MAGIC:
        return len(buffer), Reply(b"", closes=True)  # without a word, as memcached does it
    if len(buffer) - start < HEADER_BYTES:
        return start, None
    header = buffer[start : start + HEADER_BYTES]
    opcode, opaque = header[1], header[_OPAQUE]
    (body_bytes,) = _BODY.unpack_from(header, _BODY_AT)
    key_bytes, extras_bytes = _KEY_AND_EXTRAS.unpack_from(header)
    if body_bytes > _LOCAL_BODY_MAX or key_bytes + extras_bytes > body_bytes:
        reply = answers.binary_reply(
            opcode, Status.INVALID_ARGUMENTS, opaque, value=b"Invalid arguments"
        )
        return len(buffer), Reply(reply, closes=True)
    end = start + HEADER_BYTES + body_bytes
    if end > len(buffer):
        return start, None
    if opcode != answers.GET_CONFIG:
        status, text = Status.UNKNOWN_COMMAND, b"Unknown command"
        return end, Reply(answers.binary_reply(opcode, status, opaque, value=text))
    key_at = start + HEADER_BYTES + extras_bytes
    if buffer[key_at : key_at + key_bytes] == answers.CLUSTER_KEY:
        return end, Ask(Question.BINARY, opaque)
    status, text = Status.NOT_FOUND, b"Not found"
    return end, Reply(answers.binary_reply(opcode, status, opaque, value=text))
