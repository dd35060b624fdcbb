"""The figures of a check are those of all lanes: histories by hand."""

from __future__ import annotations

import dataclasses

import pytest

from cachewright.checker import judge, summary
from cachewright.checker.history import History, Lane, LaneHistory, Refusal, Requests, WrongRead


def lane(name: str, *answered_s: float, refused: tuple[Refusal, ...] = ()) -> LaneHistory:
    """Return a lane whose writes were answered then, and whose reads at the same moments."""
    seen = Requests(due_s=answered_s, answered_s=answered_s, refused=refused)
    keys = (f"{name}-even", f"{name}-odd", f"{name}-third")
    made = Lane(name=name, keys=keys, pace_s=0.1)
    numbers = tuple(range(1, len(answered_s) + 1))
    held = {key: tuple(n for n in numbers if made.key_of(n) == key) for key in keys}
    return LaneHistory(
        lane=made,
        writes=seen,
        acknowledged=numbers,
        sent=len(numbers),
        reads=seen,
        wrong_reads=(WrongRead(at_s=2.0, key=keys[0], acknowledged=3, found=0),),
        held=held,
    )


def summarized(*lanes: LaneHistory, since_s: float = 1.0, until_s: float = 4.0) -> summary.Summary:
    history = History(lanes=lanes, until_s=until_s, own_pauses=(), left_keys=())
    return summary.summarize(history, judge.judge(history, since_s), since_s)


def test_lanes_are_added_up_and_the_longest_gap_is_the_worst_lane_of_all() -> None:
    refused = (Refusal(0.5, "before"), Refusal(2.0, "no"))
    found = summarized(lane("a", 0.9, 1.5, 2.5, 3.5), lane("b", 1.2, 1.4, 3.9, refused=refused))
    assert found.seconds == pytest.approx(3.0)
    assert (found.writes.answered, found.writes.failed) == (6, 1)
    assert found.writes.per_second == pytest.approx(2.0)
    assert found.writes.longest_gap_s == pytest.approx(2.5)
    # Three answers from 1 to 2, one from 2 to 3, two from 3 to 4.
    assert found.writes.lowest_per_second == 1.0
    assert found.wrong_reads == 2
    assert found.errors == ("no",)


def test_what_is_doubled_or_foreign_in_any_lane_is_counted() -> None:
    one, other = lane("a", 1.5, 1.6), lane("b", 1.5)
    one = dataclasses.replace(one, held={**one.held, "a-odd": (1, 1, 77)})
    other = dataclasses.replace(other, held={**other.held, "b-odd": (1, 1), "b-even": (88, 99)})
    found = summarized(one, other)
    assert (found.doubled, found.foreign) == (2, 3)


def test_only_keys_that_were_written_meanwhile_are_counted() -> None:
    """Numbers 1 and 2 of the lane were written before."""
    found = summarized(lane("a", 0.5, 0.9, 1.5, 1.6))
    assert found.keys == 3
    assert found.keys_written == 2


@pytest.mark.parametrize(
    ("moments", "until_s", "lowest"),
    [
        ((), 3.0, 0.0),
        ((0.1, 0.2, 1.1, 2.1), 3.0, 1.0),
        # What is left over of a second is no whole one.
        ((0.1, 1.1), 2.9, 1.0),
        ((0.1, 0.2), 0.5, 4.0),
    ],
)
def test_the_worst_second_is_a_whole_one(
    moments: tuple[float, ...], until_s: float, lowest: float
) -> None:
    assert summary.lowest_per_second([moments], 0.0, until_s) == pytest.approx(lowest)
