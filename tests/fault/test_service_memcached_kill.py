"""kill -9 of the service while a Memcached cluster changes: clients are told the truth all along.

At every named failpoint, in every stage of a cluster's life. The nodes and the configuration
endpoint outlive the service, a version never means two lists, and after a plain start everything
converges with nothing left over.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import BotoCoreError, ClientError

from cachewright.kit import failpoints
from tests import cache_kit
from tests import service_kit as kit

_NAME = "mem"
#: Six places at most and the endpoint: an address that leaks is missed at the end.
_POOL_PREFIX = 28
_LOOK_EVERY_S = 0.01
#: Of 1,402 a hundred are not for items.
_SMALL_MB = 1302


@pytest.fixture
def service(tmp_path: Path) -> Iterator[kit.Up]:
    with kit.prepared(tmp_path, "--address-pool", kit.free_pool(_POOL_PREFIX)) as prepared:
        yield prepared


class Poller:
    """A client that asks the configuration endpoint again and again, as discovery clients do."""

    def __init__(self, endpoint: tuple[str, int]) -> None:
        self.lists: dict[int, list[str]] = {}
        self.failures: list[str] = []
        self._endpoint = endpoint
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Poller:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()

    def _run(self) -> None:
        newest = 0
        with contextlib.closing(cache_kit.Memcached(self._endpoint)) as endpoint:
            while not self._is_over.wait(_LOOK_EVERY_S):
                try:
                    version, members = endpoint.config()
                except (AssertionError, OSError) as error:
                    self.failures.append(f"the endpoint did not answer: {error}")
                    return
                if version < newest:
                    self.failures.append(f"version {version} after {newest}")
                if self.lists.setdefault(version, members) != members:
                    self.failures.append(f"version {version} means two lists")
                newest = max(newest, version)


def attempt(call: Callable[[], object]) -> None:
    """Call; whether it was acknowledged nobody knows if the service dies meanwhile."""
    with contextlib.suppress(BotoCoreError, ClientError):
        call()


def live_through(service: kit.Up, failpoint: str, stage: Callable[[Any], object]) -> int:
    """Do one thing with a failpoint armed, start plainly afterwards; return whether it died."""
    service.kill()
    service.launch(CACHEWRIGHT_FAILPOINTS=f"{failpoint}=kill:1")
    if service.wait_ready():
        attempt(lambda: stage(service.api))
    died = int(has_died(service))
    service.kill()
    service.start()
    # Whoever was not answered asks again: every stage here may be asked for twice.
    if died:
        attempt(lambda: stage(service.api))
    return died


def has_died(service: kit.Up) -> bool:
    """Wait until the service has died or the cluster has come to rest; tell which."""

    def look() -> str:
        if service.process.poll() is not None:
            return "died"
        try:
            return cache_kit.status(service.api, _NAME)
        except BotoCoreError:
            return "no answer"

    at_rest = {"died", "available", "gone"}
    return kit.wait_until("dead or at rest", look, is_it=lambda s: s in at_rest) == "died"


def scale_out(api: Any) -> None:
    api.modify_cache_cluster(CacheClusterId=_NAME, NumCacheNodes=3, ApplyImmediately=True)


def reboot(api: Any) -> None:
    api.reboot_cache_cluster(CacheClusterId=_NAME, CacheNodeIdsToReboot=["0002"])


def scale_in(api: Any) -> None:
    api.modify_cache_cluster(
        CacheClusterId=_NAME,
        NumCacheNodes=2,
        CacheNodeIdsToRemove=["0001"],
        ApplyImmediately=True,
    )


def scale_up(api: Any) -> None:
    api.modify_cache_cluster(
        CacheClusterId=_NAME, CacheNodeType="cache.t4g.small", ApplyImmediately=True
    )


@pytest.mark.parametrize("name", ["agent.before_spawn", "agent.after_spawn", "control.after_step"])
def test_a_kill_while_nodes_get_another_type_loses_no_item(service: kit.Up, name: str) -> None:
    service.start()
    before = cache_kit.create_available(service.api, _NAME, 2)
    for endpoint in cache_kit.nodes(before).values():
        with cache_kit.connect(endpoint) as node:
            node.set("key", "value")
    deaths = live_through(service, name, scale_up)
    after = cache_kit.wait_available(service.api, _NAME)
    assert deaths > 0
    assert after["CacheNodeType"] == "cache.t4g.small"
    assert cache_kit.nodes(after) == cache_kit.nodes(before)
    for endpoint in cache_kit.nodes(after).values():
        with cache_kit.connect(endpoint) as node:
            assert int(node.stats()["limit_maxbytes"]) >> 20 == _SMALL_MB
            assert node.get("key") == "value"
    cache_kit.delete(service.api, _NAME)
    kit.assert_nothing_left(service.state_dir)


@pytest.mark.parametrize(
    "name",
    sorted(failpoints.NAMES.keys() - failpoints.OF_FAILOVER.keys() - failpoints.OF_MOVES.keys()),
)
def test_a_kill_at_a_failpoint_in_every_stage_of_a_cluster(service: kit.Up, name: str) -> None:
    service.start()
    deaths = live_through(service, name, lambda api: cache_kit.create(api, _NAME, 2))
    cluster = cache_kit.wait_available(service.api, _NAME)
    with Poller(kit.place(cluster["ConfigurationEndpoint"])) as poller:
        with cache_kit.connect(cache_kit.nodes(cluster)["0002"]) as node:
            node.set("key", "value")
        deaths += live_through(service, name, scale_out)
        grown = cache_kit.wait_available(service.api, _NAME)
        assert sorted(cache_kit.nodes(grown)) == ["0001", "0002", "0003"]
        deaths += live_through(service, name, reboot)
        cache_kit.wait_available(service.api, _NAME)
        deaths += live_through(service, name, scale_in)
        shrunk = cache_kit.wait_available(service.api, _NAME)
        assert sorted(cache_kit.nodes(shrunk)) == ["0002", "0003"]
        kit.wait_until("the last list is seen", lambda: max(poller.lists) == 3)
    assert poller.failures == []
    assert sorted(poller.lists) == [1, 2, 3]
    places = {f"{address}|{address}|{port}" for address, port in cache_kit.nodes(shrunk).values()}
    assert set(poller.lists[3]) == places
    cache_kit.delete(service.api, _NAME)
    kit.assert_nothing_left(service.state_dir)
    assert deaths > 0, "the failpoint was never passed"
