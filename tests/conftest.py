"""In which order do the tests run, and how long may an example of a property take?

Slow tests come first, so that none of them is the last one. Nothing is judged by its time: workers
share few cores.
"""

from __future__ import annotations

import faulthandler

import pytest
from hypothesis import HealthCheck, settings

# Whatever profile is in use; with more patience.
settings.register_profile(
    "patient", settings.default, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("patient")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Let each worker begin with its share of the slow tests, the most patient first.

    pytest-xdist cuts all tests into one part for each worker; who has finished takes the end of
    somebody else's part (`--dist worksteal`).
    """
    workers = int(getattr(config, "workerinput", {}).get("workercount", 1))
    slow = [item for item in items if item.get_closest_marker("slow")]
    slow.sort(key=_timeout_s, reverse=True)
    others = [item for item in items if not item.get_closest_marker("slow")]
    ordered: list[pytest.Item] = []
    for worker in range(workers):
        mine = slow[worker::workers]
        part = (len(items) - len(ordered)) // (workers - worker)
        count = max(0, part - len(mine))
        ordered += [*mine, *others[:count]]
        others = others[count:]
    items[:] = [*ordered, *others]


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Print no stacks of a test that may take longer than most.

    They are read while threads run on, which can be the end of a worker.
    """
    if _timeout_s(item):
        faulthandler.cancel_dump_traceback_later()


def _timeout_s(item: pytest.Item) -> float:
    marker = item.get_closest_marker("timeout")
    return 0.0 if marker is None else float(marker.args[0])
