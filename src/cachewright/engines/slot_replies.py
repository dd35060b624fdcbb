"""What are answers of engines about slots: numbers, texts, and moves that they make themselves?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from cachewright.engines import resp
from cachewright.engines.slots import Export, ExportState
from cachewright.model.slots import SlotRange, SlotRanges

_STATES = {
    b"replicating": ExportState.FOLLOWING,
    b"waiting-to-pause": ExportState.FOLLOWING,
    b"failover-paused": ExportState.PAUSED,
    b"failover-granted": ExportState.GRANTED,
    b"success": ExportState.DONE,
    b"cancelled": ExportState.FAILED,
    b"failed": ExportState.FAILED,
}


class Job(NamedTuple):
    """A move of the engine's own, as either side tells of it."""

    is_export: bool
    export: Export


def parse_jobs(reply: resp.Reply) -> Iterator[Job]:
    """Read `CLUSTER GETSLOTMIGRATIONS`."""
    for job in list_of(reply):
        words = iter(list_of(job))
        fields = {bytes_of(name): value for name, value in zip(words, words, strict=True)}
        state, message = bytes_of(fields[b"state"]), bytes_of(fields[b"message"])
        yield Job(
            is_export=fields[b"operation"] == b"EXPORT",
            export=Export(
                name=bytes_of(fields[b"name"]).decode(),
                # Not told by who only replicates from the one that takes.
                to_id=bytes_of(fields.get(b"target_node", b"")).decode(),
                slots=_parse_slots(bytes_of(fields[b"slot_ranges"]).decode()),
                state=_STATES.get(state, ExportState.SENDING),
                said=(message or state).decode(),
            ),
        )


def epoch_of(packed: bytes) -> int:
    """Return what an engine that gives sends to its gate: its config epoch.

    A text so short is packed as its type, its length and itself; then come a version and a sum.

    Raises:
        EngineUnreachable: it is something else.
    """
    word, _, epoch = packed[2 : 2 + packed[1]].partition(b" ") if packed[1:] else (b"", b"", b"")
    if word != b"epoch" or not epoch.isdigit():
        raise resp.EngineUnreachable("what gives there is not such an engine")
    return int(epoch)


def _parse_slots(text: str) -> SlotRanges:
    bounds = (part.partition("-") for part in text.split())
    return tuple(SlotRange(int(first), int(last or first)) for first, _, last in bounds)


def int_of(reply: resp.Reply) -> int:
    """Return a reply that is a number."""
    if not isinstance(reply, int):
        raise resp.EngineUnreachable("what answers there is not such an engine")
    return reply


def bytes_of(reply: resp.Reply) -> bytes:
    """Return a reply that is text."""
    if not isinstance(reply, bytes):
        raise resp.EngineUnreachable("what answers there is not such an engine")
    return reply


def list_of(reply: resp.Reply) -> list[resp.Reply]:
    """Return a reply that is a list."""
    if not isinstance(reply, list):
        raise resp.EngineUnreachable("what answers there is not such an engine")
    return reply
