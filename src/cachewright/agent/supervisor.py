"""What runs on this host? `LocalAgent` carries out commands on nodes and reports facts of them.

The only door of this room: made by the composition root, used through the `Agent` protocol. It
never starts an engine on its own and never ends one because it ends itself; after a restart it
takes hold of what runs. Use it from one event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from cachewright.agent import (
    disk,
    fencing,
    folder,
    handover,
    keeping,
    process,
    promoting,
    pulse,
    resharding,
    restoring,
    serving,
    settings,
    starting,
    stopping,
    telling,
    weighing,
    writers,
)
from cachewright.agent.machine import State
from cachewright.agent.node import Node
from cachewright.engines import bounded
from cachewright.engines.adapter import EngineRefused, EngineUnreachable
from cachewright.engines.catalogue import Catalogue
from cachewright.kit import files
from cachewright.kit.clock import Clock
from cachewright.model.builds import InstallFailed, OfferState
from cachewright.model.commands import (
    AdmitNode,
    ApplySettings,
    BindNode,
    ClaimSlots,
    CloseSlots,
    FenceNode,
    FollowPrimary,
    ForgetNodes,
    HandOver,
    HostCommand,
    IntroduceNode,
    MoveSlots,
    PromoteNode,
    RemoveNode,
    StartNode,
    StopNode,
    TellMembers,
    WeighSlots,
)
from cachewright.model.engines import EngineName
from cachewright.model.errors import Terminal
from cachewright.model.facts import NO_NODE, EngineFact, NodeFact
from cachewright.rpc.agent import CommandFailed, EngineOffer, StaleEpoch

_log = logging.getLogger(__name__)

#: Nodes that are asked at once. Each costs a task and at most one second; more at once would
#: only make their answers wait for each other in one event loop.
OBSERVED_AT_ONCE = 64
_EPOCH = "epoch"


class LocalAgent:
    """The agent of this machine; nodes live in `nodes`, one folder each."""

    def __init__(
        self,
        nodes: Path,
        catalogue: Catalogue,
        clock: Clock,
        *,
        host: str = "local",
        start_timeout_s: float = starting.START_TIMEOUT_S,
    ) -> None:
        self._folder = nodes
        #: Who signs for nodes that speak TLS lies beside the nodes: clients look for it there.
        self._authority = nodes.parent
        self._catalogue = catalogue
        self._clock = clock
        self._host = host
        self._start_timeout_s = start_timeout_s
        self._nodes: dict[str, Node] = {}
        self._callbacks: list[Callable[[str], None]] = []
        self._silence_callbacks: list[Callable[[str], None]] = []
        self._pulses = pulse.Pulses(self._nodes, self._tell_silence)
        self._offers: tuple[EngineOffer, ...] = ()
        self._epoch = 0
        self._resharding = resharding.Resharding()
        self._asking = asyncio.Semaphore(OBSERVED_AT_ONCE)

    @property
    def host(self) -> str:
        """The name of the host, for placement."""
        return self._host

    async def open(self) -> None:
        """Take hold of every engine that runs already, and look which builds are here.

        Raises:
            Terminal: the folder cannot be used.
        """
        process.raise_open_files_limit()
        process.prefer_session(os.getpid())
        try:
            files.make_private_folder(self._folder)
            self._epoch = self._read_epoch()
            for key, _ in folder.open_all(self._folder):
                node = self._nodes[key] = self._make(key)
                node.find_process()
        except OSError as error:
            hint = "choose another with --state-dir"
            raise Terminal(
                f"cannot use {self._folder}: {disk.explain(error)}", hint=hint
            ) from error
        alive = sum(node.process is not None for node in self._nodes.values())
        _log.info("event=adopted nodes=%d running=%d", len(self._nodes), alive)
        await self._look_for_builds()
        self._pulses.start()

    def close(self) -> None:
        """Let go of everything; engines run on."""
        self._pulses.stop()
        for node in self._nodes.values():
            node.release()
        self._nodes.clear()

    def on_exit(self, callback: Callable[[str], None]) -> None:
        """Call `callback(key)` in the event loop whenever the process of a node has ended."""
        self._callbacks.append(callback)

    def on_silence(self, callback: Callable[[str], None]) -> None:
        """Call `callback(key)` in the event loop when a living node stops answering its host."""
        self._silence_callbacks.append(callback)

    async def glance(self, keys: Sequence[str]) -> Mapping[str, NodeFact]:
        """Return each node's process as the kernel says it now, its engine as it last answered."""
        nodes = {key: self._nodes.get(key) for key in keys}
        process.notice_ends(n.process for n in nodes.values() if n is not None)
        return {key: NO_NODE if node is None else node.glance() for key, node in nodes.items()}

    async def observe(self, keys: Sequence[str]) -> Mapping[str, NodeFact]:
        """Return what is known of each node. Never raises for a node: silence is `Unknown`."""
        facts = await asyncio.gather(*(self._observe(key) for key in keys))
        return dict(zip(keys, facts, strict=True))

    async def execute(self, command: HostCommand, *, epoch: int) -> None:
        """Carry out one command; raise `CommandFailed` when it did not work."""
        if isinstance(command, FenceNode):
            await self._fence(command, epoch)
            return
        if isinstance(command, HandOver):
            await self._hand_over(command, epoch)
            return
        if isinstance(command, MoveSlots | CloseSlots | ClaimSlots | WeighSlots):
            await self._reshard(command, epoch)
            return
        key = command.launch.key if isinstance(command, StartNode) else command.key
        while True:
            node = self._nodes.get(key)
            if node is None:
                node = self._nodes[key] = self._make(key)
            async with node.commands:
                if self._nodes.get(key) is node:
                    await self._execute_alone(node, command, epoch)
                    return
                # It was removed while this command waited for its turn: look again.

    def offers(self) -> tuple[EngineOffer, ...]:
        """Return the engine lines of this host as of the last look, without running anything."""
        return self._offers

    async def install(self, engine: EngineName, api_version: str) -> EngineOffer:
        """Bring a build of this line onto the host; raise `CommandFailed` with the reason."""
        stop = threading.Event()
        bounded.stop_request.set(stop)
        try:
            await asyncio.to_thread(self._catalogue.install, engine, api_version)
        except InstallFailed as error:
            raise CommandFailed(str(error)) from error
        finally:
            # Nobody waits any more, or it is done: a thread cannot be cancelled, its programs can.
            stop.set()
            bounded.stop_request.set(None)
        await self._look_for_builds()
        for offer in self._offers:
            if (offer.engine, offer.api_version) == (engine, api_version) and offer.is_installed:
                return offer
        raise CommandFailed(f"{engine.value} {api_version} was installed and cannot be found")

    # One node

    def _make(self, key: str) -> Node:
        return Node(self._folder, key, self._tell_exit)

    def _tell_exit(self, key: str) -> None:
        for callback in self._callbacks:
            callback(key)

    def _tell_silence(self, key: str) -> None:
        for callback in self._silence_callbacks:
            callback(key)

    async def _observe(self, key: str) -> NodeFact:
        node = self._nodes.get(key)
        if node is None:
            return NO_NODE
        async with self._asking:
            fact = await node.fact()
            await writers.close_writers(node, fact.engine)
            if isinstance(fact.engine, EngineFact) and not self._resharding.is_busy(node):
                fact = node.glance() if await restoring.restore(node) else fact
        is_starting = node.record.state is State.STARTING and node.process is not None
        if is_starting and isinstance(fact.engine, EngineFact) and not node.commands.locked():
            # We died while it was started, and it came up all the same.
            with contextlib.suppress(OSError):  # it is found again in the same way
                keeping.note_outcome(node)
                node.take_answer()
        return fact

    async def _fence(self, command: FenceNode, epoch: int) -> None:
        """End a process without waiting for other commands of its node: they may wait for it."""
        self._check_epoch(epoch)
        node = self._nodes.get(command.key)
        if node is None:
            return
        try:
            if not node.is_settled and not node.commands.locked():
                node.find_process()
            await fencing.fence(node, command)
        except OSError as error:
            raise CommandFailed(f"node {node.name}: {disk.explain(error)}") from error
        except process.StillAlive as error:
            raise CommandFailed(f"node {node.name}: {error}") from error

    async def _hand_over(self, command: HandOver, epoch: int) -> None:
        """Change the roles of two nodes, neither of which does anything else meanwhile."""
        node, successor = self._nodes.get(command.key), self._nodes.get(command.to_key)
        if node is None or successor is None or node is successor:
            raise CommandFailed("a role is handed over between two nodes of this host")
        uid = command.key.partition(".")[0]
        group = (n for n in self._nodes.values() if n.key.partition(".")[0] == uid)
        others = [n for n in group if n.record.launch is not None and n not in (node, successor)]
        first, second = sorted((node, successor), key=lambda one: one.key)
        async with first.commands, second.commands:
            self._check_epoch(epoch)
            self._resharding.require_still(node, successor)
            try:
                await handover.hand_over(node, successor, command, others=others)
            except (EngineRefused, EngineUnreachable) as error:
                raise CommandFailed(f"node {node.name} did not hand over: {error}") from error

    async def _reshard(
        self, command: MoveSlots | CloseSlots | ClaimSlots | WeighSlots, epoch: int
    ) -> None:
        """Do what may take minutes; other commands of the nodes do not wait for it."""
        self._check_epoch(epoch)
        node = self._nodes.get(command.key)
        if node is None:
            raise CommandFailed("slots are weighed and moved by the host of their node")
        check = functools.partial(self._check_epoch, epoch)
        if isinstance(command, WeighSlots):
            await weighing.weigh(node, command)
        elif isinstance(command, CloseSlots):
            await self._resharding.close(node, command, check)
        elif isinstance(command, ClaimSlots):
            await self._resharding.claim(node, command, check)
        else:
            await self._resharding.move(node, self._nodes.get(command.to_key), command, check)

    def _node_at(self, place: tuple[str, int]) -> Node | None:
        """Return the node of this host that was last started at an address and port."""
        for node in self._nodes.values():
            launch = node.record.launch
            if launch is not None and (launch.address, launch.port) == place:
                return node
        return None

    async def _execute_alone(self, node: Node, command: HostCommand, epoch: int) -> None:
        try:
            self._check_epoch(epoch)
            if not node.is_settled:
                node.find_process()
            await self._execute(node, command)
        except OSError as error:
            raise CommandFailed(f"node {node.name}: {disk.explain(error)}") from error
        except (EngineRefused, EngineUnreachable, process.StillAlive) as error:
            raise CommandFailed(f"node {node.name}: {error}") from error
        finally:
            if node.record.state is State.ABSENT and not node.record.failed_starts:
                self._nodes.pop(node.key, None)

    async def _execute(self, node: Node, command: HostCommand) -> None:
        match command:
            case StartNode():
                await starting.start(
                    node,
                    command.launch,
                    catalogue=self._catalogue,
                    authority=self._authority,
                    timeout_s=self._start_timeout_s,
                )
            case StopNode():
                await stopping.stop(node, saves=command.saves, now=self._clock.now())
            case RemoveNode():
                await stopping.remove(node)
            case PromoteNode():
                serving.require_running(node)
                others = [n for place in command.others if (n := self._node_at(place)) is not None]
                await promoting.promote(node, command, self._node_at(command.over), others)
            case _:
                await _tell(node, command)

    # The host

    async def _look_for_builds(self) -> None:
        self._offers = await asyncio.to_thread(_read_offers, self._catalogue)

    def _check_epoch(self, epoch: int) -> None:
        if epoch < self._epoch:
            raise StaleEpoch(f"epoch {epoch} is over: this host has seen epoch {self._epoch}")
        if epoch > self._epoch:
            try:
                files.write_atomic(self._folder / _EPOCH, f"{epoch}\n".encode())
            except OSError as error:
                raise CommandFailed(f"epoch not kept: {disk.explain(error)}") from error
            self._epoch = epoch

    def _read_epoch(self) -> int:
        try:
            return int((self._folder / _EPOCH).read_bytes())
        except (FileNotFoundError, ValueError):
            return 0


async def _tell(node: Node, command: HostCommand) -> None:
    """Carry out what concerns one node that runs."""
    match command:
        case AdmitNode():
            await serving.admit(node, command)
        case BindNode():
            await serving.bind(node, command)
        case FollowPrimary():
            await serving.follow(node, command)
        case ApplySettings():
            await settings.apply(node, command)
        case TellMembers():
            await telling.tell(node, command)
        case IntroduceNode():
            await serving.introduce(node, command)
        case ForgetNodes():
            await serving.forget(node, command)


def _read_offers(catalogue: Catalogue) -> tuple[EngineOffer, ...]:
    """Return one offer a line: the build that would run now, else the one that could be had."""
    lines: dict[tuple[EngineName, str], EngineOffer] = {}
    for offer in catalogue.offers():
        line = (offer.engine, offer.api_version)
        if line in lines and lines[line].is_installed:
            continue
        is_installed = offer.state is OfferState.INSTALLED
        best = catalogue.best(*line) if is_installed else None
        lines[line] = EngineOffer(
            engine=offer.engine,
            api_version=offer.api_version,
            version=best.version if best is not None else offer.version,
            is_installed=is_installed,
            source=best.source.value if best is not None else offer.source.value,
        )
    return tuple(lines.values())
