"""Which fixtures do the tests with other tools share? A service, and looks from outside."""

from __future__ import annotations

import faulthandler
from collections.abc import Iterator
from pathlib import Path

import pytest

from cachewright import testing

_HERE = Path(__file__).parent
#: Of its equal share of all tests, pytest-xdist gives each worker this part before it looks again.
_FIRST_PART = 4


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Let each worker begin with one of these tests, the longest first: they mostly wait."""
    ours = [item for item in items if item.path.is_relative_to(_HERE)]
    others = [item for item in items if not item.path.is_relative_to(_HERE)]
    workers = int(getattr(config, "workerinput", {}).get("workercount", 1))
    first_part = len(items) // workers // _FIRST_PART
    for number, item in enumerate(sorted(ours, key=_patience_s, reverse=True)):
        others.insert(number % workers * first_part + number // workers, item)
    items[:] = others


def _patience_s(item: pytest.Item) -> float:
    marker = item.get_closest_marker("timeout")
    return 0.0 if marker is None else float(marker.args[0])


@pytest.fixture
def service() -> Iterator[testing.Service]:
    """Give a service of the test's own, so that "nothing is left" can be seen."""
    with testing.service() as running:
        yield running


@pytest.fixture(autouse=True)
def _patience() -> None:
    """Print no stacks after the suite's usual limit: the tools' own waits are longer."""
    faulthandler.cancel_dump_traceback_later()
