"""What should happen to this group now? The one question the loop asks.

Pure and total: any world gives a plan, silence gives patience. The files beside this one answer
the parts: who is primary (`shard`), what to start with (`launch`), who listens where
(`endpoints`), what is safe for each node (`nodes`), what to say (`status`, `events`).
"""

from __future__ import annotations

import dataclasses
import datetime

from cachewright.model.commands import (
    BindNode,
    ForgetGroup,
    HandOver,
    InstallBuild,
    PlaceGroup,
    ReleaseGroup,
    RemoveNode,
    Step,
    StopNode,
    node_key,
)
from cachewright.model.facts import Absent, Observed, Running, Stopped
from cachewright.model.groups import DISCOVERY_ID, Group, GroupKind, GroupPlacement
from cachewright.model.settings import Limits
from cachewright.model.status import GroupState, GroupStatus, NodeState, NodeStatus
from cachewright.plan import (
    events,
    flapping,
    joining,
    newcomers,
    node_status,
    resharding,
    restarts,
    settings,
    status,
    unowned,
)
from cachewright.plan.memcached import plan_memcached
from cachewright.plan.nodes import World, steps_for_nodes
from cachewright.plan.ownership import Ownership, ownership
from cachewright.plan.plan import (
    LOOK_AGAIN_FAILED_S,
    LOOK_AGAIN_INSTALLING_S,
    LOOK_AGAIN_MOVING_S,
    LOOK_AGAIN_REST_S,
    Plan,
    busy_look_again_s,
)
from cachewright.plan.shard import engine_of, shards_to_run, view_shard
from cachewright.plan.slot_scene import Scene


def plan_group(
    group: Group,
    previous: GroupStatus | None,
    observed: Observed,
    *,
    now: datetime.datetime,
    limits: Limits,
) -> Plan:
    """Return what is safe to do now for `group`, and the status that is true now."""
    deletion = group.spec.deletion
    if deletion is not None and deletion.retained_node_id is None:
        return _plan_removal(group, previous, observed, now)
    if previous is not None and previous.state is GroupState.CREATE_FAILED:
        return _plan_failed(group, previous, observed)
    failure = _create_failure(group, previous, observed, now, limits)
    if failure:
        return _plan_failure(group, previous, observed, failure, now)
    if group.placement is None:
        return _plan_placement(group, previous, observed, now)
    if group.spec.kind is GroupKind.MEMCACHED:
        return plan_memcached(group, group.placement, previous, observed, now)
    return _plan_nodes(group, group.placement, previous, observed, now)


def _plan_nodes(
    group: Group,
    placement: GroupPlacement,
    previous: GroupStatus | None,
    observed: Observed,
    now: datetime.datetime,
) -> Plan:
    world, current = _look(group, placement, previous, observed, now)
    if group.spec.deletion is None:
        of_slots, current = _slots_of(world, previous, current)
        of_nodes = steps_for_nodes(world)
        # Whoever changes its role has nothing else to do; slots wait for the next look.
        changes_roles = any(isinstance(step.command, HandOver) for step in of_nodes)
        steps = (
            *joining.place(group, placement),
            *of_nodes,
            *(() if changes_roles else of_slots),
            *joining.release(group, placement, observed),
        )
    else:
        steps, current = _plan_release(world, current)
    look_again_s = _look_again_s(current, steps, now, is_moving=bool(observed.moves.running))
    if resharding.has_advanced(previous.resharding if previous else None, current.resharding):
        look_again_s = 0.0
    return Plan(
        steps=steps,
        status=current,
        events=events.of_change(group, previous, current, observed, now),
        look_again_s=look_again_s,
    )


def _slots_of(
    world: World, previous: GroupStatus | None, current: GroupStatus
) -> tuple[tuple[Step, ...], GroupStatus]:
    """Return what there is to do about the slots of a group, and the status with how they are."""
    if world.owned is None:
        return (), current
    scene = Scene(
        group=world.group,
        placement=world.placement,
        views=world.views,
        observed=world.observed,
        owned=world.owned,
        status=world.status,
        previous=previous,
        now=world.now,
    )
    outlook, found = resharding.look(scene), unowned.look(scene)
    current = dataclasses.replace(
        current,
        unowned=found.slots,
        resharding=outlook.resharding,
        reason=outlook.reason if current.reason == status.RESHARDING else current.reason,
    )
    return (*outlook.steps, *found.steps), current


def _remembering(
    current: GroupStatus, owned: Ownership | None, previous: GroupStatus | None
) -> GroupStatus:
    """Return the status with who owns what, and with what was known of a resharding.

    A look that straddles a move may find slots that nobody owns: what was known of them stays.
    """
    if owned is None:
        return current
    known = previous.owned if previous else ()
    is_doubtful = owned.unowned or owned.disputed
    return dataclasses.replace(
        current,
        owned=known if is_doubtful and known else owned.owned,
        resharding=previous.resharding if previous else None,
    )


def _look_again_s(
    current: GroupStatus, steps: tuple[Step, ...], now: datetime.datetime, *, is_moving: bool
) -> float:
    """Return when something may be new: soon, unless all rest or are held back for a while."""
    holds: list[datetime.datetime] = []
    is_restless = bool(steps)
    for node in current.nodes:
        until = None
        if not node.is_running:
            until = flapping.held_back_until(node, now) or newcomers.held_back_until(node, now)
        if until is not None:
            holds.append(until)
        else:
            is_restless |= node.state is not NodeState.AVAILABLE
            is_restless |= restarts.has_just_stepped_down(node, now)
    busy_s = busy_look_again_s(len(current.nodes))
    if is_moving and not is_restless:
        return max(busy_s, LOOK_AGAIN_MOVING_S)
    if is_restless or (current.state is not GroupState.AVAILABLE and not holds):
        return busy_s
    pauses_s = [LOOK_AGAIN_REST_S, *((until - now).total_seconds() for until in holds)]
    return max(busy_s, min(pauses_s))


def _look(
    group: Group,
    placement: GroupPlacement,
    previous: GroupStatus | None,
    observed: Observed,
    now: datetime.datetime,
) -> tuple[World, GroupStatus]:
    """Return what decisions look at, and the status that follows from it."""
    views = tuple(view_shard(shard, observed, previous) for shard in shards_to_run(group))
    asked = settings.ask(group, observed)
    owned = None
    if group.spec.cluster_enabled:
        owned = ownership(group, placement, observed, previous)
    seen = node_status.Seen(
        group=group,
        placement=placement,
        views=views,
        observed=observed,
        asked=asked,
        owned=owned,
        previous=previous,
        now=now,
    )
    current = _remembering(status.group_status(seen), owned, previous)
    world = World(
        group=group,
        placement=placement,
        views=views,
        observed=observed,
        asked=asked,
        owned=owned,
        status=current,
        now=now,
    )
    return world, current


def _plan_release(world: World, current: GroupStatus) -> tuple[tuple[Step, ...], GroupStatus]:
    """Remove all but the retained node, then free the group's name and endpoints."""
    group, placement, observed = world.group, world.placement, world.observed
    assert group.spec.deletion is not None
    retained = group.spec.deletion.retained_node_id
    assert retained is not None
    others = [n.node_id for n in placement.nodes if n.node_id != retained]
    steps, removing = _removal_steps(group, others, observed)
    if not others and not placement.endpoints.addresses():
        return steps_for_nodes(world), current
    engine = engine_of(observed.of(retained))
    own = (placement.of(retained).address,)
    if engine is not None and set(engine.bind) != set(own):
        command = BindNode(key=node_key(group.spec.uid, retained), bind=own)
        reason = "the group's endpoints go away"
        steps = (*steps, Step(command=command, reason=reason, node_id=retained))
    elif not steps and all(isinstance(observed.of(n).process, Absent) for n in others):
        command_release = ReleaseGroup(retained_node_id=retained)
        steps = (Step(command=command_release, reason=f"only {retained} is left"),)
    kept = tuple(node for node in current.nodes if node.node_id == retained)
    return steps, GroupStatus(
        state=GroupState.DELETING,
        observed_generation=current.observed_generation,
        nodes=kept + removing,
        reason=f"removing all nodes but {retained}",
        was_available=current.was_available,
    )


def _plan_removal(
    group: Group, previous: GroupStatus | None, observed: Observed, now: datetime.datetime
) -> Plan:
    placement = group.placement
    node_ids = [n.node_id for n in placement.nodes] if placement else []
    steps, removing = _removal_steps(group, node_ids, observed)
    if all(isinstance(observed.of(node_id).process, Absent) for node_id in node_ids):
        steps = (Step(command=ForgetGroup(), reason="nothing of the group is left"),)
    current = GroupStatus(
        state=GroupState.DELETING,
        observed_generation=group.spec.generation,
        nodes=removing,
        reason=observed.obstacle
        or ("deleting" if steps else "waiting for proof that every process has ended"),
        was_available=previous is not None and previous.was_available,
    )
    return Plan(
        steps=steps,
        status=current,
        events=events.of_change(group, previous, current, observed, now),
        look_again_s=busy_look_again_s(len(node_ids)),
    )


def _removal_steps(
    group: Group, node_ids: list[str], observed: Observed
) -> tuple[tuple[Step, ...], tuple[NodeStatus, ...]]:
    steps: list[Step] = []
    for node_id in node_ids:
        key = node_key(group.spec.uid, node_id)
        match observed.of(node_id).process:
            case Running():
                reason = "its group is being deleted"
                steps.append(Step(command=StopNode(key=key), reason=reason, node_id=node_id))
            case Stopped():
                reason = "its process has ended"
                steps.append(Step(command=RemoveNode(key=key), reason=reason, node_id=node_id))
            case _:
                pass
    statuses = tuple(
        NodeStatus(node_id=node_id, state=NodeState.DELETING, role=None) for node_id in node_ids
    )
    return tuple(steps), statuses


def _plan_placement(
    group: Group, previous: GroupStatus | None, observed: Observed, now: datetime.datetime
) -> Plan:
    spec = group.spec
    engine_text = f"{spec.engine.value} {spec.engine_version}"
    if observed.build_version is None:
        command = InstallBuild(engine=spec.engine, engine_version=spec.engine_version)
        step = Step(command=command, reason=f"no build of {engine_text} is on this host")
        reason = f"installing {engine_text}"
    else:
        place = PlaceGroup(build_version=observed.build_version)
        step = Step(command=place, reason="the group has no addresses yet")
        reason = "choosing addresses"
    current = _creating(group, reason)
    return Plan(
        steps=(step,),
        status=current,
        events=events.of_change(group, previous, current, observed, now),
        look_again_s=LOOK_AGAIN_INSTALLING_S,
    )


def _creating(group: Group, reason: str) -> GroupStatus:
    return GroupStatus(
        state=GroupState.CREATING,
        observed_generation=group.spec.generation,
        nodes=tuple(
            NodeStatus(node_id=node.node_id, state=NodeState.CREATING, role=None)
            for node in group.spec.nodes()
        ),
        reason=reason,
    )


def _create_failure(
    group: Group,
    previous: GroupStatus | None,
    observed: Observed,
    now: datetime.datetime,
    limits: Limits,
) -> str:
    """Return why a create is given up, empty while it is not."""
    if previous is not None and previous.was_available:
        return ""
    if observed.is_hopeless:
        return observed.obstacle
    for node_id in [node.node_id for node in group.spec.nodes()] + [DISCOVERY_ID]:
        fact = observed.of(node_id)
        if fact.failed_starts >= limits.failed_starts:
            return fact.failure or f"{node_id} could not be started"
    if now - group.spec.created_at > datetime.timedelta(seconds=limits.create_deadline_s):
        waited_for = previous.reason if previous is not None else "the first look"
        return f"not available after {limits.create_deadline_s:.0f} s: {waited_for}"
    return ""


def _plan_failure(
    group: Group,
    previous: GroupStatus | None,
    observed: Observed,
    failure: str,
    now: datetime.datetime,
) -> Plan:
    current = GroupStatus(
        state=GroupState.CREATE_FAILED,
        observed_generation=group.spec.generation,
        nodes=tuple(
            NodeStatus(node_id=node.node_id, state=NodeState.INCOMPATIBLE_NETWORK, role=None)
            for node in group.spec.nodes()
        ),
        reason=failure,
    )
    return Plan(
        steps=_stop_all(group, observed),
        status=current,
        events=events.of_change(group, previous, current, observed, now),
        look_again_s=busy_look_again_s(1),
    )


def _plan_failed(group: Group, previous: GroupStatus, observed: Observed) -> Plan:
    steps = _stop_all(group, observed)
    return Plan(
        steps=steps,
        status=previous,
        events=(),
        look_again_s=busy_look_again_s(1) if steps else LOOK_AGAIN_FAILED_S,
    )


def _stop_all(group: Group, observed: Observed) -> tuple[Step, ...]:
    return tuple(
        Step(
            command=StopNode(key=node_key(group.spec.uid, place.node_id)),
            reason="the create of its group was given up",
            node_id=place.node_id,
        )
        for place in (group.placement.nodes if group.placement else ())
        if isinstance(observed.of(place.node_id).process, Running)
    )
