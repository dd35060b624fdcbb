"""What should happen to a Memcached cluster now? Its nodes know nothing of each other.

Clients learn of the nodes from the configuration endpoint. Strengthen first, weaken last: a node is
told to clients once it serves, and leaves their list before it ends; one that crashed stays in the
list while it is made again, for its share of the keys would move otherwise. The list is written
down with its version before anybody is told (`Membership`), so that a version never means two
lists. Nodes that are replaced as planned, for another version or type, go one by one.
"""

from __future__ import annotations

import dataclasses
import datetime
from dataclasses import dataclass

from cachewright.model.commands import (
    ChangeMembership,
    InstallBuild,
    Launch,
    Member,
    Part,
    RemoveNode,
    StartNode,
    Step,
    StopNode,
    TellMembers,
    node_key,
)
from cachewright.model.facts import Absent, NodeFact, Observed, Running, Stopped
from cachewright.model.groups import DISCOVERY_ID, Group, GroupPlacement, NodeSpec
from cachewright.model.status import GroupState, GroupStatus, NodeState, NodeStatus
from cachewright.plan import (
    change_texts,
    events,
    joining,
    newcomers,
    resizing,
    restarts,
    settings,
    status,
)
from cachewright.plan.node_status import SILENCE_GRACE_S
from cachewright.plan.plan import LOOK_AGAIN_REST_S, Plan, busy_look_again_s
from cachewright.plan.shard import engine_of, is_down, joining_ids, leaving_ids


@dataclass(frozen=True, kw_only=True, slots=True)
class Cluster:
    """A Memcached cluster as it was seen."""

    group: Group
    placement: GroupPlacement
    observed: Observed
    asked: settings.Asked

    def nodes(self) -> tuple[NodeSpec, ...]:
        """Return the nodes that are asked for and have a place."""
        placed = self.placement.node_ids()
        return tuple(node for node in self.group.spec.nodes() if node.node_id in placed)

    def listed(self) -> tuple[str, ...]:
        """Return the nodes that clients are to be told of by what is written down."""
        return self.group.membership.node_ids if self.group.membership else ()

    def serves(self, node_id: str) -> bool:
        """Tell whether clients can use a node."""
        return engine_of(self.observed.of(node_id)) is not None

    def tells(self) -> bool:
        """Tell whether the configuration endpoint answers with the list that is written down."""
        engine, written = engine_of(self.observed.of(DISCOVERY_ID)), self.group.membership
        return (
            engine is not None
            and written is not None
            and (engine.config_version == written.version)
        )


def plan_memcached(
    group: Group,
    placement: GroupPlacement,
    previous: GroupStatus | None,
    observed: Observed,
    now: datetime.datetime,
) -> Plan:
    """Return what is safe to do now for a Memcached cluster that has places."""
    cluster = Cluster(
        group=group,
        placement=placement,
        observed=observed,
        asked=settings.ask(group, observed),
    )
    current = _status(cluster, previous, now)
    steps: tuple[Step, ...] = (
        *joining.place(group, placement),
        *_node_steps(cluster, current, now),
        *_membership_steps(cluster),
        *_discovery_steps(cluster),
        *_leaving_steps(cluster),
        *joining.release(group, placement, observed),
    )
    if observed.build_version is None and _needs_build(cluster):
        spec = group.spec
        install = InstallBuild(engine=spec.engine, engine_version=spec.engine_version)
        steps = (Step(command=install, reason="the build of its nodes is not on this host"),)
    rests = not steps and current.state is GroupState.AVAILABLE
    return Plan(
        steps=steps,
        status=current,
        events=events.of_change(group, previous, current, observed, now),
        look_again_s=LOOK_AGAIN_REST_S if rests else busy_look_again_s(len(placement.nodes)),
    )


def _needs_build(cluster: Cluster) -> bool:
    """Tell whether a node is to start, or to end for the sake of another version."""
    facts = [cluster.observed.of(node.node_id) for node in cluster.nodes()]
    return any(is_down(fact) or restarts.is_outdated(cluster.group, fact) for fact in facts)


def _node_steps(cluster: Cluster, current: GroupStatus, now: datetime.datetime) -> tuple[Step, ...]:
    """Start what is down, end what is due for a restart, tell what can be told."""
    steps: list[Step] = []
    replaced = _next_to_replace(cluster, current)
    for node in cluster.nodes():
        fact = cluster.observed.of(node.node_id)
        step: Step | None = None
        if is_down(fact):
            if newcomers.held_back_until(current.of(node.node_id), now) is None:
                step = _start(cluster, node.node_id)
        elif restarts.is_asked(node, fact):
            step = _end_for_restart(cluster, fact, node.node_id, "a restart was asked for")
        elif node.node_id == replaced:
            step = _end_for_restart(cluster, fact, node.node_id, _why_replaced(cluster, fact))
        elif engine_of(fact) is not None:
            drift = resizing.drift(cluster.group, cluster.asked, fact)
            step = resizing.apply_step(cluster.group, node.node_id, fact, drift)
        if step is not None:
            steps.append(step)
    return tuple(steps)


def _next_to_replace(cluster: Cluster, current: GroupStatus) -> str | None:
    """Return the one node that may change its version or type now: while all serve.

    Nobody waits for one that could not be made.
    """
    failed = newcomers.failed_ids(current)
    there = [node for node in cluster.nodes() if node.node_id not in failed]
    if not all(cluster.serves(node.node_id) for node in there):
        return None
    due = (node.node_id for node in there if _is_replaced(cluster, node.node_id))
    return next(due, None)


def _is_replaced(cluster: Cluster, node_id: str) -> bool:
    fact = cluster.observed.of(node_id)
    is_outdated = restarts.is_outdated(cluster.group, fact)
    return is_outdated or resizing.needs_restart(cluster.group, cluster.asked, fact)


def _why_replaced(cluster: Cluster, fact: NodeFact) -> str:
    spec = cluster.group.spec
    if restarts.is_outdated(cluster.group, fact):
        return f"it is to run {spec.engine_version}"
    return f"it is to be a {spec.node_type}"


def _end_for_restart(cluster: Cluster, fact: NodeFact, node_id: str, reason: str) -> Step | None:
    """Return the step that ends a node and keeps its items where that is possible.

    One that does not answer is waited for: its items may be saved yet.
    """
    if not isinstance(fact.process, Running) or engine_of(fact) is None:
        return None
    command = StopNode(key=_key(cluster.group, node_id), saves=True)
    return Step(command=command, reason=reason, node_id=node_id)


def _start(cluster: Cluster, node_id: str) -> Step:
    spec, place = cluster.group.spec, cluster.placement.of(node_id)
    node = spec.node(node_id)
    wanted = settings.for_start(cluster.asked, cluster.observed.of(node_id))
    launch = Launch(
        key=_key(cluster.group, node_id),
        engine=spec.engine,
        engine_version=spec.engine_version,
        address=place.address,
        port=place.port,
        maxmemory_bytes=wanted.maxmemory_bytes,
        maxclients=wanted.maxclients,
        settings=wanted.settings,
        admin_password="",
        replication_password="",
        restarts=node.restarts if node else 0,
        loads_saved_data=cluster.observed.of(node_id).has_saved_data,
        transit_encryption=spec.transit_encryption,
        node_type=spec.node_type,
    )
    return Step(command=StartNode(launch=launch), reason="it is not running", node_id=node_id)


def _membership_steps(cluster: Cluster) -> tuple[Step, ...]:
    """Write a new list down: the first once all nodes serve, later each node as it serves."""
    asked = [node.node_id for node in cluster.group.spec.nodes()]
    if cluster.group.membership is None:
        if not all(cluster.serves(node_id) for node_id in asked):
            return ()
        return (_change(asked, "all nodes serve"),)
    listed = cluster.listed()
    wanted = [n for n in asked if n in listed or cluster.serves(n)]
    if not wanted or tuple(wanted) == listed:
        return ()
    return (_change(wanted, "nodes came or go"),)


def _change(node_ids: list[str], reason: str) -> Step:
    return Step(command=ChangeMembership(node_ids=tuple(node_ids)), reason=reason)


def _discovery_steps(cluster: Cluster) -> tuple[Step, ...]:
    """Keep the configuration endpoint running, and its list the one that is written down."""
    written = cluster.group.membership
    if written is None:
        return ()
    spec, place = cluster.group.spec, cluster.placement.of(DISCOVERY_ID)
    key, members = _key(cluster.group, DISCOVERY_ID), members_of(cluster.group, cluster.placement)
    fact = cluster.observed.of(DISCOVERY_ID)
    if is_down(fact):
        launch = Launch(
            key=key,
            engine=spec.engine,
            engine_version=spec.engine_version,
            address=place.address,
            port=place.port,
            maxmemory_bytes=0,
            maxclients=0,
            settings=(),
            admin_password="",
            replication_password="",
            part=Part.DISCOVERY,
            members=members,
            config_version=written.version,
            transit_encryption=spec.transit_encryption,
        )
        reason = "clients look for the nodes there"
        return (Step(command=StartNode(launch=launch), reason=reason, node_id=DISCOVERY_ID),)
    if engine_of(fact) is None or cluster.tells():
        return ()
    tell = TellMembers(key=key, config_version=written.version, members=members)
    return (Step(command=tell, reason="the list of nodes has changed", node_id=DISCOVERY_ID),)


def members_of(group: Group, placement: GroupPlacement) -> tuple[Member, ...]:
    """Return the nodes that are written down as those that clients are told of."""
    places = {place.node_id: place for place in placement.nodes}
    listed = group.membership.node_ids if group.membership else ()
    return tuple(
        Member(name=places[n].address, address=places[n].address, port=places[n].port)
        for n in listed
        if n in places
    )


def _leaving_steps(cluster: Cluster) -> tuple[Step, ...]:
    """End nodes that leave, once no client is told of them any more."""
    steps: list[Step] = []
    for node_id in sorted(leaving_ids(cluster.group)):
        key = _key(cluster.group, node_id)
        match cluster.observed.of(node_id).process:
            case Running() if node_id not in cluster.listed() and cluster.tells():
                reason = "it leaves, and clients are no longer told of it"
                steps.append(Step(command=StopNode(key=key), reason=reason, node_id=node_id))
            case Stopped():
                reason = "its process has ended"
                steps.append(Step(command=RemoveNode(key=key), reason=reason, node_id=node_id))
            case Absent():
                forgetting = joining.forgetting(key, node_id, cluster.observed.of(node_id))
                steps += [forgetting] if forgetting is not None else []
            case _:
                pass
    return tuple(steps)


def _status(cluster: Cluster, previous: GroupStatus | None, now: datetime.datetime) -> GroupStatus:
    was_available = previous is not None and previous.was_available
    nodes = (
        *(_node_status(cluster, previous, node, now) for node in cluster.nodes()),
        *status.joining_statuses(joining_ids(cluster.group)),
        *(
            NodeStatus(node_id=node_id, state=NodeState.DELETING, role=None)
            for node_id in sorted(leaving_ids(cluster.group))
        ),
    )
    failed = [node for node in nodes if node.state is NodeState.INCOMPATIBLE_NETWORK]
    ids = {node.node_id for node in failed}
    there = tuple(node for node in cluster.nodes() if node.node_id not in ids)
    node_type = resizing.type_of_all(cluster.group, there, cluster.observed, previous)
    change = status.change_of(nodes, ())
    if node_type != cluster.group.spec.node_type:
        change = change_texts.to_node_type(cluster.group)
    problem = _problem(cluster, nodes, was_available=was_available)
    if problem and cluster.observed.obstacle:
        problem = cluster.observed.obstacle
    is_available = not problem and not change
    state = GroupState.MODIFYING if was_available else GroupState.CREATING
    return GroupStatus(
        state=GroupState.AVAILABLE if is_available else state,
        observed_generation=cluster.group.spec.generation,
        nodes=nodes,
        reason=problem or change or next(map(newcomers.reason_of, failed), ""),
        was_available=was_available or is_available,
        changing_from=status.changing_from(previous) if change and was_available else None,
        is_broken=status.is_broken(previous, problem, change),
        node_type=node_type,
    )


def _problem(cluster: Cluster, nodes: tuple[NodeStatus, ...], *, was_available: bool) -> str:
    """Return why the cluster does not serve as asked, beside what was asked to change."""
    for node in nodes:
        if node.state is NodeState.MODIFYING:
            failure = cluster.observed.of(node.node_id).failure
            return failure or f"cache node {node.node_id} does not serve"
    fact = cluster.observed.of(DISCOVERY_ID)
    silence_s = cluster.observed.silence_s.get(DISCOVERY_ID, SILENCE_GRACE_S)
    is_brief = engine_of(fact) is None and not is_down(fact) and silence_s < SILENCE_GRACE_S
    if cluster.tells() or (is_brief and was_available):
        return ""
    return fact.failure or "the configuration endpoint does not answer yet"


def _node_status(
    cluster: Cluster, previous: GroupStatus | None, node: NodeSpec, now: datetime.datetime
) -> NodeStatus:
    before = previous.of(node.node_id) if previous else None
    fact = cluster.observed.of(node.node_id)
    engine, drift = engine_of(fact), resizing.drift(cluster.group, cluster.asked, fact)
    silence_s = cluster.observed.silence_s.get(node.node_id, 0.0)
    was_known = before is not None and before.state is NodeState.AVAILABLE
    if engine is None and not is_down(fact) and silence_s < SILENCE_GRACE_S:
        is_known = was_known
    else:
        is_told = node.node_id in cluster.listed() and (was_known or cluster.tells())
        is_known = engine is not None and is_told
    version = engine.version if engine else (before.engine_version if before else None)
    found = NodeStatus(
        node_id=node.node_id,
        state=NodeState.AVAILABLE if is_known else _waiting_state(before),
        role=None,
        engine_version=version,
        has_saved_data=fact.has_saved_data,
        applying=drift.applying,
        awaiting_reboot=drift.awaiting_reboot,
        refused=tuple((r.name, r.value, r.reason) for r in drift.refused),
    )
    if previous is not None and previous.was_available:
        found = newcomers.judged(before, now, found, cluster.observed)
    if found.state is NodeState.INCOMPATIBLE_NETWORK:
        return found
    if restarts.is_asked(node, fact) or _is_replaced(cluster, node.node_id):
        return dataclasses.replace(found, state=NodeState.REBOOTING)
    return found


def _waiting_state(before: NodeStatus | None) -> NodeState:
    if before is None or before.state in newcomers.NEVER_THERE:
        return NodeState.CREATING
    return before.state if before.state is NodeState.REBOOTING else NodeState.MODIFYING


def _key(group: Group, node_id: str) -> str:
    return node_key(group.spec.uid, node_id)
