"""Single nodes, and replicas that come, go and restart one by one, while clients use the group.

Real service, real engines, boto3 and valkey-py.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from typing import Any

import pytest

from cachewright import testing
from tests import cache_kit
from tests import service_kit as kit


@pytest.fixture
def cluster_id(api: Any) -> Iterator[str]:
    """Give a fresh id; what the test made of it is deleted after the test, and waited for."""
    fresh = f"n-{secrets.token_hex(4)}"
    yield fresh
    cache_kit.delete(api, fresh)


def endpoint(cluster: dict[str, Any]) -> tuple[str, int]:
    """Return where the only node of a cluster listens."""
    return cache_kit.nodes(cluster)["0001"]


def pid(place: tuple[str, int]) -> int:
    """Return the process of an engine, as it says itself."""
    with kit.connect(place) as client:
        return int(client.info("server")["process_id"])


# A single node


@pytest.mark.parametrize("engine", ["valkey", "redis"])
def test_a_single_node_serves_restarts_and_goes(
    service: testing.Service, api: Any, cluster_id: str, engine: str
) -> None:
    api.create_cache_cluster(
        CacheClusterId=cluster_id.upper(), Engine=engine, CacheNodeType=kit.NODE_TYPE
    )
    cluster = cache_kit.wait_available(api, cluster_id)
    assert not {"ConfigurationEndpoint", "ReplicationGroupId"} & set(cluster)
    assert kit.describe(api, cluster_id) is None
    place = endpoint(cluster)
    with kit.connect(place) as client:
        client.set("greeting", "hello")
        assert client.info("server")[f"{engine}_version"] == cluster["EngineVersion"]
    before = pid(place)
    cache_kit.reboot(api, cluster_id)
    assert pid(place) != before
    with kit.connect(place) as client:
        assert client.get("greeting") == "hello"
    cache_kit.delete(api, cluster_id)
    assert kit.tcp_is_refused(place)
    assert cluster_id not in kit.node_folders(service.state_dir)


def test_notes_of_a_single_node_change_and_nobody_notices(api: Any, cluster_id: str) -> None:
    api.create_cache_cluster(
        CacheClusterId=cluster_id, Engine="valkey", CacheNodeType=kit.NODE_TYPE
    )
    place = endpoint(cache_kit.wait_available(api, cluster_id))

    def write(number: int) -> None:
        with kit.connect(place) as client:
            client.set("n", number)

    with kit.Writer(write) as writer:
        api.modify_cache_cluster(
            CacheClusterId=cluster_id,
            PreferredMaintenanceWindow="mon:01:00-mon:02:00",
            SnapshotWindow="03:00-04:00",
            AutoMinorVersionUpgrade=False,
        )
        writer.wait_for_writes()
        assert writer.refusals == []
    seen = cache_kit.wait_available(api, cluster_id)
    assert seen["PreferredMaintenanceWindow"] == "mon:01:00-mon:02:00"
    assert (seen["SnapshotWindow"], seen["AutoMinorVersionUpgrade"]) == ("03:00-04:00", False)


# Replicas


def _writer_to(group: dict[str, Any]) -> kit.Writer:
    """Return a writer of one key after the other, over one connection to the primary endpoint."""
    client = kit.connect(kit.primary_endpoint(group))
    return kit.Writer(lambda number: client.set(f"k{number}", number))


def _missing(place: tuple[str, int], count: int) -> list[int]:
    with kit.connect(place) as client:
        values = client.mget([f"k{number}" for number in range(1, count + 1)])
    return [number for number, value in enumerate(values, 1) if value != str(number)]


def _wait_until_replicated(place: tuple[str, int], count: int) -> None:
    kit.wait_until("replicated", lambda: _missing(place, count), is_it=lambda missing: not missing)


def test_replicas_come_and_go_under_load_and_no_key_is_lost(api: Any, group_id: str) -> None:
    group = kit.create_available(api, group_id, replicas=1)
    old, new = f"{group_id}-002", f"{group_id}-new"
    with _writer_to(group) as writer:
        writer.wait_for_writes(200)
        api.create_cache_cluster(CacheClusterId=new, ReplicationGroupId=group_id)
        assert kit.status(api, group_id) in {"modifying", "available"}
        added = cache_kit.wait_available(api, new)
        kit.wait_status(api, group_id, "available")
        assert added["ReplicationGroupId"] == group_id
        writer.wait_for_writes(200)
        leaving = kit.nodes(api, group_id)[old]
        answer = api.delete_cache_cluster(CacheClusterId=old)
        assert answer["CacheCluster"]["CacheClusterStatus"] == "deleting"
        statuses = cache_kit.wait_status(api, old, "gone")
        assert set(statuses) <= {"deleting", "gone"}
        kit.wait_status(api, group_id, "available")
        writer.wait_for_writes(200)
        assert writer.refusals == []
    assert kit.tcp_is_refused(leaving)
    seen = kit.describe(api, group_id)
    assert seen is not None
    assert seen["MemberClusters"] == [f"{group_id}-001", new]
    assert _missing(kit.primary_endpoint(group), writer.acknowledged) == []
    replica = kit.nodes(api, group_id)[new]
    kit.wait_until(
        "replicated", lambda: _missing(replica, writer.acknowledged), is_it=lambda m: not m
    )
    with kit.connect(kit.reader_endpoint(group)) as client:
        assert client.get("k1") == "1"


def test_a_reboot_of_a_replica_touches_no_other_node(api: Any, group_id: str) -> None:
    group = kit.create_available(api, group_id, replicas=2)
    places = kit.nodes(api, group_id)
    before = {node_id: pid(place) for node_id, place in places.items()}
    rebooted = f"{group_id}-003"
    with _writer_to(group) as writer:
        cache_kit.reboot(api, rebooted)
        kit.wait_status(api, group_id, "available")
        writer.wait_for_writes()
        assert writer.refusals == []
    after = {node_id: pid(place) for node_id, place in places.items()}
    assert [node_id for node_id in before if before[node_id] != after[node_id]] == [rebooted]
    _wait_until_replicated(places[rebooted], writer.acknowledged)


def test_a_reboot_of_the_primary_hands_over_first_and_loses_nothing(
    api: Any, group_id: str
) -> None:
    group = kit.create_available(api, group_id, replicas=1)
    primary = f"{group_id}-001"
    places = kit.nodes(api, group_id)
    before = pid(places[primary])
    with _writer_to(group) as writer:
        writer.wait_for_writes(200)
        api.reboot_cache_cluster(CacheClusterId=primary, CacheNodeIdsToReboot=["0001"])
        cache_kit.wait_status(api, primary, "available")
        kit.wait_status(api, group_id, "available")
    assert pid(places[primary]) != before
    seen = kit.describe(api, group_id)
    assert seen is not None
    assert kit.roles(api, group_id) == {primary: "replica", f"{group_id}-002": "primary"}
    assert _missing(kit.primary_endpoint(seen), writer.acknowledged) == []


def test_what_a_group_needs_stays(api: Any, group_id: str) -> None:
    kit.create_available(api, group_id, replicas=1)
    primary, replica = f"{group_id}-001", f"{group_id}-002"
    code, text = cache_kit.refusal(api.delete_cache_cluster, CacheClusterId=primary)
    assert (code, "serving as primary" in text) == ("InvalidCacheClusterState", True)
    code, text = cache_kit.refusal(api.delete_cache_cluster, CacheClusterId=replica)
    assert (code, "last replica" in text) == ("InvalidCacheClusterState", True)
    code, text = cache_kit.refusal(
        api.create_cache_cluster,
        CacheClusterId=f"{group_id}-x",
        ReplicationGroupId=group_id,
        CacheNodeType=kit.NODE_TYPE,
    )
    assert code == "InvalidParameterCombination"
    assert text.startswith("Cannot specify additional cache cluster parameters")
    assert kit.status(api, group_id) == "available"


def test_a_retained_primary_is_a_single_node_that_can_be_changed(api: Any, group_id: str) -> None:
    kit.create_available(api, group_id, replicas=1)
    primary = f"{group_id}-001"
    place = kit.nodes(api, group_id)[primary]
    with kit.connect(place) as client:
        client.set("greeting", "hello")
    api.delete_replication_group(ReplicationGroupId=group_id, RetainPrimaryCluster=True)
    kit.wait_status(api, group_id, "gone")
    before = pid(place)
    cache_kit.reboot(api, primary)
    assert pid(place) != before
    with kit.connect(place) as client:
        assert client.get("greeting") == "hello"
    cache_kit.delete(api, primary)
    assert kit.tcp_is_refused(place)
