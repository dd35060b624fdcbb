"""Which engines are there, and what can each version do? Tables, no behaviour.

Version differences are rows of `capabilities_of`, never `if version` in the code. Sources:
ElastiCache user guide (families and versions), engine release notes (capabilities).
"""

from __future__ import annotations

import enum
import re
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
    #: What the API calls `EngineVersion`: major.minor, of Memcached the full version.
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


@dataclass(frozen=True, kw_only=True, slots=True)
class _OpenLines:
    """Versions that may be named although no row does, from `since` to before `until`."""

    engine: EngineName
    since: tuple[int, ...]
    until: tuple[int, ...]
    family: str
    description: str


#: Parts of a version that the API's `EngineVersion` has.
_API_VERSION_PARTS = {EngineName.VALKEY: 2, EngineName.REDIS: 2, EngineName.MEMCACHED: 3}


def _memcached(version: str) -> EngineLine:
    return EngineLine(
        engine=EngineName.MEMCACHED,
        api_version=version,
        family="memcached1.6",
        description="memcached",
    )


#: Every line that can be offered; whether it is depends on the builds of the host.
ENGINE_LINES: tuple[EngineLine, ...] = (
    EngineLine(engine=EngineName.REDIS, api_version="7.0", family="redis7", description="Redis"),
    EngineLine(engine=EngineName.VALKEY, api_version="8.0", family="valkey8", description="Valkey"),
    EngineLine(engine=EngineName.VALKEY, api_version="8.1", family="valkey8", description="Valkey"),
    EngineLine(engine=EngineName.VALKEY, api_version="9.1", family="valkey9", description="Valkey"),
    _memcached("1.6.18"),
    _memcached("1.6.38"),
    _memcached("1.6.45"),
)
#: With a line for each release, a host's own build is in a version that nobody wrote down. 1.6.12
#: is the first that ElastiCache runs with TLS.
_OPEN_LINES = (
    _OpenLines(
        engine=EngineName.MEMCACHED,
        since=(1, 6, 12),
        until=(1, 7),
        family="memcached1.6",
        description="memcached",
    ),
)
_FULL_VERSION = re.compile(r"[0-9]{1,4}\.[0-9]{1,4}\.[0-9]{1,4}", re.ASCII)


def version_key(version: str) -> tuple[int, ...]:
    """Return `version` ("9.1.2") as numbers that compare as versions do."""
    return tuple(int(part) for part in version.split("."))


def api_version_of(engine: EngineName, version: str) -> str:
    """Return what the API calls a full version: Valkey "9.1.2" is "9.1", Memcached stays."""
    return ".".join(version.split(".")[: _API_VERSION_PARTS[engine]])


def line_of(engine: EngineName, api_version: str) -> EngineLine | None:
    """Return the line of an engine that the API calls `api_version`, `None` when there is none."""
    for line in ENGINE_LINES:
        if line.engine is engine and line.api_version == api_version:
            return line
    if not _FULL_VERSION.fullmatch(api_version):
        return None
    for lines in _OPEN_LINES:
        if lines.engine is engine and lines.since <= version_key(api_version) < lines.until:
            return EngineLine(
                engine=engine,
                api_version=api_version,
                family=lines.family,
                description=lines.description,
            )
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
