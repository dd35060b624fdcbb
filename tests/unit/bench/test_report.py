"""Do rounds become the right figure, and does the table keep what it must keep?"""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from bench import report
from bench.measure import Comparison, Figure, Skipped, Target, sample


def _figure(key: str, *ours: float, note: str = "") -> Figure:
    return Figure(
        key=key,
        what=f"what {key}",
        ours=sample("s", ours),
        baseline_name="by hand",
        baseline=sample("s", [2.0] * len(ours)),
        comparison=Comparison.RATIO,
        target=Target(bound=1.0, is_minimum=False),
        note=note,
    )


def test_a_ratio_pairs_the_values_of_a_round() -> None:
    figure = Figure(
        key="k",
        what="w",
        ours=sample("s", (1.0, 9.0)),
        baseline=sample("s", (2.0, 3.0)),
        comparison=Comparison.RATIO,
        target=None,
    )
    assert figure.compared().values == (0.5, 3.0)
    assert figure.is_met() is None


def test_rounds_of_different_number_are_refused() -> None:
    figure = Figure(
        key="k",
        what="w",
        ours=sample("s", (1.0, 9.0)),
        baseline=sample("s", (2.0,)),
        comparison=Comparison.DIFFERENCE,
        target=None,
    )
    with pytest.raises(ValueError, match="zip"):
        figure.compared()


@pytest.mark.parametrize(
    ("value", "is_minimum", "is_met"),
    [(0.98, True, True), (0.97, True, False), (0.98, False, True), (0.99, False, False)],
)
def test_a_target_holds_at_its_bound(value: float, is_minimum: bool, is_met: bool) -> None:
    assert Target(bound=0.98, is_minimum=is_minimum).is_met_by(value) is is_met


def test_the_median_decides() -> None:
    assert _figure("k", 1.0, 1.0, 100.0).is_met()
    assert not _figure("k", 1.0, 100.0, 100.0).is_met()


def test_percents_just_below_the_whole_keep_their_nines() -> None:
    figure = Figure(
        key="k",
        what="w",
        ours=sample("%", (99.967, 99.969)),
        baseline=None,
        comparison=Comparison.ALONE,
        target=Target(bound=99.9, is_minimum=True, share=0.0),
    )
    assert report.cells(figure)[1] == "p50 99.968, worst 99.967 %, n = 2"


def test_rounds_that_scatter_around_the_target_are_within_noise() -> None:
    scattered = _figure("k", *([1.9] * 6 + [2.1] * 4))
    assert scattered.is_met()
    assert not scattered.is_certain()
    assert report.cells(scattered)[5] == "yes, within noise"
    assert _figure("k", *([1.9] * 16 + [2.1] * 4)).is_certain()


def test_a_run_replaces_its_rows_and_leaves_the_others_and_the_prose(tmp_path: Path) -> None:
    results, page = tmp_path / "b.json", tmp_path / "b.md"
    page.write_text("before\n<!-- figures: begin -->\nold\n<!-- figures: end -->\nafter\n")
    report.merge(_figure("one", 1.0), results, page)
    report.merge(_figure("two", 1.0), results, page)
    report.merge(_figure("one", 4.0), results, page)
    report.merge(Skipped(key="three", what="what three", reason="no network"), results, page)
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("\nafter\n")
    assert "old" not in text
    rows = [line for line in text.splitlines() if line.startswith("| what ")]
    assert [row.split(" | ")[0] for row in rows[1:]] == ["| what one", "| what two", "| what three"]
    assert "**no**" in rows[1]
    assert "**no**" not in rows[2]
    assert "no network" in rows[3]
    kept = msgspec.json.decode(results.read_bytes(), type=report.Results)
    assert [(row.key, row.met) for row in kept.figures] == [
        ("one", False),
        ("two", True),
        ("three", None),
    ]


def test_the_share_of_a_target_says_which_rounds_decide() -> None:
    values = [float(number) for number in range(1, 101)]
    figure = Figure(
        key="k",
        what="w",
        ours=sample("ms", values),
        target=Target(bound=95.0, is_minimum=False, share=0.95),
    )
    assert sample("ms", values).quantile(0.95) == pytest.approx(95.05)
    assert figure.is_met() is False
    assert not figure.is_certain()
    met = Figure(
        key="k",
        what="w",
        ours=sample("ms", values),
        target=Target(bound=100.0, is_minimum=False, share=1.0),
    )
    assert met.is_met()
    assert met.is_certain()
    assert report.cells(met)[1] == "p50 50.5, worst 100 ms, n = 100"
    assert report.cells(met)[4] == "worst ≤ 100 ms"


def test_a_slow_baseline_may_have_fewer_rounds() -> None:
    figure = Figure(
        key="k",
        what="w",
        ours=sample("ms", (10.0, 20.0, 30.0)),
        baseline=sample("ms", (1000.0,)),
        comparison=Comparison.TO_MEDIAN,
        target=Target(bound=0.02, is_minimum=False),
    )
    assert figure.compared().values == (0.01, 0.02, 0.03)
    assert figure.is_met()
    assert "0.0200 x" in report.cells(figure)[3]


def test_what_must_not_happen_makes_a_fast_figure_a_miss() -> None:
    figure = Figure(
        key="k",
        what="w",
        ours=sample("ms", (1.0,)),
        target=Target(bound=10.0, is_minimum=False),
        broken=("3 acknowledged writes lost.",),
        note="n",
    )
    assert figure.is_met() is False
    assert report.cells(figure)[5:] == ("**no**", "**3 acknowledged writes lost.** n")


def test_a_baseline_that_never_ends_is_told_by_its_name() -> None:
    figure = Figure(
        key="k",
        what="w",
        ours=sample("ms", (1.0,)),
        baseline_name="engine alone: not within 30 s",
        target=None,
    )
    assert report.cells(figure)[2] == "engine alone: not within 30 s"
