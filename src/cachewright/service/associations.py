"""Which parameter group may a group of nodes use? For new groups, and for a change of it.

The family of a parameter group is that of the engine version, and its mode is that of the nodes.
"""

from __future__ import annotations

from cachewright.model import node_types, parameters
from cachewright.model.engines import EngineLine
from cachewright.model.errors import invalid_combination
from cachewright.model.groups import GroupSpec
from cachewright.service import parameter_groups, parameter_values
from cachewright.service.context import Service
from cachewright.service.parameter_groups import KnownGroup
from cachewright.store.records import ChangeSet


def first(
    service: Service,
    name: str | None,
    line: EngineLine,
    *,
    node_type: str,
    cluster_enabled: bool,
    replicas: int = 0,
) -> str:
    """Return the parameter group of new nodes: the one that is named, or the family's default.

    `replicas`: how many the smallest shard has.
    """
    if not name:
        return parameter_groups.default_name(line, cluster_enabled=cluster_enabled)
    group = _checked(service, name, line, cluster_enabled=cluster_enabled)
    parameter_values.refuse_contradiction(group.family, group.values, node_type, replicas)
    return group.name


def asked(
    service: Service, spec: GroupSpec, name: str | None, line: EngineLine, *, node_type: str
) -> str | None:
    """Return the parameter group that shall replace the one there is, `None` where it stays.

    Args:
        service: where groups are found.
        spec: the nodes, with what waits already.
        name: the group that is asked for; without one, what waits goes on waiting.
        line: what will run after everything that waits and is asked for.
        node_type: on what it will run then.
    """
    waiting = spec.pending.parameter_group if spec.pending else None
    if waiting and parameter_groups.find(service, waiting).family != line.family:
        waiting = None  # it was for an engine that is not asked for any more
    is_same = (line.engine, line.api_version) == (spec.engine, spec.engine_version)
    if not name and is_same and node_type == spec.node_type:
        return waiting
    wanted = name or waiting or _successor(spec, line)
    found = _checked(service, wanted, line, cluster_enabled=spec.cluster_enabled)
    parameter_values.refuse_contradiction(
        found.family, found.values, node_type, spec.replicas_least()
    )
    if found.name == spec.parameter_group:
        return None
    _refuse_difference(parameter_groups.find(service, spec.parameter_group), found)
    return found.name


def suits(service: Service, spec: GroupSpec, node_type: str) -> bool:
    """Tell whether the parameter group that nodes have goes with a type."""
    group = parameter_groups.find(service, spec.parameter_group)
    kind = node_types.node_type_of(node_type)
    found = parameters.contradiction_of(group.family, group.values, kind, spec.replicas_least())
    return found is None


def use(service: Service, changes: ChangeSet, spec: GroupSpec) -> None:
    """Guard that the parameter groups of `spec` are there when `changes` are written."""
    for name in _names(spec):
        parameter_groups.use(service, changes, name)


def _successor(spec: GroupSpec, line: EngineLine) -> str:
    """Return the group that stays, or of a default group the one of the new family."""
    if parameters.parse_default_group(spec.parameter_group) is None:
        return spec.parameter_group
    return parameter_groups.default_name(line, cluster_enabled=spec.cluster_enabled)


def refuse_fewer_replicas(service: Service, after: GroupSpec) -> None:
    """Refuse that a group keeps fewer replicas than its writes need."""
    for name in _names(after):
        group = parameter_groups.find(service, name)
        parameter_values.refuse_contradiction(
            group.family, group.values, after.node_type, after.replicas_least()
        )


def _names(spec: GroupSpec) -> tuple[str, ...]:
    """Return the parameter groups that nodes use, now or in their window."""
    waiting = spec.pending.parameter_group if spec.pending else None
    return tuple(dict.fromkeys((spec.parameter_group, waiting or spec.parameter_group)))


def _checked(service: Service, name: str, line: EngineLine, *, cluster_enabled: bool) -> KnownGroup:
    """Return a parameter group that nodes of this engine and mode can use."""
    group = parameter_groups.find(service, name)
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
    return group


def _refuse_difference(before: KnownGroup, after: KnownGroup) -> None:
    """Refuse another group where the two differ in what cannot change under nodes that live."""
    name = parameter_values.fixed_difference(
        before.family, before.values, after.family, after.values
    )
    if name is not None:
        raise invalid_combination(
            f"The parameter groups {before.name} and {after.name} have different values for "
            f"{name}, which cannot change while a cluster uses them."
        )
