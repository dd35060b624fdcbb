"""Which nodes end again and again, and when are they started again? The memory of unplanned ends.

The status keeps when a node ended although nobody had asked for it, each process once. Who ended
often of late takes over only where nobody else could. Who ended soon after its start, several times
in a row, is held back for longer each time: what ends it is there at once, and starting it anew
costs its primary a copy of everything. One that has run for a while is started at once, so that
its shard is whole again before somebody else ends.
"""

from __future__ import annotations

import dataclasses
import datetime

from cachewright.kit.backoff import delay_after
from cachewright.model.facts import NodeFact, Stopped
from cachewright.model.status import GroupStatus, NodeStatus

#: A crash is bad luck, two may have one cause; a node that ended thrice within the time that the
#: status remembers is expected to do it again.
FLAPPING_ENDS = 3
#: What the status remembers.
_REMEMBERED = datetime.timedelta(minutes=30)
_REMEMBERED_MAX = 8
#: A process that ended within so long after it could be started did so soon.
_SOON = datetime.timedelta(seconds=30)
#: From the third end in a row that came soon: the first and the longest delay, seconds.
_DELAY_FIRST_S, _DELAY_LAST_S = 5.0, 300.0


def is_flapping(status: GroupStatus | None, node_id: str) -> bool:
    """Tell whether a node has ended so often of late that others are preferred."""
    node = status.of(node_id) if status else None
    return node is not None and len(node.ends) >= FLAPPING_ENDS


def remember(
    before: NodeStatus | None, now: datetime.datetime, node: NodeStatus, *, has_ended: bool
) -> NodeStatus:
    """Return `node` with the ends that are remembered, and the one of this moment."""
    if before is None:
        return node
    ends = tuple(end for end in before.ends if now - _REMEMBERED <= end <= now)
    quick_ends = before.quick_ends if ends else 0
    if has_ended:
        is_soon = bool(ends) and now < _may_start_at(ends[-1], quick_ends) + _SOON
        quick_ends = quick_ends + 1 if is_soon else 1
        ends = (*ends, now)[-_REMEMBERED_MAX:]
    return dataclasses.replace(node, ends=ends, quick_ends=quick_ends)


def has_ended_unasked(before: NodeStatus | None, fact: NodeFact, *, is_asked: bool) -> bool:
    """Tell whether a process that was seen is gone now, of its own accord or by force.

    `is_asked`: the node was to end, or its shard was stopped as a whole. An exit code of 0 says
    that somebody has asked it, whoever that was.
    """
    if before is None or is_asked or not isinstance(fact.process, Stopped):
        return False
    code = fact.process.proof.exit_code if fact.process.proof is not None else None
    if before.has_copy:
        return code != 0
    # One that was held may have been stopped without being asked about it: only a crash counts.
    return before.is_running and code is not None and code != 0


def held_back_until(node: NodeStatus | None, now: datetime.datetime) -> datetime.datetime | None:
    """Return when a node may be started again, `None` for at once."""
    if node is None or not node.ends or node.ends[-1] > now:
        return None
    until = _may_start_at(node.ends[-1], node.quick_ends)
    return until if until > now else None


def reason_of(node: NodeStatus, until: datetime.datetime) -> str:
    """Return why a node is not started now; the same until it is."""
    minutes = max(1, round((node.ends[-1] - node.ends[0]).total_seconds() / 60))
    span = "a minute" if minutes == 1 else f"{minutes} minutes"
    return (
        f"{node.node_id} has ended {len(node.ends)} times within {span}; "
        f"it is started again at {until:%H:%M:%S} UTC"
    )


def ends_soon(node: NodeStatus | None) -> bool:
    """Tell whether a node ended soon after its start so often that it is held back."""
    return node is not None and node.quick_ends >= FLAPPING_ENDS


def begins(before: NodeStatus, node: NodeStatus) -> bool:
    """Tell whether a node is held back now for the first time in a row."""
    return ends_soon(node) and not ends_soon(before)


def _may_start_at(end: datetime.datetime, quick_ends: int) -> datetime.datetime:
    if quick_ends < FLAPPING_ENDS:
        return end
    delay_s = delay_after(quick_ends - FLAPPING_ENDS, first_s=_DELAY_FIRST_S, last_s=_DELAY_LAST_S)
    return end + datetime.timedelta(seconds=delay_s)
