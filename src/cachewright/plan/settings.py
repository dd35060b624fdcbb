"""Which settings shall a node run with, and how far has it got?

The values of the group's parameter group over the defaults of its family. What the engine can be
told at run time is told at once; the rest waits for a planned restart. A value that an engine of
the group refused is not tried again before somebody sets another one: until then the node keeps
what it runs with, and a node that starts gets the default. An engine that does not start is tried
with all defaults: if it was a value, telling it at run time finds out which.

What a node type decides is told at run time too: a node that grows or shrinks goes on serving. An
engine of another version than its group is to run is told nothing that versions may see
differently; it gets the rest when it is replaced.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from dataclasses import dataclass

from cachewright.model import node_types, parameters
from cachewright.model.commands import ApplySettings, Step, node_key
from cachewright.model.engines import EngineName
from cachewright.model.errors import Bug
from cachewright.model.facts import LaunchFact, NodeFact, Observed, RefusedSetting
from cachewright.model.groups import Group
from cachewright.model.node_types import NodeType

#: The engines' names for what `maxmemory_bytes` and `maxclients` set.
MEMORY = "maxmemory"
CLIENTS = "maxclients"
#: What a node type decides, beside what a group of parameters may add.
OF_NODE_TYPE = frozenset({MEMORY, CLIENTS, "client-output-buffer-limit"})

#: A start fails once by bad luck; what fails twice may be a value that the engine does not take.
#: One less than the starts after which a create is given up (`Limits.failed_starts`).
STARTS_UNTIL_DEFAULTS = 2

#: What is wanted is worked out anew only for another mixture of version, node type and values:
#: rarely more than a handful, while every look at every group asks.
_KEPT = 256

Settings = tuple[tuple[str, str], ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """What every node of a group shall run with."""

    settings: Settings
    maxmemory_bytes: int
    maxclients: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """What is wanted of every node of a group, found out once for a look at all of them."""

    whole: Wanted
    #: What would be wanted if nobody had set anything.
    default: Wanted
    #: What an engine of the group did not take and is still wanted, each once.
    refused: tuple[RefusedSetting, ...]
    engine: EngineName
    engine_version: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Drift:
    """How a running node differs from what is wanted."""

    #: Name and value of what the engine is to be told now.
    applying: Settings = ()
    #: Names of what waits for a restart.
    awaiting_reboot: tuple[str, ...] = ()
    refused: tuple[RefusedSetting, ...] = ()


IN_SYNC = Drift()


def node_type_of(group: Group) -> NodeType:
    """Return the node type of a group."""
    found = node_types.node_type_of(group.spec.node_type)
    if found is None:
        raise Bug(f"group {group.spec.uid} has the unknown node type {group.spec.node_type}")
    return found


def ask(group: Group, observed: Observed) -> Asked:
    """Return what the nodes of a group shall run with, and what its engines refused of it."""
    spec = group.spec
    whole = _wanted(group, group.parameters)
    still = set(_as_told(whole.settings, whole.maxmemory_bytes, whole.maxclients).items())
    refused: dict[tuple[str, str], RefusedSetting] = {}
    for node_id in sorted(observed.nodes):
        launched = observed.of(node_id).launched
        if launched is None or not _is_of_line(launched, spec.engine, spec.engine_version):
            continue
        for one in launched.refused:
            if (one.name, one.value) in still:
                refused.setdefault((one.name, one.value), one)
    return Asked(
        whole=whole,
        default=_wanted(group, {}) if group.parameters else whole,
        refused=tuple(refused.values()),
        engine=spec.engine,
        engine_version=spec.engine_version,
    )


def of_line(group: Group, engine: EngineName, version: str) -> Wanted:
    """Return what a node of a group would run with if it ran another engine or version."""
    values = tuple(sorted(group.parameters.items()))
    return _wanted_of(engine, version, node_type_of(group), group.spec.cluster_enabled, values)


def _is_of_line(launched: LaunchFact, engine: EngineName, version: str) -> bool:
    return (launched.engine, launched.engine_version) == (engine, version)


def _as_told(settings: Settings, memory_bytes: int, clients: int) -> dict[str, str]:
    """Return by name what an engine is told while it runs."""
    return {**dict(settings), MEMORY: str(memory_bytes), CLIENTS: str(clients)}


def for_start(asked: Asked, fact: NodeFact) -> Wanted:
    """Return what a node starts with: what is wanted, but for what an engine refused."""
    if fact.failed_starts >= STARTS_UNTIL_DEFAULTS:
        return asked.default
    if not asked.refused:
        return asked.whole
    refused = {(r.name, r.value) for r in asked.refused}
    defaults = dict(asked.default.settings)
    settings = {n: defaults.get(n, v) if (n, v) in refused else v for n, v in asked.whole.settings}
    is_memory_refused = (MEMORY, str(asked.whole.maxmemory_bytes)) in refused
    memory_of = asked.default if is_memory_refused else asked.whole
    return dataclasses.replace(
        asked.whole,
        settings=tuple(sorted(settings.items())),
        maxmemory_bytes=memory_of.maxmemory_bytes,
    )


def drift(asked: Asked, fact: NodeFact) -> Drift:
    """Return how a node differs from what is wanted; a node that never started does not."""
    launched = fact.launched
    if launched is None or _runs_with(launched, asked.whole):
        return IN_SYNC
    whole = asked.whole
    told = _as_told(whole.settings, whole.maxmemory_bytes, whole.maxclients)
    if not _is_of_line(launched, asked.engine, asked.engine_version):
        told = {name: told[name] for name in (MEMORY, CLIENTS)}
    runs = _as_told(launched.settings, launched.maxmemory_bytes, launched.maxclients)
    known = {(r.name, r.value) for r in asked.refused}
    # A setting that nobody asks for any more keeps its value until the next start.
    differs = {n: v for n, v in told.items() if runs.get(n) != v and (n, v) not in known}
    version = launched.engine_version
    now = {n for n in differs if parameters.is_immediate(launched.engine, version, n)}
    return Drift(
        applying=tuple(sorted((n, v) for n, v in differs.items() if n in now)),
        awaiting_reboot=tuple(sorted(set(differs) - now)),
        refused=tuple(r for r in asked.refused if runs.get(r.name) != r.value),
    )


def _runs_with(launched: LaunchFact, whole: Wanted) -> bool:
    parts = (launched.maxmemory_bytes, launched.maxclients, launched.settings)
    return parts == (whole.maxmemory_bytes, whole.maxclients, whole.settings)


def apply_step(group: Group, node_id: str, fact: NodeFact, current: Drift) -> Step | None:
    """Return the step that tells a running engine what it can be told now."""
    launched = fact.launched
    if launched is None or not current.applying:
        return None
    told = dict(current.applying)
    memory_bytes = int(told.pop(MEMORY, launched.maxmemory_bytes))
    clients = int(told.pop(CLIENTS, launched.maxclients))
    settings = dict(launched.settings) | told
    names = ", ".join(name for name, _ in current.applying)
    return Step(
        command=ApplySettings(
            key=node_key(group.spec.uid, node_id),
            settings=tuple(sorted(settings.items())),
            maxmemory_bytes=memory_bytes,
            maxclients=clients,
        ),
        reason=f"its parameter group or node type sets {names}",
        node_id=node_id,
    )


def _wanted(group: Group, overrides: Mapping[str, str]) -> Wanted:
    spec, values = group.spec, tuple(sorted(overrides.items()))
    of_type = node_type_of(group)
    return _wanted_of(spec.engine, spec.engine_version, of_type, spec.cluster_enabled, values)


@functools.lru_cache(maxsize=_KEPT)
def _wanted_of(
    engine: EngineName,
    version: str,
    node_type: NodeType,
    cluster_enabled: bool,
    values: Settings,
) -> Wanted:
    overrides = dict(values)
    return Wanted(
        settings=parameters.settings_of(engine, version, node_type, cluster_enabled, overrides),
        maxmemory_bytes=parameters.memory_of(engine, version, node_type, overrides),
        maxclients=parameters.maxclients_of(engine, version, node_type),
    )
