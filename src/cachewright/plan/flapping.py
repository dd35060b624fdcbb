"""Which nodes end again and again? They take over only where nobody else could.

Read from the unplanned ends that the status remembers of each node; decides nothing itself.
"""

from __future__ import annotations

from cachewright.model.status import GroupStatus

#: A crash is bad luck, two may have one cause; a node that ended thrice within the time that the
#: status remembers is expected to do it again.
FLAPPING_ENDS = 3


def is_flapping(status: GroupStatus | None, node_id: str) -> bool:
    """Tell whether a node has ended so often of late that others are preferred."""
    node = status.of(node_id) if status else None
    return node is not None and len(node.ends) >= FLAPPING_ENDS
