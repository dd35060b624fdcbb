"""What is a parameter group? A named set of values that differ from their family's defaults.

Values, no behaviour. Default groups have no record: `DefaultGroup` is their name, taken apart.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass

_CLUSTER_ENABLED = "cluster-enabled"


@dataclass(frozen=True, kw_only=True, slots=True)
class ParameterGroup:
    """A group that a caller made. Its family is fixed for life."""

    #: In lower case.
    name: str
    family: str
    description: str
    #: What the caller set, by ElastiCache's names; every other parameter has its family's default.
    values: Mapping[str, str]
    created_at: datetime.datetime

    @property
    def cluster_enabled(self) -> bool:
        """Whether groups of nodes are made with cluster mode."""
        return self.values.get(_CLUSTER_ENABLED) == "yes"


@dataclass(frozen=True, kw_only=True, slots=True)
class DefaultGroup:
    """A default parameter group, taken apart."""

    family: str
    cluster_enabled: bool

    @property
    def name(self) -> str:
        """The name by which callers know it."""
        return f"default.{self.family}{'.cluster.on' if self.cluster_enabled else ''}"

    @property
    def description(self) -> str:
        """What ElastiCache says of it."""
        if self.cluster_enabled:
            return f"Customized default parameter group for {self.family} with cluster mode on"
        return f"Default parameter group for {self.family}"

    @property
    def values(self) -> Mapping[str, str]:
        """What differs from the family's defaults."""
        return {_CLUSTER_ENABLED: "yes"} if self.cluster_enabled else {}
