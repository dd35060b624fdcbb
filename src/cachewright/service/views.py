"""What is there to be seen? Groups and cache clusters as the API's nouns, read from the records.

One uid is a replication group as long as its name leads to it. When a group was deleted with its
primary retained, the name goes and the uid stays behind as a standalone cache cluster.
"""

from __future__ import annotations

from dataclasses import dataclass

from cachewright.model.groups import GroupPlacement, GroupSpec, NodeSpec
from cachewright.model.status import GroupState, GroupStatus, NodeState, Role
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

    @property
    def state(self) -> GroupState:
        """The state that the API shows: an accepted delete is never taken back."""
        if self.spec.deletion is not None:
            return GroupState.DELETING
        return GroupState.CREATING if self.status is None else self.status.state

    def node_state(self, node_id: str) -> NodeState:
        """Return the state of one member."""
        deletion = self.spec.deletion
        if deletion is not None and deletion.retained_node_id != node_id:
            return NodeState.DELETING
        seen = None if self.status is None else self.status.of(node_id)
        return NodeState.CREATING if seen is None else seen.state

    def role_of(self, node_id: str) -> Role | None:
        """Return the role in which a node was last seen, `None` while nobody knows."""
        seen = None if self.status is None else self.status.of(node_id)
        return None if seen is None else seen.role

    def primary_of(self, nodes: tuple[NodeSpec, ...]) -> str | None:
        """Return which of `nodes` was last seen as primary."""
        return next((n.node_id for n in nodes if self.role_of(n.node_id) is Role.PRIMARY), None)


@dataclass(frozen=True, kw_only=True, slots=True)
class ClusterView:
    """One cache cluster: a member of a group, or a standalone one."""

    group: GroupView
    node: NodeSpec

    @property
    def state(self) -> NodeState:
        """The state that the API shows."""
        return self.group.node_state(self.node.node_id)


def of_new(spec: GroupSpec) -> GroupView:
    """Return the view of a group that was just accepted."""
    return GroupView(
        spec=spec,
        placement=None,
        status=None,
        is_standalone=False,
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
        spec=spec.value,
        placement=None if placement is None else placement.value,
        status=None if status is None else status.value,
        is_standalone=is_standalone,
        spec_revision=spec.mod_revision,
    )


def find_group(records: Records, name: str) -> GroupView:
    """Return the replication group `name` in any case of letters, or raise that there is none."""
    uid = records.uid_of_group(name.lower()) if rules.is_identifier(name) else None
    found = None if uid is None else view(records, uid)
    if found is None:
        raise rules.group_not_found(name)
    return found


def find_cluster(records: Records, cluster_id: str) -> ClusterView:
    """Return the cache cluster `cluster_id` in any case of letters, or raise that there is none."""
    node_id = cluster_id.lower()
    uid = records.uid_of_node(node_id) if rules.is_identifier(node_id) else None
    found = None if uid is None else cluster(records, node_id, uid)
    if found is None:
        raise rules.cluster_not_found(cluster_id)
    return found


def cluster(records: Records, node_id: str, uid: str) -> ClusterView | None:
    """Return the cache cluster `node_id` of the group `uid`, `None` when it is gone."""
    group = view(records, uid)
    if group is None:
        return None
    for node in group.spec.nodes():
        if node.node_id == node_id:
            return ClusterView(group=group, node=node)
    return None
