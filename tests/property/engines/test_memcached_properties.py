"""No text in a launch can add an option to the command line of a memcached."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachewright.engines.memcached_flags import NAMES, layout, refused, render_flags
from cachewright.engines.text import UnusableLaunch
from cachewright.model.commands import Launch
from cachewright.model.engines import EngineName

LAUNCH = Launch(
    key="g.0001",
    engine=EngineName.MEMCACHED,
    engine_version="1.6.45",
    address="127.0.1.0",
    port=11211,
    maxmemory_bytes=64 << 20,
    maxclients=100,
    settings=(),
    admin_password="",
    replication_password="",
)
#: Every word that may stand on the command line, in full.
WORD = re.compile(
    r"-[lpUmcubBCnfFMIRtWo]|root|127\.0\.1\.0|auto|ascii|[0-9]+(\.[0-9]+)?"
    r"|(no_)?(modern|lru_crawler|lru_maintainer|maxconns_fast|slab_reassign)|track_sizes"
    r"|hash_algorithm=(jenkins|murmur3)"
    r"|(hashpower|idle_timeout|slab_automove|slab_chunk_max|watcher_logbuf_size"
    r"|worker_logbuf_size)=[0-9]+"
)
plain = st.sampled_from(["0", "1", "2", "16", "1.25", "1024", "524288", "auto", "jenkins", ""])
hostile = st.one_of(
    plain,
    st.builds(
        "".join,
        st.tuples(
            plain,
            st.sampled_from(
                [
                    ",",
                    " ",
                    "\n",
                    "\0",
                    "=",
                    " -o ",
                    ",ext_path=/tmp/x:1G",
                    "\r\n",
                    "-",
                    "é",
                    "٣",
                    "\x7f",
                ]
            ),
            plain,
        ),
    ),
    st.text(max_size=30),
    st.just("1" * 100_000),
)
versions = st.sampled_from(["1.6.18", "1.6.38", "1.6.45"])


@given(version=versions, name=st.sampled_from(sorted(NAMES)), value=hostile)
def test_a_value_becomes_words_that_are_known_or_nothing(
    version: str, name: str, value: str
) -> None:
    launch = replace(LAUNCH, engine_version=version, settings=((name, value),))
    try:
        words = tuple(render_flags(launch))
    except UnusableLaunch as error:
        text = str(error)
        words = ()
    if not words:
        assert name in text
        assert len(text) < 200
        return
    assert all(WORD.fullmatch(word) for word in words), words
    without = tuple(render_flags(replace(launch, settings=())))
    own = words[len(without) :] if words[: len(without)] == without else None
    # What is not at the end is the number of connections, in the place of the other one.
    assert own is not None or (
        name == "max_simultaneous_connections" and len(words) == len(without)
    )
    # Two options with a word each at most: a page mover that is on and told to move nothing.
    assert len(own or ()) <= 4
    assert "-A" not in words
    layout(launch)
    refused(launch)


@given(name=st.text(max_size=40), value=hostile)
def test_only_parameters_become_settings(name: str, value: str) -> None:
    if name not in NAMES:
        with pytest.raises(UnusableLaunch):
            tuple(render_flags(replace(LAUNCH, settings=((name, value),))))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("address", "127.0.0.1,0.0.0.0"),
        ("address", "::1%lo"),
        ("address", ""),
        ("address", "-A"),
        ("port", 0),
        ("port", 65_536),
        ("maxmemory_bytes", (1 << 20) - 1),
        ("maxclients", 0),
        ("settings", (("chunk_size", "48"), ("chunk_size", "48"))),
        ("settings", (("slab_chunk_max", "1000"),)),
        ("settings", (("large_memory_pages", "1"),)),
        ("settings", (("binding_protocol", "binary"),)),
        ("settings", (("chunk_size", "-1"),)),
        ("settings", (("chunk_size", "048"),)),
    ],
)
def test_what_cannot_be_written_safely_is_refused(field: str, value: object) -> None:
    with pytest.raises(UnusableLaunch):
        tuple(render_flags(replace(LAUNCH, **{field: value})))  # type: ignore[arg-type] # on purpose
