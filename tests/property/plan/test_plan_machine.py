"""Whatever happens between any two steps, no law is broken, and the group settles afterwards."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
from collections.abc import Set

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from cachewright.model.commands import FenceNode, PromoteNode, Step
from cachewright.model.facts import SilenceCause
from cachewright.model.groups import Deletion, NodeSpec, ShardSpec
from cachewright.model.settings import Limits
from cachewright.model.status import Event, GroupState, GroupStatus, NodeState, Role
from cachewright.plan.failover import plan_failover
from cachewright.plan.group import plan_group
from cachewright.plan.invariants import violations
from cachewright.plan.plan import LOOK_AGAIN_REST_S, Plan
from cachewright.plan.shard import engine_of
from cachewright.plan.shutdown import plan_stop
from cachewright.plan.syncs import LARGE_BYTES
from tests.property.plan.groups import CREATED_AT, LINES, groups
from tests.property.plan.world import REFUSED_SETTING, Life, Refused, World

#: Rounds within which a group of at most 12 nodes settles once faults stop: install, place, start,
#: admit, start replicas, follow, sync, admit, move endpoints, and as many again after a failure;
#: all of it for each replica that changes its version, and for the primaries one by one.
SETTLE_ROUNDS = 120
#: Whoever is held back is started again after this time.
HOLD_MAX = datetime.timedelta(seconds=300)
#: Longer than any silence is waited for, seconds.
PATIENCE_MAX_S = 60.0
#: Time passes quickly here; that a create has a deadline is tested elsewhere.
LIMITS = Limits(create_deadline_s=1e6)
#: What rounds leave to the rescue.
URGENT = PromoteNode | FenceNode
#: A rescue says nothing of a group.
NOT_SAID = GroupStatus(state=GroupState.MODIFYING, observed_generation=0, nodes=())
#: Nodes that a run adds in all: enough to come and go several times.
ADDED_MAX = 4


class PlanMachine(RuleBasedStateMachine):
    """One group, one host, every fault that the model world knows."""

    nodes = Bundle("nodes")
    #: The group has replicas, has settled when things begin to happen, and nobody deletes it.
    serves = False

    def __init__(self) -> None:
        super().__init__()
        self.world: World
        self.status: GroupStatus | None = None
        self.now = CREATED_AT
        self.mark = 0
        self.added = 0
        self.events: list[Event] = []

    @initialize(group=st.data())
    def begin(self, group: st.DataObject) -> None:
        self.world = World(group=group.draw(groups(replicas_min=1 if self.serves else 0)))
        self.world.is_build_here = group.draw(st.booleans())
        if self.serves:
            self.settle()

    def plan(self) -> Plan:
        observed = self.world.observe()
        group = self.world.group
        plan = plan_group(group, self.status, observed, now=self.now, limits=LIMITS)
        assert violations(group, observed, plan) == ()
        return plan

    def one_round(self, dies_after: int | None = None) -> Plan | None:
        """Run one round of the loop; the controller may die after some steps."""
        if self.world.is_forgotten:
            return None
        plan = self.plan()
        if plan.status != self.status:
            self.events.extend(plan.events)
        self.status = plan.status
        for step in plan.steps[:dies_after]:
            if not isinstance(step.command, URGENT):
                self.carry_out(step)
        urgent = [s for s in plan.steps[:dies_after] if isinstance(s.command, URGENT)]
        if urgent:
            places = {e.place.node_id: e.place.shard_id for e in self.world.engines.values()}
            self.rescue({places[step.node_id or ""] for step in urgent})
        return plan

    def rescue(self, named: Set[str], calls: int = 10) -> None:
        """Do what cannot wait, in the shards that are named or have lost somebody."""
        for _ in range(calls):
            if self.world.is_forgotten:
                return
            group, observed = self.world.group, self.world.observe()
            lost = {
                engine.place.shard_id
                for node_id, engine in self.world.engines.items()
                if engine_of(observed.of(node_id)) is None
            }
            steps = plan_failover(group, observed, self.status, struck=lost | named)
            assert all(isinstance(step.command, URGENT) for step in steps)
            plan = Plan(steps=steps, status=NOT_SAID, events=(), look_again_s=0.0)
            assert violations(group, observed, plan) == ()
            if not steps:
                return
            for step in steps:
                self.carry_out(step)

    def carry_out(self, step: Step) -> None:
        with contextlib.suppress(Refused):
            self.world.execute(step.command)

    @rule(dies_after=st.none() | st.integers(0, 3))
    def look(self, dies_after: int | None) -> None:
        self.one_round(dies_after)

    @rule(rounds=st.integers(2, 12))
    def the_loop_runs_undisturbed(self, rounds: int) -> None:
        for _ in range(rounds):
            self.world.tick()
            self.one_round()

    @rule(seconds=st.sampled_from([1, 2, 5, 20, 40]))
    def time_passes(self, seconds: int) -> None:
        self.world.tick()
        self.world.pass_time(seconds)
        self.now += datetime.timedelta(seconds=seconds)

    @rule(calls=st.integers(1, 4))
    def the_rescue_is_called(self, calls: int) -> None:
        """Promote and fence between two rounds, with nothing written down."""
        if self.status is not None:
            self.rescue(frozenset(), calls)

    @rule()
    def client_writes(self) -> None:
        self.mark += 1
        self.world.write(self.mark)

    @rule(number=st.integers(0, 11))
    def a_node_dies(self, number: int) -> None:
        node_id = self.pick(number)
        if node_id is not None:
            self.world.kill(node_id)

    @rule(numbers=st.sets(st.integers(0, 11), min_size=2, max_size=4))
    def nodes_die_together(self, numbers: set[int]) -> None:
        for number in numbers:
            self.a_node_dies(number)

    @rule(number=st.integers(0, 11), lags=st.booleans())
    def a_replica_lags_or_catches_up(self, number: int, lags: bool) -> None:
        node_id = self.pick(number)
        if node_id is not None:
            self.world.engines[node_id].lags = lags

    @precondition(
        lambda self: self.status is not None and self.status.state is GroupState.AVAILABLE
    )
    @rule(number=st.integers(0, 3), laggards=st.sets(st.integers(0, 3), max_size=2))
    def a_failover_loses_nothing_that_the_best_replica_had(
        self, number: int, laggards: set[int]
    ) -> None:
        """A primary dies right after a write that some of its replicas have not applied yet."""
        self.calm()
        self.settle()
        shards = self.world.group.spec.shards
        shard = shards[number % len(shards)]
        engines = [
            self.world.engines[n.node_id] for n in shard.nodes if n.node_id in self.world.engines
        ]
        primary = next((e for e in engines if e.serves_writes()), None)
        for place, engine in enumerate(engines):
            engine.lags = place in laggards
        self.client_writes()
        self.world.tick()
        synced = [e.data for e in engines if e.is_in_sync and not e.is_held]
        if primary is None or not synced:
            return
        self.world.kill(primary.place.node_id)
        self.settle()
        kept = self.data_of_shards()
        assert max(synced, key=len) <= kept[shard.shard_id]

    @precondition(
        lambda self: self.status is not None and self.status.state is GroupState.AVAILABLE
    )
    @rule(number=st.integers(0, 11), cause=st.sampled_from(SilenceCause))
    def who_hangs_is_ended_only_if_others_go_on(self, number: int, cause: SilenceCause) -> None:
        """After any patience: nothing is lost, and whoever is only slow lives on."""
        self.calm()
        self.settle()
        node_id = self.pick(number)
        if node_id is None or not self.is_available() or not self.stays():
            return
        victim = self.world.engines[node_id]
        shard_id, generation = victim.place.shard_id, victim.generation
        if victim.life is not Life.RUNNING:
            return  # a node of a host that cannot start it
        synced = [
            e.data
            for e in self.world.engines.values()
            if e.place.shard_id == shard_id and e.is_in_sync and e is not victim
        ]
        kept = max(synced, key=len, default=victim.data)
        victim.falls_silent(cause)
        self.world.pass_time(PATIENCE_MAX_S)
        self.settle()
        is_primary_alone = victim.role is Role.PRIMARY and not synced
        if cause in {SilenceCause.STARVED, SilenceCause.REFUSING} or is_primary_alone:
            assert victim.generation == generation
            assert victim.is_silent
        else:
            assert victim.generation > generation
            assert self.is_available()
            assert kept <= self.data_of_shards()[shard_id]

    @precondition(
        lambda self: self.status is not None and self.status.state is GroupState.AVAILABLE
    )
    @rule(number=st.none() | st.integers(0, 3))
    def shards_that_end_as_a_whole_come_back_with_what_was_kept(self, number: int | None) -> None:
        """One of them, or all: from disk where it was kept, else empty, and that is said."""
        self.calm()
        self.settle()
        if not self.is_available() or not self.stays():
            return
        self.client_writes()
        self.world.tick()
        before, told = self.data_of_shards(), len(self.events)
        shards = [shard.shard_id for shard in self.world.group.spec.shards]
        struck = shards if number is None else [shards[number % len(shards)]]
        kept: set[str] = set()
        for engine in self.world.engines.values():
            if engine.place.shard_id in struck:
                primary = engine.serves_writes()
                self.world.kill(engine.place.node_id)
                if primary and engine.file is not None:
                    kept.add(engine.place.shard_id)
        self.settle()
        after = self.data_of_shards()
        for shard_id in shards:
            is_lost = shard_id in struck and shard_id not in kept
            assert after[shard_id] == (frozenset() if is_lost else before[shard_id])
        said = [event.message for event in self.events[told:]]
        assert sum("back empty" in text for text in said) == (set(struck) != kept)
        assert sum("back from the append-only file" in text for text in said) == bool(kept)

    @rule(number=st.integers(0, 11), cause=st.sampled_from(SilenceCause))
    def a_node_falls_silent(self, number: int, cause: SilenceCause) -> None:
        node_id = self.pick(number)
        if node_id is not None and self.world.engines[node_id].life is Life.RUNNING:
            self.world.engines[node_id].falls_silent(cause)

    @rule(number=st.integers(0, 11))
    def a_node_answers_again(self, number: int) -> None:
        node_id = self.pick(number)
        if node_id is not None:
            self.world.engines[node_id].answers()

    @rule(silent=st.booleans())
    def the_host_falls_silent_or_answers(self, silent: bool) -> None:
        self.world.host_is_silent = silent

    @rule(number=st.integers(0, 11), times=st.integers(1, 2))
    def starts_will_fail(self, number: int, times: int) -> None:
        node_id = self.pick(number)
        if node_id is not None:
            self.world.engines[node_id].starts_to_fail = times

    @rule()
    def the_machine_loses_power(self) -> None:
        for node_id in self.world.engines:
            self.world.kill(node_id)

    @rule(stages=st.integers(0, 2))
    def the_service_stops_gracefully(self, stages: int) -> None:
        """Stop, perhaps interrupted between two stages, and start again."""
        if self.world.is_forgotten or self.world.host_is_silent:
            return
        for stage in plan_stop(self.world.group, self.status, self.world.observe())[:stages]:
            for step in stage:
                try:
                    self.world.execute(step.command)
                except Refused:
                    return

    @precondition(
        lambda self: self.status is not None and self.status.state is GroupState.AVAILABLE
    )
    @rule()
    def a_graceful_stop_loses_nothing(self) -> None:
        """Stop, start, and find in every shard what was written before."""
        self.calm()
        self.settle()
        before = self.data_of_shards()
        for stage in plan_stop(self.world.group, self.status, self.world.observe()):
            for step in stage:
                self.world.execute(step.command)
        assert all(e.life is not Life.RUNNING for e in self.world.engines.values())
        self.settle()
        assert self.data_of_shards() == before

    @precondition(lambda self: not self.serves and self.world.group.spec.deletion is None)
    @rule()
    def a_caller_deletes(self) -> None:
        self.delete(None)

    @precondition(
        lambda self: (
            not self.serves
            and self.world.group.spec.deletion is None
            and not self.world.group.spec.cluster_enabled
            and self.status is not None
            and self.status.state is GroupState.AVAILABLE
        )
    )
    @rule()
    def a_caller_deletes_and_retains_the_primary(self) -> None:
        assert self.status is not None
        primary = next(n.node_id for n in self.status.nodes if n.role is Role.PRIMARY)
        self.delete(primary)

    @precondition(lambda self: self.stays())
    @rule(numbers=st.sets(st.integers(0, 11), min_size=1, max_size=3))
    def a_caller_asks_for_restarts(self, numbers: set[int]) -> None:
        asked = [node.node_id for node in self.world.group.spec.nodes()]
        self.restart({asked[number % len(asked)] for number in numbers})

    @precondition(lambda self: self.stays() and self.is_available())
    @rule()
    def planned_restarts_lose_nothing(self) -> None:
        """Restart every node, and find in every shard what was written before."""
        self.calm()
        self.settle()
        if not self.is_available():
            return
        before = self.data_of_shards()
        generations = {n: e.generation for n, e in self.world.engines.items()}
        self.restart(set(generations))
        self.settle()
        assert self.data_of_shards() == before
        after = {n: e.generation for n, e in self.world.engines.items()}
        assert all(after[n] > generations[n] for n in generations)

    @precondition(lambda self: self.stays() and self.is_available())
    @rule(number=st.integers(0, 3))
    def a_caller_adds_a_replica(self, number: int) -> None:
        if self.added >= ADDED_MAX:
            return
        shards = self.world.group.spec.shards
        self.added += 1
        node = NodeSpec(node_id=f"demo-added-{self.added}", zone="us-east-1b")
        shard = shards[number % len(shards)]
        self.change_nodes(shard, (*shard.nodes, node))

    @precondition(lambda self: self.stays() and self.is_available())
    @rule(number=st.integers(0, 11), dies=st.booleans())
    def a_caller_removes_a_replica(self, number: int, dies: bool) -> None:
        """The primary may die before anybody has looked: the one that leaves may take over."""
        assert self.status is not None
        nodes = list(self.world.group.spec.nodes())
        node = nodes[number % len(nodes)]
        shard = self.world.group.spec.shard_of(node.node_id)
        seen = self.status.of(node.node_id)
        if seen is None or seen.role is not Role.REPLICA or len(shard.nodes) == 1:
            return
        self.change_nodes(shard, tuple(n for n in shard.nodes if n is not node))
        if dies:
            for engine in self.world.engines.values():
                if engine.place.shard_id == shard.shard_id and engine.serves_writes():
                    self.world.kill(engine.place.node_id)

    @precondition(lambda self: self.stays() and self.is_available())
    @rule(has_build=st.booleans())
    def a_caller_upgrades(self, has_build: bool) -> None:
        self.upgrade(has_build=has_build)

    @precondition(lambda self: self.stays() and self.is_available())
    @rule(
        rounds=st.integers(0, 30),
        number=st.integers(0, 3),
        laggards=st.sets(st.integers(0, 3), max_size=2),
    )
    def a_primary_that_dies_during_an_upgrade_loses_nothing_that_a_replica_had(
        self, rounds: int, number: int, laggards: set[int]
    ) -> None:
        """At any moment of it, right after a write that some replicas have not applied yet."""
        self.calm()
        self.settle()
        if not self.is_available() or not self.upgrade(has_build=True):
            return
        for _ in range(rounds):
            self.world.tick()
            self.one_round()
        shards = self.world.group.spec.shards
        shard_id = shards[number % len(shards)].shard_id
        engines = [e for e in self.world.engines.values() if e.place.shard_id == shard_id]
        primary = next((e for e in engines if e.serves_writes()), None)
        for place, engine in enumerate(engines):
            engine.lags = place in laggards
        self.client_writes()
        self.world.tick()
        synced = [e.data for e in engines if e.is_in_sync and not e.is_held]
        for engine in engines:
            engine.lags = False
        if primary is None or not synced:
            return
        self.world.kill(primary.place.node_id)
        self.settle()
        assert max(synced, key=len) <= self.data_of_shards()[shard_id]

    @precondition(lambda self: self.stays())
    @rule(node_type=st.sampled_from(["cache.t4g.micro", "cache.m6g.large"]))
    def a_caller_changes_the_node_type(self, node_type: str) -> None:
        spec = dataclasses.replace(self.world.group.spec, node_type=node_type)
        self.world.group = dataclasses.replace(self.world.group, spec=spec)

    @rule(number=st.integers(0, 11), is_large=st.booleans())
    def a_node_holds_much_or_little(self, number: int, is_large: bool) -> None:
        node_id = self.pick(number)
        if node_id is not None:
            self.world.engines[node_id].memory_bytes = LARGE_BYTES if is_large else 0

    @precondition(lambda self: self.stays())
    @rule(
        values=st.sampled_from(
            [
                {},
                {"timeout": "30"},
                {"databases": "32"},
                {"appendonly": "yes"},
                dict([REFUSED_SETTING, ("timeout", "9")]),
            ]
        )
    )
    def a_caller_sets_parameters(self, values: dict[str, str]) -> None:
        self.world.group = dataclasses.replace(self.world.group, parameters=values)

    @invariant()
    def at_most_one_writer_a_shard(self) -> None:
        if not hasattr(self, "world"):
            return
        writers = [e.place.shard_id for e in self.world.engines.values() if e.serves_writes()]
        assert len(set(writers)) == len(writers)

    def teardown(self) -> None:
        """Once faults stop, the group settles: it serves, or it is gone, or its create failed."""
        if not hasattr(self, "world"):
            return
        self.calm()
        self.settle()
        self.check_settled()

    def calm(self) -> None:
        self.world.host_is_silent = False
        for engine in self.world.engines.values():
            engine.answers()
            engine.starts_to_fail = 0

    def settle(self) -> None:
        for _ in range(SETTLE_ROUNDS):
            self.world.tick()
            plan = self.one_round()
            if plan is None:
                break
            if not plan.steps:
                if plan.look_again_s == LOOK_AGAIN_REST_S and self.is_whole():
                    break
                self.now += HOLD_MAX

    def data_of_shards(self) -> dict[str, frozenset[int]]:
        return {
            shard.shard_id: self.world.engines[node.node_id].data
            for shard in self.world.group.spec.shards
            for node in shard.nodes
            if node.node_id in self.world.engines
            and self.world.engines[node.node_id].serves_writes()
        }

    def check_settled(self) -> None:
        deletion = self.world.group.spec.deletion
        if deletion is not None and deletion.retained_node_id is None:
            assert self.world.is_forgotten
            assert all(e.life is Life.ABSENT for e in self.world.engines.values())
            return
        assert self.status is not None
        assert self.plan().steps == (), f"a settled group has nothing to do: {self.plan().steps}"
        if self.status.state is GroupState.CREATE_FAILED:
            assert all(e.life is not Life.RUNNING for e in self.world.engines.values())
            return
        assert self.status.state is GroupState.AVAILABLE, self.status.reason
        assert all(node.state.value == "available" for node in self.status.nodes)
        spec = self.world.group.spec
        assert self.status.node_type == spec.node_type
        launched = [e.launched for e in self.world.engines.values() if e.launched is not None]
        assert {(one.engine, one.engine_version) for one in launched} == {
            (spec.engine, spec.engine_version)
        }
        assert self.world.is_released == (deletion is not None)

    def is_whole(self) -> bool:
        return self.status is not None and all(
            node.state is NodeState.AVAILABLE for node in self.status.nodes
        )

    def stays(self) -> bool:
        return hasattr(self, "world") and self.world.group.spec.deletion is None

    def is_available(self) -> bool:
        return self.status is not None and self.status.state is GroupState.AVAILABLE

    def restart(self, node_ids: set[str]) -> None:
        spec = self.world.group.spec
        shards = tuple(
            dataclasses.replace(
                shard,
                nodes=tuple(
                    dataclasses.replace(node, restarts=node.restarts + 1)
                    if node.node_id in node_ids
                    else node
                    for node in shard.nodes
                ),
            )
            for shard in spec.shards
        )
        spec = dataclasses.replace(spec, shards=shards, generation=spec.generation + 1)
        self.world.group = dataclasses.replace(self.world.group, spec=spec)

    def change_nodes(self, changed: ShardSpec, nodes: tuple[NodeSpec, ...]) -> None:
        spec = self.world.group.spec
        shards = tuple(
            dataclasses.replace(shard, nodes=nodes) if shard is changed else shard
            for shard in spec.shards
        )
        spec = dataclasses.replace(spec, shards=shards, generation=spec.generation + 1)
        self.world.group = dataclasses.replace(self.world.group, spec=spec)

    def upgrade(self, *, has_build: bool) -> bool:
        """Ask for the next version, if there is one."""
        spec = self.world.group.spec
        number = LINES.index((spec.engine, spec.engine_version)) + 1
        if number == len(LINES):
            return False
        engine, version = LINES[number]
        spec = dataclasses.replace(spec, engine=engine, engine_version=version)
        self.world.group = dataclasses.replace(self.world.group, spec=spec)
        self.world.is_build_here = has_build
        return True

    def delete(self, retained: str | None) -> None:
        spec = self.world.group.spec
        deletion = Deletion(requested_at=self.now, retained_node_id=retained)
        spec = dataclasses.replace(spec, deletion=deletion, generation=spec.generation + 1)
        self.world.group = dataclasses.replace(self.world.group, spec=spec)

    def pick(self, number: int) -> str | None:
        node_ids = sorted(self.world.engines)
        return node_ids[number % len(node_ids)] if node_ids else None


class ServingMachine(PlanMachine):
    """The same for groups that serve: most of what may never happen can only happen to them."""

    serves = True


TestPlanMachine = PlanMachine.TestCase
TestPlanMachine.settings = settings(max_examples=110, stateful_step_count=40, deadline=None)
TestServingMachine = ServingMachine.TestCase
TestServingMachine.settings = settings(max_examples=70, stateful_step_count=40, deadline=None)
