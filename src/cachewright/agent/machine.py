"""What may happen next in the life of one node's process on its host?

One table of rows; whatever is not in it is refused. Pure: no process is touched here. The
supervisor asks before it acts; the kernel, not this table, says whether a process lives.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass


class State(enum.Enum):
    """Where the process of a node stands."""

    #: No folder, no process.
    ABSENT = "absent"
    #: Its files are being written, or the process has not answered yet.
    STARTING = "starting"
    #: The process has answered its administrator.
    RUNNING = "running"
    #: It was told to end.
    STOPPING = "stopping"
    #: The folder is there, and no process of it lives.
    STOPPED = "stopped"


class Event(enum.Enum):
    """What can happen to it."""

    START = "start"
    ANSWERED = "answered"
    GAVE_UP = "gave up"
    STOP = "stop"
    REFUSED_TO_STOP = "refused to stop"
    EXITED = "exited"
    REMOVE = "remove"


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One thing that may happen, and what is true afterwards."""

    state: State
    event: Event
    next_state: State
    #: For people, in the diagram and in messages.
    sentence: str


def _row(state: State, event: Event, next_state: State, sentence: str) -> Row:
    return Row(state=state, event=event, next_state=next_state, sentence=sentence)


ROWS: tuple[Row, ...] = (
    _row(State.ABSENT, Event.START, State.STARTING, "the node is started for the first time"),
    _row(State.ABSENT, Event.STOP, State.ABSENT, "there is nothing to stop"),
    _row(State.ABSENT, Event.REMOVE, State.ABSENT, "there is nothing to remove"),
    _row(State.STARTING, Event.START, State.STARTING, "the start goes on where it was left"),
    _row(State.STARTING, Event.ANSWERED, State.RUNNING, "the engine answers, held"),
    _row(State.STARTING, Event.GAVE_UP, State.STOPPING, "the engine did not answer in time"),
    _row(State.STARTING, Event.STOP, State.STOPPING, "the start is broken off"),
    _row(State.STARTING, Event.EXITED, State.STOPPED, "the engine ended before it answered"),
    _row(State.RUNNING, Event.START, State.RUNNING, "the node runs already"),
    _row(State.RUNNING, Event.STOP, State.STOPPING, "the engine is told to end"),
    _row(State.RUNNING, Event.EXITED, State.STOPPED, "the engine ended by itself"),
    _row(State.STOPPING, Event.STOP, State.STOPPING, "the engine is told to end once more"),
    _row(State.STOPPING, Event.REFUSED_TO_STOP, State.RUNNING, "the engine could not save"),
    _row(State.STOPPING, Event.EXITED, State.STOPPED, "the engine has ended"),
    _row(State.STOPPED, Event.START, State.STARTING, "the node is started again"),
    _row(State.STOPPED, Event.STOP, State.STOPPED, "the engine has ended already"),
    _row(State.STOPPED, Event.REMOVE, State.ABSENT, "the folder is removed"),
)

_TABLE = {(row.state, row.event): row for row in ROWS}

#: Pairs that a caller can bring about and that are refused, with the reason.
REFUSALS: dict[tuple[State, Event], str] = {
    (State.STARTING, Event.REMOVE): "its process may still live: stop it first",
    (State.RUNNING, Event.REMOVE): "its process lives: stop it first",
    (State.STOPPING, Event.REMOVE): "its process is still ending",
    (State.STOPPING, Event.START): "its process is still ending",
}

#: Pairs that only a defect of this program could bring about.
IMPOSSIBLE: frozenset[tuple[State, Event]] = frozenset(
    (state, event)
    for state, events in {
        State.ABSENT: {Event.ANSWERED, Event.GAVE_UP, Event.REFUSED_TO_STOP, Event.EXITED},
        State.STARTING: {Event.REFUSED_TO_STOP},
        State.RUNNING: {Event.ANSWERED, Event.GAVE_UP, Event.REFUSED_TO_STOP},
        State.STOPPING: {Event.ANSWERED, Event.GAVE_UP},
        State.STOPPED: {Event.ANSWERED, Event.GAVE_UP, Event.REFUSED_TO_STOP, Event.EXITED},
    }.items()
    for event in events
)


class Refused(Exception):
    """The event is not possible in this state; `str()` is the reason."""


def step(state: State, event: Event) -> State:
    """Return the state after `event`; raise `Refused` where the table has no row."""
    row = _TABLE.get((state, event))
    if row is None:
        reason = REFUSALS.get((state, event), f"{event.value!r} cannot happen while {state.value}")
        raise Refused(reason)
    return row.next_state


def diagram() -> str:
    """Return the table as a Mermaid state diagram."""
    lines = ["stateDiagram-v2", f"    [*] --> {State.ABSENT.value}"]
    lines += [
        f"    {row.state.value} --> {row.next_state.value}: {row.event.value}" for row in ROWS
    ]
    return "\n".join(lines) + "\n"
