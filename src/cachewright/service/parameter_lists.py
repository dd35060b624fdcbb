"""Which parameters has a group or a family, and what are their values? Lists to look at.

A parameter that depends on the node type stands there with a value for each type; one that only the
smallest types have smaller stands there both ways.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from cachewright.model import parameters
from cachewright.model.errors import invalid_value
from cachewright.model.node_types import NODE_TYPES
from cachewright.model.parameters import BY_NODE_TYPE, Parameter, ParameterGroup
from cachewright.service import parameter_groups, rules
from cachewright.service.context import Service
from cachewright.service.inputs_parameters import (
    DescribeCacheParameters,
    DescribeEngineDefaultParameters,
)

#: Whose choice a value is. ElastiCache shows every value that no caller set as its own, so none is
#: ever the engine's.
USER = "user"
SYSTEM = "system"
_SOURCES = (USER, SYSTEM, "engine-default")


@dataclass(frozen=True, kw_only=True, slots=True)
class ShownParameter:
    """One parameter as it is shown."""

    row: Parameter
    source: str
    #: `None` where `by_node_type` says it.
    value: str | None = None
    #: (node type, value) for every type that has a value of its own.
    by_node_type: tuple[tuple[str, str], ...] = ()

    @property
    def key(self) -> str:
        """What sorts them; a parameter may be there once with one value and once with many."""
        return f"{self.row.name}/{'types' if self.by_node_type else ''}"


def of_group(service: Service, wanted: DescribeCacheParameters) -> tuple[ShownParameter, ...]:
    """Return the parameters of a group, sorted by `key`; only those of one source if asked."""
    if wanted.source and wanted.source not in _SOURCES:
        raise invalid_value(
            f"Invalid value {rules.shown(wanted.source)} for Source. Must be one of "
            f"{', '.join(_SOURCES)}"
        )
    group = parameter_groups.named(service, wanted.cache_parameter_group_name)
    own = set(group.values) if isinstance(group, ParameterGroup) else set()
    shown = _shown(group.family, group.values, own)
    return tuple(each for each in shown if not wanted.source or each.source == wanted.source)


def of_family(wanted: DescribeEngineDefaultParameters) -> tuple[ShownParameter, ...]:
    """Return the parameters of a family with their defaults, sorted by `key`."""
    return _shown(parameter_groups.family(wanted.cache_parameter_group_family), {}, set())


def _shown(family: str, values: Mapping[str, str], own: set[str]) -> tuple[ShownParameter, ...]:
    shown: list[ShownParameter] = []
    for name, row in parameters.parameters_of_family(family).items():
        source = USER if name in own else SYSTEM
        value = values.get(name, row.default)
        if value != BY_NODE_TYPE:
            shown.append(ShownParameter(row=row, source=source, value=value))
        types = tuple(
            (kind.name, on_type)
            for kind in NODE_TYPES
            if (on_type := parameters.by_node_type(name, kind)) is not None and on_type != value
        )
        if types:
            shown.append(ShownParameter(row=row, source=source, by_node_type=types))
    return tuple(sorted(shown, key=lambda each: each.key))
