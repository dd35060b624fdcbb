"""What does a caller ask of reserved nodes, as typed values? See `inputs`."""

from __future__ import annotations

import msgspec

from cachewright.service.inputs import Tag


class DescribeReservedCacheNodesOfferings(
    msgspec.Struct, frozen=True, kw_only=True, rename="pascal"
):
    """What can be reserved?"""

    reserved_cache_nodes_offering_id: str | None = None
    cache_node_type: str | None = None
    duration: str | None = None
    product_description: str | None = None
    offering_type: str | None = None
    max_records: int | None = None
    marker: str | None = None


class DescribeReservedCacheNodes(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    """What is reserved?"""

    reserved_cache_node_id: str | None = None
    reserved_cache_nodes_offering_id: str | None = None
    cache_node_type: str | None = None
    duration: str | None = None
    product_description: str | None = None
    offering_type: str | None = None
    max_records: int | None = None
    marker: str | None = None


class PurchaseReservedCacheNodesOffering(
    msgspec.Struct, frozen=True, kw_only=True, rename="pascal"
):
    """Nodes to reserve."""

    reserved_cache_nodes_offering_id: str
    reserved_cache_node_id: str | None = None
    cache_node_count: int | None = None
    tags: tuple[Tag, ...] = ()
