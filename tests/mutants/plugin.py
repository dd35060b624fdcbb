"""How does a run of pytest tell its runner what failed? A plugin: `-p tests.mutants.plugin`.

It makes properties the same in each run and spares them the search for the smallest example, and
it refuses to run against any other source than the copy that it was started for.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import Phase, settings

import cachewright

#: Where the copy of the sources lies, and where reports go: one JSON object a line.
SOURCES = "CACHEWRIGHT_MUTANT_SOURCES"
REPORTS = "CACHEWRIGHT_MUTANT_REPORTS"

settings.register_profile(
    "mutants",
    derandomize=True,
    database=None,
    phases=(Phase.explicit, Phase.generate),
    print_blob=False,
)
settings.load_profile("mutants")


def pytest_sessionstart() -> None:
    """Refuse to judge the wrong program."""
    used = Path(cachewright.__file__).parents[1]
    if used != Path(os.environ[SOURCES]):
        raise pytest.UsageError(f"{used} would be tested")


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Write down how each test ended."""
    if report.when != "call" and report.outcome == "passed":
        return
    said = {"test": report.nodeid, "outcome": report.outcome, "text": report.longreprtext}
    with Path(os.environ[REPORTS]).open("a") as file:
        file.write(json.dumps(said) + "\n")
