"""How are the operations on reserved nodes carried out? Input to service to output."""

from __future__ import annotations

from cachewright.api import render_reserved_nodes as render
from cachewright.api.render import Output
from cachewright.protocol import pagination
from cachewright.protocol.decode import Params
from cachewright.service import inputs, reserved_nodes
from cachewright.service import inputs_reserved_nodes as kinds
from cachewright.service.context import Service


async def describe_offerings(service: Service, params: Params) -> Output:
    """DescribeReservedCacheNodesOfferings."""
    wanted = inputs.read(kinds.DescribeReservedCacheNodesOfferings, params)
    page = pagination.paginate(
        reserved_nodes.offerings(wanted),
        key=lambda offering: offering.offering_id,
        operation="DescribeReservedCacheNodesOfferings",
        marker=wanted.marker or None,
        size=pagination.page_size(wanted.max_records),
    )
    offerings = [render.offering(offering) for offering in page.items]
    return {"Marker": page.next_marker, "ReservedCacheNodesOfferings": offerings}


async def describe(service: Service, params: Params) -> Output:
    """DescribeReservedCacheNodes."""
    wanted = inputs.read(kinds.DescribeReservedCacheNodes, params)
    page = pagination.paginate(
        reserved_nodes.describe(service, wanted),
        key=lambda made: made.reservation_id,
        operation="DescribeReservedCacheNodes",
        marker=wanted.marker or None,
        size=pagination.page_size(wanted.max_records),
    )
    now = service.clock.now()
    made = [render.reservation(service.arns, each, now) for each in page.items]
    return {"Marker": page.next_marker, "ReservedCacheNodes": made}


async def purchase(service: Service, params: Params) -> Output:
    """PurchaseReservedCacheNodesOffering."""
    wanted = inputs.read(kinds.PurchaseReservedCacheNodesOffering, params)
    made = await reserved_nodes.purchase(service, wanted)
    return {"ReservedCacheNode": render.reservation(service.arns, made, service.clock.now())}
