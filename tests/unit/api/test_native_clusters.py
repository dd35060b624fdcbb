"""Does our own face know every kind of cluster, and apply what waits when it is told to?"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import msgspec
import pytest

from cachewright.api.app import App
from cachewright.cli import answers
from cachewright.model.slots import split_evenly
from cachewright.model.status import GroupState, Resharding, ShardSlots
from cachewright.service import cluster_changes, inputs, replication_groups, resharding
from cachewright.service.inputs_cache_clusters import ModifyCacheCluster
from cachewright.service.inputs_scaling import ModifyReplicationGroupShardConfiguration
from cachewright.store.records import SPEC, STATUS, ChangeSet
from tests.unit.api.api_caller import ask_signed, serve
from tests.unit.service.service_world import CLUSTER_OFFERS, World, status_of

BASE = "/cachewright/v1"
SINGLE: dict[str, object] = {
    "cache_cluster_id": "one", "engine": "redis", "engine_version": None, "num_cache_nodes": None,
}  # fmt: skip


async def show(app: App, name: str) -> answers.Group:
    answer = await ask_signed(app, "GET", f"{BASE}/groups/{name}")
    return msgspec.json.decode(answer.body, type=answers.Group)


def test_every_kind_is_listed_by_name_with_its_endpoint(tmp_path: Path) -> None:
    async def scenario(world: World, app: App) -> None:
        await world.create_available_cluster(num_cache_nodes=2)
        await world.create_available_cluster(**SINGLE)
        await world.create_available(num_cache_clusters=2)
        answer = await ask_signed(app, "GET", f"{BASE}/groups")
        rows = msgspec.json.decode(answer.body, type=answers.Groups).groups
        assert [(row.name, row.kind, row.nodes, row.endpoint) for row in rows] == [
            ("cache", "memcached", 2, "127.64.0.3:11211"),
            ("demo", "replication-group", 2, "127.64.0.3:6379"),
            ("one", "single-node", 1, "127.64.0.1:6379"),
        ]

    serve(tmp_path, scenario, offers=CLUSTER_OFFERS)


def test_a_cluster_is_shown_by_its_name_and_a_group_by_a_members(tmp_path: Path) -> None:
    async def scenario(world: World, app: App) -> None:
        spec = await world.create_available_cluster(num_cache_nodes=2)
        await world.create_available(num_cache_clusters=2)
        assert (await show(app, "DEMO-002")).name == "demo"
        seen = await show(app, "cache")
        assert (seen.kind, seen.status) == ("memcached", "available")
        assert seen.endpoints == answers.Endpoints(configuration="127.64.0.3:11211")
        assert [node.node_id for node in seen.shards[0].nodes] == ["0001", "0002"]
        assert [event.message for event in seen.events] == [
            "Create of cache cluster cache accepted"
        ]

        await cluster_changes.reboot(world.service, "cache", ("0002",))
        assert (await show(app, "cache")).status == "rebooting cluster nodes"
        await world.settle(spec, GroupState.AVAILABLE)
        explained = await ask_signed(app, "GET", f"{BASE}/groups/nobody/explain")
        assert explained.status == 404

    serve(tmp_path, scenario, offers=CLUSTER_OFFERS)


def test_a_retained_primary_is_listed_as_the_node_that_it_is(tmp_path: Path) -> None:
    async def scenario(world: World, app: App) -> None:
        await world.create_available(num_cache_clusters=2)
        request = inputs.DeleteReplicationGroup(
            replication_group_id="demo", retain_primary_cluster=True
        )
        deleted = await replication_groups.delete(world.service, request)
        await world.release(deleted.spec, "demo-001")
        seen = await show(app, "demo-001")
        assert (seen.name, seen.kind, seen.status) == ("demo-001", "single-node", "available")
        assert [node.node_id for node in seen.shards[0].nodes] == ["demo-001"]
        assert seen.endpoints == answers.Endpoints(node="127.64.0.1:6379")

    serve(tmp_path, scenario, offers=CLUSTER_OFFERS)


def test_maintenance_applies_what_waits_for_windows_that_are_open_then(tmp_path: Path) -> None:
    async def scenario(world: World, app: App) -> None:
        await world.create_available_cluster(preferred_maintenance_window="sun:05:00-sun:06:00")
        wanted = ModifyCacheCluster(cache_cluster_id="cache", engine_version="1.6.45")
        await cluster_changes.modify(world.service, wanted)

        async def maintain(at: str) -> object:
            body = msgspec.json.encode({"at": at})
            answer = await ask_signed(app, "POST", f"{BASE}/maintenance", body)
            assert answer.status == 200, answer.body
            return answer.document["applied"]

        assert await maintain("2031-01-04T05:30:00Z") == []  # a Saturday
        assert await maintain("2031-01-05T00:30:00-05:00") == ["cache"]
        assert await maintain("2031-01-05T05:30:00Z") == []

    serve(tmp_path, scenario, offers=CLUSTER_OFFERS)


@pytest.mark.parametrize(
    "body", [b"", b"\xff", b"{}", b'{"at": "tomorrow"}', b'{"at": "2031-01-05T05:30:00"}']
)
def test_maintenance_at_no_moment_is_refused(tmp_path: Path, body: bytes) -> None:
    async def scenario(_: World, app: App) -> None:
        answer = await ask_signed(app, "POST", f"{BASE}/maintenance", body)
        assert (answer.status, answer.document["code"]) == (400, "InvalidParameterValue")

    serve(tmp_path, scenario)


def test_a_resharding_is_shown_with_what_shards_own_by_now(tmp_path: Path) -> None:
    async def scenario(world: World, app: App) -> None:
        spec = await world.create_available(num_node_groups=2)
        assert (await show(app, "demo")).resharding_percent is None
        wanted = ModifyReplicationGroupShardConfiguration(
            replication_group_id="demo", node_group_count=3, apply_immediately=True
        )
        after = (await resharding.modify(world.service, wanted)).spec
        assert (await show(app, "demo")).resharding_percent == 0.0
        owned = tuple(
            ShardSlots(shard_id=shard_id, slots=slots)
            for shard_id, slots in zip(("0001", "0002", "0003"), split_evenly(3), strict=True)
        )
        changes = ChangeSet()
        status = dataclasses.replace(
            status_of(after, GroupState.MODIFYING),
            owned=owned,
            resharding=Resharding(generation=after.resharding_generation, progress_percent=75.0),
        )
        changes.put(STATUS + spec.uid, status)
        await world.records.commit(changes)
        seen = await show(app, "demo")
        assert seen.resharding_percent == 75.0
        assert [shard.slots for shard in seen.shards] == ["0-5460", "5461-10921", "10922-16383"]

        # The new shard is dropped again, and has a place until its node is gone.
        await world.settle(after)
        changes = ChangeSet()
        changes.put(SPEC + spec.uid, dataclasses.replace(after, shards=after.shards[:2]))
        await world.records.commit(changes)
        last = (await show(app, "demo")).shards[2]
        assert [(node.node_id, node.status) for node in last.nodes] == [
            ("demo-0003-001", "deleting"),
        ]

    serve(tmp_path, scenario)
