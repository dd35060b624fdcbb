"""Clients of a Memcached cluster are told the truth, and it settles, whatever happens."""

from __future__ import annotations

import dataclasses
import datetime

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from cachewright.model.commands import RemoveNode, StartNode, StopNode
from cachewright.model.engines import EngineName
from cachewright.model.facts import Absent, EngineFact, Observed, Stopped
from cachewright.model.groups import DISCOVERY_ID, Deletion, GroupKind, NodeSpec
from cachewright.model.node_types import node_type_of
from cachewright.model.settings import Limits
from cachewright.model.status import Event, GroupState, GroupStatus, NodeState
from cachewright.plan.group import plan_group
from cachewright.plan.plan import LOOK_AGAIN_REST_S, Plan
from cachewright.plan.shutdown import plan_stop
from tests.property.plan.groups import CREATED_AT, make_group
from tests.property.plan.memcached_world import MemcachedWorld
from tests.property.plan.world import Life, Refused

#: Rounds within which a cluster of at most 8 nodes settles once faults stop: nodes that change
#: their version do so one after the other, in three rounds each.
SETTLE_ROUNDS = 60
NODES_MAX = 8
#: The first two differ in name only, the last has more threads, too.
TYPES = ("cache.t4g.micro", "cache.t3.micro", "cache.t4g.small", "cache.m7g.xlarge")


class MemcachedMachine(RuleBasedStateMachine):
    """One cluster, one host, every fault that the model world knows."""

    def __init__(self) -> None:
        super().__init__()
        self.world: MemcachedWorld
        self.status: GroupStatus | None = None
        self.now = CREATED_AT
        self.version = 0
        self.events: list[Event] = []

    @initialize(nodes=st.integers(1, 3), is_build_here=st.booleans(), keeps_items=st.booleans())
    def begin(self, nodes: int, is_build_here: bool, keeps_items: bool) -> None:
        group = make_group(shards=1, replicas=0, cluster_enabled=False)
        spec = dataclasses.replace(
            group.spec,
            kind=GroupKind.MEMCACHED,
            engine=EngineName.MEMCACHED,
            engine_version="1.6.18",
            parameter_group="default.memcached1.6",
            port=11211,
        )
        self.world = MemcachedWorld(group=dataclasses.replace(group, spec=spec))
        self.world.is_build_here = is_build_here
        self.world.keeps_items = keeps_items
        self.set_nodes(tuple(node(number) for number in range(1, nodes + 1)))

    def plan(self) -> Plan:
        observed = self.world.observe()
        group = self.world.group
        plan = plan_group(group, self.status, observed, now=self.now, limits=Limits())
        self.check_laws(plan)
        return plan

    def check_laws(self, plan: Plan) -> None:
        """Check that every step is safe in the world that was seen."""
        observed, spec = self.world.observe(), self.world.group.spec
        told = self.world.told()
        addresses = told[1] if told else ()
        for step in plan.steps:
            fact = observed.of(step.node_id or "")
            match step.command:
                case StartNode():
                    assert isinstance(fact.process, Absent | Stopped)
                case RemoveNode():
                    assert isinstance(fact.process, Stopped)
                    assert spec.deletion or spec.node(step.node_id or "") is None
                case StopNode(saves=saves) if (
                    spec.deletion is None and plan.status.state is not GroupState.CREATE_FAILED
                ):
                    asked = spec.node(step.node_id or "")
                    if asked is None:
                        place = self.world.processes[step.node_id or ""].place
                        assert place.address not in addresses, "clients are still told of it"
                        continue
                    assert saves, "a planned restart keeps the items"
                    assert fact.launched is not None
                    is_due = fact.launched.restarts < asked.restarts
                    is_outdated = fact.launched.engine_version != spec.engine_version
                    has_type = size_of(fact.launched.node_type) == size_of(spec.node_type)
                    assert is_due or is_outdated or not has_type
                    if not is_due:
                        self.planned_ends(plan, observed)

    def planned_ends(self, plan: Plan, observed: Observed) -> None:
        """Check that who ends for another version or type does so alone, while all serve."""
        nodes = {node.node_id: node for node in self.world.group.spec.nodes()}
        facts = {node_id: observed.of(node_id) for node_id in nodes if node_id in observed.nodes}
        assert all(isinstance(fact.engine, EngineFact) for fact in facts.values())
        ends = [
            step.node_id
            for step in plan.steps
            if isinstance(step.command, StopNode)
            and step.node_id in nodes
            and (launched := facts[step.node_id].launched) is not None
            and launched.restarts == nodes[step.node_id].restarts
        ]
        assert len(ends) == 1

    def one_round(self, dies_after: int | None = None) -> Plan | None:
        if self.world.is_forgotten:
            return None
        plan = self.plan()
        if plan.status != self.status:
            self.events.extend(plan.events)
        self.status = plan.status
        for step in plan.steps[:dies_after]:
            try:
                self.world.execute(step.command)
            except Refused:
                continue
        return plan

    @rule(dies_after=st.none() | st.integers(0, 3))
    def look(self, dies_after: int | None) -> None:
        self.one_round(dies_after)

    @rule(rounds=st.integers(2, 12))
    def the_loop_runs_undisturbed(self, rounds: int) -> None:
        for _ in range(rounds):
            self.one_round()

    @rule()
    def time_passes(self) -> None:
        self.now += datetime.timedelta(seconds=1)

    @rule(number=st.integers(0, 11))
    def a_process_dies(self, number: int) -> None:
        node_id = self.pick(number)
        if node_id is not None:
            self.world.kill(node_id)

    @rule(number=st.integers(0, 11), is_silent=st.booleans())
    def a_process_falls_silent_or_answers(self, number: int, is_silent: bool) -> None:
        node_id = self.pick(number)
        if node_id is not None and self.world.processes[node_id].life is Life.RUNNING:
            self.world.processes[node_id].is_silent = is_silent

    @rule(is_silent=st.booleans())
    def the_host_falls_silent_or_answers(self, is_silent: bool) -> None:
        self.world.host_is_silent = is_silent

    @rule(number=st.integers(0, 11))
    def a_start_will_fail(self, number: int) -> None:
        node_id = self.pick(number)
        if node_id is not None:
            self.world.processes[node_id].starts_to_fail = 1

    @rule()
    def the_service_stops_gracefully(self) -> None:
        if self.world.is_forgotten or self.world.host_is_silent:
            return
        for stage in plan_stop(self.world.group, self.status, self.world.observe()):
            for step in stage:
                assert not step.command.saves if isinstance(step.command, StopNode) else True
                self.world.execute(step.command)

    @precondition(lambda self: self.stays())
    @rule(count=st.integers(1, NODES_MAX), number=st.integers(0, 11))
    def a_caller_scales(self, count: int, number: int) -> None:
        """Add nodes with fresh numbers, or remove some."""
        spec = self.world.group.spec
        before = tuple(spec.nodes())
        if count > len(before):
            first = 1 + max(int(n) for n in self.taken())
            added = range(first, first + count - len(before))
            self.set_nodes((*before, *(node(new) for new in added)))
        elif count < len(before):
            gone = {before[(number + i) % len(before)] for i in range(len(before) - count)}
            self.set_nodes(tuple(n for n in before if n not in gone))

    @precondition(lambda self: self.stays())
    @rule(numbers=st.sets(st.integers(0, 7), min_size=1, max_size=3))
    def a_caller_reboots(self, numbers: set[int]) -> None:
        self.reboot(numbers)

    @precondition(lambda self: self.stays() and self.is_available())
    @rule(numbers=st.sets(st.integers(0, 7), min_size=1, max_size=3))
    def a_reboot_restarts_exactly_the_named_and_keeps_their_items(self, numbers: set[int]) -> None:
        self.calm()
        self.settle()
        if not self.is_available():
            return
        before = {n: p.generation for n, p in self.world.processes.items()}
        named = self.reboot(numbers)
        self.settle()
        for node_id, process in self.world.processes.items():
            assert process.generation == before[node_id] + (node_id in named)
            assert process.is_warm or node_id not in named

    @precondition(lambda self: self.stays())
    @rule(version=st.sampled_from(["1.6.18", "1.6.38"]))
    def a_caller_changes_the_version(self, version: str) -> None:
        spec = dataclasses.replace(self.world.group.spec, engine_version=version)
        self.world.group = dataclasses.replace(self.world.group, spec=spec)
        self.world.is_build_here = False

    @precondition(lambda self: self.stays())
    @rule(node_type=st.sampled_from(TYPES))
    def a_caller_changes_the_type(self, node_type: str) -> None:
        spec = self.world.group.spec
        spec = dataclasses.replace(spec, node_type=node_type, generation=spec.generation + 1)
        self.world.group = dataclasses.replace(self.world.group, spec=spec)

    @precondition(lambda self: self.stays())
    @rule(values=st.sampled_from([{}, {"max_item_size": "2097152"}, {"idle_timeout": "60"}]))
    def a_caller_sets_parameters(self, values: dict[str, str]) -> None:
        self.world.group = dataclasses.replace(self.world.group, parameters=values)

    @precondition(lambda self: self.stays())
    @rule()
    def a_caller_deletes(self) -> None:
        deletion = Deletion(requested_at=self.now)
        spec = dataclasses.replace(self.world.group.spec, deletion=deletion)
        self.world.group = dataclasses.replace(self.world.group, spec=spec)

    @invariant()
    def versions_only_grow(self) -> None:
        told = self.world.told() if hasattr(self, "world") else None
        if told is not None:
            assert told[0] >= self.version
            self.version = told[0]

    def teardown(self) -> None:
        if not hasattr(self, "world"):
            return
        self.calm()
        self.settle()
        spec = self.world.group.spec
        if spec.deletion is not None:
            assert self.world.is_forgotten
            assert all(p.life is Life.ABSENT for p in self.world.processes.values())
            return
        assert self.plan().steps == (), self.plan().steps
        assert self.status is not None
        if self.status.state is GroupState.CREATE_FAILED:
            assert all(p.life is not Life.RUNNING for p in self.world.processes.values())
            return
        assert self.status.state is GroupState.AVAILABLE, self.status.reason
        assert all(n.state is NodeState.AVAILABLE for n in self.status.nodes)
        assert self.status.node_type == spec.node_type
        asked = {n.node_id for n in spec.nodes()}
        assert self.world.serving() == asked
        for node_id in asked:
            launched = self.world.processes[node_id].launched
            assert launched is not None
            assert size_of(launched.node_type) == size_of(spec.node_type)
        told = self.world.told()
        assert told is not None
        assert set(told[1]) == {self.world.processes[n].place.address for n in asked}

    def calm(self) -> None:
        self.world.host_is_silent = False
        for process in self.world.processes.values():
            process.is_silent, process.starts_to_fail = False, 0

    def settle(self) -> None:
        for _ in range(SETTLE_ROUNDS):
            plan = self.one_round()
            if plan is None or (plan.look_again_s == LOOK_AGAIN_REST_S and not plan.steps):
                break

    def stays(self) -> bool:
        return hasattr(self, "world") and self.world.group.spec.deletion is None

    def is_available(self) -> bool:
        return self.status is not None and self.status.state is GroupState.AVAILABLE

    def taken(self) -> set[str]:
        placement = self.world.group.placement
        placed = placement.node_ids() if placement else frozenset()
        return {*placed, *(n.node_id for n in self.world.group.spec.nodes())} - {DISCOVERY_ID}

    def reboot(self, numbers: set[int]) -> set[str]:
        nodes = tuple(self.world.group.spec.nodes())
        named = {nodes[number % len(nodes)].node_id for number in numbers}
        self.set_nodes(
            tuple(
                dataclasses.replace(n, restarts=n.restarts + 1) if n.node_id in named else n
                for n in nodes
            )
        )
        return named

    def set_nodes(self, nodes: tuple[NodeSpec, ...]) -> None:
        spec = self.world.group.spec
        (shard,) = spec.shards
        shard = dataclasses.replace(shard, shard_id="0001", nodes=nodes)
        spec = dataclasses.replace(spec, shards=(shard,), generation=spec.generation + 1)
        self.world.group = dataclasses.replace(self.world.group, spec=spec)

    def pick(self, number: int) -> str | None:
        node_ids = sorted(self.world.processes)
        return node_ids[number % len(node_ids)] if node_ids else None


def size_of(name: str) -> tuple[int, int]:
    found = node_type_of(name)
    assert found is not None
    return found.memcached_memory_mb, found.memcached_threads


def node(number: int) -> NodeSpec:
    return NodeSpec(node_id=f"{number:04d}", zone="us-east-1a")


TestMemcachedMachine = MemcachedMachine.TestCase
TestMemcachedMachine.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
