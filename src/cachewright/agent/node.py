"""What does the agent know of one node, and how does it reach its engine?

One object a node: folder, record, process, connection of the administrator. It keeps them
consistent; what to do with them is decided in `starting`, `stopping` and `supervisor`. The kernel
is asked whether the process lives; the engine is asked everything else, each time anew.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cachewright.agent import append_only, diagnosis, disk, machine, maps, process
from cachewright.agent.folder import NodeFolder, Record
from cachewright.agent.machine import Event, State
from cachewright.agent.memory import MemoryFolder
from cachewright.agent.saved import SavedData
from cachewright.agent.visitors import Visitors
from cachewright.engines.adapter import (
    ClusterMember,
    Connection,
    EngineAdapter,
    EngineRefused,
    EngineUnreachable,
    RoleChanger,
    SlotKeeper,
    adapter_of,
)
from cachewright.engines.home import AUTHORITY_NAME
from cachewright.model.commands import Launch
from cachewright.model.facts import (
    Absent,
    EngineFact,
    LaunchFact,
    NodeFact,
    ProcessFact,
    ProcessIdentity,
    Running,
    Silence,
    SlotWeights,
    Stopped,
    TerminationProof,
    Unknown,
)
from cachewright.model.slots import SlotRanges
from cachewright.rpc.agent import CommandFailed

_log = logging.getLogger(__name__)

#: A healthy engine answers in well under a millisecond; one that does not within this is silent.
ANSWER_TIMEOUT_S = 1.0
#: Another container on the same disk, for instance: its processes are not in our /proc.
_INVISIBLE = "a process of this node still holds its files and cannot be seen from here"
_NO_PROCESS = Unknown(reason="no process runs")
_NOT_ASKED = Unknown(reason="not asked yet")
_STOPPED = Unknown(reason="its process is stopped")


class Node:
    """One node of this host; made for every folder, and for every node that is to be started."""

    def __init__(self, nodes: Path, key: str, on_exit: Callable[[str], None]) -> None:
        self.key = key
        self.folder = NodeFolder(nodes, key)
        self.memory = MemoryFolder(self.folder.path)
        self.record = Record(state=State.ABSENT)
        self.process: process.Process | None = None
        #: Last lines of the log of a process that has ended.
        self.log_tail: tuple[str, ...] = ()
        #: What its slots hold, since its process was asked to be weighed.
        self.weights: SlotWeights | None = None
        #: How long its process has not answered; written by its pulse.
        self.silence: Silence | None = None
        #: Whether its engine may run with something else than its record says; see `restoring`.
        self.may_be_altered = self.may_have_other_memory = False
        #: Commands of one node are carried out one after the other.
        self.commands = asyncio.Lock()
        self._on_exit = on_exit
        #: What its engine said at the last look.
        self._last_engine: EngineFact | Unknown = _NOT_ASKED
        self._proof: TerminationProof | None = None
        #: What its last process owned, once that has ended.
        self._last_slots: SlotRanges | None = None
        self._visitors = Visitors()
        self._is_invisible = False
        self._admin: Connection | None = None
        self._connecting = asyncio.Lock()

    @property
    def name(self) -> str:
        """The node's id, as people know it."""
        return self.key.partition(".")[2] or self.key

    @property
    def launch(self) -> Launch:
        """What was started last."""
        if self.record.launch is None:
            raise CommandFailed(f"node {self.name} was never started here")
        return self.record.launch

    @property
    def adapter(self) -> EngineAdapter[Any]:
        """How its engine is spoken to."""
        return adapter_of(self.launch)

    @property
    def roles(self) -> RoleChanger[Any]:
        """How its role changes hands."""
        roles = self.adapter.roles
        if roles is None:
            raise CommandFailed(f"node {self.name} has no role")
        return roles

    @property
    def cluster(self) -> ClusterMember[Any]:
        """How it comes to know others, and forgets them."""
        cluster = self.adapter.cluster
        if cluster is None:
            raise CommandFailed(f"node {self.name} is in no cluster")
        return cluster

    @property
    def slots(self) -> SlotKeeper[Any]:
        """How its slots are weighed and moved."""
        slots = self.adapter.slots
        if slots is None:
            raise CommandFailed(f"node {self.name} has no slots")
        return slots

    @property
    def saved(self) -> SavedData | None:
        """The data of its last graceful stop; `None` if nothing was ever started."""
        if self.record.launch is None:
            return None
        return self.saved_by(self.adapter)

    def saved_by(self, adapter: EngineAdapter[Any]) -> SavedData:
        """Return the data that a stop of such an engine leaves, wherever it leaves it."""
        keeper = adapter.items
        snapshot = adapter.snapshot_name if keeper is None else self.memory.path / keeper.state_name
        return SavedData(self.folder.path, snapshot)

    @property
    def is_settled(self) -> bool:
        """Whether it is certain which process of this node lives, or that none does."""
        is_pending = self.process is None and self.record.state is State.STARTING
        return not self._is_invisible and not is_pending

    def process_fact(self) -> ProcessFact:
        """Return what is certain about the process."""
        if self.process is not None:
            return Running(identity=self.process.identity)
        if self._is_invisible:
            return Unknown(reason=_INVISIBLE)
        if self.record.state is State.ABSENT:
            return Absent()
        return Stopped(proof=self._proof, log_tail=self.log_tail)

    async def fact(self) -> NodeFact:
        """Return all that is known; never raises, for silence is a fact as well."""
        if self._is_invisible:
            self.find_process()
        asked = self.process
        engine = _STOPPED if self._is_stopped() else await self.observe_engine()
        if self.process is not None and self.process is asked:
            self._last_engine = engine
            self._visitors.look(engine)
        return self._fact_with(engine)

    def glance(self) -> NodeFact:
        """Return all that is known without asking the engine, which is as it last answered."""
        if self.silence is not None:
            return self._fact_with(Unknown(reason=f"no answer for {self.silence.seconds:.1f} s"))
        return self._fact_with(self._last_engine)

    def _is_stopped(self) -> bool:
        """Tell whether asking would only be waiting."""
        if self.process is None or self.silence is None:
            return False
        return diagnosis.is_stopped(self.process.identity.pid)

    def _fact_with(self, engine: EngineFact | Unknown) -> NodeFact:
        if self.process is None:
            engine = _NO_PROCESS
        return NodeFact(
            process=self.process_fact(),
            engine=engine,
            silence=self.silence if isinstance(engine, Unknown) else None,
            has_saved_data=self._has_saved_data(),
            has_append_only_file=self.has_append_only_file(),
            is_file_behind=append_only.is_behind(self.folder.path),
            failed_starts=self.record.failed_starts,
            failure=self.record.failure,
            launched=self._launched(),
            cold_start_reason=self.record.cold_start_reason,
            weights=self.weights,
            last_slots=self._last_slots,
            is_sought=self._visitors.are_there,
            is_missed=self._visitors.are_missing,
        )

    async def observe_engine(self) -> EngineFact | Unknown:
        """Ask the engine about itself, within `ANSWER_TIMEOUT_S`."""
        if self.process is None:
            return _NO_PROCESS
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                return await self.adapter.observe(await self.admin())
        except TimeoutError:
            return Unknown(reason=f"no answer within {ANSWER_TIMEOUT_S:g} s")
        except (EngineUnreachable, EngineRefused, CommandFailed) as error:
            return Unknown(reason=str(error))
        except Exception as error:  # noqa: BLE001 one strange engine must not hide all others
            _log.exception("event=observe_failed key=%s", self.key)
            return Unknown(reason=f"its answer makes no sense ({type(error).__name__})")

    async def admin(self) -> Connection:
        """Return the connection of the administrator, which is kept; calls on it may overlap."""
        async with self._connecting:
            if self._admin is None or self._admin.is_closed:
                self._admin = await self.connect()
            return self._admin

    async def connect(self, *, timeout_s: float = ANSWER_TIMEOUT_S) -> Connection:
        """Open a connection of the administrator that belongs to the caller."""
        launch = self.launch
        admin: Connection = await self.adapter.connect(
            launch.address,
            launch.port,
            launch.admin_password,
            timeout_s=timeout_s,
            tls=self._tls(launch),
            folder=self.folder.path,
        )
        return admin

    def _tls(self, launch: Launch) -> ssl.SSLContext | None:
        """Return how its certificate is checked; `None` for a node that speaks no TLS."""
        if not launch.transit_encryption:
            return None
        try:
            return ssl.create_default_context(cafile=self.folder.path / AUTHORITY_NAME)
        except OSError as error:
            raise CommandFailed(f"its certificate cannot be checked: {error}") from error

    def hang_up(self) -> None:
        """Close the connection that is kept, if there is one."""
        if self._admin is not None:
            self._admin.close()
            self._admin = None

    def next_state(self, event: Event) -> State:
        """Return the state after `event`; raise `CommandFailed` where the table has none."""
        try:
            return machine.step(self.record.state, event)
        except machine.Refused as refused:
            raise CommandFailed(f"node {self.name}: {refused}") from refused

    def advance(self, event: Event) -> None:
        """Enter the next state, in memory."""
        self.record = dataclasses.replace(self.record, state=self.next_state(event))

    def write(self, record: Record) -> None:
        """Keep a new record, on disk first."""
        self.folder.write(record)
        self.record = record

    def take_answer(self) -> None:
        """Remember that the engine has answered after its start."""
        self.advance(Event.ANSWERED)
        self.write(dataclasses.replace(self.record, failed_starts=0, failure=""))

    def count_failure(self, failure: str) -> None:
        """Remember that a start failed; on disk too, as far as there is a folder."""
        if self.process is None and self.record.state is State.STARTING:
            self.advance(Event.EXITED)
        self.record = dataclasses.replace(
            self.record, failed_starts=self.record.failed_starts + 1, failure=failure
        )
        if self.folder.exists():
            with contextlib.suppress(OSError):  # the disk may be why it failed
                self.folder.write(self.record)

    def attach(self, found: process.Process) -> None:
        """Take hold of the process of this node; its end is noticed from now on."""
        self.process = found
        self._last_engine = _NOT_ASKED
        self._proof = self._last_slots = self.weights = None
        self._is_invisible = self.may_be_altered = self.may_have_other_memory = False
        self.log_tail = ()
        found.watch(self._take_end)

    def release(self) -> None:
        """Let go of process and connection; the engine goes on."""
        self.hang_up()
        if self.process is not None:
            self.process.release()
            self.process = None

    def find_process(self) -> None:
        """Read the folder: take hold of the process that lives, or prove that none does.

        If we died between the start of a process and writing it down, it is found by the file
        that is its standard output; nobody else can have that.
        """
        self.record = self.folder.read()
        identity = self.record.identity
        found = process.adopt(identity) if identity is not None else None
        if isinstance(found, process.Process):
            self._attach_found(found)
            return
        self._proof = found
        is_in_use = process.is_in_use(self.folder.output)
        others: tuple[ProcessIdentity, ...] = ()
        if is_in_use or self.record.state is State.STARTING:
            others = process.find_by_output(self.folder.output)
        for other in filter(process.is_leader, others):
            orphan = process.adopt(other)
            if isinstance(orphan, process.Process):
                self._attach_found(orphan)
                with contextlib.suppress(OSError):  # found again in the same way
                    self.folder.write(self.record)
                return
        self._is_invisible = is_in_use and not others
        self._forget_plan()
        self.record = dataclasses.replace(self.record, state=State.STOPPED)
        self.log_tail = self._read_log()
        if not self._is_invisible:
            self._bring_map_home()
        self._last_slots = self._read_last_slots()

    def _attach_found(self, found: process.Process) -> None:
        state = State.STARTING if self.record.state is State.STOPPED else self.record.state
        self.record = dataclasses.replace(self.record, state=state, identity=found.identity)
        self._visitors.adopt()
        self.attach(found)
        self.may_be_altered = True

    def _take_end(self, proof: TerminationProof) -> None:
        self.process = self.silence = self.weights = None
        self._visitors.end()
        self._proof = proof
        self.hang_up()
        self._forget_plan()
        self.advance(Event.EXITED)
        self.log_tail = self._read_log()
        self._bring_map_home()
        self._last_slots = self._read_last_slots()
        _log.info("event=engine_ended key=%s exit_code=%s", self.key, proof.exit_code)
        self._on_exit(self.key)

    def _forget_plan(self) -> None:
        """After the end of a process that nobody told to end: what comes next is not planned."""
        if self.record.state is State.RUNNING:
            self.record = dataclasses.replace(self.record, cold_start_reason="")

    def _read_log(self) -> tuple[str, ...]:
        launch = self.record.launch
        if launch is None:
            return ()
        secrets = (launch.admin_password, launch.replication_password)
        return self.folder.log_tail(self.adapter.log_name, secrets)

    def _read_last_slots(self) -> SlotRanges | None:
        content = self.map_content()
        return self.cluster.own_slots(content) if content is not None else None

    def map_content(self) -> bytes | None:
        """Return what its last process knew of the cluster; `None` where it left nothing."""
        if not self._has_map():
            return None
        return maps.content(self.folder, self.memory, self.cluster.map_name)

    def _bring_map_home(self) -> None:
        if self._has_map():
            maps.bring_home(self.folder, self.memory, self.cluster.map_name)

    def _has_map(self) -> bool:
        launch = self.record.launch
        return launch is not None and bool(launch.peers) and self.adapter.cluster is not None

    def _launched(self) -> LaunchFact | None:
        launch, items = self.record.launch, self.record.items
        if launch is None:
            return None
        return LaunchFact(
            engine=launch.engine,
            engine_version=launch.engine_version,
            settings=self.record.settings,
            maxmemory_bytes=launch.maxmemory_bytes,
            maxclients=launch.maxclients,
            restarts=launch.restarts,
            has_loaded=launch.loads_saved_data or launch.loads_append_only_file,
            refused=self.record.refused,
            node_type=launch.node_type,
            keeps_items=items is not None and not items.obstacle,
        )

    def has_append_only_file(self) -> bool:
        """Tell whether its last run has kept an append-only file."""
        return append_only.lies_in(self.folder.path, self.record)

    def _has_saved_data(self) -> bool:
        if self.saved is None:
            return False
        try:
            return self.saved.recover() if self.process is None else self.saved.is_whole()
        except OSError as error:
            _log.warning("event=note_not_written key=%s reason=%r", self.key, disk.explain(error))
            return False
