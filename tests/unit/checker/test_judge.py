"""Every judge of traffic can fail: histories by hand, each with one thing that is wrong."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cachewright.checker import judge
from cachewright.checker.history import (
    History,
    Lane,
    LaneHistory,
    Refusal,
    Requests,
    WrongRead,
)

LANE = Lane(name="0001", keys=("a", "b"), pace_s=0.1)
#: Number n goes to b when it is odd.
HELD = {"a": (2, 4), "b": (1, 3, 5)}
NOTHING = Requests(due_s=(), answered_s=(), refused=())


def requests(*answered_s: float, refused: tuple[Refusal, ...] = ()) -> Requests:
    return Requests(due_s=answered_s, answered_s=answered_s, refused=refused)


GOOD = LaneHistory(
    lane=LANE,
    writes=requests(1.0, 2.0, 3.0, 4.0, 5.0),
    acknowledged=(1, 2, 3, 4, 5),
    sent=6,
    reads=requests(1.0, 2.0, 3.0, 4.0, 5.0),
    wrong_reads=(),
    held=HELD,
)


def verdict(seen: LaneHistory, since_s: float = 0.5, until_s: float = 6.0) -> judge.LaneVerdict:
    history = History(lanes=(seen,), until_s=until_s, own_pauses=(), left_keys=())
    return judge.judge(history, since_s).of("0001")


def test_good_traffic_has_nothing_to_blame() -> None:
    found = verdict(GOOD)
    assert found.keeps_everything
    assert (found.lost, found.doubled, found.foreign, found.wrong_reads) == ((), (), (), 0)
    assert (found.writes.answered, found.writes.failed) == (5, 0)
    assert found.writes.longest_gap_s == 1.0
    assert found.writes.is_served
    assert found.errors == ()


@pytest.mark.parametrize(
    ("held", "lost"),
    [
        ({"a": (2,), "b": (1, 3, 5)}, (4,)),
        ({"a": (2, 4), "b": ()}, (1, 3, 5)),
        ({"a": (2, 4, 5), "b": (1, 3)}, (5,)),
        ({"a": (2, 4), "b": None}, None),
        ({"a": (2, 4)}, None),
    ],
    ids=["one", "a whole key", "at another key", "nobody could look", "nobody looked"],
)
def test_a_lost_write_is_named_and_what_is_unknown_is_not_good(
    held: dict[str, tuple[int, ...] | None], lost: tuple[int, ...] | None
) -> None:
    found = verdict(replace(GOOD, held=held))
    assert found.lost == lost
    assert not found.keeps_everything


def test_a_write_that_was_refused_may_be_there_or_not() -> None:
    assert verdict(replace(GOOD, held=HELD | {"a": (2, 4, 6)})).keeps_everything
    assert verdict(GOOD).keeps_everything


def test_numbers_that_are_there_twice_are_told_and_lose_nothing() -> None:
    found = verdict(replace(GOOD, held={"a": (2, 4, 4), "b": (1, 3, 5, 3)}))
    assert found.doubled == (3, 4)
    assert found.keeps_everything


@pytest.mark.parametrize("number", [0, -1, 7, 8, 3])
def test_what_was_never_sent_to_a_key_is_foreign(number: int) -> None:
    """8 would belong to the key and 7 to the other one; neither was sent."""
    found = verdict(replace(GOOD, held=HELD | {"a": (2, 4, number)}))
    assert found.foreign == (number,)
    assert not found.keeps_everything


@pytest.mark.parametrize(
    ("answered_s", "since_s", "until_s", "gap_s"),
    [
        ((), 2.0, 6.0, 4.0),
        ((1.0,), 2.0, 6.0, 5.0),
        ((1.0, 5.0), 2.0, 6.0, 4.0),
        ((1.0, 5.0, 5.5), 5.2, 6.0, 0.5),
        ((3.0, 4.0), 2.0, 4.5, 1.0),
        ((1.0, 2.0, 2.1, 7.0), 2.0, 7.0, 4.9),
        ((1.0, 8.0), 2.0, 6.0, 7.0),
    ],
    ids=[
        "no answer at all",
        "no answer since",
        "a gap that began before",
        "an older gap does not count",
        "until the first answer",
        "between two answers",
        "an answer that came while it ended",
    ],
)
def test_the_longest_gap(
    answered_s: tuple[float, ...], since_s: float, until_s: float, gap_s: float
) -> None:
    assert judge.longest_gap_s(answered_s, since_s, until_s) == pytest.approx(gap_s)


def test_failures_count_since_the_moment_and_are_named_by_frequency() -> None:
    refused = (
        Refusal(0.1, "before"),
        Refusal(2.1, "seldom"),
        Refusal(2.2, "often"),
        Refusal(2.3, "often"),
    )
    found = verdict(replace(GOOD, writes=replace(GOOD.writes, refused=refused)))
    assert found.writes.failed == 3
    assert found.errors == ("often", "seldom")


def test_a_request_that_was_due_early_was_slow() -> None:
    late = replace(GOOD.writes, due_s=(1.0, 1.5, 2.0, 4.0, 5.0))
    assert verdict(replace(GOOD, writes=late)).writes.slowest_s == 1.0


@pytest.mark.parametrize(("until_s", "is_served"), [(6.0, True), (7.2, False)])
def test_who_had_no_answer_lately_is_not_served(until_s: float, is_served: bool) -> None:
    assert verdict(GOOD, until_s=until_s).writes.is_served is is_served
    assert verdict(replace(GOOD, writes=NOTHING)).writes.is_served is False


def test_wrong_reads_count_since_the_moment() -> None:
    wrong = tuple(WrongRead(at_s=at, key="a", acknowledged=4, found=2) for at in (0.1, 2.0, 3.0))
    assert verdict(replace(GOOD, wrong_reads=wrong)).wrong_reads == 2


@pytest.mark.parametrize(
    ("acknowledged", "found", "lacks"),
    [
        (0, (), False),
        (3, (), True),
        (3, (2, 1), True),
        (3, (1, 3), False),
        (3, (5, 4), False),
        (3, (3, 2), False),
    ],
)
def test_a_read_must_have_what_was_acknowledged(
    acknowledged: int, found: tuple[int, ...], lacks: bool
) -> None:
    assert judge.lacks(acknowledged, found) is lacks


def test_all_lanes_together() -> None:
    lossy = replace(GOOD, lane=replace(LANE, name="0002"), held=HELD | {"a": (2,)})
    silent = replace(GOOD, reads=NOTHING)
    unread = replace(GOOD, held={"a": None, "b": None})

    def together(*lanes: LaneHistory) -> judge.Verdict:
        pauses = ((0.1, 9.0), (1.0, 0.2), (2.0, 0.1))
        history = History(lanes=lanes, until_s=6.0, own_pauses=pauses, left_keys=("a",))
        return judge.judge(history, 0.5)

    good = together(GOOD)
    assert (good.lost, good.failed, good.keeps_everything, good.is_served) == (0, 0, True, True)
    # The longest pause was before.
    assert (good.own_pause_s, good.left_keys) == (0.2, ("a",))
    assert (together(GOOD, lossy).lost, together(GOOD, lossy).keeps_everything) == (1, False)
    assert together(GOOD, silent).is_served is False
    assert together(GOOD, replace(GOOD, writes=NOTHING)).is_served is False
    assert (together(unread, lossy).lost, together(unread, lossy).lost_at_least) == (None, 1)
    nobody = together()
    assert (nobody.keeps_everything, nobody.is_served) == (False, False)
