"""Memcached clusters of the whole service: create, scale, reboot, change in the window, delete.

Real service, real memcached, boto3. Every node is asked at its own address what it is.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from typing import Any

import pytest

from cachewright import testing
from tests import cache_kit
from tests import service_kit as kit

#: A moment in the window that the clusters of these tests have, in a year of its own.
WINDOW, IN_WINDOW = "sun:05:00-sun:06:00", "2031-01-05T05:30:00Z"


@pytest.fixture
def cluster_id(api: Any) -> Iterator[str]:
    """Give a fresh id; what the test made of it is deleted after the test, and waited for."""
    fresh = f"m-{secrets.token_hex(4)}"
    yield fresh
    cache_kit.delete(api, fresh)


def fill(cluster: dict[str, Any], value: str = "kept") -> None:
    """Put an item into every node."""
    for node_id, endpoint in cache_kit.nodes(cluster).items():
        with cache_kit.connect(endpoint) as node:
            node.set(f"of-{node_id}", value)


def items(cluster: dict[str, Any]) -> dict[str, str | None]:
    """Return the item of every node."""
    found: dict[str, str | None] = {}
    for node_id, endpoint in cache_kit.nodes(cluster).items():
        with cache_kit.connect(endpoint) as node:
            found[node_id] = node.get(f"of-{node_id}")
    return found


def told(cluster: dict[str, Any]) -> set[tuple[str, int]]:
    """Return the nodes that the configuration endpoint tells of."""
    with cache_kit.connect(kit.place(cluster["ConfigurationEndpoint"])) as discovery:
        parts = [member.split("|") for member in discovery.members()]
    return {(part[1] or part[0], int(part[2])) for part in parts}


def test_every_node_serves_at_the_first_moment_of_available(api: Any, cluster_id: str) -> None:
    cache_kit.create(api, cluster_id, 3)
    statuses = cache_kit.wait_status(api, cluster_id, "available")
    assert statuses in (["creating", "available"], ["available"])
    cluster = cache_kit.describe(api, cluster_id)
    assert cluster is not None
    fill(cluster)
    assert items(cluster) == {"0001": "kept", "0002": "kept", "0003": "kept"}
    assert len(set(cache_kit.pids(cluster).values())) == 3
    assert told(cluster) == set(cache_kit.nodes(cluster).values())
    assert "ReplicationGroupId" not in cluster
    with cache_kit.connect(cache_kit.nodes(cluster)["0001"]) as node:
        assert node.stats()["version"] == cluster["EngineVersion"]


def test_nodes_come_and_go_and_the_others_notice_nothing(api: Any, cluster_id: str) -> None:
    before = cache_kit.create_available(api, cluster_id, 2)
    fill(before)
    first = cache_kit.pids(before)
    api.modify_cache_cluster(CacheClusterId=cluster_id, NumCacheNodes=4, ApplyImmediately=True)
    assert cache_kit.status(api, cluster_id) in {"modifying", "available"}
    grown = cache_kit.wait_available(api, cluster_id)
    assert sorted(cache_kit.nodes(grown)) == ["0001", "0002", "0003", "0004"]
    assert told(grown) == set(cache_kit.nodes(grown).values())
    second = cache_kit.pids(grown)
    assert first.items() <= second.items()
    assert items(before) == {"0001": "kept", "0002": "kept"}

    gone = {cache_kit.nodes(grown)[node_id] for node_id in ("0001", "0003")}
    api.modify_cache_cluster(
        CacheClusterId=cluster_id,
        NumCacheNodes=2,
        CacheNodeIdsToRemove=["0003", "0001"],
        ApplyImmediately=True,
    )
    shrunk = cache_kit.wait_available(api, cluster_id)
    assert sorted(cache_kit.nodes(shrunk)) == ["0002", "0004"]
    assert told(shrunk) == set(cache_kit.nodes(shrunk).values())
    assert all(kit.tcp_is_refused(endpoint) for endpoint in gone)
    assert items(shrunk)["0002"] == "kept"
    assert cache_kit.pids(shrunk).items() <= second.items()
    said = kit.messages(api, cluster_id)
    assert any(text.startswith("Added cache node 0003 in availability zone") for text in said)
    assert "Removed cache nodes 0001, 0003" in said


def test_a_reboot_gives_exactly_the_named_nodes_new_processes(api: Any, cluster_id: str) -> None:
    before = cache_kit.create_available(api, cluster_id, 3)
    fill(before)
    pids = cache_kit.pids(before)
    cache_kit.reboot(api, cluster_id, "0001", "0003")
    after = cache_kit.describe(api, cluster_id)
    assert after is not None
    assert cache_kit.nodes(after) == cache_kit.nodes(before)
    now = cache_kit.pids(after)
    assert [node_id for node_id in pids if now[node_id] != pids[node_id]] == ["0001", "0003"]
    assert items(after)["0002"] == "kept"
    said = kit.messages(api, cluster_id)
    assert "Cache node 0001 restarted" in said
    assert "Cache node 0003 restarted" in said
    assert "Cache node 0002 restarted" not in said


def test_what_waits_comes_true_in_the_window(
    service: testing.Service, api: Any, cluster_id: str
) -> None:
    before = cache_kit.create_available(
        api, cluster_id, 2, PreferredMaintenanceWindow=WINDOW.upper()
    )
    assert before["PreferredMaintenanceWindow"] == WINDOW
    api.modify_cache_cluster(CacheClusterId=cluster_id, NumCacheNodes=3)
    waiting = cache_kit.wait_available(api, cluster_id)
    assert waiting["PendingModifiedValues"] == {"NumCacheNodes": 3}
    assert waiting["NumCacheNodes"] == 2
    assert cache_kit.maintain(service, "2031-01-05T04:59:59Z") == []
    assert cache_kit.wait_available(api, cluster_id) == waiting
    assert cache_kit.maintain(service, IN_WINDOW) == [cluster_id]
    after = cache_kit.wait_available(api, cluster_id)
    assert (after["NumCacheNodes"], after["PendingModifiedValues"]) == (3, {})
    assert sorted(cache_kit.nodes(after)) == ["0001", "0002", "0003"]
    # A removal that waits, replaced by its opposite, which is cancelled.
    api.modify_cache_cluster(
        CacheClusterId=cluster_id, NumCacheNodes=2, CacheNodeIdsToRemove=["0002"]
    )
    pending = cache_kit.wait_available(api, cluster_id)["PendingModifiedValues"]
    assert pending == {"NumCacheNodes": 2, "CacheNodeIdsToRemove": ["0002"]}
    api.modify_cache_cluster(CacheClusterId=cluster_id, NumCacheNodes=4)
    pending = cache_kit.wait_available(api, cluster_id)["PendingModifiedValues"]
    assert pending == {"NumCacheNodes": 4}
    api.modify_cache_cluster(CacheClusterId=cluster_id, NumCacheNodes=3)
    assert cache_kit.wait_available(api, cluster_id)["PendingModifiedValues"] == {}
    assert cache_kit.maintain(service, IN_WINDOW) == []


def test_a_newer_version_replaces_the_nodes_and_never_an_older_one(
    api: Any, cluster_id: str
) -> None:
    answer = api.describe_cache_engine_versions(Engine="memcached")["CacheEngineVersions"]
    versions = [entry["EngineVersion"] for entry in answer]
    if len(versions) < 2:
        pytest.skip("only one version of memcached is offered here")
    older, newer = versions[-2], versions[-1]
    before = cache_kit.create_available(api, cluster_id, 2, EngineVersion=older)
    pids = cache_kit.pids(before)
    api.modify_cache_cluster(CacheClusterId=cluster_id, EngineVersion=newer, ApplyImmediately=True)
    kit.wait_until(
        "the newer version runs",
        lambda: cache_kit.describe(api, cluster_id),
        is_it=lambda seen: (
            seen is not None
            and (seen["EngineVersion"], seen["CacheClusterStatus"]) == (newer, "available")
        ),
        timeout_s=90.0,
    )
    after = cache_kit.wait_available(api, cluster_id)
    assert set(cache_kit.pids(after).values()).isdisjoint(pids.values())
    for endpoint in cache_kit.nodes(after).values():
        with cache_kit.connect(endpoint) as node:
            assert node.stats()["version"] == newer
    assert cache_kit.refusal(
        api.modify_cache_cluster, CacheClusterId=cluster_id, EngineVersion=older
    ) == ("InvalidParameterCombination", f"Cannot modify memcached from {newer} to {older}")


def test_a_delete_leaves_nothing_and_is_never_available_again(
    service: testing.Service, api: Any, cluster_id: str
) -> None:
    cluster = cache_kit.create_available(api, cluster_id, 2)
    ends = {*cache_kit.nodes(cluster).values(), kit.place(cluster["ConfigurationEndpoint"])}
    answer = api.delete_cache_cluster(CacheClusterId=cluster_id)
    assert answer["CacheCluster"]["CacheClusterStatus"] == "deleting"
    code, _ = cache_kit.refusal(
        api.reboot_cache_cluster, CacheClusterId=cluster_id, CacheNodeIdsToReboot=["0001"]
    )
    assert code in {"InvalidCacheClusterState", "CacheClusterNotFound"}
    statuses = cache_kit.wait_status(api, cluster_id, "gone")
    assert set(statuses) <= {"deleting", "gone"}
    assert all(kit.tcp_is_refused(endpoint) for endpoint in ends)
    assert not [f for f in (service.state_dir / "nodes").iterdir() if f.name.endswith(".0001")]
    assert kit.messages(api, cluster_id)[-1] == "Cache cluster deleted"
    # The name is free at once.
    cache_kit.create_available(api, cluster_id, 1)


def test_the_waiters_of_botocore_know_the_statuses(api: Any, cluster_id: str) -> None:
    often = {"Delay": 1, "MaxAttempts": 60}
    cache_kit.create(api, cluster_id, 1)
    wait = api.get_waiter("cache_cluster_available").wait
    wait(CacheClusterId=cluster_id, WaiterConfig=often)
    pid = cache_kit.pids(cache_kit.wait_available(api, cluster_id))
    api.reboot_cache_cluster(CacheClusterId=cluster_id, CacheNodeIdsToReboot=["0001"])
    wait(CacheClusterId=cluster_id, WaiterConfig=often)
    assert cache_kit.pids(cache_kit.wait_available(api, cluster_id)) != pid
    api.delete_cache_cluster(CacheClusterId=cluster_id)
    gone = api.get_waiter("cache_cluster_deleted").wait
    gone(CacheClusterId=cluster_id, WaiterConfig=often)
    assert cache_kit.describe(api, cluster_id) is None


def test_bad_input_is_refused_and_changes_nothing(api: Any, cluster_id: str) -> None:
    def create(**more: object) -> tuple[str, str]:
        request: dict[str, object] = {
            "CacheClusterId": cluster_id,
            "Engine": "memcached",
            "NumCacheNodes": 1,
            "CacheNodeType": kit.NODE_TYPE,
        }
        return cache_kit.refusal(api.create_cache_cluster, **request | more)

    assert create(NumCacheNodes=61) == (
        "NodeQuotaForClusterExceeded",
        "Cluster node quota exceeded. Each cluster can have at most 60 nodes in this region.",
    )
    assert create(CacheParameterGroupName="default.redis7")[1] == (
        "Expected a parameter group of family memcached1.6 but found one of family redis7"
    )
    assert create(EngineVersion="9.1")[0] == "InvalidParameterCombination"
    tags = [{"Key": f"k{number}", "Value": "v"} for number in range(51)]
    assert create(Tags=tags)[0] == "TagQuotaPerResourceExceeded"
    assert create(CacheClusterId="1-wrong")[0] == "InvalidParameterValue"
    assert create(Engine="redis", NumCacheNodes=2)[1].startswith("Cannot create a Redis cluster")
    windows = {"PreferredMaintenanceWindow": WINDOW, "SnapshotWindow": "05:30-06:30"}
    assert create(Engine="redis", **windows)[1] == (
        "The snapshot window and maintenance window must not overlap."
    )
    assert cache_kit.describe(api, cluster_id) is None

    before = cache_kit.create_available(api, cluster_id, 2)

    def remove(count: int, *node_ids: str) -> str:
        code, text = cache_kit.refusal(
            api.modify_cache_cluster,
            CacheClusterId=cluster_id,
            NumCacheNodes=count,
            CacheNodeIdsToRemove=list(node_ids),
            ApplyImmediately=True,
        )
        assert code in {"InvalidParameterValue", "InvalidParameterCombination"}
        return text

    assert "at least 1" in remove(0, "0001", "0002")
    assert "at least 1" in remove(-1, "0001", "0002", "0003")
    assert "'0009'" in remove(1, "0009")
    assert "more than once" in remove(1, "0002", "0002")
    assert "must name 1" in remove(1, "0001", "0002")
    for node_ids in (["0003"], ["0001", "0001"], ["all"]):
        code, _ = cache_kit.refusal(
            api.reboot_cache_cluster, CacheClusterId=cluster_id, CacheNodeIdsToReboot=node_ids
        )
        assert code == "InvalidParameterValue"
    assert cache_kit.describe(api, cluster_id) == before
