"""The catalogue of Memcached's parameters is what the engines themselves report and take."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from cachewright.model import parameters
from cachewright.model.builds import Build
from cachewright.model.engines import EngineName, version_key
from cachewright.model.node_types import node_type_of
from cachewright.model.parameters import DataType, Parameter
from cachewright.model.parameters.allowed import bounds
from tests.contract.engine_lab import miss
from tests.contract.memcached_lab import VERSIONS, Lab, build_named
from tests.contract.test_memcached_conformance import NEEDS_PAGE_MOVER, PARAMETERS

ROWS = parameters.parameters_of_family("memcached1.6")
NODE_TYPE = node_type_of("cache.t4g.micro")
#: The least chunk makes the largest item a question of the node's memory, not of the flag.
_MOST = {"max_item_size": str(64 << 20), "chunk_size": "1024"}


@pytest.fixture(params=VERSIONS)
def build(request: pytest.FixtureRequest) -> Build:
    found = build_named(request.param)
    return found if isinstance(found, Build) else miss(found)


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    made = Lab(tmp_path)
    yield made
    made.close()


def settings_of(build: Build, **changed: str) -> tuple[tuple[str, str], ...]:
    assert NODE_TYPE is not None
    return parameters.settings_of(
        EngineName.MEMCACHED, build.api_version, NODE_TYPE, cluster_enabled=False, overrides=changed
    )


def test_the_defaults_are_what_an_engine_reports(lab: Lab, build: Build) -> None:
    assert NODE_TYPE is not None
    settings = settings_of(build)
    engine = lab.started(
        build,
        settings=settings,
        maxmemory_bytes=parameters.memory_of(
            EngineName.MEMCACHED, build.api_version, NODE_TYPE, {}
        ),
    )
    said = engine.client().stats("settings")
    is_forced_on = version_key(build.version) >= NEEDS_PAGE_MOVER
    assert said["maxbytes"] == str((NODE_TYPE.memcached_memory_mb - 100) << 20)
    for name, value in settings:
        word, known = PARAMETERS[name]
        if word is None or (name == "slab_reassign" and is_forced_on):
            continue
        assert said[word] == known[value], name


def extremes(row: Parameter) -> Iterator[str]:
    """Yield the values at the ends of what a row allows."""
    assert row.allowed is not None
    if row.data_type in {DataType.INTEGER, DataType.FLOAT}:
        for low, high in bounds(row):
            yield low
            yield _MOST.get(row.name, high)
    else:
        yield from row.allowed.split(",")


CASES = [
    (row.name, value)
    for row in ROWS.values()
    if row.is_modifiable and row.reach is parameters.Reach.ENGINE
    for value in dict.fromkeys(extremes(row))
]


@pytest.mark.parametrize(("name", "value"), CASES)
def test_an_engine_starts_with_all_that_the_catalogue_allows(
    lab: Lab, name: str, value: str
) -> None:
    build = build_named(VERSIONS[-1])
    if not isinstance(build, Build):
        miss(build)
    changed = {name: value}
    if name == "max_item_size":  # which chunks must divide
        changed["slab_chunk_max"] = "1024"
    if name == "slab_chunk_max":
        changed["max_item_size"] = "1048576"
    engine = lab.started(build, settings=settings_of(build, **changed), maxmemory_bytes=400 << 20)
    client = engine.client()
    client.set("k", b"v")
    assert client.get("k") == (0, b"v")


def test_every_parameter_that_reaches_the_engine_is_compared() -> None:
    reaching = {row.name for row in ROWS.values() if row.reach is parameters.Reach.ENGINE}
    assert reaching <= set(PARAMETERS)
