"""What was seen of some traffic? Values without an opinion; `judge` has one.

Moments are of the monotonic clock. Values are written by `traffic`, and by hand in tests.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple


@dataclass(frozen=True, kw_only=True, slots=True)
class Lane:
    """What one writer and one reader use, usually the part of the keyspace that a shard has."""

    name: str
    #: Lists to which numbers are appended in turn, so that a key has one writer.
    keys: tuple[str, ...]
    #: Between two writes, and between two reads.
    pace_s: float
    #: So many writes at the beginning are not paced: each follows the answer to the one before.
    at_once: int = 0

    def key_of(self, number: int) -> str:
        """Return the key to which a number is appended."""
        return self.keys[number % len(self.keys)]


class Refusal(NamedTuple):
    """A request that failed for its caller, whatever its client had tried before."""

    at_s: float
    error: str


class WrongRead(NamedTuple):
    """An answer that lacked what had been acknowledged before the question."""

    at_s: float
    key: str
    #: The number that was acknowledged, and the highest of the answer; 0 for none.
    acknowledged: int
    found: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Requests:
    """What came of the requests of one kind in one lane."""

    #: When each answered request was due, and when its answer was there.
    due_s: Sequence[float]
    answered_s: Sequence[float]
    refused: Sequence[Refusal]


@dataclass(frozen=True, kw_only=True, slots=True)
class LaneHistory:
    """What happened in one lane."""

    lane: Lane
    writes: Requests
    #: The numbers that were acknowledged, one for each answered write.
    acknowledged: Sequence[int]
    #: Numbers up to this one were sent, in order, and none above.
    sent: int
    reads: Requests
    wrong_reads: Sequence[WrongRead]
    #: What each key holds in the end, in order; `None` where nobody could read it.
    held: Mapping[str, tuple[int, ...] | None]


@dataclass(frozen=True, kw_only=True, slots=True)
class History:
    """What happened in all lanes until the traffic was stopped."""

    lanes: tuple[LaneHistory, ...]
    until_s: float
    #: When the checker itself was kept from running, and for how long: (moment, seconds).
    own_pauses: Sequence[tuple[float, float]]
    #: Keys of the checker that could not be removed.
    left_keys: tuple[str, ...]
