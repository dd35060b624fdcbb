"""Which families are offered, and which parameters and default groups has each?

A family is offered when some engine line of it can run here at all. Whether it can on this host is
the offers' business, not the catalogue's.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from types import MappingProxyType

from cachewright.model.engines import ENGINE_LINES, EngineName, line_of, version_key
from cachewright.model.parameters import memcached_rows, valkey_rows
from cachewright.model.parameters.groups import DefaultGroup
from cachewright.model.parameters.rows import Parameter

PARAMETERS: tuple[Parameter, ...] = valkey_rows.ROWS + memcached_rows.ROWS
#: The families, each with its engine, in alphabetical order.
FAMILIES: Mapping[str, EngineName] = MappingProxyType(
    {line.family: line.engine for line in sorted(ENGINE_LINES, key=lambda line: line.family)}
)

_BY_FAMILY: Mapping[str, Mapping[str, Parameter]] = MappingProxyType(
    {
        family: MappingProxyType({row.name: row for row in PARAMETERS if family in row.families})
        for family in FAMILIES
    }
)

#: Versions whose parameters are kept: those of one host's builds, and some that callers name.
_VERSIONS_MAX = 64


def family_of(engine: EngineName, api_version: str) -> str:
    """Return the family of an engine version; `KeyError` for an unknown version."""
    line = line_of(engine, api_version)
    if line is None:
        raise KeyError(f"{engine.value} {api_version}")
    return line.family


def parameters_of_family(family: str) -> Mapping[str, Parameter]:
    """Return every parameter of a family by name, sorted; `KeyError` for an unknown family."""
    return _BY_FAMILY[family]


@functools.lru_cache(maxsize=_VERSIONS_MAX)
def parameters_of(engine: EngineName, api_version: str) -> Mapping[str, Parameter]:
    """Return the parameters that a version has by name; `KeyError` for an unknown version."""
    asked = version_key(api_version)
    return MappingProxyType(
        {
            name: row
            for name, row in _BY_FAMILY[family_of(engine, api_version)].items()
            if version_key(row.since) <= asked
        }
    )


def has_cluster_mode(family: str) -> bool:
    """Tell whether a family's groups can have cluster mode enabled."""
    return FAMILIES[family] is not EngineName.MEMCACHED


def default_groups() -> tuple[DefaultGroup, ...]:
    """Return every default group, sorted by name."""
    groups = [DefaultGroup(family=family, cluster_enabled=False) for family in FAMILIES]
    groups += [
        DefaultGroup(family=family, cluster_enabled=True)
        for family in FAMILIES
        if has_cluster_mode(family)
    ]
    return tuple(sorted(groups, key=lambda group: group.name))


def default_group_name(engine: EngineName, api_version: str, cluster_enabled: bool) -> str:
    """Return the name of the default group of a version; `KeyError` for an unknown version."""
    family = family_of(engine, api_version)
    return DefaultGroup(family=family, cluster_enabled=cluster_enabled).name


def parse_default_group(name: str) -> DefaultGroup | None:
    """Return what a default group's name says; `None` for any other name."""
    return _DEFAULT_GROUPS.get(name)


_DEFAULT_GROUPS: Mapping[str, DefaultGroup] = MappingProxyType(
    {group.name: group for group in default_groups()}
)
