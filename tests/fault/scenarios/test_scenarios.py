"""Scenarios x faults: the bounded selection of the table that runs with all other tests.

`make chaos` runs random ones of the whole table. A case that fails says how to repeat it.
"""

from __future__ import annotations

import secrets

import pytest

from tests.fault.scenarios import cases, ground, table
from tests.fault.scenarios.faults import FAULTS
from tests.fault.scenarios.operations import OPERATIONS
from tests.fault.scenarios.shapes import SHAPES


@pytest.mark.slow(10)
@pytest.mark.parametrize("name", table.SUITE)
def test_a_scenario(name: str) -> None:
    try:
        cases.run(name, secrets.randbelow(1 << 31))
    except ground.NotHere as error:
        pytest.skip(str(error))


def test_every_row_is_in_some_cell_and_every_exception_is_a_cell() -> None:
    names = {found.name for found in table.cells()}
    parts = {part for name in names for part in name.split("/")}
    assert parts == {*SHAPES, *OPERATIONS, *FAULTS}
    assert {*table.SUITE, *table.EXCEPTIONS} <= names
