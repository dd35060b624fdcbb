"""What cannot wait for the next round? Promotions, and the fences that make room for them.

Whoever asks executes the answer and asks again, until it is empty: a fence is followed by a
promotion, and shards of a cluster are promoted one by one. The next `plan_group` tells of what was
done; it finds the same steps, so that `explain` shows them.
"""

from __future__ import annotations

from collections.abc import Container

from cachewright.model.commands import Step
from cachewright.model.facts import Observed
from cachewright.model.groups import Group, GroupKind
from cachewright.model.status import GroupState, GroupStatus
from cachewright.plan.election import elections
from cachewright.plan.joining import ending_views
from cachewright.plan.shard import shards_to_run, view_shard
from cachewright.plan.suspicion import fences


def plan_failover(
    group: Group, observed: Observed, previous: GroupStatus | None, *, struck: Container[str]
) -> tuple[Step, ...]:
    """Return the promotions and fences that are safe now, and nothing else.

    They are of the shards that are `struck`, of which `observed` must be fresh; of the others it
    may say what their engines last answered.
    """
    if group.placement is None or group.spec.kind is GroupKind.MEMCACHED:
        return ()
    deletion = group.spec.deletion
    if deletion is not None and group.placement.node_ids() != {deletion.retained_node_id}:
        return ()  # a node that is retained is the only one left first
    if previous is not None and previous.state is GroupState.CREATE_FAILED:
        return ()
    views = tuple(view_shard(shard, observed, previous) for shard in shards_to_run(group))
    ending = ending_views(group, group.placement, views, observed)
    views = tuple(view for view in views if view not in ending)
    fresh = tuple(view for view in views if view.shard.shard_id in struck)
    return (
        *elections(group, views, observed, previous, struck=struck).values(),
        *fences(group, fresh, observed, previous).values(),
    )
