"""What is a plan? The value that every planner returns: what to do now, and what to say about it.

A plan holds only what is safe to do *now*; its steps do not depend on each other and may be
carried out at the same time. The next round recomputes everything.
"""

from __future__ import annotations

from dataclasses import dataclass

from cachewright.model.commands import Step
from cachewright.model.status import Event, GroupStatus

#: Between two looks at a group that is changing, seconds: short against the 2 s an engine's
#: cluster needs to become writable.
LOOK_AGAIN_BUSY_S = 0.1
#: A bigger group is looked at less often, so that looking costs a fixed share of a core:
#: seconds for each node.
LOOK_AGAIN_BUSY_S_PER_NODE = 0.005
#: While slots move, seconds: the end of each move wakes the group anyway.
LOOK_AGAIN_MOVING_S = 0.5
#: Between two looks at a group at rest, seconds. Exits of processes wake it at once.
LOOK_AGAIN_REST_S = 5.0
#: While a build is installed, seconds: its end wakes the group anyway.
LOOK_AGAIN_INSTALLING_S = 1.0
#: A group whose create failed only waits for its delete.
LOOK_AGAIN_FAILED_S = 60.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What to do for one group, in one round."""

    steps: tuple[Step, ...]
    #: What to write down before the steps are carried out.
    status: GroupStatus
    events: tuple[Event, ...]
    look_again_s: float


def busy_look_again_s(node_count: int) -> float:
    """Return when to look again at a changing group of `node_count` nodes."""
    return max(LOOK_AGAIN_BUSY_S, LOOK_AGAIN_BUSY_S_PER_NODE * node_count)
