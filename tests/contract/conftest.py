"""Engines for the conformance suite: every build that the service offers, one after the other.

A build that is missing is skipped with its reason on a person's machine, and fails where `CI` is
set.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from cachewright.model.builds import Build
from tests.contract.engine_lab import (
    BUILDS,
    Engine,
    Lab,
    build_named,
    miss,
)


@pytest.fixture(params=list(BUILDS), scope="module")
def build(request: pytest.FixtureRequest) -> Build:
    found = build_named(request.param)
    return found if isinstance(found, Build) else miss(found)


@pytest.fixture
def lab(build: Build, tmp_path: Path) -> Iterator[Lab]:
    made = Lab(build, tmp_path)
    yield made
    for engine in made.engines:
        engine.end()


@pytest.fixture(scope="module")
def admitted(build: Build, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """An engine that serves clients, for tests that leave it as it was."""
    made = Lab(build, tmp_path_factory.mktemp("admitted"))
    engine = made.started()
    try:
        engine.admit()
        yield engine
    finally:
        engine.end()
