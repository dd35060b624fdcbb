"""Which values, each allowed by itself, do not go together?

Pure. Some depend on the memory of a node: they are looked for when a group of values meets a node
type, which is when a cluster is made with it, changes to it, or uses it while it changes.
"""

from __future__ import annotations

from collections.abc import Mapping

from cachewright.model.engines import EngineName
from cachewright.model.node_types import NodeType
from cachewright.model.parameters.families import FAMILIES, parameters_of_family

#: Every slab class but the largest must find room beside an item of the largest size.
_ITEMS_PER_MEMORY = 4
_MIB = 1 << 20


def contradiction_of(
    family: str,
    values: Mapping[str, str],
    node_type: NodeType | None,
    replicas: int | None = None,
) -> str | None:
    """Return what does not fit in a family's `values`, alone or on nodes; `None` if all fits.

    Args:
        family: whose rows the values belong to.
        values: what a caller set.
        node_type: what the nodes are, `None` where no nodes are meant.
        replicas: how many the smallest shard has, `None` where no nodes are meant.
    """
    if FAMILIES[family] is EngineName.MEMCACHED:
        return _of_items(family, values, node_type)
    return _of_reserved_memory(values, node_type) or _of_replicas(family, values, replicas)


def _of_items(family: str, values: Mapping[str, str], node_type: NodeType | None) -> str | None:
    chunk, item, overhead_mb = (
        int(values.get(name, parameters_of_family(family)[name].default))
        for name in ("slab_chunk_max", "max_item_size", "memcached_connections_overhead")
    )
    if chunk > item:
        return f"slab_chunk_max ({chunk}) cannot be larger than max_item_size ({item})."
    if item % chunk:
        return f"max_item_size ({item}) must be a multiple of slab_chunk_max ({chunk})."
    if node_type is None:
        return None
    items_mb = node_type.memcached_memory_mb - overhead_mb
    if items_mb < 1:
        return (
            f"memcached_connections_overhead ({overhead_mb} MB) leaves nothing of the "
            f"{node_type.memcached_memory_mb} MB of {node_type.name}."
        )
    if item * _ITEMS_PER_MEMORY > items_mb * _MIB:
        return (
            f"max_item_size ({item}) cannot be larger than a quarter of the {items_mb} MB that "
            f"{node_type.name} has for items."
        )
    return None


def _of_reserved_memory(values: Mapping[str, str], node_type: NodeType | None) -> str | None:
    reserved = int(values.get("reserved-memory", "0"))
    if not reserved:
        return None
    if int(values.get("reserved-memory-percent", "0")):
        return (
            "reserved-memory and reserved-memory-percent exclude each other: reset one, or set it "
            "to 0."
        )
    if node_type is not None and reserved >= node_type.memory_bytes:
        return (
            f"reserved-memory ({reserved}) leaves nothing of the {node_type.memory_bytes} bytes "
            f"of {node_type.name}."
        )
    return None


def _of_replicas(family: str, values: Mapping[str, str], replicas: int | None) -> str | None:
    rows = parameters_of_family(family)
    needed, lag_s = (
        int(values.get(name, rows[name].default))
        for name in ("min-replicas-to-write", "min-replicas-max-lag")
    )
    if needed and not lag_s:
        return (
            f"min-replicas-max-lag (0) makes min-replicas-to-write ({needed}) void: it is the "
            "longest silence in seconds after which a replica still counts."
        )
    if replicas is not None and needed > replicas:
        return (
            f"min-replicas-to-write ({needed}) lets a primary with {replicas} replicas refuse "
            "every write."
        )
    return None
