"""Whatever callers ask about failover in whatever order: the spec never contradicts itself.

A random walk over one group: switches, wishes, tests of failover, reboots, replicas that come and
go, windows, and a loop that looks or does not. After each step the rules hold that the planner
builds on, and a call that was refused has written nothing.
"""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from cachewright.kit.clock import ManualClock
from cachewright.model.errors import ClientFault
from cachewright.model.groups import GroupSpec, RestartCause
from cachewright.model.settings import Limits
from cachewright.model.status import GroupState, NodeState, Role
from cachewright.service import (
    cache_clusters,
    cluster_changes,
    failover_tests,
    inputs,
    inputs_cache_clusters,
    pending,
    replication_groups,
    views,
)
from cachewright.store import furniture, records
from tests.unit.service.service_world import World, run, status_of

LIMIT = 3
#: Nodes are named by their place in the group, counted round; one of them is in none.
NOWHERE = 6
PLACES = st.integers(0, NOWHERE)
#: Automatic failover and Multi-AZ.
SWITCHES = st.sampled_from(
    [(True, None), (True, True), (None, True), (None, False), (False, False)]
)
#: `NOW` of the world is a Friday, 03:04:05; hours pass, and the window opens and closes.
WINDOW = "fri:03:00-fri:05:00"
Act = Callable[[World], Awaitable[object]]


def view_of(world: World) -> views.GroupView:
    return views.find_group(world.records, "demo")


def node_at(world: World, place: int) -> str:
    nodes = tuple(view_of(world).spec.nodes())
    return "demo-099" if place == NOWHERE else nodes[place % len(nodes)].node_id


@st.composite
def modifications(draw: st.DrawFn) -> Act:
    switches, place = draw(
        st.tuples(SWITCHES, st.none())
        | st.tuples(st.just((None, None)), PLACES)
        | st.tuples(SWITCHES, PLACES)
    )
    is_immediate = draw(st.booleans())

    async def act(world: World) -> object:
        wanted = inputs.ModifyReplicationGroup(
            replication_group_id="demo",
            automatic_failover_enabled=switches[0],
            multi_az_enabled=switches[1],
            primary_cluster_id=None if place is None else node_at(world, place),
            apply_immediately=is_immediate,
        )
        return await replication_groups.modify(world.service, wanted)

    return act


async def _test_failover(world: World) -> object:
    before = view_of(world)
    view = await failover_tests.test(
        world.service, inputs.TestFailover(replication_group_id="demo", node_group_id="0001")
    )
    asked = [node for node in view.spec.nodes() if node.restarts == view.spec.generation]
    (node,) = asked
    assert node.restart_cause is RestartCause.TEST_FAILOVER
    assert before.role_of(node.node_id) is Role.PRIMARY
    assert before.spec.automatic_failover
    assert {before.node_state(n.node_id) for n in before.spec.nodes()} == {NodeState.AVAILABLE}
    return view


@st.composite
def of_nodes(draw: st.DrawFn) -> Act:
    place, kind = draw(PLACES), draw(st.sampled_from(["add", "delete", "reboot"]))
    zone = draw(st.sampled_from(["us-east-1a", "us-east-1b"]))

    async def act(world: World) -> object:
        if kind == "add":
            add = inputs_cache_clusters.CreateCacheCluster(
                cache_cluster_id=f"extra-{place}",
                replication_group_id="demo",
                preferred_availability_zone=zone,
            )
            return await cache_clusters.create(world.service, add)
        node_id = node_at(world, place)
        if kind == "reboot":
            return await cluster_changes.reboot(world.service, node_id, ("0001",))
        delete = inputs_cache_clusters.DeleteCacheCluster(cache_cluster_id=node_id)
        return await cache_clusters.delete(world.service, delete)

    return act


async def _settle(world: World) -> None:
    """Write what the loop does where all is well: who is wished for is the primary."""
    group = view_of(world)
    nodes = tuple(group.spec.nodes())
    primary = group.spec.primary_node_id or group.primary_of(nodes) or nodes[0].node_id
    await world.settle(group.spec, primary=primary)


@st.composite
def troubles(draw: st.DrawFn) -> Act:
    """Return a look of the loop at a group in which a node is away, or another is primary."""
    place, away = draw(PLACES), draw(st.none() | PLACES)

    async def act(world: World) -> object:
        spec = view_of(world).spec
        gone = None if away is None else node_at(world, away)
        status = status_of(spec, GroupState.AVAILABLE, primary=node_at(world, place))
        nodes = tuple(
            dataclasses.replace(node, state=NodeState.MODIFYING, role=None)
            if node.node_id == gone
            else node
            for node in status.nodes
        )
        changes = records.ChangeSet()
        changes.put(records.STATUS + spec.uid, dataclasses.replace(status, nodes=nodes))
        await world.records.commit(changes)
        return None

    return act


@st.composite
def time(draw: st.DrawFn) -> Act:
    hours = draw(st.sampled_from([1, 5, 23, 24, 24 * 7]))

    async def act(world: World) -> object:
        assert isinstance(world.clock, ManualClock)
        world.clock.advance(hours * 3600.0)
        return await pending.apply_due(world.service, world.clock.now())

    return act


ACTS = st.one_of(
    modifications(), st.just(_test_failover), of_nodes(), modifications(), troubles(), time()
)
#: What is done, and whether the loop then brings it about.
STEPS = st.tuples(ACTS, st.sampled_from([True, True, True, False]))


def check(world: World) -> None:
    spec = view_of(world).spec
    _check_spec(spec)
    now = world.clock.now()
    tests = furniture.test_failovers(world.records).value
    recent = [at for at in tests if now - at < failover_tests.SPAN]
    assert len(recent) <= LIMIT
    assert len(tests) <= LIMIT
    assert list(tests) == sorted(tests)


def _check_spec(spec: GroupSpec) -> None:
    ids = {node.node_id for node in spec.nodes()}
    waiting = spec.pending.primary_node_id if spec.pending else None
    for wish in (spec.primary_node_id, waiting):
        assert wish is None or wish in ids
        assert wish is None or not spec.automatic_failover
    if spec.automatic_failover:
        assert len(ids) >= 2
    if spec.multi_az:
        assert spec.automatic_failover
        assert len({node.zone for node in spec.nodes()}) >= 2
    assert spec.failover_generation <= spec.generation
    assert all(node.restarts <= spec.generation for node in spec.nodes())


@settings(max_examples=150, deadline=None)
@given(st.lists(STEPS, min_size=10, max_size=40), st.booleans(), st.booleans())
def test_no_order_of_calls_contradicts_itself(
    steps: list[tuple[Act, bool]], is_automatic: bool, spans_zones: bool
) -> None:
    async def scenario(world: World) -> None:
        await world.create_available(
            num_cache_clusters=3,
            preferred_cache_cluster_azs=("us-east-1a", "us-east-1a", "us-east-1b"),
            automatic_failover_enabled=is_automatic,
            multi_az_enabled=is_automatic and spans_zones,
            preferred_maintenance_window=WINDOW,
        )
        for act, settles in steps:
            before = world.records.revision
            try:
                await act(world)
            except ClientFault:
                assert world.records.revision == before
            check(world)
            if settles:
                await _settle(world)

    with tempfile.TemporaryDirectory() as folder:
        run(Path(folder), scenario, limits=Limits(test_failovers_per_day=LIMIT))
