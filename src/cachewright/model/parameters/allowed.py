"""Is a value one that a parameter takes? Reads the `allowed` column and checks against it.

Pure. A value that passes has one form only ("7", never "+7" or "007"), is ASCII, and has no
character that ends a word or a line anywhere: what is stored is what the engine will say it has.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import NamedTuple

from cachewright.model.parameters.blocking import BLOCKED, RENAME_COMMANDS, blocked_commands
from cachewright.model.parameters.rows import DataType, Parameter

#: The longest value that any row allows is the name of an eviction policy; the largest number has
#: 19 digits.
VALUE_CHARS_MAX = 64

_INTEGER = re.compile(r"0|-?[1-9][0-9]{0,18}", re.ASCII)
_FLOAT = re.compile(r"(0|[1-9][0-9]{0,8})(\.[0-9]{1,4})?", re.ASCII)
_NUMBER = r"-?[0-9]+(?:\.[0-9]+)?"
#: "5", "1-10", "0-", "-1-", "-5--1".
_RANGE = re.compile(rf"(?P<low>{_NUMBER})(?P<dash>-(?P<high>{_NUMBER})?)?", re.ASCII)


class _Range(NamedTuple):
    """Numbers from `low` to `high`, both included."""

    low: Decimal
    high: Decimal


def is_allowed(row: Parameter, value: str) -> bool:
    """Tell whether the parameter may have this value; it needs not be modifiable for that."""
    if row.name == RENAME_COMMANDS:
        return _blocks_commands(value)
    if len(value) > VALUE_CHARS_MAX:
        return False
    if row.allowed is None:
        return row.data_type is DataType.STRING and set(value) <= set(row.letters)
    if row.data_type is DataType.INTEGER:
        return _INTEGER.fullmatch(value) is not None and _is_within(row, value)
    if row.data_type is DataType.FLOAT:
        return _FLOAT.fullmatch(value) is not None and _is_within(row, value)
    return value in row.allowed.split(",")


def wanted(row: Parameter) -> str:
    """Return what the parameter takes, for an error that a person reads."""
    if row.name == RENAME_COMMANDS:
        return f"pairs of a command and the word {BLOCKED}, which is the only new name"
    if row.allowed is None:
        return f"any of the letters {row.letters}" if row.letters else "nothing"
    ranges = row.data_type in {DataType.INTEGER, DataType.FLOAT}
    return f"{row.data_type.value} {row.allowed}" if ranges else f"one of {row.allowed}"


def _blocks_commands(value: str) -> bool:
    try:
        blocked_commands(value)
    except ValueError:
        return False
    return True


def _is_within(row: Parameter, value: str) -> bool:
    number = Decimal(value)
    return any(part.low <= number <= part.high for part in _ranges(row))


def _ranges(row: Parameter) -> list[_Range]:
    """Return the numbers that a row allows; `ceiling` ends what is open.

    Raises:
        ValueError: the column is not written as ranges.
    """
    assert row.allowed is not None
    ranges: list[_Range] = []
    for part in row.allowed.split(","):
        match = _RANGE.fullmatch(part)
        if match is None:
            raise ValueError(f"{row.name}: {part!r} is no range")
        low = Decimal(match["low"])
        if match["dash"] is None:
            ranges.append(_Range(low, low))
        else:
            ranges.append(_Range(low, Decimal(match["high"] or row.ceiling)))
    return ranges


def bounds(row: Parameter) -> tuple[tuple[str, str], ...]:
    """Return the lowest and highest value of each range that a numeric row allows."""
    return tuple((str(part.low), str(part.high)) for part in _ranges(row))
