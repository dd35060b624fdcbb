"""No value of a parameter can add a line, a setting or a flag to what an engine starts with.

From what a caller sends to the engine's own files and words: a value is refused by name, or it
arrives whole in its one place and changes nothing else.
"""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cachewright.engines.memcached_flags import render_flags
from cachewright.engines.render import render_files
from cachewright.model import parameters
from cachewright.model.commands import Launch
from cachewright.model.engines import EngineName
from cachewright.model.errors import ClientFault
from cachewright.model.node_types import NODE_TYPES
from cachewright.model.parameters import FOREIGN_SETTINGS, DataType, Parameter, Reach
from cachewright.model.parameters.blocking import BLOCKABLE, RENAME_COMMANDS
from cachewright.service import parameter_values
from cachewright.service.inputs_parameters import ParameterNameValue
from tests.property.engines.test_render_properties import LAUNCH, hostile, read_config

VERSIONS = {
    "memcached1.6": (EngineName.MEMCACHED, "1.6.45"),
    "redis7": (EngineName.REDIS, "7.0"),
    "valkey8": (EngineName.VALKEY, "8.1"),
    "valkey9": (EngineName.VALKEY, "9.1"),
}
ROWS = [
    (family, row)
    for family in parameters.FAMILIES
    for row in parameters.parameters_of_family(family).values()
    if row.is_modifiable
]
TEXTS = [each for each in ROWS if each[1].data_type in {DataType.STRING, DataType.BOOLEAN}]
#: What Memcached is told beside the options that would leave it without that thread.
PAGE_MOVER = {"slab_reassign", "slab_automove=0"}
#: Nothing that ends a word, opens a quote, begins a flag or joins two options.
HARMLESS = re.compile(r"-?[A-Za-z0-9.$-]*", re.ASCII)


@st.composite
def near_values(draw: st.DrawFn, row: Parameter) -> str:
    """Return something that looks like a value that is allowed, and often is one."""
    words = (row.allowed or row.letters).split(",")
    value = draw(st.sampled_from(words) | st.sampled_from([row.default, row.letters, "1", "7"]))
    before, after = draw(hostile | st.just("")), draw(hostile | st.just(""))
    return draw(st.sampled_from([value, value + after, before + value, value.upper()]))


@st.composite
def attempts(draw: st.DrawFn) -> tuple[str, Parameter, str]:
    family, row = draw(st.sampled_from(ROWS) | st.sampled_from(TEXTS))
    return family, row, draw(near_values(row) | hostile)


def accepted(family: str, name: str, value: str) -> dict[str, str] | None:
    """Return what the service would write down, `None` where it refuses."""
    given_value = ParameterNameValue(parameter_name=name, parameter_value=value)
    refusal: ClientFault
    try:
        return parameter_values.checked(family, (given_value,))
    except ClientFault as fault:
        refusal = fault
    assert refusal.code == "InvalidParameterValue"
    assert name in str(refusal)
    assert not {"\n", "\0"} & set(str(refusal))
    return None


def launch_with(family: str, values: dict[str, str], *, cluster_enabled: bool) -> Launch:
    engine, version = VERSIONS[family]
    settings = parameters.settings_of(engine, version, NODE_TYPES[0], cluster_enabled, values)
    memory_bytes = parameters.memory_of(engine, version, NODE_TYPES[0], values)
    return replace(
        LAUNCH,
        engine=engine,
        engine_version=version,
        settings=settings,
        maxmemory_bytes=memory_bytes,
        peers=LAUNCH.peers if cluster_enabled else (),
    )


def lines_of(launch: Launch) -> dict[bytes, list[bytes]]:
    lines = read_config(render_files(launch)["engine.conf"])
    found = {words[0]: words[1:] for words in lines}
    assert len(found) == len(lines)
    return found


@given(attempts())
@example(("valkey9", parameters.parameters_of_family("valkey9")["notify-keyspace-events"], "K\nE"))
@example(("valkey9", parameters.parameters_of_family("valkey9")["maxmemory-policy"], 'x" "y'))
@example(("memcached1.6", parameters.parameters_of_family("memcached1.6")["watch"], "1,-A"))
def test_a_value_is_refused_or_harmless(attempt: tuple[str, Parameter, str]) -> None:
    family, row, value = attempt
    values = accepted(family, row.name, value)
    if values is not None:
        assert values == {row.name: value}
        if row.name == RENAME_COMMANDS:
            assert set(value.split(" ")[::2]) <= BLOCKABLE | {""}
        else:
            assert HARMLESS.fullmatch(value)
            assert len(value) <= 64


@pytest.mark.parametrize("cluster_enabled", [False, True])
@given(attempts().filter(lambda attempt: attempt[0] != "memcached1.6"))
def test_a_value_changes_one_line_of_a_configuration(
    cluster_enabled: bool, attempt: tuple[str, Parameter, str]
) -> None:
    family, row, value = attempt
    values = accepted(family, row.name, value)
    if values is None or row.name in {"reserved-memory", "cluster-enabled"}:
        return
    usual = lines_of(launch_with(family, {}, cluster_enabled=cluster_enabled))
    changed = lines_of(launch_with(family, values, cluster_enabled=cluster_enabled))
    different = {n for n in usual.keys() | changed.keys() if usual.get(n) != changed.get(n)}
    assert len(different) <= 1
    of_mode = {Reach.CLUSTER} if cluster_enabled else {Reach.STANDALONE}
    is_known = row.name in parameters.parameters_of(*VERSIONS[family])
    if row.reach in {Reach.ENGINE, *of_mode} and is_known and row.name not in FOREIGN_SETTINGS:
        assert changed[row.name.encode()] == [value.encode()]
        assert different <= {row.name.encode()}


@given(attempts().filter(lambda attempt: attempt[0] == "memcached1.6"))
@example(("memcached1.6", parameters.parameters_of_family("memcached1.6")["no_modern"], "0"))
@example(("memcached1.6", parameters.parameters_of_family("memcached1.6")["slab_reassign"], "0"))
def test_a_value_changes_one_option_of_a_command_line(
    attempt: tuple[str, Parameter, str],
) -> None:
    family, row, value = attempt
    values = accepted(family, row.name, value)
    if values is None:
        return
    usual = list(render_flags(launch_with(family, {}, cluster_enabled=False)))
    changed = list(render_flags(launch_with(family, values, cluster_enabled=False)))
    gone = [word for word in usual if usual.count(word) > changed.count(word)]
    new = [word for word in changed if changed.count(word) > usual.count(word)]
    # A flag, and at most one word that is its value; with some the thread that moves pages.
    assert len(set(gone) - PAGE_MOVER) <= 2
    assert len(set(new) - PAGE_MOVER) <= 2
    assert all("\n" not in word and " " not in word for word in changed)
