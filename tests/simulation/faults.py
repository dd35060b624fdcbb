"""What can go wrong, and what do callers do meanwhile? One method a fault, drawn by weight."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from cachewright.model.facts import SilenceCause
from cachewright.model.status import Role
from tests.simulation.engine import Engine
from tests.simulation.slots import set_of

if TYPE_CHECKING:
    from tests.simulation.simulation import Simulation

#: Hangs that end by themselves, seconds; some are longer than any patience.
_HANG_S = (0.3, 1.5, 4.0, 25.0, 90.0)
_SILENCE_S = (0.2, 3.0, 8.0, 40.0)
_LAG_S = (0.05, 0.5, 3.0)
#: Absences of the controller, seconds: mostly a restart, sometimes ten minutes.
_ABSENCE_S = (0.01, 0.5, 5.0, 60.0, 600.0)
_FROZEN_S = (0.5, 2.0, 6.0, 14.0, 60.0)
#: Somebody is struck so long after a call, or after another end: decimal logarithm of seconds.
_SOON_LOG = (-3.3, 0.3)
#: So often ends a node that flaps.
_FLAPS = (2, 12)
#: Processes that a signal has stopped stay so when faults cease, with this probability.
STAY_STOPPED = 0.0
#: An operator lets so many slots go at once.
_LET_GO_MAX = 500
_STEPS_S = (-86_400.0, -60.0, 60.0, 3_600.0, 86_400.0)


class Faults:
    """The faults of one run."""

    def __init__(self, simulation: Simulation) -> None:
        self._simulation = simulation
        self._random = simulation.random
        self._table: tuple[tuple[int, Callable[[], Awaitable[None]]], ...] = (
            (14, self._kill_a_primary),
            (8, self._kill_a_node),
            (6, self._kill_several),
            (3, self._kill_a_shard),
            (3, self._let_flap),
            (1, self._lose_power),
            (8, self._hang_a_primary),
            (5, self._hang_a_node),
            (4, self._wake_all),
            (4, self._let_lag),
            (3, self._let_slots_go),
            (3, self._silence_the_host),
            (3, self._make_commands_fail),
            (2, self._make_commands_slow),
            (3, self._make_starts_fail),
            (6, self._kill_the_controller),
            (3, self._freeze_the_controller),
            (6, self._freeze_the_controller_in_the_act),
            (3, self._replace_a_frozen_controller),
            (2, self._fill_the_disk),
            (1, self._step_the_clock),
            (4, self._call("reboot")),
            (6, self._call("test_failover")),
            (4, self._call("wish_primary")),
            (2, self._call("switch_failover")),
            (4, self._call("resize")),
            (14, self._call("reshard")),
            (3, self._delete),
        )

    async def strike(self) -> None:
        """Let one thing happen."""
        weights = [weight for weight, _ in self._table]
        (chosen,) = self._random.choices([fault for _, fault in self._table], weights)
        await chosen()

    async def cease(self) -> None:
        """Put everything right but for what only the controller can: processes stay stopped."""
        simulation, host = self._simulation, self._simulation.host
        simulation.judge.note("faults cease")
        host.speak()
        host.troubles.failing = host.troubles.slow = 0
        simulation.disk.is_full = False
        for folder in host.folders.values():
            folder.starts_to_fail = folder.ends_to_come = 0
        for engine in [*simulation.fabric.living.values()]:
            engine.lag_s = 0.001
            is_stopped = engine.hang is not None and engine.hang.cause is SilenceCause.STOPPED
            if not is_stopped or self._random.random() >= STAY_STOPPED:
                host.wake(engine)
        for reign in simulation.old_reigns:
            reign.thaw()
        await simulation.pause(1.0)
        for reign in simulation.old_reigns:
            await reign.kill()
        simulation.old_reigns.clear()
        if simulation.reign is None:
            simulation.begin_reign()
        elif simulation.reign.is_frozen:
            simulation.reign.thaw()

    # Engines

    def _engines(self) -> list[Engine]:
        return [*self._simulation.fabric.living.values()]

    def _primaries(self) -> list[Engine]:
        return [engine for engine in self._engines() if engine.role is Role.PRIMARY]

    def _kill(self, engines: list[Engine], why: str) -> None:
        for engine in engines:
            self._simulation.judge.count("kills")
            self._simulation.host.kill(engine, why)

    async def _kill_a_primary(self) -> None:
        primaries = self._primaries()
        if primaries:
            self._kill([self._random.choice(primaries)], "killed")

    async def _kill_a_node(self) -> None:
        engines = self._engines()
        if engines:
            self._kill([self._random.choice(engines)], "killed")

    async def _kill_several(self) -> None:
        engines = self._engines()
        if engines:
            count = self._random.randint(1, min(6, len(engines)))
            self._kill(self._random.sample(engines, count), "killed with others")

    async def _kill_a_shard(self) -> None:
        primaries = self._primaries()
        if primaries:
            shard = self._random.choice(primaries).shard
            self._kill([e for e in self._engines() if e.shard == shard], "its shard is killed")

    async def _lose_power(self) -> None:
        self._kill(self._engines(), "power is lost")

    async def _let_flap(self) -> None:
        """A node ends soon after each of its next starts."""
        engines = self._engines()
        if engines:
            engine = self._random.choice(engines)
            self._simulation.host.folders[engine.key].ends_to_come = self._random.randint(*_FLAPS)
            self._kill([engine], "it flaps")

    def _strike_soon(self, uid: str) -> None:
        """End a node of a group that is about to be busy, perhaps, and perhaps another one."""
        for _ in range(self._random.choice((0, 0, 1, 2))):
            self._later(10 ** self._random.uniform(*_SOON_LOG), self._strike, uid)

    def _strike(self, uid: str) -> None:
        engines = [engine for engine in self._engines() if engine.uid == uid]
        primaries = [engine for engine in engines if engine.role is Role.PRIMARY]
        if engines:
            self._simulation.stir()
            victims = primaries if primaries and self._random.random() < 0.6 else engines
            self._kill([self._random.choice(victims)], "killed in the act")

    async def _hang_a_primary(self) -> None:
        primaries = [engine for engine in self._primaries() if engine.hang is None]
        if primaries:
            self._hang(self._random.choice(primaries))

    async def _hang_a_node(self) -> None:
        engines = [engine for engine in self._engines() if engine.hang is None]
        if engines:
            self._hang(self._random.choice(engines))

    def _hang(self, engine: Engine) -> None:
        self._simulation.judge.count("hangs")
        self._simulation.host.hang(engine, self._random.choice([*SilenceCause]))
        if self._random.random() < 0.8:
            seconds = self._random.choice(_HANG_S) * self._random.uniform(0.5, 1.5)
            self._later(seconds, self._simulation.host.wake, engine)

    async def _wake_all(self) -> None:
        for engine in self._engines():
            self._simulation.host.wake(engine)

    async def _let_lag(self) -> None:
        replicas = [engine for engine in self._engines() if engine.role is Role.REPLICA]
        for engine in replicas:
            engine.lag_s = self._random.choice((0.001, *_LAG_S))

    async def _let_slots_go(self) -> None:
        """An operator deletes some slots of a cluster's primary: nobody owns them."""
        owners = [e for e in self._primaries() if e.is_cluster and not e.is_held]
        if owners:
            engine, fabric = self._random.choice(owners), self._simulation.fabric
            own = sorted(set_of(fabric.slots.of(engine.shard)))
            if len(own) > 1:
                self._simulation.judge.count("slots let go")
                first = self._random.randint(1, len(own) - 1)
                fabric.slots.let_go(engine.shard, frozenset(own[first : first + _LET_GO_MAX]))
                self._simulation.wake(engine.uid)  # at rest nobody looks for long here

    # The host

    async def _silence_the_host(self) -> None:
        self._simulation.judge.note("the host falls silent")
        self._simulation.host.fall_silent()
        self._later(self._random.choice(_SILENCE_S), self._simulation.host.speak)

    async def _make_commands_fail(self) -> None:
        self._simulation.host.troubles.failing = self._random.choice((10, 40))

    async def _make_commands_slow(self) -> None:
        self._simulation.host.troubles.slow = self._random.choice((5, 30))

    async def _make_starts_fail(self) -> None:
        for folder in self._simulation.host.folders.values():
            if self._random.random() < 0.3:
                folder.starts_to_fail = self._random.randint(1, 2)

    async def _fill_the_disk(self) -> None:
        self._simulation.judge.note("the disk of the store is full")
        self._simulation.disk.is_full = True
        self._later(self._random.choice((1.0, 20.0)), self._empty_the_disk)

    def _empty_the_disk(self) -> None:
        self._simulation.disk.is_full = False

    async def _step_the_clock(self) -> None:
        self._simulation.clock.step_s += self._random.choice(_STEPS_S)
        self._simulation.judge.clock_is_stepped()

    # The controller

    async def _kill_the_controller(self) -> None:
        simulation = self._simulation
        if simulation.reign is None or simulation.reign.is_frozen:
            return
        simulation.judge.count("controller kills")
        await simulation.kill_reign()
        absence_s = self._random.choice(_ABSENCE_S) * self._random.uniform(0.5, 1.5)
        self._later(absence_s, self._return_controller)

    def _return_controller(self) -> None:
        if self._simulation.reign is None:
            self._simulation.begin_reign()

    async def _freeze_the_controller(self) -> None:
        reign = self._simulation.reign
        if reign is None:
            return
        self._simulation.judge.count("controller freezes")
        self._simulation.judge.note("the controller is frozen")
        reign.freeze()
        self._later(self._random.choice(_FROZEN_S), reign.thaw)

    async def _freeze_the_controller_in_the_act(self) -> None:
        """It looks at a group, and when it acts the world is another one."""
        uids = self._simulation.callers.uids()
        if not uids:
            return
        uid = self._random.choice(uids)
        self._strike(uid)
        if self._random.random() < 0.5:
            await self._call("reboot", uid)()
        await self._simulation.pause(10 ** self._random.uniform(-3.3, -1.3))
        await self._freeze_the_controller()
        self._strike_soon(uid)

    async def _replace_a_frozen_controller(self) -> None:
        simulation = self._simulation
        reign = simulation.reign
        if reign is None:
            return
        simulation.judge.count("controllers replaced")
        simulation.judge.note("the controller is frozen and replaced")
        reign.freeze()
        simulation.old_reigns.append(reign)
        simulation.begin_reign()
        self._later(self._random.choice(_FROZEN_S), reign.thaw)

    # Callers

    def _call(self, name: str, chosen: str | None = None) -> Callable[[], Awaitable[None]]:
        async def call() -> None:
            uids = self._simulation.callers.uids()
            if not uids:
                return
            uid = chosen or self._random.choice(uids)
            if await getattr(self._simulation.callers, name)(uid):
                self._simulation.judge.count(name)
                self._simulation.judge.note(f"{name} {uid}")
                self._simulation.wake(uid)
                self._strike_soon(uid)

        return call

    async def _delete(self) -> None:
        simulation = self._simulation
        uids = simulation.callers.uids()
        if not uids:
            return
        uid = self._random.choice(uids)
        simulation.judge.deleted.add(uid)
        if await simulation.callers.delete(uid):
            simulation.judge.count("deletes")
            simulation.judge.note(f"delete {uid}")
            simulation.wake(uid)
        elif (spec := simulation.records.spec(uid)) is not None and spec.value.deletion is None:
            simulation.judge.deleted.discard(uid)

    def _later(self, seconds: float, callback: Callable[..., None], *arguments: object) -> None:
        asyncio.get_running_loop().call_later(seconds, callback, *arguments)
