"""Planned restarts of Memcached nodes keep their items where the settings allow it, or say why not.

Real service, real memcached, boto3. Every node is asked for its items afterwards.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cachewright.kit import shared_memory
from tests import cache_kit
from tests import service_kit as kit
from tests.contract.engine_lab import miss
from tests.contract.memcached_lab import build_named


@pytest.fixture
def cluster_id(api: Any) -> Iterator[str]:
    """Give a fresh id; what the test made of it is deleted after the test, and waited for."""
    fresh = f"w-{secrets.token_hex(4)}"
    yield fresh
    cache_kit.delete(api, fresh)


@pytest.fixture
def group(api: Any, cluster_id: str) -> Iterator[str]:
    """Give a parameter group; it is deleted after the cluster that uses it."""
    name = f"p-{secrets.token_hex(4)}"
    api.create_cache_parameter_group(
        CacheParameterGroupName=name,
        CacheParameterGroupFamily="memcached1.6",
        Description="of a test",
    )
    yield name
    cache_kit.delete(api, cluster_id)
    api.delete_cache_parameter_group(CacheParameterGroupName=name)


def fill(cluster: dict[str, Any]) -> None:
    for endpoint in cache_kit.nodes(cluster).values():
        with cache_kit.connect(endpoint) as node:
            node.set("item", "kept" * 1000)


def holders(cluster: dict[str, Any]) -> list[str]:
    """Return the nodes that have the item, as it was."""
    found = []
    for node_id, endpoint in cache_kit.nodes(cluster).items():
        with cache_kit.connect(endpoint) as node:
            if node.get("item") == "kept" * 1000:
                found.append(node_id)
    return found


def reboot(api: Any, cluster_id: str, *node_ids: str) -> dict[str, Any]:
    api.reboot_cache_cluster(CacheClusterId=cluster_id, CacheNodeIdsToReboot=list(node_ids))
    return cache_kit.wait_available(api, cluster_id)


def change(api: Any, group: str, name: str, value: str) -> None:
    api.modify_cache_parameter_group(
        CacheParameterGroupName=group,
        ParameterNameValues=[{"ParameterName": name, "ParameterValue": value}],
    )


def setting(cluster: dict[str, Any], name: str) -> set[str]:
    found = set()
    for endpoint in cache_kit.nodes(cluster).values():
        with cache_kit.connect(endpoint) as node:
            found.add(node.stats("settings")[name])
    return found


def test_a_reboot_keeps_the_items(api: Any, cluster_id: str) -> None:
    cluster = cache_kit.create_available(api, cluster_id, 2)
    fill(cluster)
    before = cache_kit.pids(cluster)
    after = reboot(api, cluster_id, "0001", "0002")
    assert set(cache_kit.pids(after).values()).isdisjoint(before.values())
    assert holders(after) == ["0001", "0002"]
    said = kit.messages(api, cluster_id)
    assert "Cache node 0001 restarted" in said
    assert not [text for text in said if "without its items" in text]


def test_a_parameter_keeps_the_items_unless_it_changes_how_memory_looks(
    api: Any, cluster_id: str, group: str
) -> None:
    cluster = cache_kit.create_available(api, cluster_id, 1, CacheParameterGroupName=group)
    fill(cluster)
    change(api, group, "idle_timeout", "600")
    after = reboot(api, cluster_id, "0001")
    assert setting(after, "idle_timeout") == {"600"}
    assert holders(after) == ["0001"]

    change(api, group, "chunk_size", "96")
    after = reboot(api, cluster_id, "0001")
    assert setting(after, "chunk_size") == {"96"}
    assert holders(after) == []
    reason = "chunk_size changed from 48 to 96"
    text = f"Cache node 0001 restarted without its items: {reason}"
    kit.wait_event(api, cluster_id, text)


@pytest.mark.parametrize(
    ("old", "new", "is_kept"), [("1.6.38", "1.6.45", True), ("1.6.18", "1.6.38", False)]
)
def test_an_upgrade_keeps_the_items_where_the_format_is_the_same(
    api: Any, cluster_id: str, old: str, new: str, is_kept: bool
) -> None:
    for version in (old, new):
        if isinstance(found := build_named(version), str):
            miss(found)
    cluster = cache_kit.create_available(api, cluster_id, 2, EngineVersion=old)
    fill(cluster)
    api.modify_cache_cluster(CacheClusterId=cluster_id, EngineVersion=new, ApplyImmediately=True)
    kit.wait_until(
        "the newer version runs",
        lambda: cache_kit.wait_available(api, cluster_id)["EngineVersion"],
        is_it=lambda version: version == new,
    )
    after = cache_kit.wait_available(api, cluster_id)
    for endpoint in cache_kit.nodes(after).values():
        with cache_kit.connect(endpoint) as node:
            assert node.stats()["version"] == new
    assert holders(after) == (["0001", "0002"] if is_kept else [])
    told = [text for text in kit.messages(api, cluster_id) if "without its items" in text]
    assert len(told) == (0 if is_kept else 2)
    assert all("format of items changed" in text for text in told)


def test_a_stop_of_the_service_keeps_no_cache_and_no_memory(tmp_path: Path) -> None:
    with kit.up(tmp_path) as service:
        memory = shared_memory.folder_of(service.state_dir / "nodes")
        cluster = cache_kit.create_available(service.api, "mem", 2)
        fill(cluster)
        assert len(list(memory.iterdir())) == 2
        assert service.stop() == 0
        assert not memory.exists()
        service.start()
        after = cache_kit.wait_available(service.api, "mem")
        assert cache_kit.nodes(after) == cache_kit.nodes(cluster)
        assert holders(after) == []
        # Everything is killed at once, and then deleted.
        service.kill()
        for engine in service.engines().values():
            engine.kill()
        assert memory.exists()
        service.start()
        cache_kit.delete(service.api, "mem")
        kit.assert_nothing_left(service.state_dir)
