"""Values of parameter groups reach engines that run, and what the API says of them is true.

Real service, real engines, boto3. Engines are asked by their administrator what they run with.
"""

from __future__ import annotations

import functools
import secrets
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import botocore.exceptions
import pytest
import valkey

from cachewright import testing
from tests import cache_kit
from tests import service_kit as kit

#: Bytes of `kit.NODE_TYPE`, before any is reserved.
MEMORY_BYTES = 536_870_912
Make = Callable[..., str]


@pytest.fixture
def make_parameters(api: Any) -> Iterator[Make]:
    """Give a maker of parameter groups; they are deleted after the nodes that use them."""
    made: list[str] = []

    def make(family: str = "valkey9", **values: str) -> str:
        name = f"p-{secrets.token_hex(4)}"
        api.create_cache_parameter_group(
            CacheParameterGroupName=name, CacheParameterGroupFamily=family, Description="of a test"
        )
        made.append(name)
        if values:
            change(api, name, **values)
        return name

    yield make
    for name in made:
        api.delete_cache_parameter_group(CacheParameterGroupName=name)


@pytest.fixture
def cluster_id(api: Any) -> Iterator[str]:
    """Give a fresh id; what the test made of it is deleted after the test, and waited for."""
    fresh = f"m-{secrets.token_hex(4)}"
    yield fresh
    cache_kit.delete(api, fresh)


def change(api: Any, name: str, **values: str) -> None:
    api.modify_cache_parameter_group(
        CacheParameterGroupName=name,
        ParameterNameValues=[
            {"ParameterName": key, "ParameterValue": value} for key, value in values.items()
        ],
    )


def setting(service: testing.Service, node_id: str, name: str) -> str:
    with kit.admin(service.state_dir, node_id) as admin:
        return str(admin.config_get(name)[name])


def wait_setting(service: testing.Service, group: dict[str, Any], name: str, value: str) -> None:
    """Wait until every node of a group runs with a value."""
    members = group["MemberClusters"]
    kit.wait_until(
        f"{name} is {value}",
        lambda: {setting(service, node_id, name) for node_id in members},
        is_it=lambda seen: seen == {value},
    )


def apply_status(api: Any, node_id: str) -> tuple[str, list[str]]:
    (cluster,) = api.describe_cache_clusters(CacheClusterId=node_id)["CacheClusters"]
    shown = cluster["CacheParameterGroup"]
    return shown["ParameterApplyStatus"], shown["CacheNodeIdsToReboot"]


def wait_in_sync(api: Any, node_id: str) -> None:
    kit.wait_until(
        "in-sync", lambda: apply_status(api, node_id), is_it=lambda seen: seen == ("in-sync", [])
    )


def test_a_change_reaches_every_node_that_runs(
    service: testing.Service, api: Any, make_parameters: Make, group_id: str
) -> None:
    name = make_parameters(**{"maxmemory-policy": "allkeys-lru"})
    group = kit.create_available(api, group_id, replicas=1, CacheParameterGroupName=name)
    for node_id in group["MemberClusters"]:
        assert setting(service, node_id, "maxmemory-policy") == "allkeys-lru"
    processes = {node_id: node.pid for node_id, node in kit.engines(service.state_dir).items()}
    change(
        api,
        name,
        **{
            "maxmemory-policy": "noeviction",
            "notify-keyspace-events": "KEA",
            "client-output-buffer-limit-pubsub-hard-limit": "1048576",
        },
    )
    wait_setting(service, group, "maxmemory-policy", "noeviction")
    wait_setting(service, group, "notify-keyspace-events", "AKE")
    for node_id in group["MemberClusters"]:
        wait_in_sync(api, node_id)
        limits = setting(service, node_id, "client-output-buffer-limit")
        assert "pubsub 1048576 8388608 60" in limits
        kit.wait_event(api, node_id, "Updated parameter maxmemory-policy to noeviction")
    api.reset_cache_parameter_group(CacheParameterGroupName=name, ResetAllParameters=True)
    wait_setting(service, group, "maxmemory-policy", "volatile-lru")
    wait_setting(service, group, "notify-keyspace-events", "")
    now = {node_id: node.pid for node_id, node in kit.engines(service.state_dir).items()}
    for node_id in group["MemberClusters"]:
        assert processes[node_id] == now[node_id]


def test_reserved_memory_is_taken_off_at_once(
    service: testing.Service, api: Any, make_parameters: Make, group_id: str
) -> None:
    name = make_parameters(**{"reserved-memory-percent": "50"})
    group = kit.create_available(api, group_id, CacheParameterGroupName=name)
    wait_setting(service, group, "maxmemory", str(MEMORY_BYTES // 2))
    change(api, name, **{"reserved-memory-percent": "0", "reserved-memory": "36870912"})
    wait_setting(service, group, "maxmemory", "500000000")
    wait_in_sync(api, group["MemberClusters"][0])


def test_another_group_of_values_is_used_at_once(
    service: testing.Service, api: Any, make_parameters: Make, group_id: str
) -> None:
    first, second = make_parameters(timeout="20"), make_parameters(timeout="30")
    group = kit.create_available(api, group_id, CacheParameterGroupName=first)
    wait_setting(service, group, "timeout", "20")
    api.modify_replication_group(
        ReplicationGroupId=group_id, CacheParameterGroupName=second, ApplyImmediately=True
    )
    wait_setting(service, group, "timeout", "30")
    change(api, first, timeout="40")
    with pytest.raises(botocore.exceptions.ClientError, match="still members"):
        api.delete_cache_parameter_group(CacheParameterGroupName=second)
    assert setting(service, group["MemberClusters"][0], "timeout") == "30"


def test_numbered_databases_with_cluster_mode(
    api: Any, make_parameters: Make, group_id: str
) -> None:
    name = make_parameters(**{"cluster-enabled": "yes", "cluster-databases": "4"})
    # The group of values alone says that it has cluster mode.
    group = kit.create_available(
        api, group_id, AutomaticFailoverEnabled=True, CacheParameterGroupName=name
    )
    assert group["ClusterEnabled"] is True
    with kit.connect(kit.place(group["ConfigurationEndpoint"])) as client:
        assert client.execute_command("SELECT", 3)
        with pytest.raises(valkey.ResponseError, match="out of range"):
            client.execute_command("SELECT", 4)


def test_a_client_that_writes_to_a_replica_is_disconnected(
    api: Any, make_parameters: Make, group_id: str
) -> None:
    name = make_parameters()
    group = kit.create_available(api, group_id, replicas=1, CacheParameterGroupName=name)
    with socket.create_connection(kit.reader_endpoint(group), kit.PATIENCE_S) as client:
        client.sendall(b"SET k v\r\n")
        assert client.recv(1024).startswith(b"-READONLY")
        assert client.recv(1024) == b""


def test_memcached_takes_a_change_with_a_reboot(
    api: Any, make_parameters: Make, cluster_id: str
) -> None:
    name = make_parameters("memcached1.6")
    cluster = cache_kit.create_available(api, cluster_id, 2, CacheParameterGroupName=name)
    before = cache_kit.pids(cluster)
    change(api, name, max_item_size="2097152")

    def shown() -> tuple[str, list[str]]:
        status, nodes = apply_status(api, cluster_id)
        return status, sorted(nodes)

    kit.wait_until(
        "a reboot is needed", shown, is_it=lambda s: s == ("pending-reboot", ["0001", "0002"])
    )
    assert cache_kit.pids(cluster) == before
    api.reboot_cache_cluster(CacheClusterId=cluster_id, CacheNodeIdsToReboot=["0001"])
    kit.wait_until("one is left", shown, is_it=lambda s: s == ("pending-reboot", ["0002"]))
    kit.wait_until("it is available", lambda: cache_kit.status(api, cluster_id) == "available")
    api.reboot_cache_cluster(CacheClusterId=cluster_id, CacheNodeIdsToReboot=["0002"])
    kit.wait_until("all run with it", shown, is_it=lambda s: s == ("in-sync", []))
    cluster = cache_kit.wait_available(api, cluster_id)
    for endpoint in cache_kit.nodes(cluster).values():
        with cache_kit.connect(endpoint) as node:
            assert node.stats("settings")["item_size_max"] == "2097152"


def _has(folder: Path, text: bytes) -> bool:
    return any(text in path.read_bytes() for path in folder.iterdir())


@pytest.mark.parametrize("family", ["valkey9", "redis7"])
def test_an_append_only_file_is_kept_and_flushed_as_asked_while_nodes_run(
    service: testing.Service, api: Any, make_parameters: Make, group_id: str, family: str
) -> None:
    name = make_parameters(family, appendonly="yes", appendfsync="always")
    engine = {"valkey9": "valkey", "redis7": "redis"}[family]
    try:
        group = kit.create_available(
            api, group_id, replicas=1, CacheParameterGroupName=name, Engine=engine
        )
    except botocore.exceptions.ClientError as error:
        pytest.skip(str(error))
    wait_setting(service, group, "appendonly", "yes")
    wait_setting(service, group, "appendfsync", "always")
    with kit.connect(kit.primary_endpoint(group)) as client:
        assert client.set("greeting", "hello")
    for node_id in group["MemberClusters"]:
        folder = kit.node_folders(service.state_dir)[node_id] / "appendonlydir"
        kit.wait_until("the write is in the file", functools.partial(_has, folder, b"greeting"))
    change(api, name, appendonly="no", appendfsync="no")
    wait_setting(service, group, "appendonly", "no")
    for node_id in group["MemberClusters"]:
        wait_in_sync(api, node_id)
    change(api, name, appendonly="yes", appendfsync="everysec")
    wait_setting(service, group, "appendonly", "yes")
    wait_setting(service, group, "appendfsync", "everysec")


def test_a_primary_without_the_replica_that_writes_need_refuses_them_until_it_is_back(
    service: testing.Service, api: Any, make_parameters: Make, group_id: str
) -> None:
    name = make_parameters(**{"min-replicas-to-write": "1", "min-replicas-max-lag": "1"})
    group = kit.create_available(api, group_id, replicas=1, CacheParameterGroupName=name)
    replica_id = group["MemberClusters"][1]

    def write() -> str:
        with kit.connect(kit.primary_endpoint(group)) as client:
            try:
                return str(client.set("greeting", "hello"))
            except valkey.exceptions.ResponseError as error:
                return str(error)

    def write_without_replica() -> str:
        # It comes back within a fraction of a second: again until a write falls into the gap.
        if (replica := kit.engines(service.state_dir).get(replica_id)) is not None:
            replica.kill()
        return write()

    kit.wait_until("taken", write, is_it=lambda said: said == "True")
    kit.wait_until(
        "refused", write_without_replica, is_it=lambda said: said.startswith("NOREPLICAS")
    )
    kit.wait_until("taken again", write, is_it=lambda said: said == "True")
