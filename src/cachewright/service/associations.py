"""Which parameter group may a group of nodes use? For new groups, and for a change of it.

The family of a parameter group is that of the engine version, and its mode is that of the nodes.
"""

from __future__ import annotations

from cachewright.model.engines import EngineLine
from cachewright.model.errors import invalid_combination
from cachewright.model.groups import GroupSpec
from cachewright.service import parameter_groups
from cachewright.service.context import Service


def first(service: Service, name: str | None, line: EngineLine, *, cluster_enabled: bool) -> str:
    """Return the parameter group of new nodes: the one that is named, or the family's default."""
    if not name:
        return parameter_groups.default_name(line, cluster_enabled=cluster_enabled)
    return checked(service, name, line, cluster_enabled=cluster_enabled)


def asked(service: Service, spec: GroupSpec, name: str | None, line: EngineLine) -> str | None:
    """Return the parameter group that shall replace the one there is, `None` where it stays.

    Args:
        service: where groups are found.
        spec: the nodes, with what waits already.
        name: the group that is asked for; without one, what waits goes on waiting.
        line: what will run after everything that waits and is asked for.
    """
    waiting = spec.pending.parameter_group if spec.pending else None
    if not name and line.api_version == spec.engine_version:
        return waiting
    wanted = name or waiting or spec.parameter_group
    found = checked(service, wanted, line, cluster_enabled=spec.cluster_enabled)
    return None if found == spec.parameter_group else found


def checked(service: Service, name: str, line: EngineLine, *, cluster_enabled: bool) -> str:
    """Return the name of a parameter group that nodes of this engine and mode can use."""
    group = parameter_groups.find(name)
    if group.family != line.family:
        raise invalid_combination(
            f"Expected a parameter group of family {line.family} but found one of family "
            f"{group.family}"
        )
    if group.cluster_enabled != cluster_enabled:
        mode, there = ("enabled", "disabled") if group.cluster_enabled else ("disabled", "enabled")
        raise invalid_combination(
            f"The parameter group {group.name} has cluster mode {mode}; it cannot be used by nodes "
            f"with cluster mode {there}."
        )
    return group.name
