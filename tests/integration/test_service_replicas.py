"""Replicas that come and go by their number, in the whole group or shard by shard, under load.

Real service, real engines, boto3 and valkey-py.
"""

from __future__ import annotations

import signal
from typing import Any

import pytest

from cachewright import testing
from tests import cache_kit
from tests import service_kit as kit

#: More than a copy has that is over at once.
_LARGE_VALUES, _LARGE_VALUE_BYTES = 90, 1 << 20
_WAIT_MS = 5_000


def _writer_to(group: dict[str, Any]) -> kit.Writer:
    client = kit.connect(kit.primary_endpoint(group))
    return kit.Writer(lambda number: client.set(f"k{number}", number))


def _members(api: Any, group_id: str) -> list[str]:
    group = kit.describe(api, group_id)
    assert group is not None
    members: list[str] = group["MemberClusters"]
    return members


def _is_in_sync(place: tuple[str, int]) -> bool:
    with kit.connect(place) as client:
        replication = client.info("replication")
    return bool(replication["role"] == "master" or replication["master_link_status"] == "up")


def test_replicas_come_and_go_by_their_number_and_no_write_fails(api: Any, group_id: str) -> None:
    group = kit.create_available(api, group_id, replicas=1)
    new = [f"{group_id}-003", f"{group_id}-004"]
    with _writer_to(group) as writer:
        writer.wait_for_writes(200)
        answer = api.increase_replica_count(
            ReplicationGroupId=group_id, NewReplicaCount=3, ApplyImmediately=True
        )
        assert answer["ReplicationGroup"]["Status"] == "modifying"
        assert answer["ReplicationGroup"]["MemberClusters"][2:] == new
        code, _ = cache_kit.refusal(
            api.increase_replica_count,
            ReplicationGroupId=group_id,
            NewReplicaCount=4,
            ApplyImmediately=True,
        )
        assert code == "InvalidReplicationGroupState"
        kit.wait_status(api, group_id, "available")
        places = kit.nodes(api, group_id)
        assert all(_is_in_sync(place) for place in places.values())
        writer.wait_for_writes(200)
        api.decrease_replica_count(
            ReplicationGroupId=group_id,
            ReplicasToRemove=[f"{group_id}-002"],
            ApplyImmediately=True,
        )
        # It may be gone before it is asked for.
        assert cache_kit.status(api, f"{group_id}-002") in {"deleting", "gone"}
        kit.wait_status(api, group_id, "available")
        writer.wait_for_writes(200)
        api.decrease_replica_count(
            ReplicationGroupId=group_id, NewReplicaCount=1, ApplyImmediately=True
        )
        kit.wait_status(api, group_id, "available")
        writer.wait_for_writes(200)
        assert writer.refusals == []
    assert _members(api, group_id) == [f"{group_id}-001", new[0]]
    assert kit.tcp_is_refused(places[new[1]])
    with kit.connect(places[new[0]]) as client:
        kit.wait_until(
            "replicated",
            lambda: client.get(f"k{writer.acknowledged}"),
            is_it=lambda v: v is not None,
        )
        assert client.dbsize() == writer.acknowledged


def test_a_replica_that_hangs_goes_before_a_newer_one(
    service: testing.Service, api: Any, group_id: str
) -> None:
    kit.create_available(api, group_id, replicas=2)
    kit.engines(service.state_dir)[f"{group_id}-002"].kill(signal.SIGSTOP)
    api.decrease_replica_count(
        ReplicationGroupId=group_id, NewReplicaCount=1, ApplyImmediately=True
    )
    kit.wait_status(api, group_id, "available")
    assert _members(api, group_id) == [f"{group_id}-001", f"{group_id}-003"]


def test_shards_of_a_cluster_grow_and_shrink_one_by_one(api: Any, group_id: str) -> None:
    group = kit.create_available(api, group_id, shards=2, replicas=1)
    new = f"{group_id}-0002-003"
    with (
        kit.connect_cluster(group) as client,
        kit.Writer(lambda number: client.set(f"k{number}", number)) as writer,
    ):
        writer.wait_for_writes(200)
        more = {"NodeGroupId": "0002", "NewReplicaCount": 2}
        api.increase_replica_count(
            ReplicationGroupId=group_id, ReplicaConfiguration=[more], ApplyImmediately=True
        )
        kit.wait_status(api, group_id, "available")
        places = kit.nodes(api, group_id)
        assert len(places) == 5
        assert _is_in_sync(places[new])
        assert all(_knows(place, 5) for place in places.values())
        writer.wait_for_writes(200)
        api.decrease_replica_count(
            ReplicationGroupId=group_id, NewReplicaCount=0, ApplyImmediately=True
        )
        kit.wait_status(api, group_id, "available")
        writer.wait_for_writes(200)
        assert writer.refusals == []
        assert all(client.get(f"k{n}") == str(n) for n in range(1, writer.acknowledged + 1))
    left = kit.nodes(api, group_id)
    assert sorted(left) == [f"{group_id}-0001-001", f"{group_id}-0002-001"]
    assert all(_knows(place, 2) for place in left.values())
    assert kit.tcp_is_refused(places[new])


def test_a_large_copy_does_not_burden_the_primary_where_a_sibling_can_give_it(
    api: Any, group_id: str
) -> None:
    """Redis OSS forwards what is written during a copy by the process that forks for it."""
    line = {"Engine": "redis", "EngineVersion": "7.0"}
    group = kit.create_available(api, group_id, replicas=1, **line)
    with kit.connect(kit.primary_endpoint(group)) as client:
        for number in range(_LARGE_VALUES):
            client.set(f"large:{number}", bytes(_LARGE_VALUE_BYTES))
            client.wait(1, _WAIT_MS)
    before = {node_id: _full_copies(place) for node_id, place in kit.nodes(api, group_id).items()}
    with _writer_to(group) as writer:
        writer.wait_for_writes(20)
        api.increase_replica_count(
            ReplicationGroupId=group_id, NewReplicaCount=2, ApplyImmediately=True
        )
        kit.wait_status(api, group_id, "available")
        writer.wait_for_writes(20)
        assert writer.refusals == []
    places = kit.nodes(api, group_id)
    given = {node_id: _full_copies(places[node_id]) - count for node_id, count in before.items()}
    assert given == {f"{group_id}-001": 0, f"{group_id}-002": 1}
    with kit.connect(places[f"{group_id}-003"]) as client:
        replication = client.info("replication")
        assert (replication["master_host"], replication["master_link_status"]) == (
            places[f"{group_id}-001"][0],
            "up",
        )
        assert client.dbsize() >= _LARGE_VALUES


def _full_copies(place: tuple[str, int]) -> int:
    """Return how often somebody has copied everything from an engine."""
    with kit.connect(place) as client:
        return int(client.info("stats")["sync_full"])


def _knows(place: tuple[str, int], count: int) -> bool:
    with kit.connect(place) as client:
        return len(client.cluster("nodes")) == count


@pytest.mark.parametrize(
    ("operation", "wanted", "code"),
    [
        ("increase_replica_count", {"NewReplicaCount": 1}, "NoOperationFault"),
        ("increase_replica_count", {"NewReplicaCount": 6}, "InvalidParameterValue"),
        ("decrease_replica_count", {"NewReplicaCount": 1}, "NoOperationFault"),
        ("decrease_replica_count", {"ReplicasToRemove": ["other-001"]}, "InvalidParameterValue"),
    ],
)
def test_what_cannot_be_is_refused_with_its_code(
    api: Any, refused_group: str, operation: str, wanted: dict[str, Any], code: str
) -> None:
    call = getattr(api, operation)
    given = {"ReplicationGroupId": refused_group, "ApplyImmediately": True, **wanted}
    assert cache_kit.refusal(call, **given)[0] == code
    assert kit.status(api, refused_group) == "available"


@pytest.fixture(scope="module")
def refused_group(service: Any) -> Any:
    """Give a group with a replica that nothing happens to."""
    group = service.create_replication_group("refused", replicas=1)
    yield group.id
    group.delete()
