"""How is a group doing? What `control` writes down after each round, and nothing else.

Status is recomputed from observation; only events and the failure that ended a create outlive it.
"""

from __future__ import annotations

import datetime
import enum
from dataclasses import dataclass

from cachewright.model.engines import EngineName
from cachewright.model.slots import SlotRanges


class GroupState(enum.Enum):
    """The states of a replication group, by the words of the API."""

    CREATING = "creating"
    AVAILABLE = "available"
    MODIFYING = "modifying"
    DELETING = "deleting"
    CREATE_FAILED = "create-failed"


class NodeState(enum.Enum):
    """The states of a member (cache cluster), by the words of the API."""

    CREATING = "creating"
    AVAILABLE = "available"
    MODIFYING = "modifying"
    DELETING = "deleting"
    REBOOTING = "rebooting cluster nodes"
    #: The API has no word for a create that failed: this one is its end state for a cluster.
    INCOMPATIBLE_NETWORK = "incompatible-network"


class Role(enum.Enum):
    """The role of a node, as the engine itself reports it."""

    PRIMARY = "primary"
    REPLICA = "replica"


class ParameterState(enum.Enum):
    """How far the values of its parameter group have reached a node, by the words of the API."""

    IN_SYNC = "in-sync"
    APPLYING = "applying"
    PENDING_REBOOT = "pending-reboot"


@dataclass(frozen=True, kw_only=True, slots=True)
class NodeStatus:
    """One node as it was last seen."""

    node_id: str
    state: NodeState
    #: `None` while nobody knows.
    role: Role | None
    #: Full version that runs, or ran last; `None` where none did.
    engine_version: str | None = None
    #: Of which engine that is.
    engine: EngineName | None = None
    #: It is to change its engine or version, or has not served since it did.
    is_upgrading: bool = False
    #: It was admitted and has not ended since: a living copy of its shard's data.
    has_copy: bool = False
    #: The snapshot of a graceful stop lies ready for its next start.
    has_saved_data: bool = False
    #: An append-only file that its last run kept lies in its folder.
    has_append_only_file: bool = False
    #: When it ended although nobody had asked for it, oldest first; only the recent ones.
    ends: tuple[datetime.datetime, ...] = ()
    #: How many of them came in a row soon after a start, the newest included.
    quick_ends: int = 0
    #: Of one that could not be made since it was added: why, in one line; how many of its starts
    #: failed in a row; and when that was seen.
    failure: str = ""
    failed_starts: int = 0
    failed_at: datetime.datetime | None = None
    #: Its process lived when it was last seen.
    is_running: bool = False
    #: Settings that the engine is about to be told, with their values.
    applying: tuple[tuple[str, str], ...] = ()
    #: Names of settings that take effect at its next planned restart.
    awaiting_reboot: tuple[str, ...] = ()
    #: Settings that the engine did not take, each with value and reason.
    refused: tuple[tuple[str, str, str], ...] = ()
    #: When it was last seen to have become a replica while it lived; `None` if it is none.
    stepped_down_at: datetime.datetime | None = None
    #: Which of the restarts that were asked for its last process has seen: `NodeSpec.restarts` as
    #: it was when that was started.
    restarts: int = 0

    @property
    def parameter_state(self) -> ParameterState:
        """How far the values of its parameter group have got."""
        if self.applying or self.refused:
            return ParameterState.APPLYING
        return ParameterState.PENDING_REBOOT if self.awaiting_reboot else ParameterState.IN_SYNC


@dataclass(frozen=True, kw_only=True, slots=True)
class ShardSlots:
    """Slots of one shard."""

    shard_id: str
    slots: SlotRanges


@dataclass(frozen=True, kw_only=True, slots=True)
class Resharding:
    """How far the slots have got that shall be spread anew.

    Where they shall go is written down once it is decided: what they hold goes on changing, and
    whoever decides anew would never be done.
    """

    #: `GroupSpec.resharding_generation` that it answers.
    generation: int
    #: Who shall own what; empty until that is decided.
    target: tuple[ShardSlots, ...] = ()
    #: Slots that had another owner when that was decided, and what they held.
    slots_to_move: int = 0
    bytes_to_move: int = 0
    #: How much has been done, 0 to 100; it never falls.
    progress_percent: float = 0.0
    #: When all slots had got where they shall be; `None` before.
    arrived_at: datetime.datetime | None = None
    is_over: bool = False
    #: When it is over: shards of those that leave which own and hold nothing, with proof.
    emptied: tuple[str, ...] = ()
    #: Slots that stay where they are, because of a key that is too large.
    stuck: SlotRanges = ()
    #: Shards that were added for it and could not be made, each with the reason.
    stillborn: tuple[tuple[str, str], ...] = ()
    #: Why it ended before everything was done; empty where it did not.
    failure: str = ""

    @property
    def stage(self) -> tuple[int, bool, bool, bool]:
        """How far it has got; whoever compares two sees that there is something to do at once."""
        return self.generation, bool(self.target), self.arrived_at is not None, self.is_over


@dataclass(frozen=True, kw_only=True, slots=True)
class GroupStatus:
    """A group as it was last seen."""

    state: GroupState
    #: The generation of the spec that this status speaks of.
    observed_generation: int
    nodes: tuple[NodeStatus, ...]
    #: One sentence on what is waited for or what went wrong; empty when all is well.
    reason: str = ""
    #: The group was `available` at least once.
    was_available: bool = False
    #: While nodes come, go or restart because somebody asked for it: how many there were before.
    changing_from: int | None = None
    #: It does not serve fully, and not because of what somebody asked for: people were told.
    is_broken: bool = False
    #: The node type that all its nodes have; empty where nobody has looked yet.
    node_type: str = ""
    #: Cluster mode: who owned what when that was last seen.
    owned: tuple[ShardSlots, ...] = ()
    #: Cluster mode: slots that no primary claimed; all that were found, until each has an owner.
    unowned: SlotRanges = ()
    #: The last resharding, also when it is over; `None` where there was none.
    resharding: Resharding | None = None

    @property
    def is_changing(self) -> bool:
        """Nodes come, go or restart because somebody asked for it."""
        return self.changing_from is not None

    def of(self, node_id: str) -> NodeStatus | None:
        """Return the status of one node, `None` when it is not known."""
        for node in self.nodes:
            if node.node_id == node_id:
                return node
        return None


class SourceType(enum.Enum):
    """What an event is about, by the words of the API."""

    CACHE_CLUSTER = "cache-cluster"
    CACHE_PARAMETER_GROUP = "cache-parameter-group"
    CACHE_SECURITY_GROUP = "cache-security-group"
    CACHE_SUBNET_GROUP = "cache-subnet-group"
    REPLICATION_GROUP = "replication-group"


@dataclass(frozen=True, kw_only=True, slots=True)
class Event:
    """Something that happened, in the words that `DescribeEvents` shows."""

    source_type: SourceType
    source_id: str
    message: str
    at: datetime.datetime
    #: ARN of the topic that it is published to, empty for none.
    topic_arn: str = ""
