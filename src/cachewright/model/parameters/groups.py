"""What is a parameter group? A named set of values that differ from their family's defaults.

Values, no behaviour. Default groups have no record: `DefaultGroup` is their name, taken apart.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass


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
