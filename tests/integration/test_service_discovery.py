"""Do other people's clients find the nodes of a cluster of the whole service, whatever happens?

Real service, real memcached, boto3 for the changes; the clients are none of ours.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cachewright import testing
from tests import cache_kit
from tests import service_kit as kit
from tests.integration.discovery_clients import connected
from tests.integration.discovery_world import wait_until
from tests.integration.test_discovery_clients import (
    KINDS,
    SHARE_MAX,
    SHARE_MIN,
    fill_in,
)


@pytest.fixture
def cluster_id(api: Any) -> Iterator[str]:
    """Give a fresh id; what the test made of it is deleted after the test, and waited for."""
    fresh = f"d-{secrets.token_hex(4)}"
    yield fresh
    cache_kit.delete(api, fresh)


def addresses(cluster: dict[str, Any]) -> set[str]:
    return {address for address, _ in cache_kit.nodes(cluster).values()}


# Some of them leave sockets to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("kind", KINDS)
def test_a_client_follows_a_cluster_that_is_scaled(api: Any, cluster_id: str, kind: str) -> None:
    """Two nodes, 1,000 keys, a third node: it is seen within a poll, a third of the keys moves."""
    cluster = cache_kit.create_available(api, cluster_id, 2)
    with connected(kind, *kit.place(cluster["ConfigurationEndpoint"])) as client:
        wait_until(client.nodes, addresses(cluster))
        assert fill_in(client, b"one") == 1.0
        assert fill_in(client, b"two") == 0.0

        api.modify_cache_cluster(CacheClusterId=cluster_id, NumCacheNodes=3, ApplyImmediately=True)
        cluster = cache_kit.wait_available(api, cluster_id)
        assert len(addresses(cluster)) == 3
        wait_until(client.nodes, addresses(cluster))
        assert SHARE_MIN < fill_in(client, b"three") < SHARE_MAX
        assert fill_in(client, b"four") == 0.0

        api.modify_cache_cluster(
            CacheClusterId=cluster_id,
            NumCacheNodes=2,
            CacheNodeIdsToRemove=["0002"],
            ApplyImmediately=True,
        )
        cluster = cache_kit.wait_available(api, cluster_id)
        wait_until(client.nodes, addresses(cluster))
        assert SHARE_MIN < fill_in(client, b"five") < SHARE_MAX
        assert fill_in(client, b"six") == 0.0


def endpoint_folder(service: testing.Service, cluster: dict[str, Any]) -> Path:
    """Return the folder of the process of a cluster's configuration endpoint."""
    wanted = list(kit.place(cluster["ConfigurationEndpoint"]))
    for settings in (service.state_dir / "nodes").glob("*.discovery/discovery.json"):
        if json.loads(settings.read_bytes())["listen"] == wanted:
            return settings.parent
    raise AssertionError("no such process")


def pid_in(folder: Path) -> int:
    return int(json.loads((folder / "node.json").read_bytes())["identity"]["pid"])


def listed(cluster: dict[str, Any]) -> tuple[int, set[str]] | None:
    """Return version and nodes that clients are told, `None` while nobody tells them."""
    try:
        with cache_kit.connect(kit.place(cluster["ConfigurationEndpoint"])) as endpoint:
            version, members = endpoint.config()
    except OSError:
        return None
    return version, {member.split("|")[1] for member in members}


def test_an_endpoint_that_was_killed_comes_back_with_the_same_list(
    service: testing.Service, api: Any, cluster_id: str
) -> None:
    cluster = cache_kit.create_available(api, cluster_id, 2)
    folder = endpoint_folder(service, cluster)
    before, pid = listed(cluster), pid_in(folder)
    assert before == (1, addresses(cluster))
    os.kill(pid, signal.SIGKILL)
    kit.wait_until("it has another process", lambda: pid_in(folder), is_it=lambda now: now != pid)
    kit.wait_until(
        "clients are told again", lambda: listed(cluster), is_it=lambda now: now == before
    )
    assert (
        cache_kit.wait_available(api, cluster_id)["ConfigurationEndpoint"]
        == (cluster["ConfigurationEndpoint"])
    )


def test_a_node_that_was_killed_stays_in_the_list(api: Any, cluster_id: str) -> None:
    """Its share of the keys would move away and back otherwise."""
    cluster = cache_kit.create_available(api, cluster_id, 2)
    before, pids = listed(cluster), cache_kit.pids(cluster)
    os.kill(pids["0001"], signal.SIGKILL)
    kit.wait_until(
        "the node is back",
        lambda: _pids_or_none(cluster),
        is_it=lambda now: now is not None and now["0001"] != pids["0001"],
    )
    assert listed(cluster) == before
    assert _pids_or_none(cluster) == cache_kit.pids(cluster)


def _pids_or_none(cluster: dict[str, Any]) -> dict[str, int] | None:
    try:
        return cache_kit.pids(cluster)
    except (OSError, AssertionError):
        return None
