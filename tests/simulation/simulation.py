"""Thousands of hours of the control loop: the real one, on a simulated host, with faults by number.

A run is a row of bad hours. Each has some faults and calls close together, then everything is put
right, and within a bounded time every group must be as its callers want it. Then nothing happens
for long, as in real life. One seed is one run: `run(seed, hours)` does the same again.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from random import Random
from typing import Any
from unittest import mock

import msgspec

from cachewright.model.commands import Step
from cachewright.model.facts import Observed
from cachewright.model.groups import Group
from cachewright.model.status import GroupState, GroupStatus
from cachewright.plan.failover import plan_failover as rescued
from cachewright.plan.group import plan_group as planned
from cachewright.plan.invariants import one_writer, violations
from cachewright.plan.plan import LOOK_AGAIN_REST_S, Plan
from cachewright.store.records import Records
from tests.simulation import settled, virtual_loop
from tests.simulation.callers import Callers
from tests.simulation.engine import Engine
from tests.simulation.fabric import Fabric
from tests.simulation.faults import Faults
from tests.simulation.host import Host
from tests.simulation.judge import Judge, Violation
from tests.simulation.reign import Reign, SimulatedClock
from tests.simulation.store import Disk, Door, SimulatedStore

#: Between two looks at a group at rest, seconds. It is 5 in the program; exits and silence wake a
#: group at once, and an hour at rest shall cost next to nothing here.
_REST_S = 900.0
#: How often clients write while something goes on, and at rest, seconds.
_WRITE_BUSY_S = 0.1
_WRITE_REST_S = 600.0
#: After a fault, clients write often for so long, seconds.
_BUSY_S = 5.0
#: Once all is put right, every group must have settled within this, seconds: fencing the only copy
#: takes 60, a node that flaps waits for 60, and each of them may come twice.
SETTLE_S = 400.0
#: A group that does not serve may be called available for so long while its controller lives,
#: seconds: 3 of grace, and what it takes to notice.
_TRUTH_S = 12.0
#: A shard whose primary has ended has another one within, seconds, if a replica could be it: a link
#: that is not yet known to be down costs one, a vote that is lost a third.
_TAKE_OVER_S = 5.0
#: Between two bad hours nothing happens for so long in the mean, seconds.
_QUIET_S = 3 * 3600.0
#: Faults and calls of one bad hour.
_EVENTS_MAX = 8
_GROUPS_MAX = 3
#: A rescue says nothing of a group.
_NOT_SAID = GroupStatus(state=GroupState.MODIFYING, observed_generation=0, nodes=())


@dataclass(kw_only=True, slots=True)
class Figures:
    """What a run was like."""

    hours: float = 0.0
    bad_hours: int = 0
    counts: dict[str, int] = field(default_factory=dict)


class Simulation:
    """One run."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)  # noqa: S311 it shall come again
        self.judge = Judge()
        self.fabric = Fabric(self.random, self.judge)
        self.host = Host(self.random, self.fabric, self.judge)
        self.disk = Disk(self.random)
        self.clock = SimulatedClock()
        self.records = Records(SimulatedStore(self.disk, Door()))
        self.callers = Callers(self.random, self.records, self.clock.now)
        self.epoch = 0
        self.reign: Reign | None = None
        #: Controllers that were replaced while they were frozen.
        self.old_reigns: list[Reign] = []
        self._busy_until_s = 0.0
        self._stirred = asyncio.Event()
        self._unserved_since_s: dict[str, float] = {}
        self._orphaned_since_s: dict[str, float] = {}
        self._disturbed_s = 0.0
        #: Since when nobody can be expected to find a primary.
        self._stunned_s = 0.0
        self.known_uids: set[str] = set()
        self.faults = Faults(self)

    @property
    def now_s(self) -> float:
        """The virtual time."""
        return self.fabric.now_s

    async def run(self, hours: float) -> Figures:
        """Let time pass; raise `Violation` as soon as a law is broken."""
        figures = Figures()
        clients = asyncio.create_task(self._write())
        self.begin_reign()
        try:
            while self.now_s < hours * 3600:
                await self._bad_hour()
                figures.bad_hours += 1
                await self.pause(self.random.expovariate(1 / _QUIET_S))
        finally:
            clients.cancel()
            figures.hours = self.now_s / 3600
            figures.counts = dict(self.judge.counts)
        await self._end()
        return figures

    async def pause(self, seconds: float) -> None:
        """Let time pass, unless a law is broken."""
        try:
            async with asyncio.timeout(seconds):
                await self.judge.failed.wait()
        except TimeoutError:
            pass
        self.judge.check()

    def stir(self) -> None:
        """Something happens: let clients write often for a while."""
        self._write_all()
        self._busy_until_s = self.now_s + _BUSY_S
        self._stirred.set()

    def begin_reign(self) -> None:
        """Start a controller with a new epoch."""
        self.epoch += 1
        self.judge.note(f"controller {self.epoch} begins")
        self.reign = Reign(
            host=self.host,
            disk=self.disk,
            clock=self.clock,
            random=self.random,
            epoch=self.epoch,
        )
        self.reign.start()

    async def kill_reign(self) -> None:
        """End the controller, wherever it is."""
        reign, self.reign = self.reign, None
        if reign is not None:
            self.judge.note("the controller is killed")
            self.host.forget_callbacks()
            await reign.kill()

    def wake(self, uid: str) -> None:
        """Tell the controller of a call, as `service` does."""
        self.known_uids.add(uid)
        if self.reign is not None:
            self.reign.controller.wake(uid)

    def stretch(self, plan: Plan) -> Plan:
        """Let a group rest for longer, unless something is wrong that only a look can show."""
        is_calm = all(engine.hang is None for engine in self.fabric.living.values())
        is_calm &= all(node.is_running for node in plan.status.nodes)  # nobody is held back
        if plan.look_again_s < LOOK_AGAIN_REST_S or not is_calm or self.host.is_silent:
            return plan
        return dataclasses.replace(plan, look_again_s=_REST_S)

    # Phases

    async def _bad_hour(self) -> None:
        if len(self.callers.uids()) < _GROUPS_MAX and self.random.random() < 0.7:
            uid = await self.callers.create()
            if uid is not None:
                self.judge.note(f"{uid} is created")
                self.wake(uid)
        for _ in range(self.random.randint(1, _EVENTS_MAX)):
            self.stir()
            await self.faults.strike()
            await self.pause(self._gap_s())
        await self.faults.cease()
        self.stir()
        await self.settle()

    def _gap_s(self) -> float:
        mean_s = self.random.choice((0.002, 0.02, 0.3, 3.0, 20.0))
        return self.random.expovariate(1 / mean_s)

    async def settle(self) -> None:
        """Wait until every group is as its callers want it."""
        until_s = self.now_s + SETTLE_S
        while problems := [*self._problems()]:
            if self.now_s > until_s:
                self.judge.blame(f"not settled after {SETTLE_S:.0f} s: {problems[0]}")
            await self.pause(0.5)
        assert self.reign is not None
        for problem in settled.growth(self.reign, len(self.host.folders)):
            self.judge.blame(problem)
        self.judge.check()

    def _problems(self) -> Iterator[str]:
        for uid in sorted(self.known_uids):
            group = self.records.group(uid)
            status = self.records.status(uid)
            if group is None:
                yield from settled.leftovers(uid, self.host, self.records)
                if uid not in self.judge.deleted:
                    yield f"{uid} is gone, and nobody deleted it"
                continue
            yield from settled.problems(group, status.value if status else None, self.host)
        gone = {uid for uid in self.known_uids if self.records.spec(uid) is None}
        self.known_uids -= gone
        for uid in gone:
            self.judge.forget(uid)
            self.fabric.slots.forget(uid)

    async def _end(self) -> None:
        """Delete everything: nothing may be left."""
        for uid in self.callers.uids():
            if await self.callers.delete(uid):
                self.judge.deleted.add(uid)
            self.wake(uid)
        await self.settle()
        await self.kill_reign()

    # Clients

    async def _write(self) -> None:
        while True:
            self._write_all()
            waits = bool(self._unserved_since_s or self._orphaned_since_s)
            busy = self.now_s < self._busy_until_s or waits
            self._stirred.clear()
            try:
                async with asyncio.timeout(_WRITE_BUSY_S if busy else _WRITE_REST_S):
                    await self._stirred.wait()
            except TimeoutError:
                continue

    def _write_all(self) -> None:
        """Write to whoever takes it, and see whether the statuses are true."""
        now_s = self.now_s
        served: set[str] = set()
        for engine in self.fabric.living.values():
            if engine.takes_writes(now_s) and self.fabric.is_cluster_ok(engine):
                if not engine.is_cluster or self.fabric.slots.of(engine.shard):
                    engine.write(now_s)
                served.add(engine.shard)
        reign = self.reign
        if reign is None or reign.is_frozen or self.host.is_silent or self.disk.is_full:
            self._disturbed_s = now_s
        self._disturbed_s = max(self._disturbed_s, self.host.slow_until_s)
        unserved: dict[str, float] = {}
        for uid in self.records.uids():
            status = self.records.status(uid)
            if status is None or status.value.state is not GroupState.AVAILABLE:
                continue
            for shard in settled.shards_of(self.records.group(uid)):
                if shard not in served:
                    since_s = unserved[shard] = self._unserved_since_s.get(shard, now_s)
                    if now_s - max(since_s, self._disturbed_s) > _TRUTH_S:
                        self.judge.blame(f"{uid} is called available, and {shard} does not serve")
        self._unserved_since_s = unserved
        self._check_orphans()

    def _check_orphans(self) -> None:
        """A replica that could take over does so soon, whether anything can be written down or not.

        Where a node of its shard hangs, others decide when it is given up; see the judge.
        """
        now_s, reign, troubles = self.now_s, self.reign, self.host.troubles
        is_at_work = reign is not None and reign.is_at_work and not reign.is_frozen
        if not is_at_work or self.host.is_silent or troubles.failing or troubles.slow:
            self._stunned_s = now_s
        self._stunned_s = max(self._stunned_s, self.host.slow_until_s)
        by_shard: dict[str, list[Engine]] = {}
        for engine in self.fabric.living.values():
            by_shard.setdefault(engine.shard, []).append(engine)
        orphaned: dict[str, float] = {}
        for shard, engines in by_shard.items():
            if settled.is_orphaned(engines, now_s) and self._stays(engines[0].uid):
                since_s = orphaned[shard] = self._orphaned_since_s.get(shard, now_s)
                if now_s - max(since_s, self._stunned_s) > _TAKE_OVER_S:
                    self.judge.blame(f"nobody takes over in {shard}, and somebody could")
        self._orphaned_since_s = orphaned

    def _stays(self, uid: str) -> bool:
        group, status = self.records.group(uid), self.records.status(uid)
        if group is None or group.spec.deletion is not None or status is None:
            return False
        return status.value.state is not GroupState.CREATE_FAILED


class _Blame(logging.Handler):
    """Takes an error in the log for what it is: something that may never happen."""

    def __init__(self, judge: Judge) -> None:
        super().__init__(logging.ERROR)
        self._judge = judge

    def emit(self, record: logging.LogRecord) -> None:
        """A task of the controller has failed, for instance."""
        self._judge.blame(f"{record.getMessage()}: {record.exc_info}")


@contextlib.contextmanager
def _blaming(judge: Judge) -> Iterator[None]:
    logger, handler = logging.getLogger("cachewright"), _Blame(judge)
    level, propagates = logger.level, logger.propagate
    logger.addHandler(handler)
    logger.setLevel(logging.ERROR)
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
        logger.propagate = propagates


def _broken(group: Group, observed: Observed, plan: Plan) -> list[str]:
    """Return what a plan breaks.

    A look is not of one moment: two that write in it may have done so one after the other. The
    judge knows who can write.
    """
    seen = set(one_writer(group, observed))
    return [broken for broken in violations(group, observed, plan) if broken not in seen]


def _fresh(group: Group, observed: Observed, struck: frozenset[str]) -> Observed:
    """Return what was just asked; of the others it is known what they once answered."""
    placed = group.placement.nodes if group.placement is not None else ()
    fresh = {node.node_id for node in placed if node.shard_id in struck}
    nodes = {node_id: fact for node_id, fact in observed.nodes.items() if node_id in fresh}
    return msgspec.structs.replace(observed, nodes=nodes)


def run(seed: int, hours: float) -> Figures:
    """Run a simulation to its end; raise `Violation` if a law is broken."""

    async def main() -> Figures:
        simulation = Simulation(seed)

        def plan_group(
            group: Group, previous: GroupStatus | None, observed: Observed, **rest: Any
        ) -> Plan:
            plan = planned(group, previous, observed, **rest)
            for broken in _broken(group, observed, plan):
                simulation.judge.blame(broken)
            return simulation.stretch(plan)

        def plan_failover(
            group: Group,
            observed: Observed,
            previous: GroupStatus | None,
            *,
            struck: frozenset[str],
        ) -> tuple[Step, ...]:
            steps = rescued(group, observed, previous, struck=struck)
            plan = Plan(steps=steps, status=_NOT_SAID, events=(), look_again_s=0.0)
            for broken in _broken(group, _fresh(group, observed, struck), plan):
                simulation.judge.blame(f"a rescue breaks {broken}")
            return steps

        with (
            mock.patch("cachewright.control.loop.plan_group", plan_group),
            mock.patch("cachewright.control.rescue.plan_failover", plan_failover),
            _blaming(simulation.judge),
        ):
            return await simulation.run(hours)

    try:
        return virtual_loop.run(main())
    except Violation as violation:
        raise Violation(f"seed {seed}: {violation}") from None
