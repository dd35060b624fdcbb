"""Can every seeded mutant still be planted, and are the tests there that are to catch it?"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from cachewright import __file__ as package
from tests.mutants.__main__ import plant
from tests.mutants.seeded import MUTANTS, Mutant

_ROOT = Path(__file__).parents[2]
#: What may never go unnoticed.
_MISTAKES = {
    "promote the laggard",
    "skip the fence",
    "restart the dead primary",
    "forget before promoted",
    "act on silence",
    "ignore the epoch",
    "serve before held is lifted",
    "two issuers",
}


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_its_text_is_there_exactly_once(mutant: Mutant, tmp_path: Path) -> None:
    source = Path(package).parent / mutant.path
    copy = tmp_path / mutant.path
    copy.parent.mkdir()
    copy.write_bytes(source.read_bytes())
    plant(mutant, tmp_path)
    assert ast.dump(ast.parse(copy.read_text())) != ast.dump(ast.parse(source.read_text()))


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_the_tests_that_catch_it_are_there(mutant: Mutant) -> None:
    for catch in mutant.catches:
        path, *names = catch.test.split("::")
        content = (_ROOT / path).read_text()
        assert f"def {names[-1]}(" in content or f"{names[0]} =" in content, catch.test


def test_every_mistake_has_a_mutant_and_every_mutant_a_name_of_its_own() -> None:
    assert {mutant.mistake for mutant in MUTANTS} == _MISTAKES
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS)
