"""Nodes get another type and another engine while clients go on, and keep what they hold.

Real service, real engines, boto3 and valkey-py.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from cachewright import testing
from tests import cache_kit
from tests import service_kit as kit

_MIB = 1 << 20
_SMALL, _MEDIUM = "cache.t4g.small", "cache.t4g.medium"
#: Of all memory but a tenth, so that little data fills a node.
_RESERVED = "reserved-memory-percent"
#: A download and an unpacking may come in between.
_INSTALL_S = 100.0


@pytest.fixture(scope="module")
def mostly_reserved(api: Any) -> Iterator[str]:
    """Give a parameter group whose nodes keep a tenth of their memory for data."""
    name = "mostly-reserved"
    api.create_cache_parameter_group(
        CacheParameterGroupName=name, CacheParameterGroupFamily="valkey9", Description="of a test"
    )
    api.modify_cache_parameter_group(
        CacheParameterGroupName=name,
        ParameterNameValues=[{"ParameterName": _RESERVED, "ParameterValue": "90"}],
    )
    yield name
    api.delete_cache_parameter_group(CacheParameterGroupName=name)


def _memory(state_dir: Any, node_id: str) -> int:
    with kit.admin(state_dir, node_id) as client:
        return int(client.config_get("maxmemory")["maxmemory"])


def _allowed(api: Any, group_id: str) -> tuple[list[str], list[str]]:
    answer = api.list_allowed_node_type_modifications(ReplicationGroupId=group_id)
    return answer["ScaleUpModifications"], answer["ScaleDownModifications"]


def test_a_node_type_changes_in_the_running_process(
    service: testing.Service, api: Any, group_id: str, mostly_reserved: str
) -> None:
    shape = {"CacheNodeType": _SMALL, "CacheParameterGroupName": mostly_reserved}
    group = kit.create_available(api, group_id, replicas=1, **shape)
    pids = {engine.node_id: engine.pid for engine in kit.engines(service.state_dir).values()}
    client = kit.connect(kit.primary_endpoint(group))
    with client, kit.Writer(lambda number: client.set("n", number)) as writer:
        up, down = _allowed(api, group_id)
        assert _MEDIUM in up
        assert "cache.t4g.micro" in down
        for number in range(60):
            client.set(f"big{number}", b"x" * _MIB)
        # A micro node has 51 MiB left of its 512: refused at once, whatever was seen last.
        code, text = cache_kit.refusal(
            api.modify_replication_group,
            ReplicationGroupId=group_id,
            CacheNodeType="cache.t4g.micro",
            ApplyImmediately=True,
        )
        assert (code, "insufficient memory" in text) == ("InvalidParameterValue", True)
        assert _allowed(api, group_id)[1] == []
        answer = api.modify_replication_group(
            ReplicationGroupId=group_id, CacheNodeType=_MEDIUM, ApplyImmediately=True
        )
        assert answer["ReplicationGroup"]["Status"] == "modifying"
        kit.wait_status(api, group_id, "available")
        writer.wait_for_writes()
        assert writer.refusals == []
        for node_id in group["MemberClusters"]:
            assert _memory(service.state_dir, node_id) == 3_317_862_236 // 10
        client.delete(*(f"big{number}" for number in range(60)))
        # Engines give their memory back in the background.
        kit.wait_until("free", lambda: "cache.t4g.micro" in _allowed(api, group_id)[1])
        api.modify_replication_group(
            ReplicationGroupId=group_id, CacheNodeType="cache.t4g.micro", ApplyImmediately=True
        )
        kit.wait_status(api, group_id, "available")
        writer.wait_for_writes()
        assert writer.refusals == []
    after = {engine.node_id: engine.pid for engine in kit.engines(service.state_dir).values()}
    assert {n: after[n] for n in group["MemberClusters"]} == {
        n: pids[n] for n in group["MemberClusters"]
    }
    assert any("Succeeded applying modification" in text for text in kit.messages(api, group_id))


def test_a_type_waits_for_its_window_and_is_shown_until_then(
    service: testing.Service, api: Any, group_id: str
) -> None:
    kit.create_available(api, group_id, PreferredMaintenanceWindow="sun:05:00-sun:06:00")
    api.modify_replication_group(ReplicationGroupId=group_id, CacheNodeType=_MEDIUM)
    member = f"{group_id}-001"

    def pending() -> Any:
        shown = api.describe_cache_clusters(CacheClusterId=member)["CacheClusters"][0]
        return shown["PendingModifiedValues"]

    assert pending() == {"CacheNodeType": _MEDIUM}
    assert kit.status(api, group_id) == "available"
    cache_kit.maintain(service, "2031-01-05T05:30:00Z")
    kit.wait_status(api, group_id, "available")
    assert pending() == {}
    shown = kit.describe(api, group_id)
    assert shown is not None
    assert shown["CacheNodeType"] == _MEDIUM
    assert _memory(service.state_dir, member) == 3_317_862_236 * 3 // 4


@pytest.mark.parametrize("shards", [0, 2])
def test_redis_becomes_valkey_under_load_and_keeps_every_key(
    api: Any, group_id: str, shards: int
) -> None:
    versions = api.describe_cache_engine_versions(Engine="redis", EngineVersion="7.0")
    if not versions["CacheEngineVersions"]:
        pytest.skip("redis 7.0 cannot be had on this machine")
    kit.create(api, group_id, shards=shards, replicas=1, Engine="redis", EngineVersion="7.0")
    kit.wait_status(api, group_id, "available", timeout_s=_INSTALL_S)
    group = kit.describe(api, group_id)
    assert group is not None
    client = kit.connect_cluster(group) if shards else kit.connect(kit.primary_endpoint(group))
    for number in range(1_000):
        client.set(f"k{number}", number)
    answer = api.modify_replication_group(
        ReplicationGroupId=group_id, Engine="valkey", EngineVersion="9.1", ApplyImmediately=True
    )
    assert answer["ReplicationGroup"]["Status"] == "modifying"
    kit.wait_status(api, group_id, "available", timeout_s=_INSTALL_S)
    after = kit.describe(api, group_id)
    assert after is not None
    assert (after["Engine"], after["MemberClusters"]) == ("valkey", group["MemberClusters"])
    for node_id in after["MemberClusters"]:
        shown = api.describe_cache_clusters(CacheClusterId=node_id)["CacheClusters"][0]
        assert shown["EngineVersion"].startswith("9.1.")
        family = "default.valkey9.cluster.on" if shards else "default.valkey9"
        assert shown["CacheParameterGroup"]["CacheParameterGroupName"] == family
    with (
        kit.connect_cluster(after) if shards else kit.connect(kit.primary_endpoint(after))
    ) as client:
        assert [client.get(f"k{number}") for number in range(1_000)] == [
            str(number) for number in range(1_000)
        ]
    for asked in ({"EngineVersion": "8.1"}, {"Engine": "redis", "EngineVersion": "7.0"}):
        code, text = cache_kit.refusal(
            api.modify_replication_group,
            ReplicationGroupId=group_id,
            ApplyImmediately=True,
            **asked,
        )
        assert (code, "Cannot modify valkey" in text) == ("InvalidParameterCombination", True)


def test_a_single_node_changes_its_version_and_keeps_its_data(api: Any, group_id: str) -> None:
    if not api.describe_cache_engine_versions(Engine="valkey", EngineVersion="8.1")[
        "CacheEngineVersions"
    ]:
        pytest.skip("valkey 8.1 cannot be had on this machine")
    name = f"{group_id}-single"
    api.create_cache_cluster(
        CacheClusterId=name, Engine="valkey", EngineVersion="8.1", CacheNodeType=kit.NODE_TYPE
    )
    try:
        cache_kit.wait_status(api, name, "available", timeout_s=_INSTALL_S)
        place = cache_kit.nodes(cache_kit.wait_available(api, name))["0001"]
        with kit.connect(place) as client:
            client.set("greeting", "hello")
        answer = api.modify_cache_cluster(
            CacheClusterId=name,
            EngineVersion="9.1",
            CacheNodeType="cache.t4g.small",
            ApplyImmediately=True,
        )
        assert answer["CacheCluster"]["CacheClusterStatus"] == "modifying"
        shown = cache_kit.wait_available(api, name)
        assert shown["EngineVersion"].startswith("9.1.")
        assert shown["CacheNodeType"] == "cache.t4g.small"
        with kit.connect(place) as client:
            assert client.get("greeting") == "hello"
            assert client.info("server")["valkey_version"] == shown["EngineVersion"]
        allowed = api.list_allowed_node_type_modifications(CacheClusterId=name)
        assert kit.NODE_TYPE in allowed["ScaleDownModifications"]
    finally:
        cache_kit.delete(api, name)
