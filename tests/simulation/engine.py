"""What does one engine process do? Roles, held starts, replication with lag, and hanging.

A model of docs/architecture.md and of what Valkey and Redis do, no more than the control loop can
notice: a link to a primary comes up after a while, by a partial sync where the copy lies on the
primary's chain, else by a full one that replaces it; a replica applies what was written `lag_s`
ago; who hangs neither applies nor answers. The host moves it; it moves nobody.
"""

from __future__ import annotations

import collections
import enum
from dataclasses import dataclass, field

from cachewright.model.commands import Launch
from cachewright.model.facts import (
    ClusterFact,
    EngineFact,
    ProcessIdentity,
    Silence,
    SilenceCause,
    SlotWeights,
)
from cachewright.model.status import Role
from tests.simulation.history import Copy, Link, depth_of

#: Writes that a primary keeps with their times, for replicas that lag: more than any lag holds.
_RECENT_WRITES = 2_000
#: Between two pings of an agent to each node, seconds.
PULSE_S = 0.5


class Tie(enum.Enum):
    """How a replica is connected with its primary."""

    DOWN = "down"
    SYNCING = "syncing"
    UP = "up"


@dataclass(slots=True)
class Hang:
    """A process that lives and does not answer."""

    cause: SilenceCause
    since_s: float


@dataclass(eq=False, slots=True)
class Engine:
    """One process of an engine, from its start to its end."""

    key: str
    launch: Launch
    identity: ProcessIdentity
    #: Whose data it holds: the group, in cluster mode with the shard.
    shard: str
    role: Role
    started_s: float
    copy: Copy
    bind: tuple[str, ...]
    replication_id: str
    #: It answers its administrator from then on, loading or not.
    answers_from_s: float = 0.0
    loads_until_s: float = 0.0
    follows: tuple[str, int] | None = None
    epoch: int = 0
    is_alive: bool = True
    is_held: bool = True
    #: Cluster mode: who got its slots while it hung.
    superseded_by: tuple[str, int] | None = None
    tie: Tie = Tie.DOWN
    source: Engine | None = None
    #: Counts attempts to connect: an older one that comes to its end changes nothing.
    attempt: int = 0
    lag_s: float = 0.001
    takes_no_writes_until_s: float = 0.0
    #: Lost a vote: the engine asks for no other one before.
    asks_no_vote_until_s: float = 0.0
    hang: Hang | None = None
    #: The hang before, and when it was over.
    last_hang: Hang | None = None
    woke_s: float = 0.0
    #: For the judge: from when until when it was the primary.
    reigns_from_s: float = 0.0
    ended_s: float = 0.0
    second_replication_id: str = ""
    second_offset: int = -1
    #: Cluster mode: who it knows, and who it wants to hear nothing of until then.
    known: frozenset[str] = frozenset()
    forgotten: dict[str, float] = field(default_factory=dict)
    #: Slots on their way: the other's engine id, and whether they come in.
    opened: dict[int, tuple[str, bool]] = field(default_factory=dict)
    weights: SlotWeights | None = None
    recent: collections.deque[tuple[float, Link]] = field(
        default_factory=lambda: collections.deque(maxlen=_RECENT_WRITES)
    )

    @property
    def uid(self) -> str:
        """The group that it belongs to."""
        return self.key.partition(".")[0]

    @property
    def name(self) -> str:
        """The id of its node."""
        return self.key.partition(".")[2]

    @property
    def own(self) -> tuple[str, int]:
        """Where it listens for replicas."""
        return self.launch.address, self.launch.port

    @property
    def is_cluster(self) -> bool:
        """Whether it is part of an engine's cluster."""
        return bool(self.launch.peers)

    def answers(self, now_s: float) -> bool:
        """Tell whether it answers its administrator."""
        return self.is_alive and self.hang is None and now_s >= self.answers_from_s

    def is_writable(self) -> bool:
        """Tell whether clients may write to it, now or when it wakes from a hang."""
        return (
            self.is_alive
            and self.role is Role.PRIMARY
            and not self.is_held
            and self.superseded_by is None
        )

    def takes_writes(self, now_s: float) -> bool:
        """Tell whether a write is acknowledged at this moment."""
        is_ready = self.answers(now_s) and now_s >= self.takes_no_writes_until_s
        return self.is_writable() and is_ready and now_s >= self.loads_until_s

    def write(self, now_s: float) -> None:
        """Acknowledge one write."""
        self.copy = Link(self.copy)
        self.recent.append((now_s, self.copy))

    def settle(self, now_s: float) -> None:
        """Apply what has reached it by now."""
        source = self.source
        if self.tie is not Tie.UP or source is None or self.hang is not None:
            return
        if source.role is Role.REPLICA:
            self.copy = source.copy
            return
        for at_s, link in reversed(source.recent):
            if at_s <= now_s - self.lag_s:
                if link.depth > depth_of(self.copy):
                    self.copy = link
                return

    def cut(self, now_s: float) -> None:
        """Lose the link to its primary, after applying what had come."""
        self.settle(now_s)
        self.tie, self.source = Tie.DOWN, None
        self.attempt += 1

    def become_primary(self, now_s: float, new_id: str) -> None:
        """Stop replicating; what it has applied is what there is."""
        self.settle(now_s)
        self.cut(now_s)
        self.second_replication_id, self.second_offset = self.replication_id, depth_of(self.copy)
        self.replication_id = new_id
        self.role, self.follows = Role.PRIMARY, None
        self.recent.clear()

    def become_replica(self, now_s: float, follows: tuple[str, int]) -> None:
        """Follow somebody; the link is not there yet."""
        self.cut(now_s)
        self.role, self.follows = Role.REPLICA, follows

    def fact(self, now_s: float, cluster: ClusterFact | None) -> EngineFact:
        """Return what it says of itself."""
        self.settle(now_s)
        return EngineFact(
            version=f"{self.launch.engine_version}.2",
            role=self.role,
            is_held=self.is_held,
            is_loading=now_s < self.loads_until_s,
            is_in_sync=self.role is Role.REPLICA and self.tie is Tie.UP,
            primary=self.follows if self.role is Role.REPLICA else None,
            replication_id=self.replication_id,
            second_replication_id=self.second_replication_id,
            second_offset=self.second_offset,
            offset=depth_of(self.copy),
            used_memory_bytes=0,
            keys=depth_of(self.copy) if cluster is None or cluster.own_slots else 0,
            bind=self.bind,
            cluster=cluster,
        )

    def silence(self, now_s: float) -> Silence | None:
        """Return what its host says of its silence, `None` while it has noticed none."""
        if self.hang is None:
            return None
        probes = int((now_s - self.hang.since_s) / PULSE_S)
        if probes == 0:
            return None
        return Silence(seconds=now_s - self.hang.since_s, probes=probes, cause=self.hang.cause)
