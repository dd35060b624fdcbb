"""What becomes of slots that move where there is no memory? Real service, real engines."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import service_kit as kit

_GROUP = "scores"
_VALUE = "x" * 10_000
_KEYS = 200
#: What a new shard has for them: the tables of an engine take more when keys come.
_ROOM_BYTES = 500_000
#: A resharding of little data takes some seconds beside other tests.
_TIMEOUT_S = 90.0


@pytest.fixture
def service(tmp_path: Path) -> Iterator[kit.Up]:
    with kit.up(tmp_path) as running:
        yield running


@pytest.fixture
def halting(tmp_path: Path) -> Iterator[kit.Up]:
    """A service that stands still when the first slots are to be moved."""
    with kit.prepared(tmp_path) as prepared:
        prepared.start(CACHEWRIGHT_FAILPOINTS="agent.before_move=stop")
        yield prepared


def create(api: Any, engine: str, version: str) -> Any:
    """Make two shards that evict nothing, and return a client of them."""
    family = f"{engine}{version.partition('.')[0]}"
    api.create_cache_parameter_group(
        CacheParameterGroupName="full", CacheParameterGroupFamily=family, Description="full"
    )
    values = {"maxmemory-policy": "noeviction", "cluster-enabled": "yes"}
    api.modify_cache_parameter_group(
        CacheParameterGroupName="full",
        ParameterNameValues=[
            {"ParameterName": name, "ParameterValue": value} for name, value in values.items()
        ],
    )
    kind = {"Engine": engine, "EngineVersion": version, "CacheParameterGroupName": "full"}
    return kit.connect_cluster(kit.create_available(api, _GROUP, shards=2, **kind))


def reshard(api: Any, count: int) -> None:
    api.modify_replication_group_shard_configuration(
        ReplicationGroupId=_GROUP, NodeGroupCount=count, ApplyImmediately=True
    )


def leave_room(service: kit.Up, shard_id: str, room_bytes: int) -> None:
    """Let a primary have so much more memory than it uses."""
    with kit.admin(service.state_dir, f"{_GROUP}-{shard_id}-001") as admin:
        used = admin.info("memory")["used_memory"]
        admin.config_set("maxmemory", used + room_bytes)


def assert_whole(service: kit.Up, client: Any, keys: list[str]) -> None:
    """Every key is found, none twice, and no slot is open."""
    assert [key for key in keys if client.get(key) != _VALUE] == []
    assert client.dbsize(target_nodes="primaries") == len(keys)
    for node_id in service.engines():
        with kit.admin(service.state_dir, node_id) as admin:
            shown = str(admin.execute_command("CLUSTER", "NODES"))
        assert "->-" not in shown
        assert "-<-" not in shown


@pytest.mark.parametrize(("engine", "version"), [("valkey", "9.1"), ("redis", "7.0")])
def test_a_shard_that_is_full_ends_it_soon_though_empty_slots_still_fit(
    halting: kit.Up, engine: str, version: str
) -> None:
    service = halting
    client = create(service.api, engine, version)
    keys = [f"key-{number}" for number in range(_KEYS)]
    for key in keys:
        client.set(key, _VALUE)
    reshard(service.api, 3)
    with service.standing_still():
        leave_room(service, "0003", _ROOM_BYTES)
    kit.wait_status(service.api, _GROUP, "available", timeout_s=_TIMEOUT_S)
    told = kit.messages(service.api, _GROUP)[-1]
    assert re.search("ended before it was complete: moving slots was given up: .*full.*OOM", told)
    group = kit.describe(service.api, _GROUP) or {}
    assert all(shard["Slots"] for shard in group["NodeGroups"])
    assert_whole(service, client, keys)
    # Once there is memory, it goes on when it is asked for again.
    leave_room(service, "0003", 100 << 20)
    reshard(service.api, 3)
    kit.wait_status(service.api, _GROUP, "available", timeout_s=_TIMEOUT_S)
    told = kit.messages(service.api, _GROUP)[-1]
    assert told == f"Resharding of replication group {_GROUP} completed"
    assert_whole(service, client, keys)


@pytest.mark.parametrize(("engine", "version"), [("valkey", "9.1"), ("redis", "7.0")])
def test_a_new_shard_relieves_two_full_ones_so_that_a_cut_move_between_them_ends(
    service: kit.Up, engine: str, version: str
) -> None:
    client = create(service.api, engine, version)
    # What leaves is far more than what the slot holds: it may have to come back to its owner.
    together = [f"{{same-slot}}-{number}" for number in range(10)]
    keys = [*together, *(f"key-{number}" for number in range(2 * _KEYS))]
    for key in keys:
        client.set(key, _VALUE)
    service.kill()  # nobody mends it meanwhile
    cut_a_move(service, client.keyslot(together[0]), together)
    for shard_id in ("0001", "0002"):
        leave_room(service, shard_id, 0)
    service.start()
    reshard(service.api, 3)
    kit.wait_status(service.api, _GROUP, "available", timeout_s=_TIMEOUT_S)
    told = kit.messages(service.api, _GROUP)[-1]
    assert told == f"Resharding of replication group {_GROUP} completed"
    assert_whole(service, client, keys)


def cut_a_move(service: kit.Up, slot: int, keys: list[str]) -> None:
    """Leave a slot half moved from the shard that owns it to the other one."""
    admins = [kit.admin(service.state_dir, f"{_GROUP}-000{number}-001") for number in (1, 2)]
    admins.sort(key=lambda admin: -admin.execute_command("CLUSTER COUNTKEYSINSLOT", slot))
    giving, taking = admins
    ids = [admin.execute_command("CLUSTER MYID") for admin in admins]
    taking.execute_command("CLUSTER SETSLOT", slot, "IMPORTING", ids[0])
    giving.execute_command("CLUSTER SETSLOT", slot, "MIGRATING", ids[1])
    place = taking.connection_pool.connection_kwargs
    login = ("AUTH2", place["username"], place["password"])
    half = keys[: len(keys) // 2]
    giving.execute_command(
        "MIGRATE", place["host"], place["port"], "", 0, 5000, *login, "KEYS", *half
    )
    for admin in admins:
        admin.close()
