"""Which fixtures does pytest get? Registered as a plugin when Cachewright is installed.

Loaded in every pytest run of the environment, so nothing heavy is imported here: the service
starts, and boto3 is imported, only when a test asks for a fixture. Each worker of pytest-xdist
has a session, and so a service, of its own.

    def test_counts(replication_group):
        group = replication_group(shards=3)
        client = group.valkey()
        client.incr("visits")
        assert client.get("visits") == b"1"

    def test_caches(cache_cluster):
        cluster = cache_cluster(nodes=2)  # Memcached
        host, port = cluster.endpoint
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from cachewright.testing.caches import ClusterFactory
    from cachewright.testing.groups import GroupFactory
    from cachewright.testing.services import Service


@pytest.fixture(scope="session")
def cachewright_service() -> Iterator[Service]:
    """Give a running service on free addresses; one a session, stopped at its end."""
    from cachewright import testing  # noqa: PLC0415 only tests that use it pay for it

    with testing.service() as service:
        yield service


@pytest.fixture
def replication_group(cachewright_service: Service) -> Iterator[GroupFactory]:
    """Give a function that creates replication groups; they are deleted after the test."""
    with contextlib.closing(cachewright_service.group_factory()) as factory:
        yield factory


@pytest.fixture
def cache_cluster(cachewright_service: Service) -> Iterator[ClusterFactory]:
    """Give a function that creates cache clusters; they are deleted after the test."""
    with contextlib.closing(cachewright_service.cluster_factory()) as factory:
        yield factory
