"""How much do the nodes of a group hold, and would it fit elsewhere? By what engines said last.

What nobody has observed yet is not known, and nothing is concluded from it.
"""

from __future__ import annotations

from collections.abc import Iterable

from cachewright.model import node_types, parameters
from cachewright.model.errors import Bug, invalid_combination
from cachewright.model.groups import GroupSpec, NodeSpec, ShardSpec
from cachewright.service import parameter_groups
from cachewright.service.context import Service

#: What an engine may use without holding anything: buffers, backlog, tables of the cluster.
_EMPTY_BYTES = 16 << 20
_MIB = 1 << 20


def held_bytes(service: Service, spec: GroupSpec, nodes: Iterable[NodeSpec]) -> int | None:
    """Return the most that any of `nodes` uses, `None` where no engine of them has said."""
    usage = service.usage(spec.uid)
    return max((usage[n.node_id] for n in nodes if n.node_id in usage), default=None)


def room_bytes(service: Service, spec: GroupSpec, node_type: str) -> int:
    """Return what a node of a type may use under the parameter group of `spec`."""
    row = node_types.node_type_of(node_type)
    if row is None:
        raise Bug(f"no node type {node_type}")
    group = parameter_groups.find(service, spec.parameter_group)
    return parameters.memory_of(spec.engine, spec.engine_version, row, group.values)


def refuse_overflow(service: Service, spec: GroupSpec, staying: tuple[ShardSpec, ...]) -> None:
    """Raise if what all shards hold plainly does not fit into those that stay."""
    held = [held_bytes(service, spec, shard.nodes) for shard in spec.shards]
    known = [amount for amount in held if amount is not None]
    if len(known) < len(held):
        return
    data = sum(known) - _EMPTY_BYTES * (len(spec.shards) - len(staying))
    room = room_bytes(service, spec, spec.node_type) * len(staying)
    if data > room:
        left = "1 node group" if len(staying) == 1 else f"{len(staying)} node groups"
        raise invalid_combination(
            f"The data of replication group {spec.name}, {mebibytes(data)}, does not fit in "
            f"{left} with {mebibytes(room)}. Remove fewer node groups, change "
            "to a larger node type first, or reduce current memory usage and retry."
        )


def mebibytes(count: int) -> str:
    """Return an amount of memory as people read it, rounded up."""
    return f"{(count + _MIB - 1) // _MIB:,} MiB"
