"""A node that was added and never starts keeps nobody waiting for ever, and comes once it can.

The obstacle is real: something else lies where its folder should be.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import cache_kit
from tests import service_kit as kit


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[kit.Up]:
    with kit.up(tmp_path_factory.mktemp("newcomers")) as running:
        yield running


def obstruct(service: kit.Up, beside: str, *node_ids: str) -> list[Path]:
    """Put something where the folders of nodes will be, in the group of a node that is there."""
    group_key, _, _ = kit.node_folders(service.state_dir)[beside].name.partition(".")
    found = [service.state_dir / "nodes" / f"{group_key}.{node_id}" for node_id in node_ids]
    for path in found:
        path.write_text("in the way")
    return found


def clear(paths: list[Path]) -> None:
    for path in paths:
        path.unlink()


def grow(api: Any, name: str, replicas: int) -> None:
    api.increase_replica_count(
        ReplicationGroupId=name, NewReplicaCount=replicas, ApplyImmediately=True
    )


def shrink(api: Any, name: str, replicas: int) -> None:
    api.decrease_replica_count(
        ReplicationGroupId=name, NewReplicaCount=replicas, ApplyImmediately=True
    )


def reshard(api: Any, name: str, count: int) -> None:
    api.modify_replication_group_shard_configuration(
        ReplicationGroupId=name, NodeGroupCount=count, ApplyImmediately=True
    )


def told(api: Any, source: str, words: str = "could not be made") -> list[str]:
    return [text for text in kit.messages(api, source) if words in text]


def wait_failed(api: Any, *node_ids: str) -> None:
    for node_id in node_ids:
        kit.wait_until(
            f"{node_id} is given up for now",
            functools.partial(cache_kit.status, api, node_id),
            is_it=lambda seen: seen == "incompatible-network",
        )


def owned(api: Any, name: str) -> dict[str, str]:
    """Return the slots of each shard, as the API says them."""
    group = kit.describe(api, name)
    assert group is not None
    return {shard["NodeGroupId"]: shard.get("Slots", "") for shard in group["NodeGroups"]}


def test_a_replica_that_never_starts_is_told_once_and_comes_when_it_can(service: kit.Up) -> None:
    api, new = service.api, "late-003"
    kit.create_available(api, "late", replicas=1)
    obstacles = obstruct(service, "late-001", new)
    grow(api, "late", 2)
    wait_failed(api, new)
    kit.wait_status(api, "late", "available")
    group = kit.describe(api, "late")
    assert group is not None
    assert [shard["Status"] for shard in group["NodeGroups"]] == ["available"]
    with kit.connect(kit.primary_endpoint(group)) as client:
        assert client.set("greeting", "hello")
    service.let_run(7)  # the first pause is over, and it was tried again
    assert kit.status(api, "late") == "available"
    assert len(told(api, "late")) == 1
    (said,) = told(api, new, "Failed to create the cache cluster: ")
    assert "something else is in its place" in said
    service.kill()
    service.start()
    api = service.api
    assert kit.status(api, "late") == "available"
    assert cache_kit.status(api, new) == "incompatible-network"
    clear(obstacles)
    kit.wait_until(
        "it comes", lambda: cache_kit.status(api, new), is_it=lambda seen: seen == "available"
    )
    kit.wait_status(api, "late", "available")
    assert kit.messages(api, new).count("Cache cluster created") == 1
    assert len(told(api, "late")) == 1
    with kit.connect(kit.nodes(api, "late")[new]) as client:
        assert client.get("greeting") == "hello"
    kit.delete(api, "late")


def test_a_replica_that_never_starts_can_be_given_up_again(service: kit.Up) -> None:
    api = service.api
    kit.create_available(api, "fewer", replicas=1)
    obstacles = obstruct(service, "fewer-001", "fewer-003")
    grow(api, "fewer", 2)
    wait_failed(api, "fewer-003")
    kit.wait_status(api, "fewer", "available")
    shrink(api, "fewer", 1)  # nobody is named: who does not serve goes
    kit.wait_status(api, "fewer", "available")
    assert sorted(kit.nodes(api, "fewer")) == ["fewer-001", "fewer-002"]
    clear(obstacles)
    grow(api, "fewer", 2)  # its name is free
    kit.wait_status(api, "fewer", "available")
    assert cache_kit.status(api, "fewer-003") == "available"
    kit.delete(api, "fewer")


def test_a_group_is_deleted_while_a_replica_never_starts(service: kit.Up) -> None:
    api = service.api
    kit.create_available(api, "brief", replicas=1)
    obstacles = obstruct(service, "brief-001", "brief-003")
    grow(api, "brief", 2)
    kit.delete(api, "brief")
    clear(obstacles)
    assert not [n for n in kit.node_folders(service.state_dir) if n.startswith("brief")]


def test_a_shard_of_which_no_node_starts_is_given_up_and_can_be_asked_for_again(
    service: kit.Up,
) -> None:
    api = service.api
    kit.create_available(api, "wide", shards=2, replicas=1)
    before, new = owned(api, "wide"), [f"wide-0003-00{number}" for number in (1, 2)]
    obstacles = obstruct(service, "wide-0001-001", *new)
    reshard(api, "wide", 3)
    kit.wait_event(api, "wide", "Removing node group 0003")
    kit.wait_status(api, "wide", "available")
    assert len(kit.nodes(api, "wide")) == 4
    assert owned(api, "wide") == before
    ended = told(api, "wide", "ended before it was complete")
    assert len(ended) == 1
    assert "something else is in its place" in ended[0]
    clear(obstacles)
    reshard(api, "wide", 3)
    kit.wait_event(api, "wide", "completed")
    kit.wait_status(api, "wide", "available")
    assert all(owned(api, "wide").values())
    assert len(owned(api, "wide")) == 3
    kit.delete(api, "wide")


def test_a_shard_of_which_some_nodes_start_gets_its_slots(service: kit.Up) -> None:
    """The first of its nodes cannot start, so the other one is its primary."""
    api = service.api
    kit.create_available(api, "half", shards=1, replicas=1)
    obstacles = obstruct(service, "half-0001-001", "half-0002-001")
    reshard(api, "half", 2)
    kit.wait_event(api, "half", "completed")
    kit.wait_status(api, "half", "available")
    assert all(owned(api, "half").values())
    assert cache_kit.status(api, "half-0002-001") == "incompatible-network"
    assert cache_kit.status(api, "half-0002-002") == "available"
    clear(obstacles)
    kit.wait_until(
        "it comes",
        lambda: cache_kit.status(api, "half-0002-001"),
        is_it=lambda seen: seen == "available",
    )
    kit.wait_status(api, "half", "available")
    kit.delete(api, "half")


def test_of_two_shards_the_one_that_comes_gets_its_slots(service: kit.Up) -> None:
    api = service.api
    kit.create_available(api, "odd", shards=1)
    obstacles = obstruct(service, "odd-0001-001", "odd-0003-001")
    reshard(api, "odd", 3)
    kit.wait_event(api, "odd", "completed")
    kit.wait_status(api, "odd", "available")
    assert sorted(owned(api, "odd")) == ["0001", "0002"]
    assert all(owned(api, "odd").values())
    clear(obstacles)
    kit.delete(api, "odd")


def test_a_cache_node_that_never_starts_is_told_once_and_comes_or_is_given_up(
    service: kit.Up,
) -> None:
    api = service.api
    cache_kit.create_available(api, "cache", nodes=1)
    obstacles = obstruct(service, "0001", "0002")
    api.modify_cache_cluster(CacheClusterId="cache", NumCacheNodes=2, ApplyImmediately=True)
    failed = "Failed to modify number of nodes from 1 to 2 due to cache node 0002: "
    kit.wait_until("it is told", lambda: told(api, "cache", failed))
    cache_kit.wait_status(api, "cache", "available")
    service.let_run(7)  # the first pause is over, and it was tried again
    assert cache_kit.status(api, "cache") == "available"
    assert len(told(api, "cache", failed)) == 1
    assert told(api, "cache") == told(api, "cache", "Failed to create") == []
    larger = "cache.t4g.small"  # nobody waits for that node
    api.modify_cache_cluster(CacheClusterId="cache", CacheNodeType=larger, ApplyImmediately=True)
    kit.wait_event(api, "cache", "Succeeded applying modification to cache node type")
    cache_kit.wait_status(api, "cache", "available")
    assert len(told(api, "cache", failed)) == 1
    api.modify_cache_cluster(
        CacheClusterId="cache",
        NumCacheNodes=1,
        CacheNodeIdsToRemove=["0002"],
        ApplyImmediately=True,
    )
    kit.wait_event(api, "cache", "Removed cache nodes 0002")
    cache_kit.wait_status(api, "cache", "available")
    clear(obstacles)
    obstacles = obstruct(service, "0001", "0002", "0003")
    api.modify_cache_cluster(CacheClusterId="cache", NumCacheNodes=2, ApplyImmediately=True)
    kit.wait_until(
        "it is told again", lambda: told(api, "cache", "Failed"), is_it=lambda said: len(said) == 2
    )
    clear(obstacles)
    kit.wait_event(api, "cache", "Added cache node")
    cache_kit.wait_status(api, "cache", "available")
    cluster = cache_kit.describe(api, "cache")
    assert cluster is not None
    assert len(cache_kit.nodes(cluster)) == 2
    cache_kit.delete(api, "cache")
