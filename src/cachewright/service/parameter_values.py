"""May these parameters have these values? Rules of names and values, and of their users.

Nothing is changed here. A change is refused as a whole for the first thing that is wrong with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from cachewright.model import node_types, parameters
from cachewright.model.errors import (
    ClientFault,
    invalid_combination,
    invalid_value,
)
from cachewright.model.groups import GroupSpec
from cachewright.model.parameters import Parameter
from cachewright.service import rules
from cachewright.service.inputs_parameters import ParameterNameValue

#: ElastiCache's bound of one call.
CHANGES_MAX = 20
_MEMBER = "ParameterNameValues"


def checked(family: str, given: Iterable[ParameterNameValue]) -> dict[str, str]:
    """Return the new values by name, each one that the family allows to be set."""
    entries = tuple(given)
    if not entries:
        raise invalid_value(f"The parameter {_MEMBER} must be provided.")
    if len(entries) > CHANGES_MAX:
        raise invalid_value(
            f"The parameter {_MEMBER} can have at most {CHANGES_MAX} elements, not {len(entries)}."
        )
    values: dict[str, str] = {}
    for entry in entries:
        row = _row(family, entry.parameter_name)
        if row.name in values:
            raise invalid_value(f"The parameter {row.name} is there twice.")
        values[row.name] = _value(row, entry.parameter_value)
    return values


def names(family: str, given: Iterable[ParameterNameValue]) -> frozenset[str]:
    """Return the names of parameters that shall have their defaults again."""
    return frozenset(_row(family, entry.parameter_name).name for entry in given)


def refuse_in_use(
    family: str, before: Mapping[str, str], after: Mapping[str, str], user: GroupSpec | None
) -> None:
    """Refuse to change what is fixed while `user`, or anybody, uses the group of values."""
    fixed = fixed_difference(family, before, family, after)
    if user is not None and fixed is not None:
        raise invalid_state(
            f"The parameter {fixed} can change only while no cluster uses the parameter group; "
            f"{user.name} does."
        )


def fixed_difference(
    family_before: str, before: Mapping[str, str], family_after: str, after: Mapping[str, str]
) -> str | None:
    """Return a parameter of both families that is fixed in use and would change."""
    rows = parameters.parameters_of_family(family_after)
    for name, row in parameters.parameters_of_family(family_before).items():
        other = rows.get(name)
        if other is None or not other.is_fixed_in_use:
            continue
        if before.get(name, row.default) != after.get(name, other.default):
            return name
    return None


def refuse_contradiction(
    family: str,
    values: Mapping[str, str],
    node_type: str | None = None,
    replicas: int | None = None,
) -> None:
    """Refuse values that do not go together, by themselves or on nodes like these."""
    kind = None if node_type is None else node_types.node_type_of(node_type)
    text = parameters.contradiction_of(family, values, kind, replicas)
    if text is not None:
        raise invalid_combination(text)


def invalid_state(message: str) -> ClientFault:
    """Return the error for a parameter group that is not in the state the request needs."""
    return ClientFault("InvalidCacheParameterGroupState", message)


def _row(family: str, name: str | None) -> Parameter:
    if not name:
        raise invalid_value("The parameter ParameterName must be provided and must not be blank.")
    row = parameters.parameters_of_family(family).get(name)
    if row is None:
        raise invalid_value(
            f"Parameter {rules.shown(name)} doesn't exist in the parameter group family {family}."
        )
    return row


def _value(row: Parameter, value: str | None) -> str:
    if value is None:
        raise invalid_value(
            f"The parameter ParameterValue must be provided for the parameter {row.name}."
        )
    if not row.is_modifiable:
        raise invalid_value(f"The parameter {row.name} cannot be modified: {row.description}")
    if not parameters.is_allowed(row, value):
        raise invalid_value(
            f"The parameter value {rules.shown(value)} is invalid for the parameter {row.name}: "
            f"it takes {parameters.wanted(row)}. {row.description}"
        )
    return value
