"""Memcached nodes get another type: more memory keeps the items, less starts them empty.

Real service, real memcached, boto3. Every node is asked what it is and what it holds.
"""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Iterator
from typing import Any

import pytest

from cachewright import testing
from cachewright.kit import shared_memory
from cachewright.model.node_types import node_type_of
from tests import cache_kit
from tests import service_kit as kit

MICRO, SMALL, ALIKE = "cache.t4g.micro", "cache.t4g.small", "cache.t3.small"
#: Megabytes that a node does not use for items.
OVERHEAD_MB = 100
WINDOW, IN_WINDOW = "sun:05:00-sun:06:00", "2032-01-04T05:30:00Z"
VALUE = "kept" * 1000


@pytest.fixture
def cluster_id(api: Any) -> Iterator[str]:
    """Give a fresh id; what the test made of it is deleted after the test, and waited for."""
    fresh = f"t-{secrets.token_hex(4)}"
    yield fresh
    cache_kit.delete(api, fresh)


def memory_mb(cluster: dict[str, Any]) -> set[int]:
    found = set()
    for endpoint in cache_kit.nodes(cluster).values():
        with cache_kit.connect(endpoint) as node:
            found.add(int(node.stats()["limit_maxbytes"]) >> 20)
    return found


def wanted_mb(name: str) -> set[int]:
    known = node_type_of(name)
    assert known is not None
    return {known.memcached_memory_mb - OVERHEAD_MB}


def fill(cluster: dict[str, Any]) -> None:
    for endpoint in cache_kit.nodes(cluster).values():
        with cache_kit.connect(endpoint) as node:
            node.set("item", VALUE)


def holders(cluster: dict[str, Any]) -> list[str]:
    """Return the nodes that have the item, as it was."""
    found = []
    for node_id, endpoint in cache_kit.nodes(cluster).items():
        with cache_kit.connect(endpoint) as node:
            if node.get("item") == VALUE:
                found.append(node_id)
    return found


def change(api: Any, cluster_id: str, node_type: str) -> list[str]:
    """Change the type now; return every status that was seen on the way."""
    answer = api.modify_cache_cluster(
        CacheClusterId=cluster_id, CacheNodeType=node_type, ApplyImmediately=True
    )["CacheCluster"]
    assert (answer["CacheNodeType"], answer["CacheClusterStatus"]) == (node_type, "modifying")
    return cache_kit.wait_status(api, cluster_id, "available")


def test_more_memory_keeps_the_items_and_less_does_not(api: Any, cluster_id: str) -> None:
    before = cache_kit.create_available(api, cluster_id, 2, CacheNodeType=MICRO)
    assert memory_mb(before) == wanted_mb(MICRO)
    fill(before)
    assert change(api, cluster_id, SMALL) in (["modifying", "available"], ["available"])
    grown = cache_kit.wait_available(api, cluster_id)
    assert (grown["CacheNodeType"], grown["PendingModifiedValues"]) == (SMALL, {})
    assert cache_kit.nodes(grown) == cache_kit.nodes(before)
    assert memory_mb(grown) == wanted_mb(SMALL)
    assert holders(grown) == ["0001", "0002"]
    said = kit.wait_event(
        api, cluster_id, f"Succeeded applying modification to cache node type to {SMALL}."
    )
    assert "Cache node 0002 restarted" in said
    assert not [text for text in said if "without its items" in text or "Recovering" in text]

    # Of the same memory and threads: nothing is to be done.
    pids = cache_kit.pids(grown)
    change(api, cluster_id, ALIKE)
    alike = cache_kit.wait_available(api, cluster_id)
    assert alike["CacheNodeType"] == ALIKE
    assert cache_kit.pids(alike) == pids

    change(api, cluster_id, MICRO)
    shrunk = cache_kit.wait_available(api, cluster_id)
    assert memory_mb(shrunk) == wanted_mb(MICRO)
    assert holders(shrunk) == []
    assert cache_kit.nodes(shrunk) == cache_kit.nodes(before)
    kit.wait_event(api, cluster_id, "restarted without its items: memory changed from", times=2)
    kit.wait_event(api, cluster_id, f"cache node type to {MICRO}.")


def test_one_node_after_the_other_and_no_second_change_meanwhile(api: Any, cluster_id: str) -> None:
    cluster = cache_kit.create_available(api, cluster_id, 3, CacheNodeType=MICRO)
    api.modify_cache_cluster(CacheClusterId=cluster_id, CacheNodeType=SMALL, ApplyImmediately=True)
    code, _ = cache_kit.refusal(
        api.modify_cache_cluster,
        CacheClusterId=cluster_id,
        CacheNodeType=MICRO,
        ApplyImmediately=True,
    )
    assert code == "InvalidCacheClusterState"
    fewest = len(cache_kit.nodes(cluster))
    while cache_kit.status(api, cluster_id) != "available":
        served = sum(not kit.tcp_is_refused(e) for e in cache_kit.nodes(cluster).values())
        fewest = min(fewest, served)
    assert fewest >= 2
    assert memory_mb(cache_kit.wait_available(api, cluster_id)) == wanted_mb(SMALL)


def test_a_type_waits_for_its_window_with_the_number_of_nodes(
    service: testing.Service, api: Any, cluster_id: str
) -> None:
    before = cache_kit.create_available(
        api, cluster_id, 1, CacheNodeType=MICRO, PreferredMaintenanceWindow=WINDOW
    )
    fill(before)
    api.modify_cache_cluster(CacheClusterId=cluster_id, CacheNodeType=SMALL, NumCacheNodes=2)
    waiting = cache_kit.wait_available(api, cluster_id)
    assert waiting["PendingModifiedValues"] == {"CacheNodeType": SMALL, "NumCacheNodes": 2}
    assert waiting["CacheNodeType"] == MICRO
    assert memory_mb(waiting) == wanted_mb(MICRO)
    assert cache_kit.maintain(service, IN_WINDOW) == [cluster_id]
    after = cache_kit.wait_available(api, cluster_id)
    assert (after["CacheNodeType"], after["PendingModifiedValues"]) == (SMALL, {})
    assert sorted(cache_kit.nodes(after)) == ["0001", "0002"]
    assert memory_mb(after) == wanted_mb(SMALL)
    assert holders(after) == ["0001"]


def test_what_is_listed_is_taken_and_the_rest_refused(api: Any, cluster_id: str) -> None:
    cache_kit.create_available(api, cluster_id, 1, CacheNodeType=SMALL)
    listed = api.list_allowed_node_type_modifications(CacheClusterId=cluster_id)
    assert {ALIKE, "cache.r7g.16xlarge"} <= set(listed["ScaleUpModifications"])
    assert set(listed["ScaleDownModifications"]) == {MICRO, "cache.t3.micro"}
    for name, code, words in (
        (SMALL, "InvalidParameterCombination", "No modifications"),
        ("cache.cheese", "InvalidParameterValue", "ListAllowedNodeTypeModifications"),
        ("cache.t2.medium", "InvalidParameterValue", "previous generation"),
        ("x" * 500, "InvalidParameterValue", "Invalid value"),
    ):
        found, text = cache_kit.refusal(
            api.modify_cache_cluster,
            CacheClusterId=cluster_id,
            CacheNodeType=name,
            ApplyImmediately=True,
        )
        assert (found, words in text) == (code, True), text
    assert cache_kit.status(api, cluster_id) == "available"


def test_a_node_that_no_file_holds_takes_more_memory_while_it_runs(
    api: Any, cluster_id: str
) -> None:
    smaller, larger = "cache.m7g.2xlarge", "cache.r7g.2xlarge"
    (least,) = wanted_mb(smaller)
    if shutil.disk_usage(shared_memory.ROOT).total >> 20 > least:
        pytest.skip("all memory of this host's shared memory would have to be taken")
    before = cache_kit.create_available(api, cluster_id, 1, CacheNodeType=smaller)
    fill(before)
    pids = cache_kit.pids(before)
    change(api, cluster_id, larger)
    after = cache_kit.wait_available(api, cluster_id)
    assert memory_mb(after) == wanted_mb(larger)
    assert cache_kit.pids(after) == pids
    assert holders(after) == ["0001"]
    said = kit.wait_event(api, cluster_id, f"cache node type to {larger}.")
    assert "Cache node 0001 restarted" not in said
    change(api, cluster_id, smaller)
    assert holders(cache_kit.wait_available(api, cluster_id)) == []
