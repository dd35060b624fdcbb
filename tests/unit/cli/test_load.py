"""The figures of the demo say what was measured."""

from __future__ import annotations

import pytest

from cachewright.cli.demo import load


@pytest.mark.parametrize(
    ("share", "expected"), [(0.5, 50), (0.99, 99), (0.999, 100), (1.0, 100), (0.001, 1)]
)
def test_a_quantile_is_the_value_that_the_share_does_not_exceed(
    share: float, expected: int
) -> None:
    assert load.quantile(range(1, 101), share) == expected


def test_a_quantile_of_nothing_is_zero() -> None:
    assert load.quantile([], 0.5) == 0


def report(elapsed_s: float, latencies_us: list[int], errors: int = 0) -> dict[str, object]:
    return {
        "elapsed_s": elapsed_s,
        "latencies_us": {"leaderboard": latencies_us, "sessions": [1_000]},
        "errors": errors,
        "first_error": "MOVED 1" if errors else "",
        "tops": {"b": [["p", 3]]},
        "visits": {f"s{elapsed_s:g}": 2},
    }


def test_reports_of_all_workers_are_merged() -> None:
    """The rate counts commands of all workers over the time of the slowest."""
    outcome = load.merge([report(2.0, [500, 700]), report(4.0, [900], errors=1)])
    assert outcome.seconds == 4.0
    assert outcome.total.requests == 5
    assert outcome.total.operations == 500
    assert outcome.total.operations_per_s == 125
    assert outcome.by_kind["leaderboard"].latency.p50_ms == 0.7
    assert outcome.by_kind["leaderboard"].latency.p99_9_ms == 0.9
    assert (outcome.errors, outcome.first_error) == (1, "MOVED 1")
    assert outcome.visits == {"s2": 2, "s4": 2}
