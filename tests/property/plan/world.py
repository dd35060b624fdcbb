"""A host with engines, small enough to be surely right: what commands do, and what can go wrong.

It exists so that property tests observe only worlds that can exist: facts come from running the
model, never from random fields. It follows docs/architecture.md and the engines' own behaviour
(held starts, cluster maps, first sync), and it refuses commands that a host would refuse.
"""

from __future__ import annotations

import dataclasses
import enum
import itertools
from dataclasses import dataclass, field

import msgspec

from cachewright.agent import append_only
from cachewright.model.commands import (
    AdmitNode,
    ApplySettings,
    BindNode,
    ClaimSlots,
    CloseSlots,
    Command,
    FenceNode,
    FollowPrimary,
    ForgetGroup,
    ForgetNodes,
    HandOver,
    InstallBuild,
    IntroduceNode,
    Launch,
    MoveSlots,
    PlaceGroup,
    PromoteNode,
    Promotion,
    ReleaseGroup,
    ReleaseNodes,
    RemoveNode,
    StartNode,
    StopNode,
    WeighSlots,
)
from cachewright.model.engines import EngineName, version_key
from cachewright.model.facts import (
    Absent,
    ClusterFact,
    EngineFact,
    LaunchFact,
    NodeFact,
    Observed,
    ProcessFact,
    ProcessIdentity,
    RefusedSetting,
    Running,
    Silence,
    SilenceCause,
    SlotWeights,
    Stopped,
    TerminationProof,
    Unknown,
)
from cachewright.model.groups import Endpoints, Group, GroupPlacement, NodePlacement
from cachewright.model.slots import SlotRanges, ranges_of
from cachewright.model.status import Role
from cachewright.plan.node_status import SILENCE_GRACE_S
from tests.property.plan import slot_world

#: A value that the catalogue allows and the engines of this world do not know.
REFUSED_SETTING = ("activedefrag", "yes")
_LONG_SILENCE_S = SILENCE_GRACE_S + 1.0
#: Between two questions of a host to an engine, seconds.
_PULSE_S = 0.5
#: Between two looks, seconds.
_TICK_S = 0.1
#: Whoever is silent for one of these goes on serving, slowly or only those whom it lets in.
_GOES_ON = frozenset({SilenceCause.STARVED, SilenceCause.REFUSING})


class Life(enum.Enum):
    ABSENT = "absent"
    RUNNING = "running"
    STOPPED = "stopped"


def process_fact(life: Life, generation: int, exit_code: int | None = -9) -> ProcessFact:
    """Return what a host says of a process in its `generation`-th life."""
    identity = ProcessIdentity(pid=100, start_ticks=generation, boot_id="boot")
    match life:
        case Life.ABSENT:
            return Absent()
        case Life.RUNNING:
            return Running(identity=identity)
        case Life.STOPPED:
            proof = TerminationProof(identity=identity, exit_code=exit_code, evidence="pidfd")
            return Stopped(proof=proof)


def _full(api_version: str) -> str:
    """Return the build of a line that every host of this world has."""
    return f"{api_version}.2"


def _keeps_file(engine: Engine) -> bool:
    launched = engine.launched
    if launched is None or (engine.is_held and not launched.has_loaded):
        return False
    return dict(launched.settings).get("appendonly") == "yes"


class Refused(Exception):
    """A host would not carry this command out now; nothing was changed."""


@dataclass
class Engine:
    """One node of the model."""

    place: NodePlacement
    life: Life = Life.ABSENT
    #: Of the last process that ended; `None`: its host was not its parent.
    exit_code: int | None = -9
    is_held: bool = True
    is_silent: bool = False
    cause: SilenceCause = SilenceCause.UNTOLD
    silent_s: float = 0.0
    role: Role = Role.PRIMARY
    follows: str | None = None
    is_in_sync: bool = False
    #: What it would answer a client: marks of everything that was written to it.
    data: frozenset[int] = frozenset()
    #: What its offset is beyond the marks that it has: slots that moved away counted as well.
    shift: int = 0
    saved: frozenset[int] | None = None
    #: What is in its append-only file.
    file: frozenset[int] | None = None
    #: It was about to begin that file anew.
    is_file_behind: bool = False
    bind: tuple[str, ...] = ()
    slots: SlotRanges = ()
    epoch: int = 0
    memory_bytes: int = 0
    cluster_enabled: bool = False
    failed_starts: int = 0
    starts_to_fail: int = 0
    generation: int = 0
    #: In sync by its link, but behind with applying.
    lags: bool = False
    #: Whose history its data is; and the one before, with what of it is in the data.
    lineage: str = ""
    second: tuple[str, int] = ("", -1)
    launched: LaunchFact | None = None
    #: Engine ids that it knows for good; the addresses that it was told to meet; and ids that it
    #: takes no gossip about until then.
    known: frozenset[str] = frozenset()
    meets: set[tuple[str, int]] = field(default_factory=set)
    forgotten: dict[str, float] = field(default_factory=dict)
    #: Slots that are on their way: the other's engine id, and whether they come in.
    opened: dict[int, tuple[str, bool]] = field(default_factory=dict)
    weights: SlotWeights | None = None
    #: Slots that its replicas have not heard it owns.
    unheard: frozenset[int] = frozenset()
    #: Clients that have not learnt who owns its slots still come.
    is_sought: bool = False
    #: What its last process owned when it ended.
    last_slots: SlotRanges | None = None

    def serves_writes(self) -> bool:
        """Tell whether a client could write here at this moment."""
        return self.life is Life.RUNNING and self.role is Role.PRIMARY and not self.is_held

    def history(self) -> set[str]:
        """Return the lineages with which a replica goes on without copying everything."""
        return {self.lineage, self.second[0]}

    def is_older_than(self, other: Engine) -> bool:
        if self.launched is None or other.launched is None:
            return False
        mine, theirs = self.launched.engine_version, other.launched.engine_version
        return version_key(mine) < version_key(theirs)

    def offset(self) -> int:
        """Return how far it is in the history of its shard."""
        return len(self.data) + self.shift

    def give(self, other: Engine, marks: frozenset[int]) -> None:
        """Let another one have some of the data instead."""
        marks &= self.data
        self.data, other.data = self.data - marks, other.data | marks
        self.shift += 2 * len(marks)

    def hangs(self) -> bool:
        """Tell whether it does nothing at all, for anybody."""
        return self.is_silent and self.cause not in _GOES_ON

    def falls_silent(self, cause: SilenceCause) -> None:
        self.is_silent, self.cause, self.silent_s = True, cause, 0.0

    def answers(self) -> None:
        self.is_silent, self.silent_s = False, 0.0


@dataclass
class World:
    """A host, its engines, and the records of one group."""

    group: Group
    engines: dict[str, Engine] = field(default_factory=dict)
    is_forgotten: bool = False
    is_released: bool = False
    #: What the host has no build of.
    missing: set[tuple[EngineName, str]] = field(default_factory=set)
    host_is_silent: bool = False
    #: Addresses given so far: none is given twice.
    numbers: int = 0
    lineages: int = 0
    #: Every place that was ever given: replicas go on following a node that is gone.
    places: dict[str, NodePlacement] = field(default_factory=dict)
    #: What lasts longer than a round.
    errands: slot_world.Errands = field(default_factory=slot_world.Errands)
    #: Slots with a key that is too large.
    stuck: frozenset[int] = frozenset()
    clock_s: float = 0.0
    #: Marks that ended with the last process that had them.
    lost: set[int] = field(default_factory=set)

    @property
    def is_build_here(self) -> bool:
        """Whether the host has a build of what the group is to run."""
        return self._line() not in self.missing

    @is_build_here.setter
    def is_build_here(self, is_here: bool) -> None:
        self.missing = set() if is_here else {self._line()}

    def _line(self) -> tuple[EngineName, str]:
        return self.group.spec.engine, self.group.spec.engine_version

    def observe(self) -> Observed:
        """Report what an agent would report."""
        build_version = _full(self.group.spec.engine_version)
        if self.host_is_silent:
            silence = Unknown(reason="the host did not answer")
            silent = NodeFact(process=silence, engine=silence)
            return Observed(nodes=dict.fromkeys(self.engines, silent), build_version=build_version)
        return Observed(
            nodes={node_id: self._fact(engine) for node_id, engine in self.engines.items()},
            silence_s={
                node_id: _LONG_SILENCE_S for node_id, e in self.engines.items() if e.is_silent
            },
            build_version=build_version if self.is_build_here else None,
            moves=self.errands.moves(),
        )

    def execute(self, command: Command) -> None:  # noqa: C901, PLR0912 one case a command
        """Carry out one command as a host or the store would."""
        match command:
            case InstallBuild(engine=engine_name, engine_version=version):
                self.missing.discard((engine_name, version))
            case PlaceGroup():
                self._place()
            case ReleaseNodes(node_ids=node_ids):
                self._release_nodes(node_ids)
            case ApplySettings():
                self._apply(self._answering(command.key), command)
            case ForgetGroup():
                self.is_forgotten = True
            case ReleaseGroup(retained_node_id=node_id):
                self._release(node_id)
            case StartNode(launch=launch):
                self._start(launch)
            case AdmitNode(key=key, bind=bind):
                engine = self._answering(key)
                self._listen(engine, bind)
                engine.is_held = False
            case BindNode(key=key, bind=bind):
                self._listen(self._answering(key), bind)
            case FollowPrimary(key=key, address=address):
                self._follow(self._answering(key), address)
            case PromoteNode(key=key):
                self._promote(self._answering(key), command)
            case HandOver():
                self._hand_over(command)
            case IntroduceNode(key=key, others=others):
                self._answering(key).meets |= set(others)
            case ForgetNodes(key=key, engine_ids=engine_ids):
                self._forget(self._answering(key), engine_ids)
            case MoveSlots() | CloseSlots() | ClaimSlots() | WeighSlots():
                failure = self.errands.ask(command)
                if failure:
                    raise Refused(failure)
            case FenceNode(key=key, identity=identity):
                engine = self._by_key(key)
                if process_fact(engine.life, engine.generation) == Running(identity=identity):
                    self._end(engine)
            case StopNode(key=key, saves=saves):
                self._stop(self._by_key(key), saves=saves)
            case RemoveNode(key=key):
                engine = self._by_key(key)
                if engine.life is Life.RUNNING:
                    raise Refused(f"{key} still runs")
                self.engines[engine.place.node_id] = Engine(place=engine.place)

    def tick(self) -> None:
        """Let replicas that can reach their primary finish a sync, and copy new writes."""
        for engine in self.engines.values():
            if engine.life is not Life.RUNNING or engine.role is not Role.REPLICA:
                continue
            primary = self.engines.get(engine.follows or "")
            if primary is not None and primary.hangs() and primary.life is Life.RUNNING:
                continue  # its link stays up, and nothing comes
            reachable = primary is not None and self._gives(primary)
            if reachable and primary is not None and not engine.hangs():
                if not engine.is_in_sync and engine.lineage not in primary.history():
                    assert not engine.is_older_than(primary), "a newer one's set is copied"
                if not engine.is_held:
                    gone = slot_world.not_given(self, engine.data - primary.data, primary)
                    assert not gone, f"{primary.place.node_id} overwrites a copy that has {gone}"
                if not (engine.lags and engine.is_in_sync):
                    engine.data, engine.shift = primary.data, primary.shift
                engine.lineage, engine.second = primary.lineage, primary.second
                engine.is_in_sync = True
            else:
                engine.is_in_sync = False
        self.clock_s += _TICK_S
        slot_world.gossip(self)
        slot_world.run_errands(self)

    def _gives(self, source: Engine) -> bool:
        """Tell whether replicas can follow it: a primary that serves, or a replica of one."""
        if source.role is Role.PRIMARY or source.is_held or source.life is not Life.RUNNING:
            return source.serves_writes()
        primary = self.engines.get(source.follows or "")
        is_there = primary is not None and primary.serves_writes()
        return is_there and source.is_in_sync and not source.cluster_enabled

    def write(self, mark: int) -> None:
        """Let a client write to every primary that takes writes."""
        for engine in self.engines.values():
            if engine.serves_writes() and not engine.hangs():
                engine.data |= {mark}

    def write_to_slots(self, number: int) -> None:
        """Let a client of a cluster write into some slots of every primary; `number` from 1."""
        for engine in self.engines.values():
            if engine.serves_writes() and not engine.hangs():
                engine.data |= slot_world.marks_for(number, engine.slots)

    def pass_time(self, seconds: float) -> None:
        """Let whoever is silent be silent for longer."""
        for engine in self.engines.values():
            engine.silent_s += seconds if engine.is_silent else 0.0
        self.clock_s += seconds

    def kill(self, node_id: str) -> None:
        """End a process as kill -9 does."""
        engine = self.engines[node_id]
        if engine.life is Life.RUNNING:
            self._end(engine)

    def _end(self, engine: Engine) -> None:
        engine.file = engine.data if _keeps_file(engine) else None
        engine.last_slots = engine.slots if engine.role is Role.PRIMARY else ()
        engine.weights = None
        if not engine.is_held:
            shard = (e for e in self.engines.values() if e.place.shard_id == engine.place.shard_id)
            others = (e for e in shard if e is not engine and not e.is_held)
            self.lost |= engine.data - frozenset().union(*(e.data for e in others))
        engine.life, engine.data, engine.exit_code = Life.STOPPED, frozenset(), -9
        engine.answers()
        for other in self.engines.values():
            if other.follows == engine.place.node_id:
                other.is_in_sync = False

    def _fact(self, engine: Engine) -> NodeFact:
        silence = Unknown(reason="no answer within 1 s")
        is_known = engine.life is Life.RUNNING and not engine.is_silent
        silent = Silence(
            seconds=engine.silent_s, probes=int(engine.silent_s / _PULSE_S), cause=engine.cause
        )
        return NodeFact(
            process=process_fact(engine.life, engine.generation, engine.exit_code),
            engine=self._engine_fact(engine) if is_known else silence,
            has_saved_data=engine.saved is not None,
            has_append_only_file=_keeps_file(engine)
            if engine.life is Life.RUNNING
            else engine.file is not None,
            is_file_behind=engine.is_file_behind,
            failed_starts=engine.failed_starts,
            failure="the engine ended at once" if engine.failed_starts else "",
            launched=engine.launched,
            silence=silent if engine.silent_s else None,
            weights=engine.weights,
            last_slots=engine.last_slots if engine.life is Life.STOPPED else None,
            is_sought=engine.is_sought,
        )

    def _engine_fact(self, engine: Engine) -> EngineFact:
        primary = self.places.get(engine.follows or "")
        return EngineFact(
            version=_full(engine.launched.engine_version) if engine.launched else "",
            role=engine.role,
            is_held=engine.is_held,
            is_loading=False,
            is_in_sync=engine.is_in_sync,
            primary=(primary.address, primary.port) if primary else None,
            replication_id=engine.lineage,
            second_replication_id=engine.second[0],
            second_offset=engine.second[1],
            offset=engine.offset(),
            used_memory_bytes=engine.memory_bytes,
            keys=len(engine.data),
            bind=engine.bind,
            cluster=self._cluster_fact(engine) if engine.cluster_enabled else None,
        )

    def _cluster_fact(self, engine: Engine) -> ClusterFact:
        owners = [e for e in self.engines.values() if e.role is Role.PRIMARY and e.slots]
        running = [e for e in owners if e.life is Life.RUNNING]
        return ClusterFact(
            is_ok=len(running) == len(owners),
            slots_assigned=16_384,
            known_nodes=len(engine.known),
            current_epoch=max(e.epoch for e in self.engines.values()),
            config_epoch=engine.epoch if engine.role is Role.PRIMARY else 0,
            own_slots=engine.slots if engine.role is Role.PRIMARY else (),
            known_ids=engine.known,
            owner_ids=engine.known & {e.place.engine_id for e in owners},
            open_slots=slot_world.open_slots_of(engine),
        )

    def _place(self) -> None:
        spec, before = self.group.spec, self.group.placement
        known = before.node_ids() if before else frozenset()
        nodes = tuple(
            NodePlacement(
                node_id=node.node_id,
                host="local",
                address=f"127.64.0.{self._next_number()}",
                port=6379,
                engine_id=f"{self.numbers:040x}",
                shard_id=shard.shard_id,
            )
            for shard in spec.shards
            for node in shard.nodes
            if node.node_id not in known
        )
        if not nodes:
            raise Refused("placed already")
        endpoints = (
            Endpoints(configuration="127.64.1.1")
            if spec.cluster_enabled
            else Endpoints(primary="127.64.1.1", reader="127.64.1.2")
        )
        placement = GroupPlacement(nodes=nodes, endpoints=endpoints, build_version="9.1.2")
        if before is not None:
            placement = dataclasses.replace(before, nodes=before.nodes + nodes)
        self.group = dataclasses.replace(self.group, placement=placement)
        self.engines |= {node.node_id: Engine(place=node) for node in nodes}
        self.places |= {node.node_id: node for node in nodes}

    def _next_number(self) -> int:
        self.numbers += 1
        return self.numbers

    def _next_lineage(self) -> str:
        self.lineages += 1
        return f"{self.lineages:040x}"

    def _release_nodes(self, node_ids: tuple[str, ...]) -> None:
        placement = self.group.placement
        if placement is None:
            raise Refused("not placed")
        if any(self.engines[n].life is not Life.ABSENT for n in node_ids if n in self.engines):
            raise Refused("nodes are left")
        gone = {placement.of(node_id).engine_id for node_id in node_ids}
        callers = [n for n, e in self.engines.items() if e.life is Life.RUNNING and e.known & gone]
        assert not callers, f"{callers} know a node whose address is given away"
        kept = tuple(node for node in placement.nodes if node.node_id not in node_ids)
        placement = dataclasses.replace(placement, nodes=kept)
        self.group = dataclasses.replace(self.group, placement=placement)
        self.engines = {n: e for n, e in self.engines.items() if n not in node_ids}

    def _apply(self, engine: Engine, command: ApplySettings) -> None:
        """Take every setting but the one value that this engine never takes."""
        assert engine.launched is not None
        runs, wanted = dict(engine.launched.settings), dict(command.settings)
        changes = {n: v for n, v in wanted.items() if runs.get(n) != v}
        refused = [r for r in engine.launched.refused if r.name not in changes]
        for name, value in changes.items():
            if (name, value) == REFUSED_SETTING:
                refused.append(RefusedSetting(name=name, value=value, reason="not built in"))
            else:
                runs[name] = value
        engine.launched = msgspec.structs.replace(
            engine.launched,
            settings=tuple(sorted(runs.items())),
            maxmemory_bytes=command.maxmemory_bytes,
            maxclients=command.maxclients or engine.launched.maxclients,
            refused=tuple(refused),
        )

    def _hand_over(self, command: HandOver) -> None:
        """Let the successor have everything, then change the roles, the old primary first."""
        old, new = self._answering(command.key), self._answering(command.to_key)
        if old.role is not Role.PRIMARY or old.is_held:
            raise Refused("it is no primary that serves")
        if new.follows != old.place.node_id or not new.is_in_sync or new.is_held:
            raise Refused("the successor is not in sync with it")
        if new.place.address != command.to_address or command.is_cluster != new.cluster_enabled:
            raise Refused("the successor is not where it is said to be")
        new.data, new.shift = old.data, old.shift
        new.lineage, new.second = old.lineage, old.second
        old.role, old.follows, old.is_in_sync = Role.REPLICA, new.place.node_id, False
        self._lead(new)
        if command.is_cluster:
            self._take_slots(new, old)
        self._listen(old, command.bind)
        self._listen(new, command.to_bind)

    def _forget(self, engine: Engine, engine_ids: tuple[str, ...]) -> None:
        primary = self.places.get(engine.follows or "")
        if engine.place.engine_id in engine_ids or (primary and primary.engine_id in engine_ids):
            raise Refused("nobody forgets itself or its primary")
        slot_world.forget(self, engine, engine_ids)

    def _release(self, retained: str) -> None:
        placement = self.group.placement
        if placement is None:
            raise Refused("not placed")
        kept = tuple(n for n in placement.nodes if n.node_id == retained)
        left = [e for n, e in self.engines.items() if n != retained and e.life is not Life.ABSENT]
        if left:
            raise Refused("nodes are left")
        placement = GroupPlacement(nodes=kept, endpoints=Endpoints(), build_version="9.1.2")
        self.group = dataclasses.replace(self.group, placement=placement)
        self.engines = {retained: self.engines[retained]}
        self.is_released = True

    def _start(self, launch: Launch) -> None:
        engine = self._by_key(launch.key)
        if engine.life is Life.RUNNING:
            raise Refused(f"{launch.key} runs already")
        if (launch.engine, launch.engine_version) in self.missing:
            raise Refused("there is no build of it")
        is_refused = REFUSED_SETTING in launch.settings
        if engine.starts_to_fail or is_refused:
            engine.starts_to_fail = max(0, engine.starts_to_fail - 1)
            engine.failed_starts += 1
            engine.life = Life.STOPPED
            raise Refused("the engine ended at once")
        engine.data = engine.saved if launch.loads_saved_data and engine.saved else frozenset()
        if launch.loads_append_only_file:
            if engine.file is None:
                raise Refused("there is no append-only file to load")
            engine.data = engine.file
        engine.life, engine.is_held = Life.RUNNING, True
        engine.saved, engine.failed_starts, engine.is_in_sync = None, 0, False
        engine.role, engine.follows, engine.bind = Role.PRIMARY, None, (engine.place.address,)
        engine.lineage, engine.second = self._next_lineage(), ("", -1)
        engine.generation += 1
        engine.cluster_enabled = bool(launch.peers)
        engine.meets, engine.forgotten, engine.last_slots = set(), {}, None
        engine.opened, engine.shift, engine.unheard = {}, 0, frozenset()
        engine.launched = LaunchFact(
            engine=launch.engine,
            engine_version=launch.engine_version,
            settings=append_only.loading(launch).settings,
            maxmemory_bytes=launch.maxmemory_bytes,
            maxclients=launch.maxclients,
            restarts=launch.restarts,
            has_loaded=launch.loads_saved_data or launch.loads_append_only_file,
            refused=engine.launched.refused if engine.launched else (),
        )
        engine.known = frozenset(peer.engine_id for peer in launch.peers)
        for peer in launch.peers:
            if peer.engine_id == launch.engine_id:
                engine.role, engine.slots, engine.epoch = peer.role, peer.slots, peer.epoch
                by_engine_id = {e.place.engine_id: n for n, e in self.engines.items()}
                engine.follows = by_engine_id.get(peer.primary_engine_id or "")
        self._claim(engine)

    def _claim(self, engine: Engine) -> None:
        """A primary that starts follows the dead of its shard; from who serves it takes nothing."""
        if engine.role is not Role.PRIMARY:
            return
        for other in self.engines.values():
            if other.life is not Life.RUNNING and other.place.shard_id == engine.place.shard_id:
                other.slots = ()
            if other is not engine and other.serves_writes():
                pairs = itertools.product(engine.slots, other.slots)
                taken = [a for a, b in pairs if a.first <= b.last and b.first <= a.last]
                assert not taken, f"{engine.place.node_id} takes {taken}, which are served"

    def _follow(self, engine: Engine, address: str) -> None:
        for node_id, other in self.engines.items():
            if other.place.address == address and other is not engine:
                # A full sync replaces whatever the replica had.
                engine.role, engine.follows, engine.is_in_sync = Role.REPLICA, node_id, False
                return
        raise Refused(f"nobody has the address {address}")

    def _promote(self, engine: Engine, command: PromoteNode) -> None:
        """Let a replica take over, and the engines' own cluster tell its siblings."""
        if engine.role is Role.PRIMARY:
            return
        old = self.places[engine.follows or ""]
        if command.over != (old.address, old.port) or engine.is_in_sync:
            raise Refused("it follows somebody else, or its primary is there")
        primaries = [e for e in self.engines.values() if e.role is Role.PRIMARY and e.slots]
        living = [e for e in primaries if e.life is Life.RUNNING and not e.is_silent]
        if command.how is Promotion.FORCE and not self.engines[old.node_id].slots:
            raise Refused("no vote is asked for where there is no slot")
        if command.how is Promotion.FORCE and len(living) <= len(primaries) // 2:
            raise Refused("no majority votes")
        self._lead(engine)
        if command.how is not Promotion.STANDALONE:
            self._take_slots(engine, self.engines[old.node_id])
        if command.bind:
            self._listen(engine, command.bind)

    def _lead(self, engine: Engine) -> None:
        """Become a primary: what follows is a lineage of its own."""
        engine.role, engine.follows, engine.is_in_sync = Role.PRIMARY, None, False
        engine.second = (engine.lineage, engine.offset() + 1)
        engine.lineage = self._next_lineage()

    def _take_slots(self, engine: Engine, old: Engine) -> None:
        engine.epoch = max(e.epoch for e in self.engines.values()) + 1
        engine.slots, old.slots = old.slots, ()
        if old.unheard:
            engine.slots = ranges_of(sorted(slot_world.set_of(engine.slots) - old.unheard))
        engine.opened, old.opened = old.opened, {}
        elsewhere = (e.slots for e in self.engines.values() if e is not engine)
        foreign = slot_world.set_of(part for slots in elsewhere for part in slots)
        # What it had not heard of leaving is dropped when it learns who owns the slots.
        stale = {m for m in engine.data if slot_world.slot_of(m) in foreign - set(engine.opened)}
        engine.data, engine.shift = engine.data - stale, engine.shift + len(stale)
        for other in self.engines.values():
            if other.follows == old.place.node_id and other is not engine:
                other.follows = engine.place.node_id
            for slot, (peer_id, is_import) in other.opened.items():
                if peer_id == old.place.engine_id:
                    other.opened[slot] = (engine.place.engine_id, is_import)

    def _listen(self, engine: Engine, bind: tuple[str, ...]) -> None:
        for other in self.engines.values():
            if other is not engine and other.life is Life.RUNNING and set(bind) & set(other.bind):
                raise Refused("the address is in use")
        engine.bind = bind

    def _stop(self, engine: Engine, *, saves: bool) -> None:
        if engine.life is not Life.RUNNING:
            return
        if saves and engine.is_silent:
            raise Refused("it does not answer, so it cannot save")
        engine.saved = engine.data if saves else None
        code = -9 if engine.is_silent else 0
        self._end(engine)
        engine.exit_code = code

    def _answering(self, key: str) -> Engine:
        engine = self._by_key(key)
        if engine.life is not Life.RUNNING or engine.is_silent:
            raise Refused(f"{key} does not answer")
        return engine

    def _by_key(self, key: str) -> Engine:
        return self.engines[key.partition(".")[2]]
