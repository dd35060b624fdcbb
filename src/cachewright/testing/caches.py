"""How does a test get a cache cluster that works? Memcached, or a single node of Valkey or Redis.

The same life as a replication group (`groups`): create, wait, connect, delete, wait. A client for
Memcached is the tester's choice: `endpoint` is where one that knows auto discovery begins, and
`nodes` are what a simple one is given.
"""

from __future__ import annotations

import contextlib
import secrets
import time
from typing import Any

from cachewright.testing.groups import (
    AVAILABLE_TIMEOUT_S,
    DEFAULT_NODE_TYPE,
    GONE_TIMEOUT_S,
    POLL_INTERVAL_S,
    Endpoint,
    GroupFailed,
)

_SOCKET_TIMEOUT_S = 10.0
_CANNOT_BECOME_AVAILABLE = frozenset({"incompatible-network", "deleting", "deleted"})


class CacheCluster:
    """One cache cluster of its own, from its create request to its end."""

    # boto3 makes the methods of a client at run time and valkey-py's clients have no types.
    def __init__(self, api: Any, cluster_id: str) -> None:
        self._api = api
        self.id = cluster_id
        self._clients: list[Any] = []

    def describe(self) -> dict[str, Any]:
        """Return the cluster with its nodes as `DescribeCacheClusters` shows it."""
        answer = self._api.describe_cache_clusters(CacheClusterId=self.id, ShowCacheNodeInfo=True)
        cluster: dict[str, Any] = answer["CacheClusters"][0]
        return cluster

    @property
    def status(self) -> str:
        """The status by the words of the API; "deleted" once the cluster is gone."""
        try:
            return str(self.describe()["CacheClusterStatus"])
        except self._api.exceptions.CacheClusterNotFoundFault:
            return "deleted"

    @property
    def endpoint(self) -> Endpoint:
        """The configuration endpoint of Memcached, else the one node."""
        found = self.describe().get("ConfigurationEndpoint")
        return Endpoint(found["Address"], found["Port"]) if found else self.nodes[0]

    @property
    def nodes(self) -> tuple[Endpoint, ...]:
        """Every node that has an address, by its number."""
        ends = (node.get("Endpoint") for node in self.describe()["CacheNodes"])
        return tuple(Endpoint(end["Address"], end["Port"]) for end in ends if end)

    def valkey(self, **options: Any) -> Any:
        """Return a new connected client of a single node; closed when the cluster is deleted."""
        import valkey  # noqa: PLC0415 only tests that connect pay for it

        host, port = self.endpoint
        defaults = {"host": host, "port": port, "socket_timeout": _SOCKET_TIMEOUT_S}
        kind: Any = valkey.Valkey
        client = kind(**defaults | options)
        self._clients.append(client)
        client.ping()
        return client

    def wait_until_available(self, *, timeout_s: float = AVAILABLE_TIMEOUT_S) -> None:
        """Return when the cluster is `available`; raise `GroupFailed` when it cannot be."""
        deadline = time.monotonic() + timeout_s
        while (status := self.status) != "available":
            if status in _CANNOT_BECOME_AVAILABLE or time.monotonic() > deadline:
                raise GroupFailed(f"cache cluster {self.id} is {status}, not available")
            time.sleep(POLL_INTERVAL_S)

    def delete(self, *, timeout_s: float = GONE_TIMEOUT_S) -> None:
        """Delete the cluster and return when it is gone; nothing happens if it is gone already."""
        self.request_delete()
        deadline = time.monotonic() + timeout_s
        while (status := self.status) != "deleted":
            if time.monotonic() > deadline:
                raise GroupFailed(f"cache cluster {self.id} is {status}, not deleted")
            time.sleep(POLL_INTERVAL_S)

    def request_delete(self) -> None:
        """Ask for the delete without waiting for it; closes the clients that were made here."""
        self.close()
        faults = self._api.exceptions
        # A cluster that goes already, or is gone, is what the caller wants.
        with contextlib.suppress(
            faults.CacheClusterNotFoundFault, faults.InvalidCacheClusterStateFault
        ):
            self._api.delete_cache_cluster(CacheClusterId=self.id)

    def close(self) -> None:
        """Close the clients that `valkey()` returned."""
        while self._clients:
            self._clients.pop().close()


class ClusterFactory:
    """Creates cache clusters, and deletes those that it made when it is closed."""

    def __init__(self, api: Any) -> None:
        self._api = api
        self._made: list[CacheCluster] = []

    def __call__(
        self,
        cluster_id: str | None = None,
        *,
        engine: str = "memcached",
        nodes: int = 1,
        timeout_s: float = AVAILABLE_TIMEOUT_S,
        **parameters: object,
    ) -> CacheCluster:
        """Create a cache cluster, wait until it is available, and return it.

        Args:
            cluster_id: Its id; a fresh one by default.
            engine: "memcached", "valkey" or "redis".
            nodes: Cache nodes; more than one only of Memcached.
            timeout_s: Seconds until the wait ends with `GroupFailed`.
            parameters: Further parameters of `CreateCacheCluster`, by boto3's names; they win over
                what is chosen here.
        """
        request: dict[str, object] = {
            "CacheClusterId": cluster_id or f"test-{secrets.token_hex(4)}",
            "Engine": engine,
            "NumCacheNodes": nodes,
            "CacheNodeType": DEFAULT_NODE_TYPE,
        }
        answer = self._api.create_cache_cluster(**request | parameters)
        cluster = CacheCluster(self._api, answer["CacheCluster"]["CacheClusterId"])
        self._made.append(cluster)
        cluster.wait_until_available(timeout_s=timeout_s)
        return cluster

    def close(self) -> None:
        """Delete all clusters that were made here, at once, and wait until they are gone."""
        for cluster in self._made:
            cluster.request_delete()
        while self._made:
            self._made[-1].delete()
            self._made.pop()

    def close_clients(self) -> None:
        """Close the clients of all clusters that were made here and leave the clusters alone."""
        for cluster in self._made:
            cluster.close()
