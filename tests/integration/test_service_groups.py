"""A group that says `available` serves: every slot, every endpoint, every replica, at that moment.

Real service, real engines, boto3 and valkey-py. Statuses are polled every 20 ms, so that the first
moment of `available` is the moment that is looked at.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import pytest
import valkey
from valkey.crc import key_slot

from cachewright import testing
from tests import service_kit as kit

_SLOTS = 16_384


def keys_of_all_slots() -> Iterator[str]:
    """Yield one key for each of the slots."""
    seen: set[int] = set()
    for number in itertools.count():
        slot = key_slot(str(number).encode())
        if slot not in seen:
            seen.add(slot)
            yield str(number)
        if len(seen) == _SLOTS:
            return


def first_available(api: Any, group_id: str, **shape: Any) -> dict[str, Any]:
    """Create a group and return how it is shown as soon as it is available."""
    kit.create(api, group_id, **shape)
    kit.wait_status(api, group_id, "available", every_s=kit.LOOK_SOON_S)
    group = kit.describe(api, group_id)
    assert group is not None
    return group


@pytest.mark.parametrize(("shards", "replicas"), [(1, 0), (2, 1)])
def test_every_slot_is_writable_at_the_first_moment_of_available(
    api: Any, group_id: str, shards: int, replicas: int
) -> None:
    keys = tuple(keys_of_all_slots())
    group = first_available(api, group_id, shards=shards, replicas=replicas)
    with kit.connect_cluster(group) as client:
        with client.pipeline() as pipeline:
            for key in keys:
                pipeline.set(key, key)
            assert all(pipeline.execute())
        assert len(client.get_primaries()) == shards
    replicated = [node for node in kit.nodes(api, group_id).values() if _role(node) == "slave"]
    assert len(replicated) == shards * replicas
    assert all(_is_in_sync(node) for node in replicated)


def test_replicas_are_in_sync_at_the_first_moment_of_available(api: Any, group_id: str) -> None:
    first_available(api, group_id, replicas=2)
    found = kit.nodes(api, group_id)
    assert [_role(node) for node in found.values()].count("slave") == 2
    assert all(_is_in_sync(node) for node in found.values() if _role(node) == "slave")


def test_nothing_is_refused_after_the_first_available(api: Any, group_id: str) -> None:
    """Each write comes over a connection of its own: a listener that is reopened would show."""
    group = first_available(api, group_id, replicas=1)
    primary = kit.primary_endpoint(group)

    def write(number: int) -> None:
        with kit.connect(primary) as client:
            client.set("n", number)

    def read(_: int) -> None:
        with kit.connect(kit.reader_endpoint(group)) as client:
            client.get("n")

    with kit.Writer(write) as writer, kit.Writer(read) as reader:
        for _ in range(3):
            writer.wait_for_writes(80)
            reader.wait_for_writes(80)
            assert kit.status(api, group_id) == "available"
    assert writer.refusals == []
    assert reader.refusals == []


def test_endpoints_of_a_group_without_cluster_mode(api: Any, group_id: str) -> None:
    group = kit.create_available(api, group_id, replicas=1)
    places = kit.nodes(api, group_id)
    primary, reader = kit.primary_endpoint(group), kit.reader_endpoint(group)
    assert len({primary, reader, *places.values()}) == 4
    assert {port for _, port in (primary, reader, *places.values())} == {kit.PORT}
    with kit.connect(primary) as writing:
        assert writing.set("greeting", "hello")
        assert writing.wait(1, 5_000) == 1
        assert writing.info("replication")["role"] == "master"
    with kit.connect(reader) as reading:
        assert reading.get("greeting") == "hello"
        assert reading.info("replication")["role"] == "slave"
        with pytest.raises(valkey.exceptions.ReadOnlyError):
            reading.set("greeting", "no")
    members = group["NodeGroups"][0]["NodeGroupMembers"]
    assert {kit.place(m["ReadEndpoint"]) for m in members} == set(places.values())
    roles = {m["CurrentRole"]: _role(kit.place(m["ReadEndpoint"])) for m in members}
    assert roles == {"primary": "master", "replica": "slave"}


def test_a_single_node_serves_reads_on_its_reader_endpoint(api: Any, group_id: str) -> None:
    group = kit.create_available(api, group_id)
    with kit.connect(kit.primary_endpoint(group)) as client:
        client.set("greeting", "hello")
    with kit.connect(kit.reader_endpoint(group)) as client:
        assert client.get("greeting") == "hello"


def test_members_are_described_as_cache_clusters(api: Any, group_id: str) -> None:
    group = kit.create_available(api, group_id, shards=2, replicas=1)
    described = api.describe_cache_clusters(ShowCacheNodeInfo=True)["CacheClusters"]
    own = {c["CacheClusterId"]: c for c in described if c["ReplicationGroupId"] == group_id}
    assert set(own) == set(group["MemberClusters"])
    assert len(own) == 4
    for cluster in own.values():
        assert cluster["CacheClusterStatus"] == "available"
        assert cluster["Engine"] == "valkey"
        assert cluster["NumCacheNodes"] == 1
        with kit.connect(kit.place(cluster["CacheNodes"][0]["Endpoint"])) as client:
            assert client.info("server")["valkey_version"] == cluster["EngineVersion"]


def test_replicas_of_cluster_mode_serve_reads(api: Any, group_id: str) -> None:
    group = kit.create_available(api, group_id, shards=1, replicas=1)
    with kit.connect_cluster(group) as client:
        client.set("greeting", "hello")
    replica = next(n for n in kit.nodes(api, group_id).values() if _role(n) == "slave")
    with kit.connect(replica) as client:
        client.execute_command("READONLY")
        kit.wait_until("replicated", lambda: client.get("greeting"))


def test_a_group_given_its_own_slots_has_them(api: Any, group_id: str) -> None:
    api.create_replication_group(
        ReplicationGroupId=group_id,
        ReplicationGroupDescription="of a test",
        Engine="valkey",
        CacheNodeType=kit.NODE_TYPE,
        ClusterMode="enabled",
        AutomaticFailoverEnabled=True,
        NodeGroupConfiguration=[
            {"NodeGroupId": "0007", "Slots": "0-99,16000-16383", "ReplicaCount": 0},
            {"NodeGroupId": "0003", "Slots": "100-15999", "ReplicaCount": 1},
        ],
    )
    kit.wait_status(api, group_id, "available")
    group = kit.describe(api, group_id)
    assert group is not None
    assert {(g["NodeGroupId"], g["Slots"]) for g in group["NodeGroups"]} == {
        ("0007", "0-99,16000-16383"),
        ("0003", "100-15999"),
    }
    with kit.connect(kit.place(group["ConfigurationEndpoint"])) as client:
        ranges = {(first, last) for first, last, *_ in client.execute_command("CLUSTER SLOTS")}
    assert ranges == {(0, 99), (100, 15_999), (16_000, 16_383)}


def test_a_modify_of_the_description_is_seen_and_harms_nobody(api: Any, group_id: str) -> None:
    group = kit.create_available(api, group_id)
    primary = kit.primary_endpoint(group)

    def write(number: int) -> None:
        with kit.connect(primary) as client:
            client.set("n", number)

    with kit.Writer(write) as writer:
        api.modify_replication_group(
            ReplicationGroupId=group_id, ReplicationGroupDescription="another"
        )
        writer.wait_for_writes()
        assert writer.refusals == []
    seen = kit.describe(api, group_id)
    assert seen is not None
    assert (seen["Description"], seen["Status"]) == ("another", "available")


def test_events_tell_the_life_of_a_group(service: testing.Service) -> None:
    api = service.client()
    kit.create_available(api, "told", replicas=1)
    kit.delete(api, "told")
    assert kit.messages(api, "told") == [
        "Create of replication group told accepted",
        "Replication group told created",
        "Delete of replication group told accepted",
        "Replication group told deleted",
    ]
    for node_id in ("told-001", "told-002"):
        assert kit.messages(api, node_id) == ["Cache cluster created", "Cache cluster deleted"]


def _role(node: tuple[str, int]) -> str:
    with kit.connect(node) as client:
        return str(client.info("replication")["role"])


def _is_in_sync(node: tuple[str, int]) -> bool:
    with kit.connect(node) as client:
        said = client.info("replication")
    return (said["master_link_status"], said["master_sync_in_progress"]) == ("up", 0)
