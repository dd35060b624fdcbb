"""May nodes get another type, engine or version, now or in their window?"""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import pytest

from cachewright.api import render_caches
from cachewright.model.engines import EngineName
from cachewright.model.errors import ClientFault
from cachewright.model.groups import GroupSpec, PendingChanges
from cachewright.model.status import GroupState, NodeState
from cachewright.service import (
    cluster_changes,
    inputs,
    inputs_cache_clusters,
    node_types,
    parameter_groups,
    pending,
    replication_groups,
    views,
)
from cachewright.service.inputs_parameters import (
    CreateCacheParameterGroup,
    ModifyCacheParameterGroup,
    ParameterNameValue,
)
from tests.unit.service.service_world import CLUSTER_OFFERS, World, run

IPC, IPV = "InvalidParameterCombination", "InvalidParameterValue"
MIB = 1 << 20
#: `NOW` is a Friday, 03:04:05.
WINDOW = "sun:05:00-sun:06:00"
OPEN = datetime.datetime(2026, 1, 4, 5, 10, tzinfo=datetime.UTC)
SMALL, MEDIUM, LARGE = "cache.t4g.small", "cache.t4g.medium", "cache.m7g.large"
REDIS: dict[str, Any] = {"engine": "redis"}
SINGLE: dict[str, Any] = {
    "engine": "valkey", "engine_version": "8.1", "num_cache_nodes": None,
}  # fmt: skip


async def modify(world: World, *, now: bool = True, **changes: Any) -> GroupSpec:
    request = inputs.ModifyReplicationGroup(
        replication_group_id="demo", apply_immediately=now, **changes
    )
    return (await replication_groups.modify(world.service, request)).spec


async def modify_cluster(world: World, *, now: bool = True, **changes: Any) -> GroupSpec:
    request = inputs_cache_clusters.ModifyCacheCluster(
        cache_cluster_id="cache", apply_immediately=now, **changes
    )
    return (await cluster_changes.modify(world.service, request)).group.spec


async def refusal(awaitable: Any) -> tuple[str, str]:
    with pytest.raises(ClientFault) as caught:
        await awaitable
    return caught.value.code, caught.value.message


async def group(world: World, **changes: Any) -> GroupSpec:
    usual: dict[str, Any] = {
        "cache_node_type": MEDIUM,
        "num_cache_clusters": 2,
        "preferred_maintenance_window": WINDOW,
    }
    spec = await world.create_available(**{**usual, **changes})
    world.usage[spec.uid] = {node.node_id: 500 * MIB for node in spec.nodes()}
    return spec


async def allowed(world: World, **named: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    return await node_types.allowed(world.service, inputs.ListAllowedNodeTypeModifications(**named))


def members_pending(world: World, cluster_id: str = "demo-001") -> Any:
    found = views.find_cluster(world.records, cluster_id)
    shown = render_caches.cache_cluster(world.service.arns, found, shows_nodes=False)
    return shown["PendingModifiedValues"]


# Node types


def test_types_are_listed_by_memory_and_by_what_is_held(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        spec = await group(world)
        up, down = await allowed(world, replication_group_id="demo")
        assert {"cache.t3.medium", LARGE, "cache.r7g.16xlarge"} <= set(up)
        assert set(down) == {SMALL, "cache.t3.small"}
        assert MEDIUM not in up + down
        assert not {"cache.m3.large", "cache.t2.small"} & {*up, *down}
        assert await allowed(world, cache_cluster_id="demo-002") == (up, down)
        # A quarter of the memory is reserved: 1052 MiB are left of a small one.
        world.usage[spec.uid]["demo-002"] = 1053 * MIB
        assert await allowed(world, replication_group_id="demo") == (up, ())
        world.usage[spec.uid] = {}
        assert await allowed(world, replication_group_id="demo") == (up, ())

    run(tmp_path, scenario)


def test_previous_generations_change_among_themselves(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        await group(world, cache_node_type="cache.m3.medium")
        up, _ = await allowed(world, replication_group_id="demo")
        assert {"cache.m3.large", LARGE} <= set(up)
        assert (await modify(world, cache_node_type="cache.m3.large")).node_type == "cache.m3.large"

    run(tmp_path, scenario)


def test_a_cache_of_memcached_need_not_hold_what_it_held(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        spec = await world.create_available_cluster(cache_node_type=MEDIUM)
        world.usage[spec.uid] = {node.node_id: 3000 * MIB for node in spec.nodes()}
        up, down = await allowed(world, cache_cluster_id="cache")
        assert {"cache.t3.medium", LARGE} <= set(up)
        assert set(down) == {SMALL, "cache.t3.small", "cache.t4g.micro", "cache.t3.micro"}
        after = await modify_cluster(world, cache_node_type=SMALL)
        assert (after.node_type, after.pending) == (SMALL, None)
        found = views.find_cluster(world.records, "cache")
        assert found.state is NodeState.MODIFYING
        code, _ = await refusal(modify_cluster(world, cache_node_type=LARGE))
        assert code == "InvalidCacheClusterState"
        await world.settle(after)
        assert views.find_cluster(world.records, "cache").state is NodeState.AVAILABLE
        assert await refusal(modify_cluster(world, cache_node_type=SMALL)) == (
            IPC, "No modifications were requested",
        )  # fmt: skip
        for name, words in (("cache.m9.tiny", "ListAllowed"), ("cache.m3.large", "previous gen")):
            code, text = await refusal(modify_cluster(world, cache_node_type=name))
            assert (code, words in text) == (IPV, True)

    run(tmp_path, scenario, offers=CLUSTER_OFFERS)


def test_a_type_of_memcached_waits_for_its_window(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        spec = await world.create_available_cluster(
            cache_node_type=MEDIUM, preferred_maintenance_window=WINDOW
        )
        world.usage[spec.uid] = {node.node_id: 3000 * MIB for node in spec.nodes()}
        after = await modify_cluster(world, now=False, cache_node_type=SMALL)
        assert after.pending == PendingChanges(node_type=SMALL)
        assert members_pending(world, "cache") == {"CacheNodeType": SMALL}
        assert await pending.apply_due(world.service, OPEN) == ("cache",)
        found = views.find_cluster(world.records, "cache").group.spec
        assert (found.node_type, found.pending) == (SMALL, None)

    run(tmp_path, scenario, offers=CLUSTER_OFFERS)


def test_a_type_of_memcached_suits_the_parameter_group(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        await _parameter_group(world, "big", "memcached1.6", "max_item_size", "209715200")
        await world.create_available_cluster(
            cache_node_type=MEDIUM, cache_parameter_group_name="big"
        )
        assert set((await allowed(world, cache_cluster_id="cache"))[1]) == {SMALL, "cache.t3.small"}
        code, text = await refusal(modify_cluster(world, cache_node_type="cache.t4g.micro"))
        assert (code, "max_item_size" in text) == (IPC, True)

    run(tmp_path, scenario, offers=CLUSTER_OFFERS)


def test_previous_generations_of_memcached(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        await world.create_available_cluster(cache_node_type="cache.m3.medium")
        up, down = await allowed(world, cache_cluster_id="cache")
        assert {"cache.m3.large", "cache.t4g.medium"} <= set(up)
        assert "cache.t4g.small" in down

    run(tmp_path, scenario, offers=CLUSTER_OFFERS)


@pytest.mark.parametrize("wanted", [LARGE, SMALL])
def test_a_type_that_holds_the_data_is_taken_at_once(tmp_path: Path, wanted: str) -> None:
    async def scenario(world: World) -> None:
        before = await group(world)
        after = await modify(world, cache_node_type=wanted)
        assert (after.node_type, after.pending) == (wanted, None)
        assert after.generation == before.generation + 1
        view = views.find_group(world.records, "demo")
        assert view.state is GroupState.MODIFYING
        assert view.node_state("demo-001") is NodeState.MODIFYING
        await world.settle(after)
        assert views.find_group(world.records, "demo").state is GroupState.AVAILABLE

    run(tmp_path, scenario)


def test_a_type_that_is_too_small_is_refused(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        spec = await group(world)
        for now in (True, False):
            code, text = await refusal(modify(world, now=now, cache_node_type="cache.t4g.micro"))
            assert (code, "because the node has insufficient memory" in text) == (IPV, True)
        code, text = await refusal(modify(world, cache_node_type="cache.m3.xlarge"))
        assert (code, "previous generation" in text) == (IPV, True)
        world.usage[spec.uid] = {}
        assert (await refusal(modify(world, cache_node_type=SMALL)))[0] == IPV

    run(tmp_path, scenario)


def test_what_nodes_hold_is_asked_anew_before_they_may_get_less(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        spec = await group(world)
        assert SMALL in (await allowed(world, replication_group_id="demo"))[1]
        world.unseen[spec.uid] = {"demo-001": 1100 * MIB}
        assert (await refusal(modify(world, cache_node_type=SMALL)))[0] == IPV
        world.unseen[spec.uid] = {"demo-001": MIB}
        assert SMALL in (await allowed(world, replication_group_id="demo"))[1]
        await modify(world, now=False, cache_node_type=SMALL)
        world.unseen[spec.uid] = {"demo-001": 1100 * MIB}
        assert (await refusal(modify(world, replication_group_description="now")))[0] == IPV
        world.unseen[spec.uid] = {"demo-001": MIB}
        await modify(world, now=False, replication_group_description="later")
        world.unseen[spec.uid] = {"demo-001": 1100 * MIB}
        assert await pending.apply_due(world.service, OPEN) == ("demo",)
        assert views.find_group(world.records, "demo").spec.node_type == MEDIUM

    run(tmp_path, scenario)


def test_a_parameter_group_that_comes_with_a_type_counts_for_what_fits(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        await _parameter_group(world, "much", "valkey9", "reserved-memory-percent", "90")
        await _parameter_group(world, "none", "valkey9", "reserved-memory-percent", "0")
        spec = await group(world)
        for now in (True, False):
            code, text = await refusal(
                modify(world, now=now, cache_node_type=SMALL, cache_parameter_group_name="much")
            )
            assert (code, "because the node has insufficient memory" in text) == (IPV, True)
        world.usage[spec.uid]["demo-001"] = 1100 * MIB
        assert (await refusal(modify(world, cache_node_type=SMALL)))[0] == IPV
        after = await modify(world, cache_node_type=SMALL, cache_parameter_group_name="none")
        assert (after.node_type, after.parameter_group) == (SMALL, "none")

    run(tmp_path, scenario)


def test_reserved_bytes_must_leave_something_of_the_new_type(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        await _parameter_group(world, "reserved", "valkey9", "reserved-memory", "2000000000")
        await group(world, cache_parameter_group_name="reserved")
        code, text = await refusal(modify(world, cache_node_type=SMALL))
        assert (code, "reserved-memory" in text) == (IPC, True)
        assert (await modify(world, cache_node_type=LARGE)).node_type == LARGE

    run(tmp_path, scenario)


def test_a_parameter_group_that_waits_must_go_with_a_new_type(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        await _parameter_group(world, "reserved", "valkey9", "reserved-memory", "2000000000")
        await group(world)
        await modify(world, now=False, cache_parameter_group_name="reserved")
        code, text = await refusal(modify(world, now=False, cache_node_type=SMALL))
        assert (code, "reserved-memory" in text) == (IPC, True)
        spec = await modify(world, now=False, cache_node_type=LARGE)
        assert spec.pending == PendingChanges(node_type=LARGE, parameter_group="reserved")

    run(tmp_path, scenario)


async def _parameter_group(
    world: World, name: str, family: str, parameter: str = "", value: str = ""
) -> None:
    await parameter_groups.create(
        world.service,
        CreateCacheParameterGroup(
            cache_parameter_group_name=name,
            cache_parameter_group_family=family,
            description="of a test",
        ),
    )
    if parameter:
        changed = [ParameterNameValue(parameter_name=parameter, parameter_value=value)]
        if parameter == "reserved-memory":
            percent = "reserved-memory-percent"
            changed.append(ParameterNameValue(parameter_name=percent, parameter_value="0"))
        await parameter_groups.modify(
            world.service,
            ModifyCacheParameterGroup(
                cache_parameter_group_name=name, parameter_name_values=tuple(changed)
            ),
        )


# Engines


def test_redis_becomes_valkey_with_the_default_group_of_its_family(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        await group(world, **REDIS)
        after = await modify(world, engine="Valkey", engine_version="9.1")
        assert (after.engine, after.engine_version) == (EngineName.VALKEY, "9.1")
        assert after.parameter_group == "default.valkey9"
        assert views.find_group(world.records, "demo").state is GroupState.MODIFYING

    run(tmp_path, scenario)


def test_a_version_in_between_may_be_passed_over_and_cluster_mode_stays(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        await group(world, num_cache_clusters=None, num_node_groups=2, engine_version="8.1")
        after = await modify(world, engine_version="9.1")
        assert (after.engine_version, after.parameter_group) == (
            "9.1", "default.valkey9.cluster.on",
        )  # fmt: skip

    run(tmp_path, scenario)


def test_a_custom_group_must_be_named_anew_for_another_family(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        await _parameter_group(world, "eight", "valkey8")
        await _parameter_group(world, "nine", "valkey9", "maxmemory-policy", "allkeys-lru")
        await group(world, engine_version="8.1", cache_parameter_group_name="eight")
        code, text = await refusal(modify(world, engine_version="9.1"))
        assert (code, "Expected a parameter group of family valkey9" in text) == (IPC, True)
        after = await modify(world, engine_version="9.1", cache_parameter_group_name="nine")
        assert after.parameter_group == "nine"

    run(tmp_path, scenario)


@pytest.mark.parametrize(
    ("created", "changes", "text"),
    [
        (REDIS, {"engine": "valkey"}, "EngineVersion must be provided"),
        (REDIS, {"engine_version": "9.1"}, "Cannot find version 9.1 for redis"),
        (REDIS, {"engine": "valkey", "engine_version": "7.2"}, "Cannot find version 7.2"),
        ({}, {"engine": "redis", "engine_version": "7.0"}, "Cannot modify valkey to redis"),
        ({}, {"engine": "memcached"}, "Cannot modify valkey to memcached"),
        ({}, {"engine_version": "8.1"}, "Cannot modify valkey from 9.1 to 8.1"),
        ({}, {"engine": "valkey", "engine_version": "9.1"}, "No modifications"),
    ],
)
def test_an_engine_goes_forward_only(
    tmp_path: Path, created: dict[str, Any], changes: dict[str, Any], text: str
) -> None:
    async def scenario(world: World) -> None:
        before = await group(world, **created)
        code, said = await refusal(modify(world, **changes))
        assert (code, text in said) == (IPC, True), said
        assert views.find_group(world.records, "demo").spec == before

    run(tmp_path, scenario)


def test_a_full_version_is_refused_with_the_one_to_use(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        await group(world, engine_version="8.1")
        code, text = await refusal(modify(world, engine_version="9.1.2"))
        assert (code, "please use '9.1'" in text) == (IPV, True)

    run(tmp_path, scenario)


def test_a_single_node_changes_version_and_type_but_not_engine(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        spec = await world.create_available_cluster(**SINGLE)
        world.usage[spec.uid] = {"cache": 10 * MIB}
        after = await modify_cluster(world, engine_version="9.1", cache_node_type=LARGE)
        assert (after.engine_version, after.node_type) == ("9.1", LARGE)
        assert after.parameter_group == "default.valkey9"
        assert members_pending(world, "cache") == {}

    run(tmp_path / "valkey", scenario, offers=CLUSTER_OFFERS)

    async def redis(world: World) -> None:
        await world.create_available_cluster(**{**SINGLE, **REDIS, "engine_version": "7.0"})
        code, text = await refusal(modify_cluster(world, engine="valkey", engine_version="9.1"))
        assert (code, "single node" in text) == (IPC, True)

    run(tmp_path / "redis", redis, offers=CLUSTER_OFFERS)


# In the window


def test_what_waits_is_shown_by_members_and_comes_true_in_the_window(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        await group(world, **REDIS)
        await modify(world, now=False, engine="valkey", engine_version="9.1", cache_node_type=LARGE)
        spec = views.find_group(world.records, "demo").spec
        assert (spec.engine_version, spec.node_type) == ("7.0", MEDIUM)
        waits = {"EngineVersion": "9.1", "CacheNodeType": LARGE}
        assert members_pending(world) == members_pending(world, "demo-002") == waits
        assert views.find_group(world.records, "demo").state is GroupState.AVAILABLE
        await world.settle(spec)
        assert await pending.apply_due(world.service, OPEN) == ("demo",)
        after = views.find_group(world.records, "demo").spec
        assert (after.engine, after.engine_version) == (EngineName.VALKEY, "9.1")
        assert (after.node_type, after.parameter_group) == (LARGE, "default.valkey9")
        assert after.pending is None

    run(tmp_path, scenario)


def test_naming_what_is_there_takes_a_wish_back(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        await group(world, engine_version="8.1")
        await modify(world, now=False, engine_version="9.1", cache_node_type=LARGE)
        spec = await modify(world, now=False, cache_node_type=MEDIUM)
        assert spec.pending == PendingChanges(
            engine=EngineName.VALKEY, engine_version="9.1", parameter_group="default.valkey9"
        )
        assert (await modify(world, now=False, engine_version="8.1")).pending is None

    run(tmp_path, scenario)


def test_a_new_wish_replaces_the_old_one(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        await group(world)
        await modify(world, now=False, cache_node_type=LARGE)
        spec = await modify(world, now=False, cache_node_type=SMALL)
        assert spec.pending == PendingChanges(node_type=SMALL)
        await world.settle(spec)
        assert (await modify(world, replication_group_description="x")).node_type == SMALL

    run(tmp_path, scenario)


def test_a_type_that_has_become_too_small_is_dropped_and_told(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        spec = await group(world, engine_version="8.1")
        await modify(world, now=False, cache_node_type=SMALL, engine_version="9.1")
        world.usage[spec.uid]["demo-002"] = 1100 * MIB
        code, _ = await refusal(modify(world, replication_group_description="at once"))
        assert code == IPV
        assert await pending.apply_due(world.service, OPEN) == ("demo",)
        after = views.find_group(world.records, "demo").spec
        assert (after.node_type, after.engine_version, after.pending) == (MEDIUM, "9.1", None)
        told = [event.message for event in world.events()]
        text = f"Failed to scale down to cache node type {SMALL} Replication Group [demo] because"
        assert any(message.startswith(text) for message in told)

    run(tmp_path, scenario)


def test_a_larger_type_waits_for_the_upgrade_that_waits_and_the_other_way_round(
    tmp_path: Path,
) -> None:
    async def scenario(world: World) -> None:
        await group(world, engine_version="8.1")
        await modify(world, now=False, engine_version="9.1")
        code, text = await refusal(modify(world, cache_node_type=LARGE))
        assert (code, "an engine upgrade waits" in text) == (IPC, True)
        waiting = views.find_group(world.records, "demo").spec.pending
        assert waiting is not None
        assert waiting.engine_version == "9.1"
        after = await modify(world, cache_node_type=LARGE, engine_version="9.1")
        assert (after.node_type, after.engine_version) == (LARGE, "9.1")

    run(tmp_path / "type", scenario)

    async def other(world: World) -> None:
        await group(world, engine_version="8.1")
        await modify(world, now=False, cache_node_type=LARGE)
        code, text = await refusal(modify(world, engine_version="9.1"))
        assert (code, "a change of the node type waits" in text) == (IPC, True)
        spec = await modify(world, now=False, engine_version="9.1")
        assert spec.pending is not None
        assert (spec.pending.node_type, spec.pending.engine_version) == (LARGE, "9.1")

    run(tmp_path / "engine", other)

    async def smaller(world: World) -> None:
        await group(world, engine_version="8.1")
        await modify(world, now=False, engine_version="9.1")
        # It takes with it what waits.
        after = await modify(world, cache_node_type=SMALL)
        assert (after.node_type, after.engine_version) == (SMALL, "9.1")

    run(tmp_path / "smaller", smaller)


def test_a_second_change_is_refused_while_one_runs(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        await group(world, engine_version="8.1")
        await modify(world, engine_version="9.1")
        state = "InvalidReplicationGroupState"
        assert (await refusal(modify(world, cache_node_type=LARGE)))[0] == state
        assert (await refusal(modify(world, engine_version="9.1")))[0] == state

    run(tmp_path, scenario)
