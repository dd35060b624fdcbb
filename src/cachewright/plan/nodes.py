"""Which steps bring the nodes of a group nearer to serving? One answer a node, only what is safe.

The order inside a shard follows from the rules: the primary is started held and admitted alone;
replicas are started once it is admitted, follow it, and are admitted when they are in sync.
"""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from cachewright.model.commands import (
    AdmitNode,
    BindNode,
    FollowPrimary,
    InstallBuild,
    StartNode,
    Step,
    StopNode,
    node_key,
)
from cachewright.model.facts import Absent, EngineFact, Observed
from cachewright.model.groups import Group, GroupPlacement
from cachewright.model.status import GroupStatus, Role
from cachewright.plan import (
    acquaintance,
    endpoints,
    flapping,
    joining,
    newcomers,
    restarts,
    settings,
    suspicion,
    syncs,
)
from cachewright.plan.election import elections
from cachewright.plan.handover import handovers
from cachewright.plan.launch import launch_of
from cachewright.plan.ownership import Ownership
from cachewright.plan.shard import (
    Phase,
    ShardView,
    engine_of,
    is_down,
    is_gone,
    leaving_ids,
    reshards,
)

#: So long a file is kept for a shard whose primary does not get its own written: a disk that takes
#: nothing must not keep the shard from having a replica.
_FILE_KEPT = datetime.timedelta(minutes=5)


@dataclass(frozen=True, kw_only=True, slots=True)
class World:
    """What every decision about the nodes of one group looks at."""

    group: Group
    placement: GroupPlacement
    views: Sequence[ShardView]
    observed: Observed
    asked: settings.Asked
    #: Cluster mode: who owns which slot.
    owned: Ownership | None
    #: How the group is doing by what was seen, and what it remembers.
    status: GroupStatus
    now: datetime.datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class _Round:
    """What was decided for the whole group before its nodes are gone through."""

    #: What each node shall listen on.
    wanted: Mapping[str, tuple[str, ...]]
    #: The node that may restart although its shard has no other one.
    next_alone: str | None


def steps_for_nodes(world: World) -> tuple[Step, ...]:
    """Return what may be done now for all nodes of a group that shall run."""
    group, placement, observed = world.group, world.placement, world.observed
    ending = joining.ending_views(group, placement, world.views, observed)
    views = [view for view in world.views if view not in ending]
    there = [newcomers.without_failed(view, world.status) for view in views]
    changes = elections(group, views, observed, world.status)
    # Slots without an owner are an outage: what is planned waits until somebody has claimed them.
    has_gaps = world.owned is not None and bool(world.owned.unowned)
    may_change = not (changes or has_gaps or reshards(group, world.status))
    planned = handovers(group, placement, there, observed) if may_change else {}
    introductions = acquaintance.introductions(group, placement, observed)
    common = _Round(
        wanted=endpoints.wanted_binds(
            placement,
            world.views,
            observed,
            leaving=leaving_ids(group) | restarts.due_ids(group, observed),
            was_available=world.status.was_available,
        ),
        next_alone=restarts.next_alone(group, there, observed)
        if may_change and not planned
        else None,
    )
    steps = _steps_beside(world, views, changes | planned, common)
    is_cluster = group.spec.cluster_enabled
    if planned and is_cluster and (introductions or any(map(_is_start, steps))):
        # Who starts has the map of this look, and who is a stranger hears nothing: all that matter
        # must know each other before anything changes.
        planned = {}
        steps = _steps_beside(world, views, changes, common)
    changes |= planned
    exempt = leaving_ids(group).union(
        *(restarts.stranded_ids(group, view, observed) for view in views)
    )
    steps = syncs.one_by_one(placement, views, observed, steps, exempt=exempt)
    if is_cluster:
        steps = restarts.in_few_shards(group, views, observed, steps)
    for view in ending:
        steps.extend(joining.gone_shard_steps(group, placement, view, observed))
    if not changes:
        busy = {step.node_id for step in steps}  # one that ends forgets nobody any more
        learning = (*introductions, *acquaintance.oblivions(group, placement, observed))
        steps.extend(step for step in learning if step.node_id not in busy)
    return (*steps, *_install(world))


def _steps_beside(
    world: World, views: Sequence[ShardView], changes: Mapping[str, Step], common: _Round
) -> list[Step]:
    """Return `changes`, and what may be done now in the other shards."""
    fences = suspicion.fences(world.group, views, world.observed, world.status)
    steps = list(changes.values())
    for view in views:
        if view.shard.shard_id not in changes:
            fence = fences.get(view.shard.shard_id)
            shard_steps = _steps_for_shard(world, view, common)
            steps.extend(shard_steps if fence is None else _beside_fence(fence, shard_steps))
    return steps


def _is_start(step: Step) -> bool:
    return isinstance(step.command, StartNode)


def _install(world: World) -> Iterator[Step]:
    """Yield the step that brings the build here that nodes are to run, where one needs it."""
    spec, observed = world.group.spec, world.observed
    if observed.build_version is not None:
        return
    facts = [observed.of(node.node_id) for node in spec.nodes()]
    if any(is_down(fact) or restarts.is_outdated(world.group, fact) for fact in facts):
        command = InstallBuild(engine=spec.engine, engine_version=spec.engine_version)
        yield Step(command=command, reason="the build of a node to start is not on this host")


def _beside_fence(fence: Step, steps: Iterator[Step]) -> Iterator[Step]:
    """Let one process of a shard end at a time; all else goes on."""
    yield fence
    for step in steps:
        if not isinstance(step.command, StopNode):
            yield step


def _steps_for_shard(world: World, view: ShardView, common: _Round) -> Iterator[Step]:
    match view.phase:
        case Phase.DOWN:
            assert view.primary_id is not None
            step = _start(world, view, view.primary_id, "the shard has no running node")
            if step is not None:
                yield step
        case Phase.HELD | Phase.SERVING:
            for node in view.shard.nodes:
                step = _step_for_node(world, view, node.node_id, common)
                if step is not None:
                    yield step
        case Phase.UNDECIDED:
            yield from _stop_strays(world, view)
        case Phase.SPLIT:
            return


def _step_for_node(world: World, view: ShardView, node_id: str, common: _Round) -> Step | None:
    fact = world.observed.of(node_id)
    is_primary = node_id == view.primary_id
    is_chosen = is_primary and view.phase is Phase.HELD  # it has the shard's data: it serves first
    if _leaves(world, view, node_id) and not is_chosen:
        return joining.step_for(world.group, world.placement, view, node_id, world.observed)
    if is_down(fact):
        if view.phase is Phase.HELD or _may_have_the_only_file(world, view, node_id):
            return None
        return _start(world, view, node_id, f"shard {view.shard.shard_id} lacks this replica")
    there = newcomers.without_failed(view, world.status)
    if _may_restart(world, there, node_id, common):
        restart = restarts.step_for(world.group, there, node_id, world.observed)
        if restart is not None:
            return restart
    engine = engine_of(fact)
    if engine is None or engine.is_loading:
        return None
    if not is_primary and not _follows(world, view, node_id, engine):
        return _follow(world, view, node_id)
    bind = endpoints.possible_bind(node_id, common.wanted, world.observed)
    if engine.is_held:
        return _admit(world, node_id, bind, is_primary=is_primary, is_in_sync=engine.is_in_sync)
    if set(engine.bind) != set(bind):
        command = BindNode(key=_key(world, node_id), bind=bind)
        return Step(command=command, reason="endpoints follow their roles", node_id=node_id)
    return settings.apply_step(world.group, node_id, fact, settings.drift(world.asked, fact))


def _may_restart(world: World, view: ShardView, node_id: str, common: _Round) -> bool:
    """Tell whether nothing outside its shard speaks against ending a node for a restart."""
    if len(view.shard.nodes) == 1:
        return node_id == common.next_alone
    if not world.group.spec.cluster_enabled:
        return True
    before, fact = world.status.of(node_id), world.observed.of(node_id)
    return not restarts.is_looked_for(before, fact, world.now)


def _leaves(world: World, view: ShardView, node_id: str) -> bool:
    """Tell whether a node leaves a shard that stays."""
    return node_id in leaving_ids(world.group) and not is_gone(world.group, view.shard)


def _admit(
    world: World, node_id: str, bind: tuple[str, ...], *, is_primary: bool, is_in_sync: bool
) -> Step | None:
    """Let clients in, once it has everything and no node of its cluster takes it for a stranger."""
    if not (is_primary or is_in_sync):
        return None
    if not acquaintance.is_known_to_all(world.group, world.placement, node_id, world.observed):
        return None
    reason = "is the primary of its shard" if is_primary else "is in sync with its primary"
    command = AdmitNode(key=_key(world, node_id), bind=bind)
    return Step(command=command, reason=f"{node_id} {reason}", node_id=node_id)


def _follows(world: World, view: ShardView, node_id: str, engine: EngineFact) -> bool:
    if world.group.spec.cluster_enabled:
        # The engines' own cluster tells replicas whom to follow.
        return engine.role is Role.REPLICA or view.phase is not Phase.SERVING
    source_id = syncs.source_id(world.placement, view, world.observed, node_id)
    assert source_id is not None
    return (
        engine.role is Role.REPLICA and engine.primary == world.placement.of(source_id).listens_at
    )


def _follow(world: World, view: ShardView, node_id: str) -> Step | None:
    if world.group.spec.cluster_enabled or view.phase is not Phase.SERVING:
        return None
    source_id = syncs.source_id(world.placement, view, world.observed, node_id)
    assert source_id is not None
    address, port = world.placement.of(source_id).listens_at
    is_copy = source_id != view.primary_id
    return Step(
        command=FollowPrimary(key=_key(world, node_id), address=address, port=port),
        reason=f"copy from {source_id} first" if is_copy else f"replicate from {source_id}",
        node_id=node_id,
    )


def _may_have_the_only_file(world: World, view: ShardView, node_id: str) -> bool:
    """Tell whether the file of a node that crashed may be the only one with what its shard had.

    A replica starts without its file. While its primary, which has just copied everything, writes
    its own file anew, it could not be copied from anyhow: an engine has one child at a time.
    """
    known, observed = world.status.of(node_id), world.observed
    if view.primary_id is None or known is None or not known.ends:
        return False
    is_behind = observed.of(view.primary_id).is_file_behind
    is_recent = world.now < known.ends[-1] + _FILE_KEPT
    return is_behind and is_recent and observed.of(node_id).has_append_only_file


def _start(world: World, view: ShardView, node_id: str, reason: str) -> Step | None:
    """Return the start of a node, as what the group is to run.

    While the build for that is on its way, a node that ran another version runs that once more.
    """
    known = world.status.of(node_id)
    if flapping.held_back_until(known, world.now) or newcomers.held_back_until(known, world.now):
        return None
    fact = world.observed.of(node_id)
    wanted = settings.for_start(world.asked, fact)
    launch = launch_of(
        world.group,
        world.placement,
        node_id,
        _map(world),
        world.observed,
        wanted=wanted,
        owned=world.owned,
    )
    if world.observed.build_version is None:
        before = restarts.version_to_go_on_with(world.group, view, node_id, world.observed)
        if before is None:
            return None
        as_before = settings.of_line(world.group, before.engine, before.engine_version)
        launch = dataclasses.replace(
            launch,
            engine=before.engine,
            engine_version=before.engine_version,
            settings=as_before.settings,
            maxmemory_bytes=as_before.maxmemory_bytes,
        )
    return Step(command=StartNode(launch=launch), reason=reason, node_id=node_id)


def _map(world: World) -> tuple[ShardView, ...]:
    """Return the shards without the nodes that are gone: who starts now never hears of them."""
    leaving, observed = leaving_ids(world.group), world.observed
    views: list[ShardView] = []
    for view in world.views:
        nodes = tuple(
            node
            for node in view.shard.nodes
            if node.node_id not in leaving
            or node.node_id == view.primary_id
            or not isinstance(observed.of(node.node_id).process, Absent)
        )
        if nodes:
            shard = dataclasses.replace(view.shard, nodes=nodes)
            views.append(dataclasses.replace(view, shard=shard))
    return tuple(views)


def _stop_strays(world: World, view: ShardView) -> Iterator[Step]:
    """Stop held nodes where nobody is admitted: they wait for a primary that has ended.

    What they hold was never complete, or they would have been admitted.
    """
    facts = {node.node_id: world.observed.of(node.node_id) for node in view.shard.nodes}
    engines = {node_id: engine_of(f) for node_id, f in facts.items() if not is_down(f)}
    if any(engine is None or not engine.is_held for engine in engines.values()):
        return
    for node_id in engines:
        command = StopNode(key=_key(world, node_id))
        yield Step(
            command=command, reason="its primary ended before the first sync", node_id=node_id
        )


def _key(world: World, node_id: str) -> str:
    return node_key(world.group.spec.uid, node_id)
