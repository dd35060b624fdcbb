"""What do tests of stops and restarts fill a service with, and how do they find it again?"""

from __future__ import annotations

from typing import Any

from tests import service_kit as kit


def make(
    service: kit.Up, count: int = 200, *, shards: int = 2, replicas: int = 0
) -> dict[str, Any]:
    """Make one group of each mode, with data; return both as they are shown."""
    kit.create(service.api, "plain", replicas=1)
    kit.create(service.api, "sharded", shards=shards, replicas=replicas)
    shown: dict[str, Any] = {}
    for name in ("plain", "sharded"):
        kit.wait_status(service.api, name, "available")
        shown[name] = kit.describe(service.api, name)
    with kit.connect(kit.primary_endpoint(shown["plain"])) as client:
        for number in range(count):
            client.set(f"key:{number}", number)
    with kit.connect_cluster(shown["sharded"]) as cluster:
        for number in range(count):
            cluster.set(f"key:{number}", number)
    return shown


def check(service: kit.Up, shown: dict[str, Any], count: int = 200) -> None:
    """Fail unless both groups are as they were made, at the same addresses, with all data."""
    for name in ("plain", "sharded"):
        kit.wait_status(service.api, name, "available")
        now = kit.describe(service.api, name)
        assert now is not None
        assert _addresses(now) == _addresses(shown[name])
        assert set(now["MemberClusters"]) == set(shown[name]["MemberClusters"])
    with kit.connect(kit.primary_endpoint(shown["plain"])) as client:
        assert [client.get(f"key:{n}") for n in range(count)] == [str(n) for n in range(count)]
        assert client.set("after", "1")
    # The endpoint moves once the replica can read: a connection may be refused at that moment.
    reader = kit.reader_endpoint(shown["plain"])
    kit.wait_until(
        "the reader reads",
        lambda: kit.reachable(
            reader, lambda client: f"{client.get('after')} {client.get('key:7')}"
        ),
        is_it=lambda seen: seen == "1 7",
    )
    with kit.connect_cluster(shown["sharded"]) as cluster:
        assert [cluster.get(f"key:{n}") for n in range(count)] == [str(n) for n in range(count)]


def _addresses(group: dict[str, Any]) -> list[tuple[str, int]]:
    if group["ClusterEnabled"]:
        return [kit.place(group["ConfigurationEndpoint"])]
    return [kit.primary_endpoint(group), kit.reader_endpoint(group)]


def members_in_sync(service: kit.Up, name: str) -> list[str]:
    """Return the replicas of a group that are in sync with a primary."""

    def link(client: Any) -> str:
        said = client.info("replication")
        return str(said.get("master_link_status", "is primary"))

    places = kit.nodes(service.api, name)
    return [node_id for node_id, place in places.items() if kit.reachable(place, link) == "up"]


def wait_in_sync(service: kit.Up, name: str, count: int) -> None:
    kit.wait_until(
        f"{count} replicas in sync",
        lambda: members_in_sync(service, name),
        is_it=lambda found: len(found) == count,
    )


def shown(service: kit.Up, name: str) -> dict[str, Any]:
    group = kit.describe(service.api, name)
    assert group is not None
    return group


def writer(group: dict[str, Any]) -> kit.Writer:
    """Write over one connection that must never break."""
    client = kit.connect(kit.primary_endpoint(group))
    return kit.Writer(lambda number: client.set("counter", number))


def cluster_writer(group: dict[str, Any]) -> kit.Writer:
    client = kit.connect_cluster(group)
    return kit.Writer(lambda number: client.set(f"counter:{number % 64}", number))


def client_of(group: dict[str, Any]) -> Any:
    if group["ClusterEnabled"]:
        return kit.connect_cluster(group)
    return kit.connect(kit.primary_endpoint(group))
