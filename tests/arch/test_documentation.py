"""Documentation cannot rot in silence: what it must name, it names."""

from __future__ import annotations

import ast
import itertools
import re
import tomllib
from pathlib import Path

import pytest

from cachewright.api import operations, unsupported
from cachewright.plan import suspicion

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "cachewright"
MODULES = sorted(SOURCE.rglob("*.py"))
ROOMS = sorted(path.name for path in SOURCE.iterdir() if (path / "__init__.py").exists())


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_a_module_begins_by_saying_what_it_answers(module: Path) -> None:
    assert ast.get_docstring(ast.parse(module.read_text()))


@pytest.mark.parametrize("room", ROOMS)
def test_every_room_stands_in_the_architecture_and_in_the_import_contract(room: str) -> None:
    assert f"`{room}/`" in (ROOT / "docs" / "architecture.md").read_text()
    contract = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    layers = " | ".join(contract["contracts"][0]["layers"])
    assert re.search(rf"\bcachewright\.{room}\b", layers)


def test_every_operation_is_documented_as_offered_or_not() -> None:
    text = (ROOT / "docs" / "operations.md").read_text()
    offered, _, missing = text.partition("## Not offered yet")
    assert set(re.findall(r"\b[A-Z][A-Za-z]+(?=[,| ])", offered)) >= set(operations.HANDLERS)
    for operation, reason in unsupported.REASONS.items():
        assert re.search(rf"\| {reason} \|.*\b{operation}\b", missing), operation
        assert not re.search(rf"\b{operation}\b", offered), operation
    readme = (ROOT / "README.md").read_text()
    total = len(operations.HANDLERS) + len(unsupported.REASONS)
    assert f"{len(operations.HANDLERS)} of {total} operations" in readme


def test_what_the_readme_says_to_terraform_stands_in_a_tested_example() -> None:
    blocks = re.findall(r"```hcl\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    files = [path.read_text() for path in (ROOT / "examples" / "terraform").rglob("*.tf")]
    assert blocks
    assert all(any(block in text for text in files) for block in blocks)


def test_every_decision_is_numbered_once_and_says_its_three_parts() -> None:
    records = sorted((ROOT / "docs" / "adr").glob("*.md"))
    assert [int(path.name[:4]) for path in records] == list(range(1, len(records) + 1))
    for record in records:
        text = record.read_text()
        for part in ("**Context.**", "**Decision.**", "**Consequences.**"):
            assert part in text, f"{record.name} lacks {part}"


@pytest.mark.parametrize("document", ["README.md", "docs/architecture.md", "docs/failover.md"])
def test_links_lead_somewhere(document: str) -> None:
    path = ROOT / document
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", path.read_text()):
        assert (path.parent / target).exists(), target


def test_how_long_a_silent_engine_is_waited_for_stands_in_the_documentation() -> None:
    text = (ROOT / "docs" / "failover.md").read_text().partition("## A node hangs")[2]
    rows = re.findall(r"^\| .* \| (\d+) s \|$", text.partition("\n## ")[0], re.MULTILINE)
    assert [float(row) for row in rows] == list(suspicion.PATIENCE_S.values())


def test_every_dependency_says_its_reason() -> None:
    text = (ROOT / "pyproject.toml").read_text()
    start = text.index("dependencies = [")
    lines = text[start : text.index("\n]", start)].splitlines()[1:]
    for above, line in itertools.pairwise(lines):
        if line.strip().startswith('"'):
            assert above.strip().startswith("#"), line


def test_the_lock_has_hashes_and_no_address_of_an_index() -> None:
    lock = (ROOT / "requirements.lock").read_text()
    assert "--index-url" not in lock
    assert "://" not in lock
    assert lock.count("==") <= lock.count("--hash=")
