"""What do end-to-end tests of cache clusters need beside `service_kit`? Calls, waits, Memcached.

Memcached is spoken to in its text protocol over a plain socket, so that a test sees what a node
itself says: its pid, its version, its items.
"""

from __future__ import annotations

import contextlib
import http.client
import socket
import urllib.parse
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from cachewright import testing
from cachewright.kit.secret import Secret
from cachewright.protocol import sign
from tests import service_kit as kit

_TIMEOUT_S = 5.0


def create(api: Any, cluster_id: str, nodes: int = 2, **more: object) -> None:
    """Ask for a Memcached cluster."""
    request: dict[str, object] = {
        "CacheClusterId": cluster_id,
        "Engine": "memcached",
        "NumCacheNodes": nodes,
        "CacheNodeType": kit.NODE_TYPE,
    }
    api.create_cache_cluster(**request | more)


def create_available(api: Any, cluster_id: str, nodes: int = 2, **more: object) -> dict[str, Any]:
    """Create a Memcached cluster, wait until it is available and return how it is shown."""
    create(api, cluster_id, nodes, **more)
    return wait_available(api, cluster_id)


def describe(api: Any, cluster_id: str) -> dict[str, Any] | None:
    """Return a cluster with its nodes, `None` when it is not found."""
    try:
        answer = api.describe_cache_clusters(CacheClusterId=cluster_id, ShowCacheNodeInfo=True)
    except api.exceptions.CacheClusterNotFoundFault:
        return None
    cluster: dict[str, Any] = answer["CacheClusters"][0]
    return cluster


def status(api: Any, cluster_id: str) -> str:
    """Return the status of a cluster, "gone" when it is not found."""
    cluster = describe(api, cluster_id)
    return "gone" if cluster is None else str(cluster["CacheClusterStatus"])


def wait_status(api: Any, cluster_id: str, wanted: str, *, timeout_s: float = 60.0) -> list[str]:
    """Wait until a cluster has a status; return every status on the way, each once in a row."""
    seen: list[str] = []

    def look() -> str:
        now = status(api, cluster_id)
        if not seen or seen[-1] != now:
            seen.append(now)
        return now

    kit.wait_until(
        f"{cluster_id} is {wanted}",
        look,
        is_it=lambda now: now == wanted,
        timeout_s=timeout_s,
    )
    return seen


def wait_available(api: Any, cluster_id: str) -> dict[str, Any]:
    """Wait until a cluster is available and return how it is shown then.

    Any change that was just accepted may be one of parameters: until somebody has looked at the
    nodes, they are shown as applying.
    """
    wait_status(api, cluster_id, "available")
    cluster = kit.wait_until(
        f"somebody has looked at {cluster_id}",
        lambda: describe(api, cluster_id),
        is_it=lambda seen: seen is None or not is_applying(seen),
    )
    assert cluster is not None
    return cluster


def is_applying(cluster: Mapping[str, Any]) -> bool:
    """Tell whether values of parameters are on their way to a cluster, or may be."""
    return bool(cluster["CacheParameterGroup"]["ParameterApplyStatus"] == "applying")


def reboot(api: Any, cluster_id: str, *node_ids: str) -> None:
    """Reboot nodes and wait until all are available; it may be done before anybody looks."""
    answer = api.reboot_cache_cluster(
        CacheClusterId=cluster_id, CacheNodeIdsToReboot=list(node_ids or ("0001",))
    )
    rebooting = "rebooting cluster nodes"
    assert answer["CacheCluster"]["CacheClusterStatus"] == rebooting
    statuses = wait_status(api, cluster_id, "available")
    assert statuses in ([rebooting, "available"], ["available"])


def delete(api: Any, cluster_id: str) -> None:
    """Delete a cluster if it is there, and wait until it is not found any more."""
    faults = api.exceptions
    with contextlib.suppress(
        faults.CacheClusterNotFoundFault, faults.InvalidCacheClusterStateFault
    ):
        api.delete_cache_cluster(CacheClusterId=cluster_id)
    wait_status(api, cluster_id, "gone")


def nodes(cluster: Mapping[str, Any]) -> dict[str, tuple[str, int]]:
    """Return address and port of every node that has an endpoint, by cache node id."""
    return {
        node["CacheNodeId"]: kit.place(node["Endpoint"])
        for node in cluster["CacheNodes"]
        if "Endpoint" in node
    }


def refusal(call: Any, **request: object) -> tuple[str, str]:
    """Return code and message of the error that a call of boto3 answers."""
    try:
        call(**request)
    except Exception as error:  # noqa: BLE001 boto3 makes the classes of its errors at run time
        answer: dict[str, Any] = getattr(error, "response", {}).get("Error", {})
        return answer.get("Code", repr(error)), answer.get("Message", "")
    raise AssertionError("it was not refused")


def maintain(service: testing.Service, at: str) -> list[str]:
    """Open the maintenance windows of a moment; return the names of what was changed."""
    path, body = "/cachewright/v1/maintenance", msgspec.json.encode({"at": at})
    access_key, secret = service.key_pair
    headers = sign.sign_request(
        "POST",
        service.url + path,
        {"Content-Type": "application/json"},
        body,
        access_key=access_key,
        secret=Secret(secret),
        region=service.region,
    )
    place = urllib.parse.urlsplit(service.url)
    with contextlib.closing(
        http.client.HTTPConnection(str(place.hostname), place.port, timeout=_TIMEOUT_S)
    ) as connection:
        connection.request("POST", path, body, headers)
        answer = connection.getresponse()
        content = answer.read()
    assert answer.status == 200, content
    applied: list[str] = msgspec.json.decode(content)["applied"]
    return applied


class Memcached:
    """A connection to one node."""

    def __init__(self, endpoint: tuple[str, int]) -> None:
        self._socket = socket.create_connection(endpoint, timeout=_TIMEOUT_S)
        self._lines = self._socket.makefile("rb")

    def close(self) -> None:
        """Close the connection."""
        self._lines.close()
        self._socket.close()

    def set(self, key: str, value: str) -> None:
        """Store an item for ever."""
        self._send(f"set {key} 0 0 {len(value)}\r\n{value}")
        assert self._line() == "STORED"

    def get(self, key: str) -> str | None:
        """Return an item."""
        self._send(f"get {key}")
        if self._line() == "END":
            return None
        value = self._line()
        assert self._line() == "END"
        return value

    def stats(self, kind: str = "") -> dict[str, str]:
        """Return what the node says of itself."""
        self._send(f"stats {kind}".strip())
        found: dict[str, str] = {}
        while (line := self._line()) != "END":
            _, name, value = line.split(" ", 2)
            found[name] = value
        return found

    def members(self) -> list[str]:
        """Return the nodes that a configuration endpoint tells of, as HOST|ADDRESS|PORT."""
        return self.config()[1]

    def config(self) -> tuple[int, list[str]]:
        """Return the version of the list that a configuration endpoint tells, and its nodes."""
        self._send("config get cluster")
        assert self._line().startswith("CONFIG cluster")
        version = int(self._line())
        found = self._line().split(" ")
        while self._line() != "END":
            pass
        return version, found

    def _send(self, command: str) -> None:
        self._socket.sendall(f"{command}\r\n".encode())

    def _line(self) -> str:
        line = self._lines.readline()
        assert line, "the node closed the connection"
        return line.decode().rstrip("\r\n")


@contextlib.contextmanager
def connect(endpoint: tuple[str, int]) -> Iterator[Memcached]:
    """Open a connection to a node for the block."""
    with contextlib.closing(Memcached(endpoint)) as node:
        yield node


def pids(cluster: Mapping[str, Any]) -> dict[str, int]:
    """Return the process of every node, as the nodes say themselves."""
    found: dict[str, int] = {}
    for node_id, endpoint in nodes(cluster).items():
        with connect(endpoint) as node:
            found[node_id] = int(node.stats()["pid"])
    return found
