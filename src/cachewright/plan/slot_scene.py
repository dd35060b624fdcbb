"""What is looked at where it is decided about slots of a group in cluster mode?"""

from __future__ import annotations

import datetime
from collections.abc import Container, Sequence
from dataclasses import dataclass

from cachewright.model.facts import EngineFact, Observed
from cachewright.model.groups import Group, GroupPlacement
from cachewright.model.status import GroupStatus
from cachewright.plan.ownership import Ownership
from cachewright.plan.shard import Phase, ShardView, engine_of


@dataclass(frozen=True, kw_only=True, slots=True)
class Scene:
    """What is looked at."""

    group: Group
    placement: GroupPlacement
    views: Sequence[ShardView]
    observed: Observed
    owned: Ownership
    #: How the nodes are doing now.
    status: GroupStatus
    previous: GroupStatus | None
    now: datetime.datetime

    @property
    def generation(self) -> int:
        """Which resharding is asked for."""
        return self.group.spec.resharding_generation

    def primary_of(self, shard_id: str) -> tuple[str, EngineFact] | None:
        """Return the primary of a shard that serves, and what it says; else `None`."""
        for view in self.views:
            if view.shard.shard_id == shard_id and view.phase is Phase.SERVING and view.primary_id:
                engine = engine_of(self.observed.of(view.primary_id))
                return None if engine is None else (view.primary_id, engine)
        return None

    def others(self, but: Container[str]) -> tuple[tuple[str, int], ...]:
        """Return where all other primaries listen."""
        found = [view.primary_id for view in self.views if view.phase is Phase.SERVING]
        places = [self.placement.of(n) for n in found if n is not None and n not in but]
        return tuple(place.listens_at for place in places)

    def leaving(self) -> frozenset[str]:
        """Return the shards whose slots shall go to the others."""
        return frozenset(s.shard_id for s in self.group.spec.shards if s.is_leaving)
