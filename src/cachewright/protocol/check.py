"""Does the input keep the constraints of the model? required, enum, range, length, pattern.

Called with what `decode` returned, before any rule of the service. Two kinds of answer, as AWS
gives them:

- a missing required parameter is `InvalidParameterValue`, "The parameter X must be provided.", and
  so is a list of ids that is too long
- broken constraints are one `ValidationError` that lists them: "1 validation error detected:
  Value 'x' at 'engine' failed to satisfy constraint: Member must ...". Paths begin with a small
  letter and count list elements as `.1.member`.

A value that the model marks as a secret is shown as `***`.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from cachewright.protocol import text
from cachewright.protocol.decode import Params
from cachewright.protocol.errors import WireError
from cachewright.protocol.service_model import (
    ListShape,
    Operation,
    ScalarShape,
    Shape,
    StructureShape,
)

#: Characters of any text. The model bounds few texts; this keeps matching and storing them cheap.
STRING_CHARS_MAX = 32_768

#: Violations shown in one answer; more would only repeat the first ones.
_VIOLATIONS_MAX = 10

#: Lists of ids with a bound, by the names of their shapes.
_ID_LISTS = frozenset({"CacheClusterIdList", "ReplicationGroupIdList"})

_SECRET_SHOWN = "***"  # noqa: S105 - this is what is shown instead of one


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class _Place:
    """Where a value stands: member names, and numbers of list elements from 1."""

    steps: tuple[str | int, ...] = ()
    is_sensitive: bool = False

    def member(self, name: str, *, is_sensitive: bool) -> _Place:
        return _Place(steps=(*self.steps, name), is_sensitive=self.is_sensitive or is_sensitive)

    def element(self, number: int) -> _Place:
        return _Place(steps=(*self.steps, number), is_sensitive=self.is_sensitive)

    def as_parameter(self) -> str:
        return ".".join(str(step) for step in self.steps)

    def as_path(self) -> str:
        return ".".join(
            f"{step}.member" if isinstance(step, int) else step[:1].lower() + step[1:]
            for step in self.steps
        )


def check(operation: Operation, params: Params) -> None:
    """Raise a `WireError` unless the parameters keep the model's constraints."""
    violations: list[str] = []
    _check_structure(operation.input, params, _Place(), violations)
    if violations:
        shown = violations[:_VIOLATIONS_MAX]
        plural = "" if len(violations) == 1 else "s"
        raise WireError(
            "ValidationError",
            f"{len(violations)} validation error{plural} detected: {'; '.join(shown)}",
        )


# The recursion follows the shapes, whose depth the model bounds.


def _check(shape: Shape, value: Any, place: _Place, violations: list[str]) -> None:
    match shape:
        case StructureShape():
            _check_structure(shape, value, place, violations)
        case ListShape():
            _check_list(shape, value, place, violations)
        case ScalarShape():
            broken = (
                _check_text(shape, value)
                if isinstance(value, str)
                else _check_range(shape.minimum, shape.maximum, value, "value")
            )
            if broken:
                shown = _SECRET_SHOWN if place.is_sensitive else text.shorten(str(value))
                violations.append(_sentence(shown, place, broken))


def _check_structure(
    shape: StructureShape, value: Params, place: _Place, violations: list[str]
) -> None:
    for name in shape.required:
        if name not in value:
            missing = place.member(name, is_sensitive=False).as_parameter()
            raise WireError("InvalidParameterValue", f"The parameter {missing} must be provided.")
    for name, part in value.items():
        member = shape.members[name]
        _check(member.shape, part, place.member(name, is_sensitive=member.is_sensitive), violations)


def _check_list(shape: ListShape, value: list[Any], place: _Place, violations: list[str]) -> None:
    broken = _check_range(shape.minimum, shape.maximum, len(value), "length")
    if broken and shape.name in _ID_LISTS:
        raise WireError(
            "InvalidParameterValue",
            f"The parameter {place.as_parameter()} must have at most {shape.maximum} elements.",
        )
    if broken:
        # The count, not the contents: they may be many, and they may be secrets.
        violations.append(_sentence(f"[{len(value)} elements]", place, broken))
    for number, element in enumerate(value, 1):
        _check(shape.element, element, place.element(number), violations)


def _check_text(shape: ScalarShape, value: str) -> str | None:
    """Return the constraint that the text breaks, the cheap ones first."""
    if len(value) > STRING_CHARS_MAX:
        return f"Member must have length less than or equal to {STRING_CHARS_MAX}"
    broken = _check_range(shape.minimum, shape.maximum, len(value), "length")
    if broken:
        return broken
    if shape.enum and value not in shape.enum:
        return f"Member must satisfy enum value set: [{', '.join(shape.enum)}]"
    if shape.regex is not None and not shape.regex.fullmatch(value):
        return f"Member must satisfy regular expression pattern: {shape.pattern}"
    return None


def _check_range(
    minimum: float | None, maximum: float | None, size: float, noun: str
) -> str | None:
    if minimum is not None and size < minimum:
        return f"Member must have {noun} greater than or equal to {minimum}"
    if maximum is not None and size > maximum:
        return f"Member must have {noun} less than or equal to {maximum}"
    return None


def _sentence(shown: str, place: _Place, constraint: str) -> str:
    return f"Value '{shown}' at '{place.as_path()}' failed to satisfy constraint: {constraint}"
