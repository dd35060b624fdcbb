"""What does a check call good, keep, and show of a command?"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from click.testing import CliRunner

from cachewright.checker.clients import Kind
from cachewright.checker.judge import LaneVerdict, RequestsVerdict, Verdict
from cachewright.checker.summary import Summary, Totals
from cachewright.cli import check, checking
from cachewright.model.checks import TEXT_CHARS_MAX

REQUESTS = RequestsVerdict(answered=10, failed=0, longest_gap_s=0.1, slowest_s=0.1, is_served=True)
LANE = LaneVerdict(
    name="0-2047",
    pace_s=0.008,
    writes=REQUESTS,
    reads=REQUESTS,
    lost=(),
    doubled=(),
    foreign=(),
    wrong_reads=0,
    errors=(),
)
TOTALS = Totals(answered=10, failed=0, per_second=5.0, lowest_per_second=4.0, longest_gap_s=0.1)
SEEN = Summary(
    seconds=2.0,
    writes=TOTALS,
    reads=dataclasses.replace(TOTALS, longest_gap_s=0.3),
    keys=16_384,
    keys_written=10,
    doubled=0,
    foreign=0,
    wrong_reads=0,
    errors=(),
)
WISH = checking.Wish(
    command=("scale", "--shards", "5"),
    state_dir=Path("/nowhere"),
    seconds=60.0,
    kind=Kind.VALKEY_PY,
    requests_per_s=2_000.0,
)
OVER = checking.Ending(exit_code=0, is_over=True)


def report(
    lane: LaneVerdict = LANE,
    seen: Summary = SEEN,
    ending: checking.Ending = OVER,
    left_behind: int | None = 0,
) -> checking.Report:
    verdict = Verdict(lanes=(lane,), own_pause_s=0.0, left_keys=("a", "b"))
    return checking.report_of("scores", WISH, verdict, seen, ending, left_behind=left_behind)


def refused(lane: LaneVerdict) -> LaneVerdict:
    return dataclasses.replace(lane, writes=dataclasses.replace(lane.writes, failed=1))


def silent(lane: LaneVerdict) -> LaneVerdict:
    return dataclasses.replace(lane, reads=dataclasses.replace(lane.reads, is_served=False))


def test_a_check_is_good_when_nobody_has_anything_to_complain_of() -> None:
    found = report()
    assert found.ok
    assert found.during == "scale --shards 5"
    assert found.client.startswith("valkey-py ")
    assert (found.keys, found.keys_written, found.lost) == (16_384, 10, 0)
    assert (found.writes.longest_gap_ms, found.reads.longest_gap_ms) == (100.0, 300.0)
    assert (found.left, found.left_keys) == (2, ("a", "b"))


@pytest.mark.parametrize(
    ("lane", "seen", "ending", "said"),
    [
        (refused(LANE), SEEN, OVER, ""),
        (silent(LANE), SEEN, OVER, "clients were not served in the end"),
        (dataclasses.replace(LANE, lost=(7,)), SEEN, OVER, "1 acknowledged writes are gone"),
        (dataclasses.replace(LANE, lost=None), SEEN, OVER, "could not be read"),
        (
            dataclasses.replace(LANE, foreign=(7,)),
            dataclasses.replace(SEEN, foreign=1),
            OVER,
            "1 numbers are there that nobody wrote",
        ),
        (LANE, dataclasses.replace(SEEN, doubled=1), OVER, "1 writes are there twice"),
        (LANE, dataclasses.replace(SEEN, wrong_reads=1), OVER, "1 answers were wrong"),
        (LANE, SEEN, checking.Ending(exit_code=3, is_over=True), "the command ended with 3"),
        (LANE, SEEN, checking.Ending(exit_code=None, is_over=False), "it is not over after 2 s"),
        (
            LANE,
            dataclasses.replace(SEEN, writes=dataclasses.replace(TOTALS, failed=1)),
            OVER,
            "1 requests failed",
        ),
    ],
)
def test_whatever_went_wrong_is_not_good_and_is_named(
    lane: LaneVerdict, seen: Summary, ending: checking.Ending, said: str
) -> None:
    found = report(lane, seen, ending)
    assert said in check._blame(found)
    # Totals by hand need not agree with the lanes.
    assert not found.ok or seen.writes.failed


def test_keys_that_no_client_finds_are_not_good_and_nobody_who_looks_is_no_fault() -> None:
    found = report(left_behind=2)
    assert not found.ok
    assert check._blame(found) == "2 keys lie where no client finds them"
    assert (checking.figures_of(found).is_good, checking.figures_of(found).doubled) == (False, 2)
    unknown = report(left_behind=None)
    assert (unknown.ok, unknown.strays, checking.figures_of(unknown).doubled) == (True, None, 0)


def test_what_is_kept_is_the_sum_and_the_worst() -> None:
    kept = checking.figures_of(report())
    assert (kept.requests, kept.failed, kept.per_second) == (20, 0, 10.0)
    assert (kept.lowest_per_second, kept.longest_gap_ms) == (8.0, 300.0)
    assert kept.is_good
    wish = dataclasses.replace(WISH, command=("x" * 1_000,))
    verdict = Verdict(lanes=(LANE,), own_pause_s=0.0, left_keys=())
    long = checking.report_of("scores", wish, verdict, SEEN, OVER, left_behind=0)
    assert len(checking.figures_of(long).during) == TEXT_CHARS_MAX


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (("aws", "elasticache", "x y"), "aws elasticache 'x y'"),
        (("aws", "--auth-token", "abc", "z"), "aws --auth-token '***' z"),
        (("aws", "--auth-token=abc"), "aws '--auth-token=***'"),
        (("env", "PASSWORD=abc", "run"), "env 'PASSWORD=***' run"),
    ],
)
def test_what_is_said_to_be_a_secret_is_not_shown(words: tuple[str, ...], shown: str) -> None:
    assert checking.shown_command(words) == shown


@pytest.mark.parametrize(
    ("during", "code", "said"),
    [
        ("'", 2, "is no command"),
        ("  ", 2, "there is no command in it"),
        ("no-such-program-anywhere", 1, "is no program that can be found"),
    ],
)
def test_a_command_that_cannot_be_run_is_refused_first(during: str, code: int, said: str) -> None:
    result = CliRunner().invoke(check.check, ["scores", "--during", during])
    assert result.exit_code == code
    assert said in result.stderr


def test_a_service_that_is_away_is_waited_for_and_not_for_ever(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    settled = checking._Settled(tmp_path, "scores")
    assert not settled.is_available()
    assert not settled.is_away_for_good()
    monkeypatch.setattr(checking, "_AWAY_TIMEOUT_S", 0.0)
    assert settled.is_away_for_good()
