"""What of the binary protocol is answered here, and what is for a node?"""

from __future__ import annotations

import struct

import pytest

from cachewright.discovery.actions import Ask, Relay, Reply
from cachewright.discovery.answers import Question, Status, binary_reply
from cachewright.discovery.requests import Requests
from tests.unit.discovery.test_text import CONFIG, actions_of

GET_CONFIG, SET_CONFIG, DELETE_CONFIG = 0x60, 0x64, 0x66


def request(
    opcode: int, *, key: bytes = b"", extras: bytes = b"", value: bytes = b"", magic: int = 0x80
) -> bytes:
    size = len(key) + len(extras) + len(value)
    header = struct.pack(
        ">BBHBBHI4sQ", magic, opcode, len(key), len(extras), 0, 0, size, b"tag!", 0
    )
    return header + extras + key + value


def test_the_list_can_be_asked_for() -> None:
    asked = request(GET_CONFIG, key=b"cluster")
    assert actions_of(asked) == [Ask(Question.BINARY, b"tag!")]
    assert actions_of(*[bytes([byte]) for byte in asked]) == [Ask(Question.BINARY, b"tag!")]


def test_nothing_inside_of_a_request_is_taken_for_another() -> None:
    asked = request(GET_CONFIG, key=b"cluster")
    stored = request(0x01, key=b"a", extras=b"\0" * 8, value=asked + CONFIG)
    assert actions_of(stored + asked) == [Relay(stored), Ask(Question.BINARY, b"tag!")]
    assert actions_of(stored[:30], stored[30:] + asked[:5], asked[5:]) == [
        Relay(stored[:30]),
        Relay(stored[30:]),
        Ask(Question.BINARY, b"tag!"),
    ]


@pytest.mark.parametrize("opcode", [SET_CONFIG, DELETE_CONFIG])
def test_the_list_cannot_be_changed(opcode: int) -> None:
    asked = request(opcode, key=b"cluster", value=b"1\n\n")
    reply = binary_reply(opcode, Status.UNKNOWN_COMMAND, b"tag!", value=b"Unknown command")
    assert actions_of(asked + asked) == [Reply(reply), Reply(reply)]


def test_there_is_no_other_list() -> None:
    reply = binary_reply(GET_CONFIG, Status.NOT_FOUND, b"tag!", value=b"Not found")
    assert actions_of(request(GET_CONFIG, key=b"other")) == [Reply(reply)]


@pytest.mark.parametrize(
    "asked",
    [
        request(GET_CONFIG, key=b"k" * 65_535, value=b"v" * 10),
        request(GET_CONFIG, key=b"cluster")[:8] + b"\0\0\0\2" + b"tag!" + b"\0" * 8,
        request(SET_CONFIG, key=b"cluster")[:8] + b"\xff\xff\xff\xff" + b"tag!" + b"\0" * 8,
    ],
)
def test_lengths_that_make_no_sense_end_the_connection(asked: bytes) -> None:
    (reply,) = actions_of(asked + request(GET_CONFIG, key=b"cluster"))
    assert isinstance(reply, Reply)
    assert reply.closes
    assert reply.data[6:8] == b"\x00\x04"


def test_a_request_without_its_magic_ends_the_connection() -> None:
    noop = request(0x0A)
    assert actions_of(noop + CONFIG) == [Relay(noop), Reply(b"", closes=True)]
    assert actions_of(noop, b"\x81") == [Relay(noop), Reply(b"", closes=True)]


def test_a_huge_request_is_not_held() -> None:
    requests = Requests()
    requests.feed(request(0x01, key=b"a", extras=b"\0" * 8)[:8] + b"\xff" * 4 + b"tag!" + b"\0" * 8)
    assert isinstance(requests.take(), Relay)
    for _ in range(10):
        requests.feed(b"x" * 100_000)
        assert requests.take() == Relay(b"x" * 100_000)
        assert requests.held_bytes == 0
