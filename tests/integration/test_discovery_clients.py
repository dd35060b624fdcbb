"""Do clients that we did not write find the nodes, and find them again when these change?"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.discovery_clients import CLIENTS, CacheClient, connected
from tests.integration.discovery_world import MEMCACHED_PORT, World, wait_until

KEYS = 1000
#: A third of the keys moves when two nodes become three. Rings spread unevenly: with 1,000 keys
#: and some hundred points a node, shares stay within these bounds.
SHARE_MIN, SHARE_MAX = 0.22, 0.45
KINDS = [
    pytest.param(
        one.__name__,
        marks=pytest.mark.skipif(
            one.__name__ == "Pyclient" and sys.version_info >= (3, 12),
            reason="elasticache-pyclient needs modules that Python 3.12 removed",
        ),
    )
    for one in CLIENTS
]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(folder=tmp_path, version="1.6.38")
    yield made
    made.end()


def fill_in(client: CacheClient, value: bytes) -> float:
    """Read every key as a user of a cache does, storing what is missing; return the share."""
    missing = 0
    for number in range(KEYS):
        if client.fetch(f"key-{number}") is None:
            missing += 1
            client.store(f"key-{number}", value)
    return missing / KEYS


# Some of them leave sockets to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("kind", KINDS)
def test_a_client_follows_the_nodes_out_and_in(world: World, kind: str) -> None:
    """Two nodes, 1,000 keys, a third node: a third of the keys moves. One goes: its keys do."""
    first, second, third = world.node(), world.node(), world.node()
    endpoint = world.endpoint(first, second)
    with connected(kind, endpoint.address, MEMCACHED_PORT) as client:
        wait_until(client.nodes, {first, second})
        assert fill_in(client, b"one") == 1.0
        assert fill_in(client, b"two") == 0.0

        endpoint.tell(first, second, third, version=2)
        wait_until(client.nodes, {first, second, third})
        moved = fill_in(client, b"three")
        assert SHARE_MIN < moved < SHARE_MAX
        assert fill_in(client, b"four") == 0.0

        endpoint.tell(first, third, version=3)
        wait_until(client.nodes, {first, third})
        lost = fill_in(client, b"five")
        assert SHARE_MIN < lost < SHARE_MAX
