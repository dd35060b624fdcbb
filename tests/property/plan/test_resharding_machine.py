"""Shards come and go whatever else happens: no slot and no key is lost, and it always ends."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, precondition, rule

from cachewright.model.engines import EngineName
from cachewright.model.groups import NodeSpec, ShardSpec
from cachewright.model.slots import SLOT_COUNT
from cachewright.model.status import Resharding
from cachewright.plan.plan import Plan
from cachewright.plan.shard import reshards
from tests.property.plan import slot_world
from tests.property.plan.groups import LINES, make_group
from tests.property.plan.slot_world import set_of, slot_of
from tests.property.plan.test_plan_machine import SETTLE_ROUNDS, PlanMachine
from tests.property.plan.world import Engine, Life, World

SHARDS_MAX = 4
#: Looks after which a resharding has begun, but hardly ended.
_SOME_ROUNDS = 6


class ReshardingMachine(PlanMachine):
    """A cluster whose callers change the number of its shards."""

    serves = True

    def __init__(self) -> None:
        super().__init__()
        #: Every mark that was acknowledged.
        self.written: set[int] = set()
        self.shards_made = 0
        self.before: Resharding | None = None

    @initialize(group=st.data())
    def begin(self, group: st.DataObject) -> None:
        shards, replicas = group.draw(st.integers(1, 3)), group.draw(st.integers(0, 2))
        self.shards_made = shards
        line = group.draw(st.sampled_from(LINES))
        self.world = World(
            group=make_group(shards=shards, replicas=replicas, cluster_enabled=True, line=line)
        )
        self.settle()
        self.client_writes()

    def one_round(self, dies_after: int | None = None) -> Plan | None:
        plan = super().one_round(dies_after)
        if dies_after is None:
            self.settle_shards()
        return plan

    def settle_shards(self) -> None:
        """Do what `service` does once the slots have moved as far as they could."""
        spec, status = self.world.group.spec, self.status
        over = status.resharding if status is not None else None
        if status is None or over is None or not over.is_over:
            return
        if over.generation != spec.resharding_generation:
            return
        if not any(shard.is_leaving for shard in spec.shards):
            return
        owners = {owned.shard_id for owned in status.owned if owned.slots}
        leaving = {shard.shard_id for shard in spec.shards if shard.is_leaving}
        dropped = leaving.intersection(over.emptied) - owners
        kept = (s for s in spec.shards if s.shard_id not in dropped)
        self.edit(tuple(dataclasses.replace(shard, is_leaving=False) for shard in kept))

    def edit(self, shards: tuple[ShardSpec, ...], *, reshards: bool = False) -> None:
        spec = self.world.group.spec
        generation = spec.generation + 1
        spec = dataclasses.replace(
            spec,
            shards=shards,
            generation=generation,
            resharding_generation=generation if reshards else spec.resharding_generation,
        )
        self.world.group = dataclasses.replace(self.world.group, spec=spec)

    @rule()
    def client_writes(self) -> None:
        self.mark += 1
        self.world.write_to_slots(self.mark)
        self.written |= {m for e in self.primaries() for m in e.data if m >= SLOT_COUNT}

    def primaries(self) -> list[Engine]:
        return [engine for engine in self.world.engines.values() if engine.serves_writes()]

    def may_reshard(self) -> bool:
        if not (self.stays() and self.is_available()):
            return False
        spec = self.world.group.spec
        is_open = any(shard.is_leaving for shard in spec.shards)
        return not is_open and not reshards(self.world.group, self.status)

    @precondition(lambda self: self.may_reshard())
    @rule(count=st.integers(2, SHARDS_MAX), rounds=st.integers(0, _SOME_ROUNDS))
    def a_caller_adds_shards(self, count: int, rounds: int) -> None:
        spec = self.world.group.spec
        replicas = spec.replicas_least()
        added: list[ShardSpec] = []
        while len(spec.shards) + len(added) < count:
            self.shards_made += 1
            number = self.shards_made
            nodes = tuple(
                NodeSpec(node_id=f"demo-{number:04d}-{index:03d}", zone="us-east-1a")
                for index in range(1, replicas + 2)
            )
            added.append(ShardSpec(shard_id=f"{number:04d}", slots=(), nodes=nodes))
        if added:
            self.edit((*spec.shards, *added), reshards=True)
            self.the_loop_runs(rounds)

    @precondition(lambda self: self.may_reshard())
    @rule(
        numbers=st.sets(st.integers(0, SHARDS_MAX - 1), min_size=1, max_size=SHARDS_MAX - 1),
        rounds=st.integers(0, _SOME_ROUNDS),
    )
    def a_caller_removes_shards(self, numbers: set[int], rounds: int) -> None:
        shards = self.world.group.spec.shards
        going = {number % len(shards) for number in numbers}
        if len(going) < len(shards):
            marked = [dataclasses.replace(s, is_leaving=n in going) for n, s in enumerate(shards)]
            self.edit(tuple(marked), reshards=True)
            self.the_loop_runs(rounds)

    @precondition(lambda self: self.may_reshard())
    @rule()
    def a_caller_spreads_slots_anew(self) -> None:
        self.edit(self.world.group.spec.shards, reshards=True)

    @precondition(lambda self: self.stays() and reshards(self.world.group, self.status))
    @rule(rounds=st.integers(0, _SOME_ROUNDS))
    def a_caller_deletes_while_slots_move(self, rounds: int) -> None:
        self.the_loop_runs(rounds)
        self.delete(None)

    def ended(self) -> Resharding:
        """Return the last resharding, which is over."""
        assert self.status is not None
        assert self.status.resharding is not None
        assert self.status.resharding.is_over
        return self.status.resharding

    def the_loop_runs(self, rounds: int) -> None:
        for _ in range(rounds):
            self.world.tick()
            self.one_round()

    @rule(times=st.integers(1, 10))
    def moves_will_fail(self, times: int) -> None:
        self.world.errands.to_fail = times

    @rule(atomic_goes_on=st.booleans(), rounds=st.integers(0, 2))
    def the_service_dies_while_slots_move(self, atomic_goes_on: bool, rounds: int) -> None:
        self.the_loop_runs(rounds)
        slot_world.cut_errands(self.world, atomic_goes_on=atomic_goes_on)

    @rule(number=st.integers(0, 11), rounds=st.integers(0, 2), gives=st.booleans())
    def a_node_dies_while_slots_move(self, number: int, rounds: int, gives: bool) -> None:
        """One of those that give or take, where any do."""
        self.the_loop_runs(rounds)
        moves = self.world.errands.moves().running
        moving = [move.from_id if gives else move.to_id for move in moves]
        node_id = moving[number % len(moving)] if moving else self.pick(number)
        if node_id is not None:
            self.world.kill(node_id)

    @rule(number=st.integers(0, 11), slots=st.sets(st.integers(0, 99), min_size=1, max_size=3))
    def an_operator_lets_slots_go(self, number: int, slots: set[int]) -> None:
        """Some of a primary's slots are owned by nobody, and it keeps their keys."""
        primaries = self.primaries()
        if primaries and self.stays():
            engine = primaries[number % len(primaries)]
            own = sorted(set_of(engine.slots))
            gone = {own[-1 - slot] for slot in slots if len(own) > SLOT_COUNT // 100}
            slot_world.lose_slots(engine, frozenset(gone))

    @rule(number=st.integers(0, 11), rounds=st.integers(0, 3))
    def a_taker_dies_before_its_replicas_know(self, number: int, rounds: int) -> None:
        self.the_loop_runs(rounds)
        moves = self.world.errands.moves().running
        if moves:
            slot_world.claim_unheard(self.world, moves[number % len(moves)])

    @rule(slots=st.sets(st.integers(0, SLOT_COUNT - 1), max_size=2))
    def keys_grow_too_large(self, slots: Sequence[int]) -> None:
        self.world.stuck = frozenset(slots)

    @invariant()
    def no_slot_is_served_twice(self) -> None:
        if not hasattr(self, "world"):
            return
        served = sorted(part for engine in self.primaries() for part in engine.slots)
        assert all(one.last < after.first for one, after in itertools.pairwise(served))

    @invariant()
    def progress_never_falls(self) -> None:
        now = self.status.resharding if self.status is not None else None
        before, self.before = self.before, now
        if before is None or now is None or before.generation != now.generation:
            return
        assert before.progress_percent <= now.progress_percent
        assert now.is_over or not before.is_over

    @rule(is_relieved=st.booleans())
    def there_is_no_memory_to_end_cut_moves(self, is_relieved: bool) -> None:
        self.world.errands.is_full, self.world.errands.is_relieved = True, is_relieved

    def calm(self) -> None:
        super().calm()
        self.world.errands.to_fail = 0
        self.world.errands.is_full = False
        for engine in self.world.engines.values():
            engine.lags = False  # what has left its shard is waited for on replicas as well

    def check_settled(self) -> None:
        super().check_settled()
        if self.world.group.spec.deletion is not None:
            return
        spec, placement = self.world.group.spec, self.world.group.placement
        assert placement is not None
        assert placement.node_ids() == {node.node_id for node in spec.nodes()}
        assert not any(shard.is_leaving for shard in spec.shards)
        primaries = self.primaries()
        owned = [slot for engine in primaries for slot in set_of(engine.slots)]
        assert sorted(owned) == list(range(SLOT_COUNT)), "not every slot is owned once"
        running = [e for e in self.world.engines.values() if e.life is Life.RUNNING]
        assert not any(engine.opened for engine in running), "a slot is still open"
        everybody = {place.engine_id for place in placement.nodes}
        assert all(engine.known == everybody for engine in running)
        for engine in primaries:
            strays = {slot_of(m) for m in engine.data if m >= SLOT_COUNT} - set_of(engine.slots)
            assert not strays, f"{engine.place.node_id} holds keys of slots that it does not own"
        kept = {mark for engine in primaries for mark in engine.data}
        lost = self.written - kept - self.world.lost
        assert not lost, f"{len(lost)} keys are lost"


TestReshardingMachine = ReshardingMachine.TestCase
TestReshardingMachine.settings = settings(max_examples=30, stateful_step_count=25, deadline=None)


@pytest.mark.parametrize("line", LINES)
def test_what_failed_does_not_count_for_what_is_asked_for_anew(
    line: tuple[EngineName, str],
) -> None:
    machine = _machine(line)
    machine.world.errands.to_fail = 1_000
    machine.a_caller_adds_shards(3, SETTLE_ROUNDS)
    assert "given up" in machine.ended().failure
    machine.world.errands.to_fail = 0
    machine.a_caller_spreads_slots_anew()
    machine.the_loop_runs(SETTLE_ROUNDS)
    assert machine.ended().failure == ""
    assert all(engine.slots for engine in machine.primaries())


@pytest.mark.parametrize("line", LINES)
def test_a_shard_that_takes_little_at_a_time_and_then_fails_ends_it_soon(
    line: tuple[EngineName, str],
) -> None:
    """What is empty always fits: a few slots each time are no reason to go on."""
    machine = _machine(line)
    machine.world.errands.fitting = 16
    machine.a_caller_adds_shards(3, SETTLE_ROUNDS)
    assert "given up: no memory for it" in machine.ended().failure
    assert all(engine.slots for engine in machine.primaries())


def test_a_move_that_neither_goes_on_nor_back_ends_it_and_is_mended_later() -> None:
    machine = _machine((EngineName.REDIS, "7.0"))
    machine.a_caller_adds_shards(3, 1)
    engines = machine.world.engines
    for _ in range(SETTLE_ROUNDS):
        machine.the_loop_runs(1)
        if any(engine.opened for engine in engines.values()):
            break
    slot_world.cut_errands(machine.world, atomic_goes_on=False)
    machine.world.errands.is_full = True
    machine.the_loop_runs(SETTLE_ROUNDS)
    assert "neither go on nor back" in machine.ended().failure
    assert any(engine.opened for engine in engines.values())
    machine.world.errands.is_full = False
    machine.the_loop_runs(SETTLE_ROUNDS)
    assert not any(engine.opened for engine in engines.values())
    machine.a_caller_spreads_slots_anew()
    machine.the_loop_runs(SETTLE_ROUNDS)
    assert machine.ended().failure == ""


@pytest.mark.parametrize("slot", [0, SLOT_COUNT // 2 - 1], ids=["stays", "goes"])
@pytest.mark.parametrize("line", LINES)
def test_what_makes_room_for_a_cut_move_goes_before_it(
    line: tuple[EngineName, str], slot: int
) -> None:
    """Whether the slot itself shall stay where it is or go to the new shard."""
    machine = _machine(line)
    one, other = (machine.world.engines[f"demo-000{number}-001"] for number in (1, 2))
    one.opened[slot] = (other.place.engine_id, False)
    other.opened[slot] = (one.place.engine_id, True)
    one.give(other, frozenset(mark for mark in one.data if slot_of(mark) == slot))
    machine.world.errands.is_full = machine.world.errands.is_relieved = True
    machine.the_loop_runs(10)
    assert one.opened
    machine.a_caller_adds_shards(3, SETTLE_ROUNDS)
    assert machine.ended().failure == ""
    machine.check_settled()


def _machine(line: tuple[EngineName, str]) -> ReshardingMachine:
    """Return two shards that serve."""
    machine = ReshardingMachine()
    machine.shards_made = 2
    group = make_group(shards=2, replicas=0, cluster_enabled=True, line=line)
    machine.world = World(group=group)
    machine.settle()
    machine.client_writes()
    return machine
