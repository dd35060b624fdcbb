"""Who gives which command, and when? Stories of the control loop on the simulated host.

The walks of the simulation meet these moments too, but what comes of a mistake is often mended by
the host; here the command itself is what counts.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator

import pytest

from cachewright.model.status import Role
from tests.simulation import virtual_loop
from tests.simulation.callers import Shape
from tests.simulation.engine import Engine
from tests.simulation.simulation import Simulation

_WITHIN_S = 2.0
#: As many as happen before a node is held back.
_KILLS = 2
#: Stories differ in the moments at which things meet.
_SEEDS = range(12)


def tell(seed: int, shape: Shape, story: Callable[[Simulation, str], Awaitable[None]]) -> None:
    """Let a story happen to a group that serves."""

    async def main() -> None:
        simulation = Simulation(seed)
        simulation.begin_reign()
        uid = await simulation.callers.create(shape)
        assert uid is not None
        simulation.wake(uid)
        await simulation.settle()
        try:
            await story(simulation, uid)
            simulation.judge.check()
        finally:
            await simulation.kill_reign()

    virtual_loop.run(main())


def engines(simulation: Simulation, uid: str, role: Role) -> list[Engine]:
    return [engine for engine in simulation.fabric.of_group(uid) if engine.role is role]


def told(simulation: Simulation, command: str) -> list[str]:
    """Return the nodes that were given a command, once for each time."""
    lines = (line.split() for line in simulation.judge.trace)
    return [words[2] for words in lines if words[1] == command]


async def serves(simulation: Simulation, shard: str) -> None:
    async with asyncio.timeout(_WITHIN_S):
        while simulation.fabric.owner(shard) is None:  # noqa: ASYNC110 time jumps here
            await asyncio.sleep(0.001)


@pytest.mark.parametrize("seed", _SEEDS)
def test_a_round_leaves_promotions_to_the_rescue(seed: int) -> None:
    """Both see the end of a primary at the same moment; one of them acts."""

    async def story(simulation: Simulation, uid: str) -> None:
        assert simulation.reign is not None
        controller = simulation.reign.controller
        simulation.host.on_exit(lambda _: controller.wake(uid))
        victim = engines(simulation, uid, Role.PRIMARY)[0]
        simulation.host.kill(victim, "killed")
        await serves(simulation, victim.shard)
        await simulation.settle()
        assert len(told(simulation, "PromoteNode")) == 1

    tell(seed, Shape(shards=2, replicas=1), story)


@pytest.mark.parametrize("seed", _SEEDS)
def test_nobody_is_rescued_while_roles_change_as_planned(seed: int) -> None:
    """In the middle of a handover there is no primary; whoever looks then sees only replicas."""

    async def story(simulation: Simulation, uid: str) -> None:
        with calling_the_rescue(simulation, uid):
            for number in range(20):
                if told(simulation, "HandOver"):
                    break
                await simulation.callers.wish_primary(uid)
                simulation.wake(uid)
                replicas = engines(simulation, uid, Role.REPLICA)
                if replicas and number < _KILLS:
                    simulation.host.kill(replicas[-1], "killed")
                await simulation.pause(1.0)
        await simulation.pause(3.0)  # the calls are forgotten
        await simulation.settle()
        assert told(simulation, "HandOver")
        assert told(simulation, "PromoteNode") == []

    tell(seed, Shape(shards=0, replicas=2, automatic_failover=False), story)


@contextlib.contextmanager
def calling_the_rescue(simulation: Simulation, uid: str) -> Iterator[None]:
    """Call for help all the time."""

    async def call() -> None:
        while True:
            assert simulation.reign is not None
            simulation.reign.controller.wake_for_node(f"{uid}.any")
            await asyncio.sleep(0.0005)

    caller = asyncio.create_task(call())
    try:
        yield
    finally:
        caller.cancel()


@pytest.mark.parametrize("seed", _SEEDS)
def test_a_replica_takes_over_while_nothing_can_be_written_down(seed: int) -> None:
    async def story(simulation: Simulation, uid: str) -> None:
        simulation.disk.is_full = True
        victims = engines(simulation, uid, Role.PRIMARY)
        for victim in victims:
            simulation.host.kill(victim, "killed")
        for victim in victims:
            await serves(simulation, victim.shard)
        simulation.disk.is_full = False
        await simulation.settle()

    tell(seed, Shape(shards=3, replicas=1), story)


@pytest.mark.parametrize("seed", _SEEDS)
def test_who_wakes_acts_on_nothing_that_was_true_before(seed: int) -> None:
    """The world has changed while it slept between its look and its act."""

    async def story(simulation: Simulation, uid: str) -> None:
        assert simulation.reign is not None
        replica = engines(simulation, uid, Role.REPLICA)[0]
        simulation.host.kill(replica, "killed")
        await simulation.pause(simulation.random.uniform(0.001, 0.012))
        simulation.reign.freeze()
        await simulation.pause(60.0)
        simulation.reign.thaw()
        await simulation.settle()

    tell(seed, Shape(shards=0, replicas=2), story)
