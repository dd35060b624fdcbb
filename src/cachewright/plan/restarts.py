"""When may a node be restarted as planned? One of a shard at a time, replicas before the primary.

A caller asks for a restart by raising a number (`NodeSpec.restarts`); a process that was started
with a smaller one is due. So is one that runs another engine or version than the group is to run,
as soon as the build for that is here. Replicas end as they are. A primary with replicas first lets
one have all its data and is succeeded by it, so it comes back as a replica: an emptied primary
never meets its replicas. A primary alone saves its data for its own start, one of them in a group
at a time. A primary that is silent is waited for: silence is not death, and what it holds may be
all there is.

A replica must not be older than its primary: it may not understand what it is sent, and would lose
all it has in a full sync. So replicas change their version first. Where an older one has got a
newer primary all the same, since that had applied more when both lost theirs, it ends before
everybody else. One that has just handed over may follow its newer successor for a second, and up to
half a minute while clients still come, as long as that goes on where it was: they are told of it.

Who reads from replicas is told nothing: a primary that has handed over serves such a client on. It
may know former primaries alone, for the replicas were away when it asked last, and redis-py gives
up when it finds nobody whom it knows. So these are away in at most half of the shards at a time.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence

from cachewright.model.commands import Step, StopNode, node_key
from cachewright.model.facts import LaunchFact, NodeFact, Observed, Running
from cachewright.model.groups import Group, NodeSpec
from cachewright.model.status import NodeStatus, Role
from cachewright.plan.shard import Phase, ShardView, engine_of, is_down, leaving_ids, line_key

#: Clients that send something now and then come by within this time.
CLIENTS_LEARN = datetime.timedelta(seconds=1)
#: As long as this those are waited for that still come: valkey-glide asks again who owns what 15 to
#: 30 s after it did so last, and does not try again what was on its way to a node that ends.
CLIENTS_LEARN_MAX = datetime.timedelta(seconds=30)
#: A replica that does not follow its successor so soon copies everything.
PARTIAL_SYNC = datetime.timedelta(seconds=0.3)


def is_asked(node: NodeSpec | None, fact: NodeFact) -> bool:
    """Tell whether a restart of the node was asked for that its process has not seen."""
    launched = fact.launched
    if node is None or launched is None:
        return False
    return launched.restarts < node.restarts


def is_outdated(group: Group, fact: NodeFact) -> bool:
    """Tell whether a node was last started as another engine or version than its group's."""
    launched = fact.launched
    if launched is None:
        return False
    return (launched.engine, launched.engine_version) != (
        group.spec.engine,
        group.spec.engine_version,
    )


def is_due(group: Group, node_id: str, observed: Observed) -> bool:
    """Tell whether a node is to be restarted, as soon as it is its turn."""
    node, fact = group.spec.node(node_id), observed.of(node_id)
    if node is None:
        return False
    has_build = observed.build_version is not None
    return is_asked(node, fact) or (has_build and is_outdated(group, fact))


def due_ids(group: Group, observed: Observed) -> frozenset[str]:
    """Return every node that is due."""
    nodes = group.spec.nodes()
    return frozenset(n.node_id for n in nodes if is_due(group, n.node_id, observed))


def is_older(one: NodeFact, other: NodeFact) -> bool:
    """Tell whether a node was last started in an older version than another one."""
    is_known = one.launched is not None and other.launched is not None
    return is_known and line_key(one) < line_key(other)


def version_to_go_on_with(
    group: Group, view: ShardView, node_id: str, observed: Observed
) -> LaunchFact | None:
    """Return as what a node that has ended may start again while the build of its group is missing.

    Not as something older than a living node of its shard, whose data it may not understand.
    """
    fact = observed.of(node_id)
    if not is_outdated(group, fact):
        return None
    others = [n.node_id for n in view.shard.nodes if not is_down(observed.of(n.node_id))]
    if any(is_older(fact, observed.of(other)) for other in others):
        return None
    return fact.launched


def step_for(group: Group, view: ShardView, node_id: str, observed: Observed) -> Step | None:
    """Return the step that ends a node which is due, `None` while it is not or must wait."""
    is_alone = len(view.shard.nodes) == 1
    if node_id == view.primary_id and not is_alone:
        return None  # it hands over first, see `handover`
    if not is_turn(group, view, node_id, observed):
        return None
    command = StopNode(key=node_key(group.spec.uid, node_id), saves=is_alone)
    return Step(command=command, reason=_reason(group, node_id, observed), node_id=node_id)


def _reason(group: Group, node_id: str, observed: Observed) -> str:
    if is_outdated(group, observed.of(node_id)):
        return f"it is to run {group.spec.engine.value} {group.spec.engine_version}"
    return "a restart was asked for"


def is_looked_for(before: NodeStatus | None, fact: NodeFact, now: datetime.datetime) -> bool:
    """Tell whether clients of a cluster may not have learned yet that a node handed over.

    It tells them who took over; were it ended and started anew at once, what is on its way to it
    would be lost.
    """
    engine = engine_of(fact)
    if before is None or engine is None:
        return False
    learn = CLIENTS_LEARN_MAX if fact.is_sought else CLIENTS_LEARN
    return has_just_stepped_down(before, now, within=learn if engine.is_in_sync else PARTIAL_SYNC)


def has_just_stepped_down(
    node: NodeStatus, now: datetime.datetime, *, within: datetime.timedelta = CLIENTS_LEARN
) -> bool:
    """Tell whether a node became a replica so short a time ago."""
    at = node.stepped_down_at
    return at is not None and at <= now < at + within


def next_alone(group: Group, views: Sequence[ShardView], observed: Observed) -> str | None:
    """Return the node that may restart now although its shard has no other one.

    One of a group at a time: while it does, its slots are not served.
    """
    alone = [view for view in views if len(view.shard.nodes) == 1]
    if any(view.phase in {Phase.DOWN, Phase.HELD} for view in alone):
        return None
    ids = (view.primary_id for view in alone)
    return next((n for n in ids if n is not None and is_due(group, n, observed)), None)


def is_turn(group: Group, view: ShardView, node_id: str, observed: Observed) -> bool:
    """Tell whether a node is due, and everybody has ended that goes before it."""
    fact = observed.of(node_id)
    if not is_due(group, node_id, observed) or not isinstance(fact.process, Running):
        return False
    return view.phase is Phase.SERVING and _is_its_turn(group, view, node_id, observed)


def in_few_shards(
    group: Group, views: Sequence[ShardView], observed: Observed, steps: Sequence[Step]
) -> list[Step]:
    """Return `steps` without restarts of former primaries in more than half of the shards at once.

    Who leaves ends for good, and who serves nobody at once; who fails to start is not waited for.
    """
    changed = {
        node.node_id: view
        for view in views
        if view.primary_id is not None and not is_due(group, view.primary_id, observed)
        for node in view.shard.nodes
        if node.node_id != view.primary_id
    }
    away = {
        view.shard.shard_id
        for node_id, view in changed.items()
        if not _serves(node_id, observed) and not observed.of(node_id).failed_starts
    }
    shards_max = max(1, len(views) // 2)
    kept: list[Step] = []
    for step in steps:
        node_id = step.node_id or ""
        view = None if node_id in leaving_ids(group) else changed.get(node_id)
        if isinstance(step.command, StopNode) and view is not None and _serves(node_id, observed):
            if len(away | {view.shard.shard_id}) > shards_max:
                continue
            away.add(view.shard.shard_id)
        kept.append(step)
    return kept


def stranded_ids(group: Group, view: ShardView, observed: Observed) -> tuple[str, ...]:
    """Return the replicas of a shard that are due and run an older version than its primary."""
    if view.phase is not Phase.SERVING or view.primary_id is None:
        return ()
    primary = observed.of(view.primary_id)
    return tuple(
        node.node_id
        for node in view.shard.nodes
        if node.node_id != view.primary_id
        and not is_down(observed.of(node.node_id))
        and is_due(group, node.node_id, observed)
        and is_older(observed.of(node.node_id), primary)
    )


def _is_its_turn(group: Group, view: ShardView, node_id: str, observed: Observed) -> bool:
    """Tell whether all others of the shard serve, and no replica is due before its primary.

    A node that does not serve waits for no other one, but for its like: were the primary to end
    now, what they hold would be all there is.
    """
    others = [node.node_id for node in view.shard.nodes if node.node_id != node_id]
    if (leaving_ids(group) - {view.primary_id}).intersection(others):
        return False  # one node of a shard ends at a time: they go first
    stranded = stranded_ids(group, view, observed)
    if stranded:
        return node_id == stranded[0]
    if not _serves(node_id, observed):
        like = [n for n in others if not _serves(n, observed)]
        return all(node_id < n for n in like if is_due(group, n, observed))
    if not all(_serves(other, observed) for other in others):
        return False
    due = [n for n in others if is_due(group, n, observed)]
    if node_id == view.primary_id:
        return not due
    return all(node_id < other for other in due if other != view.primary_id)


def _serves(node_id: str, observed: Observed) -> bool:
    engine = engine_of(observed.of(node_id))
    if engine is None or engine.is_held or engine.is_loading:
        return False
    return engine.role is Role.PRIMARY or engine.is_in_sync
