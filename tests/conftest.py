"""In which order do the tests run, and how long may an example of a property take?

Slow tests come first, so that none of them is the last one. Nothing is judged by its time: workers
share few cores.
"""

from __future__ import annotations

import faulthandler
import itertools
from collections.abc import Iterator, Sequence

import pytest
from hypothesis import HealthCheck, settings

# With more patience; and with the same examples each time, so that whoever changes something is
# told of that alone. Others are looked for with `--hypothesis-profile=seeking`.
settings.register_profile(
    "seeking", settings.default, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("patient", settings.get_profile("seeking"), derandomize=True)
settings.load_profile("patient")


#: Slow tests of one file go together, for they may share a service; and so many seconds at most.
_BUNDLE_S = 120.0
#: What `slow` says where it says nothing.
_SLOW_S = 30.0


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Let each worker begin with its share of the slow tests, the slowest first.

    pytest-xdist cuts all tests into one part for each worker; who has finished takes the end of
    somebody else's part (`--dist worksteal`).
    """
    workers = int(getattr(config, "workerinput", {}).get("workercount", 1))
    shares: list[list[pytest.Item]] = [[] for _ in range(workers)]
    for bundle in sorted(_bundles(items), key=_total_s, reverse=True):
        min(shares, key=_total_s).extend(bundle)
    others = [item for item in items if not _slow_s(item)]
    ordered: list[pytest.Item] = []
    for worker, mine in enumerate(shares):
        part = (len(items) - len(ordered)) // (workers - worker)
        count = max(0, part - len(mine))
        ordered += [*mine, *others[:count]]
        others = others[count:]
    items[:] = [*ordered, *others]


def _bundles(items: Sequence[pytest.Item]) -> Iterator[list[pytest.Item]]:
    slow = (item for item in items if _slow_s(item))
    for _, of_file in itertools.groupby(slow, key=lambda item: item.path):
        bundle: list[pytest.Item] = []
        for item in of_file:
            if bundle and _total_s([*bundle, item]) > _BUNDLE_S:
                yield bundle
                bundle = []
            bundle.append(item)
        yield bundle


def _total_s(items: Sequence[pytest.Item]) -> float:
    return sum(map(_slow_s, items))


def _slow_s(item: pytest.Item) -> float:
    marker = item.get_closest_marker("slow")
    if marker is None:
        return 0.0
    return float(marker.args[0]) if marker.args else _SLOW_S


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Print no stacks of a test that may take longer than most.

    They are read while threads run on, which can be the end of a worker.
    """
    if _timeout_s(item):
        faulthandler.cancel_dump_traceback_later()


def _timeout_s(item: pytest.Item) -> float:
    marker = item.get_closest_marker("timeout")
    return 0.0 if marker is None else float(marker.args[0])
