"""Does a group mend itself when nobody owns its slots any more? Real service, real engines."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import service_kit as kit

_GROUP = "scores"
_KEYS = 500
_NODES = tuple(f"{_GROUP}-000{shard}-00{node}" for shard in (1, 2) for node in (1, 2))
#: An engine says so to others within a second or two.
_TOLD_S = 30.0


@pytest.fixture
def service(tmp_path: Path) -> Iterator[kit.Up]:
    with kit.up(tmp_path) as running:
        yield running


def own_slots(service: kit.Up, node_id: str) -> list[str]:
    """Return the slots that a node says it owns."""
    said = kit.admin(service.state_dir, node_id).execute_command("CLUSTER NODES")
    nodes = said.values() if isinstance(said, dict) else []
    return ["-".join(part) for node in nodes if "myself" in node["flags"] for part in node["slots"]]


def let_go(service: kit.Up) -> None:
    """Let every node know no owner of any slot, as operators could."""
    deadline = time.monotonic() + _TOLD_S
    while any(own_slots(service, node_id) for node_id in _NODES):
        assert time.monotonic() < deadline
        for node_id in _NODES:
            admin = kit.admin(service.state_dir, node_id)
            for slots in own_slots(service, node_id):
                admin.execute_command("CLUSTER DELSLOTSRANGE", *slots.split("-"))


@pytest.mark.parametrize(("engine", "version"), [("redis", "7.0"), ("valkey", "9.1")])
def test_slots_that_operators_let_go_of_are_owned_again(
    service: kit.Up, engine: str, version: str
) -> None:
    api = service.api
    before = kit.create_available(
        api, _GROUP, shards=2, replicas=1, Engine=engine, EngineVersion=version
    )
    client = kit.connect_cluster(before)
    for number in range(_KEYS):
        client.set(f"key-{number}", number)
    service.kill()  # nobody mends it meanwhile
    let_go(service)
    service.start()
    kit.wait_event(
        service.api, _GROUP, "Node group 0001 owns slots 0-8191, which no node had claimed"
    )
    kit.wait_event(
        service.api, _GROUP, "Node group 0002 owns slots 8192-16383, which no node had claimed"
    )
    kit.wait_status(service.api, _GROUP, "available")
    after: dict[str, Any] = kit.describe(service.api, _GROUP) or {}
    slots = [[shard["Slots"] for shard in group["NodeGroups"]] for group in (before, after)]
    assert slots[0] == slots[1] == ["0-8191", "8192-16383"]
    client = kit.connect_cluster(after)
    assert client.dbsize(target_nodes="primaries") == _KEYS
    assert {client.get(f"key-{number}") for number in range(_KEYS)} == {*map(str, range(_KEYS))}
    told = kit.messages(service.api, _GROUP)
    assert f"Replication group {_GROUP} serves fully again" in told
