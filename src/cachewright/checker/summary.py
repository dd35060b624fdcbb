"""What did all clients together see? The figures of a check, over all lanes.

Pure: values in, values out. What each lane saw is judged in `judge`.
"""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from cachewright.checker.history import History, LaneHistory, Requests
from cachewright.checker.judge import RequestsVerdict, Verdict


@dataclass(frozen=True, kw_only=True, slots=True)
class Totals:
    """How all requests of one kind went since a moment."""

    answered: int
    failed: int
    per_second: float
    #: In the whole second with the fewest answers.
    lowest_per_second: float
    #: The longest time that a lane was without an answer.
    longest_gap_s: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Summary:
    """What all clients saw since a moment."""

    seconds: float
    writes: Totals
    reads: Totals
    #: How many keys there are: one for each slot, or some.
    keys: int
    #: To how many of them something was added since that moment.
    keys_written: int
    doubled: int
    foreign: int
    wrong_reads: int
    #: Texts of failures of all lanes, each once.
    errors: tuple[str, ...]


def summarize(history: History, verdict: Verdict, since_s: float) -> Summary:
    """Put together what the clients saw since a moment."""
    seen, lanes = history.lanes, verdict.lanes
    until_s = history.until_s
    return Summary(
        seconds=until_s - since_s,
        writes=_totals(
            [one.writes for one in lanes], [one.writes for one in seen], since_s, until_s
        ),
        reads=_totals([one.reads for one in lanes], [one.reads for one in seen], since_s, until_s),
        keys=sum(len(one.lane.keys) for one in seen),
        keys_written=sum(_written(one, since_s) for one in seen),
        doubled=sum(len(one.doubled) for one in lanes),
        foreign=sum(len(one.foreign) for one in lanes),
        wrong_reads=sum(one.wrong_reads for one in lanes),
        errors=tuple(dict.fromkeys(error for one in lanes for error in one.errors)),
    )


def lowest_per_second(
    answered_s: Sequence[Sequence[float]], since_s: float, until_s: float
) -> float:
    """Return how many answers came in the second with the fewest; the mean of less than one."""
    seconds = int(until_s - since_s)
    if seconds < 1:
        count = sum(len(one) - bisect.bisect_right(one, since_s) for one in answered_s)
        return count / max(until_s - since_s, 1e-9)
    borders = [since_s + number for number in range(seconds + 1)]
    places = [[bisect.bisect_right(one, border) for border in borders] for one in answered_s]
    counts = ([after - before for before, after in itertools.pairwise(one)] for one in places)
    return float(min(map(sum, zip(*counts, strict=True)), default=0))


def _totals(
    verdicts: Sequence[RequestsVerdict], seen: Sequence[Requests], since_s: float, until_s: float
) -> Totals:
    answered = sum(one.answered for one in verdicts)
    return Totals(
        answered=answered,
        failed=sum(one.failed for one in verdicts),
        per_second=answered / max(until_s - since_s, 1e-9),
        lowest_per_second=lowest_per_second([one.answered_s for one in seen], since_s, until_s),
        longest_gap_s=max((one.longest_gap_s for one in verdicts), default=0.0),
    )


def _written(seen: LaneHistory, since_s: float) -> int:
    """Return how many keys of a lane have got an acknowledged number since a moment."""
    first = bisect.bisect_right(seen.writes.answered_s, since_s)
    return len({seen.lane.key_of(number) for number in seen.acknowledged[first:]})
