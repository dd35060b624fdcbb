"""Which engines are there, and what can each version do? Tables, no behaviour.

Version differences are rows of `capabilities_of`, never `if version` in the code. Sources:
ElastiCache user guide (families and versions), engine release notes (capabilities).
"""

from __future__ import annotations

import enum
from dataclasses import dataclass


class EngineName(enum.Enum):
    """An engine by the name that the API uses."""

    VALKEY = "valkey"
    REDIS = "redis"
    MEMCACHED = "memcached"


@dataclass(frozen=True, kw_only=True, slots=True)
class EngineLine:
    """One row of what `engine` and `EngineVersion` may name."""

    engine: EngineName
    #: What the API calls `EngineVersion`: major.minor.
    api_version: str
    #: `CacheParameterGroupFamily`.
    family: str
    #: What `CacheEngineDescription` says.
    description: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Capabilities:
    """What one engine version can do that another cannot."""

    #: `CLUSTER MIGRATESLOTS` (Valkey 9.0).
    atomic_slot_migration: bool
    #: `dual-channel-replication-enabled` (Valkey 8.0).
    dual_channel_replication: bool
    #: Settings say `primaryuser`, `primaryauth` (Valkey 8) instead of `masteruser` (Redis).
    primary_spelling: bool


#: Every line that can be offered; whether it is depends on the builds of the host.
ENGINE_LINES: tuple[EngineLine, ...] = (
    EngineLine(engine=EngineName.REDIS, api_version="7.0", family="redis7", description="Redis"),
    EngineLine(engine=EngineName.VALKEY, api_version="8.0", family="valkey8", description="Valkey"),
    EngineLine(engine=EngineName.VALKEY, api_version="8.1", family="valkey8", description="Valkey"),
    EngineLine(engine=EngineName.VALKEY, api_version="9.1", family="valkey9", description="Valkey"),
)


def version_key(version: str) -> tuple[int, ...]:
    """Return `version` ("9.1.2") as numbers that compare as versions do."""
    return tuple(int(part) for part in version.split("."))


def api_version_of(version: str) -> str:
    """Return the major.minor that the API uses for a full version ("9.1.2" becomes "9.1")."""
    return ".".join(version.split(".")[:2])


def line_of(engine: EngineName, api_version: str) -> EngineLine | None:
    """Return the row for an engine and its major.minor version, `None` when there is none."""
    for line in ENGINE_LINES:
        if line.engine is engine and line.api_version == api_version:
            return line
    return None


def capabilities_of(engine: EngineName, version: str) -> Capabilities:
    """Return what `engine` in `version` (full or major.minor) can do."""
    is_valkey = engine is EngineName.VALKEY
    major = version_key(version)[0]
    return Capabilities(
        atomic_slot_migration=is_valkey and major >= 9,  # noqa: PLR2004 a version number
        dual_channel_replication=is_valkey and major >= 8,  # noqa: PLR2004 a version number
        primary_spelling=is_valkey and major >= 8,  # noqa: PLR2004 a version number
    )
