"""What may a host or the controller be told to do? One frozen value for each safe, repeatable act.

`plan` makes them, `control` carries them out: host commands through the agent of the node's host,
the others against the store. Each is idempotent: doing it twice equals doing it once.

The commands, like `facts` and the values of `store.base`, are structs instead of dataclasses:
their classes are made 40 times faster, which is 7 % of the program's start.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

import msgspec

from cachewright.model.engines import EngineName
from cachewright.model.facts import ProcessIdentity
from cachewright.model.moves import MoveMethod
from cachewright.model.slots import SlotRanges
from cachewright.model.status import Role


def node_key(uid: str, node_id: str) -> str:
    """Return the name by which hosts know a node; it is never used again after the group."""
    return f"{uid}.{node_id}"


def node_id_of(key: str) -> str:
    """Return the node id out of what `node_key` made."""
    return key.partition(".")[2]


@dataclass(frozen=True, kw_only=True, slots=True)
class Peer:
    """One member of the engine's cluster, as it is written into `nodes.conf`."""

    engine_id: str
    address: str
    port: int
    role: Role
    #: On a replica: the engine id of its primary.
    primary_engine_id: str | None
    slots: SlotRanges
    #: Config epoch, one of its own for each primary.
    epoch: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Member:
    """One node of a Memcached cluster, as the configuration endpoint tells clients of it."""

    name: str
    address: str
    port: int


class Part(enum.Enum):
    """What a process is to its group."""

    ENGINE = "engine"
    #: The configuration endpoint of a Memcached cluster.
    DISCOVERY = "discovery"


@dataclass(frozen=True, kw_only=True, slots=True)
class Launch:
    """Everything that a host needs to start one node. Contains secrets: `repr` hides them."""

    key: str
    engine: EngineName
    #: major.minor; the host runs its best build of that line.
    engine_version: str
    address: str
    port: int
    maxmemory_bytes: int
    maxclients: int
    #: Engine settings by the engine's own names, in the order in which they are written.
    settings: tuple[tuple[str, str], ...]
    admin_password: str = field(repr=False)
    replication_password: str = field(repr=False)
    #: The whole cluster, the node itself included; empty where cluster mode is disabled.
    peers: tuple[Peer, ...] = ()
    engine_id: str = ""
    #: Load the snapshot of the last graceful stop.
    loads_saved_data: bool = False
    #: Load the append-only file that the last run kept.
    loads_append_only_file: bool = False
    #: See `NodeSpec.restarts`.
    restarts: int = 0
    part: Part = Part.ENGINE
    #: Of a configuration endpoint: the first list of nodes, and its version.
    members: tuple[Member, ...] = ()
    config_version: int = 0
    transit_encryption: bool = False
    #: Of Memcached, where no setting that an engine is told says it.
    node_type: str = ""


class StartNode(msgspec.Struct, frozen=True, kw_only=True):
    """Start the engine, held, and wait until it answers its administrator."""

    launch: Launch


class AdmitNode(msgspec.Struct, frozen=True, kw_only=True):
    """Let clients and replicas in; listen on `bind` (own address first, endpoints after it)."""

    key: str
    bind: tuple[str, ...]


class BindNode(msgspec.Struct, frozen=True, kw_only=True):
    """Listen on exactly `bind`; connections that exist stay."""

    key: str
    bind: tuple[str, ...]


class FollowPrimary(msgspec.Struct, frozen=True, kw_only=True):
    """Cluster mode disabled: replicate from this primary, or from a replica that follows it."""

    key: str
    address: str
    port: int


class Promotion(enum.Enum):
    """How a replica becomes primary."""

    #: Cluster mode disabled: it stops replicating.
    STANDALONE = "standalone"
    #: Cluster mode: the other primaries vote at once; needs a majority of them.
    FORCE = "force"
    #: Cluster mode without a majority: it claims the slots on its own word.
    TAKEOVER = "takeover"


class PromoteNode(msgspec.Struct, frozen=True, kw_only=True):
    """Make a replica the primary of its shard, whose primary has provably ended.

    The host refuses it where the world has moved on: the replica follows somebody else than
    `over`, or its link to it is up.
    """

    key: str
    how: Promotion
    #: Address and port of the primary that has ended, as the replica named it.
    over: tuple[str, int] = ("", 0)
    #: What it listens on afterwards, own address first; empty: nothing changes.
    bind: tuple[str, ...] = ()
    #: Where the primaries of the other shards listen that may have got slots from this one: what is
    #: theirs by now is not taken over.
    others: tuple[tuple[str, int], ...] = ()


class HandOver(msgspec.Struct, frozen=True, kw_only=True):
    """Let a replica in sync become the primary instead of `key`, which lives and stays.

    No acknowledged write is lost: the old primary takes none while the replica catches up, and is
    a replica before the new one is a primary. It ends within `HAND_OVER_DEADLINE_S`, or all is as
    it was.
    """

    #: The primary.
    key: str
    to_key: str
    #: Where the successor listens for replicas.
    to_address: str
    to_port: int
    is_cluster: bool
    #: What both listen on afterwards, own address first.
    bind: tuple[str, ...]
    to_bind: tuple[str, ...]


class FenceNode(msgspec.Struct, frozen=True, kw_only=True):
    """End this very process at once, whatever it does, and prove it; another one is left alone."""

    key: str
    identity: ProcessIdentity
    #: Its silence is why: it lives on if it answers by now.
    unless_it_answers: bool = False


class ApplySettings(msgspec.Struct, frozen=True, kw_only=True):
    """Bring a running engine to exactly these settings; what it refuses stays as it was.

    Only settings that differ from what the node runs with are told to the engine. Refusals are
    facts (`LaunchFact.refused`), not failures.
    """

    key: str
    settings: tuple[tuple[str, str], ...]
    maxmemory_bytes: int
    #: 0: as it is.
    maxclients: int = 0
    #: Of which type the node is once the engine has taken the memory; empty: as it is.
    node_type: str = ""


class TellMembers(msgspec.Struct, frozen=True, kw_only=True):
    """Make a configuration endpoint tell clients of these nodes."""

    key: str
    config_version: int
    members: tuple[Member, ...]


class IntroduceNode(msgspec.Struct, frozen=True, kw_only=True):
    """Cluster mode: make a node and others know each other (`CLUSTER MEET`); only begins it."""

    key: str
    #: Address and port of each of the others.
    others: tuple[tuple[str, int], ...]


class ForgetNodes(msgspec.Struct, frozen=True, kw_only=True):
    """Cluster mode: strike nodes that have ended for good off what this node knows."""

    key: str
    engine_ids: tuple[str, ...]


class WeighSlots(msgspec.Struct, frozen=True, kw_only=True):
    """Find out what the slots of a primary hold, from counts and samples (`NodeFact.weights`).

    Lasts as long as it takes, and does not keep other commands of the node waiting.
    """

    key: str
    #: `GroupSpec.resharding_generation`: older weights do not count.
    generation: int


class MoveSlots(msgspec.Struct, frozen=True, kw_only=True):
    """Make another primary own these slots with all they hold, while both serve.

    Lasts as long as the move does. Idempotent: slots that are there already are fine, and a move
    that was cut goes on. After a failure each slot is owned by one of the two; some may be open.
    It does not keep other commands of the nodes waiting.
    """

    #: The primary that owns them now.
    key: str
    to_key: str
    to_engine_id: str
    #: Where the other primary listens.
    to_address: str
    to_port: int
    slots: SlotRanges
    method: MoveMethod
    #: Where all other primaries listen: they are told at once who owns what.
    others: tuple[tuple[str, int], ...] = ()
    #: `GroupSpec.resharding_generation`: which resharding it is part of.
    generation: int = 0


class CloseSlots(msgspec.Struct, frozen=True, kw_only=True):
    """Take back moves that were begun and cut: what others hold of these slots comes back.

    Afterwards no slot of `slots` is open on the owner or on any of `others`.
    """

    #: The primary that owns them.
    key: str
    slots: SlotRanges
    #: Where all other primaries listen.
    others: tuple[tuple[str, int], ...]


class ClaimSlots(msgspec.Struct, frozen=True, kw_only=True):
    """Let slots have an owner again that no primary says it owns.

    Whoever holds keys of a slot gets it, `key` where nobody does. Slots that somebody owns by then
    stay with it. Where several hold keys, and nobody says that it was sending them to another one,
    the slot stays without an owner, and the command fails.
    """

    #: A primary that serves.
    key: str
    slots: SlotRanges
    #: Where all other primaries listen.
    others: tuple[tuple[str, int], ...]


class StopNode(msgspec.Struct, frozen=True, kw_only=True):
    """End the process and prove it; `saves`: keep the data for the next start."""

    key: str
    saves: bool = False


class RemoveNode(msgspec.Struct, frozen=True, kw_only=True):
    """Remove the folder of a node whose termination is proven."""

    key: str


HostCommand = (
    StartNode
    | AdmitNode
    | BindNode
    | FollowPrimary
    | PromoteNode
    | HandOver
    | FenceNode
    | ApplySettings
    | TellMembers
    | IntroduceNode
    | ForgetNodes
    | WeighSlots
    | MoveSlots
    | CloseSlots
    | ClaimSlots
    | StopNode
    | RemoveNode
)


class InstallBuild(msgspec.Struct, frozen=True, kw_only=True):
    """Bring a build of the engine onto the host; may take seconds."""

    engine: EngineName
    engine_version: str


class PlaceGroup(msgspec.Struct, frozen=True, kw_only=True):
    """Choose addresses for what has none yet in the group, and write them down."""

    build_version: str


class ReleaseNodes(msgspec.Struct, frozen=True, kw_only=True):
    """These nodes are gone for good: free their names and addresses."""

    node_ids: tuple[str, ...]


class ChangeMembership(msgspec.Struct, frozen=True, kw_only=True):
    """Write down the nodes that a Memcached cluster tells its clients of, as a new version."""

    node_ids: tuple[str, ...]


class ForgetGroup(msgspec.Struct, frozen=True, kw_only=True):
    """Everything of the group is gone: free its names and addresses, drop its records."""


class ReleaseGroup(msgspec.Struct, frozen=True, kw_only=True):
    """Only the retained node is left: free all other names and addresses of the group."""

    retained_node_id: str


StoreCommand = PlaceGroup | ForgetGroup | ReleaseGroup | ReleaseNodes | ChangeMembership
Command = HostCommand | InstallBuild | StoreCommand


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """A command, the node it concerns, and the reason in a sentence for people."""

    command: Command
    reason: str
    node_id: str | None = None
