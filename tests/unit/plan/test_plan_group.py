"""The story of a group, one situation at a time: what is seen, and what is done about it."""

from __future__ import annotations

import dataclasses
import datetime

import pytest

from cachewright.model.commands import (
    AdmitNode,
    BindNode,
    FollowPrimary,
    InstallBuild,
    PlaceGroup,
    PromoteNode,
    Promotion,
    StartNode,
    Step,
    StopNode,
)
from cachewright.model.facts import NodeFact, Observed, Unknown
from cachewright.model.groups import Deletion, Endpoints, Group, NodeSpec
from cachewright.model.settings import Limits
from cachewright.model.status import GroupState, GroupStatus, NodeState, Role
from cachewright.plan.failover import plan_failover
from cachewright.plan.group import plan_group
from cachewright.plan.plan import LOOK_AGAIN_REST_S, Plan
from cachewright.plan.shutdown import plan_stop
from tests.property.plan.groups import CREATED_AT, make_group
from tests.property.plan.world import Engine, Life, World

NOW = CREATED_AT + datetime.timedelta(seconds=1)


def look(world: World, previous: GroupStatus | None = None, seconds: float = 1.0) -> Plan:
    now = CREATED_AT + datetime.timedelta(seconds=seconds)
    return plan_group(world.group, previous, world.observe(), now=now, limits=Limits())


def settled(group: Group) -> tuple[World, GroupStatus]:
    """Run rounds until the group rests."""
    world, status = World(group=group), None
    for _ in range(20):
        plan = look(world, status)
        status = plan.status
        for step in plan.steps:
            world.execute(step.command)
        world.tick()
        if plan.look_again_s == LOOK_AGAIN_REST_S:
            return world, status
    raise AssertionError(f"not settled: {status}")


def urgent(world: World, status: GroupStatus | None) -> tuple[Step, ...]:
    """Return what a short round does that has looked at every shard."""
    struck = {shard.shard_id for shard in world.group.spec.shards}
    return plan_failover(world.group, world.observe(), status, struck=struck)


def commands(plan: Plan) -> dict[str | None, type]:
    return {step.node_id: type(step.command) for step in plan.steps}


def test_a_missing_build_is_installed_before_anything_else() -> None:
    world = World(group=make_group(shards=1, replicas=0, cluster_enabled=False))
    world.is_build_here = False
    plan = look(world)
    assert [type(step.command) for step in plan.steps] == [InstallBuild]
    assert plan.status.reason == "installing valkey 9.1"
    assert [e.message for e in plan.events] == ["Installing valkey 9.1 for replication group demo"]
    assert look(world, plan.status).events == ()


def test_addresses_come_before_processes() -> None:
    world = World(group=make_group(shards=1, replicas=0, cluster_enabled=False))
    assert [type(step.command) for step in look(world).steps] == [PlaceGroup]


def test_primaries_start_first_and_alone() -> None:
    world = World(group=make_group(shards=2, replicas=1, cluster_enabled=True))
    world.execute(look(world).steps[0].command)
    assert commands(look(world)) == {"demo-0001-001": StartNode, "demo-0002-001": StartNode}


def test_a_replica_follows_before_it_is_admitted() -> None:
    world = World(group=make_group(shards=1, replicas=1, cluster_enabled=False))
    seen: list[dict[str | None, type]] = []
    for _ in range(6):
        plan = look(world)
        seen.append(commands(plan))
        for step in plan.steps:
            world.execute(step.command)
        world.tick()
    assert seen[1:] == [
        {"demo-001": StartNode},
        {"demo-001": AdmitNode},
        {"demo-002": StartNode},
        {"demo-002": FollowPrimary},
        {"demo-002": AdmitNode},
    ]


def test_a_replica_waits_outside_until_it_is_in_sync() -> None:
    world, status = settled(make_group(shards=1, replicas=1, cluster_enabled=False))
    replica = world.engines["demo-002"]
    replica.is_held, replica.is_in_sync = True, False
    assert commands(look(world, status)).get("demo-002") is not AdmitNode
    replica.is_in_sync = True
    assert commands(look(world, status))["demo-002"] is AdmitNode


def test_the_first_available_comes_with_one_event_for_each_node_and_one_for_the_group() -> None:
    world, status = settled(make_group(shards=1, replicas=1, cluster_enabled=False))
    again = look(world, status)
    assert status.state is GroupState.AVAILABLE
    assert again.events == ()
    previous = dataclasses.replace(status, state=GroupState.CREATING, was_available=False)
    first = look(world, previous)
    assert sorted(e.message for e in first.events) == [
        "Cache cluster created",
        "Cache cluster created",
        "Replication group demo created",
    ]


def test_silence_is_patience() -> None:
    world, status = settled(make_group(shards=3, replicas=1, cluster_enabled=True))
    world.host_is_silent = True
    plan = look(world, status)
    assert plan.steps == ()
    assert all(node.state is NodeState.AVAILABLE for node in plan.status.nodes)


def test_a_primary_that_stays_silent_is_not_called_available() -> None:
    world, status = settled(make_group(shards=1, replicas=1, cluster_enabled=False))
    world.engines["demo-001"].is_silent = True
    plan = look(world, status)
    assert plan.status.state is GroupState.MODIFYING
    assert plan.steps == ()


def test_a_lone_primary_that_died_comes_back_empty_and_an_event_says_so() -> None:
    world, status = settled(make_group(shards=1, replicas=0, cluster_enabled=False))
    world.kill("demo-001")
    plan = look(world, status)
    assert commands(plan) == {"demo-001": StartNode}
    assert plan.status.state is GroupState.MODIFYING
    assert any("comes back empty" in event.message for event in plan.events)


def test_the_death_of_the_last_copy_is_told_whoever_held_it() -> None:
    group = make_group(shards=1, replicas=1, cluster_enabled=False, failover=True)
    world, status = settled(group)
    world.kill("demo-001")
    status = look(world, status).status
    world.kill("demo-002")
    plan = look(world, status)
    assert [e.message for e in plan.events if "comes back empty" in e.message]


def test_a_replica_takes_over_even_where_automatic_failover_is_off() -> None:
    world, status = settled(make_group(shards=1, replicas=1, cluster_enabled=False))
    world.kill("demo-001")
    assert commands(look(world, status)) == {"demo-002": PromoteNode}


def test_the_replica_that_applied_most_is_promoted() -> None:
    group = make_group(shards=1, replicas=2, cluster_enabled=False, failover=True)
    world, status = settled(group)
    world.write(1)
    world.engines["demo-003"].data = frozenset({1})
    world.kill("demo-001")
    (step,) = look(world, status).steps
    assert step.command == PromoteNode(
        key="abcdefgh.demo-003",
        how=Promotion.STANDALONE,
        over=("127.64.0.1", 6379),
        bind=("127.64.0.3", "127.64.1.1"),
    )


def test_the_one_who_takes_over_keeps_the_endpoint_that_it_has() -> None:
    world, status = settled(make_group(shards=1, replicas=1, cluster_enabled=False))
    world.kill("demo-001")
    (step,) = look(world, status).steps
    assert isinstance(step.command, PromoteNode)
    assert step.command.bind == ("127.64.0.2", "127.64.1.1", "127.64.1.2")


def test_an_endpoint_that_somebody_still_listens_on_is_not_bound_twice() -> None:
    world, status = settled(make_group(shards=1, replicas=2, cluster_enabled=False))
    world.kill("demo-001")
    world.engines["demo-003"].bind += ("127.64.1.1",)
    (step,) = look(world, status).steps
    assert isinstance(step.command, PromoteNode)
    assert step.command.bind == ()


def test_the_configuration_endpoint_goes_along_with_the_role() -> None:
    """Clients that knew only who has ended ask there who is left."""
    world, status = settled(make_group(shards=2, replicas=1, cluster_enabled=True))
    endpoint = "127.64.1.1"
    (holder,) = (n for n, engine in world.engines.items() if endpoint in engine.bind)
    assert holder == "demo-0001-001"
    world.kill("demo-0001-001")
    (step,) = urgent(world, status)
    assert isinstance(step.command, PromoteNode)
    assert step.command.bind == (world.engines["demo-0001-002"].place.address, endpoint)
    # Nobody can tell what somebody listens on who is silent.
    world.engines["demo-0002-002"].is_silent = True
    (step,) = urgent(world, status)
    assert isinstance(step.command, PromoteNode)
    assert step.command.bind == ()


def test_nobody_is_promoted_while_one_node_of_the_shard_is_silent() -> None:
    group = make_group(shards=1, replicas=2, cluster_enabled=False, failover=True)
    world, status = settled(group)
    world.kill("demo-001")
    world.engines["demo-002"].is_silent = True
    assert look(world, status).steps == ()


def test_a_frozen_primary_is_not_replaced_without_proof() -> None:
    group = make_group(shards=1, replicas=1, cluster_enabled=False, failover=True)
    world, status = settled(group)
    world.engines["demo-001"].is_silent = True
    assert look(world, status).steps == ()


def test_primaries_vote_where_a_majority_of_them_lives() -> None:
    world, status = settled(make_group(shards=3, replicas=1, cluster_enabled=True))
    world.kill("demo-0002-001")
    (step,) = look(world, status).steps
    assert step.command == PromoteNode(
        key="abcdefgh.demo-0002-002", how=Promotion.FORCE, over=("127.64.0.3", 6379)
    )


def promotions(plan: Plan) -> list[tuple[str | None, Promotion]]:
    return [(s.node_id, s.command.how) for s in plan.steps if isinstance(s.command, PromoteNode)]


def test_below_a_majority_one_shard_after_the_other_takes_over() -> None:
    world, status = settled(make_group(shards=3, replicas=1, cluster_enabled=True))
    world.kill("demo-0001-001")
    world.kill("demo-0002-001")
    assert promotions(look(world, status)) == [("demo-0001-002", Promotion.TAKEOVER)]


def test_primaries_vote_for_one_shard_after_the_other() -> None:
    """Votes of concurrent elections collide, and a lost one waits for a minute."""
    world, status = settled(make_group(shards=4, replicas=1, cluster_enabled=True))
    world.kill("demo-0002-001")
    world.kill("demo-0003-001")
    told: list[tuple[str | None, Promotion]] = []
    for _ in range(3):
        plan = look(world, status)
        told += promotions(plan)
        for step in plan.steps:
            world.execute(step.command)
    assert told == [
        ("demo-0002-002", Promotion.TAKEOVER),
        ("demo-0003-002", Promotion.FORCE),
    ]


def test_a_short_round_promotes_and_does_nothing_else() -> None:
    world, status = settled(make_group(shards=3, replicas=1, cluster_enabled=True))
    world.kill("demo-0001-001")
    world.kill("demo-0002-002")
    steps = urgent(world, status)
    assert [(s.node_id, type(s.command)) for s in steps] == [("demo-0001-002", PromoteNode)]


def test_a_short_round_decides_nothing_of_shards_that_it_has_not_looked_at() -> None:
    """What was answered before may straddle a handover: two replicas, and no primary."""
    world, status = settled(make_group(shards=3, replicas=1, cluster_enabled=True))
    world.kill("demo-0001-001")
    world.kill("demo-0003-001")
    steps = plan_failover(world.group, world.observe(), status, struck={"0003"})
    assert [step.node_id for step in steps] == ["demo-0003-002"]


@pytest.mark.parametrize("state", [GroupState.AVAILABLE, GroupState.CREATE_FAILED])
def test_a_short_round_leaves_groups_alone_that_go_away(state: GroupState) -> None:
    world, status = settled(make_group(shards=1, replicas=1, cluster_enabled=False))
    world.kill("demo-001")
    assert urgent(world, status)
    if state is GroupState.AVAILABLE:
        spec = dataclasses.replace(world.group.spec, deletion=Deletion(requested_at=NOW))
        world.group = dataclasses.replace(world.group, spec=spec)
    assert urgent(world, dataclasses.replace(status, state=state)) == ()


def test_a_node_that_is_retained_as_a_replica_becomes_the_primary_of_itself() -> None:
    world, status = settled(make_group(shards=1, replicas=1, cluster_enabled=False))
    deletion = Deletion(requested_at=NOW, retained_node_id="demo-002")
    spec = dataclasses.replace(world.group.spec, deletion=deletion)
    world.group = dataclasses.replace(world.group, spec=spec)
    world.write(1)
    world.tick()
    for _ in range(10):
        plan = look(world, status)
        status = plan.status
        assert not urgent(world, status) or list(world.engines) == ["demo-002"]
        for step in urgent(world, status) or plan.steps:
            world.execute(step.command)
        world.tick()
    assert list(world.engines) == ["demo-002"]
    assert world.engines["demo-002"].serves_writes()
    assert world.engines["demo-002"].data == {1}
    assert urgent(world, status) == ()


def test_a_replica_that_missed_a_failover_is_not_promoted_however_far_it_is() -> None:
    world, status = settled(make_group(shards=1, replicas=2, cluster_enabled=False))
    world.write(1)
    world.tick()
    world.kill("demo-001")
    for step in look(world, status).steps:
        world.execute(step.command)
    assert world.engines["demo-002"].serves_writes()
    heir, laggard = Engine(place=world.engines["demo-003"].place), world.engines["demo-003"]
    heir.life, heir.is_held, heir.role, heir.follows = Life.RUNNING, False, Role.REPLICA, "demo-002"
    heir.place = dataclasses.replace(heir.place, node_id="demo-004", address="127.64.0.4")
    primary = world.engines["demo-002"]
    heir.lineage, heir.second, heir.data = primary.lineage, primary.second, primary.data
    world.engines["demo-004"] = heir
    laggard.data = frozenset({1, 2, 3})
    world.kill("demo-002")
    assert world.group.placement is not None
    nodes = (*world.group.placement.nodes, heir.place)
    shard = world.group.spec.shards[0]
    shard = dataclasses.replace(shard, nodes=(*shard.nodes, NodeSpec(node_id="demo-004", zone="")))
    world.group = dataclasses.replace(
        world.group,
        spec=dataclasses.replace(world.group.spec, shards=(shard,)),
        placement=dataclasses.replace(world.group.placement, nodes=nodes),
    )
    assert [s.node_id for s in urgent(world, status)] == ["demo-004"]


def test_a_replica_that_copied_everything_is_no_stranger_beside_many_that_missed_a_change() -> None:
    """It restarted after a handover, and the others had not yet reached the new primary."""
    world, status = settled(make_group(shards=1, replicas=3, cluster_enabled=False))
    copied = world.engines["demo-004"]
    copied.lineage, copied.second = "f" * 40, ("", -1)
    copied.data = frozenset({1, 2})
    world.kill("demo-001")
    assert commands(look(world, status)) == {"demo-004": PromoteNode}


def test_of_equals_one_that_does_not_end_again_and_again_takes_over() -> None:
    world, status = settled(make_group(shards=1, replicas=2, cluster_enabled=False))
    world.kill("demo-001")
    assert [s.node_id for s in urgent(world, status)] == ["demo-002"]
    nodes = tuple(
        dataclasses.replace(n, ends=(NOW,) * 3) if n.node_id == "demo-002" else n
        for n in status.nodes
    )
    often = dataclasses.replace(status, nodes=nodes)
    assert [s.node_id for s in urgent(world, often)] == ["demo-003"]
    world.engines["demo-002"].data = frozenset({1})
    assert [s.node_id for s in urgent(world, often)] == ["demo-002"]


def test_a_failover_is_told_once_for_the_node_and_once_for_the_group() -> None:
    group = make_group(shards=1, replicas=1, cluster_enabled=False, failover=True)
    world, status = settled(group)
    world.kill("demo-001")
    told: list[str] = []
    for _ in range(8):
        plan = look(world, status)
        told += [event.message for event in plan.events if "Failover" in event.message]
        status = plan.status
        for step in plan.steps:
            world.execute(step.command)
        world.tick()
    text = "Failover from primary node demo-001 to replica node demo-002 completed"
    assert told == [text, text]
    assert [n.role for n in status.nodes] == [Role.REPLICA, Role.PRIMARY]


@pytest.mark.parametrize("victim", ["demo-001", "demo-002"])
def test_who_starts_beside_a_primary_is_never_called_one(victim: str) -> None:
    """A held engine is a primary in its own eyes until it follows."""
    world, status = settled(make_group(shards=1, replicas=1, cluster_enabled=False))
    world.kill(victim)
    held_beside = 0
    for _ in range(8):
        plan = look(world, status)
        status = plan.status
        engines = world.observe().nodes.values()
        held_beside += sum(getattr(f.engine, "role", None) is Role.PRIMARY for f in engines) == 2
        assert sum(node.role is Role.PRIMARY for node in status.nodes) == 1
        for step in plan.steps:
            world.execute(step.command)
        world.tick()
    assert held_beside


def test_who_starts_in_the_place_of_a_primary_is_called_one_once_it_serves() -> None:
    """All nodes end, and the one that comes back first has not been the primary."""
    world, status = settled(make_group(shards=1, replicas=1, cluster_enabled=False))
    for node_id in ("demo-001", "demo-002"):
        world.kill(node_id)
    world.engines["demo-002"].saved = frozenset({1})
    told: list[str] = []
    for _ in range(8):
        plan = look(world, status)
        status = plan.status
        told += [event.message for event in plan.events if "Failover" in event.message]
        assert sum(node.role is Role.PRIMARY for node in status.nodes) <= 1
        for step in plan.steps:
            world.execute(step.command)
        world.tick()
    assert [n.role for n in status.nodes] == [Role.REPLICA, Role.PRIMARY]
    text = "Failover from primary node demo-001 to replica node demo-002 completed"
    assert told == [text, text]


def test_endpoints_move_in_two_rounds() -> None:
    world, status = settled(make_group(shards=1, replicas=1, cluster_enabled=False))
    world.kill("demo-002")
    bound = look(world, status)
    assert commands(bound) == {"demo-001": BindNode, "demo-002": StartNode}
    for step in bound.steps:
        world.execute(step.command)
    for _ in range(8):
        plan = look(world, status)
        for step in plan.steps:
            world.execute(step.command)
        world.tick()
    assert world.engines["demo-001"].bind == ("127.64.0.1", "127.64.1.1")
    assert world.engines["demo-002"].bind == ("127.64.0.2", "127.64.1.2")


@pytest.mark.parametrize(("failures", "gives_up"), [(2, False), (3, True)])
def test_a_create_is_given_up_after_three_failed_starts(failures: int, gives_up: bool) -> None:
    world = World(group=make_group(shards=1, replicas=0, cluster_enabled=False))
    world.execute(look(world).steps[0].command)
    world.engines["demo-001"].failed_starts = failures
    plan = look(world)
    assert (plan.status.state is GroupState.CREATE_FAILED) is gives_up
    if gives_up:
        assert plan.status.reason == "the engine ended at once"
        assert look(world, plan.status).steps == ()


def test_a_create_has_a_deadline() -> None:
    world = World(group=make_group(shards=1, replicas=0, cluster_enabled=False))
    assert look(world, seconds=301).status.state is GroupState.CREATE_FAILED


def test_a_primary_that_starts_among_the_living_claims_the_newest_epoch() -> None:
    world, status = settled(make_group(shards=2, replicas=0, cluster_enabled=True))
    world.engines["demo-0002-001"].epoch = 40
    world.kill("demo-0001-001")
    (step,) = look(world, status).steps
    assert isinstance(step.command, StartNode)
    own = next(
        p for p in step.command.launch.peers if p.slots == world.engines["demo-0001-001"].slots
    )
    assert own.role is Role.PRIMARY
    assert own.epoch > 40


def test_nothing_of_a_deleted_group_is_forgotten_before_its_processes_have_ended() -> None:
    world, status = settled(make_group(shards=1, replicas=1, cluster_enabled=False))
    spec = dataclasses.replace(world.group.spec, deletion=Deletion(requested_at=NOW))
    world.group = dataclasses.replace(world.group, spec=spec)
    assert commands(look(world, status)) == {"demo-001": StopNode, "demo-002": StopNode}
    silence = Unknown(reason="the host is silent")
    silent = Observed(nodes={n: NodeFact(process=silence, engine=silence) for n in world.engines})
    assert plan_group(world.group, status, silent, now=NOW, limits=Limits()).steps == ()


def test_replicas_stop_first_and_the_primary_saves_last() -> None:
    world, status = settled(make_group(shards=1, replicas=2, cluster_enabled=False))
    first, last = plan_stop(world.group, status, world.observe())
    assert [step.node_id for step in first] == ["demo-002", "demo-003"]
    assert [(s.node_id, s.command) for s in last] == [
        ("demo-001", StopNode(key="abcdefgh.demo-001", saves=True))
    ]


def test_the_replica_that_applied_most_saves_when_no_primary_is_left() -> None:
    world, status = settled(make_group(shards=1, replicas=2, cluster_enabled=False))
    world.write(1)
    world.engines["demo-003"].data = frozenset({1})
    world.kill("demo-001")
    *_, last = plan_stop(world.group, status, world.observe())
    assert [step.node_id for step in last] == ["demo-003"]
    assert world.engines["demo-001"].life is Life.STOPPED


def test_nodes_that_share_an_address_all_listen_on_it() -> None:
    world, status = settled(make_group(shards=1, replicas=1, cluster_enabled=False))
    placement = world.group.placement
    assert placement is not None
    nodes = tuple(
        dataclasses.replace(node, address="127.0.0.1", port=10_000 + number)
        for number, node in enumerate(placement.nodes)
    )
    shared = dataclasses.replace(placement, nodes=nodes, endpoints=Endpoints(), shares_address=True)
    world.group = dataclasses.replace(world.group, placement=shared)
    for engine, place in zip(world.engines.values(), nodes, strict=True):
        engine.place, engine.bind, engine.is_held = place, ("127.0.0.1",), True
    world.engines["demo-002"].life = Life.ABSENT
    (step,) = look(world, status).steps
    assert step.command == AdmitNode(key="abcdefgh.demo-001", bind=("127.0.0.1",))


def test_a_snapshot_that_was_used_up_and_lost_is_told() -> None:
    world, status = settled(make_group(shards=1, replicas=0, cluster_enabled=False))
    for stage in plan_stop(world.group, status, world.observe()):
        for step in stage:
            world.execute(step.command)
    back = look(world, status)
    assert [e.message for e in back.events if e.message.startswith("Shard")] == [
        "Shard 0001 comes back from the snapshot of the last graceful stop"
    ]
    for step in back.steps:
        world.execute(step.command)
    world.kill("demo-001")
    gone = look(world, back.status)
    assert [e.message for e in gone.events if "comes back empty" in e.message]


def test_shards_that_share_a_fate_are_told_of_together() -> None:
    world, status = settled(make_group(shards=4, replicas=1, cluster_enabled=True))
    for node_id in world.engines:
        world.kill(node_id)
    told = [e.message for e in look(world, status).events if "empty" in e.message]
    assert told == [
        "All 4 shards come back empty: all nodes ended without a graceful stop, the data is lost"
    ]


def test_a_first_available_needs_an_answer_of_every_node() -> None:
    world, status = settled(make_group(shards=1, replicas=0, cluster_enabled=False))
    never = dataclasses.replace(status, state=GroupState.CREATING, was_available=False)
    world.host_is_silent = True
    assert look(world, never).status.state is GroupState.CREATING
    assert look(world, status).status.state is GroupState.AVAILABLE
