"""One controller, from its start to its death: the real loop, behind doors that can be shut.

Whatever the controller asks of the host or of the store goes through a door, on the way there and
on the way back. A shut door is a frozen process: what came before stays known, however old it is
when the door opens again. A killed controller loses its tasks wherever they are; what it had told
the host goes on there or is cut, as the dice say.
"""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from random import Random

from cachewright.control.execute import Executor
from cachewright.control.loop import Controller
from cachewright.control.observe import Observer
from cachewright.kit.tasks import Supervised
from cachewright.model.arns import Arns
from cachewright.model.commands import HostCommand, StartNode
from cachewright.model.engines import EngineName
from cachewright.model.facts import NodeFact, Observed
from cachewright.model.settings import Limits, Settings
from cachewright.plan.placement import OwnAddresses
from cachewright.rpc.agent import CommandFailed, EngineOffer
from cachewright.service import shard_settling
from cachewright.service.context import Service
from cachewright.store.base import Conflict, StoreUnavailable
from cachewright.store.records import Records
from tests.simulation.host import Host
from tests.simulation.store import Disk, Door, SimulatedStore

_BEGINNING = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
#: Between two starts of a service that cannot start, seconds.
_START_AGAIN_S = 1.0
_POOL = OwnAddresses(network=ipaddress.IPv4Network("127.64.0.0/16"))
ARNS = Arns(region="us-east-1", account_id="000000000000")


class SimulatedClock:
    """Virtual time; the wall clock may be set to whatever people like."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.step_s = 0.0

    def now(self) -> datetime.datetime:
        """Return the wall-clock time."""
        return _BEGINNING + datetime.timedelta(seconds=self._loop.time() + self.step_s)

    def monotonic_s(self) -> float:
        """Return the virtual seconds."""
        return self._loop.time()


class _Agent:
    """The host, as one controller sees it."""

    def __init__(self, host: Host, door: Door, random: Random) -> None:
        self._host = host
        self._door = door
        self._random = random
        self.is_killed = False
        #: Commands that a controller gave.
        self._running: set[asyncio.Task[None]] = set()
        #: When the host last told something of a group, by uid.
        self._told_s: dict[str, float] = {}

    @property
    def host(self) -> str:
        return self._host.host

    async def observe(self, keys: Sequence[str]) -> Mapping[str, NodeFact]:
        await self._door.pass_through()
        facts = await self._host.observe(keys)
        self._note_telling(keys)
        await self._door.pass_through()
        return facts

    async def glance(self, keys: Sequence[str]) -> Mapping[str, NodeFact]:
        await self._door.pass_through()
        self._note_telling(keys)
        return await self._host.glance(keys)

    def _note_telling(self, keys: Sequence[str]) -> None:
        for uid in {key.partition(".")[0] for key in keys}:
            self._told_s[uid] = self._host.fabric.now_s

    async def execute(self, command: HostCommand, *, epoch: int) -> None:
        key = command.launch.key if isinstance(command, StartNode) else command.key
        told_s = self._told_s.get(key.partition(".")[0], 0.0)
        age_s = self._host.fabric.now_s - told_s
        self._host.judge.acts(f"{type(command).__name__} {key}", age_s)
        await self._door.pass_through()
        task = asyncio.create_task(self._host.execute(command, epoch=epoch))
        self._running.add(task)
        task.add_done_callback(self._done)
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            # On one machine the host dies with the controller; on a fleet it goes on.
            if not self.is_killed or self._random.random() < 0.5:
                task.cancel()
            raise
        finally:
            if not self.is_killed:
                await self._door.pass_through()

    def _done(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        if not task.cancelled() and not isinstance(task.exception(), CommandFailed | None):
            self._host.judge.blame(f"the simulation itself failed: {task.exception()!r}")

    def on_exit(self, callback: Callable[[str], None]) -> None:
        self._host.on_exit(callback)

    def on_silence(self, callback: Callable[[str], None]) -> None:
        self._host.on_silence(callback)

    def offers(self) -> tuple[EngineOffer, ...]:
        return self._host.offers()

    async def install(self, engine: EngineName, api_version: str) -> EngineOffer:
        return await self._host.install(engine, api_version)


async def _nobody_looks(_: str) -> Observed:
    """No type is asked for here."""
    return Observed()


class Reign:
    """A controller at work."""

    def __init__(
        self, *, host: Host, disk: Disk, clock: SimulatedClock, random: Random, epoch: int
    ) -> None:
        self._door = Door()
        self._agent = _Agent(host, self._door, random)
        self.records = Records(SimulatedStore(disk, self._door))
        self.observer = Observer(self._agent, clock)
        self.executor = Executor(
            agent=self._agent,
            store=self.records,
            clock=clock,
            arns=ARNS,
            pool=_POOL,
            epoch=epoch,
        )
        self.controller = Controller(
            store=self.records,
            observer=self.observer,
            executor=self.executor,
            clock=clock,
            limits=Limits(),
            settle=self._settle,
        )
        self._service = Service(
            records=self.records,
            settings=Settings(state_dir=Path()),
            clock=clock,
            offers=host.offers,
            address_capacity=lambda: 0,
            usage=lambda _: {},
            look=_nobody_looks,
            wake=self.controller.wake,
        )
        self._host = host
        self._end = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.is_frozen = False
        #: It has looked at everything once, and acts from then on.
        self.is_at_work = False

    def start(self) -> None:
        """Begin to look after every group."""
        self._agent.on_exit(self.controller.wake_for_node)
        self._agent.on_silence(self.controller.wake_for_node)
        self._task = asyncio.create_task(self._run(), name="reign")

    async def kill(self) -> None:
        """Die here and now."""
        self._agent.is_killed = True
        self._end.set()
        if self._task is not None:
            await self._task

    def freeze(self) -> None:
        """Stop, as a signal does; `thaw` goes on with what was known."""
        self.is_frozen = True
        self._door.shut()

    def thaw(self) -> None:
        """Go on."""
        self.is_frozen = False
        self._door.open()

    async def _settle(self, uid: str) -> None:
        await shard_settling.settle(self._service, uid)

    async def _run(self) -> None:
        async with Supervised() as tasks:
            while not await self._look_once():  # noqa: ASYNC110 started again and again
                await asyncio.sleep(_START_AGAIN_S)
            self.controller.start(tasks)
            self.is_at_work = True
            await self._end.wait()

    async def _look_once(self) -> bool:
        """Begin; without a disk that takes anything the program ends, and is started again."""
        try:
            await self.controller.look_once()
        except (StoreUnavailable, Conflict):
            return False
        return True
