"""How do slots get from one primary to another, and what is under way of it?

Values only. What shall be moved is decided in `plan`, and done by the host of the node that gives.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping

import msgspec

from cachewright.model.slots import SlotRanges, numbers_of

#: Keys that take more than this are not moved, and their slots stay (ElastiCache user guide).
LARGEST_KEY_BYTES = 256 * 1024 * 1024

#: What one slot may hold to change hands in one step where keys are copied: its shard serves nobody
#: meanwhile, for some 100 ms. What holds more is opened for clients.
STEP_BYTES_MAX = 8 * 1024 * 1024
STEP_KEYS_MAX = 10_000


class MoveMethod(enum.Enum):
    """Who does the moving."""

    #: The engines, whole slots at once (`CLUSTER MIGRATESLOTS`, Valkey 9.0).
    ATOMIC = "atomic"
    #: The host, key by key (`MIGRATE`).
    COPY = "copy"


#: What one order moves, bytes; one slot at least. How long clients may wait is bounded by the host,
#: which cuts an order into exports of a hundred thousand keys, or groups of a few slots: here it is
#: only about how much a failure counts for, and how often the planner looks in between.
BYTES_PER_MOVE: Mapping[MoveMethod, int] = {
    MoveMethod.ATOMIC: 256 * 1024 * 1024,
    MoveMethod.COPY: 128 * 1024 * 1024,
}
#: Primaries that may give to one other at the same time. Each waits for its own clock, or for
#: answers, now and then; the one that takes is kept busy by three of them.
MOVES_PER_TAKER = 3


class Moving(msgspec.Struct, frozen=True, kw_only=True):
    """A move that goes on."""

    #: The primaries, by node ids.
    from_id: str
    to_id: str
    slots: SlotRanges


class Moves(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the moves of one group, as the control plane that asked for them knows it.

    It forgets all of it when it ends itself, and when another resharding begins.
    """

    running: tuple[Moving, ...] = ()
    #: The resharding that the failures are of: for another one they do not count.
    generation: int = 0
    #: Failures in a row of each method that got nowhere (`plan.slots.gets_on`).
    failures: Mapping[MoveMethod, int] = msgspec.field(default_factory=dict)
    #: Why the last one failed, for people; empty while none has.
    last_failure: str = ""
    #: How often in a row a cut move could not be ended, and why not.
    failed_closings: int = 0
    close_failure: str = ""
    #: Why slots that nobody owns cannot be claimed, if that has failed again; else empty.
    claim_failure: str = ""

    @property
    def slots(self) -> frozenset[int]:
        """The slots that are on their way."""
        return frozenset(slot for moving in self.running for slot in numbers_of(moving.slots))

    def failures_of(self, method: MoveMethod, generation: int) -> int:
        """Return how often a method has failed in a row and got nowhere.

        `generation`: of the resharding that is asked about.
        """
        return self.failures.get(method, 0) if generation == self.generation else 0
