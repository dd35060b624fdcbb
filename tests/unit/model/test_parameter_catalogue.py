"""The rows of the catalogue, and which values they take."""

from __future__ import annotations

from decimal import Decimal

import pytest

from cachewright.model.engines import version_key
from cachewright.model.node_types import NODE_TYPES, node_type_of
from cachewright.model.parameters import (
    BY_NODE_TYPE,
    FAMILIES,
    PARAMETERS,
    DataType,
    Parameter,
    by_node_type,
    contradiction_of,
    is_allowed,
    memcached_rows,
    parameters_of_family,
    valkey_rows,
    wanted,
)
from cachewright.model.parameters.allowed import bounds

#: What a short list of parameters could not have: the whole catalogue.
COUNTS = {"memcached1.6": 33, "redis7": 68, "valkey8": 68, "valkey9": 69}


def row(name: str, family: str = "valkey9") -> Parameter:
    return parameters_of_family(family)[name]


@pytest.mark.parametrize("rows", [valkey_rows.ROWS, memcached_rows.ROWS])
def test_tables_are_in_order(rows: tuple[Parameter, ...]) -> None:
    assert [each.name for each in rows] == sorted(each.name for each in rows)


def test_a_family_has_a_parameter_once() -> None:
    keys = [(each.name, family) for each in PARAMETERS for family in each.families]
    assert len(keys) == len(set(keys))
    assert {family for _, family in keys} == set(FAMILIES)
    assert {family: len(parameters_of_family(family)) for family in FAMILIES} == COUNTS


@pytest.mark.parametrize("each", PARAMETERS, ids=lambda each: f"{each.name}-{each.families[0]}")
def test_rows_make_sense(each: Parameter) -> None:
    assert each.description.endswith(".")
    assert version_key(each.since)
    if each.default == BY_NODE_TYPE:
        assert all(by_node_type(each.name, kind) for kind in NODE_TYPES)
        assert not each.is_modifiable
    elif (each.name, each.default) != ("cluster-databases", "0"):  # "nobody chose a number"
        assert is_allowed(each, each.default)
    has_form = each.allowed is not None or each.letters or each.name == "rename-commands"
    assert has_form or not each.is_modifiable
    assert wanted(each)


@pytest.mark.parametrize(
    "each",
    [row for row in PARAMETERS if row.data_type in {DataType.INTEGER, DataType.FLOAT}],
    ids=lambda each: f"{each.name}-{each.families[0]}",
)
def test_numbers_end_where_the_row_says(each: Parameter) -> None:
    if each.allowed is None:
        assert not is_allowed(each, "1")
        return
    ends = bounds(each)
    step = Decimal(1) if each.data_type is DataType.INTEGER else Decimal("0.01")
    for low, high in ends:
        assert is_allowed(each, low)
        assert is_allowed(each, high)
    assert not is_allowed(each, str(Decimal(ends[0][0]) - step))
    assert not is_allowed(each, str(Decimal(ends[-1][1]) + step))


@pytest.mark.parametrize(
    ("name", "value", "is_good"),
    [
        ("timeout", "0", True),
        ("timeout", "19", False),
        ("timeout", "20", True),
        ("timeout", "2147483648", False),
        ("slowlog-log-slower-than", "-1", True),
        ("slowlog-log-slower-than", "-2", False),
        ("list-max-listpack-size", "-5", True),
        ("list-max-listpack-size", "0", False),
        ("list-max-listpack-size", "1", True),
        ("timeout", "+20", False),
        ("timeout", "020", False),
        ("timeout", " 20", False),
        ("timeout", "20 ", False),
        ("timeout", "20\n", False),
        ("timeout", "2e1", False),
        ("timeout", "20.0", False),
        ("timeout", "-0", False),
        ("timeout", "", False),
        ("timeout", "NaN", False),
        ("timeout", "٢٠", False),
        ("timeout", "9" * 100_000, False),
        ("proto-max-bulk-len", "512mb", False),
        ("maxmemory-policy", "allkeys-lru", True),
        ("maxmemory-policy", "ALLKEYS-LRU", False),
        ("maxmemory-policy", "", False),
        ("maxmemory-policy", "allkeys-lru,volatile-lru", False),
        ("latency-tracking", "yes", True),
        ("latency-tracking", "1", False),
        ("notify-keyspace-events", "", True),
        ("notify-keyspace-events", "KEA", True),
        ("notify-keyspace-events", "K" * 64, True),
        ("notify-keyspace-events", "K" * 65, False),
        ("notify-keyspace-events", "K E", False),
        ("notify-keyspace-events", 'K"', False),
        ("notify-keyspace-events", "K\0", False),
        ("rename-commands", "", True),
        ("rename-commands", "flushall blocked", True),
        ("rename-commands", "flushall blocked keys blocked", True),
        ("rename-commands", "flushall", False),
        ("rename-commands", "flushall gone", False),
        ("rename-commands", "flushall blocked keys", False),
        ("rename-commands", "flushall blocked flushall blocked", False),
        ("rename-commands", "flushall  blocked", False),
        ("rename-commands", " flushall blocked", False),
        ("rename-commands", "flushall blocked\n", False),
        ("rename-commands", "FLUSHALL blocked", False),
        ("rename-commands", "auth blocked", False),
        ("rename-commands", "config blocked", False),
        ("rename-commands", "client|kill blocked", False),
        ("rename-commands", "no-such-command blocked", False),
        ("rename-commands", "+@all blocked", False),
    ],
)
def test_values(name: str, value: str, is_good: bool) -> None:
    assert is_allowed(row(name), value) is is_good


@pytest.mark.parametrize(
    ("name", "value", "is_good"),
    [
        ("chunk_size_growth_factor", "1.25", True),
        ("chunk_size_growth_factor", "2", True),
        ("chunk_size_growth_factor", "1", False),
        ("chunk_size_growth_factor", "1.000", False),
        ("chunk_size_growth_factor", "1.12345", False),
        ("chunk_size_growth_factor", "1,25", False),
        ("chunk_size_growth_factor", "inf", False),
        ("slab_chunk_max", "65536", True),
        ("slab_chunk_max", "65537", False),
        ("slab_chunk_max", "3072", False),
        ("cas_disabled", "1", True),
        ("cas_disabled", "yes", False),
        ("slab_automove", "2", True),
        ("slab_automove", "3", False),
        ("binding_protocol", "binary", False),
    ],
)
def test_values_of_memcached(name: str, value: str, is_good: bool) -> None:
    assert is_allowed(row(name, "memcached1.6"), value) is is_good


@pytest.mark.parametrize(
    ("values", "node_type", "text"),
    [
        ({}, "cache.t4g.micro", None),
        ({"max_item_size": "262144"}, None, "cannot be larger than max_item_size"),
        ({"max_item_size": "1572865"}, None, "must be a multiple of slab_chunk_max"),
        ({"max_item_size": "262144", "slab_chunk_max": "131072"}, "cache.t4g.micro", None),
        # A quarter of 412 MB.
        ({"max_item_size": str(103 * 2**20)}, "cache.t4g.micro", None),
        ({"max_item_size": str(104 * 2**20)}, "cache.t4g.micro", "a quarter of the 412 MB"),
        ({"max_item_size": str(104 * 2**20)}, "cache.m7g.large", None),
        ({"max_item_size": str(104 * 2**20)}, None, None),
        ({"memcached_connections_overhead": "511"}, "cache.t4g.micro", "a quarter of the 1 MB"),
        ({"memcached_connections_overhead": "512"}, "cache.t4g.micro", "leaves nothing"),
    ],
)
def test_sizes_of_items_that_contradict_each_other(
    values: dict[str, str], node_type: str | None, text: str | None
) -> None:
    kind = None if node_type is None else node_type_of(node_type)
    found = contradiction_of("memcached1.6", values, kind)
    assert (found is None) if text is None else (found is not None and text in found)


@pytest.mark.parametrize(
    ("values", "node_type", "text"),
    [
        ({"reserved-memory-percent": "30"}, None, None),
        ({"reserved-memory": "1000"}, None, None),
        ({"reserved-memory": "1000", "reserved-memory-percent": "0"}, None, None),
        ({"reserved-memory": "0", "reserved-memory-percent": "30"}, None, None),
        ({"reserved-memory": "1000", "reserved-memory-percent": "30"}, None, "exclude each other"),
        ({"reserved-memory": "536870911"}, "cache.t4g.micro", None),
        ({"reserved-memory": "536870912"}, "cache.t4g.micro", "leaves nothing"),
    ],
)
def test_reserved_memory_that_contradicts_itself(
    values: dict[str, str], node_type: str | None, text: str | None
) -> None:
    kind = None if node_type is None else node_type_of(node_type)
    found = contradiction_of("valkey9", values, kind)
    assert (found is None) if text is None else (found is not None and text in found)


@pytest.mark.parametrize("family", ["redis7", "valkey8", "valkey9"])
@pytest.mark.parametrize(
    ("values", "replicas", "text"),
    [
        ({}, 0, None),
        ({"min-replicas-max-lag": "0"}, 0, None),
        ({"min-replicas-to-write": "1"}, None, None),
        ({"min-replicas-to-write": "1"}, 1, None),
        ({"min-replicas-to-write": "2"}, 1, "refuse every write"),
        ({"min-replicas-to-write": "1"}, 0, "refuse every write"),
        ({"min-replicas-to-write": "1", "min-replicas-max-lag": "0"}, None, "makes"),
    ],
)
def test_writes_that_need_more_replicas_than_there_are(
    family: str, values: dict[str, str], replicas: int | None, text: str | None
) -> None:
    found = contradiction_of(family, values, None, replicas)
    assert (found is None) if text is None else (found is not None and text in found)
