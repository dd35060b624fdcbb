"""How do the nodes of a Memcached cluster get another type, and which of them have it?

A node type is memory and threads. Where a node holds its items in a file in memory, both are fixed
while its process lives: it is restarted as planned, one node after the other, and its host says
what that keeps of the items. Elsewhere more memory alone is told to the process that runs.

May not say whether a type may be had; `service.refits` does.
"""

from __future__ import annotations

import dataclasses

from cachewright.model import node_types
from cachewright.model.commands import ApplySettings, Step
from cachewright.model.facts import NodeFact, Observed
from cachewright.model.groups import Group, NodeSpec
from cachewright.model.status import GroupStatus
from cachewright.plan import settings
from cachewright.plan.shard import engine_of

_THREADS = "num_threads"
#: What a node type decides of a launch.
_OF_NODE_TYPE = frozenset({settings.MEMORY, _THREADS})


def is_due(group: Group, fact: NodeFact) -> bool:
    """Tell whether a node was last started as a type with other memory or threads."""
    launched = fact.launched
    before = None if launched is None else node_types.node_type_of(launched.node_type)
    if before is None:
        return False
    now = settings.node_type_of(group)
    return (before.memcached_memory_mb, before.memcached_threads) != (
        now.memcached_memory_mb,
        now.memcached_threads,
    )


def drift(group: Group, asked: settings.Asked, fact: NodeFact) -> settings.Drift:
    """Return how a node differs from what is wanted: what its type brings waits for no reboot."""
    found = settings.drift(asked, fact)
    if not is_due(group, fact):
        return found
    applying = found.applying
    if _can_be_told(asked, fact):
        applying = (*applying, (settings.MEMORY, str(asked.whole.maxmemory_bytes)))
    waits = tuple(name for name in found.awaiting_reboot if name not in _OF_NODE_TYPE)
    return dataclasses.replace(found, applying=applying, awaiting_reboot=waits)


def needs_restart(group: Group, asked: settings.Asked, fact: NodeFact) -> bool:
    """Tell whether a node gets its type with a restart alone."""
    return is_due(group, fact) and not _can_be_told(asked, fact)


def apply_step(group: Group, node_id: str, fact: NodeFact, current: settings.Drift) -> Step | None:
    """Return the step that tells a running node what it can be told now."""
    step = settings.apply_step(group, node_id, fact, current)
    if step is None or not isinstance(step.command, ApplySettings) or not is_due(group, fact):
        return step
    command = step.command
    return Step(
        command=ApplySettings(
            key=command.key,
            settings=command.settings,
            maxmemory_bytes=command.maxmemory_bytes,
            maxclients=command.maxclients,
            node_type=group.spec.node_type,
        ),
        reason=f"it is to be a {group.spec.node_type}",
        node_id=node_id,
    )


def type_of_all(
    group: Group, nodes: tuple[NodeSpec, ...], observed: Observed, previous: GroupStatus | None
) -> str:
    """Return the type that all nodes have: the one before until the last serves with the new."""
    asked = group.spec.node_type
    before = previous.node_type if previous else ""
    if before in {"", asked}:
        return asked
    facts = (observed.of(node.node_id) for node in nodes)
    lacks = any(is_due(group, fact) or engine_of(fact) is None for fact in facts)
    return before if lacks else asked


def _can_be_told(asked: settings.Asked, fact: NodeFact) -> bool:
    """Tell whether the process that runs can take the memory, and nothing else is to change."""
    launched = fact.launched
    if launched is None or launched.keeps_items:
        return False
    wanted = asked.whole
    is_same_line = (launched.engine_version, launched.engine) == (
        asked.engine_version,
        asked.engine,
    )
    has_threads = dict(launched.settings).get(_THREADS) == dict(wanted.settings).get(_THREADS)
    is_refused = any(
        (one.name, one.value) == (settings.MEMORY, str(wanted.maxmemory_bytes))
        for one in launched.refused
    )
    grows = launched.maxmemory_bytes < wanted.maxmemory_bytes
    return is_same_line and has_threads and grows and not is_refused
