"""The story of another engine or version: who changes when, and who never follows whom."""

from __future__ import annotations

import itertools

from cachewright.model.commands import (
    ApplySettings,
    HandOver,
    InstallBuild,
    IntroduceNode,
    PromoteNode,
    StartNode,
)
from cachewright.model.engines import EngineName
from cachewright.model.groups import RestartCause
from cachewright.model.status import GroupState, NodeState, Role
from cachewright.plan.invariants import violations
from cachewright.plan.plan import Plan
from cachewright.plan.restarts import CLIENTS_LEARN, CLIENTS_LEARN_MAX, PARTIAL_SYNC
from tests.property.plan.groups import LINES, make_group
from tests.property.plan.world import Life
from tests.unit.plan.plan_story import Story, ended, runs, steps

REDIS_7, VALKEY_8, VALKEY_9 = LINES


def story(*, shards: int = 1, replicas: int, cluster_enabled: bool = False) -> Story:
    return Story(
        make_group(shards=shards, replicas=replicas, cluster_enabled=cluster_enabled, line=REDIS_7)
    )


def upgrade(one: Story, line: tuple[EngineName, str] = VALKEY_8) -> None:
    one.edit(engine=line[0], engine_version=line[1])


def checked_round(one: Story) -> Plan:
    plan = one.look()
    assert violations(one.world.group, one.world.observe(), plan) == ()
    return one.round()


def test_replicas_change_before_their_primary_and_one_of_a_shard_at_a_time() -> None:
    one = story(replicas=2)
    one.world.write(1)
    one.world.tick()
    upgrade(one)
    order: list[str] = []
    for _ in range(40):
        plan = checked_round(one)
        order += [*ended(plan), *(f"{s.node_id} hands over" for s in steps(plan, HandOver))]
    assert order == ["demo-002", "demo-003", "demo-001 hands over", "demo-001"]
    assert set(runs(one).values()) == {"8.1"}
    assert all(engine.data == {1} for engine in one.world.engines.values())


def test_shards_change_side_by_side_but_their_primaries_one_after_the_other() -> None:
    one = story(shards=3, replicas=1, cluster_enabled=True)
    upgrade(one)
    first = ended(checked_round(one))
    assert first == [f"demo-000{shard}-002" for shard in (1, 2, 3)]
    givers: list[str | None] = []
    for _ in range(40):
        plan = checked_round(one)
        assert len(steps(plan, HandOver)) <= 1
        givers += [step.node_id for step in steps(plan, HandOver)]
    assert sorted(filter(None, givers)) == [f"demo-000{shard}-001" for shard in (1, 2, 3)]
    assert set(runs(one).values()) == {"8.1"}


def test_former_primaries_are_away_in_half_of_the_shards_at_most() -> None:
    one = story(shards=4, replicas=1, cluster_enabled=True)
    upgrade(one)
    handed_over = 0
    while handed_over < 4:
        handed_over += len(steps(checked_round(one), HandOver))
    one.wait(CLIENTS_LEARN_MAX.total_seconds())
    first = ended(checked_round(one))
    assert first == ["demo-0001-001", "demo-0002-001"]
    assert ended(one.look()) == []
    for _ in range(40):
        checked_round(one)
    assert set(runs(one).values()) == {"8.1"}


def test_who_comes_back_has_heard_of_the_claims_of_those_who_live() -> None:
    """Valkey 8.0 believes it what it says of its successor's epoch; see `launch`."""
    one = story(shards=3, replicas=1, cluster_enabled=True)
    upgrade(one)
    starts = 0
    for _ in range(40):
        for step in steps(plan := one.look(), StartNode):
            assert isinstance(step.command, StartNode)
            for peer in step.command.launch.peers:
                (engine,) = (
                    e for e in one.world.engines.values() if e.place.engine_id == peer.engine_id
                )
                assert peer.role is not Role.PRIMARY or peer.epoch == engine.epoch
            starts += 1
        assert checked_round(one) == plan
    assert starts == 6


def test_shards_of_one_node_change_one_after_the_other_and_keep_their_data() -> None:
    one = story(shards=3, replicas=0, cluster_enabled=True)
    one.world.write(1)
    upgrade(one)
    for _ in range(40):
        checked_round(one)
        down = [e for e in one.world.engines.values() if not e.serves_writes()]
        assert len(down) <= 1
    assert set(runs(one).values()) == {"8.1"}
    assert all(engine.data == {1} for engine in one.world.engines.values())


def test_the_build_is_brought_here_before_anybody_ends() -> None:
    one = story(replicas=1)
    upgrade(one)
    one.world.is_build_here = False
    plan = one.look()
    assert [type(step.command) for step in plan.steps] == [InstallBuild]
    assert plan.status.state is GroupState.MODIFYING
    one.round()
    assert ended(one.look()) == ["demo-002"]


def test_who_crashes_before_the_build_is_here_goes_on_as_before() -> None:
    one = story(replicas=1)
    upgrade(one)
    one.world.is_build_here = False
    one.world.kill("demo-002")
    (start,) = steps(one.look(), StartNode)
    assert isinstance(start.command, StartNode)
    launch = start.command.launch
    assert (launch.engine, launch.engine_version) == REDIS_7
    assert "lazyfree-lazy-user-del" in dict(launch.settings)
    assert len(steps(one.look(), InstallBuild)) == 1


def test_nobody_goes_on_as_something_older_than_who_lives() -> None:
    one = story(replicas=1)
    upgrade(one)
    while not ended(one.round()):
        pass
    one.round()
    assert runs(one) == {"demo-001": "7.0", "demo-002": "8.1"}
    one.world.kill("demo-001")
    one.round()
    upgrade(one, VALKEY_9)
    one.world.is_build_here = False
    assert steps(one.look(), StartNode) == []


def test_who_crashes_in_the_middle_starts_as_what_is_asked_for() -> None:
    one = story(replicas=2)
    upgrade(one)
    one.world.kill("demo-002")
    (start,) = steps(one.look(), StartNode)
    assert isinstance(start.command, StartNode)
    assert start.command.launch.engine_version == "8.1"


def middle(one: Story) -> None:
    """Run until one replica has changed and serves, and another has not."""
    for _ in range(20):
        checked_round(one)
        new = one.world.engines["demo-002"]
        if runs(one)["demo-002"] == "8.1" and not new.is_held:
            return
    raise AssertionError("the first replica has not changed")


def test_of_equals_the_older_one_takes_over() -> None:
    one = story(replicas=2)
    upgrade(one)
    middle(one)
    one.world.kill("demo-001")
    plan = one.look()
    assert [step.node_id for step in steps(plan, PromoteNode)] == ["demo-003"]
    one.settle()
    assert set(runs(one).values()) == {"8.1"}


def test_who_has_more_takes_over_and_an_older_one_does_not_follow_it_for_long() -> None:
    one = story(replicas=2)
    upgrade(one)
    middle(one)
    one.world.engines["demo-003"].lags = True
    one.world.write(1)
    one.world.tick()
    one.world.kill("demo-001")
    plan = checked_round(one)
    assert [step.node_id for step in steps(plan, PromoteNode)] == ["demo-002"]
    plan = checked_round(one)
    assert ended(plan) == ["demo-003"], "whoever else does not serve yet"
    one.settle()
    assert set(runs(one).values()) == {"8.1"}
    assert all(engine.data == {1} for engine in one.world.engines.values())


def test_an_older_replica_ends_before_everybody_else() -> None:
    one = story(replicas=2)
    upgrade(one)
    middle(one)
    one.world.kill("demo-001")
    one.world.engines["demo-003"].data = frozenset()
    one.world.engines["demo-002"].data = frozenset({1})
    checked_round(one)
    one.restart("demo-002")
    assert ended(one.look()) == ["demo-003"]


def test_an_old_engine_is_told_nothing_of_the_new_version() -> None:
    one = story(replicas=0)
    upgrade(one)
    one.world.is_build_here = False
    one.set_parameters(timeout="30")
    assert steps(one.look(), ApplySettings) == []
    one.edit(node_type="cache.m6g.large")
    (told,) = steps(one.look(), ApplySettings)
    assert isinstance(told.command, ApplySettings)
    launched = one.world.engines["demo-001"].launched
    assert launched is not None
    assert told.command.settings == launched.settings
    assert told.command.maxmemory_bytes > launched.maxmemory_bytes


def test_what_an_old_engine_refused_is_tried_with_the_new_one() -> None:
    one = story(replicas=0)
    one.set_parameters(activedefrag="yes")
    one.settle()
    upgrade(one)
    one.world.is_build_here = False
    assert one.look().status.nodes[0].refused == ()


def test_an_upgrade_is_told_with_beginning_and_end() -> None:
    one = story(replicas=1)
    told = len(one.said)
    upgrade(one)
    states = [checked_round(one).status.state for _ in range(20)]
    said = one.said[told:]
    failover = "Failover from primary node demo-001 to replica node demo-002 completed"
    assert said == [
        "Upgrading replication group demo from redis 7.0 to valkey 8.1",
        "Cache node 0001 upgraded to valkey 8.1.2",
        failover,
        failover,
        "Finished upgrading replication group demo to valkey 8.1",
        "Cache node 0001 upgraded to valkey 8.1.2",
    ]
    changes = [state for state, _ in itertools.groupby(states)]
    assert changes == [GroupState.MODIFYING, GroupState.AVAILABLE]


def test_who_goes_on_at_a_new_primary_is_not_said_to_be_recovered() -> None:
    one = story(replicas=2)
    one.restart("demo-001", cause=RestartCause.TEST_FAILOVER)
    told = len(one.said)
    plan = one.look()
    one.status = plan.status
    for step in steps(plan, HandOver):
        one.world.execute(step.command)
    other = next(e for e in one.world.engines.values() if e.place.node_id == "demo-003")
    assert other.follows == "demo-001" or other.role is Role.REPLICA
    for _ in range(2):
        other.is_in_sync = False
        plan = one.look()
        one.status = plan.status
        one.said += [event.message for event in plan.events]
        one.wait(0.1)
    assert not [text for text in one.said[told:] if "ecover" in text]
    one.wait(CLIENTS_LEARN.total_seconds())
    assert "Recovering cache nodes 0001" in [event.message for event in one.look().events]


def test_who_follows_a_node_until_that_is_upgraded_is_not_said_to_be_recovered() -> None:
    one = story(shards=1, replicas=2, cluster_enabled=True)
    upgrade(one)
    old, other = (one.world.engines[f"demo-0001-{number}"] for number in ("001", "003"))
    for _ in range(40):
        if ended(one.round()) == ["demo-0001-001"]:
            break
    assert old.life is Life.STOPPED
    other.is_in_sync = False
    said = [event.message for event in one.look().events]
    one.round()
    assert not [text for text in said + one.said if "ecover" in text]
    # What is left of it once all have the version is no part of that any more.
    one.run(lambda status: not any(node.is_upgrading for node in status.nodes))
    assert not [text for text in one.said if "ecover" in text]
    other.is_in_sync = False
    one.wait(CLIENTS_LEARN.total_seconds())
    assert "Recovering cache nodes 0001" in [event.message for event in one.look().events]


def test_members_say_what_they_run_while_others_change() -> None:
    one = story(replicas=1)
    upgrade(one)
    for _ in range(20):
        status = checked_round(one).status
        if not status.nodes[1].is_upgrading:
            break
    old, new = status.nodes
    assert (old.engine, old.engine_version, old.state) == (
        EngineName.REDIS,
        "7.0.2",
        NodeState.MODIFYING,
    )
    assert (new.engine, new.engine_version, new.state) == (
        EngineName.VALKEY,
        "8.1.2",
        NodeState.AVAILABLE,
    )


def test_the_endpoints_of_a_primary_that_changes_go_along() -> None:
    one = story(shards=2, replicas=1, cluster_enabled=True)
    configuration = "127.64.1.1"
    upgrade(one)
    missing = 0
    for _ in range(40):
        checked_round(one)
        living = [e for e in one.world.engines.values() if e.life is Life.RUNNING]
        missing += not any(configuration in e.bind for e in living)
    assert missing == 0


def test_a_newer_one_is_not_made_primary_of_older_ones_for_a_wish() -> None:
    one = story(replicas=2)
    upgrade(one)
    middle(one)
    one.wish("demo-002")
    assert steps(one.look(), HandOver) == []
    one.settle()
    assert one.world.engines["demo-002"].serves_writes()
    assert set(runs(one).values()) == {"8.1"}


def test_who_has_handed_over_stays_for_clients_that_come_by() -> None:
    one = story(shards=1, replicas=1, cluster_enabled=True)
    upgrade(one)
    while not steps(one.round(), HandOver):
        pass
    one.round_s = 0.0
    for _ in range(4):
        assert ended(checked_round(one)) == []
    one.wait(CLIENTS_LEARN.total_seconds())
    assert ended(checked_round(one)) == ["demo-0001-001"]


def test_who_has_handed_over_stays_while_clients_come_but_not_for_ever() -> None:
    one = story(shards=1, replicas=1, cluster_enabled=True)
    upgrade(one)
    while not steps(one.round(), HandOver):
        pass
    one.round()
    old = one.world.engines["demo-0001-001"]
    one.round_s, old.is_sought = 0.0, True
    one.wait(CLIENTS_LEARN.total_seconds())
    assert ended(checked_round(one)) == []
    old.is_sought = False
    assert ended(one.look()) == ["demo-0001-001"]
    old.is_sought = True
    one.wait(CLIENTS_LEARN_MAX.total_seconds())
    assert ended(checked_round(one)) == ["demo-0001-001"]


def test_a_group_that_rests_is_looked_at_again_when_clients_have_learned() -> None:
    one = story(shards=1, replicas=1, cluster_enabled=True)
    one.restart("demo-0001-001", cause=RestartCause.TEST_FAILOVER)
    assert steps(one.round(), HandOver)
    plan = one.round()
    assert (plan.status.state, plan.steps) == (GroupState.AVAILABLE, ())
    assert plan.look_again_s < CLIENTS_LEARN.total_seconds()


def test_who_has_handed_over_does_not_stay_to_copy_what_is_newer() -> None:
    one = story(shards=1, replicas=1, cluster_enabled=True)
    upgrade(one)
    while not steps(one.round(), HandOver):
        pass
    one.round_s = 0.0
    one.round()
    one.world.engines["demo-0001-001"].is_in_sync = False
    assert ended(one.look()) == []
    one.wait(PARTIAL_SYNC.total_seconds())
    assert ended(one.look()) == ["demo-0001-001"]


def test_a_primary_waits_for_whoever_starts_in_another_shard() -> None:
    """Who starts has the map of this look, and Valkey may hang when it is out of date."""
    one = story(shards=2, replicas=1, cluster_enabled=True)
    upgrade(one)
    for _ in range(20):
        if steps(one.look(), HandOver):
            break
        one.round()
    one.world.kill("demo-0002-002")
    plan = one.look()
    assert [step.node_id for step in steps(plan, StartNode)] == ["demo-0002-002"]
    assert steps(plan, HandOver) == []
    one.settle()
    assert set(runs(one).values()) == {"8.1"}


def test_a_primary_waits_until_nobody_is_a_stranger() -> None:
    """Its successor would have no connection with whoever was not introduced, and fail."""
    one = story(shards=2, replicas=1, cluster_enabled=True)
    upgrade(one)
    while not steps(one.look(), HandOver):
        one.round()
    stranger = one.world.engines["demo-0002-002"].place.engine_id
    one.world.engines["demo-0001-001"].known -= {stranger}
    plan = one.look()
    assert steps(plan, HandOver) == []
    assert [step.node_id for step in steps(plan, IntroduceNode)] == ["demo-0001-001"]


def test_nobody_restarts_alone_while_slots_are_spread_anew() -> None:
    one = story(shards=2, replicas=0, cluster_enabled=True)
    one.edit(resharding_generation=2, generation=2)
    one.restart("demo-0001-001")
    assert ended(one.look()) == []
