"""What does a history mean for the people behind the clients? Gaps, failed requests, lost writes.

Pure: values in, a verdict out. What is not known is never taken for good: keys that nobody could
read hold nothing that was proven to be kept.
"""

from __future__ import annotations

import bisect
import itertools
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from cachewright.checker.history import History, Lane, LaneHistory, Refusal, Requests

#: Who had an answer within so long before the end is served, seconds: a machine under load may
#: keep a client of a healthy engine waiting for this long.
_LATELY_S = 2.0
#: Different error texts that a verdict names.
_ERRORS_MAX = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class RequestsVerdict:
    """How requests of one kind went since a moment."""

    answered: int
    failed: int
    #: The longest time without an answer; one that has not ended counts until the end.
    longest_gap_s: float
    #: The longest time from when a request was due to its answer, of those that had one.
    slowest_s: float
    #: The last answer came lately.
    is_served: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class LaneVerdict:
    """What the clients of one lane saw since a moment."""

    name: str
    #: Between two requests of one kind: no gap is known more precisely.
    pace_s: float
    writes: RequestsVerdict
    reads: RequestsVerdict
    #: Acknowledged numbers that are not there, whenever they were written; `None` where a key
    #: could not be read.
    lost: tuple[int, ...] | None
    #: Numbers that are there more than once: a client that lost an answer asked again.
    doubled: tuple[int, ...]
    #: What is there and was never sent.
    foreign: tuple[int, ...]
    #: Reads that lacked what had been acknowledged before.
    wrong_reads: int
    #: Texts of failures, the most frequent ones first.
    errors: tuple[str, ...]

    @property
    def keeps_everything(self) -> bool:
        """Nothing that was acknowledged is known to be lost, and everything could be read."""
        return self.lost == () and not self.foreign


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """What all clients saw since a moment."""

    lanes: tuple[LaneVerdict, ...]
    #: How long the checker itself was kept from running at the longest: gaps as short as this one
    #: may be its own.
    own_pause_s: float
    left_keys: tuple[str, ...]

    def of(self, name: str) -> LaneVerdict:
        """Return the verdict on one lane."""
        return next(lane for lane in self.lanes if lane.name == name)

    @property
    def failed(self) -> int:
        """Requests that failed, of both kinds and in all lanes."""
        return sum(lane.writes.failed + lane.reads.failed for lane in self.lanes)

    @property
    def lost(self) -> int | None:
        """Acknowledged writes that are not there; `None` where somebody could not look."""
        return None if any(lane.lost is None for lane in self.lanes) else self.lost_at_least

    @property
    def lost_at_least(self) -> int:
        """Acknowledged writes that are known to be gone."""
        return sum(len(lane.lost or ()) for lane in self.lanes)

    @property
    def keeps_everything(self) -> bool:
        """Every lane does."""
        return bool(self.lanes) and all(lane.keeps_everything for lane in self.lanes)

    @property
    def is_served(self) -> bool:
        """Every lane takes writes and answers reads in the end."""
        return bool(self.lanes) and all(
            lane.writes.is_served and lane.reads.is_served for lane in self.lanes
        )


def judge(history: History, since_s: float) -> Verdict:
    """Say what the clients saw since a moment."""
    pauses = [pause_s for at_s, pause_s in history.own_pauses if at_s >= since_s]
    return Verdict(
        lanes=tuple(_judge_lane(lane, since_s, history.until_s) for lane in history.lanes),
        own_pause_s=max(pauses, default=0.0),
        left_keys=history.left_keys,
    )


def longest_gap_s(answered_s: Sequence[float], since_s: float, until_s: float) -> float:
    """Return the longest time without an answer that ended after `since_s` or has not ended.

    The first one may have begun before. Without any answer it is all of the time since then.
    """
    following = bisect.bisect_right(answered_s, since_s)
    begin_s = answered_s[following - 1] if following else since_s
    moments = [begin_s, *answered_s[following:], until_s]
    return max(0.0, *(after - before for before, after in itertools.pairwise(moments)))


def lost(
    lane: Lane, acknowledged: Iterable[int], held: Mapping[str, tuple[int, ...] | None]
) -> tuple[int, ...] | None:
    """Return the acknowledged numbers that their key does not hold; `None` when unknown."""
    there: dict[str, frozenset[int]] = {}
    for key in lane.keys:
        found = held.get(key)
        if found is None:
            return None
        there[key] = frozenset(found)
    return tuple(number for number in acknowledged if number not in there[lane.key_of(number)])


def doubled(held: Mapping[str, tuple[int, ...] | None]) -> tuple[int, ...]:
    """Return the numbers that a key holds more than once."""
    counts = Counter((key, number) for key, found in held.items() for number in found or ())
    return tuple(sorted({number for (_, number), count in counts.items() if count > 1}))


def foreign(lane: Lane, sent: int, held: Mapping[str, tuple[int, ...] | None]) -> tuple[int, ...]:
    """Return what is held and was never sent to that key."""
    return tuple(
        number
        for key, found in held.items()
        for number in found or ()
        if not 1 <= number <= sent or lane.key_of(number) != key
    )


def lacks(acknowledged: int, found: Iterable[int]) -> bool:
    """Tell whether an answer lacks a number that was acknowledged before it was asked for.

    Numbers grow, so one that is as high or higher shows that it is there; a late one may stand
    behind it.
    """
    return max(found, default=0) < acknowledged


def _judge_lane(seen: LaneHistory, since_s: float, until_s: float) -> LaneVerdict:
    return LaneVerdict(
        name=seen.lane.name,
        pace_s=seen.lane.pace_s,
        writes=_judge_requests(seen.lane, seen.writes, since_s, until_s),
        reads=_judge_requests(seen.lane, seen.reads, since_s, until_s),
        lost=lost(seen.lane, seen.acknowledged, seen.held),
        doubled=doubled(seen.held),
        foreign=foreign(seen.lane, seen.sent, seen.held),
        wrong_reads=sum(1 for wrong in seen.wrong_reads if wrong.at_s >= since_s),
        errors=_errors(since_s, seen.writes.refused, seen.reads.refused),
    )


def _judge_requests(
    lane: Lane, requests: Requests, since_s: float, until_s: float
) -> RequestsVerdict:
    first = bisect.bisect_right(requests.answered_s, since_s)
    answered_s = requests.answered_s[first:]
    delays_s = (
        answer - due for due, answer in zip(requests.due_s[first:], answered_s, strict=True)
    )
    refused = [refusal for refusal in requests.refused if refusal.at_s >= since_s]
    return RequestsVerdict(
        answered=len(answered_s),
        failed=len(refused),
        longest_gap_s=longest_gap_s(requests.answered_s, since_s, until_s),
        slowest_s=max(delays_s, default=0.0),
        is_served=bool(answered_s) and until_s - answered_s[-1] <= _LATELY_S + lane.pace_s,
    )


def _errors(since_s: float, *refused: Sequence[Refusal]) -> tuple[str, ...]:
    counts = Counter(
        refusal.error for kind in refused for refusal in kind if refusal.at_s >= since_s
    )
    return tuple(error for error, _ in counts.most_common(_ERRORS_MAX))
