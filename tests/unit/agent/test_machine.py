"""Is the life of a node's process described completely and without contradiction?"""

from __future__ import annotations

import itertools

import pytest

from cachewright.agent import machine
from cachewright.agent.machine import Event, State

#: States in which a process of the node may live.
MAY_LIVE = {State.STARTING, State.RUNNING, State.STOPPING}


def test_every_pair_is_a_row_or_a_refusal_or_impossible_and_only_one_of_them() -> None:
    rows = [(row.state, row.event) for row in machine.ROWS]
    all_pairs = [*rows, *machine.REFUSALS, *machine.IMPOSSIBLE]
    assert sorted(map(str, all_pairs)) == sorted(map(str, itertools.product(State, Event)))


def test_a_folder_is_never_removed_while_a_process_may_live() -> None:
    removable = {row.state for row in machine.ROWS if row.event is Event.REMOVE}
    assert removable.isdisjoint(MAY_LIVE)


def test_only_an_exit_leads_from_a_process_to_none() -> None:
    for row in machine.ROWS:
        if row.state in MAY_LIVE and row.next_state not in MAY_LIVE:
            assert row.event is Event.EXITED


def test_every_state_is_reached_and_can_be_left_for_absent() -> None:
    edges = {(row.state, row.next_state) for row in machine.ROWS}
    assert _reachable({State.ABSENT}, edges) == set(State)
    assert _reachable({State.ABSENT}, {(b, a) for a, b in edges}) == set(State)


@pytest.mark.parametrize("pair", sorted(machine.REFUSALS, key=str), ids=str)
def test_a_refusal_gives_its_reason(pair: tuple[State, Event]) -> None:
    with pytest.raises(machine.Refused, match=machine.REFUSALS[pair]):
        machine.step(*pair)


@pytest.mark.parametrize("pair", sorted(machine.IMPOSSIBLE, key=str), ids=str)
def test_what_cannot_happen_is_refused(pair: tuple[State, Event]) -> None:
    with pytest.raises(machine.Refused, match="cannot happen"):
        machine.step(*pair)


@pytest.mark.parametrize("row", machine.ROWS, ids=str)
def test_a_row_is_followed_and_drawn(row: machine.Row) -> None:
    assert machine.step(row.state, row.event) is row.next_state
    arrow = f"    {row.state.value} --> {row.next_state.value}: {row.event.value}\n"
    assert machine.diagram().count(arrow) == 1
    assert row.sentence


def test_the_diagram_has_nothing_else() -> None:
    lines = machine.diagram().splitlines()
    assert lines[:2] == ["stateDiagram-v2", "    [*] --> absent"]
    assert len(lines) == 2 + len(machine.ROWS)


def _reachable(start: set[State], edges: set[tuple[State, State]]) -> set[State]:
    found = set(start)
    for _ in State:
        found |= {after for before, after in edges if before in found}
    return found
