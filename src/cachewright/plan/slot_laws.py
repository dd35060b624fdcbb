"""What may never happen to slots? The laws of a resharding, beside those of `invariants`.

Every slot has one owner at every moment; nothing is taken from who serves but by a move; no shard
goes that owns or holds something, and nobody is forgotten who could come back.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from typing import TypeVar

from cachewright.model.commands import (
    ClaimSlots,
    CloseSlots,
    ForgetNodes,
    HandOver,
    MoveSlots,
    ReleaseNodes,
    RemoveNode,
    StopNode,
    node_id_of,
)
from cachewright.model.facts import ClusterFact, Observed
from cachewright.model.groups import Group, NodePlacement
from cachewright.model.slots import covers_all, numbers_of
from cachewright.model.status import GroupState
from cachewright.plan.evidence import (
    answer_of,
    has_surely_ended,
    is_asked_for,
    is_shard_asked_for,
    is_writer,
    members_of,
    siblings_of,
    steps_of,
)
from cachewright.plan.plan import Plan

_ALL_PERCENT = 100.0
_Order = TypeVar("_Order", ClaimSlots, CloseSlots, ForgetNodes, MoveSlots, ReleaseNodes)


def slot_violations(group: Group, observed: Observed, plan: Plan) -> Iterator[str]:
    """Yield every way in which `plan` would break a law of slots in the world `observed`."""
    if group.spec.cluster_enabled and group.spec.deletion is None:
        yield from moves_only_between_servers(group, observed, plan)
        yield from moves_one_thing_at_a_time(observed, plan)
        yield from gives_nothing_to_the_full(observed, plan)
        yield from closes_only_what_rests(observed, plan)
        yield from claims_only_what_nobody_owns(group, observed, plan)
        yield from empties_before_it_ends(group, observed, plan)
        yield from forgets_only_the_gone(group, observed, plan)
        yield from releases_only_the_forgotten(group, observed, plan)
        yield from says_no_more_than_is_so(group, plan)


def moves_only_between_servers(group: Group, observed: Observed, plan: Plan) -> Iterator[str]:
    """Slots go from an admitted primary that owns them to one that stays, while all serve."""
    moves = _orders(plan, MoveSlots)
    for command in moves:
        yield from _gives_what_it_has(command, observed)
        yield from _goes_where_it_is_sent(command, group)
        taker = node_id_of(command.to_key)
        if not is_writer(observed, taker) or taker in siblings_of(group, node_id_of(command.key)):
            yield f"slots are moved to {taker}, which is no other primary that serves"
        if taker in _leaving(group):
            yield f"slots are moved to {taker}, whose shard leaves"
    for shard_id, members in members_of(group).items() if moves else ():
        if not any(is_writer(observed, node_id) for node_id in members):
            yield f"slots are moved while shard {shard_id} does not serve"


def _gives_what_it_has(command: MoveSlots, observed: Observed) -> Iterator[str]:
    giver, slots = node_id_of(command.key), set(numbers_of(command.slots))
    cluster = _cluster_of(observed, giver)
    if not is_writer(observed, giver) or cluster is None:
        yield f"slots are moved from {giver}, which is no primary that serves"
    elif not slots or not slots <= set(numbers_of(cluster.own_slots)):
        yield f"slots are moved from {giver}, which does not own them"
    elif any(o.slot in slots and o.peer_id != command.to_engine_id for o in cluster.open_slots):
        yield f"slots of {giver} are moved while they are open to somebody else"


def _goes_where_it_is_sent(command: MoveSlots, group: Group) -> Iterator[str]:
    assert group.placement is not None
    place = group.placement.of(node_id_of(command.to_key))
    said = (command.to_engine_id, command.to_address, command.to_port)
    if said != (place.engine_id, place.address, place.port):
        yield f"slots are moved to {place.node_id}, which is not where they are sent"
    if command.generation != group.spec.resharding_generation:
        yield "slots are moved that nobody has asked to be spread"


def moves_one_thing_at_a_time(observed: Observed, plan: Plan) -> Iterator[str]:
    """Law 6: one move of a giver at a time, and nothing else is done to it or to who takes."""
    running = observed.moves.running
    busy = {moving.from_id for moving in running}
    movers = busy | {moving.to_id for moving in running}
    moving = {*observed.moves.slots}
    for command in _orders(plan, MoveSlots):
        giver, slots = node_id_of(command.key), set(numbers_of(command.slots))
        if giver in busy or slots & moving:
            yield f"slots of {giver} are moved while another move of it runs"
        busy.add(giver)
        moving |= slots
        movers |= {giver, node_id_of(command.to_key)}
    for step in steps_of(plan, HandOver | StopNode):
        if step.node_id in movers:
            yield f"{step.node_id} changes while slots are moved from or to it"


def gives_nothing_to_the_full(observed: Observed, plan: Plan) -> Iterator[str]:
    """Who has to do with a cut move that does not end takes nothing more: it may have no memory."""
    for command in _orders(plan, MoveSlots) if observed.moves.failed_closings else ():
        taker = node_id_of(command.to_key)
        cluster = _cluster_of(observed, taker)
        opened = {one.slot for one in cluster.open_slots} if cluster is not None else set[int]()
        if opened - observed.moves.slots:
            yield f"slots are moved to {taker}, where a cut move does not end"


def closes_only_what_rests(observed: Observed, plan: Plan) -> Iterator[str]:
    """Moves are taken back by the owner of the slots, and never while they go on."""
    for command in _orders(plan, CloseSlots):
        owner = node_id_of(command.key)
        slots, cluster = set(numbers_of(command.slots)), _cluster_of(observed, owner)
        if slots & observed.moves.slots:
            yield f"slots of {owner} are closed while they are moved"
        if not is_writer(observed, owner) or cluster is None:
            yield f"slots are closed on {owner}, which is no primary that serves"
        elif not slots <= set(numbers_of(cluster.own_slots)):
            yield f"slots are closed on {owner}, which does not own them"


def claims_only_what_nobody_owns(group: Group, observed: Observed, plan: Plan) -> Iterator[str]:
    """Law 5: nothing is taken from who owns it, may own it unheard, or is about to."""
    claims = _orders(plan, ClaimSlots)
    wanted = [slot for command in claims for slot in numbers_of(command.slots)]
    if len(wanted) > len(set(wanted)):
        yield "a slot is claimed for two"
    if observed.moves.slots & {*wanted}:
        yield "slots are claimed while they are moved"
    for shard_id, members in members_of(group).items() if claims else ():
        serving = [node_id for node_id in members if is_writer(observed, node_id)]
        if not serving and is_shard_asked_for(group, members[0]):
            yield f"slots are claimed while shard {shard_id} does not serve"
        for node_id in serving:
            cluster = _cluster_of(observed, node_id)
            if cluster is not None and {*numbers_of(cluster.own_slots)} & {*wanted}:
                yield f"slots are claimed that {node_id} owns"
    places = {place.listens_at for place in _placed(group) if is_writer(observed, place.node_id)}
    for command in claims:
        place = next((p for p in _placed(group) if p.node_id == node_id_of(command.key)), None)
        asked = {*command.others} | ({place.listens_at} if place else set())
        if asked != places:
            yield "slots are claimed and not every primary is asked"


def empties_before_it_ends(group: Group, observed: Observed, plan: Plan) -> Iterator[str]:
    """Law 5: a shard goes only when all agree that it owns nothing, and it holds nothing."""
    for step in plan.steps:
        if not isinstance(step.command, StopNode | RemoveNode) or step.node_id is None:
            continue
        if is_shard_asked_for(group, step.node_id):
            continue
        shard = [step.node_id, *siblings_of(group, step.node_id)]
        ids = _engine_ids(group, shard)
        for node_id in (node.node_id for node in _placed(group)):
            engine, cluster = answer_of(observed.of(node_id)), _cluster_of(observed, node_id)
            if engine is None or cluster is None or not is_writer(observed, node_id):
                continue
            if ids & cluster.owner_ids:
                yield f"{step.node_id} is ended while {node_id} knows of slots of its shard"
            if node_id in shard and (engine.keys or cluster.own_slots):
                yield f"{step.node_id} is ended while {node_id} of its shard holds something"


def forgets_only_the_gone(group: Group, observed: Observed, plan: Plan) -> Iterator[str]:
    """Law 3: nobody is forgotten who may live or come back."""
    for command in _orders(plan, ForgetNodes):
        for place in _placed(group):
            if place.engine_id not in command.engine_ids:
                continue
            if is_asked_for(group, place.node_id):
                yield f"{node_id_of(command.key)} shall forget {place.node_id}, which is asked for"
            if not has_surely_ended(observed.of(place.node_id)):
                yield f"{node_id_of(command.key)} shall forget {place.node_id}, which may live"


def releases_only_the_forgotten(group: Group, observed: Observed, plan: Plan) -> Iterator[str]:
    """Law 7: a name and an address are free when no living node waits for who had them."""
    for command in _orders(plan, ReleaseNodes):
        ids = _engine_ids(group, command.node_ids)
        for node_id in (place.node_id for place in _placed(group)):
            cluster = _cluster_of(observed, node_id)
            if cluster is not None and ids & cluster.known_ids:
                yield f"{command.node_ids} are released while {node_id} knows of them"


def says_no_more_than_is_so(group: Group, plan: Plan) -> Iterator[str]:
    """Each slot has one owner at most, before and after; and nothing is over too early."""
    status, asked = plan.status, group.spec.resharding_generation
    claimed = sorted(part for owned in status.owned for part in owned.slots)
    if any(left.last >= right.first for left, right in itertools.pairwise(claimed)):
        yield "a slot is written down for two shards"
    resharding = status.resharding
    is_over = resharding is not None and resharding.is_over and resharding.generation == asked
    if asked and not is_over and status.state is GroupState.AVAILABLE:
        yield "available, but slots were asked to be spread and are not"
    if resharding is None:
        return
    if resharding.target and not covers_all(
        part for wanted in resharding.target for part in wanted.slots
    ):
        yield "slots shall be spread so that some have no owner, or two"
    if not 0.0 <= resharding.progress_percent <= _ALL_PERCENT:
        yield f"{resharding.progress_percent} percent are done"


def _leaving(group: Group) -> set[str]:
    """Return the nodes of shards that shall go, or that nobody asks for any more."""
    going = {shard.shard_id for shard in group.spec.shards if shard.is_leaving}
    asked = {shard.shard_id for shard in group.spec.shards}
    return {
        node_id
        for shard_id, members in members_of(group).items()
        if shard_id in going or shard_id not in asked
        for node_id in members
    }


def _orders(plan: Plan, kind: type[_Order]) -> list[_Order]:
    return [step.command for step in plan.steps if isinstance(step.command, kind)]


def _placed(group: Group) -> tuple[NodePlacement, ...]:
    return group.placement.nodes if group.placement is not None else ()


def _engine_ids(group: Group, node_ids: Iterable[str]) -> set[str]:
    wanted = set(node_ids)
    return {place.engine_id for place in _placed(group) if place.node_id in wanted}


def _cluster_of(observed: Observed, node_id: str) -> ClusterFact | None:
    engine = answer_of(observed.of(node_id))
    return engine.cluster if engine is not None else None
