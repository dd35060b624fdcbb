"""What of the text protocol is answered here, what is for a node, and what is data?"""

from __future__ import annotations

import pytest

from cachewright.discovery.actions import Action, Ask, Quit, Relay, Reply
from cachewright.discovery.answers import ERROR, LINE_TOO_LONG, NO_CONFIG, READ_ONLY, Question
from cachewright.discovery.requests import Requests
from cachewright.discovery.text import LINE_MAX

CONFIG = b"config get cluster\r\n"


def actions_of(*chunks: bytes) -> list[Action]:
    requests, actions = Requests(), list[Action]()
    for chunk in chunks:
        requests.feed(chunk)
        while (action := requests.take()) is not None:
            actions.append(action)
    return actions


@pytest.mark.parametrize("end", [b"\r\n", b"\n"])
@pytest.mark.parametrize(
    ("words", "question"),
    [
        (b"config get cluster", Question.CONFIG),
        (b"config  get  cluster ", Question.CONFIG),
        (b"get AmazonElastiCache:cluster", Question.LEGACY),
        (b"gets AmazonElastiCache:cluster", Question.LEGACY_CAS),
    ],
)
def test_the_list_can_be_asked_for(words: bytes, question: Question, end: bytes) -> None:
    assert actions_of(words + end) == [Ask(question)]


def test_a_question_may_come_byte_by_byte() -> None:
    requests = Requests()
    for byte in CONFIG[:-1]:
        requests.feed(bytes([byte]))
        assert requests.take() is None
    requests.feed(CONFIG[-1:])
    assert requests.take() == Ask(Question.CONFIG)
    assert requests.held_bytes == 0


def test_questions_and_commands_keep_their_order() -> None:
    assert actions_of(b"version\r\nget a\r\n" + CONFIG + b"mn\r\n" + CONFIG + CONFIG) == [
        Relay(b"version\r\nget a\r\n"),
        Ask(Question.CONFIG),
        Relay(b"mn\r\n"),
        Ask(Question.CONFIG),
        Ask(Question.CONFIG),
    ]


@pytest.mark.parametrize(
    "line",
    [
        b"set a 0 0 20\r\n",
        b"set a 0 0 20\n",
        b"set  a  0  0  20  \r\n",
        b"add a 4294967295 -1 20 noreply\r\n",
        b"replace " + b"k" * 250 + b" 0 0 20\r\n",
        b"append a 0 0 020\r\n",
        b"prepend a 0 2147483647 20\r\n",
        b"cas a 0 0 20 18446744073709551\r\n",
        b"cas a 0 0 20 1 noreply\r\n",
        b"ms a 20\r\n",
        b"ms a 20 T30 F7 I MS c k Oabc q\r\n",
    ],
)
def test_a_data_block_is_never_interpreted(line: bytes) -> None:
    assert len(CONFIG) == 20
    block = CONFIG + b"\r\n"
    assert actions_of(line + block + CONFIG) == [Relay(line + block), Ask(Question.CONFIG)]
    assert actions_of(line, block[:7], block[7:], CONFIG) == [
        Relay(line),
        Relay(block[:7]),
        Relay(block[7:]),
        Ask(Question.CONFIG),
    ]


@pytest.mark.parametrize(
    "line",
    [
        b"set a 0 0 x\r\n",  # all versions: an error, no block
        b"set a 0 0\r\n",
        b"set a x 0 20\r\n",  # 1.6.45 throws the block away, 1.6.38 reads it as commands
        b"set " + b"k" * 251 + b" 0 0 20\r\n",
        b"set a 0 0 20 noreply x\r\n",  # 1.6.45 stores it
        b"set a 0 0 20 maybe\r\n",
        b" set a 0 0 20\r\n",  # 1.6.38 stores it
        b"set a 0 0 20\r\r\n",
        b"set a 0 0 +20\r\n",
        b"set a 0 0 -20\r\n",
        b"set a 0 0 4294967316\r\n",  # 20 in 32 bits
        b"set a 0 0 2147483646\r\n",
        b"set a 4294967296 0 20\r\n",
        b"set a 0 2147483648 20\r\n",
        b"set a\0b 0 0 20\r\n",
        b"set a 0 0 20\0\r\n",
        b"set\0 a 0 0 20\r\n",
        b"cas a 0 0 20\r\n",
        b"cas a 0 0 20 x\r\n",
        b"ms a\r\n",
        b"ms a S20\r\n",
        b"ms a 20 " + b"k " * 13 + b"\r\n",
        b"ms " + b"k" * 251 + b" 20\r\n",
        b"watch mutations\r\n",
        b" watch\r\n",
        b" quit\r\n",
    ],
)
def test_where_versions_disagree_the_rest_is_a_nodes_business(line: bytes) -> None:
    assert actions_of(line + CONFIG, CONFIG) == [Relay(line + CONFIG), Relay(CONFIG)]


@pytest.mark.parametrize(
    "line",
    [
        b"\r\n",
        b"\n",
        b"version\r\n",
        b"stats\r\n",
        b"stats slabs\r\n",
        b"CONFIG GET CLUSTER\r\n",
        b" config get cluster\r\n",
        b"config\0 get cluster\r\n",
        b"get AmazonElastiCache:cluster other\r\n",
        b"get AmazonElastiCache:clusters\r\n",
        b"mg AmazonElastiCache:cluster v\r\n",
        b"settle down\r\n",
        b"mg a v\r\n",
        b"md a q\r\n",
        b"ma a\r\n",
        b"me a\r\n",
        b"mn\r\n",
        b"incr a 20\r\n",
        b"flush_all noreply\r\n",
        b"GET / HTTP/1.1\r\n",
        b"\xff\xfe\r\n",
    ],
)
def test_every_other_line_is_for_a_node_and_has_no_block(line: bytes) -> None:
    assert actions_of(line + CONFIG) == [Relay(line), Ask(Question.CONFIG)]


@pytest.mark.parametrize(
    ("line", "reply"),
    [
        (b"config get other\r\n", NO_CONFIG),
        (b"config get\r\n", ERROR),
        (b"config get cluster twice\r\n", ERROR),
        (b"config\r\n", ERROR),
        (b"config get cluster\r\r\n", NO_CONFIG),
        (b"config set cluster\r\n", ERROR),
        (b"config delete cluster\r\n", READ_ONLY),
        (b"config delete\r\n", ERROR),
        (b"config incr cluster\r\n", ERROR),
    ],
)
def test_other_words_about_the_configuration_change_nothing(line: bytes, reply: bytes) -> None:
    assert actions_of(line + CONFIG) == [Reply(reply), Ask(Question.CONFIG)]


def test_what_somebody_would_set_is_thrown_away() -> None:
    block = b"9\nflush_all\r\n\r\n"
    line = b"config set cluster 0 %d\r\n" % (len(block) - 2)
    expected = [Reply(READ_ONLY), Ask(Question.CONFIG)]
    assert actions_of(line + block + CONFIG) == expected
    assert actions_of(line, block[:3], block[3:] + CONFIG[:2], CONFIG[2:]) == expected


def test_quit_ends_the_connection() -> None:
    assert actions_of(b"get a\r\nquit\r\n" + CONFIG, CONFIG) == [
        Relay(b"get a\r\n"),
        Quit(b"quit\r\n"),
    ]


def test_a_line_has_a_bound_however_it_comes() -> None:
    refusal = [Reply(LINE_TOO_LONG, closes=True)]
    longest = b"x" * (LINE_MAX - 1) + b"\n"
    assert actions_of(longest) == [Relay(longest)]
    assert actions_of(b"x" + longest + CONFIG) == refusal
    assert actions_of(*[b"x" * 1000] * 1000, CONFIG) == refusal
    assert actions_of(b"get a\r\n" + b"x" * 1_000_000) == [Relay(b"get a\r\n"), *refusal]


def test_little_is_held_of_a_line_without_an_end() -> None:
    requests = Requests()
    for _ in range(1000):
        requests.feed(b"x" * 1000)
        requests.take()
        assert requests.held_bytes <= LINE_MAX + 1000


@pytest.mark.parametrize("word", [b"get", b"gets"])
def test_a_get_of_many_keys_may_be_longer(word: bytes) -> None:
    line = word + b" key" * 20_000 + b"\r\n"
    assert actions_of(line + CONFIG) == [Relay(line), Ask(Question.CONFIG)]
    parts = [line[at : at + 1000] for at in range(0, len(line), 1000)]
    *relayed, last = actions_of(*parts, CONFIG)
    assert b"".join(part.data for part in relayed if isinstance(part, Relay)) == line
    assert last == Ask(Question.CONFIG)
