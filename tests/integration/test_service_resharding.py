"""What do callers and clients see while slots move? Real service, real engines, real clients."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import service_kit as kit

pytestmark = pytest.mark.slow(15)
_GROUP = "scores"
#: Spread over all slots: each is written again and again with a higher number.
_KEYS = 1_000
_LIBRARY = "#!lua name=ours\nredis.register_function('one', function() return 1 end)"
#: A resharding of little data takes some seconds beside other tests.
_TIMEOUT_S = 90.0


@pytest.fixture
def service(tmp_path: Path) -> Iterator[kit.Up]:
    with kit.up(tmp_path) as running:
        yield running


def reshard(api: Any, count: int, **more: object) -> list[dict[str, Any]]:
    """Ask for other shards, and return what was described until the group was available again."""
    api.modify_replication_group_shard_configuration(
        ReplicationGroupId=_GROUP, NodeGroupCount=count, ApplyImmediately=True, **more
    )
    seen: list[dict[str, Any]] = []
    deadline = time.monotonic() + _TIMEOUT_S
    while not seen or seen[-1]["Status"] != "available":
        assert time.monotonic() < deadline, seen[-1]
        group = kit.describe(api, _GROUP)
        assert group is not None
        seen.append(group)
        time.sleep(0.02)
    return seen


def progress(seen: list[dict[str, Any]]) -> list[float]:
    """Return how much was said to be done, each time it was said."""
    pending = [group["PendingModifiedValues"].get("Resharding") for group in seen]
    return [one["SlotMigration"]["ProgressPercentage"] for one in pending if one]


def shard_ids(group: dict[str, Any]) -> list[str]:
    return [shard["NodeGroupId"] for shard in group["NodeGroups"]]


@pytest.mark.parametrize(
    ("engine", "version", "replicas"), [("valkey", "9.1", 1), ("redis", "7.0", 0)]
)
def test_shards_come_and_go_while_clients_write(
    service: kit.Up, engine: str, version: str, replicas: int
) -> None:
    api = service.api
    group = kit.create_available(
        api, _GROUP, shards=2, replicas=replicas, Engine=engine, EngineVersion=version
    )
    client = kit.connect_cluster(group)
    client.function_load(_LIBRARY)
    with kit.Writer(lambda number: client.set(f"key-{number % _KEYS}", number)) as writer:
        writer.wait_for_writes(_KEYS)
        grown = reshard(api, 3)
        for node_id in (f"{_GROUP}-0003-{number:03}" for number in range(1, replicas + 2)):
            with kit.admin(service.state_dir, node_id) as admin:
                assert [found[1] for found in admin.function_list()] == ["ours"], node_id
        writer.wait_for_writes(_KEYS)
        shrunk = reshard(api, 1, NodeGroupsToRetain=["0003"])
        writer.wait_for_writes(_KEYS)
    assert writer.refusals == []
    last = writer.acknowledged
    newest = {f"key-{number % _KEYS}": str(number) for number in range(last - _KEYS + 1, last + 1)}
    assert {key: client.get(key) for key in newest} == newest
    assert client.dbsize(target_nodes="primaries") == _KEYS

    assert shard_ids(grown[-1]) == ["0001", "0002", "0003"]
    owned = [shard["Slots"] for shard in grown[-1]["NodeGroups"]]
    assert all(owned)
    assert shard_ids(shrunk[-1]) == ["0003"]
    assert shrunk[-1]["NodeGroups"][0]["Slots"] == "0-16383"
    for seen in (grown, shrunk):
        assert {group["Status"] for group in seen} == {"modifying", "available"}
        assert progress(seen) == sorted(progress(seen))
        assert "Resharding" not in seen[-1]["PendingModifiedValues"]
    told = list(reversed(kit.messages(api, _GROUP)))
    assert told.count(f"Resharding of replication group {_GROUP} started") == 2
    assert told.count(f"Resharding of replication group {_GROUP} completed") == 2
    assert {f"Node group {name} has no slots left" for name in ("0001", "0002")} <= set(told)
    assert len(service.engines()) == replicas + 1


def test_the_service_dies_again_and_again_while_slots_move(service: kit.Up) -> None:
    api = service.api
    group = kit.create_available(api, _GROUP, shards=2)
    client = kit.connect_cluster(group)
    for number in range(_KEYS):
        client.set(f"key-{number}", f"{number:01000}")
    pids = set(service.engines().values())
    api.modify_replication_group_shard_configuration(
        ReplicationGroupId=_GROUP, NodeGroupCount=4, ApplyImmediately=True
    )
    for seconds in (0.4, 2.6, 0.5, 0.7):
        time.sleep(seconds)
        service.kill()
        service.start()
    kit.wait_status(service.api, _GROUP, "available", timeout_s=_TIMEOUT_S)
    assert shard_ids(kit.describe(service.api, _GROUP) or {}) == ["0001", "0002", "0003", "0004"]
    client = kit.connect_cluster(group)
    assert client.dbsize(target_nodes="primaries") == _KEYS
    assert all(client.get(f"key-{n}") == f"{n:01000}" for n in range(0, _KEYS, 7))
    assert pids <= set(service.engines().values())


def test_a_group_is_deleted_while_its_slots_move(service: kit.Up) -> None:
    api = service.api
    kit.create_available(api, _GROUP, shards=2)
    api.modify_replication_group_shard_configuration(
        ReplicationGroupId=_GROUP, NodeGroupCount=3, ApplyImmediately=True
    )
    kit.wait_until("a third primary", lambda: len(service.engines()) == 3)
    kit.delete(api, _GROUP)
    assert service.engines() == {}


def test_slots_that_are_spread_evenly_stay_where_they_are(service: kit.Up) -> None:
    api = service.api
    before = kit.create_available(api, _GROUP, shards=3)
    after = reshard(api, 3)[-1]
    assert [s["Slots"] for s in after["NodeGroups"]] == [s["Slots"] for s in before["NodeGroups"]]


def test_a_move_that_was_cut_goes_on_after_the_death_of_both_that_kept_their_data(
    service: kit.Up,
) -> None:
    """An engine that loads keys of a slot that it does not own would throw them away."""
    api = service.api
    api.create_cache_parameter_group(
        CacheParameterGroupName="kept", CacheParameterGroupFamily="valkey9", Description="kept"
    )
    values = {"appendonly": "yes", "appendfsync": "always", "cluster-enabled": "yes"}
    api.modify_cache_parameter_group(
        CacheParameterGroupName="kept",
        ParameterNameValues=[
            {"ParameterName": name, "ParameterValue": value} for name, value in values.items()
        ],
    )
    group = kit.create_available(api, _GROUP, shards=2, CacheParameterGroupName="kept")
    client = kit.connect_cluster(group)
    keys = [f"{{same-slot}}-{number}" for number in range(100)]
    for key in keys:
        client.set(key, key)
    slot = client.keyslot(keys[0])
    giving, taking = (kit.admin(service.state_dir, f"{_GROUP}-000{n}-001") for n in (1, 2))
    if not giving.execute_command("CLUSTER COUNTKEYSINSLOT", slot):
        giving, taking = taking, giving
    service.kill()  # nobody mends it meanwhile
    ids = [admin.execute_command("CLUSTER MYID") for admin in (giving, taking)]
    taking.execute_command("CLUSTER SETSLOT", slot, "IMPORTING", ids[0])
    giving.execute_command("CLUSTER SETSLOT", slot, "MIGRATING", ids[1])
    place = taking.connection_pool.connection_kwargs
    login = ("AUTH2", place["username"], place["password"])
    giving.execute_command(
        "MIGRATE", place["host"], place["port"], "", 0, 5000, *login, "KEYS", *keys[:50]
    )
    for engine in service.engines().values():
        engine.kill()
    service.start()
    kit.wait_status(service.api, _GROUP, "available")
    client = kit.connect_cluster(group)
    kit.wait_until("all is at one place", lambda: are_there_once(client, keys))


def are_there_once(client: Any, keys: list[str]) -> bool:
    """Tell whether every key is found, and none twice."""
    are_found = all(client.get(key) == key for key in keys)
    return are_found and client.dbsize(target_nodes="primaries") == len(keys)
