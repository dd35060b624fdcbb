"""`cachewright.testing` gives cache clusters of every kind and takes them away after the test."""

from __future__ import annotations

import socket

import pytest

from cachewright import testing
from cachewright.testing.caches import ClusterFactory
from tests import cache_kit


def test_memcached_has_a_configuration_endpoint_and_nodes(cache_cluster: ClusterFactory) -> None:
    cluster = cache_cluster(nodes=2)
    assert cluster.status == "available"
    with cache_kit.connect(cluster.endpoint) as discovery:
        assert len(discovery.members()) == 2
    for place in cluster.nodes:
        with cache_kit.connect(place) as node:
            node.set("greeting", "hello")
            assert node.get("greeting") == "hello"
    nodes = cluster.nodes
    cluster.delete()
    assert cluster.status == "deleted"
    for place in nodes:
        with socket.socket() as probe:
            assert probe.connect_ex(place) != 0


def test_a_single_node_has_a_client(cachewright_service: testing.Service) -> None:
    cluster = cachewright_service.create_cache_cluster(engine="valkey", Port=6400)
    assert cluster.endpoint == cluster.nodes[0]
    assert cluster.endpoint.port == 6400
    client = cluster.valkey()
    client.set("greeting", "hello")
    assert client.get("greeting") == b"hello"
    cluster.delete()


def test_a_cluster_that_is_not_available_in_time_fails_and_is_still_deleted(
    cachewright_service: testing.Service,
) -> None:
    factory = cachewright_service.cluster_factory()
    with pytest.raises(testing.GroupFailed, match=r"slow is .*, not available"):
        factory("slow", timeout_s=0)
    factory.close()
    faults = cachewright_service.client().exceptions
    with pytest.raises(faults.CacheClusterNotFoundFault):
        cachewright_service.client().describe_cache_clusters(CacheClusterId="slow")
