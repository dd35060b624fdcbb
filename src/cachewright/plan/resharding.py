"""How do slots get where they shall be? Weigh, decide once, move a little at a time, and end.

A caller asks for it by raising `GroupSpec.resharding_generation`, with shards that are new or that
leave, or neither. Strengthen first: nothing moves before every new node is in sync. Who shall own
what is decided once (`spreading`) and written down; after that each round compares it with what the
engines say they own (`ownership`), whatever has happened in between. No move is tried for ever: the
engines' own way is given up for the host's, and that one for the end, in which what was reached
stays. Moves that somebody began and nobody goes on with are ended, or taken back.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from cachewright.model.commands import MoveSlots, Step, WeighSlots, node_key
from cachewright.model.engines import capabilities_of
from cachewright.model.facts import SlotWeights
from cachewright.model.moves import BYTES_PER_MOVE, MOVES_PER_TAKER, STEP_BYTES_MAX, MoveMethod
from cachewright.model.slots import merge, numbers_of, ranges_of
from cachewright.model.status import NodeState, Resharding, ShardSlots
from cachewright.plan import mending, newcomers, slots, spreading
from cachewright.plan.shard import reshards
from cachewright.plan.slot_scene import Scene

#: Failures in a row that got nowhere, until another method is tried, or the resharding ends. Some
#: are bad luck: a node that died, a buffer that ran over under a burst of writes.
ATOMIC_TRIES = 3
COPY_TRIES = 5
#: The same of ends of cut moves: where both sides are full, nothing goes on and nothing comes back.
#: With growing pauses between them, half a minute.
CLOSE_TRIES = 8
#: An engine that has given its last slot away still removes what it held: a million keys take it a
#: second or two.
EMPTYING_S = 60.0
#: What it holds after that was left behind when somebody took its slots by other ways. It goes to
#: who owns them, some 50 MB a second.
HOMECOMING_S = 300.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Outlook:
    """What there is to do about slots, and how far it has got."""

    #: What to write down; `None` where there never was a resharding.
    resharding: Resharding | None
    steps: tuple[Step, ...] = ()
    #: What goes on, for people; empty while nothing does.
    reason: str = ""


def has_advanced(before: Resharding | None, after: Resharding | None) -> bool:
    """Tell whether a resharding has come to its next stage: there is something to do at once."""
    return after is not None and (before is None or before.stage != after.stage)


def look(scene: Scene) -> Outlook:
    """Return what to do about the slots of a group in cluster mode."""
    last = scene.previous.resharding if scene.previous else None
    if not reshards(scene.group, scene.previous):
        return Outlook(resharding=last, steps=tuple(mending.closings(scene)))
    asked = scene.generation
    state = last if last and last.generation == asked else Resharding(generation=asked)
    why = newcomers.stillborn(scene.group, scene.status, scene.owned)
    if why and not state.target:
        return _without(scene, state, why)
    waits = _waits(scene, state)
    if waits:
        # Weighing takes as long as a new node does, and changes nothing.
        early = () if state.target else tuple(_weighings(scene, _weighed(scene)))
        return Outlook(resharding=state, steps=early, reason=waits)
    if not state.target:
        return _decide(scene, state)
    return _go_on(scene, state)


def _waits(scene: Scene, state: Resharding) -> str:
    """Return what must be so before anything can move, empty where it is."""
    for shard in scene.group.spec.shards:
        if scene.primary_of(shard.shard_id) is None:
            return f"shard {shard.shard_id} has no primary that serves"
    if state.target:
        return ""
    for node in scene.status.nodes:
        if node.state is NodeState.CREATING:
            return f"adding {node.node_id}"
    return "" if scene.owned.is_agreed else "the primaries do not agree yet on who owns what"


def _without(scene: Scene, state: Resharding, why: Mapping[str, str]) -> Outlook:
    """Let shards be dropped that could not be made; where no other one came, that is the end."""
    state = dataclasses.replace(state, stillborn=tuple(why.items()))
    first = next(iter(why.values()))
    if any(s.shard_id not in why for s in newcomers.without_slots(scene.group, scene.owned)):
        return Outlook(resharding=state, reason=first)
    return _over(scene, dataclasses.replace(state, failure=first))


# The decision


def _decide(scene: Scene, state: Resharding) -> Outlook:
    weights = _weighed(scene)
    steps = tuple(_weighings(scene, weights))
    if steps:
        return Outlook(resharding=state, steps=steps, reason="weighing the slots")
    leaving, headroom = scene.leaving(), _headroom(scene)
    spread = spreading.spread(
        [
            slots.Holder(
                shard_id=owner.shard_id,
                slots=owner.slots,
                is_leaving=owner.shard_id in leaving,
                weights=weights.get(owner.shard_id),
                headroom_bytes=headroom.get(owner.shard_id),
            )
            for owner in scene.owned.owned
        ]
    )
    if spread.problem:
        return _over(scene, dataclasses.replace(state, failure=spread.problem))
    decided = dataclasses.replace(
        state,
        target=spread.target,
        slots_to_move=spread.slots_to_move,
        bytes_to_move=spread.bytes_to_move,
        stuck=merge(part for shard in spread.stuck for part in shard.slots),
    )
    return Outlook(resharding=decided, reason=f"{decided.slots_to_move} slots are to be moved")


def _weighed(scene: Scene) -> dict[str, SlotWeights]:
    """Return what the slots hold, of each shard whose primary was weighed for this resharding."""
    weights: dict[str, SlotWeights] = {}
    for shard in scene.group.spec.shards:
        primary = scene.primary_of(shard.shard_id)
        found = scene.observed.of(primary[0]).weights if primary else None
        if found is not None and found.generation == scene.generation:
            weights[shard.shard_id] = found
    return weights


def _weighings(scene: Scene, weights: Mapping[str, SlotWeights]) -> Iterator[Step]:
    for owner in scene.owned.owned:
        primary = scene.primary_of(owner.shard_id)
        if not owner.slots or owner.shard_id in weights or primary is None:
            continue
        node_id, _ = primary
        command = WeighSlots(
            key=node_key(scene.group.spec.uid, node_id), generation=scene.generation
        )
        yield Step(command=command, reason="what its slots hold decides", node_id=node_id)


def _headroom(scene: Scene) -> dict[str, int]:
    """Return how many bytes each shard that stays has left."""
    left: dict[str, int] = {}
    for shard in scene.group.spec.shards:
        primary = scene.primary_of(shard.shard_id)
        if primary is None or shard.is_leaving:
            continue
        node_id, engine = primary
        launched = scene.observed.of(node_id).launched
        most = launched.maxmemory_bytes if launched else 0
        left[shard.shard_id] = max(0, most - engine.used_memory_bytes)
    return left


# The way there


def _go_on(scene: Scene, state: Resharding) -> Outlook:
    moves, owned = scene.observed.moves, scene.owned.owned
    weighed = _weighed(scene)
    state = _without_stuck(scene, state, weighed)
    weights = _estimated(scene, weighed)
    left = slots.slots_left(owned, state.target)
    progress = slots.progress_percent(state, owned, weights)
    state = dataclasses.replace(state, progress_percent=progress)
    closings = tuple(mending.closings(scene))
    if closings:
        return _mend(scene, state, weights, closings)
    if not left and not moves.running:
        return _end(scene, state)
    method = _method(scene)
    if method is None:
        if moves.running:
            return Outlook(resharding=state, reason="waiting for the last moves to end")
        failure = f"moving slots was given up: {moves.last_failure}"
        return _over(scene, dataclasses.replace(state, failure=failure))
    steps = tuple(_moves(scene, owned, state.target, weights, method))
    done = max(0, state.slots_to_move - left)
    reason = f"moving slots: {done} of {state.slots_to_move} have arrived"
    return Outlook(resharding=state, steps=steps, reason=reason)


def _mend(
    scene: Scene, state: Resharding, weights: Mapping[str, SlotWeights], closings: tuple[Step, ...]
) -> Outlook:
    """End moves that were cut; where that fails, first let other slots go that make room for it."""
    moves = scene.observed.moves
    if moves.failed_closings:
        # As long as a slot is open by hand, the engines move none by themselves.
        steps: tuple[Step, ...] = ()
        if moves.failures_of(MoveMethod.COPY, scene.generation) < COPY_TRIES:
            owned, target = mending.relief(scene, state.target)
            steps = tuple(_moves(scene, owned, target, weights, MoveMethod.COPY))
        if steps or moves.running:
            return Outlook(resharding=state, steps=steps, reason="making room to end a cut move")
    if moves.failed_closings >= CLOSE_TRIES:
        # It is tried on at rest; clients are sent after the keys as long as a slot is open.
        failure = f"a move that was cut can neither go on nor back: {moves.close_failure}"
        return _over(scene, dataclasses.replace(state, failure=failure))
    return Outlook(resharding=state, steps=closings, reason="ending moves that were cut")


def _without_stuck(
    scene: Scene, state: Resharding, weights: Mapping[str, SlotWeights]
) -> Resharding:
    """Let slots stay whose keys have become too large since it was decided."""
    if not any(weighed.stuck for weighed in weights.values()):
        return state
    owners = {s: owner.shard_id for owner in scene.owned.owned for s in numbers_of(owner.slots)}
    wanted = {s: shard.shard_id for shard in state.target for s in numbers_of(shard.slots)}
    stay = {
        slot: shard_id
        for shard_id, weighed in weights.items()
        for slot in weighed.stuck
        if owners.get(slot) == shard_id != wanted.get(slot)
    }
    if not stay:
        return state
    wanted |= stay
    target = tuple(
        ShardSlots(
            shard_id=shard.shard_id,
            slots=ranges_of(slot for slot in sorted(wanted) if wanted[slot] == shard.shard_id),
        )
        for shard in state.target
    )
    stuck = ranges_of(sorted({*numbers_of(state.stuck), *stay}))
    return dataclasses.replace(state, target=target, stuck=stuck)


def _estimated(scene: Scene, weights: Mapping[str, SlotWeights]) -> Mapping[str, SlotWeights]:
    """Return weights of all shards; a slot that nobody has weighed holds as much as any other."""
    whole = dict(weights)
    for owner in scene.owned.owned:
        primary = scene.primary_of(owner.shard_id)
        count = sum(map(len, owner.slots))
        if owner.shard_id in weights or primary is None or not count:
            continue
        even = primary[1].used_memory_bytes // count
        by_slot = tuple((slot, even) for slot in numbers_of(owner.slots))
        whole[owner.shard_id] = SlotWeights(generation=scene.generation, by_slot=by_slot)
    return whole


def _method(scene: Scene) -> MoveMethod | None:
    """Return how slots are moved now, `None` when everything has been tried often enough."""
    spec, moves = scene.group.spec, scene.observed.moves
    failures = {method: moves.failures_of(method, scene.generation) for method in MoveMethod}
    can = capabilities_of(spec.engine, spec.engine_version)
    if can.atomic_slot_migration and failures[MoveMethod.ATOMIC] < ATOMIC_TRIES:
        return MoveMethod.ATOMIC
    return MoveMethod.COPY if failures[MoveMethod.COPY] < COPY_TRIES else None


def _moves(
    scene: Scene,
    owned: Sequence[ShardSlots],
    target: Sequence[ShardSlots],
    weights: Mapping[str, SlotWeights],
    method: MoveMethod,
) -> Iterator[Step]:
    for move in slots.next_moves(
        owned,
        target,
        weights=weights,
        running=_running(scene),
        batch_bytes=BYTES_PER_MOVE[method],
        moves_per_taker=MOVES_PER_TAKER,
        large_bytes=STEP_BYTES_MAX if method is MoveMethod.COPY else None,
    ):
        giving, taking = scene.primary_of(move.from_id), scene.primary_of(move.to_id)
        if giving is None or taking is None:
            continue
        place = scene.placement.of(taking[0])
        command = MoveSlots(
            key=node_key(scene.group.spec.uid, giving[0]),
            to_key=node_key(scene.group.spec.uid, taking[0]),
            to_engine_id=place.engine_id,
            to_address=place.address,
            to_port=place.port,
            slots=move.slots,
            method=method,
            others=scene.others({giving[0], taking[0]}),
            generation=scene.generation,
        )
        count = sum(map(len, move.slots))
        reason = f"{count} slots go from shard {move.from_id} to shard {move.to_id}"
        yield Step(command=command, reason=reason, node_id=giving[0])


def _running(scene: Scene) -> tuple[slots.ShardMove, ...]:
    # A primary may be on its way out: nobody asks for it any more.
    shard_of = {place.node_id: place.shard_id for place in scene.placement.nodes}
    return tuple(
        slots.ShardMove(from_id=shard_of[m.from_id], to_id=shard_of[m.to_id], slots=m.slots)
        for m in scene.observed.moves.running
        if m.from_id in shard_of and m.to_id in shard_of
    )


# The end


def _end(scene: Scene, state: Resharding) -> Outlook:
    """Everything is where it shall be; those that leave must be proven empty."""
    if state.arrived_at is None:
        # The end is told after the arrivals, and rests on a second look.
        arrived = dataclasses.replace(state, arrived_at=scene.now)
        return Outlook(resharding=arrived, reason="all slots have arrived")
    shall_go = {t.shard_id for t in state.target if not t.slots} & scene.leaving()
    full = sorted(shall_go - scene.owned.empty_ids)
    if not full:
        return _over(scene, state)
    waited_s = (scene.now - state.arrived_at).total_seconds()
    if waited_s < EMPTYING_S:
        return Outlook(resharding=state, reason=f"shard {full[0]} removes what it held")
    if waited_s < EMPTYING_S + HOMECOMING_S:
        reason = f"what shard {full[0]} still holds goes to who owns it"
        owners = scene.owned.owned if scene.owned.is_agreed else ()
        steps = tuple(step for owner in owners for step in mending.closing(scene, owner, reason))
        return Outlook(resharding=state, steps=steps, reason=reason)
    failure = f"shard {full[0]} still holds something and stays"
    return _over(scene, dataclasses.replace(state, failure=failure))


def _over(scene: Scene, state: Resharding) -> Outlook:
    emptied = tuple(sorted(scene.leaving() & scene.owned.empty_ids))
    stuck = sum(map(len, state.stuck))
    if stuck and not state.failure:
        noun = "slot stays where it is" if stuck == 1 else "slots stay where they are"
        failure = f"{stuck} {noun}, because of a key of more than 256 MB"
        state = dataclasses.replace(state, failure=failure)
    progress = state.progress_percent if state.failure else 100.0
    over = dataclasses.replace(state, is_over=True, emptied=emptied, progress_percent=progress)
    return Outlook(resharding=over)
