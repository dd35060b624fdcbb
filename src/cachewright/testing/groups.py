"""How does a test get a replication group that works? Create, wait, connect, delete, wait.

Waits poll every 50 ms: the SDK's own waiters look every 15 s. Everything goes through boto3 and
the engines' own clients, as in a program of the tester.
"""

from __future__ import annotations

import contextlib
import secrets
import time
from typing import Any, NamedTuple

#: A describe costs about 3 ms: this interval keeps the service idle and the wait precise.
POLL_INTERVAL_S = 0.05
#: A group of 3 x 2 takes about 3 s; an engine that is installed on the way may take a minute.
AVAILABLE_TIMEOUT_S = 120.0
GONE_TIMEOUT_S = 60.0
DEFAULT_NODE_TYPE = "cache.t4g.micro"
#: Seconds until a test's connection attempt or command gives up; all is on one machine.
_SOCKET_TIMEOUT_S = 10.0


class GroupFailed(Exception):
    """A group did not become what was asked for; the text holds its last status and events."""


class Endpoint(NamedTuple):
    """Where a client connects to."""

    host: str
    port: int


class ReplicationGroup:
    """One replication group, from its create request to its end."""

    # boto3 makes the methods of a client at run time and valkey-py's clients have no types:
    # `Any` is what there is to say about both.
    def __init__(self, api: Any, group_id: str) -> None:
        self._api = api
        self.id = group_id
        self._clients: list[Any] = []

    def describe(self) -> dict[str, Any]:
        """Return the group as `DescribeReplicationGroups` shows it."""
        answer = self._api.describe_replication_groups(ReplicationGroupId=self.id)
        group: dict[str, Any] = answer["ReplicationGroups"][0]
        return group

    @property
    def status(self) -> str:
        """The status by the words of the API; "deleted" once the group is gone."""
        try:
            return str(self.describe()["Status"])
        except self._api.exceptions.ReplicationGroupNotFoundFault:
            return "deleted"

    @property
    def endpoint(self) -> Endpoint:
        """The configuration endpoint, or the primary endpoint where cluster mode is disabled."""
        group = self.describe()
        found = group.get("ConfigurationEndpoint") or group["NodeGroups"][0]["PrimaryEndpoint"]
        return Endpoint(found["Address"], found["Port"])

    @property
    def reader_endpoint(self) -> Endpoint:
        """The endpoint of the replicas; only where cluster mode is disabled."""
        found = self.describe()["NodeGroups"][0]["ReaderEndpoint"]
        return Endpoint(found["Address"], found["Port"])

    def valkey(self, **options: Any) -> Any:
        """Return a new connected client: `ValkeyCluster`, or `Valkey` without cluster mode.

        `options` go to its constructor. It is closed when the group is deleted.
        """
        import valkey  # noqa: PLC0415 only tests that connect pay for it

        kind: Any = valkey.ValkeyCluster if self.describe()["ClusterEnabled"] else valkey.Valkey
        host, port = self.endpoint
        client = kind(**{"host": host, "port": port, "socket_timeout": _SOCKET_TIMEOUT_S} | options)
        self._clients.append(client)
        client.ping()
        return client

    def wait_until_available(self, *, timeout_s: float = AVAILABLE_TIMEOUT_S) -> None:
        """Return when the group is `available`; raise `GroupFailed` when it cannot be."""
        deadline = time.monotonic() + timeout_s
        while (status := self.status) != "available":
            is_over = status in {"create-failed", "deleting", "deleted"}
            if is_over or time.monotonic() > deadline:
                raise GroupFailed(f"group {self.id} is {status}, not available{self._events()}")
            time.sleep(POLL_INTERVAL_S)

    def delete(self, *, timeout_s: float = GONE_TIMEOUT_S) -> None:
        """Delete the group and return when it is gone; nothing happens if it is gone already."""
        self.request_delete()
        deadline = time.monotonic() + timeout_s
        while (status := self.status) != "deleted":
            if time.monotonic() > deadline:
                raise GroupFailed(f"group {self.id} is {status}, not deleted{self._events()}")
            time.sleep(POLL_INTERVAL_S)

    def request_delete(self) -> None:
        """Ask for the delete without waiting for it; closes the clients that were made here."""
        self.close()
        faults = self._api.exceptions
        # A group that goes already, or is gone, is what the caller wants.
        with contextlib.suppress(
            faults.ReplicationGroupNotFoundFault, faults.InvalidReplicationGroupStateFault
        ):
            self._api.delete_replication_group(ReplicationGroupId=self.id)

    def close(self) -> None:
        """Close the clients that `valkey()` returned."""
        while self._clients:
            self._clients.pop().close()

    def _events(self) -> str:
        """Return what happened to the group, as lines for an error text."""
        try:
            answer = self._api.describe_events(
                SourceIdentifier=self.id, SourceType="replication-group"
            )
        except Exception as error:  # noqa: BLE001 adds to another error and must not replace it
            return f" (its events cannot be read: {error})"
        return "".join(
            f"\n  {event['Date']:%H:%M:%S} {event['Message']}" for event in answer["Events"]
        )


class GroupFactory:
    """Creates groups, and deletes those that it made when it is closed."""

    def __init__(self, api: Any) -> None:
        self._api = api
        self._made: list[ReplicationGroup] = []

    def __call__(
        self,
        group_id: str | None = None,
        *,
        shards: int = 1,
        replicas: int = 0,
        cluster_mode: bool | None = None,
        timeout_s: float = AVAILABLE_TIMEOUT_S,
        **parameters: object,
    ) -> ReplicationGroup:
        """Create a group, wait until it is available, and return it.

        Args:
            group_id: Its id; a fresh one by default.
            shards: Node groups; more than one means cluster mode.
            replicas: Replicas of each shard.
            cluster_mode: By default on when there is more than one shard.
            timeout_s: Seconds until the wait ends with `GroupFailed`.
            parameters: Further parameters of `CreateReplicationGroup`, by boto3's names; they win
                over what is chosen here.
        """
        wanted_id = group_id or f"test-{secrets.token_hex(4)}"
        request = _request(shards, replicas, shards > 1 if cluster_mode is None else cluster_mode)
        self._api.create_replication_group(ReplicationGroupId=wanted_id, **request | parameters)
        group = ReplicationGroup(self._api, wanted_id)
        self._made.append(group)
        group.wait_until_available(timeout_s=timeout_s)
        return group

    def close(self) -> None:
        """Delete all groups that were made here, at the same time, and wait until they are gone."""
        for group in self._made:
            group.request_delete()
        while self._made:
            self._made[-1].delete()
            self._made.pop()

    def close_clients(self) -> None:
        """Close the clients of all groups that were made here and leave the groups alone."""
        for group in self._made:
            group.close()


def _request(shards: int, replicas: int, cluster_mode: bool) -> dict[str, object]:
    request: dict[str, object] = {
        "ReplicationGroupDescription": "made by cachewright.testing",
        "Engine": "valkey",
        "CacheNodeType": DEFAULT_NODE_TYPE,
    }
    if cluster_mode:
        return request | {
            "ClusterMode": "enabled",
            "NumNodeGroups": shards,
            "ReplicasPerNodeGroup": replicas,
            "AutomaticFailoverEnabled": True,
        }
    return request | {
        "NumCacheClusters": 1 + replicas,
        "AutomaticFailoverEnabled": replicas > 0,
    }
