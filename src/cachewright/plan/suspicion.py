"""Which process that lives and does not answer is ended, so that its shard goes on without it?

Silence proves nothing: only a process that has ended makes room for another one, so it is fenced
first. That costs what it alone held, so it is the last resort. Its host must have asked in vain
several times and for longer than the cause of its silence is known to pass by itself, and its end
must help at once: a primary is fenced only if a replica of its own could be promoted in the same
moment, a replica only if a primary serves. Everybody else is waited for, and the status says why.
One process of a shard at a time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from cachewright.model.commands import FenceNode, Step, node_key
from cachewright.model.facts import (
    NodeFact,
    Observed,
    Running,
    Silence,
    SilenceCause,
    Stopped,
    Unknown,
)
from cachewright.model.groups import Group
from cachewright.model.status import GroupStatus
from cachewright.plan.election import elect
from cachewright.plan.shard import Phase, ShardView, engine_of, is_down, leaving_ids

#: Seconds of silence after which a process may be fenced. A cause that is not here never ends
#: one: a starved host starves its judge as well, and who refuses its administrator may serve.
PATIENCE_S: Mapping[SilenceCause, float] = {
    # Engines do not stop themselves: whoever did it will hardly be back within a failover.
    SilenceCause.STOPPED: 2.0,
    # Longer than a fork of a big data set or a command of a second takes.
    SilenceCause.UNTOLD: 3.0,
    # A stall of a shared disk of several seconds is common.
    SilenceCause.DISK: 15.0,
    # A big key is deleted, a big set sorted: the work ends and the data is still there.
    SilenceCause.WORKING: 15.0,
    # A caller's script is the caller's wish; engines let it run without limit.
    SilenceCause.SCRIPT: 30.0,
}
#: A probe or two get lost on a busy host.
PROBES_MIN = 4

_WORDS: Mapping[SilenceCause, str] = {
    SilenceCause.STOPPED: "a signal or a debugger has stopped it",
    SilenceCause.UNTOLD: "nothing tells why",
    SilenceCause.DISK: "it waits for a disk",
    SilenceCause.WORKING: "it works and does not come round to answering",
    SilenceCause.SCRIPT: "a script runs",
    SilenceCause.STARVED: "its host is too busy",
    SilenceCause.REFUSING: "it refuses its administrator",
}


_ENDED = Unknown(reason="as if it had ended")


def fences(
    group: Group, views: Sequence[ShardView], observed: Observed, status: GroupStatus | None
) -> dict[str, Step]:
    """Return for each shard id the fence that is due and helps, where one is."""
    found: dict[str, Step] = {}
    for view in views:
        for node_id in silent_ids(view, observed):
            step = _fence(group, node_id, observed.of(node_id))
            if step is not None and _helps(group, view, node_id, observed, status):
                found[view.shard.shard_id] = step
                break
    return found


def is_overdue(silence: Silence) -> bool:
    """Tell whether a process has been silent for longer than its cause is waited for."""
    if silence.cause not in PATIENCE_S:
        return False
    return silence.probes >= PROBES_MIN and silence.seconds >= PATIENCE_S[silence.cause]


def silent_ids(view: ShardView, observed: Observed) -> tuple[str, ...]:
    """Return the nodes of a shard that live, or may live, and do not answer."""
    facts = {node.node_id: observed.of(node.node_id) for node in view.shard.nodes}
    return tuple(n for n, fact in facts.items() if not is_down(fact) and engine_of(fact) is None)


def reason_of(group: Group, view: ShardView, observed: Observed, status: GroupStatus | None) -> str:
    """Return why nodes of a shard do not answer, and what becomes of them; empty: nobody knows.

    It is the same as long as nothing changes, however long that takes.
    """
    said: list[str] = []
    for node_id in silent_ids(view, observed):
        silence = observed.of(node_id).silence
        if silence is None:
            continue
        if silence.cause not in PATIENCE_S:
            fate = "it is waited for"
        elif _helps(group, view, node_id, observed, status):
            fate = f"it is ended after {PATIENCE_S[silence.cause]:.0f} s"
        else:
            fate = "it is waited for, as nobody could surely take over"
        said.append(f"{node_id} does not answer ({_WORDS[silence.cause]}): {fate}")
    return ", ".join(said)


def _helps(
    group: Group, view: ShardView, node_id: str, observed: Observed, status: GroupStatus | None
) -> bool:
    """Tell whether a shard goes on at once when a silent node of it ends."""
    match view.phase:
        case Phase.SERVING:
            # One that leaves is stopped anyway, whether it answers or not.
            return node_id not in leaving_ids(group)
        case Phase.UNDECIDED:
            return _is_succeeded(group, view, node_id, observed, status)
        case _:
            return False


def _is_succeeded(
    group: Group, view: ShardView, node_id: str, observed: Observed, status: GroupStatus | None
) -> bool:
    """Tell whether a replica that follows `node_id` would be promoted if that had ended."""
    assert group.placement is not None  # nobody runs without a place
    nodes = {**observed.nodes, node_id: NodeFact(process=Stopped(proof=None), engine=_ENDED)}
    winner = elect(group, view.shard, msgspec.structs.replace(observed, nodes=nodes), status)
    engine = engine_of(observed.of(winner)) if winner is not None else None
    place = group.placement.of(node_id)
    return engine is not None and engine.primary == place.listens_at


def _fence(group: Group, node_id: str, fact: NodeFact) -> Step | None:
    if not isinstance(fact.process, Running) or fact.silence is None:
        return None
    if not is_overdue(fact.silence):
        return None
    return Step(
        command=FenceNode(
            key=node_key(group.spec.uid, node_id),
            identity=fact.process.identity,
            unless_it_answers=True,
        ),
        reason=f"it does not answer and does not get over it ({_WORDS[fact.silence.cause]})",
        node_id=node_id,
    )
