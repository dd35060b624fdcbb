"""Whatever callers ask about the size of a group in whatever order: the spec never breaks.

A random walk over one group with cluster mode: shards and replicas that come and go, slots that
moved as far as they could or not at all, nodes that are gone or not yet, primaries that change.
After each step the rules hold that the planner builds on, and what was refused has written nothing.
"""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from cachewright.model.errors import ClientFault
from cachewright.model.groups import GroupSpec
from cachewright.model.settings import Limits
from cachewright.model.slots import covers_all, split_evenly
from cachewright.model.status import GroupState, Resharding, Role, ShardSlots
from cachewright.service import replica_counts, resharding, shard_settling, views
from cachewright.service.inputs_scaling import (
    ConfigureShard,
    DecreaseReplicaCount,
    IncreaseReplicaCount,
    ModifyReplicationGroupShardConfiguration,
)
from cachewright.store import records
from tests.unit.service.service_world import World, placement_of, run, status_of

NODES_MAX = 14
Act = Callable[[World], Awaitable[object]]
COUNTS = st.integers(0, 6)
#: Shards and nodes are named by their place, counted round.
PLACES = st.lists(st.integers(0, 9), max_size=3)


def view_of(world: World) -> views.GroupView:
    return views.find_group(world.records, "demo")


@st.composite
def of_shards(draw: st.DrawFn) -> Act:
    count, places = draw(COUNTS), draw(PLACES)
    removes, is_given = draw(st.booleans()), draw(st.booleans())

    async def act(world: World) -> object:
        shards = view_of(world).spec.shards
        named = tuple(shards[place % len(shards)].shard_id for place in places)
        if not is_given:
            last = tuple(shard.shard_id for shard in shards)
            named = last[count:] if removes else last[:count]
        wanted = ModifyReplicationGroupShardConfiguration(
            replication_group_id="demo",
            node_group_count=count,
            apply_immediately=True,
            node_groups_to_remove=named if removes and count < len(shards) else (),
            node_groups_to_retain=() if removes or count >= len(shards) else named,
        )
        return await resharding.modify(world.service, wanted)

    return act


@st.composite
def of_replicas(draw: st.DrawFn) -> Act:
    count, places, grows = draw(COUNTS), draw(PLACES), draw(st.booleans())
    names_nodes = draw(st.booleans())

    async def act(world: World) -> object:
        spec = view_of(world).spec
        nodes = tuple(spec.nodes())
        configured = tuple(
            ConfigureShard(
                node_group_id=spec.shards[place % len(spec.shards)].shard_id,
                new_replica_count=count,
            )
            for place in places
        )
        whole = None if configured else count
        if grows:
            more = IncreaseReplicaCount(
                replication_group_id="demo",
                apply_immediately=True,
                new_replica_count=whole,
                replica_configuration=configured,
            )
            return await replica_counts.increase(world.service, more)
        named = tuple(nodes[place % len(nodes)].node_id for place in places)
        fewer = DecreaseReplicaCount(
            replication_group_id="demo",
            apply_immediately=True,
            new_replica_count=None if names_nodes else whole,
            replica_configuration=() if names_nodes else configured,
            replicas_to_remove=named if names_nodes else (),
        )
        return await replica_counts.decrease(world.service, fewer)

    return act


@st.composite
def looks(draw: st.DrawFn) -> Act:
    """Return a look of the loop after which all is done that was asked for, or some of it.

    Nodes have places, those that left have none any more, slots have moved off the shards that go
    or have not, and somebody is the primary of each shard.
    """
    place, moves, is_over = draw(st.integers(0, 5)), draw(st.booleans()), draw(st.booleans())

    async def act(world: World) -> object:
        before = view_of(world)
        spec = before.spec
        changes = records.ChangeSet()
        gone = [node.node_id for node in before.leaving()]
        for node_id in gone:
            changes.delete(records.NODE_NAME + node_id)
        changes.put(records.PLACEMENT + spec.uid, placement_of(spec))
        going = [shard for shard in spec.shards if shard.is_leaving and moves]
        staying = [shard for shard in spec.shards if shard not in going]
        owned = [
            ShardSlots(shard_id=shard.shard_id, slots=slots)
            for shard, slots in zip(staying, split_evenly(len(staying)), strict=True)
        ]
        owned += [ShardSlots(shard_id=shard.shard_id, slots=()) for shard in going]
        status = status_of(spec, GroupState.AVAILABLE)
        primaries = {shard.nodes[place % len(shard.nodes)].node_id for shard in spec.shards}
        nodes = tuple(
            dataclasses.replace(
                node, role=Role.PRIMARY if node.node_id in primaries else Role.REPLICA
            )
            for node in status.nodes
        )
        known = Resharding(
            generation=spec.resharding_generation,
            is_over=is_over,
            emptied=tuple(shard.shard_id for shard in going) if is_over else (),
        )
        asked = known if spec.resharding_generation else None
        status = dataclasses.replace(status, owned=tuple(owned), nodes=nodes, resharding=asked)
        changes.put(records.STATUS + spec.uid, status)
        await world.records.commit(changes)
        return await shard_settling.settle(world.service, spec.uid)

    return act


def assert_rules(world: World, before: GroupSpec) -> None:
    view = view_of(world)
    spec = view.spec
    shard_ids = [shard.shard_id for shard in spec.shards]
    assert len(set(shard_ids)) == len(shard_ids)
    assert any(not shard.is_leaving for shard in spec.shards)
    assert sum(1 for _ in spec.nodes()) <= NODES_MAX
    for shard in spec.shards:
        assert 1 <= len(shard.nodes) <= 6
        assert all(n.node_id.startswith(f"demo-{shard.shard_id}-") for n in shard.nodes)
    for node in (*spec.nodes(), *view.leaving()):
        assert world.records.uid_of_node(node.node_id) == spec.uid
    if spec != before:
        assert spec.generation == before.generation + 1
    gone = {node.node_id for node in before.nodes()} - {node.node_id for node in spec.nodes()}
    dropped = {shard.shard_id for shard in before.shards} - set(shard_ids)
    for node_id in gone:
        is_of_dropped = before.shard_of(node_id).shard_id in dropped
        assert is_of_dropped or view.role_of(node_id) is not Role.PRIMARY
    owned = {one.shard_id: one.slots for one in view.status.owned} if view.status else {}
    assert not any(owned.get(shard_id) for shard_id in dropped)
    if owned:
        shown = [part for shard in view.shards() for part in view.slots_of(shard)]
        assert covers_all(shown)


@settings(max_examples=40, deadline=None)
@given(st.lists(of_shards() | of_replicas() | looks() | looks(), min_size=1, max_size=14))
def test_the_size_of_a_group_never_contradicts_itself(acts: list[Act]) -> None:
    async def scenario(world: World) -> None:
        await world.create_available(num_node_groups=2, replicas_per_node_group=1)
        for act in acts:
            before, revision = view_of(world).spec, world.records.revision
            try:
                await act(world)
            except ClientFault:
                assert world.records.revision == revision
            assert_rules(world, before)

    with tempfile.TemporaryDirectory() as folder:
        run(Path(folder), scenario, limits=Limits(nodes_per_cluster=NODES_MAX))
