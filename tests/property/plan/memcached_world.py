"""A host with Memcached nodes and a configuration endpoint, small enough to be surely right.

Facts come from running the model, never from random fields. It remembers every list of nodes that a
client could have been told, by its version.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field

import msgspec

from cachewright.model.commands import (
    ApplySettings,
    ChangeMembership,
    Command,
    ForgetGroup,
    InstallBuild,
    Launch,
    Part,
    PlaceGroup,
    ReleaseNodes,
    RemoveNode,
    StartNode,
    StopNode,
    TellMembers,
)
from cachewright.model.facts import (
    EngineFact,
    LaunchFact,
    NodeFact,
    Observed,
    Unknown,
)
from cachewright.model.groups import (
    DISCOVERY_ID,
    Endpoints,
    Group,
    GroupPlacement,
    Membership,
    NodePlacement,
)
from cachewright.model.status import Role
from cachewright.plan.node_status import SILENCE_GRACE_S
from tests.property.plan.world import Life, Refused, process_fact


@dataclass
class Process:
    """One node, or the configuration endpoint."""

    place: NodePlacement
    life: Life = Life.ABSENT
    is_silent: bool = False
    launched: LaunchFact | None = None
    starts_to_fail: int = 0
    failed_starts: int = 0
    generation: int = 0
    #: Whether it holds what was stored before its last planned restart.
    is_warm: bool = False
    has_saved: bool = False
    #: Of the configuration endpoint.
    told: tuple[int, tuple[str, ...]] | None = None


@dataclass
class MemcachedWorld:
    """A host, and the records of one Memcached cluster."""

    group: Group
    processes: dict[str, Process] = field(default_factory=dict)
    is_forgotten: bool = False
    is_build_here: bool = True
    #: Its nodes hold their items where the next process finds them.
    keeps_items: bool = True
    host_is_silent: bool = False
    numbers: int = 0
    #: Every list that clients could see, by version.
    lists: dict[int, tuple[str, ...]] = field(default_factory=dict)

    def observe(self) -> Observed:
        version = "1.6.38" if self.is_build_here else None
        silence = Unknown(reason="the host did not answer")
        silent = NodeFact(process=silence, engine=silence)
        long_s = SILENCE_GRACE_S + 1
        if self.host_is_silent:
            return Observed(
                nodes=dict.fromkeys(self.processes, silent),
                silence_s=dict.fromkeys(self.processes, long_s),
                build_version=version,
            )
        return Observed(
            nodes={node_id: self._fact(process) for node_id, process in self.processes.items()},
            silence_s={n: long_s for n, p in self.processes.items() if p.is_silent},
            build_version=version,
        )

    def execute(self, command: Command) -> None:  # noqa: C901 one case a command
        match command:
            case InstallBuild():
                self.is_build_here = True
            case PlaceGroup():
                self._place()
            case ReleaseNodes(node_ids=node_ids):
                self._release(node_ids)
            case ChangeMembership(node_ids=node_ids):
                before = self.group.membership
                listed = before.node_ids if before else ()
                added = set(node_ids) - set(listed)
                fresh = {n for n in added if self.processes[n].generation == 0}
                assert not fresh, "clients are told of nodes that never served"
                version = before.version + 1 if before else 1
                membership = Membership(version=version, node_ids=node_ids)
                self.group = dataclasses.replace(self.group, membership=membership)
            case ForgetGroup():
                self.is_forgotten = True
            case StartNode(launch=launch):
                self._start(launch)
            case TellMembers():
                self._tell(command)
            case StopNode(key=key, saves=saves):
                self._stop(self._by_key(key), saves=saves)
            case RemoveNode(key=key):
                process = self._by_key(key)
                if process.life is Life.RUNNING:
                    raise Refused("it runs")
                self.processes[process.place.node_id] = Process(place=process.place)
            case ApplySettings():
                self._take_memory(command)

    def _take_memory(self, command: ApplySettings) -> None:
        process = self._by_key(command.key)
        launched = process.launched
        assert launched is not None
        assert not self.keeps_items, "memory that a file holds cannot grow"
        assert command.settings == launched.settings, "settings are flags"
        assert command.maxmemory_bytes > launched.maxmemory_bytes
        if process.life is not Life.RUNNING or process.is_silent:
            raise Refused("it does not answer")
        process.launched = msgspec.structs.replace(
            launched, maxmemory_bytes=command.maxmemory_bytes, node_type=command.node_type
        )

    def kill(self, node_id: str) -> None:
        process = self.processes[node_id]
        if process.life is Life.RUNNING:
            process.life, process.is_silent, process.is_warm = Life.STOPPED, False, False

    def serving(self) -> set[str]:
        """Return the nodes that a client can use now."""
        return {
            node_id
            for node_id, process in self.processes.items()
            if process.life is Life.RUNNING and node_id != DISCOVERY_ID
        }

    def told(self) -> tuple[int, tuple[str, ...]] | None:
        """Return what a client would be told now."""
        endpoint = self.processes.get(DISCOVERY_ID)
        is_there = endpoint is not None and endpoint.life is Life.RUNNING
        return endpoint.told if is_there and endpoint is not None else None

    def _place(self) -> None:
        before = self.group.placement
        known = before.node_ids() if before else frozenset()
        asked = [node.node_id for node in self.group.spec.nodes()] + [DISCOVERY_ID]
        added: list[NodePlacement] = []
        for node_id in asked:
            if node_id not in known:
                self.numbers += 1
                added.append(
                    NodePlacement(
                        node_id=node_id,
                        host="local",
                        address=f"127.64.0.{self.numbers}",
                        port=11211,
                        engine_id="",
                        shard_id="" if node_id == DISCOVERY_ID else "0001",
                    )
                )
        nodes = (*(before.nodes if before else ()), *added)
        placement = GroupPlacement(nodes=nodes, endpoints=Endpoints(), build_version="1.6.38")
        self.group = dataclasses.replace(self.group, placement=placement)
        self.processes |= {place.node_id: Process(place=place) for place in added}

    def _release(self, node_ids: tuple[str, ...]) -> None:
        placement = self.group.placement
        assert placement is not None
        if any(self.processes[n].life is not Life.ABSENT for n in node_ids):
            raise Refused("nodes are left")
        kept = tuple(node for node in placement.nodes if node.node_id not in node_ids)
        placement = dataclasses.replace(placement, nodes=kept)
        self.group = dataclasses.replace(self.group, placement=placement)
        for node_id in node_ids:
            del self.processes[node_id]

    def _start(self, launch: Launch) -> None:
        process = self._by_key(launch.key)
        if process.life is Life.RUNNING:
            raise Refused("it runs already")
        if process.starts_to_fail:
            process.starts_to_fail -= 1
            process.failed_starts += 1
            process.life = Life.STOPPED
            raise Refused("it ended at once")
        process.life, process.is_silent, process.failed_starts = Life.RUNNING, False, 0
        process.generation += 1
        process.is_warm = launch.loads_saved_data and process.has_saved
        process.has_saved = False
        process.launched = LaunchFact(
            engine=launch.engine,
            engine_version=launch.engine_version,
            settings=launch.settings,
            maxmemory_bytes=launch.maxmemory_bytes,
            maxclients=launch.maxclients,
            restarts=launch.restarts,
            node_type=launch.node_type,
            keeps_items=self.keeps_items,
        )
        if launch.part is Part.DISCOVERY:
            process.told = (launch.config_version, tuple(m.address for m in launch.members))
            self._note(process.told)

    def _tell(self, command: TellMembers) -> None:
        process = self._by_key(command.key)
        if process.life is not Life.RUNNING or process.is_silent:
            raise Refused("it does not answer")
        process.told = (command.config_version, tuple(m.address for m in command.members))
        self._note(process.told)

    def _note(self, told: tuple[int, tuple[str, ...]]) -> None:
        version, addresses = told
        assert self.lists.setdefault(version, addresses) == addresses, "one version, two lists"

    def _stop(self, process: Process, *, saves: bool) -> None:
        if process.life is not Life.RUNNING:
            return
        if saves and process.is_silent:
            raise Refused("it does not answer")
        process.has_saved = saves
        process.life, process.is_silent = Life.STOPPED, False

    def _fact(self, process: Process) -> NodeFact:
        is_known = process.life is Life.RUNNING and not process.is_silent
        return NodeFact(
            process=process_fact(process.life, process.generation),
            engine=self._engine(process) if is_known else Unknown(reason="no answer"),
            has_saved_data=process.has_saved,
            failed_starts=process.failed_starts,
            failure="it ended at once" if process.failed_starts else "",
            launched=process.launched,
        )

    def _engine(self, process: Process) -> EngineFact:
        return EngineFact(
            version="1.6.38",
            role=Role.PRIMARY,
            is_held=False,
            is_loading=False,
            used_memory_bytes=0,
            bind=(process.place.address,),
            config_version=process.told[0] if process.told else None,
        )

    def _by_key(self, key: str) -> Process:
        return self.processes[key.partition(".")[2]]
