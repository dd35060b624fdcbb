"""What do a group's values make of a node? Settings, memory, connections, and how a change arrives.

Pure functions from the catalogue and the values that a caller set (`overrides`) to what a launch
says. Many defaults are ElastiCache's and not the engine's, so every parameter that is a setting is
handed over, set or not. A value that is not in the catalogue of the version has no effect.
"""

from __future__ import annotations

from collections.abc import Mapping

from cachewright.model import node_types
from cachewright.model.engines import EngineName
from cachewright.model.node_types import NodeType
from cachewright.model.parameters.families import PARAMETERS, parameters_of
from cachewright.model.parameters.rows import BY_NODE_TYPE, MEMCACHED, ChangeType, Reach

_BUFFER_LIMIT = "client-output-buffer-limit"
#: ElastiCache gives replicas a tenth of the node's memory, before any is reserved.
_REPLICA_BUFFER_SHARE = 10
_CLUSTER_DATABASES = "cluster-databases"
_MIB = 1 << 20
_PERCENT = 100

#: Every setting that a launch of Redis or Valkey may carry, by the engines' names.
ENGINE_SETTINGS: frozenset[str] = frozenset(
    {
        row.name
        for row in PARAMETERS
        if row.reach not in (Reach.BUFFER_LIMIT, Reach.LAUNCH, Reach.SERVICE)
        and row.families != MEMCACHED
    }
    | {_BUFFER_LIMIT, "io-threads"}
)
#: Those of them that the engine has no setting for: the agent or its users see to them.
FOREIGN_SETTINGS: frozenset[str] = frozenset(
    row.name for row in PARAMETERS if row.reach in (Reach.AGENT, Reach.USERS)
)
CLOSE_ON_REPLICA_WRITE = "close-on-replica-write"
#: Parts of a launch beside its settings that an engine can be told while it runs.
_IMMEDIATE_PARTS = frozenset({_BUFFER_LIMIT, "maxmemory", "maxclients"})


def settings_of(
    engine: EngineName,
    api_version: str,
    node_type: NodeType,
    cluster_enabled: bool,
    overrides: Mapping[str, str],
) -> tuple[tuple[str, str], ...]:
    """Return what a launch sets beside memory and connections, sorted by name.

    For Redis and Valkey these are settings by the engines' names, for Memcached parameters by
    ElastiCache's. `KeyError` for an unknown version.
    """
    values = _values(engine, api_version, node_type, overrides)
    rows = parameters_of(engine, api_version)
    of_mode = {Reach.CLUSTER} if cluster_enabled else {Reach.STANDALONE, Reach.AGENT}
    reaching = {Reach.ENGINE, Reach.USERS, *of_mode}
    settings = {name: values[name] for name, row in rows.items() if row.reach in reaching}
    if engine is not EngineName.MEMCACHED:
        settings[_BUFFER_LIMIT] = _buffer_limit(values)
    if settings.get(_CLUSTER_DATABASES) == "0":  # nobody chose a number
        del settings[_CLUSTER_DATABASES]
    return tuple(sorted(settings.items()))


def memory_of(
    engine: EngineName, api_version: str, node_type: NodeType, overrides: Mapping[str, str]
) -> int:
    """Return the bytes that an engine may use for data: the node's memory less what is reserved.

    At least one byte (Memcached: one MiB), because engines take 0 for "no limit": a node with
    everything reserved refuses writes. `KeyError` for an unknown version.
    """
    values = _values(engine, api_version, node_type, overrides)
    if engine is EngineName.MEMCACHED:
        overhead_mb = int(values["memcached_connections_overhead"])
        return max(1, node_type.memcached_memory_mb - overhead_mb) * _MIB
    if reserved := int(values["reserved-memory"]):
        return max(1, node_type.memory_bytes - reserved)
    percent = int(values["reserved-memory-percent"])
    return max(1, node_type.memory_bytes * (_PERCENT - percent) // _PERCENT)


def maxclients_of(engine: EngineName, api_version: str, node_type: NodeType) -> int:
    """Return how many connections a node takes; no group can change it."""
    if engine is EngineName.MEMCACHED:
        return int(parameters_of(engine, api_version)["max_simultaneous_connections"].default)
    return node_types.maxclients(node_type)


def is_immediate(engine: EngineName, api_version: str, name: str) -> bool:
    """Tell whether the engine can be told `name`, as a launch calls it, while it runs.

    `KeyError` for an unknown version.
    """
    if engine is not EngineName.MEMCACHED and name in _IMMEDIATE_PARTS:
        return True
    row = parameters_of(engine, api_version).get(name)
    return row is not None and row.change_type is ChangeType.IMMEDIATE


def by_node_type(name: str, node_type: NodeType) -> str | None:
    """Return what the parameter `name` is for a node type; `None` where all have the same."""
    match name:
        case "maxmemory":
            return str(node_type.memory_bytes)
        case (
            "client-output-buffer-limit-replica-hard-limit"
            | "client-output-buffer-limit-replica-soft-limit"
        ):
            return str(node_type.memory_bytes // _REPLICA_BUFFER_SHARE)
        case "maxclients":
            return str(node_types.maxclients(node_type))
        case "max_cache_memory":
            return str(node_type.memcached_memory_mb)
        case "num_threads":
            return str(node_type.memcached_threads)
        case _:
            return None


def _values(
    engine: EngineName, api_version: str, node_type: NodeType, overrides: Mapping[str, str]
) -> dict[str, str]:
    """Return every parameter of a version with its value on a node of this type."""
    values: dict[str, str] = {}
    for name, row in parameters_of(engine, api_version).items():
        value = overrides.get(name, row.default)
        if value == BY_NODE_TYPE:
            value = by_node_type(name, node_type) or row.default
        values[name] = value
    return values


def _buffer_limit(values: Mapping[str, str]) -> str:
    words: list[str] = []
    for client in ("normal", "replica", "pubsub"):
        words.append(client)
        words += [
            values[f"{_BUFFER_LIMIT}-{client}-{part}"]
            for part in ("hard-limit", "soft-limit", "soft-seconds")
        ]
    return " ".join(words)
