"""What was seen of one scenario from outside? The values that judges judge, and nothing else.

Made by `scene` from real engines, and by hand in the tests of the judges.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

from tests.fault.scenarios.probes import Look
from tests.fault.scenarios.shapes import Shape
from tests.fault.scenarios.watching import Answer


class Failover(enum.Enum):
    """Whether another node has to be the primary of a struck shard afterwards."""

    MUST = "must"
    MUST_NOT = "must not"
    MAY = "may"


@dataclass(frozen=True, kw_only=True, slots=True)
class Expected:
    """The outcome that one cell of the table asks for, beside what always holds."""

    failover: Failover = Failover.MAY
    #: The longest time without an acknowledged write of a shard, as its writer saw it, seconds.
    gap_s: float = 30.0
    #: Every copy may be gone, so everything may be lost; it has to be told then.
    may_lose_all: bool = False
    #: What the group keeps on disk outlives the end of all processes.
    keeps_on_disk: bool = False
    #: For how long `available` may still be said after the last accepted write, seconds.
    grace_s: float = 2.0
    #: Nothing that the fault does costs a client a request, whatever its retries.
    fails_nothing: bool = False
    #: Events have the times of a clock that was stepped: their order says nothing.
    is_clock_stepped: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Told:
    """One event of the API, in the order in which they are listed."""

    source_type: str
    source_id: str
    message: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Written:
    """What the writer of one shard saw."""

    #: Each acknowledged number with the moment of the answer.
    acknowledged: tuple[tuple[int, float], ...]
    #: Acknowledged numbers that the shard does not hold at the end.
    missing: tuple[int, ...] = ()
    #: What was refused, with its moment; for people.
    refused: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Record:
    """One scenario as it went."""

    shape: Shape
    expected: Expected
    #: When the fault began, and when it was over.
    struck_s: float
    lifted_s: float
    #: The shards whose nodes were struck.
    struck_shards: tuple[str, ...]
    #: Direct looks, per shard, in the order of the answers.
    looks: dict[str, list[Look]]
    #: When processes ended, by pid.
    ended_s: dict[int, float] = field(default_factory=dict)
    answers: tuple[Answer, ...] = ()
    events: tuple[Told, ...] = ()
    written: dict[str, Written] = field(default_factory=dict)
    #: Sentences about what was wrong in the end: not whole, different copies, things left over.
    findings: tuple[str, ...] = ()
    #: The longest time in which the observer itself did not get round to looking, and how much
    #: longer the fault took than it was to, seconds.
    late_s: float = 0.0
    #: The most shards that there were, 0 where cluster mode is disabled.
    shards_max: int = 0
