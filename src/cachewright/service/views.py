"""What is there to be seen? Groups and cache clusters as the API's nouns, read from the records.

One uid is a replication group as long as its name leads to it. When a group was deleted with its
primary retained, the name goes and the uid stays behind as a standalone cache cluster: it is seen
as the single node that it is, and its first change writes that down.

What the loop wrote down is as old as its last round. What a spec says that the loop has not looked
at yet (nodes to come, to go, to restart) shows at once: whoever asks after an accepted call sees
what it began, never the `available` from before it.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from cachewright.model import engines
from cachewright.model.groups import (
    DISCOVERY_ID,
    GroupKind,
    GroupPlacement,
    GroupSpec,
    NodePlacement,
    NodeSpec,
    RestartCause,
    ShardSpec,
)
from cachewright.model.slots import SlotRanges
from cachewright.model.status import GroupState, GroupStatus, NodeState, NodeStatus, Role
from cachewright.service import rules
from cachewright.store.records import Records


@dataclass(frozen=True, kw_only=True, slots=True)
class GroupView:
    """One group: what was asked for, where it runs, how it was last seen."""

    spec: GroupSpec
    placement: GroupPlacement | None
    status: GroupStatus | None
    #: Only one retained node is left, which is no member of a replication group any more.
    is_standalone: bool
    #: Revision at which the spec was written, for compare-and-set.
    spec_revision: int
    #: The same of the status; 0 where there is none.
    status_revision: int = 0

    @property
    def state(self) -> GroupState:
        """The state that the API shows: an accepted delete is never taken back."""
        if self.spec.deletion is not None:
            return GroupState.DELETING
        if self.status is None:
            return GroupState.CREATING
        awaited = {self._awaited(node) for node in self.spec.nodes()}
        is_changing = self.changes_nodes() or RestartCause.REBOOT in awaited
        is_changing = is_changing or self._is_promoting() or self.is_resharding
        is_changing = is_changing or self._is_refitting()
        if self.status.state is GroupState.AVAILABLE and is_changing:
            return GroupState.MODIFYING
        return self.status.state

    def changes_nodes(self) -> bool:
        """Tell whether nodes come or go."""
        seen = (self.seen(node.node_id) for node in self.spec.nodes())
        comes = any(one is None or one.state is NodeState.CREATING for one in seen)
        return comes or bool(self.leaving())

    @property
    def changes_type(self) -> bool:
        """Tell whether nodes have another type than they are to have."""
        known = self.status.node_type if self.status else ""
        return known not in {"", self.spec.node_type}

    def _is_promoting(self) -> bool:
        """Tell whether a node is to become the primary that is able to and is none yet."""
        wished = self.spec.primary_node_id
        if wished is None:
            return False
        is_able = self.node_state(wished) is NodeState.AVAILABLE
        return is_able and self.role_of(wished) is Role.REPLICA

    @property
    def is_resharding(self) -> bool:
        """Tell whether slots are to be spread anew, or a shard is to go, and that is not over."""
        if any(shard.is_leaving for shard in self.spec.shards):
            return True
        asked = self.spec.resharding_generation
        known = self.status.resharding if self.status else None
        return asked > 0 and (known is None or known.generation < asked or not known.is_over)

    @property
    def resharding_percent(self) -> float | None:
        """How much of a resharding that goes on is done, 0 to 100; `None` where none does."""
        known = self.status.resharding if self.status else None
        if self.spec.deletion is not None or not self.is_resharding:
            return None
        is_new = known is None or known.generation < self.spec.resharding_generation
        return 0.0 if known is None or is_new else known.progress_percent

    def _is_refitting(self) -> bool:
        """Tell whether nodes get another type or version, which the loop has not looked at yet."""
        if self.status is None or self.status.observed_generation >= self.spec.generation:
            return False
        return self.changes_type or any(self._is_outdated(node) for node in self.spec.nodes())

    def _is_outdated(self, node: NodeSpec) -> bool:
        """Tell whether a node was last seen with another version than it shall run."""
        seen = self.seen(node.node_id)
        runs = seen.engine_version if seen else None
        return runs is not None and (
            engines.api_version_of(self.spec.engine, runs) != self.spec.engine_version
        )

    def slots_of(self, shard: ShardSpec) -> SlotRanges:
        """Return what a shard owned when that was last seen; of a new group what it shall own."""
        owned = self.status.owned if self.status else ()
        if not owned:
            return shard.slots
        return next((one.slots for one in owned if one.shard_id == shard.shard_id), ())

    def shards(self) -> tuple[ShardSpec, ...]:
        """Return the shards with all their nodes, those included that are on their way out.

        A shard that was dropped is there as long as one of its nodes has a place.
        """
        if self.placement is None:
            return self.spec.shards
        if not self.spec.cluster_enabled:  # there is one shard: what leaves, leaves it
            (shard,) = self.spec.shards
            return (dataclasses.replace(shard, nodes=(*shard.nodes, *self.leaving())),)
        of_shard = {place.node_id: place.shard_id for place in self.placement.nodes}
        leaving: dict[str, list[NodeSpec]] = {}
        for node in self.leaving():
            leaving.setdefault(of_shard[node.node_id], []).append(node)
        there = tuple(
            dataclasses.replace(shard, nodes=(*shard.nodes, *leaving.pop(shard.shard_id, ())))
            for shard in self.spec.shards
        )
        gone = tuple(
            ShardSpec(shard_id=shard_id, slots=(), nodes=tuple(nodes), is_leaving=True)
            for shard_id, nodes in leaving.items()
            if shard_id
        )
        return tuple(sorted((*there, *gone), key=lambda shard: shard.shard_id))

    @property
    def reason(self) -> str:
        """What is waited for or went wrong, in a sentence; empty when all is well."""
        if self.status is None or self.status.reason or self.spec.deletion is not None:
            return self.status.reason if self.status else ""
        if self._is_promoting():
            return f"{self.spec.primary_node_id} becomes the primary"
        # Not looked at yet.
        coming = [n.node_id for n in self.spec.nodes() if self.seen(n.node_id) is None]
        by_verb = {"adding": coming, "removing": [node.node_id for node in self.leaving()]}
        return "; ".join(f"{verb} {', '.join(ids)}" for verb, ids in by_verb.items() if ids)

    @property
    def switches_failover(self) -> bool:
        """Automatic failover was turned on or off, and the loop has not looked at that yet."""
        looked_at = self.status.observed_generation if self.status else 0
        return looked_at < self.spec.failover_generation

    def leaving(self) -> tuple[NodeSpec, ...]:
        """Return the nodes that were taken out of the group and are not gone yet."""
        # Of a deleted group nothing is in the spec but what was there at the delete.
        if self.placement is None:
            return ()
        staying = {DISCOVERY_ID, *(node.node_id for node in self.spec.nodes())}
        return tuple(
            NodeSpec(node_id=place.node_id, zone=place.zone)
            for place in self.placement.nodes
            if place.node_id not in staying
        )

    def seen(self, node_id: str) -> NodeStatus | None:
        """Return how a node was last seen, `None` when it never was."""
        return None if self.status is None else self.status.of(node_id)

    def place_of(self, node_id: str) -> NodePlacement | None:
        """Return where a node runs, `None` before it has a place."""
        if self.placement is None or node_id not in self.placement.node_ids():
            return None
        return self.placement.of(node_id)

    def node_state(self, node_id: str) -> NodeState:
        """Return the state of one node."""
        deletion = self.spec.deletion
        if deletion is not None and deletion.retained_node_id != node_id:
            return NodeState.DELETING
        node = next((one for one in self.spec.nodes() if one.node_id == node_id), None)
        if node is None:
            return NodeState.DELETING
        seen = self.seen(node_id)
        if seen is None:
            return NodeState.CREATING
        cause = self._awaited(node)
        if cause is not None:
            return _AWAITING[cause]
        is_refitted = seen.state is NodeState.AVAILABLE and self._is_refitting()
        return NodeState.MODIFYING if is_refitted else seen.state

    def _awaited(self, node: NodeSpec) -> RestartCause | None:
        """Return why a node is to restart, where its status does not say so itself.

        That is where the loop has not looked at it yet, and while a test of failover has begun
        and the old primary has not ended yet: it serves as if nothing were.
        """
        seen, looked_at = self.seen(node.node_id), self.status
        is_test = node.restart_cause is RestartCause.TEST_FAILOVER
        if is_test and seen is not None and seen.restarts < node.restarts:
            return RestartCause.TEST_FAILOVER
        if looked_at is None or looked_at.observed_generation >= self.spec.generation:
            return None
        if self.spec.kind is GroupKind.MEMCACHED and self._is_outdated(node):
            return RestartCause.REBOOT
        return node.restart_cause if node.restarts > looked_at.observed_generation else None

    def role_of(self, node_id: str) -> Role | None:
        """Return the role in which a node was last seen, `None` while nobody knows."""
        seen = self.seen(node_id)
        return None if seen is None else seen.role

    def primary_of(self, nodes: tuple[NodeSpec, ...]) -> str | None:
        """Return which of `nodes` was last seen as primary."""
        return next((n.node_id for n in nodes if self.role_of(n.node_id) is Role.PRIMARY), None)


@dataclass(frozen=True, kw_only=True, slots=True)
class ClusterView:
    """One cache cluster: a member of a group, a standalone node, or a whole Memcached cluster."""

    group: GroupView
    #: `CacheClusterId`.
    cluster_id: str
    #: Its nodes by their numbers, those included that are on their way out.
    nodes: tuple[NodeSpec, ...]

    @property
    def is_memcached(self) -> bool:
        """Its nodes have numbers of their own; else its one node has the id of the cluster."""
        return self.group.spec.kind is GroupKind.MEMCACHED

    @property
    def node(self) -> NodeSpec:
        """The first node; where there are roles, the only one."""
        return self.nodes[0]

    @property
    def staying(self) -> tuple[NodeSpec, ...]:
        """Its nodes without those that are on their way out."""
        if not self.is_memcached:
            return self.nodes
        return tuple(self.group.spec.nodes())

    @property
    def state(self) -> NodeState:
        """The state that the API shows."""
        if not self.is_memcached:
            return self.group.node_state(self.cluster_id)
        state = _OF_GROUP.get(self.group.state)
        if state is not None:
            return state
        states = {self.group.node_state(node.node_id) for node in self.nodes}
        if self.group.changes_nodes() or self.group.changes_type:
            return NodeState.MODIFYING
        if NodeState.REBOOTING in states:
            return NodeState.REBOOTING
        return NodeState[self.group.state.name]


#: The state of a node that was asked to restart. A test of failover leaves the group available.
_AWAITING = {
    RestartCause.REBOOT: NodeState.REBOOTING,
    RestartCause.TEST_FAILOVER: NodeState.MODIFYING,
}
#: States of a group that say all of a Memcached cluster, whatever its nodes do.
_OF_GROUP = {
    GroupState.CREATING: NodeState.CREATING,
    GroupState.DELETING: NodeState.DELETING,
    GroupState.CREATE_FAILED: NodeState.INCOMPATIBLE_NETWORK,
}


def of_new(spec: GroupSpec) -> GroupView:
    """Return the view of a group that was just accepted."""
    return GroupView(
        spec=spec,
        placement=None,
        status=None,
        is_standalone=spec.kind is not GroupKind.REPLICATION_GROUP,
        spec_revision=0,
    )


def view(records: Records, uid: str) -> GroupView | None:
    """Return the group with this uid, `None` when it is gone."""
    spec = records.spec(uid)
    if spec is None:
        return None
    placement, status = records.placement(uid), records.status(uid)
    is_standalone = records.uid_of_group(spec.value.name) != uid
    return GroupView(
        spec=_alone(spec.value) if is_standalone else spec.value,
        placement=None if placement is None else placement.value,
        status=None if status is None else status.value,
        is_standalone=is_standalone,
        spec_revision=spec.mod_revision,
        status_revision=0 if status is None else status.mod_revision,
    )


def _alone(spec: GroupSpec) -> GroupSpec:
    """Return what is left of a group of which only one node was retained."""
    retained = spec.deletion.retained_node_id if spec.deletion else None
    if retained is None:
        return spec
    nodes = tuple(node for node in spec.nodes() if node.node_id == retained)
    return dataclasses.replace(
        spec,
        kind=GroupKind.SINGLE_NODE,
        name=retained,
        description="",
        shards=(ShardSpec(shard_id=spec.shards[0].shard_id, slots=(), nodes=nodes),),
        automatic_failover=False,
        multi_az=False,
        snapshotting_node_id=None,
        deletion=None,
    )


def find_group(records: Records, name: str) -> GroupView:
    """Return the replication group `name` in any case of letters, or raise that there is none."""
    uid = records.uid_of_group(name.lower()) if rules.is_identifier(name) else None
    found = None if uid is None else view(records, uid)
    if found is None:
        raise rules.group_not_found(name)
    return found


def find_any(records: Records, name: str) -> GroupView:
    """Return the group `name`, else the one that has a cache cluster of this name."""
    lower = name.lower()
    is_group = not rules.is_identifier(name) or records.uid_of_group(lower) is not None
    if is_group or records.uid_of_node(lower) is None:
        return find_group(records, name)
    return find_cluster(records, name).group


def find_cluster(records: Records, cluster_id: str) -> ClusterView:
    """Return the cache cluster `cluster_id` in any case of letters, or raise that there is none."""
    node_id = cluster_id.lower()
    uid = records.uid_of_node(node_id) if rules.is_identifier(node_id) else None
    found = None if uid is None else cluster(records, node_id, uid)
    if found is None:
        raise rules.cluster_not_found(cluster_id)
    return found


def cluster(records: Records, cluster_id: str, uid: str) -> ClusterView | None:
    """Return the cache cluster `cluster_id` of the group `uid`, `None` when it is gone."""
    group = view(records, uid)
    return None if group is None else cluster_of(group, cluster_id)


def cluster_of(group: GroupView, cluster_id: str) -> ClusterView | None:
    """Return a group's cache cluster, `None` when it has none of this id."""
    known = (*group.spec.nodes(), *group.leaving())
    if group.spec.kind is GroupKind.MEMCACHED:
        nodes = tuple(sorted(known, key=lambda node: node.node_id))
    else:
        nodes = tuple(node for node in known if node.node_id == cluster_id)
    return ClusterView(group=group, cluster_id=cluster_id, nodes=nodes) if nodes else None


def with_spec(group: GroupView, spec: GroupSpec) -> GroupView:
    """Return how a group is seen once `spec` is written down."""
    return dataclasses.replace(group, spec=spec)


def changed(cluster: ClusterView, spec: GroupSpec) -> ClusterView:
    """Return how a cluster is seen once `spec` is written down."""
    return cluster_of(with_spec(cluster.group, spec), cluster.cluster_id) or cluster
