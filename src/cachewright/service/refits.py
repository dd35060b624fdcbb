"""May nodes get another type, engine or version? For groups and for clusters of their own.

A version never goes down, Redis becomes Valkey and nothing else becomes anything else; a type goes
where `ListAllowedNodeTypeModifications` says: nodes of Memcached may become too small for what they
hold, for they are a cache. What waits for the window already counts where nothing else is asked.
How the change comes about is the planner's business.
"""

from __future__ import annotations

import dataclasses
from typing import Protocol

from cachewright.model import engines, node_types
from cachewright.model.engines import EngineLine, EngineName
from cachewright.model.errors import Bug, ClientFault, invalid_combination, invalid_value
from cachewright.model.groups import GroupKind, GroupSpec, PendingChanges
from cachewright.model.node_types import NODE_TYPES, NodeType
from cachewright.service import associations, engine_versions, memory, rules
from cachewright.service.context import Service


class Refit(Protocol):
    """What requests to modify groups and cache clusters have in common; `None` stays as it is."""

    @property
    def cache_node_type(self) -> str | None:
        """The type of all nodes."""

    @property
    def engine(self) -> str | None:
        """Only with a version."""

    @property
    def engine_version(self) -> str | None:
        """As the API says it."""

    @property
    def cache_parameter_group_name(self) -> str | None:
        """Of the family of the version."""

    @property
    def apply_immediately(self) -> bool | None:
        """Now, or in the maintenance window."""


def asked(service: Service, spec: GroupSpec, wanted: Refit) -> PendingChanges:
    """Return what shall become of type, engine, version and parameter group, with what waits.

    Nothing else of the result is set.
    """
    waiting = spec.pending or PendingChanges()
    line = _line(service, spec, wanted)
    node_type = _node_type(service, spec, wanted)
    if wanted.apply_immediately:
        _refuse_blocked(spec, wanted, waiting, node_type)
    is_same = (line.engine, line.api_version) == (spec.engine, spec.engine_version)
    is_memcached = spec.kind is GroupKind.MEMCACHED
    name = wanted.cache_parameter_group_name
    changes = PendingChanges(
        engine=None if is_same or is_memcached else line.engine,
        engine_version=None if is_same else line.api_version,
        node_type=node_type,
        parameter_group=associations.asked(
            service, spec, name, line, node_type=node_type or spec.node_type
        ),
    )
    if wanted.cache_node_type and node_type:
        refuse_too_small(service, dataclasses.replace(spec, pending=changes), node_type)
    return changes


def applied(spec: GroupSpec, changes: PendingChanges) -> GroupSpec:
    """Return `spec` with another type, engine, version and parameter group, where these wait."""
    return dataclasses.replace(
        spec,
        parameter_group=changes.parameter_group or spec.parameter_group,
        engine=changes.engine or spec.engine,
        engine_version=changes.engine_version or spec.engine_version,
        node_type=changes.node_type or spec.node_type,
    )


# The engine


def _line(service: Service, spec: GroupSpec, wanted: Refit) -> EngineLine:
    """Return the engine line of the nodes after everything that waits and is asked for."""
    there = engines.line_of(spec.engine, spec.engine_version)
    engine, version = (wanted.engine or "").lower() or spec.engine.value, wanted.engine_version
    if not version and engine == spec.engine.value:
        waiting = _waiting_line(spec) or there
        if waiting is not None:
            return waiting
    if engine != spec.engine.value:
        _refuse_other_engine(spec, engine)
        if not version:
            raise invalid_combination(
                f"To modify {spec.engine.value} to {engine}, EngineVersion must be provided."
            )
    version = version or spec.engine_version
    if there is not None and (engine, version) == (spec.engine.value, spec.engine_version):
        return there
    _refuse_downgrade(spec, engine, version)
    if spec.kind is GroupKind.MEMCACHED:
        return engine_versions.choose_build(service, engine, version)
    return engine_versions.choose(service, engine, version)


def _waiting_line(spec: GroupSpec) -> EngineLine | None:
    """Return the line that waits for the window; it was there when it was asked for."""
    waiting = spec.pending
    if waiting is None or waiting.engine_version is None:
        return None
    return engines.line_of(waiting.engine or spec.engine, waiting.engine_version)


def _refuse_other_engine(spec: GroupSpec, engine: str) -> None:
    if (spec.engine, engine) != (EngineName.REDIS, EngineName.VALKEY.value):
        raise invalid_combination(
            f"Cannot modify {spec.engine.value} to {rules.shown(engine)}: the engine can only "
            "change from redis to valkey."
        )
    if spec.kind is not GroupKind.REPLICATION_GROUP:
        raise invalid_combination(
            f"Cannot modify {spec.engine.value} to {engine}: cache cluster {spec.name} is a single "
            "node, and only replication groups can change their engine."
        )


def _refuse_downgrade(spec: GroupSpec, engine: str, version: str) -> None:
    if engine != spec.engine.value or engines.line_of(spec.engine, version) is None:
        return  # what is not there is refused with the list of what is
    if engines.version_key(version) < engines.version_key(spec.engine_version):
        raise invalid_combination(f"Cannot modify {engine} from {spec.engine_version} to {version}")


def _refuse_blocked(
    spec: GroupSpec, wanted: Refit, waiting: PendingChanges, node_type: str | None
) -> None:
    """Refuse a type and an engine at once of which only one was asked for now."""
    blocks = waiting.engine_version and not wanted.engine_version
    if wanted.cache_node_type and node_type and blocks and not _is_smaller(spec, node_type):
        raise _blocked("CacheNodeType", "an engine upgrade", "EngineVersion")
    if wanted.engine_version and waiting.node_type and not wanted.cache_node_type:
        raise _blocked("EngineVersion", "a change of the node type", "CacheNodeType")


def _blocked(member: str, waiting: str, other: str) -> ClientFault:
    return invalid_combination(
        f"{member} cannot be changed immediately while {waiting} waits for the maintenance window. "
        f"Request both at once with {other}, wait, or leave out ApplyImmediately."
    )


# The node type


def types_up(spec: GroupSpec) -> tuple[str, ...]:
    """Return the other types whose nodes have as much memory as these or more."""
    offered = (row.name for row in _offered(_row(spec.node_type)))
    return tuple(name for name in offered if not _is_smaller(spec, name))


def types_down(service: Service, spec: GroupSpec) -> tuple[str, ...]:
    """Return the types with less memory that do all the same.

    They hold the data, as it was seen last; of Memcached, they suit the parameter group.
    """
    offered = (row.name for row in _offered(_row(spec.node_type)))
    smaller = (name for name in offered if _is_smaller(spec, name))
    if spec.kind is GroupKind.MEMCACHED:
        return tuple(name for name in smaller if associations.suits(service, spec, name))
    return tuple(name for name in smaller if holds(service, spec, name))


async def look(service: Service, spec: GroupSpec, wanted: str | None = None) -> None:
    """Let the engines say what they hold now if a type with less memory is asked for or waits.

    What they said last may be some seconds old; with too little memory they evict keys.
    """
    names = (wanted, spec.pending.node_type if spec.pending else None)
    known = (name for name in names if name and node_types.node_type_of(name) is not None)
    if spec.kind is not GroupKind.MEMCACHED and any(_is_smaller(spec, name) for name in known):
        await service.look(spec.uid)


def holds(service: Service, spec: GroupSpec, node_type: str) -> bool:
    """Tell whether nodes of a type hold what the nodes of each shard do; unknown is no.

    A parameter group that waits comes true with the type, and may reserve more or less.
    """
    held = [memory.held_bytes(service, spec, shard.nodes) for shard in spec.shards]
    after = applied(spec, spec.pending) if spec.pending is not None else spec
    room = memory.room_bytes(service, after, node_type)
    return all(amount is not None and amount <= room for amount in held)


def is_too_small(service: Service, spec: GroupSpec, node_type: str) -> bool:
    """Tell whether a type has less memory than the one of `spec`, and not enough for the data."""
    if spec.kind is GroupKind.MEMCACHED:
        return False
    return _is_smaller(spec, node_type) and not holds(service, spec, node_type)


def refuse_too_small(service: Service, spec: GroupSpec, node_type: str) -> None:
    """Raise if the data would not fit in nodes of a type."""
    if is_too_small(service, spec, node_type):
        raise invalid_value(f"{too_small_text(spec, node_type)}.")


def too_small_text(spec: GroupSpec, node_type: str) -> str:
    """Say that nodes of a type would not hold the data, in ElastiCache's words."""
    is_group = spec.kind is GroupKind.REPLICATION_GROUP
    noun = "Replication Group" if is_group else "Cache Cluster"
    return (
        f"Failed to scale down to cache node type {node_type} {noun} [{spec.name}] because the "
        "node has insufficient memory. Please select a different node type or reduce current "
        "memory usage and retry"
    )


def _node_type(service: Service, spec: GroupSpec, wanted: Refit) -> str | None:
    """Return the type that shall replace the one there is, `None` where it stays."""
    waiting = spec.pending.node_type if spec.pending else None
    name = wanted.cache_node_type or waiting
    if not name or name == spec.node_type:
        return None
    if node_types.node_type_of(name) is None:
        raise invalid_value(
            f"Invalid value '{rules.shown(name)}' for CacheNodeType. Valid values are those of "
            "ListAllowedNodeTypeModifications"
        )
    if name not in {row.name for row in _offered(_row(spec.node_type))}:
        raise invalid_value(
            f"Invalid value '{name}' for CacheNodeType: {spec.node_type} cannot be changed to a "
            "previous generation. ListAllowedNodeTypeModifications names what it can"
        )
    return name


def _offered(now: NodeType) -> tuple[NodeType, ...]:
    """Return the types that nodes may change to; to previous generations only from such."""
    return tuple(
        row for row in NODE_TYPES if row is not now and (row.is_current or not now.is_current)
    )


def _is_smaller(spec: GroupSpec, node_type: str) -> bool:
    before, after = _row(spec.node_type), _row(node_type)
    if spec.kind is GroupKind.MEMCACHED:
        return after.memcached_memory_mb < before.memcached_memory_mb
    return after.memory_bytes < before.memory_bytes


def _row(name: str) -> NodeType:
    row = node_types.node_type_of(name)
    if row is None:
        raise Bug(f"no node type {name}")
    return row
