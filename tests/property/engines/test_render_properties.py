"""No text in a launch can add a line or a setting to what an engine starts from.

The reader below does what the engines do with a configuration (`loadServerConfigFromString` and
`sdssplitargs`): lines end at line feeds, words are cut as a shell does, escapes resolved.
"""

from __future__ import annotations

import dataclasses
import re
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from cachewright.engines.nodes_conf import parse_own_slots, render_nodes_conf
from cachewright.engines.render import render_files
from cachewright.engines.text import UnusableLaunch
from cachewright.model.commands import Launch, Peer
from cachewright.model.engines import EngineName
from cachewright.model.parameters import ENGINE_SETTINGS, FOREIGN_SETTINGS
from cachewright.model.parameters.blocking import BLOCKABLE
from cachewright.model.slots import SlotRange, merge, split_evenly
from cachewright.model.status import Role

_ESCAPED = re.compile(rb"\\x([0-9a-fA-F]{2})|\\(.)")
_WORD = re.compile(rb'"((?:[^"\\]|\\.)*)"|([^\s"\']+)')

hostile = st.text(
    st.sampled_from("\r\n\0\t \"'\\#x0aé💾\u0085\u2028\x7f\x1b*") | st.characters(), max_size=30
)
PEERS = tuple(
    Peer(
        engine_id=letter * 40,
        address=f"127.0.1.{index}",
        port=6379,
        role=Role.PRIMARY,
        primary_engine_id=None,
        slots=slots,
        epoch=index + 1,
    )
    for index, (letter, slots) in enumerate(zip("abc", split_evenly(3), strict=True))
)
LAUNCH = Launch(
    key="g.n",
    engine=EngineName.VALKEY,
    engine_version="9.1",
    address="127.0.1.0",
    port=6379,
    maxmemory_bytes=1048576,
    maxclients=100,
    settings=(("notify-keyspace-events", "Ex"),),
    admin_password="admin",
    replication_password="replication",
    peers=PEERS,
    engine_id="a" * 40,
)


def read_config(content: bytes) -> list[list[bytes]]:
    """Return the words of each line that is a setting."""
    lines = [line.strip(b" \t\r\n") for line in content.split(b"\n")]
    return [read_words(line) for line in lines if line and not line.startswith(b"#")]


def read_words(line: bytes) -> list[bytes]:
    words, position = [], 0
    while position < len(line):
        match = _WORD.match(line, position)
        assert match is not None, "the engine would refuse this line"
        quoted, plain = match.groups()
        words.append(plain if quoted is None else _ESCAPED.sub(_unescape, quoted))
        position = match.end()
        assert line[position : position + 1] in (b"", b" "), "quotes must end a word"
        position += 1
    return words


def _unescape(match: re.Match[bytes]) -> bytes:
    if match[1] is not None:
        return bytes([int(match[1], 16)])
    return {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"b": b"\b", b"a": b"\a"}.get(match[2], match[2])


def names_of(launch: Launch) -> dict[str, object]:
    """Return what must not depend on texts: names of settings, users and lines by file."""
    files = render_files(launch)
    return {
        "engine.conf": [words[0] for words in read_config(files["engine.conf"])],
        "users.acl": [line.split(b" ")[:3] for line in files["users.acl"].split(b"\n")],
        "nodes.conf": files["nodes.conf"].count(b"\n"),
    }


USUAL = names_of(LAUNCH)


@given(st.sampled_from(sorted(ENGINE_SETTINGS - FOREIGN_SETTINGS - {"io-threads"})), hostile)
def test_a_value_stays_one_value(name: str, value: str) -> None:
    launch = replace(LAUNCH, settings=((name, value),))
    try:
        content = render_files(launch)["engine.conf"]
    except UnusableLaunch:
        assert any(ord(letter) < 32 or ord(letter) == 127 for letter in value) or any(
            0xD800 <= ord(letter) < 0xE000 for letter in value
        ), "a harmless value was refused"
        return
    lines = read_config(content)
    assert [name.encode(), value.encode()] in lines
    assert len(lines) == len(USUAL["engine.conf"])  # type: ignore[arg-type] # a list


@given(hostile | hostile.map("flushall blocked{}".format) | hostile.map("{} blocked".format))
def test_commands_to_block_are_known_ones_or_refused(value: str) -> None:
    launch = replace(LAUNCH, settings=(("rename-commands", value),))
    try:
        content = render_files(launch)
    except UnusableLaunch:
        return
    assert value == "" or set(value.split(" ")[::2]) <= BLOCKABLE
    assert names_of(launch)["users.acl"] == USUAL["users.acl"]
    assert b"rename" not in content["engine.conf"]


@given(hostile)
def test_a_password_stays_one_value(password: str) -> None:
    launch = replace(LAUNCH, admin_password=password, replication_password=password)
    try:
        content = render_files(launch)
    except UnusableLaunch:
        return
    assert [b"primaryauth", password.encode()] in read_config(content["engine.conf"])
    assert names_of(launch) == USUAL


@given(
    st.sampled_from(["address", "engine_id", "peer_id", "peer_address", "peer_primary", "setting"]),
    hostile | st.from_regex(r"127\.0\.0\.[0-9]{1,3}[\r\n \t#]?.*"),
)
def test_texts_with_one_form_have_it_or_are_refused(where: str, text: str) -> None:
    first, *others = PEERS
    launch = {
        "address": replace(LAUNCH, address=text),
        "engine_id": replace(LAUNCH, engine_id=text),
        "peer_id": replace(LAUNCH, peers=(first, replace(others[0], engine_id=text))),
        "peer_address": replace(LAUNCH, peers=(first, replace(others[0], address=text))),
        "peer_primary": replace(
            LAUNCH,
            peers=(
                first,
                replace(others[0], role=Role.REPLICA, slots=(), primary_engine_id=text),
            ),
        ),
        "setting": replace(LAUNCH, settings=((text, "1"),)),
    }[where]
    try:
        seen = names_of(launch)
    except UnusableLaunch:
        return
    assert seen["users.acl"] == USUAL["users.acl"]
    assert seen["nodes.conf"] == len(launch.peers) + 1
    assert where in {"peer_address"}, f"{where}={text!r} should have been refused"


def test_every_text_of_a_launch_is_tried() -> None:
    """A field that is added must be added to the properties above."""
    texts = {field.name for field in dataclasses.fields(Launch) if "str" in str(field.type)}
    assert texts == {
        "key",  # not rendered
        "engine_version",  # compared as numbers, not rendered
        "node_type",  # not rendered
        "address",
        "settings",
        "admin_password",
        "replication_password",
        "engine_id",
    }


@given(st.sets(st.integers(0, 16383), max_size=60), st.booleans())
def test_slots_that_are_written_are_read_back(slots: set[int], is_split: bool) -> None:
    ranges = tuple(SlotRange(slot, slot) for slot in sorted(slots))
    peer = replace(PEERS[0], slots=ranges if is_split else merge(ranges))
    content = render_nodes_conf(replace(LAUNCH, peers=(peer,)))
    assert parse_own_slots(content) == merge(ranges)
