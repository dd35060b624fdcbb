"""What can be reserved, and what is a reservation? Offerings as data, made from the node types.

Nothing is billed here, so every price is zero; terms and types are ElastiCache's. The id of an
offering follows from what it offers and is the same everywhere.
Source: ElastiCache user guide, reserved nodes.
"""

from __future__ import annotations

import datetime
import functools
import uuid
from collections.abc import Mapping
from dataclasses import dataclass

from cachewright.model.engines import EngineName
from cachewright.model.node_types import NODE_TYPES

YEAR_S = 31_536_000
DURATIONS_S = (YEAR_S, 94_608_000)
#: R5, M5 and all families after them.
UPFRONT_TYPES = ("No Upfront", "Partial Upfront", "All Upfront")
#: The families before.
UTILIZATION_TYPES = ("Light Utilization", "Medium Utilization", "Heavy Utilization")
OFFERING_TYPES = (*UPFRONT_TYPES, *UTILIZATION_TYPES)

_OLD_FAMILIES = frozenset({"c1", "m1", "m2", "m3", "m4", "r3", "r4", "t1", "t2"})
#: Name space of the ids of offerings.
_IDS = uuid.UUID("5b0c9d5e-1f6a-4a0e-9f0b-6c1f3f0a7d21")


@dataclass(frozen=True, kw_only=True, slots=True)
class Offering:
    """Terms on which a node can be reserved."""

    offering_id: str
    node_type: str
    duration_s: int
    engine: EngineName
    offering_type: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Reservation:
    """Nodes that were reserved."""

    #: Lower case.
    reservation_id: str
    offering_id: str
    node_count: int
    started_at: datetime.datetime

    @property
    def offering(self) -> Offering:
        """The terms; they never change."""
        return offerings()[self.offering_id]

    def is_retired(self, now: datetime.datetime) -> bool:
        """Tell whether its time is over."""
        return now - self.started_at >= datetime.timedelta(seconds=self.offering.duration_s)


@functools.cache
def offerings() -> Mapping[str, Offering]:
    """Return every offering by its id, in the order of the ids."""
    made = (
        Offering(
            offering_id=str(uuid.uuid5(_IDS, f"{name}/{engine.value}/{duration_s}/{terms}")),
            node_type=name,
            duration_s=duration_s,
            engine=engine,
            offering_type=terms,
        )
        for name in (node_type.name for node_type in NODE_TYPES)
        for engine in EngineName
        for duration_s in DURATIONS_S
        for terms in _terms(name)
    )
    return {each.offering_id: each for each in sorted(made, key=lambda each: each.offering_id)}


def _terms(node_type: str) -> tuple[str, ...]:
    family = node_type.split(".")[1]
    return UTILIZATION_TYPES if family in _OLD_FAMILIES else UPFRONT_TYPES
