"""The catalogue of Valkey's and Redis's parameters is what the engines themselves have and take."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cachewright.engines.adapter import AdminConnection
from cachewright.engines.resp import EngineRefused
from cachewright.model import parameters
from cachewright.model.builds import Build
from cachewright.model.node_types import NodeType, node_type_of
from cachewright.model.parameters import FOREIGN_SETTINGS, ChangeType, DataType, Parameter, Reach
from cachewright.model.parameters.allowed import bounds
from tests.contract.engine_lab import Engine, Lab

SETTINGS = {Reach.ENGINE, Reach.CLUSTER, Reach.STANDALONE}
LIMIT = "client-output-buffer-limit"
#: `A` stands for all of these letters.
ALL_EVENTS = "g$lshzxetd"


def rows_of(build: Build) -> Mapping[str, Parameter]:
    return parameters.parameters_of(build.engine, build.api_version)


def micro() -> NodeType:
    found = node_type_of("cache.t4g.micro")
    assert found is not None
    return found


def ends(row: Parameter) -> list[str]:
    """Return the values at the ends of what a row allows, the default last."""
    if row.allowed is None:
        return [row.letters, *row.letters, row.default]
    if row.data_type is DataType.INTEGER:
        return [value for ends_of_one in bounds(row) for value in ends_of_one] + [row.default]
    return [*row.allowed.split(","), row.default]


async def get(admin: AdminConnection, name: str) -> str | None:
    reply = await admin.command("CONFIG", "GET", name)
    assert isinstance(reply, list)
    return None if not reply else str(reply[1], "ascii")  # type: ignore[arg-type] # bytes


def same(name: str, one: str | None, other: str) -> bool:
    """Tell whether two values mean the same; the engine puts letters into an order of its own."""
    if name != "notify-keyspace-events" or one is None:
        return one == other
    return events(one) == events(other)


def events(letters: str) -> set[str]:
    found = set(letters.replace("A", ALL_EVENTS))
    # The engines have `n` then, and leave it out when they say what they have.
    return found - {"n"} if set(ALL_EVENTS) <= found else found


def test_every_parameter_that_is_a_setting_is_one(admitted: Engine) -> None:
    async def read(admin: AdminConnection) -> dict[bytes, object]:
        reply = await admin.command("CONFIG", "GET", "*")
        assert isinstance(reply, list)
        return dict(zip(reply[::2], reply[1::2], strict=True))  # type: ignore[arg-type] # bytes

    rows = rows_of(admitted.build)
    known = {name.decode() for name in admitted.call(read)}
    assert {name for name, row in rows.items() if row.reach in SETTINGS} <= known
    assert LIMIT in known
    # What only ElastiCache has must not be a setting of the engine, or it would be left out.
    own = {n for n, r in rows.items() if r.reach in {Reach.AGENT, Reach.BUFFER_LIMIT}}
    assert not own & known


def test_what_is_immediate_can_be_told_and_nothing_else(admitted: Engine) -> None:
    build = admitted.build
    launched = dict(
        parameters.settings_of(build.engine, build.api_version, micro(), False, {})
        + parameters.settings_of(build.engine, build.api_version, micro(), True, {})
    )
    names = {*launched, "maxmemory", "maxclients", "databases"} - FOREIGN_SETTINGS

    async def tell(admin: AdminConnection) -> None:
        for name in sorted(names):
            value = await get(admin, name)
            assert value is not None, name
            (reply,) = await admin.pipeline([("CONFIG", "SET", name, value)])
            can_be_told = not isinstance(reply, EngineRefused)
            is_immediate = parameters.is_immediate(build.engine, build.api_version, name)
            assert can_be_told is is_immediate, (name, reply)

    admitted.call(tell)


def test_an_engine_takes_and_keeps_every_value_that_is_allowed(admitted: Engine) -> None:
    rows = [
        row
        for row in rows_of(admitted.build).values()
        if row.reach in SETTINGS and row.change_type is ChangeType.IMMEDIATE and row.is_modifiable
    ]
    assert len(rows) >= 40

    async def tell(admin: AdminConnection) -> None:
        for row in rows:
            for value in ends(row):
                assert parameters.is_allowed(row, value)
                (reply,) = await admin.pipeline([("CONFIG", "SET", row.name, value)])
                assert reply == b"OK", (row.name, value, reply)
                assert same(row.name, await get(admin, row.name), value), (row.name, value)

    admitted.call(tell)


def test_an_engine_takes_every_buffer_limit_that_is_allowed(admitted: Engine) -> None:
    build = admitted.build
    limits = [row for row in rows_of(build).values() if row.reach is Reach.BUFFER_LIMIT]

    async def tell(admin: AdminConnection) -> None:
        for row in limits:
            for value in ends(row)[:-1]:
                values = {row.name: value}
                found = parameters.settings_of(
                    build.engine, build.api_version, micro(), False, values
                )
                wanted = dict(found)[LIMIT]
                (reply,) = await admin.pipeline([("CONFIG", "SET", LIMIT, wanted)])
                assert reply == b"OK", (row.name, value, reply)
                assert await get(admin, LIMIT) == wanted.replace("replica", "slave")

    admitted.call(tell)


@pytest.mark.parametrize("number", ["1", "10000"])
@pytest.mark.parametrize("cluster_enabled", [False, True])
def test_what_waits_for_a_restart_is_taken_by_a_start(
    lab: Lab, number: str, cluster_enabled: bool
) -> None:
    build = lab.build
    name = "cluster-databases" if cluster_enabled else "databases"
    if name not in rows_of(build):
        pytest.skip(f"{build.engine.value} {build.api_version} has one database in cluster mode")
    engine = lab.cluster(1, 0)[0] if cluster_enabled else lab.engine()
    start(engine, {name: number}, cluster_enabled=cluster_enabled)
    assert engine.call(lambda admin: get(admin, name)) == number


def start(engine: Engine, values: Mapping[str, str], *, cluster_enabled: bool = False) -> None:
    build = engine.build
    wanted = parameters.settings_of(
        build.engine, build.api_version, micro(), cluster_enabled, values
    )
    engine.launch = replace(engine.launch, settings=wanted)
    engine.start()


def value_of(row: Parameter) -> st.SearchStrategy[str]:
    """Return any value that a row allows."""
    if row.allowed is None:
        return st.text(row.letters, max_size=20)
    if row.data_type is DataType.INTEGER:
        ranges = [st.integers(int(low), int(high)) for low, high in bounds(row)]
        return st.one_of(ranges).map(str)
    return st.sampled_from(row.allowed.split(","))


@st.composite
def groups_of_values(draw: st.DrawFn, rows: tuple[Parameter, ...]) -> dict[str, str]:
    chosen = draw(st.lists(st.sampled_from(rows), unique_by=lambda row: row.name))
    return {row.name: draw(value_of(row)) for row in chosen}


def test_values_arrive_in_an_engine_that_starts_with_them(build: Build, tmp_path: Path) -> None:
    """Whatever the catalogue allows, alone and together, is what the engine then says it has."""
    rows = tuple(
        row
        for row in rows_of(build).values()
        if row.is_modifiable
        and row.reach in SETTINGS | {Reach.BUFFER_LIMIT}
        # The most that the memory of a test machine would not miss.
        and row.name not in {"databases", "cluster-databases"}
    )

    @settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
    @given(groups_of_values(rows))
    def arrive(values: dict[str, str]) -> None:
        lab = Lab(build, tmp_path)
        engine = lab.engine()
        try:
            start(engine, values)
            wanted = [
                (name, value)
                for name, value in engine.launch.settings
                if name not in FOREIGN_SETTINGS
            ]

            async def read(admin: AdminConnection) -> None:
                for name, value in wanted:
                    expected = value.replace("replica", "slave") if name == LIMIT else value
                    assert same(name, await get(admin, name), expected), (name, value)

            engine.call(read)
        finally:
            engine.end()

    arrive()
