"""Which steps bring the nodes of a group nearer to serving? One answer a node, only what is safe.

The order inside a shard follows from the rules: the primary is started held and admitted alone;
replicas are started once it is admitted, follow it, and are admitted when they are in sync.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Sequence
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
from cachewright.model.facts import EngineFact, Observed
from cachewright.model.groups import Group, GroupPlacement
from cachewright.model.status import GroupStatus, Role
from cachewright.plan import endpoints, flapping, joining, restarts, settings, suspicion
from cachewright.plan.election import elections
from cachewright.plan.handover import handovers
from cachewright.plan.launch import launch_of
from cachewright.plan.shard import Phase, ShardView, engine_of, is_down, leaving_ids


@dataclass(frozen=True, kw_only=True, slots=True)
class World:
    """What every decision about the nodes of one group looks at."""

    group: Group
    placement: GroupPlacement
    views: Sequence[ShardView]
    observed: Observed
    asked: settings.Asked
    #: How the group is doing by what was seen, and what it remembers.
    status: GroupStatus
    now: datetime.datetime


def steps_for_nodes(world: World) -> tuple[Step, ...]:
    """Return what may be done now for all nodes of a group that shall run."""
    wanted = endpoints.wanted_binds(
        world.placement,
        world.views,
        world.observed,
        leaving=leaving_ids(world.group) | restarts.due_ids(world.group, world.observed),
        was_available=world.status.was_available,
    )
    changes = elections(world.group, world.views, world.observed, world.status)
    if not changes:
        changes = handovers(world.group, world.placement, world.views, world.observed)
    fences = suspicion.fences(world.group, world.views, world.observed, world.status)
    steps: list[Step] = list(changes.values())
    for view in world.views:
        if view.shard.shard_id not in changes:
            fence = fences.get(view.shard.shard_id)
            shard_steps = _steps_for_shard(world, view, wanted)
            steps.extend(shard_steps if fence is None else _beside_fence(fence, shard_steps))
    starts = any(isinstance(step.command, StartNode) for step in steps)
    if starts and world.observed.build_version is None:
        spec = world.group.spec
        install = InstallBuild(engine=spec.engine, engine_version=spec.engine_version)
        return (Step(command=install, reason="the build of a node to start is not on this host"),)
    return tuple(steps)


def _beside_fence(fence: Step, steps: Iterator[Step]) -> Iterator[Step]:
    """Let one process of a shard end at a time; all else goes on."""
    yield fence
    for step in steps:
        if not isinstance(step.command, StopNode):
            yield step


def _steps_for_shard(
    world: World, view: ShardView, wanted: dict[str, tuple[str, ...]]
) -> Iterator[Step]:
    match view.phase:
        case Phase.DOWN:
            assert view.primary_id is not None
            step = _start(world, view.primary_id, "the shard has no running node")
            if step is not None:
                yield step
        case Phase.HELD | Phase.SERVING:
            for node in view.shard.nodes:
                step = _step_for_node(world, view, node.node_id, wanted)
                if step is not None:
                    yield step
        case Phase.UNDECIDED:
            yield from _stop_strays(world, view)
        case Phase.SPLIT:
            return


def _step_for_node(
    world: World, view: ShardView, node_id: str, wanted: dict[str, tuple[str, ...]]
) -> Step | None:
    fact = world.observed.of(node_id)
    is_primary = node_id == view.primary_id
    is_chosen = is_primary and view.phase is Phase.HELD  # it has the shard's data: it serves first
    if node_id in leaving_ids(world.group) and not is_chosen:
        return joining.step_for(world.group, world.placement, view, node_id, world.observed)
    if is_down(fact):
        if view.phase is Phase.HELD:
            return None
        return _start(world, node_id, f"shard {view.shard.shard_id} lacks this replica")
    restart = restarts.step_for(world.group, view, node_id, world.observed)
    if restart is not None:
        return restart
    engine = engine_of(fact)
    if engine is None or engine.is_loading:
        return None
    if not is_primary and not _follows(world, view, engine):
        return _follow(world, view, node_id)
    bind = endpoints.possible_bind(node_id, wanted, world.observed)
    if engine.is_held:
        if is_primary or engine.is_in_sync:
            reason = "is the primary of its shard" if is_primary else "is in sync with its primary"
            command = AdmitNode(key=_key(world, node_id), bind=bind)
            return Step(command=command, reason=f"{node_id} {reason}", node_id=node_id)
        return None
    if set(engine.bind) != set(bind):
        command_bind = BindNode(key=_key(world, node_id), bind=bind)
        return Step(command=command_bind, reason="endpoints follow their roles", node_id=node_id)
    return settings.apply_step(world.group, node_id, fact, settings.drift(world.asked, fact))


def _follows(world: World, view: ShardView, engine: EngineFact) -> bool:
    if world.group.spec.cluster_enabled:
        # The engines' own cluster tells replicas whom to follow.
        return engine.role is Role.REPLICA or view.phase is not Phase.SERVING
    assert view.primary_id is not None
    place = world.placement.of(view.primary_id)
    return engine.role is Role.REPLICA and engine.primary == (place.address, place.port)


def _follow(world: World, view: ShardView, node_id: str) -> Step | None:
    if world.group.spec.cluster_enabled or view.phase is not Phase.SERVING:
        return None
    assert view.primary_id is not None
    place = world.placement.of(view.primary_id)
    command = FollowPrimary(key=_key(world, node_id), address=place.address, port=place.port)
    return Step(command=command, reason=f"replicate from {view.primary_id}", node_id=node_id)


def _start(world: World, node_id: str, reason: str) -> Step | None:
    if flapping.held_back_until(world.status.of(node_id), world.now) is not None:
        return None
    wanted = settings.for_start(world.asked, world.observed.of(node_id))
    launch = launch_of(
        world.group, world.placement, node_id, world.views, world.observed, wanted=wanted
    )
    return Step(command=StartNode(launch=launch), reason=reason, node_id=node_id)


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
