"""What did a caller ask for? The desired state of one group, and where it was placed.

A group is what the loop works on: a replication group, a single node of Valkey or Redis, or a
Memcached cluster. `GroupSpec` is written by `service` alone, `GroupPlacement` and `Membership` by
`control` alone. Both live under the group's `uid`, which is never used again,
so that a name can be given away at once after a delete.
"""

from __future__ import annotations

import datetime
import enum
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from cachewright.model.engines import EngineName
from cachewright.model.slots import SlotRanges

DEFAULT_PORT = 6379
DEFAULT_MEMCACHED_PORT = 11211
#: Status of a topic that events are published to.
TOPIC_ACTIVE = "active"
#: Among the places of a Memcached cluster: the process of its configuration endpoint.
DISCOVERY_ID = "discovery"


class GroupKind(enum.Enum):
    """What callers know a group as."""

    #: Shards with endpoints that follow roles; its nodes are cache clusters of their own.
    REPLICATION_GROUP = "replication-group"
    #: One node of Valkey or Redis alone; the group's name, the node and the cache cluster are one.
    SINGLE_NODE = "single-node"
    #: Nodes side by side without roles. The group's name is the cache cluster, its one shard
    #: holds the cache nodes by their numbers.
    MEMCACHED = "memcached"


class RestartCause(enum.Enum):
    """What a planned restart is for; it decides what people are told."""

    #: A reboot, or a change that takes effect with one.
    REBOOT = "reboot"
    #: A test of failover: a replica takes over, then the old primary is replaced.
    TEST_FAILOVER = "test-failover"


@dataclass(frozen=True, kw_only=True, slots=True)
class NodeSpec:
    """One node: a cache cluster id, unique in the account; in a Memcached cluster a number."""

    node_id: str
    zone: str
    #: The generation that last asked for a planned restart, 0 where none did; a node that was
    #: started with a smaller number is restarted.
    restarts: int = 0
    #: What `restarts` was last raised for.
    restart_cause: RestartCause = RestartCause.REBOOT
    #: When it was asked for; `None` for nodes that are as old as their group.
    created_at: datetime.datetime | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class ShardSpec:
    """One shard (the API says node group). The first node is the primary of a fresh shard."""

    shard_id: str
    #: What a fresh group begins with; who owns what since is `GroupStatus.owned`. Empty where
    #: cluster mode is disabled, and of shards that were added later.
    slots: SlotRanges
    nodes: tuple[NodeSpec, ...]
    #: Its slots shall move to the others; when it holds nothing any more, it goes.
    is_leaving: bool = False

    def __post_init__(self) -> None:
        if not self.nodes:
            raise ValueError(f"shard {self.shard_id} has no node")


@dataclass(frozen=True, kw_only=True, slots=True)
class Deletion:
    """A delete that was accepted; it is never taken back."""

    requested_at: datetime.datetime
    #: The node that stays as a cache cluster of its own, `None` when all go.
    retained_node_id: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Notification:
    """Where events are published to; only an active topic gets any."""

    topic_arn: str
    topic_status: str


@dataclass(frozen=True, kw_only=True, slots=True)
class PendingChanges:
    """Accepted changes that wait for the maintenance window; nodes go or come, never both."""

    #: Memcached: the zone of each node to add.
    zones_to_add: tuple[str, ...] = ()
    #: Memcached: the nodes to remove.
    node_ids_to_remove: tuple[str, ...] = ()
    parameter_group: str | None = None
    #: Both or none, of groups; of Memcached, the version alone.
    engine: EngineName | None = None
    engine_version: str | None = None
    node_type: str | None = None
    #: Who shall become the primary.
    primary_node_id: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class GroupSpec:
    """The desired state of a group."""

    uid: str
    #: `ReplicationGroupId`, lower case; without a replication group, `CacheClusterId`.
    name: str
    description: str
    engine: EngineName
    #: major.minor, as the API says it.
    engine_version: str
    node_type: str
    port: int
    cluster_enabled: bool
    shards: tuple[ShardSpec, ...]
    parameter_group: str
    automatic_failover: bool
    multi_az: bool
    subnet_group: str
    security_group_ids: tuple[str, ...]
    maintenance_window: str
    snapshot_window: str
    snapshot_retention_days: int
    snapshotting_node_id: str | None
    notification: Notification | None
    auto_minor_version_upgrade: bool
    created_at: datetime.datetime
    kind: GroupKind = GroupKind.REPLICATION_GROUP
    #: Clients speak TLS with the nodes.
    transit_encryption: bool = False
    pending: PendingChanges | None = None
    #: Cluster mode disabled without automatic failover: who shall be the primary whenever it is
    #: able to; `None` where nobody has said so.
    primary_node_id: str | None = None
    #: What was asked of `Durability`; what it says is the same.
    durability: str = "disabled"
    #: Grows by one with each accepted change.
    generation: int = 1
    #: The one that last turned automatic failover on or off, 0 where none did.
    failover_generation: int = 0
    #: The one that last asked for slots to be spread anew over the shards, 0 where none did.
    resharding_generation: int = 0
    deletion: Deletion | None = None

    def __post_init__(self) -> None:
        if not self.shards:
            raise ValueError(f"group {self.name} has no shard")
        ids = [node.node_id for node in self.nodes()]
        if len(set(ids)) != len(ids):
            raise ValueError(f"group {self.name} names a node twice")

    def nodes(self) -> Iterator[NodeSpec]:
        """Yield every node, shard by shard."""
        for shard in self.shards:
            yield from shard.nodes

    def replicas_least(self) -> int:
        """Return how many replicas the shard has that has fewest."""
        return min(len(shard.nodes) for shard in self.shards) - 1

    def topic_arn(self) -> str:
        """Return the topic that its events are published to now, empty for none."""
        notification = self.notification
        is_active = notification is not None and notification.topic_status == TOPIC_ACTIVE
        return notification.topic_arn if notification is not None and is_active else ""

    def cluster_ids(self) -> tuple[str, ...]:
        """Return what its cache clusters are called: all of Memcached is one, else each node."""
        if self.kind is GroupKind.MEMCACHED:
            return (self.name,)
        return tuple(node.node_id for node in self.nodes())

    def node(self, node_id: str) -> NodeSpec | None:
        """Return what is asked of `node_id`; `None` when it is not asked for (any more)."""
        return next((node for node in self.nodes() if node.node_id == node_id), None)

    def shard_of(self, node_id: str) -> ShardSpec:
        """Return the shard that `node_id` belongs to; `KeyError` when there is none."""
        for shard in self.shards:
            if any(node.node_id == node_id for node in shard.nodes):
                return shard
        raise KeyError(node_id)


@dataclass(frozen=True, kw_only=True, slots=True)
class GroupSecret:
    """The passwords that only the service knows; `repr` hides them."""

    admin_password: str = field(repr=False)
    replication_password: str = field(repr=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class NodePlacement:
    """Where one node runs, for its whole life."""

    node_id: str
    host: str
    address: str
    port: int
    #: The 40-character id of the node in the engine's own cluster.
    engine_id: str
    #: Zone and shard are kept here too, for nodes that left the spec and are not gone yet.
    zone: str = ""
    shard_id: str = ""

    @property
    def listens_at(self) -> tuple[str, int]:
        """Return its address and port, as engines name whom they follow."""
        return self.address, self.port


@dataclass(frozen=True, kw_only=True, slots=True)
class Endpoints:
    """Addresses that follow a role; `None` where the mode has no such endpoint."""

    primary: str | None = None
    reader: str | None = None
    configuration: str | None = None

    def addresses(self) -> tuple[str, ...]:
        """Return those that are there."""
        return tuple(a for a in (self.primary, self.reader, self.configuration) if a)


@dataclass(frozen=True, kw_only=True, slots=True)
class GroupPlacement:
    """Where a group runs: one place a node, and the endpoint addresses."""

    nodes: tuple[NodePlacement, ...]
    endpoints: Endpoints
    #: Full version of the build that was chosen, "9.1.2".
    build_version: str
    #: Every way of addressing: own address a node, or one address and a port a node.
    shares_address: bool = False
    #: How many places of the pool were tried for it so far; the next ones are behind them.
    tried: int = 0

    def of(self, node_id: str) -> NodePlacement:
        """Return where `node_id` runs; `KeyError` when it has no place."""
        for node in self.nodes:
            if node.node_id == node_id:
                return node
        raise KeyError(node_id)

    def node_ids(self) -> frozenset[str]:
        """Return everything that has a place."""
        return frozenset(node.node_id for node in self.nodes)


@dataclass(frozen=True, kw_only=True, slots=True)
class Membership:
    """The nodes that a Memcached cluster tells its clients of; made anew at each change."""

    #: Starts at 1 and grows by one with each change of the list.
    version: int
    node_ids: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Group:
    """All that is written down about one group."""

    spec: GroupSpec
    secret: GroupSecret
    placement: GroupPlacement | None
    #: What the group's parameter group sets, by the API's names; defaults are not in it.
    parameters: Mapping[str, str] = field(default_factory=dict)
    #: Of a Memcached cluster that has served once.
    membership: Membership | None = None
