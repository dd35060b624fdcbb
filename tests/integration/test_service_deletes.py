"""After a delete nothing is left; whatever happens at the same time, every answer is clear."""

from __future__ import annotations

import functools
import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from botocore.exceptions import ClientError

from cachewright import testing
from tests import service_kit as kit


def code_of(call: Callable[[], object]) -> str:
    """Return the error code that a call gets, empty when it works."""
    try:
        call()
    except ClientError as error:
        return str(error.response["Error"]["Code"])
    return ""


def fresh() -> str:
    return f"d-{secrets.token_hex(4)}"


def assert_no_trace(service: testing.Service, name: str) -> None:
    api = service.client()
    assert not [n for n in kit.engines(service.state_dir) if n.startswith(name)]
    assert not [n for n in kit.node_folders(service.state_dir) if n.startswith(name)]
    clusters = api.describe_cache_clusters()["CacheClusters"]
    assert not [c for c in clusters if c["CacheClusterId"].startswith(name)]


@pytest.mark.parametrize("shards", [0, 2])
def test_a_delete_leaves_nothing(service: testing.Service, api: Any, shards: int) -> None:
    name = fresh()
    group = kit.create_available(api, name, shards=shards, replicas=1)
    places = set(kit.nodes(api, name).values())
    if shards:
        places.add(kit.place(group["ConfigurationEndpoint"]))
    else:
        places |= {kit.primary_endpoint(group), kit.reader_endpoint(group)}
    bus = {(address, port + 10_000) for address, port in places}
    kit.delete(api, name)
    assert_no_trace(service, name)
    for endpoint in places | bus:
        assert kit.tcp_is_refused(endpoint)
        assert kit.can_be_bound(*endpoint)
    arn = group["ARN"]
    fault = api.exceptions.ReplicationGroupNotFoundFault
    with pytest.raises(fault):
        api.list_tags_for_resource(ResourceName=arn)
    with pytest.raises(fault):
        api.delete_replication_group(ReplicationGroupId=name)


@pytest.mark.parametrize("engines_seen", [0, 1, 3])
def test_a_delete_during_a_create_leaves_nothing(
    service: testing.Service, api: Any, engines_seen: int
) -> None:
    name = fresh()
    kit.create(api, name, shards=2, replicas=1)
    kit.wait_until(
        "some engines",
        lambda: [n for n in kit.engines(service.state_dir) if n.startswith(name)],
        is_it=lambda found: len(found) >= engines_seen,
    )
    kit.delete(api, name)
    assert_no_trace(service, name)


def test_an_id_that_is_being_created_is_taken(api: Any, group_id: str) -> None:
    kit.create(api, group_id)
    taken = api.exceptions.ReplicationGroupAlreadyExistsFault
    with pytest.raises(taken):
        kit.create(api, group_id)
    kit.wait_status(api, group_id, "available")
    with pytest.raises(taken):
        kit.create(api, group_id.upper())


def test_an_id_that_is_being_deleted_is_taken_until_it_is_gone(
    service: testing.Service, api: Any
) -> None:
    name = fresh()
    kit.create_available(api, name, shards=1, replicas=1)
    api.delete_replication_group(ReplicationGroupId=name)
    codes: list[str] = []

    def again() -> str:
        codes.append(code_of(lambda: kit.create(api, name)))
        return codes[-1]

    kit.wait_until("the id is free", again, is_it=lambda code: not code)
    assert set(codes) <= {"", "ReplicationGroupAlreadyExists"}
    kit.wait_status(api, name, "available")
    assert [n for n in kit.engines(service.state_dir) if n.startswith(name)] == [f"{name}-001"]
    kit.delete(api, name)


def test_a_second_delete_is_refused_while_the_first_goes_on(api: Any) -> None:
    name = fresh()
    kit.create_available(api, name, shards=2, replicas=1)
    api.delete_replication_group(ReplicationGroupId=name)
    code = code_of(lambda: api.delete_replication_group(ReplicationGroupId=name))
    assert code in {"InvalidReplicationGroupState", "ReplicationGroupNotFoundFault"}
    kit.wait_status(api, name, "gone")


def test_a_group_made_again_at_once_is_a_new_one(api: Any) -> None:
    name = fresh()
    for round_number in range(3):
        group = kit.create_available(api, name)
        with kit.connect(kit.primary_endpoint(group)) as client:
            assert client.dbsize() == 0
            client.set("round", round_number)
        kit.delete(api, name)


def test_the_primary_is_retained_with_its_data_when_asked(
    service: testing.Service, api: Any
) -> None:
    name = fresh()
    group = kit.create_available(api, name, replicas=2)
    places = kit.nodes(api, name)
    endpoints = {kit.primary_endpoint(group), kit.reader_endpoint(group)}
    members = group["NodeGroups"][0]["NodeGroupMembers"]
    primary = next(m["CacheClusterId"] for m in members if m["CurrentRole"] == "primary")
    with kit.connect(places[primary]) as client:
        client.set("greeting", "hello")
        with kit.Writer(lambda number: client.set("n", number)) as writer:
            api.delete_replication_group(ReplicationGroupId=name, RetainPrimaryCluster=True)
            kit.wait_status(api, name, "gone")
            writer.wait_for_writes()
        assert writer.refusals == []
        assert client.get("greeting") == "hello"
    own = [n for n in kit.engines(service.state_dir) if n.startswith(name)]
    assert own == [primary]
    alone = api.describe_cache_clusters(
        ShowCacheClustersNotInReplicationGroups=True, ShowCacheNodeInfo=True
    )["CacheClusters"]
    cluster = next(c for c in alone if c["CacheClusterId"] == primary)
    assert cluster.get("ReplicationGroupId") is None
    assert cluster["CacheClusterStatus"] == "available"
    assert kit.place(cluster["CacheNodes"][0]["Endpoint"]) == places[primary]
    for endpoint in endpoints | {place for n, place in places.items() if n != primary}:
        assert kit.tcp_is_refused(endpoint)
        assert kit.can_be_bound(*endpoint)
    _delete_cluster(api, primary)
    assert_no_trace(service, name)


def test_a_group_id_is_free_while_its_old_primary_lives(service: testing.Service, api: Any) -> None:
    """The id of the retained cache cluster is taken: a group cannot have a member of that id."""
    name = fresh()
    kit.create_available(api, name, replicas=1)
    api.delete_replication_group(ReplicationGroupId=name, RetainPrimaryCluster=True)
    kit.wait_status(api, name, "gone")
    assert code_of(lambda: kit.create(api, name)) == "CacheClusterAlreadyExists"
    assert kit.create_available(api, name, shards=1)["Status"] == "available"
    kit.delete(api, name)
    retained = f"{name}-001"
    assert [n for n in kit.engines(service.state_dir) if n.startswith(name)] == [retained]
    _delete_cluster(api, retained)
    assert kit.create_available(api, name)["Status"] == "available"
    kit.delete(api, name)
    assert_no_trace(service, name)


def test_a_member_cannot_be_deleted_as_a_cache_cluster(api: Any, group_id: str) -> None:
    group = kit.create_available(api, group_id, replicas=1)
    for node_id in group["MemberClusters"]:
        code = code_of(functools.partial(api.delete_cache_cluster, CacheClusterId=node_id))
        assert code in {"InvalidCacheClusterState", "InvalidParameterCombination"}
    assert kit.status(api, group_id) == "available"


def test_of_twenty_creates_of_one_id_one_wins(service: testing.Service, api: Any) -> None:
    name = fresh()
    with ThreadPoolExecutor(20) as threads:
        codes = list(threads.map(lambda _: code_of(lambda: kit.create(api, name)), range(20)))
    assert sorted(codes) == [""] + ["ReplicationGroupAlreadyExists"] * 19
    kit.wait_status(api, name, "available")
    assert [n for n in kit.engines(service.state_dir) if n.startswith(name)] == [f"{name}-001"]
    kit.delete(api, name)


def test_twenty_creates_at_once_all_become_available_and_go_away(
    service: testing.Service, api: Any
) -> None:
    names = [fresh() for _ in range(20)]
    with ThreadPoolExecutor(20) as threads:
        assert set(threads.map(lambda n: code_of(lambda: kit.create(api, n)), names)) == {""}
        for name in names:
            kit.wait_status(api, name, "available")
        primaries = set()
        for name in names:
            group = kit.describe(api, name)
            assert group is not None
            primaries.add(kit.primary_endpoint(group))
            with kit.connect(kit.primary_endpoint(group)) as client:
                assert client.set("name", name)
        assert len(primaries) == 20
        list(threads.map(lambda n: api.delete_replication_group(ReplicationGroupId=n), names))
    for name in names:
        kit.wait_status(api, name, "gone")
        assert_no_trace(service, name)


def _delete_cluster(api: Any, cluster_id: str) -> None:
    api.delete_cache_cluster(CacheClusterId=cluster_id)

    def ids() -> list[str]:
        clusters = api.describe_cache_clusters()["CacheClusters"]
        return [c["CacheClusterId"] for c in clusters]

    kit.wait_until(f"{cluster_id} is gone", ids, is_it=lambda found: cluster_id not in found)
