"""The story of nodes and whole shards that join and leave a living cluster."""

from __future__ import annotations

import dataclasses

import msgspec
import pytest

from cachewright.model.commands import (
    AdmitNode,
    BindNode,
    ForgetNodes,
    HandOver,
    IntroduceNode,
    PlaceGroup,
    ReleaseNodes,
    RemoveNode,
    StartNode,
    StopNode,
    WeighSlots,
)
from cachewright.model.facts import Absent, EngineFact, Observed
from cachewright.model.groups import NodeSpec, ShardSpec
from cachewright.model.settings import Limits
from cachewright.model.slots import SlotRange
from cachewright.model.status import GroupState, NodeState, Resharding, Role
from cachewright.plan.group import plan_group
from cachewright.plan.invariants import violations
from cachewright.plan.joining import why_kept
from cachewright.plan.plan import Plan
from cachewright.plan.shard import is_gone, reshards, shards_to_run, view_shard
from tests.property.plan.groups import make_group
from tests.property.plan.world import Life
from tests.unit.plan.plan_story import Story, steps

LATE = NodeSpec(node_id="demo-late", zone="us-east-1b")


def story(*, shards: int = 2, replicas: int = 1) -> Story:
    return Story(make_group(shards=shards, replicas=replicas, cluster_enabled=True))


def checked_round(one: Story) -> Plan:
    plan = one.look()
    assert violations(one.world.group, one.world.observe(), plan) == ()
    return one.round()


# Replicas


def test_a_replica_joins_a_cluster_and_everybody_knows_it_before_it_is_let_in() -> None:
    one = story()
    one.world.write(1)
    one.change(lambda nodes: (*nodes, LATE), shard=1)
    kinds: list[type] = []
    for _ in range(20):
        plan = checked_round(one)
        kinds += [type(step.command) for step in plan.steps]
    assert kinds == [PlaceGroup, StartNode, *[IntroduceNode] * 4, AdmitNode]
    late = one.world.engines["demo-late"]
    assert late.data == {1}
    assert late.follows == "demo-0002-001"
    assert one.status is not None
    assert one.status.state is GroupState.AVAILABLE
    assert one.said.count("Cache cluster created") == 5


def test_who_does_not_know_a_newcomer_is_met_again_and_again() -> None:
    one = story()
    one.change(lambda nodes: (*nodes, LATE))
    while "demo-late" not in one.world.engines or not one.world.engines["demo-late"].generation:
        one.round()
    one.round()
    stranger = one.world.engines["demo-0002-002"]
    late = one.world.engines["demo-late"].place
    stranger.known -= {late.engine_id}
    for _ in range(2):
        plan = one.look()
        (step,) = steps(plan, IntroduceNode)
        assert isinstance(step.command, IntroduceNode)
        assert step.node_id == "demo-0002-002"
        assert step.command.others == ((late.address, late.port),)
        assert steps(plan, AdmitNode) == []
    one.settle()
    assert not one.world.engines["demo-late"].is_held


def test_who_does_not_answer_keeps_nobody_out() -> None:
    one = story()
    one.change(lambda nodes: (*nodes, LATE))
    one.world.engines["demo-0002-002"].is_silent = True
    for _ in range(12):
        one.round(may_fail=True)
    assert not one.world.engines["demo-late"].is_held


def test_a_replica_leaves_a_cluster_and_is_forgotten_before_its_address_is_free() -> None:
    one = story(replicas=2)
    gone = one.world.engines["demo-0001-003"].place
    one.remove("demo-0001-003")
    order: list[tuple[type, int]] = []
    for _ in range(12):
        plan = checked_round(one)
        found = [type(s.command) for s in plan.steps]
        order += [(kind, found.count(kind)) for kind in dict.fromkeys(found)]
    assert order == [(StopNode, 1), (RemoveNode, 1), (ForgetNodes, 5), (ReleaseNodes, 1)]
    assert all(gone.engine_id not in e.known for e in one.world.engines.values())
    assert one.status is not None
    assert one.status.state is GroupState.AVAILABLE
    assert "Cache cluster deleted" not in one.said  # the release says it, see `control`


def test_an_address_is_kept_while_a_silent_node_may_call_it() -> None:
    one = story(replicas=2)
    one.remove("demo-0001-003")
    one.world.engines["demo-0002-002"].is_silent = True
    for _ in range(8):
        plan = one.round()
    assert steps(plan, ReleaseNodes) == []
    assert "demo-0001-003" in one.world.engines
    one.world.engines["demo-0002-002"].answers()
    one.settle()
    assert "demo-0001-003" not in one.world.engines


def test_who_starts_late_never_hears_of_who_is_gone() -> None:
    one = story(replicas=2)
    gone = one.world.engines["demo-0001-003"].place
    one.remove("demo-0001-003")
    one.world.engines["demo-0002-003"].is_silent = True
    for _ in range(6):
        one.round()
    one.world.kill("demo-0002-002")
    (start,) = steps(one.look(), StartNode)
    assert isinstance(start.command, StartNode)
    assert gone.engine_id not in {peer.engine_id for peer in start.command.launch.peers}


def test_a_replica_that_has_no_other_primary_yet_forgets_its_old_one_later() -> None:
    one = story(replicas=2)
    one.remove("demo-0001-001")
    while not isinstance(one.world.observe().of("demo-0001-001").process, Absent):
        checked_round(one)
    late = one.world.engines["demo-0001-003"]
    late.follows = "demo-0001-001"
    told = {step.node_id for step in steps(one.look(), ForgetNodes)}
    assert "demo-0001-003" not in told
    assert len(told) == 4


def test_whoever_is_known_and_has_no_place_is_forgotten() -> None:
    one = story()
    stray = "f" * 40
    one.world.engines["demo-0001-001"].known |= {stray}
    (step,) = one.look().steps
    assert isinstance(step.command, ForgetNodes)
    assert step.command.engine_ids == (stray,)


def test_a_primary_that_leaves_takes_the_configuration_endpoint_to_its_successor() -> None:
    one = story()
    one.remove("demo-0001-001")
    (step,) = steps(one.look(), HandOver)
    assert isinstance(step.command, HandOver)
    assert "127.64.1.1" in step.command.to_bind
    assert "127.64.1.1" not in step.command.bind
    one.settle()
    assert set(one.world.engines) == {"demo-0001-002", "demo-0002-001", "demo-0002-002"}


@pytest.mark.parametrize(("is_cluster", "count"), [(True, 0), (False, 1)])
def test_clients_of_a_cluster_have_found_a_successor_again_before_it_takes_over(
    is_cluster: bool, count: int
) -> None:
    """Clients of an endpoint need not find anybody."""
    one = Story(make_group(shards=1, replicas=1, cluster_enabled=is_cluster))
    leaving, staying = sorted(one.world.engines)
    one.remove(leaving)
    assert len(steps(one.look(), HandOver)) == 1
    observed = one.world.observe()
    missed = msgspec.structs.replace(observed.nodes[staying], is_missed=True)
    observed = msgspec.structs.replace(observed, nodes={**observed.nodes, staying: missed})
    group = one.world.group
    plan = plan_group(group, one.status, observed, now=one.now, limits=Limits())
    assert len(steps(plan, HandOver)) == count


# Whole shards


def emptied(one: Story, shard_id: str) -> None:
    """Drop a shard from what is asked for, with all that it owns taken from it."""
    spec = one.world.group.spec
    one.edit(shards=tuple(shard for shard in spec.shards if shard.shard_id != shard_id))
    members = [e for e in one.world.engines.values() if e.place.shard_id == shard_id]
    taker = next(e for e in one.world.engines.values() if e.slots and e not in members)
    for engine in members:
        taker.slots, engine.slots = (*taker.slots, *engine.slots), ()
        engine.data = frozenset()


def test_a_shard_that_holds_nothing_ends_with_its_primary_last() -> None:
    one = story(shards=3, replicas=2)
    emptied(one, "0002")
    order: list[str] = []
    for _ in range(20):
        plan = checked_round(one)
        order += [step.node_id or "" for step in steps(plan, StopNode)]
        assert one.status is not None
        assert not one.status.is_broken
    assert order == ["demo-0002-002", "demo-0002-003", "demo-0002-001"]
    assert sorted(one.world.engines) == sorted(n.node_id for n in one.world.group.spec.nodes())
    assert one.status is not None
    assert one.status.state is GroupState.AVAILABLE
    assert not [text for text in one.said if "lost" in text or "back empty" in text]


def test_a_shard_that_leaves_is_shown_so() -> None:
    one = story(shards=3)
    emptied(one, "0002")
    status = checked_round(one).status
    leaving = [n.node_id for n in status.nodes if n.state is NodeState.DELETING]
    assert leaving == ["demo-0002-001", "demo-0002-002"]
    assert (status.state, status.reason) == (
        GroupState.MODIFYING,
        "removing demo-0002-001, demo-0002-002",
    )


def kept_because(one: Story) -> str:
    """Return why shard 0002 stays, which it does."""
    plan, group, observed = one.look(), one.world.group, one.world.observe()
    ended = [s.node_id for s in (*steps(plan, StopNode), *steps(plan, RemoveNode))]
    assert not [node_id for node_id in ended if node_id and node_id.startswith("demo-0002")]
    assert plan.status.state is GroupState.MODIFYING
    views = [view_shard(shard, observed, one.status) for shard in shards_to_run(group)]
    (view,) = (view for view in views if view.shard.shard_id == "0002")
    assert group.placement is not None
    return why_kept(group, group.placement, view, views, observed)


def test_no_proof_no_removal() -> None:
    one = story(shards=3)
    emptied(one, "0002")
    primary, replica = one.world.engines["demo-0002-001"], one.world.engines["demo-0002-002"]
    primary.slots = (SlotRange(7, 7),)
    assert kept_because(one) == "shard 0002 stays: demo-0002-001 owns slots"
    assert one.look().status.reason == "shard 0002 stays: demo-0002-001 owns slots"
    primary.slots = ()
    replica.data = frozenset({1})
    assert kept_because(one) == "shard 0002 stays: demo-0002-002 holds 1 keys"
    replica.data = frozenset()
    replica.is_silent = True
    assert kept_because(one) == "shard 0002 stays until demo-0002-002 answers"
    replica.answers()
    one.world.engines["demo-0003-001"].is_silent = True
    assert kept_because(one) == "shard 0002 stays until the primary of 0003 answers"


def test_an_empty_shard_stays_until_its_clients_know_where_to_go() -> None:
    """What is on its way to a process that ends is lost, and not every client asks twice."""
    one = story(shards=3)
    emptied(one, "0002")
    observed = one.world.observe()
    sought = msgspec.structs.replace(observed.nodes["demo-0002-001"], is_sought=True)
    changed = msgspec.structs.replace(observed, nodes={**observed.nodes, "demo-0002-001": sought})
    assert why_gone_stays(one, changed) == "shard 0002 stays until its clients know where to go"
    assert why_gone_stays(one, observed) == ""
    # Once one of its nodes has ended nobody is waited for.
    one.world.kill("demo-0002-002")
    ended = one.world.observe().nodes["demo-0002-002"]
    later = msgspec.structs.replace(changed, nodes={**changed.nodes, "demo-0002-002": ended})
    assert why_gone_stays(one, later) == ""


def why_gone_stays(one: Story, observed: Observed) -> str:
    """Return why shard 0002 stays, by what was seen."""
    group = one.world.group
    assert group.placement is not None
    views = [view_shard(shard, observed, one.status) for shard in shards_to_run(group)]
    (view,) = (view for view in views if view.shard.shard_id == "0002")
    return why_kept(group, group.placement, view, views, observed)


def test_a_primary_elsewhere_that_counts_an_owner_keeps_its_shard() -> None:
    """The node itself may have ended, and its own word with it."""
    one = story(shards=3, replicas=0)
    spec = one.world.group.spec
    one.world.kill("demo-0002-001")
    one.edit(shards=tuple(shard for shard in spec.shards if shard.shard_id != "0002"))
    assert kept_because(one) == "shard 0002 stays: to demo-0001-001 it owns slots"
    assert [s.node_id for s in steps(one.look(), StartNode)] == ["demo-0002-001"]


def test_a_replica_elsewhere_that_counts_an_owner_keeps_its_shard() -> None:
    """A client that asks it would go where nobody is."""
    one = story(shards=3)
    emptied(one, "0002")
    observed = one.world.observe()
    seen = observed.nodes["demo-0001-002"]
    assert isinstance(seen.engine, EngineFact)
    assert seen.engine.cluster is not None
    stale = msgspec.structs.replace(
        seen.engine.cluster,
        owner_ids=frozenset({one.world.engines["demo-0002-001"].place.engine_id}),
    )
    late = msgspec.structs.replace(seen.engine, cluster=stale)
    changed = {"demo-0001-002": msgspec.structs.replace(seen, engine=late)}
    observed = msgspec.structs.replace(observed, nodes={**observed.nodes, **changed})
    assert why_gone_stays(one, observed) == "shard 0002 stays: to demo-0001-002 it owns slots"


def test_a_shard_without_proof_goes_on_serving() -> None:
    one = story(shards=3)
    spec = one.world.group.spec
    one.world.write(1)
    one.world.tick()
    one.edit(shards=tuple(shard for shard in spec.shards if shard.shard_id != "0002"))
    one.world.kill("demo-0002-001")
    for _ in range(12):
        checked_round(one)
    assert one.world.engines["demo-0002-002"].serves_writes()
    assert one.world.engines["demo-0002-001"].life is Life.RUNNING
    assert not one.world.engines["demo-0002-001"].is_held


def test_an_empty_shard_that_has_lost_its_primary_elects_nobody() -> None:
    one = story(shards=3)
    emptied(one, "0002")
    one.world.kill("demo-0002-001")
    for _ in range(12):
        checked_round(one)
    assert "demo-0002-002" not in one.world.engines
    assert not [text for text in one.said if "Failover" in text]


def test_the_configuration_endpoint_leaves_a_shard_that_goes() -> None:
    one = story(shards=2)
    holder = next(e for e in one.world.engines.values() if "127.64.1.1" in e.bind)
    shard_id = holder.place.shard_id
    emptied(one, shard_id)
    kinds: list[type] = []
    for _ in range(12):
        steps_of_holder = [s for s in checked_round(one).steps if s.node_id == holder.place.node_id]
        kinds += [type(step.command) for step in steps_of_holder]
    assert [kind for kind in kinds if kind is not ForgetNodes] == [BindNode, StopNode, RemoveNode]
    assert any("127.64.1.1" in e.bind for e in one.world.engines.values())
    assert all(e.place.shard_id != shard_id for e in one.world.engines.values())


def test_a_shard_that_is_added_is_planned_once_its_nodes_have_places() -> None:
    one = story(shards=1, replicas=0)
    node = NodeSpec(node_id="demo-0002-001", zone="us-east-1a")
    added = ShardSpec(shard_id="0002", slots=(), nodes=(node,))
    one.edit(shards=(*one.world.group.spec.shards, added))
    assert [shard.shard_id for shard in shards_to_run(one.world.group)] == ["0001"]
    one.round()
    assert [shard.shard_id for shard in shards_to_run(one.world.group)] == ["0001", "0002"]
    assert not any(is_gone(one.world.group, s) for s in shards_to_run(one.world.group))


def with_a_new_shard() -> Story:
    """Return a cluster whose last shard serves and owns nothing yet."""
    one = story(shards=2, replicas=0)
    node = NodeSpec(node_id="demo-0003-001", zone="us-east-1a")
    added = ShardSpec(shard_id="0003", slots=(), nodes=(node,))
    one.edit(shards=(*one.world.group.spec.shards, added))
    one.settle()
    assert one.world.engines["demo-0003-001"].serves_writes()
    return one


def losses_after_death_of_new_shard(one: Story) -> list[str]:
    one.world.kill("demo-0003-001")
    one.settle()
    assert one.world.engines["demo-0003-001"].serves_writes()
    return [text for text in one.said if "the data is lost" in text]


def test_a_new_shard_that_had_nothing_loses_nothing() -> None:
    assert losses_after_death_of_new_shard(with_a_new_shard()) == []


def test_a_new_shard_loses_what_it_owned() -> None:
    one = with_a_new_shard()
    giver, taker = one.world.engines["demo-0002-001"], one.world.engines["demo-0003-001"]
    giver.slots, taker.slots = (), giver.slots
    assert len(losses_after_death_of_new_shard(one)) == 1


def test_a_new_shard_may_lose_keys_of_a_slot_that_is_open() -> None:
    one = with_a_new_shard()
    giver, taker = one.world.engines["demo-0002-001"], one.world.engines["demo-0003-001"]
    giver.opened[giver.slots[0].first] = (taker.place.engine_id, False)
    assert len(losses_after_death_of_new_shard(one)) == 1


# Reshardings


def test_slots_are_weighed_while_a_new_shard_is_made_and_once() -> None:
    one = story(shards=2, replicas=0)
    node = NodeSpec(node_id="demo-0003-001", zone="us-east-1a")
    added = ShardSpec(shard_id="0003", slots=(), nodes=(node,))
    one.edit(shards=(*one.world.group.spec.shards, added), resharding_generation=2)
    weighed: list[str | None] = []
    while not (one.status and one.status.resharding and one.status.resharding.target):
        plan = one.round()
        weighed += [step.node_id for step in steps(plan, WeighSlots)]
        if any(isinstance(step.command, AdmitNode) for step in plan.steps):
            assert sorted(map(str, weighed)) == ["demo-0001-001", "demo-0002-001"]
    assert len(weighed) == 2


def test_each_stage_of_a_resharding_follows_the_one_before_at_once() -> None:
    one = story(shards=2, replicas=0)
    giver, taker = (one.world.engines[f"demo-000{number}-001"] for number in (2, 1))
    taker.slots, giver.slots = (*taker.slots, *giver.slots), ()
    one.edit(resharding_generation=2)
    stages: list[str] = []
    while not (one.status and one.status.resharding and one.status.resharding.is_over):
        before = one.status.resharding if one.status else None
        plan = one.round()
        after = plan.status.resharding
        assert after is not None
        if after.target and not (before and before.target):
            stages.append("decided")
            assert plan.look_again_s == 0
        if after.arrived_at and not (before and before.arrived_at):
            stages.append("arrived")
            assert plan.look_again_s == 0
    assert plan.look_again_s == 0
    assert stages == ["decided", "arrived"]
    assert one.round().look_again_s > 0


def test_a_planned_change_of_primary_waits_for_a_resharding() -> None:
    one = story()
    one.edit(resharding_generation=2, generation=2)
    one.restart("demo-0001-001")
    assert one.status is not None
    assert reshards(one.world.group, one.status)
    assert steps(one.look(), HandOver) == []
    over = dataclasses.replace(one.status, resharding=Resharding(generation=2, is_over=True))
    assert not reshards(one.world.group, over)
    earlier = dataclasses.replace(over, resharding=Resharding(generation=1, is_over=True))
    assert reshards(one.world.group, earlier)


def test_the_role_of_a_node_that_joins_is_its_own_word() -> None:
    one = story(shards=1)
    one.change(lambda nodes: (*nodes, LATE))
    one.settle()
    assert one.world.engines["demo-late"].role is Role.REPLICA
