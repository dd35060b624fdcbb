"""What would a host say and do? The `Agent` of the simulation: folders, facts, commands, troubles.

It carries out commands on the engines of `fabric` as docs/architecture.md says that an agent does:
idempotent, one after the other for each node, with the checks that an agent makes by itself. Its
troubles are knobs: silence, slowness, commands that fail before or after they took effect, starts
that fail.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random

import msgspec

from cachewright.model.commands import FenceNode, HandOver, HostCommand, StartNode
from cachewright.model.engines import EngineName
from cachewright.model.facts import (
    Absent,
    EngineFact,
    LaunchFact,
    NodeFact,
    ProcessFact,
    ProcessIdentity,
    Running,
    SilenceCause,
    Stopped,
    TerminationProof,
    Unknown,
)
from cachewright.model.slots import SlotRanges
from cachewright.model.status import Role
from cachewright.rpc.agent import CommandFailed, EngineOffer, StaleEpoch
from tests.simulation.commands import carry_out
from tests.simulation.engine import PULSE_S, Engine
from tests.simulation.fabric import Fabric
from tests.simulation.history import Copy
from tests.simulation.judge import Judge
from tests.simulation.slot_commands import ERRANDS

#: How long an answer takes, seconds.
_ANSWER_S = (0.0002, 0.003)
#: The host asks an engine for no longer than this, seconds.
ANSWER_TIMEOUT_S = 1.0
#: The end of a process is seen after, seconds.
_EXIT_SEEN_S = (0.001, 0.005)
#: A node that flaps lives for so long, seconds.
_FLAP_S = (0.1, 2.0)
_WAITS_FOR_NOBODY = (FenceNode, *ERRANDS)
BUILD = EngineOffer(
    engine=EngineName.VALKEY,
    api_version="9.1",
    version="9.1.2",
    is_installed=True,
    source="embedded",
)


@dataclass(eq=False, slots=True)
class Folder:
    """What the host has of one node."""

    key: str
    engine: Engine | None = None
    proof: TerminationProof | None = None
    launched: LaunchFact | None = None
    #: A snapshot of a graceful stop, and what is in it.
    has_saved: bool = False
    saved: Copy = None
    #: The append-only file, and what is in it.
    has_file: bool = False
    file: Copy = None
    shard: str = ""
    #: Which process answered what at the last look.
    answered: tuple[ProcessIdentity, EngineFact | Unknown] | None = None
    #: What its last process owned when it ended.
    last_slots: SlotRanges | None = None
    failed_starts: int = 0
    failure: str = ""
    #: Trouble: so many starts will fail.
    starts_to_fail: int = 0
    #: Trouble: so many processes will end soon after their start.
    ends_to_come: int = 0
    commands: asyncio.Lock = field(default_factory=asyncio.Lock)


@dataclass(slots=True)
class Troubles:
    """What is wrong with the host at present."""

    #: Of a hundred commands: so many fail, and so many are very slow.
    failing: int = 0
    slow: int = 0


class Host:
    """The simulated host; see `Agent` for what its methods promise."""

    def __init__(self, random: Random, fabric: Fabric, judge: Judge) -> None:
        self.random = random
        self.fabric = fabric
        self.judge = judge
        self.folders: dict[str, Folder] = {}
        self.troubles = Troubles()
        #: Until when a command may still take its time.
        self.slow_until_s = 0.0
        self.epoch = 0
        self._speaks = asyncio.Event()
        self._speaks.set()
        self._on_exit: list[Callable[[str], None]] = []
        self._on_silence: list[Callable[[str], None]] = []
        self._pids = 1000

    @property
    def host(self) -> str:
        """The name of the host."""
        return "local"

    @property
    def is_silent(self) -> bool:
        """Whether it answers nobody."""
        return not self._speaks.is_set()

    def fall_silent(self) -> None:
        """Answer nobody until `speak`."""
        self._speaks.clear()

    def speak(self) -> None:
        """Answer again, also to those who have waited."""
        self._speaks.set()

    # The `Agent`

    async def observe(self, keys: Sequence[str]) -> Mapping[str, NodeFact]:
        """Return what is known of each node, not all of it of the same moment."""
        await self._speaks.wait()
        facts: dict[str, NodeFact] = {}
        half = self.random.randrange(len(keys) + 1)
        in_order = sorted(keys)  # whoever asks may have a set
        for part in (in_order[:half], in_order[half:]):
            await asyncio.sleep(self.random.uniform(*_ANSWER_S))
            if any(self._keeps_waiting(key) for key in part):
                await asyncio.sleep(ANSWER_TIMEOUT_S)
            facts |= {key: self._look(key) for key in part}
        return {key: facts[key] for key in keys}

    async def glance(self, keys: Sequence[str]) -> Mapping[str, NodeFact]:
        """Return each process as it is now, its engine as it last answered."""
        facts: dict[str, NodeFact] = {}
        for key in keys:
            fact, folder = self.fact(key), self.folders.get(key)
            known = folder.answered if folder is not None else None
            if isinstance(fact.process, Running):
                engine: EngineFact | Unknown = Unknown(reason="not asked yet")
                if fact.silence is not None:
                    engine = Unknown(reason="it does not answer")
                elif known is not None and known[0] == fact.process.identity:
                    engine = known[1]
                fact = msgspec.structs.replace(fact, engine=engine)
            facts[key] = fact
        return facts

    async def execute(self, command: HostCommand, *, epoch: int) -> None:
        """Carry out one command."""
        key = command.launch.key if isinstance(command, StartNode) else command.key
        asked_s = self.fabric.now_s
        await self._speaks.wait()
        keys = {key, command.to_key} if isinstance(command, HandOver) else {key}
        folder = self.folders.setdefault(key, Folder(key))
        async with contextlib.AsyncExitStack() as stack:
            # A fence waits for nobody: others may wait for the process that it ends. What lasts
            # keeps nobody waiting.
            for one in sorted(keys) if not isinstance(command, _WAITS_FOR_NOBODY) else ():
                locked = self.folders.get(one)
                if locked is not None:
                    await stack.enter_async_context(locked.commands)
            if epoch < self.epoch:
                self.judge.count("stale epochs")
                raise StaleEpoch(f"epoch {epoch} is over")
            self.epoch = epoch
            trouble = self.random.randrange(100)
            if trouble < self.troubles.slow:
                took_s = self.random.uniform(0.5, 15.0)
                self.slow_until_s = max(self.slow_until_s, self.fabric.now_s + took_s)
                await asyncio.sleep(took_s)
            else:
                await asyncio.sleep(self.random.uniform(*_ANSWER_S))
            fails = self.random.randrange(100) < self.troubles.failing
            if fails and self.random.random() < 0.5:
                raise CommandFailed("the disk is full")
            self.judge.note(f"{type(command).__name__} {key}")
            await carry_out(self, folder, command, asked_s=asked_s)
            if fails:
                raise CommandFailed("the answer was lost")

    def on_exit(self, callback: Callable[[str], None]) -> None:
        """Call `callback(key)` whenever a process has ended."""
        self._on_exit.append(callback)

    def on_silence(self, callback: Callable[[str], None]) -> None:
        """Call `callback(key)` whenever a node has missed a ping, and once when it answers."""
        self._on_silence.append(callback)

    def offers(self) -> tuple[EngineOffer, ...]:
        """Return the one build of this host."""
        return (BUILD,)

    async def install(self, engine: EngineName, api_version: str) -> EngineOffer:
        """There is nothing else to be had."""
        raise CommandFailed("nothing to install from")

    # Its nodes

    def forget_callbacks(self) -> None:
        """Whoever listened has died."""
        self._on_exit.clear()
        self._on_silence.clear()

    def new_identity(self) -> ProcessIdentity:
        """Return who a new process is."""
        self._pids += 1
        return ProcessIdentity(pid=self._pids, start_ticks=self._pids, boot_id="boot")

    def fact(self, key: str) -> NodeFact:
        """Return what the host can say of a node at this moment."""
        folder = self.folders.get(key)
        if folder is None:
            return NodeFact(process=Absent(), engine=Unknown(reason="not started"))
        now_s, engine = self.fabric.now_s, folder.engine
        answers = engine is not None and engine.answers(now_s)
        return NodeFact(
            process=_process_fact(folder),
            engine=engine.fact(now_s, self.fabric.fact_of(engine))
            if engine is not None and answers
            else Unknown(reason="no answer within 1 s"),
            has_saved_data=folder.has_saved,
            has_append_only_file=folder.has_file and engine is None,
            silence=engine.silence(now_s) if engine is not None else None,
            failed_starts=folder.failed_starts,
            failure=folder.failure,
            launched=folder.launched,
            weights=engine.weights if engine is not None else None,
            last_slots=folder.last_slots if engine is None else None,
        )

    def _look(self, key: str) -> NodeFact:
        """Return what can be said of a node, and keep what its engine answered."""
        fact, folder = self.fact(key), self.folders.get(key)
        if folder is not None and folder.engine is not None:
            folder.answered = (folder.engine.identity, fact.engine)
        return fact

    def _keeps_waiting(self, key: str) -> bool:
        folder = self.folders.get(key)
        return folder is not None and folder.engine is not None and folder.engine.hang is not None

    # What happens to its processes

    def kill(self, engine: Engine, why: str) -> None:
        """End a process at once, as kill -9 does; its append-only file stays."""
        if not engine.is_alive:
            return
        self.judge.note(f"{engine.key} ends: {why}")
        folder = self.folders[engine.key]
        engine.settle(self.fabric.now_s)
        launch = engine.launch
        has_loaded = launch.loads_saved_data or launch.loads_append_only_file
        has_file = dict(launch.settings).get("appendonly") == "yes"
        has_file = has_file and (has_loaded or not engine.is_held)
        folder.has_file, folder.file = has_file, engine.copy if has_file else None
        is_owner = engine.role is Role.PRIMARY and engine.superseded_by is None
        if engine.is_cluster:
            folder.last_slots = self.fabric.slots.of(engine.shard) if is_owner else ()
        if has_file and not engine.is_held:
            self.judge.keeps_file(engine, engine.copy)
        self.fabric.end(engine)
        folder.engine = None
        folder.proof = TerminationProof(
            identity=engine.identity, exit_code=-9, evidence="the simulation ended it"
        )
        asyncio.get_running_loop().call_later(
            self.random.uniform(*_EXIT_SEEN_S), self._tell, self._on_exit, engine.key
        )

    def begin(self, engine: Engine) -> None:
        """Let a process begin, and end soon if its node flaps."""
        self.judge.begins(engine)
        self.fabric.begin(engine)
        folder = self.folders[engine.key]
        if folder.ends_to_come:
            folder.ends_to_come -= 1
            lives_s = self.random.uniform(*_FLAP_S)
            loop = asyncio.get_running_loop()
            loop.call_later(lives_s, self.kill, engine, "it flaps")

    def hang(self, engine: Engine, cause: SilenceCause) -> None:
        """Let a process hang; the host notices a ping without an answer."""
        self.judge.note(f"{engine.key} hangs: {cause.value}")
        self.fabric.hang(engine, cause)
        asyncio.get_running_loop().call_later(
            self.random.uniform(PULSE_S, 2 * PULSE_S), self._tell_silence, engine
        )

    def wake(self, engine: Engine) -> None:
        """Let a process go on."""
        if engine.is_alive and engine.hang is not None:
            self.judge.note(f"{engine.key} goes on")
            self.fabric.wake(engine)

    def _tell_silence(self, engine: Engine) -> None:
        """Tell of each ping in vain, and of the first one that is answered again."""
        if not engine.is_alive:
            return
        self._tell(self._on_silence, engine.key)
        if engine.hang is not None:
            asyncio.get_running_loop().call_later(PULSE_S, self._tell_silence, engine)

    def _tell(self, callbacks: list[Callable[[str], None]], key: str) -> None:
        for callback in callbacks:
            callback(key)


def _process_fact(folder: Folder) -> ProcessFact:
    if folder.engine is not None:
        return Running(identity=folder.engine.identity)
    if folder.launched is None:
        return Absent()
    return Stopped(proof=folder.proof)
