"""Which parameters does each family have, with which defaults, and what does the engine get?

A table and pure functions. The API's names and defaults are ElastiCache's (user guide, "Engine
specific parameters"); what reaches the engine are settings by the engine's own names. Many defaults
are ElastiCache's and not the engine's, so every default that has a setting is handed over.
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass
from typing import NamedTuple

from cachewright.model.engines import ENGINE_LINES, EngineName, line_of, version_key
from cachewright.model.node_types import NodeType
from cachewright.model.parameters.groups import ParameterGroup

__all__ = [
    "BY_NODE_TYPE",
    "ENGINE_SETTINGS",
    "PARAMETERS",
    "RESERVED_MEMORY_PERCENT",
    "DefaultGroup",
    "Parameter",
    "ParameterGroup",
    "Reach",
    "default_group_name",
    "default_settings",
    "parameters_of",
    "parse_default_group",
]

#: Default of `reserved-memory-percent`: the share of a node's memory that is not for data.
RESERVED_MEMORY_PERCENT = 25
#: In the table: the value depends on the node type.
BY_NODE_TYPE = "(by node type)"


class Reach(enum.Enum):
    """Where a parameter takes effect."""

    #: A setting of the engine by the same name.
    ENGINE = "engine"
    #: The same, meaningful in cluster mode only.
    CLUSTER = "cluster"
    #: The same, meaningful without cluster mode only.
    STANDALONE = "standalone"
    #: A part of the engine's one setting `client-output-buffer-limit`.
    BUFFER_LIMIT = "buffer-limit"
    #: Settled when a node is launched, by the spec of its group.
    LAUNCH = "launch"
    #: ElastiCache's own, or without effect here: the engine never sees it.
    SERVICE = "service"


class Parameter(NamedTuple):
    """One row: the default in each family, `None` where the family lacks the parameter."""

    name: str
    redis7: str | None
    valkey8: str | None
    valkey9: str | None
    reach: Reach = Reach.ENGINE
    #: First engine version of its families that has it.
    since: str = "7.0"


def _same(name: str, default: str, reach: Reach = Reach.ENGINE) -> Parameter:
    """Return a row whose default is the same in every family."""
    return Parameter(name, default, default, default, reach)


# fmt: off
PARAMETERS: tuple[Parameter, ...] = (
    _same("acl-pubsub-default", "allchannels"),
    _same("acllog-max-len", "128"),
    _same("active-defrag-cycle-max", "75"),
    _same("active-defrag-cycle-min", "25"),
    _same("active-defrag-ignore-bytes", "104857600"),
    _same("active-defrag-max-scan-fields", "1000"),
    _same("active-defrag-threshold-lower", "10"),
    _same("active-defrag-threshold-upper", "100"),
    _same("active-expire-effort", "1"),
    _same("activedefrag", "no"),
    _same("appendfsync", "everysec", Reach.SERVICE),
    _same("appendonly", "no", Reach.SERVICE),
    _same("client-output-buffer-limit-normal-hard-limit", "0", Reach.BUFFER_LIMIT),
    _same("client-output-buffer-limit-normal-soft-limit", "0", Reach.BUFFER_LIMIT),
    _same("client-output-buffer-limit-normal-soft-seconds", "0", Reach.BUFFER_LIMIT),
    _same("client-output-buffer-limit-pubsub-hard-limit", "33554432", Reach.BUFFER_LIMIT),
    _same("client-output-buffer-limit-pubsub-soft-limit", "8388608", Reach.BUFFER_LIMIT),
    _same("client-output-buffer-limit-pubsub-soft-seconds", "60", Reach.BUFFER_LIMIT),
    _same("client-output-buffer-limit-replica-hard-limit", BY_NODE_TYPE, Reach.BUFFER_LIMIT),
    _same("client-output-buffer-limit-replica-soft-limit", BY_NODE_TYPE, Reach.BUFFER_LIMIT),
    _same("client-output-buffer-limit-replica-soft-seconds", "60", Reach.BUFFER_LIMIT),
    _same("client-query-buffer-limit", "1073741824"),
    _same("close-on-replica-write", "yes", Reach.SERVICE),
    _same("cluster-allow-pubsubshard-when-down", "yes", Reach.CLUSTER),
    _same("cluster-allow-reads-when-down", "no", Reach.CLUSTER),
    # 0 says that nobody chose a number; the engine's own default of 1 holds.
    Parameter("cluster-databases", None, None, "0", Reach.SERVICE),
    _same("cluster-enabled", "no", Reach.LAUNCH),
    # tls-dynamic is ElastiCache's word; without TLS it means ip, which is the engine's default.
    _same("cluster-preferred-endpoint-type", "tls-dynamic", Reach.SERVICE),
    _same("cluster-require-full-coverage", "no", Reach.CLUSTER),
    Parameter("commandlog-large-reply-max-len", None, "128", "128", since="8.1"),
    Parameter("commandlog-large-request-max-len", None, "128", "128", since="8.1"),
    Parameter("commandlog-reply-larger-than", None, "1048576", "1048576", since="8.1"),
    Parameter("commandlog-request-larger-than", None, "1048576", "1048576", since="8.1"),
    _same("databases", "16", Reach.STANDALONE),
    Parameter("extended-redis-compatibility", None, "yes", "yes"),
    _same("hash-max-listpack-entries", "512"),
    _same("hash-max-listpack-value", "64"),
    _same("hll-sparse-max-bytes", "3000"),
    _same("latency-tracking", "no"),
    Parameter("lazyfree-lazy-eviction", "no", None, None),
    Parameter("lazyfree-lazy-expire", "no", None, None),
    Parameter("lazyfree-lazy-server-del", "no", None, None),
    Parameter("lazyfree-lazy-user-del", "no", None, None),
    _same("lfu-decay-time", "1"),
    _same("lfu-log-factor", "10"),
    _same("list-compress-depth", "0"),
    _same("list-max-listpack-size", "-2"),
    _same("lua-time-limit", "5000"),
    _same("maxclients", BY_NODE_TYPE, Reach.LAUNCH),
    _same("maxmemory", BY_NODE_TYPE, Reach.LAUNCH),
    _same("maxmemory-policy", "volatile-lru"),
    _same("maxmemory-samples", "3"),
    _same("min-replicas-max-lag", "10"),
    _same("min-replicas-to-write", "0"),
    _same("notify-keyspace-events", ""),
    _same("proto-max-bulk-len", "536870912"),
    _same("rename-commands", "", Reach.SERVICE),
    Parameter("repl-backlog-size", "1048576", "10485760", "10485760"),
    _same("repl-backlog-ttl", "3600"),
    _same("replica-allow-chaining", "no", Reach.SERVICE),
    _same("replica-ignore-maxmemory", "yes"),
    Parameter("replica-lazy-flush", "yes", None, None),
    _same("reserved-memory-percent", "25", Reach.SERVICE),
    _same("set-max-intset-entries", "512"),
    _same("slowlog-log-slower-than", "10000"),
    _same("slowlog-max-len", "128"),
    _same("stream-node-max-bytes", "4096"),
    _same("stream-node-max-entries", "100"),
    _same("tcp-keepalive", "300"),
    _same("timeout", "0"),
    _same("tracking-table-max-keys", "1000000"),
    _same("zset-max-listpack-entries", "128"),
    _same("zset-max-listpack-value", "64"),
)
# fmt: on

_BUFFER_LIMIT = "client-output-buffer-limit"
#: ElastiCache gives replicas a tenth of the node's memory, before any is reserved.
_REPLICA_BUFFER_SHARE = 10
#: Every setting that a launch may carry, by the engine's names.
ENGINE_SETTINGS: frozenset[str] = frozenset(
    {p.name for p in PARAMETERS if p.reach in (Reach.ENGINE, Reach.CLUSTER, Reach.STANDALONE)}
    | {_BUFFER_LIMIT, "io-threads"}
)
_DEFAULT_GROUP = re.compile(r"default\.(?P<family>[a-z0-9]+)(?P<cluster>\.cluster\.on)?")
_CLUSTER_SUFFIX = ".cluster.on"


@dataclass(frozen=True, kw_only=True, slots=True)
class DefaultGroup:
    """A default parameter group, taken apart."""

    family: str
    cluster_enabled: bool

    @property
    def name(self) -> str:
        """The name by which callers know it."""
        return f"default.{self.family}{_CLUSTER_SUFFIX if self.cluster_enabled else ''}"

    @property
    def description(self) -> str:
        """What ElastiCache says of it."""
        if self.cluster_enabled:
            return f"Customized default parameter group for {self.family} with cluster mode on"
        return f"Default parameter group for {self.family}"


def default_group_name(engine: EngineName, api_version: str, cluster_enabled: bool) -> str:
    """Return the name of the default group of a version; `KeyError` for an unknown version."""
    return DefaultGroup(
        family=_family_of(engine, api_version), cluster_enabled=cluster_enabled
    ).name


def parse_default_group(name: str) -> DefaultGroup | None:
    """Return what a default group's name says; `None` for any other name."""
    match = _DEFAULT_GROUP.fullmatch(name)
    if match is None or not any(line.family == match["family"] for line in ENGINE_LINES):
        return None
    return DefaultGroup(family=match["family"], cluster_enabled=match["cluster"] is not None)


def parameters_of(engine: EngineName, api_version: str) -> dict[str, str]:
    """Return names and defaults that a version has; `KeyError` for an unknown version."""
    family = _family_of(engine, api_version)
    return {row.name: value for row, value in _rows(family, api_version)}


def default_settings(
    engine: EngineName, api_version: str, node_type: NodeType, cluster_enabled: bool
) -> tuple[tuple[str, str], ...]:
    """Return the family's defaults as settings of the engine, in alphabetical order.

    `maxmemory` and `maxclients` are not among them: a launch has fields for these. `KeyError`
    for an unknown version.
    """
    reaching = {Reach.ENGINE, Reach.CLUSTER if cluster_enabled else Reach.STANDALONE}
    rows = tuple(_rows(_family_of(engine, api_version), api_version))
    settings = {row.name: value for row, value in rows if row.reach in reaching}
    limits = {row.name: value for row, value in rows if row.reach is Reach.BUFFER_LIMIT}
    settings[_BUFFER_LIMIT] = _buffer_limit(limits, node_type)
    return tuple(sorted(settings.items()))


def _buffer_limit(limits: dict[str, str], node_type: NodeType) -> str:
    of_node = str(node_type.memory_bytes // _REPLICA_BUFFER_SHARE)
    words: list[str] = []
    for client in ("normal", "replica", "pubsub"):
        words.append(client)
        for part in ("hard-limit", "soft-limit", "soft-seconds"):
            value = limits[f"{_BUFFER_LIMIT}-{client}-{part}"]
            words.append(of_node if value == BY_NODE_TYPE else value)
    return " ".join(words)


def _family_of(engine: EngineName, api_version: str) -> str:
    line = line_of(engine, api_version)
    if line is None:
        raise KeyError(f"{engine.value} {api_version}")
    return line.family


def _rows(family: str, api_version: str) -> list[tuple[Parameter, str]]:
    """Return the rows that a family has in a version, each with its default."""
    asked = version_key(api_version)
    rows: list[tuple[Parameter, str]] = []
    for row in PARAMETERS:
        value = {"redis7": row.redis7, "valkey8": row.valkey8, "valkey9": row.valkey9}[family]
        if value is not None and version_key(row.since) <= asked:
            rows.append((row, value))
    return rows
