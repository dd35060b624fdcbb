"""Are the answers of the configuration endpoint exact to the byte?"""

from __future__ import annotations

import struct

import pytest

from cachewright.discovery.answers import (
    Answers,
    Member,
    Question,
    Status,
    binary_marker,
    binary_reply,
    no_node,
    payload,
    text_marker,
)

#: The worked example of ElastiCache's user guide.
_DOCUMENTED = (
    Member(
        name="myCluster.pc4ldq.0001.use1.cache.amazonaws.com", address="10.82.235.120", port=11211
    ),
    Member(
        name="myCluster.pc4ldq.0002.use1.cache.amazonaws.com", address="10.80.249.27", port=11211
    ),
)
_DOCUMENTED_TEXT = (
    b"12\n"
    b"myCluster.pc4ldq.0001.use1.cache.amazonaws.com|10.82.235.120|11211 "
    b"myCluster.pc4ldq.0002.use1.cache.amazonaws.com|10.80.249.27|11211\n"
)


def test_the_documented_example() -> None:
    """The text has 136 bytes without the end of line that the protocol adds after it."""
    assert len(_DOCUMENTED_TEXT) == 136
    answer = Answers(12, _DOCUMENTED).to(Question.CONFIG)
    assert answer == b"CONFIG cluster 0 136\r\n" + _DOCUMENTED_TEXT + b"\r\nEND\r\n"


def test_the_list_is_in_the_order_of_names() -> None:
    assert payload(12, _DOCUMENTED[::-1]) == _DOCUMENTED_TEXT


def test_the_older_form_is_a_value() -> None:
    answers = Answers(12, _DOCUMENTED)
    key = b"VALUE AmazonElastiCache:cluster 0 136"
    rest = b"\r\n" + _DOCUMENTED_TEXT + b"\r\nEND\r\n"
    assert answers.to(Question.LEGACY) == key + rest
    assert answers.to(Question.LEGACY_CAS) == key + b" 12" + rest


def test_the_binary_form_has_four_bytes_of_flags() -> None:
    answer = Answers(12, _DOCUMENTED).to(Question.BINARY, b"\1\2\3\4")
    magic, opcode, keys, extras, _, status, body, opaque, cas = struct.unpack(
        ">BBHBBHI4sQ", answer[:24]
    )
    assert (magic, opcode, keys, extras, status, cas) == (0x81, 0x60, 0, 4, 0, 0)
    assert opaque == b"\1\2\3\4"
    assert body == 4 + 136 == len(answer) - 24
    assert answer[24:] == b"\0\0\0\0" + _DOCUMENTED_TEXT


def test_no_node_yet_is_an_empty_line() -> None:
    assert Answers(1, ()).to(Question.CONFIG) == b"CONFIG cluster 0 3\r\n1\n\n\r\nEND\r\n"


def test_a_name_that_is_no_ascii_is_an_error_and_not_a_wrong_length() -> None:
    with pytest.raises(UnicodeEncodeError):
        payload(1, [Member(name="n\u00f6de", address="127.0.0.1", port=1)])


def test_a_missing_node_is_told_in_the_protocol_of_the_request() -> None:
    assert no_node(b"get a\r\n") == b"SERVER_ERROR no node of this cluster can be reached\r\n"
    request = struct.pack(">BBHBBHI4sQ", 0x80, 0x0B, 0, 0, 0, 0, 0, b"abcd", 0)
    reply = no_node(request)
    assert reply[:2] == b"\x81\x0b"
    assert reply[6:8] == b"\x00\x86"
    assert reply[12:16] == b"abcd"
    assert reply[24:] == b"no node of this cluster can be reached"


def test_a_reply_without_value() -> None:
    assert binary_reply(0x60, Status.OK, b"abcd") == (
        b"\x81\x60\0\0\0\0\0\0\0\0\0\0abcd\0\0\0\0\0\0\0\0"
    )


def test_markers_carry_their_key_both_ways() -> None:
    for marker in (text_marker(b"one-key"), binary_marker(b"one-key")):
        assert b"one-key" in marker.request
        assert b"one-key" in marker.reply
