"""What the values of a group make of a node."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from cachewright.model.engines import ENGINE_LINES, EngineLine, EngineName
from cachewright.model.node_types import NODE_TYPES, NodeType, node_type_of
from cachewright.model.parameters import (
    BY_NODE_TYPE,
    ENGINE_SETTINGS,
    PARAMETERS,
    DefaultGroup,
    Reach,
    default_group_name,
    default_groups,
    family_of,
    is_immediate,
    maxclients_of,
    memory_of,
    parameters_of,
    parse_default_group,
    settings_of,
)

V91 = (EngineName.VALKEY, "9.1")
MEMCACHED = (EngineName.MEMCACHED, "1.6.38")
LINES = [line for line in ENGINE_LINES if line.engine is not EngineName.MEMCACHED]


def of_type(name: str) -> NodeType:
    found = node_type_of(name)
    assert found is not None
    return found


MICRO = of_type("cache.t4g.micro")


def settings(
    version: tuple[EngineName, str],
    *,
    cluster_enabled: bool = False,
    values: Mapping[str, str] | None = None,
) -> dict[str, str]:
    return dict(settings_of(*version, MICRO, cluster_enabled, values or {}))


@pytest.mark.parametrize("line", LINES, ids=lambda line: f"{line.engine.value}-{line.api_version}")
@pytest.mark.parametrize("cluster_enabled", [False, True])
def test_settings_are_closed_under_what_a_launch_may_carry(
    line: EngineLine, cluster_enabled: bool
) -> None:
    found = settings((line.engine, line.api_version), cluster_enabled=cluster_enabled)
    assert set(found) <= ENGINE_SETTINGS
    assert BY_NODE_TYPE not in " ".join(found.values())
    assert found["maxmemory-policy"] == "volatile-lru"
    # A tenth of the 512 MiB of this node type.
    assert found["client-output-buffer-limit"] == (
        "normal 0 0 0 replica 53687091 53687091 60 pubsub 33554432 8388608 60"
    )
    assert ("cluster-require-full-coverage" in found) is cluster_enabled
    assert ("databases" in found) is not cluster_enabled
    # A replica of a cluster points writers to its primary.
    assert ("close-on-replica-write" in found) is not cluster_enabled
    assert found["rename-commands"] == ""


def test_what_is_no_setting_does_not_reach_the_engine() -> None:
    found = settings(V91, cluster_enabled=True)
    own = {row.name for row in PARAMETERS if row.reach in {Reach.SERVICE, Reach.LAUNCH}}
    assert {"reserved-memory-percent", "maxmemory", "maxclients"} <= own
    assert not own & set(found)


@pytest.mark.parametrize("line", LINES, ids=str)
@pytest.mark.parametrize("cluster_enabled", [False, True])
def test_what_keeps_writes_reaches_every_engine_and_is_off_by_default(
    line: EngineLine, cluster_enabled: bool
) -> None:
    version = (line.engine, line.api_version)
    found = settings(version, cluster_enabled=cluster_enabled)
    assert (found["appendonly"], found["appendfsync"]) == ("no", "everysec")
    assert (found["min-replicas-to-write"], found["min-replicas-max-lag"]) == ("0", "10")
    values = {"appendonly": "yes", "appendfsync": "always", "min-replicas-to-write": "1"}
    asked = settings(version, cluster_enabled=cluster_enabled, values=values)
    assert values.items() <= asked.items()


def test_values_of_a_group_take_the_place_of_defaults() -> None:
    values = {
        "timeout": "20",
        "client-output-buffer-limit-pubsub-hard-limit": "7",
        "databases": "4",
        "cluster-databases": "8",
        "cluster-allow-reads-when-down": "yes",
    }
    alone = settings(V91, values=values)
    clustered = settings(V91, cluster_enabled=True, values=values)
    assert alone["timeout"] == clustered["timeout"] == "20"
    assert alone["client-output-buffer-limit"].endswith("pubsub 7 8388608 60")
    assert (alone["databases"], "cluster-databases" in alone) == ("4", False)
    assert (clustered["cluster-databases"], "databases" in clustered) == ("8", False)
    assert clustered["cluster-allow-reads-when-down"] == "yes"
    assert "cluster-databases" not in settings(V91, cluster_enabled=True)


def test_values_that_a_version_does_not_have_are_without_effect() -> None:
    values = {"commandlog-large-reply-max-len": "7", "no-such-thing": "1"}
    assert settings((EngineName.VALKEY, "8.0"), values=values) == settings(
        (EngineName.VALKEY, "8.0")
    )
    assert settings((EngineName.VALKEY, "8.1"), values=values)[
        "commandlog-large-reply-max-len"
    ] == ("7")


def test_families_differ() -> None:
    redis = settings((EngineName.REDIS, "7.0"))
    older = settings((EngineName.VALKEY, "8.0"))
    newer = settings((EngineName.VALKEY, "8.1"))
    assert (redis["repl-backlog-size"], older["repl-backlog-size"]) == ("1048576", "10485760")
    assert "lazyfree-lazy-eviction" in redis
    assert "lazyfree-lazy-eviction" not in older
    assert "commandlog-large-reply-max-len" not in older
    assert "commandlog-large-reply-max-len" in newer
    assert "cluster-databases" in parameters_of(*V91)
    assert "cluster-databases" not in parameters_of(EngineName.VALKEY, "8.1")


def test_memcached_gets_its_parameters_by_the_names_of_the_catalogue() -> None:
    found = settings(MEMCACHED, values={"max_item_size": "2097152"})
    assert found["max_item_size"] == "2097152"
    assert found["slab_chunk_max"] == "524288"
    assert found["num_threads"] == "2"
    assert not {"max_cache_memory", "memcached_connections_overhead", "config_max"} & set(found)


@pytest.mark.parametrize(
    ("version", "values", "memory"),
    [
        (V91, {}, 402653184),
        (V91, {"reserved-memory-percent": "0"}, 536870912),
        (V91, {"reserved-memory-percent": "50"}, 268435456),
        (V91, {"reserved-memory": "36870912"}, 500000000),
        (V91, {"reserved-memory": "0"}, 402653184),
        # 0 would be "no limit" to the engine.
        (V91, {"reserved-memory-percent": "100"}, 1),
        (V91, {"reserved-memory": "99999999999"}, 1),
        (MEMCACHED, {}, 412 * 2**20),
        (MEMCACHED, {"memcached_connections_overhead": "0"}, 512 * 2**20),
        (MEMCACHED, {"memcached_connections_overhead": "600"}, 2**20),
    ],
)
def test_memory_is_the_node_type_less_what_is_reserved(
    version: tuple[EngineName, str], values: dict[str, str], memory: int
) -> None:
    assert memory_of(*version, MICRO, values) == memory


def test_connections_follow_the_node_type() -> None:
    large = of_type("cache.m7g.large")
    assert [maxclients_of(*V91, kind) for kind in (MICRO, large)] == [20_000, 65_000]
    assert [maxclients_of(*MEMCACHED, kind) for kind in (MICRO, large)] == [65_000, 65_000]


def test_what_an_engine_can_be_told_while_it_runs() -> None:
    for name in ("timeout", "client-output-buffer-limit", "maxmemory", "maxclients"):
        assert is_immediate(*V91, name)
    for name in ("databases", "cluster-databases", "io-threads", "no-such-thing"):
        assert not is_immediate(*V91, name)
    assert not any(is_immediate(*MEMCACHED, name) for name in [*settings(MEMCACHED), "maxmemory"])


@pytest.mark.parametrize(
    ("version", "cluster_enabled", "name"),
    [
        (V91, True, "default.valkey9.cluster.on"),
        ((EngineName.VALKEY, "8.0"), False, "default.valkey8"),
        ((EngineName.REDIS, "7.0"), False, "default.redis7"),
        (MEMCACHED, False, "default.memcached1.6"),
    ],
)
def test_names_of_default_groups(
    version: tuple[EngineName, str], cluster_enabled: bool, name: str
) -> None:
    assert default_group_name(*version, cluster_enabled) == name
    group = parse_default_group(name)
    assert group is not None
    assert group.name == name
    assert group.cluster_enabled is cluster_enabled
    assert group.family == family_of(*version)


def test_every_default_group() -> None:
    assert [group.name for group in default_groups()] == [
        "default.memcached1.6",
        "default.redis7",
        "default.redis7.cluster.on",
        "default.valkey8",
        "default.valkey8.cluster.on",
        "default.valkey9",
        "default.valkey9.cluster.on",
    ]


def test_descriptions_of_default_groups() -> None:
    """As DescribeCacheParameterGroups shows them."""
    assert DefaultGroup(family="redis7", cluster_enabled=False).description == (
        "Default parameter group for redis7"
    )
    assert DefaultGroup(family="redis7", cluster_enabled=True).description == (
        "Customized default parameter group for redis7 with cluster mode on"
    )


@pytest.mark.parametrize(
    "name",
    ["", "default", "default.", "default.redis5.0", "default.valkey9.cluster.off", "valkey9",
     "Default.valkey9", "default.valkey9.cluster.on.", "default.valkey9\n", "custom",
     "default.memcached1.6.cluster.on"],
)  # fmt: skip
def test_other_names_are_not_default_groups(name: str) -> None:
    assert parse_default_group(name) is None


def test_an_unknown_version_has_no_parameters() -> None:
    with pytest.raises(KeyError):
        default_group_name(EngineName.VALKEY, "7.2", cluster_enabled=False)
    with pytest.raises(KeyError):
        parameters_of(EngineName.REDIS, "9.1")


def test_every_node_type_has_memory_by_default() -> None:
    for version in (V91, MEMCACHED):
        assert all(memory_of(*version, kind, {}) > 2**20 for kind in NODE_TYPES)
