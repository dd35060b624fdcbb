"""What was seen? Facts that agents report, with silence as a value of its own.

`Unknown` is never "gone": only a `TerminationProof` says that a process cannot write any more.
Who observes is an agent; who reads is `plan`. Nothing here is stored.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping

import msgspec

from cachewright.model.engines import EngineName
from cachewright.model.moves import Moves
from cachewright.model.slots import SlotRanges
from cachewright.model.status import Role


class Unknown(msgspec.Struct, frozen=True, kw_only=True):
    """Nobody can say; `reason` is for people, e.g. "no answer within 1 s"."""

    reason: str


class ProcessIdentity(msgspec.Struct, frozen=True, kw_only=True):
    """Which process: a pid alone is used again, pid + start time + boot id never is."""

    pid: int
    #: Clock ticks after boot, field 22 of /proc/PID/stat.
    start_ticks: int
    boot_id: str


class TerminationProof(msgspec.Struct, frozen=True, kw_only=True):
    """Evidence that a process has ended: the kernel said so, or its boot is over.

    Made by `agent.process` alone.
    """

    identity: ProcessIdentity
    #: Exit code, negative for a signal; `None` where the process was not our child.
    exit_code: int | None
    #: How it is known, for people.
    evidence: str


class Absent(msgspec.Struct, frozen=True, kw_only=True):
    """The host has no process and no folder of the node: it was never started, or was removed."""


class Running(msgspec.Struct, frozen=True, kw_only=True):
    """The process lives."""

    identity: ProcessIdentity


class Stopped(msgspec.Struct, frozen=True, kw_only=True):
    """The host has a folder of the node and proof that no process of it lives.

    `proof` is `None` only if no process was ever started from the folder.
    """

    proof: TerminationProof | None
    #: Last lines of the engine's log, at most 20; empty when it had nothing to say.
    log_tail: tuple[str, ...] = ()


ProcessFact = Absent | Running | Stopped | Unknown


class OpenSlot(msgspec.Struct, frozen=True, kw_only=True):
    """A slot that one node says is on its way from or to another (`[slot->-id]`, `[slot-<-id]`)."""

    slot: int
    #: The engine id of the other one.
    peer_id: str
    #: It comes in; else it goes out.
    is_import: bool


class ClusterFact(msgspec.Struct, frozen=True, kw_only=True):
    """What one node says of its cluster (`CLUSTER INFO`, `CLUSTER NODES`)."""

    is_ok: bool
    slots_assigned: int
    known_nodes: int
    current_epoch: int
    #: Of the claim to its slots; on a replica of its primary's claim, as it knows it. 0: of none.
    config_epoch: int = 0
    #: The slots this node itself says it owns; empty on a replica.
    own_slots: SlotRanges
    #: Engine ids that it knows for good: its own, and all that are not in a handshake.
    known_ids: frozenset[str] = frozenset()
    #: Those of them that own a slot, as it sees it.
    owner_ids: frozenset[str] = frozenset()
    #: Moves of slots that somebody has begun with this node and not ended.
    open_slots: tuple[OpenSlot, ...] = ()
    #: Commands of clients that it has sent on to the owner of their slot, since it started.
    sent_on: int = 0


class SlotWeights(msgspec.Struct, frozen=True, kw_only=True):
    """What the slots of one primary hold, from counts and samples, as its host weighed them."""

    #: What they were weighed for: `WeighSlots.generation`.
    generation: int
    #: Slot and bytes of each slot that holds something, ascending; the others are empty.
    by_slot: tuple[tuple[int, int], ...]
    #: Slots with a key that is too large to be moved.
    stuck: tuple[int, ...] = ()


class EngineFact(msgspec.Struct, frozen=True, kw_only=True):
    """What one engine said of itself. Engines without replication leave the defaults."""

    version: str
    #: A node without replication is the primary of what it holds.
    role: Role
    #: Clients cannot use it and replicas cannot follow it yet (safety law 2).
    is_held: bool
    is_loading: bool
    #: On a replica: the link to its primary is up and the first sync is over.
    is_in_sync: bool = False
    #: On a replica: address and port of the primary it follows.
    primary: tuple[str, int] | None = None
    replication_id: str = ""
    #: The lineage before the last promotion, valid up to `second_offset`.
    second_replication_id: str = ""
    second_offset: int = -1
    offset: int = 0
    used_memory_bytes: int
    #: Keys in all its databases.
    keys: int = 0
    #: Addresses it listens on.
    bind: tuple[str, ...]
    cluster: ClusterFact | None = None
    #: Of a configuration endpoint: the version of the list of nodes that it tells clients.
    config_version: int | None = None


class SilenceCause(enum.Enum):
    """Why a process that lives does not answer, as far as its host can tell."""

    #: Nothing stands out: it sleeps, or nobody looked.
    UNTOLD = "untold"
    #: A signal or a debugger has stopped it.
    STOPPED = "stopped"
    #: It waits for a disk.
    DISK = "disk"
    #: It answers `BUSY`: a script or a function runs.
    SCRIPT = "script"
    #: It uses its processor and does not come round to answering.
    WORKING = "working"
    #: The host is so busy that neither it nor its agent gets on.
    STARVED = "starved"
    #: It answers, but not what is asked: it lets nobody in, or hangs up.
    REFUSING = "refusing"


class Silence(msgspec.Struct, frozen=True, kw_only=True):
    """How long a living process has not answered its host, and why.

    Only waits in vain are counted: not the time in which the agent itself did not run.
    """

    seconds: float
    #: Probes in a row that got no answer.
    probes: int
    cause: SilenceCause


class RefusedSetting(msgspec.Struct, frozen=True, kw_only=True):
    """A value that the engine did not take, in its own words."""

    name: str
    value: str
    reason: str


class LaunchFact(msgspec.Struct, frozen=True, kw_only=True):
    """With what the process of a node runs, as its host wrote it down."""

    engine: EngineName
    #: As a launch says it: major.minor, of Memcached the full version.
    engine_version: str
    #: Settings by the engine's names, as they were last accepted.
    settings: tuple[tuple[str, str], ...]
    maxmemory_bytes: int
    maxclients: int
    #: `NodeSpec.restarts` as it was when this process was started.
    restarts: int
    #: It began with the snapshot or the append-only file that lay in its folder, not empty.
    has_loaded: bool = False
    refused: tuple[RefusedSetting, ...] = ()
    #: See `Launch.node_type`.
    node_type: str = ""
    #: It holds its items where the next process finds them; its memory has a fixed size then.
    keeps_items: bool = False


class NodeFact(msgspec.Struct, frozen=True, kw_only=True):
    """All that a host can say of one node."""

    process: ProcessFact
    engine: EngineFact | Unknown
    #: A snapshot from a graceful stop lies in the folder and has not been used yet.
    has_saved_data: bool = False
    #: An append-only file that its last run kept, as primary or replica, lies in the folder.
    has_append_only_file: bool = False
    #: That file is being written anew, or was when the process ended, which had more than it has.
    is_file_behind: bool = False
    #: While the process lives and `engine` is `Unknown`.
    silence: Silence | None = None
    #: Starts that failed in a row, counted by the host; a node that answered resets it.
    failed_starts: int = 0
    #: Why the last start failed; empty when it did not.
    failure: str = ""
    #: Of the last launch, whether its process lives or not; `None` before the first.
    launched: LaunchFact | None = None
    #: Why a planned restart could not keep what the run before held; empty when it could.
    cold_start_reason: str = ""
    #: What its slots hold, if this process was asked to be weighed.
    weights: SlotWeights | None = None
    #: Cluster mode: what a process that has ended owned by its own word; `None` where it left none.
    last_slots: SlotRanges | None = None
    #: It owns no slot any more, and clients that have not learnt it still come.
    is_sought: bool = False
    #: It serves again, and clients that have lost it may not have found it yet.
    is_missed: bool = False


NO_NODE = NodeFact(process=Absent(), engine=Unknown(reason="not started"))


class Observed(msgspec.Struct, frozen=True, kw_only=True):
    """The world of one group at one moment. A node that is missing here is unknown."""

    nodes: Mapping[str, NodeFact] = msgspec.field(default_factory=dict)
    #: For each node whose engine is `Unknown`: seconds since it last answered. A node that is
    #: missing here was never silent.
    silence_s: Mapping[str, float] = msgspec.field(default_factory=dict)
    #: Full version of the build that would run now, `None` while none is on the host.
    build_version: str | None = None
    #: What has failed again and again (no build to be had, no free address, an address that
    #: somebody else took); empty when nothing does.
    obstacle: str = ""
    #: It has failed so often that a create is given up.
    is_hopeless: bool = False
    #: Slots on their way.
    moves: Moves = Moves()

    def of(self, node_id: str) -> NodeFact:
        """Return what is known of a node."""
        fact = self.nodes.get(node_id)
        if fact is None:
            silence = Unknown(reason="the host has not reported")
            return NodeFact(process=silence, engine=silence)
        return fact
