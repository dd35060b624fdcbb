"""The table of parameters and what is made of it."""

from __future__ import annotations

import pytest

from cachewright.model.engines import ENGINE_LINES, EngineLine, EngineName
from cachewright.model.node_types import node_type_of
from cachewright.model.parameters import (
    BY_NODE_TYPE,
    ENGINE_SETTINGS,
    PARAMETERS,
    DefaultGroup,
    Reach,
    default_group_name,
    default_settings,
    parameters_of,
    parse_default_group,
)

MICRO = node_type_of("cache.t4g.micro")
LINES = [line for line in ENGINE_LINES if line.engine is not EngineName.MEMCACHED]


def settings_of(engine: EngineName, version: str, *, cluster_enabled: bool) -> dict[str, str]:
    assert MICRO is not None
    return dict(default_settings(engine, version, MICRO, cluster_enabled))


def test_the_table_is_in_order_and_names_nothing_twice() -> None:
    names = [row.name for row in PARAMETERS]
    assert names == sorted(set(names))


def test_only_launch_and_buffers_depend_on_the_node_type() -> None:
    dependent = {row.name for row in PARAMETERS if BY_NODE_TYPE in row[1:4]}
    assert dependent == {
        "maxclients",
        "maxmemory",
        "client-output-buffer-limit-replica-hard-limit",
        "client-output-buffer-limit-replica-soft-limit",
    }


@pytest.mark.parametrize("line", LINES, ids=lambda line: f"{line.engine.value}-{line.api_version}")
@pytest.mark.parametrize("cluster_enabled", [False, True])
def test_settings_are_closed_under_what_a_launch_may_carry(
    line: EngineLine, cluster_enabled: bool
) -> None:
    settings = settings_of(line.engine, line.api_version, cluster_enabled=cluster_enabled)
    assert set(settings) <= ENGINE_SETTINGS
    assert BY_NODE_TYPE not in " ".join(settings.values())
    assert settings["maxmemory-policy"] == "volatile-lru"
    # A tenth of the 512 MiB of this node type.
    assert settings["client-output-buffer-limit"] == (
        "normal 0 0 0 replica 53687091 53687091 60 pubsub 33554432 8388608 60"
    )
    assert ("cluster-require-full-coverage" in settings) is cluster_enabled
    assert ("databases" in settings) is not cluster_enabled


def test_what_only_elasticache_has_does_not_reach_the_engine() -> None:
    settings = settings_of(EngineName.VALKEY, "9.1", cluster_enabled=True)
    own = {row.name for row in PARAMETERS if row.reach is Reach.SERVICE}
    assert {"close-on-replica-write", "reserved-memory-percent", "rename-commands"} <= own
    assert not own & set(settings)


def test_families_differ() -> None:
    redis = settings_of(EngineName.REDIS, "7.0", cluster_enabled=False)
    older = settings_of(EngineName.VALKEY, "8.0", cluster_enabled=False)
    newer = settings_of(EngineName.VALKEY, "8.1", cluster_enabled=False)
    assert (redis["repl-backlog-size"], older["repl-backlog-size"]) == ("1048576", "10485760")
    assert "lazyfree-lazy-eviction" in redis
    assert "lazyfree-lazy-eviction" not in older
    assert "commandlog-large-reply-max-len" not in older
    assert "commandlog-large-reply-max-len" in newer
    assert parameters_of(EngineName.VALKEY, "9.1").get("cluster-databases") == "0"
    assert "cluster-databases" not in parameters_of(EngineName.VALKEY, "8.1")


@pytest.mark.parametrize(
    ("engine", "version", "cluster_enabled", "name"),
    [
        (EngineName.VALKEY, "9.1", True, "default.valkey9.cluster.on"),
        (EngineName.VALKEY, "8.0", False, "default.valkey8"),
        (EngineName.REDIS, "7.0", False, "default.redis7"),
    ],
)
def test_names_of_default_groups(
    engine: EngineName, version: str, cluster_enabled: bool, name: str
) -> None:
    assert default_group_name(engine, version, cluster_enabled) == name
    group = parse_default_group(name)
    assert group is not None
    assert group.name == name
    assert group.cluster_enabled is cluster_enabled


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
     "Default.valkey9", "default.valkey9.cluster.on.", "default.valkey9\n", "custom"],
)  # fmt: skip
def test_other_names_are_not_default_groups(name: str) -> None:
    assert parse_default_group(name) is None


def test_an_unknown_version_has_no_parameters() -> None:
    with pytest.raises(KeyError):
        default_group_name(EngineName.VALKEY, "7.2", cluster_enabled=False)
    with pytest.raises(KeyError):
        parameters_of(EngineName.REDIS, "9.1")
