"""Which nodes that were added to a group could not be made, and when is that tried again?

A group that serves does not wait for ever for a node that never comes: after some starts in a row
that failed it is told why, the group is what it was without it, and the start is tried again after
a growing delay. Once what stood in its way is gone the node comes as if it had just been asked for.

A shard of which no node comes is no shard: it was added for slots, and none ever moved to it. It is
given up as a whole, so that whoever wants it asks again (`resharding`, `shard_settling`).

Nothing here is about a group that is being created: that ends as a whole (`group`).
"""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Iterator

from cachewright.kit.backoff import delay_after
from cachewright.model.facts import Observed
from cachewright.model.groups import Group, ShardSpec
from cachewright.model.status import GroupStatus, NodeState, NodeStatus
from cachewright.plan import flapping
from cachewright.plan.ownership import Ownership
from cachewright.plan.shard import ShardView, engine_of

#: Starts that fail in a row: as many as give a create up (`Limits.failed_starts`). The last one is
#: made without the values of the parameter group, see `settings`.
STARTS_MAX = 3
#: Until the next start, seconds: at first as soon as a failed step is tried again; it costs little,
#: but what fails for minutes has no hurry.
_DELAY_FIRST_S, _DELAY_LAST_S = 5.0, 300.0
_FAILED = NodeState.INCOMPATIBLE_NETWORK
#: States of a node that has never served.
NEVER_THERE = frozenset({NodeState.CREATING, _FAILED})


def judged(
    before: NodeStatus | None, now: datetime.datetime, node: NodeStatus, observed: Observed
) -> NodeStatus:
    """Return the status of a node of a group that serves: it could not be made, or `node`."""
    fact = observed.of(node.node_id)
    if node.state is not NodeState.CREATING or engine_of(fact) is not None:
        return node
    before = before or node
    has_failed = before.state is _FAILED
    has_no_build = observed.build_version is None and observed.is_hopeless
    is_hopeless = fact.failed_starts >= STARTS_MAX or has_no_build or flapping.ends_soon(node)
    if not has_failed and not is_hopeless:
        return node
    said, _, _ = (fact.failure or observed.obstacle).partition("\n")
    is_as_before = has_failed and before.failed_starts == fact.failed_starts
    return dataclasses.replace(
        node,
        state=_FAILED,
        failure=said.rstrip(":") or before.failure or "it ends soon after each start",
        failed_starts=fact.failed_starts,
        failed_at=before.failed_at if is_as_before else now,
    )


def failed_ids(status: GroupStatus) -> frozenset[str]:
    """Return the nodes that could not be made."""
    return frozenset(node.node_id for node in status.nodes if node.state is _FAILED)


def without_failed(view: ShardView, status: GroupStatus) -> ShardView:
    """Return a shard without the nodes that could not be made: nobody waits for them."""
    known = ((node, status.of(node.node_id)) for node in view.shard.nodes)
    there = tuple(
        node
        for node, seen in known
        if seen is None or seen.state is not _FAILED or node.node_id == view.primary_id
    )
    return dataclasses.replace(view, shard=dataclasses.replace(view.shard, nodes=there))


def held_back_until(node: NodeStatus | None, now: datetime.datetime) -> datetime.datetime | None:
    """Return when a node that could not be made is started again; `None` for at once."""
    if node is None or node.state is not _FAILED or node.failed_at is None or node.failed_at > now:
        return None
    failures = max(0, node.failed_starts - STARTS_MAX)
    delay_s = delay_after(failures, first_s=_DELAY_FIRST_S, last_s=_DELAY_LAST_S)
    until = node.failed_at + datetime.timedelta(seconds=delay_s)
    return until if until > now else None


def reason_of(node: NodeStatus) -> str:
    """Return in a sentence why a node could not be made; the same from try to try."""
    return f"{node.node_id} could not be made: {node.failure}"


def stillborn(group: Group, status: GroupStatus, owned: Ownership) -> dict[str, str]:
    """Return the shards that came for slots and of which no node could be made, and why."""
    failed = {node.node_id: node for node in status.nodes if node.state is _FAILED}
    return {
        shard.shard_id: reason_of(failed[shard.nodes[0].node_id])
        for shard in without_slots(group, owned)
        if all(node.node_id in failed for node in shard.nodes)
    }


def without_slots(group: Group, owned: Ownership) -> Iterator[ShardSpec]:
    """Yield the shards that came for slots and own none yet."""
    for shard in group.spec.shards:
        if not (shard.slots or shard.is_leaving or owned.of(shard.shard_id)):
            yield shard
