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
    FenceNode,
    FollowPrimary,
    ForgetGroup,
    HandOver,
    PromoteNode,
    ReleaseNodes,
    RemoveNode,
    StartNode,
    Step,
    StopNode,
)
from cachewright.model.facts import (
    Absent,
    EngineFact,
    NodeFact,
    Observed,
    Running,
    SilenceCause,
    Stopped,
)
from cachewright.model.groups import Group, ShardSpec
from cachewright.model.status import GroupState, NodeState, Role
from cachewright.plan.evidence import (
    answer_of,
    has_data_on_disk,
    has_surely_ended,
    is_asked_for,
    is_shard_asked_for,
    is_silent,
    is_writer,
    members_of,
    siblings_of,
    steps_of,
)
from cachewright.plan.plan import Plan
from cachewright.plan.slot_laws import slot_violations
from cachewright.plan.version_laws import version_violations

#: What a silence lasts at least before it is no mere pause, by its cause; no other cause counts.
_LEAST_SILENCE_S = {
    SilenceCause.STOPPED: 2.0,
    SilenceCause.UNTOLD: 3.0,
    SilenceCause.DISK: 15.0,
    SilenceCause.WORKING: 15.0,
    SilenceCause.SCRIPT: 30.0,
}
_LEAST_PROBES = 4


def violations(group: Group, observed: Observed, plan: Plan) -> tuple[str, ...]:
    """Return every way in which `plan` would break a law in the world `observed`."""
    return (
        *one_writer(group, observed),
        *starts_only_the_dead(plan, observed),
        *starts_empty_only_beside_data(group, plan, observed),
        *admits_only_the_safe(group, plan, observed),
        *never_follows_the_empty(group, plan, observed),
        *promotes_only_with_proof(group, plan, observed),
        *fences_only_the_suspected(group, plan, observed),
        *hands_over_only_to_the_ready(group, plan, observed),
        *removes_only_the_proven(group, plan, observed),
        *stops_only_with_cause(group, plan, observed),
        *listens_only_on_free(plan, observed),
        *says_available_only_while_serving(group, plan, observed),
        *version_violations(group, observed, plan),
        *slot_violations(group, observed, plan),
    )


def one_writer(group: Group, observed: Observed) -> Iterator[str]:
    """Law 1: at most one admitted primary in a shard."""
    for shard_id, members in members_of(group).items():
        writers = [node_id for node_id in members if is_writer(observed, node_id)]
        if len(writers) > 1:
            yield f"law 1: shard {shard_id} has the writers {writers}"


def starts_only_the_dead(plan: Plan, observed: Observed) -> Iterator[str]:
    """Law 3: a node is started only if no process of it can live."""
    for step in steps_of(plan, StartNode):
        if step.node_id is None or not has_surely_ended(observed.of(step.node_id)):
            yield f"law 3: {step.node_id} is started without proof that it has ended"


def starts_empty_only_beside_data(group: Group, plan: Plan, observed: Observed) -> Iterator[str]:
    """Law 2: while a shard's data lies on disk and in no memory, nobody starts without it."""
    for step in steps_of(plan, StartNode):
        assert step.node_id is not None
        assert isinstance(step.command, StartNode)
        members = [step.node_id, *siblings_of(group, step.node_id)]
        launch = step.command.launch
        facts = [observed.of(node_id) for node_id in members]
        lies = any(map(has_data_on_disk, facts))
        loads = launch.loads_saved_data or launch.loads_append_only_file
        if all(map(has_surely_ended, facts)) and lies and not loads:
            yield f"law 2: {step.node_id} is started empty beside the data of its shard"


def admits_only_the_safe(group: Group, plan: Plan, observed: Observed) -> Iterator[str]:
    """Laws 2 and 4: a primary is admitted alone, a replica in sync."""
    for step in steps_of(plan, AdmitNode):
        assert step.node_id is not None
        engine = answer_of(observed.of(step.node_id))
        if engine is None or engine.is_loading:
            yield f"law 4: {step.node_id} is admitted while it is silent or loading"
            continue
        if engine.role is Role.REPLICA:
            if not engine.is_in_sync:
                yield f"law 4: {step.node_id} is admitted before it is in sync"
            continue
        others = siblings_of(group, step.node_id)
        alive = [node_id for node_id in others if not has_surely_ended(observed.of(node_id))]
        if alive:
            yield f"law 2: primary {step.node_id} is admitted while {alive} live"
        launched = observed.of(step.node_id).launched
        left = [n for n in others if has_data_on_disk(observed.of(n))]
        if left and launched is not None and not launched.has_loaded:
            yield f"law 2: primary {step.node_id} is admitted empty, and {left} have data on disk"


def never_follows_the_empty(group: Group, plan: Plan, observed: Observed) -> Iterator[str]:
    """Law 2: only a held node, or one that follows already, is pointed at a primary."""
    for step in steps_of(plan, FollowPrimary):
        assert step.node_id is not None
        if is_writer(observed, step.node_id):
            yield f"law 2: the admitted primary {step.node_id} is made a replica"
        if not any(is_writer(observed, other) for other in siblings_of(group, step.node_id)):
            yield f"law 2: {step.node_id} follows although nobody was admitted as primary"
        assert isinstance(step.command, FollowPrimary)
        source = _at(group, step.command.address)
        engine = answer_of(observed.of(source)) if source else None
        if (
            engine is None
            or engine.is_held
            or (engine.role is Role.REPLICA and not engine.is_in_sync)
        ):
            yield f"law 2: {step.node_id} follows {source}, which may not have everything"


def _at(group: Group, address: str) -> str | None:
    nodes = group.placement.nodes if group.placement else ()
    return next((n.node_id for n in nodes if n.address == address), None)


def promotes_only_with_proof(group: Group, plan: Plan, observed: Observed) -> Iterator[str]:
    """Laws 3, 4 and 6: the best admitted replica, once nobody else can write; one at a time."""
    steps = list(steps_of(plan, PromoteNode))
    for step in steps:
        assert step.node_id is not None
        engine = answer_of(observed.of(step.node_id))
        if engine is None or engine.is_held or engine.is_loading:
            yield f"law 4: {step.node_id} is promoted although it may lack data"
            continue
        others = [
            other
            for other in siblings_of(group, step.node_id)
            if not has_surely_ended(observed.of(other))
        ]
        for other in others:
            answer = answer_of(observed.of(other))
            if answer is None or (answer.role is Role.PRIMARY and not answer.is_held):
                yield f"law 3: {step.node_id} is promoted while {other} may write"
            elif not answer.is_held and _has_more(answer, engine):
                yield f"law 4: {step.node_id} is promoted although {other} has applied more"
        yield from _over_the_ended(group, observed, step, engine)
    if group.spec.cluster_enabled and len(steps) > 1:
        yield "law 6: several shards elect or take over at once"


def _has_more(other: EngineFact, engine: EngineFact) -> bool:
    """Tell whether `other` has what `engine` lacks, or knows that its lineage was left."""
    if other.replication_id == engine.replication_id:
        return other.offset > engine.offset
    return other.second_offset >= 0 and other.second_replication_id == engine.replication_id


def _over_the_ended(
    group: Group, observed: Observed, step: Step, engine: EngineFact
) -> Iterator[str]:
    """A promotion names the primary that the replica names, and takes nobody's endpoint."""
    assert isinstance(step.command, PromoteNode)
    if step.command.over != engine.primary:
        yield f"law 3: {step.node_id} is promoted over {step.command.over}, not its primary"
    if step.command.bind and group.placement is not None:
        own = group.placement.of(step.node_id or "").address
        if step.command.bind[0] != own:
            yield f"law 1: {step.node_id} would no longer listen on its own address"
        if not set(step.command.bind[1:]) <= set(group.placement.endpoints.addresses()):
            yield f"law 1: {step.node_id} would listen on a foreign address"


def fences_only_the_suspected(group: Group, plan: Plan, observed: Observed) -> Iterator[str]:
    """Laws 1, 3 and 5: who lives is ended against its will only if it hangs, and others go on.

    One of a shard at a time, that very process, and never on account of its host.
    """
    steps = list(steps_of(plan, FenceNode))
    if steps and (group.spec.deletion is not None or group.placement is None):
        yield "law 5: a group that goes away fences"
        return
    for step in steps:
        assert isinstance(step.command, FenceNode)
        assert step.node_id is not None
        fact = observed.of(step.node_id)
        if fact.process != Running(identity=step.command.identity):
            yield f"law 3: {step.node_id} is fenced, but it is not known to run as this process"
        if not _has_hung_long(fact):
            yield f"law 5: {step.node_id} is fenced although its silence may pass: {fact.silence}"
        yield from _leaves_a_gap(group, observed, step.node_id)
    for shard_id, members in members_of(group).items():
        kinds = FenceNode | StopNode
        ended = [s.node_id for s in plan.steps if isinstance(s.command, kinds)]
        if len(set(members) & set(ended)) > 1 and any(s.node_id in members for s in steps):
            yield f"law 5: a process of shard {shard_id} is fenced beside another that is ended"


def _has_hung_long(fact: NodeFact) -> bool:
    silence = fact.silence
    if silence is None or answer_of(fact) is not None or silence.probes < _LEAST_PROBES:
        return False
    return silence.seconds >= _LEAST_SILENCE_S.get(silence.cause, float("inf"))


def _leaves_a_gap(group: Group, observed: Observed, node_id: str) -> Iterator[str]:
    """Where nobody else writes, the fenced one may: a replica of its own is ready, all answer."""
    others = siblings_of(group, node_id)
    if any(is_writer(observed, other) for other in others):
        return
    silent = [other for other in others if is_silent(observed, other)]
    if silent:
        yield f"law 4: {node_id} is fenced while {silent} may have applied most"
    assert group.placement is not None
    place = group.placement.of(node_id)
    answers = [e for other in others if (e := answer_of(observed.of(other))) is not None]
    ready = [e for e in answers if not e.is_held and not e.is_loading and e.role is Role.REPLICA]
    if not any(engine.primary == place.listens_at for engine in ready):
        yield f"law 5: {node_id} is fenced and no replica of its own could take over"


def hands_over_only_to_the_ready(group: Group, plan: Plan, observed: Observed) -> Iterator[str]:
    """Laws 1, 4 and 6: a primary that serves gives its role to an admitted replica in sync."""
    steps = list(steps_of(plan, HandOver))
    for step in steps:
        command = step.command
        assert isinstance(command, HandOver)
        assert step.node_id is not None
        to = command.to_key.partition(".")[2]
        if not is_writer(observed, step.node_id):
            yield f"law 1: {step.node_id} shall hand over a role that it does not have"
        if to not in siblings_of(group, step.node_id) or not _could_succeed(group, observed, to):
            yield f"law 4: {step.node_id} shall hand over to {to}, which may lack data"
        others = [s for s in plan.steps if s.node_id in {step.node_id, to} and s is not step]
        if others:
            yield f"law 6: {step.node_id} or {to} has other things to do while roles change"
    if len(steps) > 1 or (steps and any(True for _ in steps_of(plan, PromoteNode))):
        yield "law 6: several primaries of a group change at once"


def removes_only_the_proven(group: Group, plan: Plan, observed: Observed) -> Iterator[str]:
    """Laws 3, 5 and 7: folders go with proof and cause, records after everything else."""
    for step in steps_of(plan, RemoveNode):
        assert step.node_id is not None
        if not isinstance(observed.of(step.node_id).process, Stopped | Absent):
            yield f"law 3: the folder of {step.node_id} is removed without proof"
        if group.spec.deletion is None and is_asked_for(group, step.node_id):
            yield f"law 5: {step.node_id} is removed although its group keeps it"
    freed = {n for step in steps_of(plan, ReleaseNodes) for n in _released(step)}
    if any(True for _ in steps_of(plan, ForgetGroup)) and group.placement is not None:
        freed |= {node.node_id for node in group.placement.nodes}
    left = [n for n in sorted(freed) if not isinstance(observed.of(n).process, Absent)]
    if left:
        yield f"law 7: the records of {left} go while they are left"


def _released(step: Step) -> tuple[str, ...]:
    return step.command.node_ids if isinstance(step.command, ReleaseNodes) else ()


def stops_only_with_cause(group: Group, plan: Plan, observed: Observed) -> Iterator[str]:
    """Law 5: a node of a group that stays ends only if it was asked to, and its data lives on.

    Who asks: a node was dropped from the spec, more restarts were asked for than its process has
    seen, or it shall run another version. A primary with siblings hands over first; alone, it
    saves. Of shards that go as a whole, see `slot_laws`.
    """
    if group.spec.deletion is not None or plan.status.state is GroupState.CREATE_FAILED:
        return
    ended: list[str] = []
    for step in steps_of(plan, StopNode):
        assert step.node_id is not None
        engine = answer_of(observed.of(step.node_id))
        if engine is not None and engine.is_held:
            continue
        ended.append(step.node_id)
        if not _is_asked_to_end(group, observed, step.node_id):
            yield f"law 5: {step.node_id} is stopped although its group stays"
        if is_shard_asked_for(group, step.node_id):
            yield from _loses_data(group, plan, observed, step)
    for shard_id, members in members_of(group).items():
        if len(set(members) & set(ended)) > 1 and is_shard_asked_for(group, members[0]):
            yield f"law 5: several nodes of shard {shard_id} are stopped at once"


def _is_asked_to_end(group: Group, observed: Observed, node_id: str) -> bool:
    asked = {node.node_id: node.restarts for node in group.spec.nodes()}
    launched = observed.of(node_id).launched
    if node_id not in asked:
        return True
    if launched is None:
        return False
    line = (group.spec.engine, group.spec.engine_version)
    return launched.restarts < asked[node_id] or (launched.engine, launched.engine_version) != line


def _loses_data(group: Group, plan: Plan, observed: Observed, step: Step) -> Iterator[str]:
    assert step.node_id is not None
    assert isinstance(step.command, StopNode)
    failed = {n.node_id for n in plan.status.nodes if n.state is NodeState.INCOMPATIBLE_NETWORK}
    siblings = [other for other in siblings_of(group, step.node_id) if other not in failed]
    if any(is_writer(observed, other) for other in siblings):
        return
    if not is_writer(observed, step.node_id):
        yield f"law 5: {step.node_id} is stopped while nobody is known to have its data"
    elif not siblings:
        if not step.command.saves:
            yield f"law 5: {step.node_id} is the only copy and is stopped without saving"
    else:
        yield f"law 5: primary {step.node_id} is stopped before it has handed over"


def _could_succeed(group: Group, observed: Observed, node_id: str) -> bool:
    engine = answer_of(observed.of(node_id))
    return (
        engine is not None
        and engine.role is Role.REPLICA
        and engine.is_in_sync
        and not engine.is_held
        and is_asked_for(group, node_id)
    )


def listens_only_on_free(plan: Plan, observed: Observed) -> Iterator[str]:
    """Law 1, for endpoints: nobody is told to listen where another process listens."""
    for step in plan.steps:
        if not isinstance(step.command, AdmitNode | BindNode | PromoteNode):
            continue
        for node_id in observed.nodes:
            engine = answer_of(observed.of(node_id))
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
        members = {n.node_id for n in shard.nodes}
        if group.spec.deletion is None:
            members |= set(members_of(group)[shard.shard_id])
        candidates = [n for n in members if is_writer(observed, n) or is_silent(observed, n)]
        if not candidates:
            yield f"available, but shard {shard.shard_id} has no primary"


def _shards(group: Group) -> Iterator[ShardSpec]:
    retained = group.spec.deletion.retained_node_id if group.spec.deletion else None
    for shard in group.spec.shards:
        nodes = tuple(n for n in shard.nodes if retained in {None, n.node_id})
        if nodes:
            yield ShardSpec(shard_id=shard.shard_id, slots=shard.slots, nodes=nodes)
