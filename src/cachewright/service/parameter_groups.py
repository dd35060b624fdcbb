"""Which parameter groups are there? The defaults of every family, by name."""

from __future__ import annotations

from cachewright.model import parameters
from cachewright.model.engines import EngineLine
from cachewright.model.errors import ClientFault
from cachewright.model.parameters import DefaultGroup
from cachewright.service import rules
from cachewright.service.inputs import DescribeCacheParameterGroups


def find(name: str) -> DefaultGroup:
    """Return the group `name` in any case of letters, for a group of nodes that shall use it."""
    found = parameters.parse_default_group(name.lower())
    if found is None:
        raise _not_found(f"CacheParameterGroup not found: {rules.shown(name)}")
    return found


def default_name(line: EngineLine, *, cluster_enabled: bool) -> str:
    """Return the name of the default group of an engine line."""
    return parameters.default_group_name(line.engine, line.api_version, cluster_enabled)


def describe(wanted: DescribeCacheParameterGroups) -> tuple[DefaultGroup, ...]:
    """Return the group that is asked for, or every group, by name."""
    if wanted.cache_parameter_group_name:
        name = wanted.cache_parameter_group_name
        found = parameters.parse_default_group(name.lower())
        if found is None:
            raise _not_found(f"CacheParameterGroup {rules.shown(name)} not found.")
        return (found,)
    return parameters.default_groups()


def _not_found(message: str) -> ClientFault:
    return ClientFault("CacheParameterGroupNotFound", message)
