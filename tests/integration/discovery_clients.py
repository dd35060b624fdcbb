"""Which clients of auto discovery are there that we did not write? Each behind the same face.

They differ in how they spread keys over nodes: three by rendezvous hashing, one by a ketama ring.
"""

from __future__ import annotations

import asyncio
import contextlib
import warnings
from collections.abc import Iterator
from typing import Protocol

import elasticache_auto_discovery
import emcache
from django_elastipymemcache.client import AWSElastiCacheClient
from pymemcache.client.hash import HashClient
from pymemcache.exceptions import MemcacheUnexpectedCloseError

#: How often clients ask for the list here; they do it once a minute by default. Seconds.
POLL_S = 0.2


class CacheClient(Protocol):
    """What the scenario does with a client."""

    def store(self, key: str, value: bytes) -> None:
        """Store."""

    def fetch(self, key: str) -> bytes | None:
        """Return what is stored."""

    def nodes(self) -> set[str]:
        """Return the addresses of the nodes that it uses, as of its latest poll."""


class Emcache:
    """emcache: asyncio and C, polls in a task, rendezvous hashing."""

    def __init__(self, address: str, port: int) -> None:
        self._runner = asyncio.Runner()
        self._client = self._runner.run(
            emcache.create_client(
                [emcache.MemcachedHostAddress(address, port)],
                autodiscovery=True,
                autodiscovery_poll_interval=POLL_S,
                timeout=10.0,
            )
        )

    def store(self, key: str, value: bytes) -> None:
        """Store."""
        self._runner.run(self._client.set(key.encode(), value))

    def fetch(self, key: str) -> bytes | None:
        """Return what is stored."""
        item = self._runner.run(self._client.get(key.encode()))
        return None if item is None else bytes(item.value)

    def nodes(self) -> set[str]:
        """Return the nodes; its task polls only while we are in its loop."""
        self._runner.run(asyncio.sleep(0.01))
        return {node.address for node in self._client.cluster_managment().nodes()}

    def close(self) -> None:
        """End its task."""
        self._runner.run(self._client.close())
        self._runner.close()


class ElastiPymemcache:
    """django-elastipymemcache: pymemcache's client for ElastiCache, polls before a command."""

    def __init__(self, address: str, port: int) -> None:
        self._client = AWSElastiCacheClient(f"{address}:{port}", discovery_interval=POLL_S)

    def store(self, key: str, value: bytes) -> None:
        """Store."""
        self._client.set(key, value, noreply=False)

    def fetch(self, key: str) -> bytes | None:
        """Return what is stored."""
        value: bytes | None = self._client.get(key)
        return value

    def nodes(self) -> set[str]:
        """Return the nodes; a command makes it poll when it is time.

        Between two polls it does not know yet that a node has left: that command fails.
        """
        with contextlib.suppress(MemcacheUnexpectedCloseError, OSError):
            self._client.get("any")
        return {key.partition(":")[0] for key in self._client.clients}

    def close(self) -> None:
        """Close its connections."""
        self._client.close()


class AutoDiscovery:
    """elasticache-auto-discovery finds the nodes, pymemcache uses them."""

    def __init__(self, address: str, port: int) -> None:
        self._endpoint = f"{address}:{port}"
        self._client = HashClient([])
        self._servers: list[tuple[str, int]] = []
        self.nodes()

    def store(self, key: str, value: bytes) -> None:
        """Store."""
        self._client.set(key, value, noreply=False)

    def fetch(self, key: str) -> bytes | None:
        """Return what is stored."""
        value: bytes | None = self._client.get(key)
        return value

    def nodes(self) -> set[str]:
        """Poll, and use what is there."""
        listed = elasticache_auto_discovery.discover(self._endpoint, time_to_timeout=5)
        servers = [(host.decode(), int(port)) for host, _, port in listed]
        if servers != self._servers:
            self._client.close()
            self._client, self._servers = HashClient(servers), servers
        return {host for host, _ in servers}

    def close(self) -> None:
        """Close its connections."""
        self._client.close()


class Pyclient:
    """elasticache-pyclient: python-memcached and a ketama ring, polls in a thread."""

    def __init__(self, address: str, port: int) -> None:
        from elasticache_pyclient import MemcacheClient  # noqa: PLC0415 Python 3.11 alone

        self._client = MemcacheClient(f"{address}:{port}", ad_interval=POLL_S)

    def store(self, key: str, value: bytes) -> None:
        """Store."""
        assert self._client.set(key, value)

    def fetch(self, key: str) -> bytes | None:
        """Return what is stored."""
        value: bytes | None = self._client.get(key)
        return value

    def nodes(self) -> set[str]:
        """Return the nodes."""
        return {server.partition(":")[0] for server in self._client.cluster.servers}

    def close(self) -> None:
        """End its thread."""
        self._client.stop_timer()
        self._client.disconnect_all()


CLIENTS = (Emcache, ElastiPymemcache, AutoDiscovery, Pyclient)


@contextlib.contextmanager
def connected(kind: str, address: str, port: int) -> Iterator[CacheClient]:
    """Give a client that has found the nodes, and close it."""
    made = {one.__name__: one for one in CLIENTS}[kind]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # theirs: they are of another time
        client = made(address, port)
        try:
            yield client
        finally:
            client.close()
