"""Which updates are there, how far are they, and what does applying or stopping one ask for?"""

from __future__ import annotations

import dataclasses
import datetime
from pathlib import Path

import pytest

from cachewright.kit.clock import ManualClock
from cachewright.model.engines import EngineName
from cachewright.model.errors import ClientFault
from cachewright.model.groups import GroupSpec
from cachewright.model.service_updates import UpdateState
from cachewright.model.status import GroupState, NodeState
from cachewright.service import inputs_service_updates as inputs
from cachewright.service import service_updates, update_actions, update_batches
from cachewright.service.update_batches import Processed
from cachewright.store import furniture, records
from tests.unit.service.service_world import NOW, World, offer, run, status_of

OLD, NEW = "9.1.2", "9.1.3"
NAME = "elasticache-valkey-9-1-3"


def offering(world: World, *versions: str) -> World:
    """Return the world with these builds of Valkey on the host, and no other engine."""
    offers = tuple(offer(EngineName.VALKEY, version) for version in versions)
    service = dataclasses.replace(world.service, offers=lambda: offers)
    return dataclasses.replace(world, service=service)


def spec_of(world: World, name: str = "demo") -> GroupSpec:
    uid = world.records.uid_of_group(name)
    assert uid is not None
    found = world.records.spec(uid)
    assert found is not None
    return found.value


async def see(
    world: World,
    versions: dict[str, str],
    *,
    down: tuple[str, ...] = (),
    due: tuple[str, ...] = (),
    name: str = "demo",
) -> None:
    """Write the status that the loop would, with nodes of these versions, down or due."""
    spec = spec_of(world, name)
    status = status_of(spec, GroupState.MODIFYING if down or due else GroupState.AVAILABLE)
    nodes = tuple(
        dataclasses.replace(
            node,
            engine_version=versions[node.node_id],
            has_copy=node.node_id not in down,
            state=NodeState.REBOOTING if node.node_id in (*down, *due) else NodeState.AVAILABLE,
        )
        for node in status.nodes
    )
    changes = records.ChangeSet()
    changes.put(records.STATUS + spec.uid, dataclasses.replace(status, nodes=nodes))
    await world.records.commit(changes)


async def with_update(world: World, **changes: object) -> World:
    """Return a world with a group of three nodes on the old build, and the new build noticed."""
    await world.create_available(num_cache_clusters=3, **changes)
    newer = offering(world, NEW)
    await see(newer, dict.fromkeys(ids(newer), OLD))
    (update,) = await service_updates.notice(newer.service)
    assert update.name == NAME
    return newer


def ids(world: World) -> tuple[str, ...]:
    return tuple(node.node_id for node in spec_of(world).nodes())


def restarts(world: World) -> dict[str, int]:
    return {node.node_id: node.restarts for node in spec_of(world).nodes()}


def states(world: World, **filters: object) -> list[str]:
    wanted = inputs.DescribeUpdateActions(**filters)  # type: ignore[arg-type] # names of fields
    found = update_actions.describe(world.service, wanted)
    return [
        f"{action.group.spec.name} {action.state.value} "
        + "/".join(action.node_state(node).value for node in action.group.spec.nodes())
        for _, action in found
    ]


async def apply(world: World, *names: str, clusters: tuple[str, ...] = ()) -> tuple[Processed, ...]:
    wanted = inputs.BatchApplyUpdateAction(
        service_update_name=NAME, replication_group_ids=names, cache_cluster_ids=clusters
    )
    return await update_batches.apply(world.service, wanted)


async def stop(world: World, *names: str) -> tuple[Processed, ...]:
    wanted = inputs.BatchStopUpdateAction(service_update_name=NAME, replication_group_ids=names)
    return await update_batches.stop(world.service, wanted)


def code(done: tuple[Processed, ...]) -> str | None:
    (only,) = done
    assert (only.state is None) == (only.refusal is not None)
    return only.refusal.code if only.refusal else None


def statuses(world: World) -> dict[str, str]:
    found = service_updates.describe(world.service, inputs.DescribeServiceUpdates())
    return {update.name: status.value for update, status in found}


def test_an_update_is_a_newer_build_than_some_group_runs_and_is_told_once(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        await world.create_available(num_cache_clusters=2)
        assert await service_updates.notice(world.service) == ()
        newer = offering(world, NEW)
        assert len(await service_updates.notice(newer.service)) == 1
        assert await service_updates.notice(newer.service) == ()
        (update,) = furniture.service_updates(newer.records)
        assert (update.name, update.version, update.released_at) == (NAME, NEW, NOW)
        told = [e for e in newer.events() if e.message.startswith("Service update")]
        assert [(e.source_id, e.message) for e in told] == [
            ("demo-001", "Service update is available for cache node 0001."),
            ("demo-002", "Service update is available for cache node 0001."),
        ]

    run(tmp_path, scenario)


def test_older_builds_and_other_lines_are_no_updates(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        await world.create_available()
        for versions in ((OLD,), ("9.1.1",), ("9.2.0",), ("8.1.9",), ()):
            assert await service_updates.notice(offering(world, *versions).service) == ()

    run(tmp_path, scenario)


def test_a_node_that_is_still_to_be_upgraded_needs_no_build_of_its_older_line(
    tmp_path: Path,
) -> None:
    async def scenario(world: World) -> None:
        await world.create_available(num_cache_clusters=2)
        newer = offering(world, NEW)
        await see(newer, {"demo-001": "8.1.9", "demo-002": NEW})
        assert await service_updates.notice(newer.service) == ()
        assert not [e for e in newer.events() if e.message.startswith("Service update")]

    run(tmp_path, scenario)


def test_an_update_gives_way_to_a_newer_one_and_goes_with_its_build(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        newer = await with_update(world)
        assert statuses(newer) == {NAME: "available"}
        assert statuses(offering(world)) == {NAME: "cancelled"}
        assert statuses(offering(world, OLD)) == {NAME: "cancelled"}
        newest = offering(world, "9.1.10")
        await service_updates.notice(newest.service)
        assert statuses(newest) == {NAME: "expired", "elasticache-valkey-9-1-10": "available"}
        assert len(states(newest)) == 1
        assert code(await apply(newest, "demo")) == "InvalidParameterCombination"

    run(tmp_path, scenario)


def test_applying_asks_every_node_with_the_old_build_to_restart(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        newer = await with_update(world)
        first, second, third = ids(newer)
        await see(newer, {first: OLD, second: NEW, third: OLD})
        assert states(newer) == ["demo not-applied not-applied/complete/not-applied"]
        generation = spec_of(newer).generation
        (done,) = await apply(newer, "DEMO")
        assert (done.asked_id, done.state) == ("DEMO", UpdateState.WAITING_TO_START)
        assert spec_of(newer).generation == generation + 1
        assert restarts(newer) == {first: generation + 1, second: 0, third: generation + 1}
        assert newer.woken[-1] == spec_of(newer).uid

        await see(newer, {first: OLD, second: NEW, third: OLD}, due=(first, third))
        assert states(newer) == ["demo in-progress waiting-to-start/complete/waiting-to-start"]
        await see(newer, {first: OLD, second: NEW, third: OLD}, due=(first,), down=(third,))
        assert states(newer) == ["demo in-progress waiting-to-start/complete/in-progress"]
        assert code(await apply(newer, "demo")) == "InvalidParameterCombination"
        await see(newer, dict.fromkeys(ids(newer), NEW))
        assert states(newer) == ["demo complete complete/complete/complete"]
        assert code(await apply(newer, "demo")) == "InvalidParameterCombination"

    run(tmp_path, scenario)


def test_a_complete_update_stays_listed_for_seven_days(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        assert isinstance(world.clock, ManualClock)
        newer = await with_update(world)
        await apply(newer, "demo")
        await see(newer, dict.fromkeys(ids(newer), NEW))
        world.clock.advance(7 * 24 * 3600)
        await service_updates.notice(newer.service)
        assert len(states(newer)) == 1
        world.clock.advance(1)
        assert states(newer) == []
        await service_updates.notice(newer.service)
        assert newer.records.keys(furniture.UPDATE_REQUEST) == ()

    run(tmp_path, scenario)


def test_what_was_asked_of_a_group_goes_with_it(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        newer = await with_update(world)
        await apply(newer, "demo")
        await service_updates.notice(newer.service)
        assert len(newer.records.keys(furniture.UPDATE_REQUEST)) == 1
        await newer.forget(spec_of(newer))
        await service_updates.notice(newer.service)
        assert newer.records.keys(furniture.UPDATE_REQUEST) == ()

    run(tmp_path, scenario)


def test_a_stop_takes_back_the_restarts_that_have_not_happened(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        newer = await with_update(world)
        first, second, third = ids(newer)
        assert code(await stop(newer, "demo")) == "InvalidParameterCombination"
        await apply(newer, "demo")
        asked = restarts(newer)[first]
        await see(newer, {first: OLD, second: NEW, third: OLD}, due=(first,), down=(third,))
        (done,) = await stop(newer, "demo")
        assert done.state is UpdateState.STOPPING
        assert restarts(newer) == {first: 0, second: asked, third: 0}
        assert states(newer) == ["demo stopping stopped/complete/stopping"]
        await see(newer, {first: OLD, second: NEW, third: NEW})
        assert states(newer) == ["demo stopped stopped/complete/complete"]
        assert code(await stop(newer, "demo")) == "InvalidParameterCombination"
        (again,) = await apply(newer, "demo")
        assert again.state is UpdateState.WAITING_TO_START
        assert restarts(newer)[first] > asked
        assert states(newer) == ["demo in-progress waiting-to-start/complete/complete"]

    run(tmp_path, scenario)


def test_a_stop_leaves_a_restart_that_somebody_asked_for_since(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        newer = await with_update(world)
        first, *_ = ids(newer)
        await apply(newer, "demo")
        spec = spec_of(newer)
        (shard,) = spec.shards
        nodes = tuple(
            dataclasses.replace(node, restarts=99) if node.node_id == first else node
            for node in shard.nodes
        )
        after = dataclasses.replace(spec, shards=(dataclasses.replace(shard, nodes=nodes),))
        changes = records.ChangeSet()
        changes.put(records.SPEC + spec.uid, after)
        await newer.records.commit(changes)
        await stop(newer, "demo")
        assert sorted(restarts(newer).values()) == [0, 0, 99]

    run(tmp_path, scenario)


def test_what_cannot_be_updated_is_refused_one_by_one(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        newer = await with_update(world)
        await newer.create(replication_group_id="young")
        done = await apply(newer, "nobody", "demo", "young", clusters=("demo-001", "nobody"))
        assert [(each.asked_id, each.refusal.code if each.refusal else "") for each in done] == [
            ("nobody", "ReplicationGroupNotFoundFault"),
            ("demo", ""),
            ("young", "InvalidReplicationGroupState"),
            ("demo-001", "InvalidParameterCombination"),
            ("nobody", "CacheClusterNotFound"),
        ]
        with pytest.raises(ClientFault) as caught:
            await apply(newer)
        assert caught.value.code == "InvalidParameterValue"
        for name in ("elasticache-valkey-9-1-2", "", "\u00e4" * 500):
            wanted = inputs.BatchApplyUpdateAction(
                service_update_name=name, replication_group_ids=("demo",)
            )
            with pytest.raises(ClientFault) as caught:
                await update_batches.apply(newer.service, wanted)
            assert caught.value.code == "ServiceUpdateNotFoundFault"

    run(tmp_path, scenario)


def test_actions_pass_filters(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        newer = await with_update(world)
        day = datetime.timedelta(days=1)
        hits: tuple[dict[str, object], ...] = (
            {},
            {"service_update_name": NAME.upper()},
            {"replication_group_ids": ("DEMO", "nobody")},
            {"engine": "Valkey"},
            {"service_update_status": ("available", "expired")},
            {"update_action_status": ("not-applied",)},
            {"service_update_time_range": inputs.TimeRange(start_time=NOW, end_time=NOW)},
        )
        misses: tuple[dict[str, object], ...] = (
            {"service_update_name": "other"},
            {"replication_group_ids": ("nobody",)},
            {"cache_cluster_ids": ("demo", "demo-001")},
            {"engine": "redis"},
            {"service_update_status": ("expired",)},
            {"update_action_status": ("complete", "stopped")},
            {"service_update_time_range": inputs.TimeRange(start_time=NOW + day)},
            {"service_update_time_range": inputs.TimeRange(end_time=NOW - day)},
        )
        for filters in hits:
            assert len(states(newer, **filters)) == 1, filters
        for filters in misses:
            assert states(newer, **filters) == [], filters

    run(tmp_path, scenario)


#: The clock of these tests stands at a Friday, 03:04.
OPEN, CLOSED = "fri:03:00-fri:04:00", "fri:04:00-fri:05:00"


def test_a_group_that_wants_it_is_updated_in_its_window(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        assert isinstance(world.clock, ManualClock)
        newer = await with_update(
            world, preferred_maintenance_window=CLOSED, snapshot_window="10:00-11:00"
        )
        assert await update_batches.apply_due(newer.service) == ()
        world.clock.advance(56 * 60)
        await see(newer, dict.fromkeys(ids(newer), OLD), down=ids(newer)[:1])
        assert await update_batches.apply_due(newer.service) == ()
        await see(newer, dict.fromkeys(ids(newer), OLD))
        assert await update_batches.apply_due(newer.service) == ("demo",)
        assert set(restarts(newer).values()) == {spec_of(newer).generation}
        request = furniture.update_request(newer.records, NAME, spec_of(newer).uid)
        assert request is not None
        assert request.value.is_automatic
        await see(newer, dict.fromkeys(ids(newer), OLD), due=ids(newer))
        assert await update_batches.apply_due(newer.service) == ()

    run(tmp_path, scenario)


def test_a_group_that_does_not_want_it_or_was_stopped_is_left_alone(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        newer = await with_update(
            world, preferred_maintenance_window=OPEN, auto_minor_version_upgrade=False
        )
        assert await update_batches.apply_due(newer.service) == ()
        await apply(newer, "demo")
        await stop(newer, "demo")
        spec = dataclasses.replace(spec_of(newer), auto_minor_version_upgrade=True)
        changes = records.ChangeSet()
        changes.put(records.SPEC + spec.uid, spec)
        await newer.records.commit(changes)
        await see(newer, dict.fromkeys(ids(newer), OLD))
        assert states(newer) == ["demo stopped stopped/stopped/stopped"]
        assert await update_batches.apply_due(newer.service) == ()

    run(tmp_path, scenario)
