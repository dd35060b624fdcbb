"""How does the kernel hand packets to a process? The few words of netlink that this takes.

Every packet of IPv4 that arrives in this thread's network namespace waits in a queue (NFQUEUE) for
the verdict of whoever opened that. The rule is one of nftables, with the target of xtables: kernels
have that more often than nftables' own expression `queue`. As no program `nft` is needed, so is no
library: what one would save is `_rule`, and none of them speaks with the queue as well.

Sources: linux/netfilter/{nfnetlink,nf_tables,nf_tables_compat,nfnetlink_queue,xt_NFQUEUE}.h.
"""

from __future__ import annotations

import os
import socket
import struct

#: What of a message is worth reading: it begins with the packet's number.
MESSAGE_BYTES = 64
_NETFILTER = 12
_SO_RCVBUFFORCE, _SOL_NETLINK, _NETLINK_NO_ENOBUFS = 33, 270, 5
#: Of messages that wait to be read, about 1 kB each: more packets than wait at any time.
_BUFFER_BYTES = 1 << 26
_PACKETS_MAX = 1_000_000
_REPLY_BYTES = 1 << 16
_TIMEOUT_S = 10.0
_HEADER = struct.Struct("=IHHII")
_REQUEST, _ACK, _CREATE, _APPEND = 0x1, 0x4, 0x400, 0x800
_ERROR, _BATCH_BEGIN, _BATCH_END = 0x2, 0x10, 0x11
_NESTED = 0x8000
_IPV4 = 2
# The first byte of a type names the part of netfilter.
_TABLES, _QUEUE = 10 << 8, 3 << 8
_NEW_TABLE, _NEW_CHAIN, _NEW_RULE = _TABLES | 0, _TABLES | 3, _TABLES | 6
_PACKET, _CONFIGURE, _VERDICTS_UP_TO = _QUEUE | 0, _QUEUE | 2, _QUEUE | 3
#: Nothing has been decided yet about a packet: as if it were still on the wire.
_PREROUTING = 0
_NUMBER = 0
#: A packet of which nobody is told goes on; so does one that finds nobody at the queue (`BYPASS`).
#: Packets of many segments stay whole.
_FAIL_OPEN, _GSO, _BYPASS = 1, 4, 1
#: With each message some facts, no payload. A queue without these has no packets at all.
_COPY_META = 1
_ACCEPT = 1


def open_queue() -> socket.socket:
    """Return a socket that tells of every packet; they go on as before once it is closed.

    Raises:
        OSError: this kernel cannot do that, or we may not.
    """
    talker = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETFILTER)
    try:
        talker.bind((0, 0))
        talker.settimeout(_TIMEOUT_S)
        talker.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER_BYTES)
        talker.setsockopt(_SOL_NETLINK, _NETLINK_NO_ENOBUFS, 1)
        _ask(talker, "a queue for packets", _bind())
        _ask(talker, "a rule that sends packets to a queue", _rule())
    except BaseException:
        talker.close()
        raise
    return talker


def packet_of(message: bytearray) -> bytes | None:
    """Return the packet that a message tells of; `None` when it is about something else."""
    _, kind, _, _, _ = _HEADER.unpack_from(message)
    # After two headers and the attribute's.
    return bytes(message[24:28]) if kind == _PACKET else None


def accept_up_to(packet: bytes) -> bytes:
    """Return the message by which this packet goes on, and all that came before it."""
    verdict = _attribute(2, struct.pack("!I", _ACCEPT) + packet)
    return _message(_VERDICTS_UP_TO, verdict, flags=_REQUEST)


def _bind() -> tuple[bytes, ...]:
    bind, flags = 1, struct.pack("!I", _FAIL_OPEN | _GSO)
    return (
        _message(_CONFIGURE, _attribute(1, struct.pack("!BxH", bind, 0)), resource=_NUMBER),
        _message(
            _CONFIGURE,
            _attribute(2, struct.pack("!IB", 0, _COPY_META)),
            _attribute(3, struct.pack("!I", _PACKETS_MAX)),
            _attribute(4, flags),
            _attribute(5, flags),
            resource=_NUMBER,
        ),
    )


def _rule() -> tuple[bytes, ...]:
    table, chain = _text("delays"), _text("all")
    hook = _attribute(1, struct.pack("!I", _PREROUTING)) + _attribute(2, struct.pack("!i", 0))
    revision, queues = 3, 1
    target = struct.pack("=HHHxx", _NUMBER, queues, _BYPASS)
    said = _attribute(1, _text("NFQUEUE")) + _attribute(2, struct.pack("!I", revision))
    expression = _attribute(1, _text("target")) + _nested(2, said + _attribute(3, target))
    create = _REQUEST | _ACK | _CREATE
    return (
        _message(_BATCH_BEGIN, flags=_REQUEST, family=0, resource=_TABLES >> 8),
        _message(_NEW_TABLE, _attribute(1, table), flags=create),
        _message(
            _NEW_CHAIN,
            _attribute(1, table),
            _attribute(3, chain),
            _nested(4, hook),
            _attribute(7, _text("filter")),
            flags=create,
        ),
        _message(
            _NEW_RULE,
            _attribute(1, table),
            _attribute(2, chain),
            _nested(4, _nested(1, expression)),
            flags=create | _APPEND,
        ),
        _message(_BATCH_END, flags=_REQUEST, family=0, resource=_TABLES >> 8),
    )


def _ask(talker: socket.socket, what: str, messages: tuple[bytes, ...]) -> None:
    """Send messages at once and wait until the kernel has said yes to all that ask for that."""
    talker.send(b"".join(messages))
    missing = sum(bool(_HEADER.unpack_from(message)[2] & _ACK) for message in messages)
    while missing > 0:
        reply = talker.recv(_REPLY_BYTES)
        while reply:
            length, kind, _, _, _ = _HEADER.unpack_from(reply)
            if kind == _ERROR:
                (code,) = struct.unpack_from("=i", reply, _HEADER.size)
                if code:
                    raise OSError(-code, f"{what}: {os.strerror(-code)}")
                missing -= 1
            reply = reply[_aligned(length) :]


def _message(
    kind: int,
    *attributes: bytes,
    flags: int = _REQUEST | _ACK,
    family: int = _IPV4,
    resource: int = 0,
) -> bytes:
    content = struct.pack("!BBH", family, 0, resource) + b"".join(attributes)
    return _HEADER.pack(_HEADER.size + len(content), kind, flags, 0, 0) + content


def _attribute(kind: int, content: bytes) -> bytes:
    length = 4 + len(content)
    return struct.pack("=HH", length, kind) + content + bytes(_aligned(length) - length)


def _nested(kind: int, content: bytes) -> bytes:
    return _attribute(kind | _NESTED, content)


def _text(content: str) -> bytes:
    return content.encode("ascii") + b"\0"


def _aligned(length: int) -> int:
    return (length + 3) & ~3
