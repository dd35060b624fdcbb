"""Laws of cutting requests: splits change nothing, no byte is lost, data are never commands."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from cachewright.discovery.actions import Action, Ask, Quit, Relay, Reply
from cachewright.discovery.answers import Question
from cachewright.discovery.relay import MarkerSearch
from cachewright.discovery.requests import Requests
from tests.unit.discovery.test_binary import request

_CONFIG = b"config get cluster\r\n"
#: Bytes that look like commands, and bytes that do not.
_DATA = st.one_of(
    st.binary(max_size=60),
    st.lists(
        st.sampled_from([_CONFIG, b"set a 0 0 5\r\n", b"\r\n", b"quit\r\n", b"watch\r\n", b"x"]),
        max_size=6,
    ).map(b"".join),
)
_KEY = st.from_regex(rb"[!-~]{1,12}", fullmatch=True)
_END = st.sampled_from([b"\r\n", b"\n"])


@st.composite
def _stored(draw: st.DrawFn) -> bytes:
    data, end = draw(_DATA), draw(_END)
    verb = draw(st.sampled_from([b"set", b"add", b"replace", b"append", b"prepend", b"cas", b"ms"]))
    noreply = draw(st.sampled_from([b"", b" noreply"]))
    if verb == b"ms":
        line = b"ms %b %d%b" % (draw(_KEY), len(data), draw(st.sampled_from([b"", b" T30 c q"])))
    elif verb == b"cas":
        line = b"cas %b 0 0 %d 7%b" % (draw(_KEY), len(data), noreply)
    else:
        line = b"%b %b 1 -1 %d%b" % (verb, draw(_KEY), len(data), noreply)
    return line + end + data + b"\r\n"


_LINE = st.sampled_from([b"version", b"get a b", b"", b"mn", b"mg a v", b"stats", b"delete a"])
_RELAYED = st.one_of(_stored(), st.builds(lambda line, end: line + end, _LINE, _END))
_QUESTIONS = {
    _CONFIG: Ask(Question.CONFIG),
    b"config get cluster\n": Ask(Question.CONFIG),
    b"get AmazonElastiCache:cluster\r\n": Ask(Question.LEGACY),
    b"gets AmazonElastiCache:cluster\n": Ask(Question.LEGACY_CAS),
}
_ASKED = st.sampled_from(sorted(_QUESTIONS))


def actions_of(chunks: list[bytes]) -> list[Action]:
    """Return the actions, with neighbouring relays put together."""
    requests, actions = Requests(), list[Action]()
    for chunk in chunks:
        requests.feed(chunk)
        while (action := requests.take()) is not None:
            if isinstance(action, Relay) and actions and isinstance(actions[-1], Relay):
                action = Relay(actions.pop().data + action.data)  # type: ignore[union-attr] # above
            actions.append(action)
    return actions


def _cut(data: bytes, places: list[int]) -> list[bytes]:
    at = sorted({place % (len(data) + 1) for place in places} | {0, len(data)})
    return [data[start:end] for start, end in itertools.pairwise(at)]


_PLACES = st.lists(st.integers(0, 10_000), max_size=8)


@given(st.lists(st.one_of(_RELAYED, _ASKED), max_size=8), _PLACES)
def test_well_formed_commands_come_out_as_they_went_in(
    said: list[bytes], places: list[int]
) -> None:
    """Every question is seen, nothing else is, whatever data look like."""
    actions = actions_of(_cut(b"".join(said), places))
    assert all(isinstance(action, Ask | Relay) for action in actions)
    asked = [action for action in actions if isinstance(action, Ask)]
    assert asked == [_QUESTIONS[command] for command in said if command in _QUESTIONS]
    relayed = b"".join(command for command in said if command not in _QUESTIONS)
    assert b"".join(one.data for one in actions if isinstance(one, Relay)) == relayed


_ANYTHING = st.lists(
    st.one_of(
        _RELAYED,
        _ASKED,
        st.binary(max_size=30),
        st.sampled_from(
            [
                b"quit\r\n",
                b"watch\r\n",
                b"set a 0 0\r\n",
                b"config set cluster 0 4\r\n",
                b"config set x\r\n",
                b"ms a",
                b" set a 0 0 3\r\n",
                b"x" * 20_000,
                b"get " + b"k" * 20_000,
                request(0x60, key=b"cluster"),
                request(0x01, key=b"a", value=_CONFIG),
                request(0x64, key=b"cluster"),
                request(0x60, key=b"k" * 2000),
            ]
        ),
    ),
    max_size=8,
).map(b"".join)


@given(_ANYTHING, _PLACES)
def test_how_it_is_split_changes_nothing(stream: bytes, places: list[int]) -> None:
    assert actions_of(_cut(stream, places)) == actions_of([stream])


@given(_ANYTHING)
def test_no_byte_for_a_node_is_changed(stream: bytes) -> None:
    """What is relayed stands in the stream in this order."""
    at = 0
    for action in actions_of([stream]):
        if isinstance(action, Relay | Quit):
            at = stream.find(action.data, at)
            assert at >= 0
            at += len(action.data)
        else:
            assert isinstance(action, Ask | Reply)


@given(st.binary(max_size=200), st.binary(min_size=2, max_size=20), _PLACES)
def test_a_marker_is_found_in_whatever_pieces(
    around: bytes, marker: bytes, places: list[int]
) -> None:
    before = around.replace(marker, b"")
    if marker in (before + marker)[:-1]:
        return  # it is found earlier, in what only a guess of it could have made
    chunks = _cut(before + marker, places)
    search, passed, seen = MarkerSearch(marker), b"", list[bool]()
    for chunk in chunks:
        found, data, after = search.feed(chunk)
        assert after == b""
        passed += data
        seen.append(found)
    assert passed == before
    assert seen == [False] * (len(chunks) - 1) + [True]


@given(st.binary(max_size=60), st.binary(min_size=2, max_size=6), _PLACES)
def test_without_a_marker_every_byte_passes(said: bytes, marker: bytes, places: list[int]) -> None:
    said = said.replace(marker, b"")
    if marker in said:
        return
    search, passed = MarkerSearch(marker), b""
    for chunk in _cut(said, places):
        found, data, _ = search.feed(chunk)
        assert not found
        passed += data
    assert passed + search.rest() == said
