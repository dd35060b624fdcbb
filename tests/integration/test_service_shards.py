"""What a caller may ask about shards, what is refused, and what the API shows until it is done.

Real service, real engines, boto3 and a cluster client.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import pytest

from cachewright import testing
from cachewright.cli import calls
from cachewright.model import slots
from tests import cache_kit
from tests import service_kit as kit

#: Keys of a test: enough that every shard has some thousand.
_KEYS = 6_000
#: Bytes are spread evenly, not slots: so many more or less have the same.
_UNEVEN = 410
_STATE, _IPC = "InvalidReplicationGroupState", "InvalidParameterCombination"


def reshard(api: Any, group_id: str, count: int, **more: object) -> dict[str, Any]:
    answer = api.modify_replication_group_shard_configuration(
        ReplicationGroupId=group_id, NodeGroupCount=count, ApplyImmediately=True, **more
    )
    group: dict[str, Any] = answer["ReplicationGroup"]
    return group


def refused(api: Any, group_id: str, count: int, **more: object) -> str:
    """Return the code with which another number of shards is refused."""
    call = api.modify_replication_group_shard_configuration
    given = {"ReplicationGroupId": group_id, "NodeGroupCount": count, "ApplyImmediately": True}
    return cache_kit.refusal(call, **given | more)[0]


def settle(api: Any, group_id: str) -> tuple[dict[str, Any], list[float]]:
    """Wait until a group is available again; return how it is shown, and its progress till then."""
    progress: list[float] = []

    def look() -> str:
        group = kit.describe(api, group_id)
        assert group is not None
        pending = group["PendingModifiedValues"]
        if "Resharding" in pending:
            progress.append(pending["Resharding"]["SlotMigration"]["ProgressPercentage"])
            assert group["Status"] == "modifying"
        return str(group["Status"])

    kit.wait_until(
        "available", look, is_it=lambda seen: seen == "available", timeout_s=120.0,
        every_s=kit.LOOK_SOON_S,
    )  # fmt: skip
    found = kit.describe(api, group_id)
    assert found is not None
    return found, progress


def owned(group: dict[str, Any]) -> dict[str, int]:
    """Return how many slots each shard owns; together they own every slot once."""
    ranges = {g["NodeGroupId"]: slots.parse_ranges(g["Slots"]) for g in group["NodeGroups"]}
    assert slots.covers_all(itertools.chain.from_iterable(ranges.values()))
    return {shard_id: sum(len(part) for part in parts) for shard_id, parts in ranges.items()}


@pytest.fixture
def filled(api: Any, group_id: str) -> Iterator[tuple[dict[str, Any], Any]]:
    """Give a group of two shards with keys in every corner, and a client of it."""
    group = kit.create_available(api, group_id, shards=2, replicas=1)
    with kit.connect_cluster(group) as client:
        for first in range(0, _KEYS, 1_000):
            client.mset_nonatomic({f"k{n}": str(n) for n in range(first, first + 1_000)})
        yield group, client


def missing(client: Any) -> list[int]:
    """Return the keys that are not as they were written."""
    names = [f"k{number}" for number in range(_KEYS)]
    values = itertools.chain.from_iterable(
        client.mget_nonatomic(names[first : first + 1_000]) for first in range(0, _KEYS, 1_000)
    )
    return [number for number, value in enumerate(values) if value != str(number)]


def test_a_cluster_grows_shrinks_and_keeps_every_key(
    api: Any, group_id: str, filled: tuple[dict[str, Any], Any]
) -> None:
    _, client = filled
    with kit.Writer(lambda number: client.set(f"w{number}", number)) as writer:
        writer.wait_for_writes(200)
        accepted = reshard(api, group_id, 4)
        assert accepted["Status"] == "modifying"
        assert [g["NodeGroupId"] for g in accepted["NodeGroups"]] == [
            "0001", "0002", "0003", "0004",
        ]  # fmt: skip
        assert refused(api, group_id, 5) == _STATE
        grown, progress = settle(api, group_id)
        assert progress == sorted(progress)
        assert all(abs(count - 4_096) < _UNEVEN for count in owned(grown).values())
        assert len(grown["MemberClusters"]) == 8
        assert missing(client) == []

        reshard(api, group_id, 3, NodeGroupsToRemove=["0002"])
        shrunk, progress = settle(api, group_id)
        assert progress == sorted(progress)
        assert sorted(owned(shrunk)) == ["0001", "0003", "0004"]
        assert not any("-0002-" in member for member in shrunk["MemberClusters"])
        assert missing(client) == []
        writer.wait_for_writes(200)
        assert writer.refusals == []
    assert all(client.get(f"w{n}") == str(n) for n in range(1, writer.acknowledged + 1))
    grown_again = reshard(api, group_id, 4)
    assert grown_again["NodeGroups"][-1]["NodeGroupId"] == "0005"
    settle(api, group_id)
    # The same number: nothing is to be moved, and it is over at once.
    reshard(api, group_id, 4)
    spread = owned(settle(api, group_id)[0])
    assert all(abs(count - 4_096) < _UNEVEN for count in spread.values())


def test_what_cannot_be_is_refused_and_nothing_changes(api: Any, group_id: str) -> None:
    group = kit.create_available(api, group_id, shards=2)

    ipv = "InvalidParameterValue"
    assert refused(api, group_id, 0, NodeGroupsToRemove=["0001", "0002"]) == ipv
    assert refused(api, group_id, 1) == _IPC
    assert refused(api, group_id, 1, NodeGroupsToRemove=["0009"]) == ipv
    assert refused(api, group_id, 1, NodeGroupsToRemove=["0001", "0001"]) == ipv
    assert refused(api, group_id, 3, NodeGroupsToRemove=["0001"]) == _IPC
    assert refused(api, group_id, 20_000) == "NodeGroupsPerReplicationGroupQuotaExceeded"
    zones = [{"PreferredAvailabilityZones": ["us-east-1a", "us-east-1b"]}]
    assert refused(api, group_id, 3, ReshardingConfiguration=zones) == _IPC
    with pytest.raises(Exception, match="ApplyImmediately"):
        api.modify_replication_group_shard_configuration(
            ReplicationGroupId=group_id, NodeGroupCount=3, ApplyImmediately=False
        )
    assert kit.describe(api, group_id) == group


def test_shards_whose_data_has_no_other_place_stay(
    service: testing.Service, api: Any, group_id: str
) -> None:
    name = f"{group_id}-reserved"
    api.create_cache_parameter_group(
        CacheParameterGroupName=name, CacheParameterGroupFamily="valkey9", Description="of a test"
    )
    values = {"cluster-enabled": "yes", "reserved-memory-percent": "90"}
    api.modify_cache_parameter_group(
        CacheParameterGroupName=name,
        ParameterNameValues=[
            {"ParameterName": parameter, "ParameterValue": value}
            for parameter, value in values.items()
        ],
    )
    # Room for 51 MiB in a shard, of which 45 are used.
    group = kit.create_available(api, group_id, shards=2, CacheParameterGroupName=name)
    with kit.connect_cluster(group) as client:
        for number in range(180):
            client.set(f"big{number}", b"x" * (1 << 19))
        calls.find_service(service.state_dir).explain(group_id)  # it looks at every engine
        code, text = cache_kit.refusal(
            api.modify_replication_group_shard_configuration,
            ReplicationGroupId=group_id,
            NodeGroupCount=1,
            NodeGroupsToRemove=["0002"],
            ApplyImmediately=True,
        )
        assert (code, "does not fit in 1 node group with 52 MiB" in text) == (_IPC, True)
        after = kit.describe(api, group_id)
        assert after == group
        assert client.dbsize(target_nodes="primaries") == 180
    kit.delete(api, group_id)
    api.delete_cache_parameter_group(CacheParameterGroupName=name)
