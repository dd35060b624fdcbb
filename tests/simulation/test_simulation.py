"""Hours of faults in seconds: no law is broken, and every group settles.

`CACHEWRIGHT_SIMULATION_SEED` and `CACHEWRIGHT_SIMULATION_HOURS` choose another run; a failure names
its seed, and the same seed does the same again.
"""

from __future__ import annotations

import os
import secrets
import time

import pytest

from tests.simulation.simulation import run

#: Virtual hours of the run with a fresh seed, and of each that was once found to break a law.
_HOURS = float(os.environ.get("CACHEWRIGHT_SIMULATION_HOURS", "3000"))
_REGRESSION_HOURS = 150.0
#: What is left when the time of the fresh run is over, seconds of this machine.
_BUDGET_S = 50.0


@pytest.mark.slow(50)
def test_no_law_is_broken_in_a_run_that_nobody_has_seen(capsys: pytest.CaptureFixture[str]) -> None:
    chosen = os.environ.get("CACHEWRIGHT_SIMULATION_SEED")
    first = int(chosen) if chosen else secrets.randbelow(1_000_000)
    began_s, hours, bad_hours, seed = time.monotonic(), 0.0, 0, first
    while hours < _HOURS and (time.monotonic() - began_s < _BUDGET_S or hours == 0):
        figures = run(seed, min(100.0, _HOURS - hours))
        hours, bad_hours, seed = hours + figures.hours, bad_hours + figures.bad_hours, seed + 1
    took_s = time.monotonic() - began_s
    with capsys.disabled():
        print(  # noqa: T201 whoever reads the log of the tests wants to know what was run
            f"\nsimulated {hours:.0f} hours with {bad_hours} bad ones in {took_s:.0f} s, "
            f"seeds {first} to {seed - 1}"
        )


@pytest.mark.parametrize("seed", [1, 3, 7, 217, 890_421])
def test_no_law_is_broken_in_runs_that_once_broke_one(seed: int) -> None:
    run(seed, _REGRESSION_HOURS)


def test_a_seed_does_the_same_again() -> None:
    assert run(11, 40.0) == run(11, 40.0)
