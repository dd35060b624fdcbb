"""A Memcached cluster with encryption in transit, as a client of the real service has it."""

from __future__ import annotations

import secrets
import socket
import ssl
from collections.abc import Iterator
from typing import Any

import pytest

from cachewright import testing
from tests.contract.engine_lab import miss
from tests.contract.memcached_lab import build_named
from tests.integration.test_testing_guardian import wait_until

_TIMEOUT_S = 10.0
_VERSION = "1.6.38"


@pytest.fixture
def cluster_id(api: Any) -> Iterator[str]:
    if isinstance(found := build_named(_VERSION), str):
        miss(found)
    name = f"t-{secrets.token_hex(4)}"
    yield name
    api.delete_cache_cluster(CacheClusterId=name)
    wait_until("it is gone", lambda: name not in names(api))


def names(api: Any) -> list[str]:
    return [c["CacheClusterId"] for c in api.describe_cache_clusters()["CacheClusters"]]


def describe(api: Any, name: str) -> Any:
    answer = api.describe_cache_clusters(CacheClusterId=name, ShowCacheNodeInfo=True)
    return answer["CacheClusters"][0]


def ask(endpoint: Any, tls: ssl.SSLContext, request: bytes) -> bytes:
    """Return the answer to one request, read until the server waits for another one."""
    where = (endpoint["Address"], endpoint["Port"])
    with (
        socket.create_connection(where, _TIMEOUT_S) as plain,
        tls.wrap_socket(plain, server_hostname=where[0]) as secure,
    ):
        secure.sendall(request + b"quit\r\n")
        said = b""
        while data := secure.recv(65536):
            said += data
        return said


def test_nodes_and_endpoint_are_trusted_by_who_has_the_certificate_of_the_service(
    service: testing.Service, api: Any, cluster_id: str
) -> None:
    api.create_cache_cluster(
        CacheClusterId=cluster_id,
        Engine="memcached",
        EngineVersion=_VERSION,
        CacheNodeType="cache.t4g.micro",
        NumCacheNodes=2,
        TransitEncryptionEnabled=True,
    )
    wait_until(
        "it is available", lambda: describe(api, cluster_id)["CacheClusterStatus"] == "available"
    )
    found = describe(api, cluster_id)
    assert found["TransitEncryptionEnabled"]
    tls = ssl.create_default_context(cafile=service.state_dir / "ca.pem")
    nodes = [node["Endpoint"] for node in found["CacheNodes"]]
    for number, node in enumerate(nodes):
        assert ask(node, tls, b"set k 0 0 1\r\n%d\r\n" % number) == b"STORED\r\n"
    listed = ask(found["ConfigurationEndpoint"], tls, b"config get cluster\r\n")
    assert all(f"{node['Address']}|{node['Port']}".encode() in listed for node in nodes)
    # Through the endpoint to a node, encrypted on both ways.
    passed_on = ask(found["ConfigurationEndpoint"], tls, b"get k\r\n")
    assert passed_on in {b"VALUE k 0 1\r\n%d\r\nEND\r\n" % n for n in range(2)}

    api.reboot_cache_cluster(CacheClusterId=cluster_id, CacheNodeIdsToReboot=["0001", "0002"])
    wait_until("it reboots", lambda: describe(api, cluster_id)["CacheClusterStatus"] != "available")
    wait_until("it is back", lambda: describe(api, cluster_id)["CacheClusterStatus"] == "available")
    for number, node in enumerate(nodes):
        assert ask(node, tls, b"get k\r\n") == b"VALUE k 0 1\r\n%d\r\nEND\r\n" % number
