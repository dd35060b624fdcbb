"""What may never happen? The safety laws as predicates, shared by tests and simulation.

Each takes what was seen and what is planned, and returns the violations as sentences; no
sentence means that the law holds. Numbers are those of docs/architecture.md, section 5. Nothing
here calls the planner's own predicates: a mistake in one of those must not hide itself.
"""

from __future__ import annotations

from collections.abc import Iterator

from cachewright.model.commands import (
    AdmitNode,
    BindNode,
    FollowPrimary,
    ForgetGroup,
    PromoteNode,
    Promotion,
    RemoveNode,
    StartNode,
    Step,
    StopNode,
)
from cachewright.model.facts import Absent, EngineFact, NodeFact, Observed, Running, Stopped
from cachewright.model.groups import Group, ShardSpec
from cachewright.model.status import GroupState, Role
from cachewright.plan.plan import Plan


def violations(group: Group, observed: Observed, plan: Plan) -> tuple[str, ...]:
    """Return every way in which `plan` would break a law in the world `observed`."""
    return (
        *one_writer(group, observed),
        *starts_only_the_dead(plan, observed),
        *admits_only_the_safe(group, plan, observed),
        *never_follows_the_empty(group, plan, observed),
        *promotes_only_with_proof(group, plan, observed),
        *removes_only_the_proven(group, plan, observed),
        *stops_only_with_cause(group, plan, observed),
        *listens_only_on_free(plan, observed),
        *says_available_only_while_serving(group, plan, observed),
    )


def one_writer(group: Group, observed: Observed) -> Iterator[str]:
    """Law 1: at most one admitted primary in a shard."""
    for shard in group.spec.shards:
        writers = [n.node_id for n in shard.nodes if _is_writer(observed, n.node_id)]
        if len(writers) > 1:
            yield f"law 1: shard {shard.shard_id} has the writers {writers}"


def starts_only_the_dead(plan: Plan, observed: Observed) -> Iterator[str]:
    """Law 3: a node is started only if no process of it can live."""
    for step in _steps(plan, StartNode):
        if step.node_id is None or not _has_surely_ended(observed.of(step.node_id)):
            yield f"law 3: {step.node_id} is started without proof that it has ended"


def admits_only_the_safe(group: Group, plan: Plan, observed: Observed) -> Iterator[str]:
    """Laws 2 and 4: a primary is admitted alone, a replica in sync."""
    for step in _steps(plan, AdmitNode):
        assert step.node_id is not None
        engine = _answer_of(observed.of(step.node_id))
        if engine is None or engine.is_loading:
            yield f"law 4: {step.node_id} is admitted while it is silent or loading"
            continue
        if engine.role is Role.REPLICA:
            if not engine.is_in_sync:
                yield f"law 4: {step.node_id} is admitted before it is in sync"
            continue
        shard = group.spec.shard_of(step.node_id)
        placed = {n.node_id for n in group.placement.nodes} if group.placement else set()
        others = [n.node_id for n in shard.nodes if n.node_id in placed - {step.node_id}]
        alive = [node_id for node_id in others if not _has_surely_ended(observed.of(node_id))]
        if alive:
            yield f"law 2: primary {step.node_id} is admitted while {alive} live"


def never_follows_the_empty(group: Group, plan: Plan, observed: Observed) -> Iterator[str]:
    """Law 2: only a held node, or one that follows already, is pointed at a primary."""
    for step in _steps(plan, FollowPrimary):
        assert step.node_id is not None
        if _is_writer(observed, step.node_id):
            yield f"law 2: the admitted primary {step.node_id} is made a replica"
        shard = group.spec.shard_of(step.node_id)
        if not any(_is_writer(observed, n.node_id) for n in shard.nodes):
            yield f"law 2: {step.node_id} follows although nobody was admitted as primary"


def promotes_only_with_proof(group: Group, plan: Plan, observed: Observed) -> Iterator[str]:
    """Laws 3, 4 and 6: the best admitted replica, once nobody else can write; one takeover."""
    steps = list(_steps(plan, PromoteNode))
    for step in steps:
        assert step.node_id is not None
        engine = _answer_of(observed.of(step.node_id))
        if engine is None or engine.is_held or engine.is_loading:
            yield f"law 4: {step.node_id} is promoted although it may lack data"
            continue
        others = [
            node.node_id
            for node in group.spec.shard_of(step.node_id).nodes
            if node.node_id != step.node_id and not _has_surely_ended(observed.of(node.node_id))
        ]
        for other in others:
            answer = _answer_of(observed.of(other))
            if answer is None or (answer.role is Role.PRIMARY and not answer.is_held):
                yield f"law 3: {step.node_id} is promoted while {other} may write"
            elif (
                not answer.is_held
                and answer.replication_id == engine.replication_id
                and answer.offset > engine.offset
            ):
                yield f"law 4: {step.node_id} is promoted although {other} has applied more"
    takeovers = [s for s in steps if _is_takeover(s)]
    if len(takeovers) > 1:
        yield "law 6: several shards take over at once"


def _is_takeover(step: Step) -> bool:
    return isinstance(step.command, PromoteNode) and step.command.how is Promotion.TAKEOVER


def removes_only_the_proven(group: Group, plan: Plan, observed: Observed) -> Iterator[str]:
    """Laws 3, 5 and 7: folders go with proof and in a deletion, records after everything else."""
    for step in _steps(plan, RemoveNode):
        assert step.node_id is not None
        if not isinstance(observed.of(step.node_id).process, Stopped):
            yield f"law 3: the folder of {step.node_id} is removed without proof"
        if group.spec.deletion is None:
            yield f"law 5: {step.node_id} is removed although its group stays"
    if any(True for _ in _steps(plan, ForgetGroup)) and group.placement is not None:
        left = [
            node.node_id
            for node in group.placement.nodes
            if not isinstance(observed.of(node.node_id).process, Absent)
        ]
        if left:
            yield f"law 7: the group is forgotten while {left} are left"


def stops_only_with_cause(group: Group, plan: Plan, observed: Observed) -> Iterator[str]:
    """Law 5: a node that was admitted is stopped only in a deletion or a failed create."""
    if group.spec.deletion is not None or plan.status.state is GroupState.CREATE_FAILED:
        return
    for step in _steps(plan, StopNode):
        assert step.node_id is not None
        engine = _answer_of(observed.of(step.node_id))
        if engine is None or not engine.is_held:
            yield f"law 5: {step.node_id} is stopped although its group stays"


def listens_only_on_free(plan: Plan, observed: Observed) -> Iterator[str]:
    """Law 1, for endpoints: nobody is told to listen where another process listens."""
    for step in plan.steps:
        if not isinstance(step.command, AdmitNode | BindNode):
            continue
        for node_id in observed.nodes:
            engine = _answer_of(observed.of(node_id))
            # The first is its own address, which nodes may share.
            taken = set(step.command.bind[1:]) & set(engine.bind) if engine is not None else set()
            if taken and node_id != step.node_id:
                yield f"law 1: {step.node_id} shall listen on {taken}, where {node_id} does"


def says_available_only_while_serving(
    group: Group, plan: Plan, observed: Observed
) -> Iterator[str]:
    """Law: status says `available` only if every shard has a living, admitted primary.

    A silent process may be within its grace; a dead one never is.
    """
    if plan.status.state is not GroupState.AVAILABLE:
        return
    for shard in _shards(group):
        candidates = [
            n.node_id
            for n in shard.nodes
            if _is_writer(observed, n.node_id) or _is_silent(observed, n.node_id)
        ]
        if not candidates:
            yield f"available, but shard {shard.shard_id} has no primary"


def _shards(group: Group) -> Iterator[ShardSpec]:
    retained = group.spec.deletion.retained_node_id if group.spec.deletion else None
    for shard in group.spec.shards:
        nodes = tuple(n for n in shard.nodes if retained in {None, n.node_id})
        if nodes:
            yield ShardSpec(shard_id=shard.shard_id, slots=shard.slots, nodes=nodes)


def _steps(plan: Plan, kind: type) -> Iterator[Step]:
    return (step for step in plan.steps if isinstance(step.command, kind))


def _answer_of(fact: NodeFact) -> EngineFact | None:
    is_running = isinstance(fact.process, Running)
    return fact.engine if is_running and isinstance(fact.engine, EngineFact) else None


def _has_surely_ended(fact: NodeFact) -> bool:
    return type(fact.process) in {Absent, Stopped}


def _is_writer(observed: Observed, node_id: str) -> bool:
    engine = _answer_of(observed.of(node_id))
    return engine is not None and engine.role is Role.PRIMARY and not engine.is_held


def _is_silent(observed: Observed, node_id: str) -> bool:
    fact = observed.of(node_id)
    return _answer_of(fact) is None and not _has_surely_ended(fact)
