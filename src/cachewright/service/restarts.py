"""How is a planned restart of nodes written down? As the generation that asks for it, and why.

Pure. How restarts follow each other, and what hands over to whom before, is the planner's business.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping

from cachewright.model.groups import GroupSpec, RestartCause


def asked(
    spec: GroupSpec, node_ids: Collection[str], cause: RestartCause = RestartCause.REBOOT
) -> GroupSpec:
    """Return the next generation of `spec`, which asks these nodes to restart."""
    return numbered(spec, dict.fromkeys(node_ids, spec.generation + 1), cause)


def numbered(
    spec: GroupSpec, restarts: Mapping[str, int], cause: RestartCause = RestartCause.REBOOT
) -> GroupSpec:
    """Return the next generation of `spec`, in which the named nodes have these restarts."""
    shards = tuple(
        dataclasses.replace(
            shard,
            nodes=tuple(
                dataclasses.replace(node, restarts=restarts[node.node_id], restart_cause=cause)
                if node.node_id in restarts
                else node
                for node in shard.nodes
            ),
        )
        for shard in spec.shards
    )
    return dataclasses.replace(spec, shards=shards, generation=spec.generation + 1)
