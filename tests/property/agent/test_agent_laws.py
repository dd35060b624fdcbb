"""Which laws hold for the agent's pure parts, whatever they are given?"""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachewright.agent import folder, machine, pool, process
from cachewright.agent.machine import Event, State
from cachewright.rpc.agent import CommandFailed


@given(
    name=st.binary(max_size=20),
    session=st.integers(min_value=0, max_value=2**22),
    start_ticks=st.integers(min_value=0, max_value=2**64 - 1),
)
def test_no_command_name_can_forge_an_identity(name: bytes, session: int, start_ticks: int) -> None:
    fields = [b"0"] * 49
    fields[2], fields[18] = str(session).encode(), str(start_ticks).encode()
    stat = process.parse_stat(b"1 (" + name + b") S " + b" ".join(fields))
    assert stat == process.Stat(session=session, start_ticks=start_ticks)


@given(events=st.lists(st.sampled_from(Event), max_size=30))
def test_whatever_happens_a_node_is_removed_only_after_its_end(events: list[Event]) -> None:
    state, may_live = State.ABSENT, False
    for event in events:
        try:
            state = machine.step(state, event)
        except machine.Refused:
            continue
        may_live = (may_live or event is Event.START) and event is not Event.EXITED
        assert not (may_live and state in {State.ABSENT, State.STOPPED})


@given(key=st.text(max_size=40) | st.from_regex(r"[a-z./\0]+", fullmatch=True))
def test_a_key_names_a_folder_directly_inside_or_is_refused(key: str) -> None:
    nodes = Path("/state/nodes")
    try:
        path = folder.NodeFolder(nodes, key).path
    except CommandFailed:
        return
    assert path.parent == nodes
    assert path.name == key
    assert not key.startswith(".")


@given(content=st.binary(max_size=400), output=st.binary(max_size=400))
def test_a_log_tail_is_lines_for_people_without_secrets(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, output: bytes
) -> None:
    node = folder.NodeFolder(tmp_path_factory.mktemp("nodes"), "a.b")
    node.make()
    (node.path / "engine.log").write_bytes(content + b"hunter2\n")
    node.output.write_bytes(output)
    tail = node.log_tail("engine.log", ("hunter2",))
    assert len(tail) <= folder.LOG_LINES_MAX
    assert all(line and line.isprintable() and "hunter2" not in line for line in tail)


@given(name=st.from_regex(r"[a-z]{1,8}", fullmatch=True))
def test_every_block_is_tried_once_wherever_the_search_begins(name: str) -> None:
    blocks = list(pool.blocks_for(Path("/") / name))
    assert len(set(blocks)) == len(blocks) == 1024
    assert all(block.subnet_of(pool.SEARCHED) for block in blocks)
