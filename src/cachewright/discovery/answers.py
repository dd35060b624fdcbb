"""How does the configuration endpoint put its answers? Bytes out of a list of nodes, nothing else.

The list is a text of two lines, `VERSION` and the nodes as `name|address|port`, one space between
them, in the order of their names, both ended by a line feed. The text protocols say how long it is
and add an end of line; the binary protocol has four bytes of flags before it.

Source: ElastiCache user guide, "Adding auto discovery to your client library"; memcached's
`protocol.txt` and `protocol_binary.h`.
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Sequence
from dataclasses import dataclass

#: What clients call the list. Memcached servers of ElastiCache before 1.4.14 had it under a key.
CLUSTER_KEY = b"cluster"
LEGACY_KEY = b"AmazonElastiCache:cluster"
_FLAGS = 0

#: Opcodes that ElastiCache added to the binary protocol.
GET_CONFIG, SET_CONFIG, DELETE_CONFIG = 0x60, 0x64, 0x66
HEADER_BYTES = 24
REQUEST_MAGIC = 0x80
_REPLY_MAGIC = 0x81
_HEADER = struct.Struct(">BBHBBHI4sQ")


class Status(enum.IntEnum):
    """What the binary protocol calls an outcome."""

    OK = 0x00
    NOT_FOUND = 0x01
    INVALID_ARGUMENTS = 0x04
    UNKNOWN_COMMAND = 0x81
    TEMPORARY_FAILURE = 0x86


@dataclass(frozen=True, kw_only=True, slots=True)
class Member:
    """One node as clients are told of it."""

    name: str
    address: str
    port: int


class Question(enum.Enum):
    """How the list can be asked for."""

    #: `config get cluster`
    CONFIG = "config"
    #: `get AmazonElastiCache:cluster`
    LEGACY = "legacy"
    #: `gets AmazonElastiCache:cluster`
    LEGACY_CAS = "legacy-cas"
    #: Opcode 0x60 of the binary protocol.
    BINARY = "binary"


class Answers:
    """The answers for one list of nodes, made once."""

    def __init__(self, config_version: int, members: Sequence[Member]) -> None:
        self.config_version = config_version
        text = payload(config_version, members)
        legacy = b"VALUE %b %d %d" % (LEGACY_KEY, _FLAGS, len(text))
        self._payload = text
        self._texts = {
            Question.CONFIG: b"CONFIG %b %d %d\r\n%b\r\nEND\r\n"
            % (CLUSTER_KEY, _FLAGS, len(text), text),
            Question.LEGACY: b"%b\r\n%b\r\nEND\r\n" % (legacy, text),
            # The version is what changes with the value, as a cas unique has to.
            Question.LEGACY_CAS: b"%b %d\r\n%b\r\nEND\r\n" % (legacy, config_version, text),
        }

    def to(self, question: Question, opaque: bytes = b"") -> bytes:
        """Return the answer; `opaque` is what a binary request wants back."""
        if question is Question.BINARY:
            flags = _FLAGS.to_bytes(4, "big")
            return binary_reply(GET_CONFIG, Status.OK, opaque, extras=flags, value=self._payload)
        return self._texts[question]


ERROR = b"ERROR\r\n"
#: For another configuration than the one there is; like a `get` that finds nothing.
NO_CONFIG = b"END\r\n"
READ_ONLY = b"CLIENT_ERROR the list of nodes cannot be changed by clients\r\n"
LINE_TOO_LONG = b"CLIENT_ERROR line too long\r\n"
#: What memcached says when it has as many clients as it may.
TOO_MANY_CONNECTIONS = b"ERROR Too many open connections\r\n"
NO_NODE = b"SERVER_ERROR no node of this cluster can be reached\r\n"


def payload(config_version: int, members: Sequence[Member]) -> bytes:
    """Return the two lines that every form of the answer holds."""
    nodes = " ".join(
        f"{member.name}|{member.address}|{member.port:d}"
        for member in sorted(members, key=lambda member: member.name)
    )
    return f"{config_version:d}\n{nodes}\n".encode("ascii")


def binary_reply(
    opcode: int, status: Status, opaque: bytes, *, extras: bytes = b"", value: bytes = b""
) -> bytes:
    """Return a reply without a key."""
    header = _HEADER.pack(
        _REPLY_MAGIC, opcode, 0, len(extras), 0, status, len(extras) + len(value), opaque, 0
    )
    return header + extras + value


def no_node(request: bytes) -> bytes:
    """Say, in the protocol of the request that cannot be passed on, that no node is there."""
    if request[:1] != bytes([REQUEST_MAGIC]):
        return NO_NODE
    return binary_reply(
        request[1],
        Status.TEMPORARY_FAILURE,
        request[12:16],
        value=b"no node of this cluster can be reached",
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Marker:
    """A request to a node that changes nothing, and its reply, which cannot be mistaken.

    Both protocols answer in order, so everything before the reply answers earlier requests. The
    key is drawn at random for each marker: no value that a client stored can hold it, and no
    node has it.
    """

    request: bytes
    reply: bytes


def text_marker(nonce: bytes) -> Marker:
    """Return a meta delete of a key that nobody has; it is answered with the key (1.6 on)."""
    return Marker(request=b"md %b k\r\n" % nonce, reply=b"NF k%b\r\n" % nonce)


def binary_marker(nonce: bytes) -> Marker:
    """Return a GETK of a key that nobody has; it is answered with the key."""
    get_key, size, opaque = 0x0C, len(nonce), b"mark"
    request = _HEADER.pack(REQUEST_MAGIC, get_key, size, 0, 0, 0, size, opaque, 0)
    reply = _HEADER.pack(_REPLY_MAGIC, get_key, size, 0, 0, Status.NOT_FOUND, size, opaque, 0)
    return Marker(request=request + nonce, reply=reply + nonce)
