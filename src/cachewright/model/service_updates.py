"""What can be updated here? Builds of engines: a newer patch of the version that a group runs.

An update is noticed once and kept; what was asked of a group is kept beside it. How far it got is
never written down: it follows from the versions that the nodes run.
"""

from __future__ import annotations

import datetime
import enum
from dataclasses import dataclass

from cachewright.model.engines import EngineName, version_key

#: Why a patch is worth its restart is not known here: the milder half of ElastiCache's severities.
SEVERITY = "medium"
#: ElastiCache recommends to apply an update of this severity within so many days.
APPLY_WITHIN = datetime.timedelta(days=60)
#: How long an update that has reached every node stays listed.
LISTED = datetime.timedelta(days=7)


class UpdateState(enum.Enum):
    """How far an update has got, on a node or on all of a group, by the words of the API."""

    NOT_APPLIED = "not-applied"
    WAITING_TO_START = "waiting-to-start"
    IN_PROGRESS = "in-progress"
    STOPPING = "stopping"
    STOPPED = "stopped"
    COMPLETE = "complete"


class UpdateStatus(enum.Enum):
    """Whether an update can be applied, by the words of the API."""

    AVAILABLE = "available"
    #: Its build is gone from the host.
    CANCELLED = "cancelled"
    #: There is a newer one.
    EXPIRED = "expired"


@dataclass(frozen=True, kw_only=True, slots=True)
class ServiceUpdate:
    """A build that some group did not run when it was found on the host."""

    name: str
    engine: EngineName
    #: The line that it belongs to, as the API calls a version.
    api_version: str
    #: Its full version.
    version: str
    released_at: datetime.datetime

    @property
    def apply_by(self) -> datetime.datetime:
        """When it shall have been applied, by recommendation."""
        return self.released_at + APPLY_WITHIN

    def has_reached(self, version: str) -> bool:
        """Tell whether an engine of this full version needs the update no more."""
        return version_key(version) >= version_key(self.version)


@dataclass(frozen=True, kw_only=True, slots=True)
class AskedNode:
    """A node that was asked to restart onto the newer build."""

    node_id: str
    #: `NodeSpec.restarts` before that, and with it.
    before: int
    asked: int


@dataclass(frozen=True, kw_only=True, slots=True)
class UpdateRequest:
    """An update of one group that was asked for."""

    requested_at: datetime.datetime
    nodes: tuple[AskedNode, ...]
    #: Nobody but the maintenance window asked.
    is_automatic: bool = False
    stopped_at: datetime.datetime | None = None

    @property
    def changed_at(self) -> datetime.datetime:
        """When a caller last said something about it."""
        return self.stopped_at or self.requested_at

    def of(self, node_id: str) -> AskedNode | None:
        """Return what was asked of a node, `None` for nothing."""
        return next((node for node in self.nodes if node.node_id == node_id), None)


def name_of(engine: EngineName, version: str) -> str:
    """Return the name of the update to a build."""
    return f"elasticache-{engine.value}-{version.replace('.', '-')}"
