"""How is it answered what can be had? Engine versions and node types."""

from __future__ import annotations

from cachewright.api import render
from cachewright.api.render import Output
from cachewright.protocol import pagination
from cachewright.protocol.decode import Params
from cachewright.service import engine_versions, inputs, node_types
from cachewright.service.context import Service


async def describe_engine_versions(service: Service, params: Params) -> Output:
    """DescribeCacheEngineVersions."""
    wanted = inputs.read(inputs.DescribeCacheEngineVersions, params)
    page = pagination.paginate(
        engine_versions.describe(service, wanted),
        key=lambda keyed: keyed[0],
        operation="DescribeCacheEngineVersions",
        marker=wanted.marker or None,
        size=pagination.page_size(wanted.max_records),
    )
    lines = [render.engine_line(entry) for _, entry in page.items]
    return {"Marker": page.next_marker, "CacheEngineVersions": lines}


async def list_allowed_node_types(service: Service, params: Params) -> Output:
    """ListAllowedNodeTypeModifications."""
    wanted = inputs.read(inputs.ListAllowedNodeTypeModifications, params)
    up, down = await node_types.allowed(service, wanted)
    return {"ScaleUpModifications": list(up), "ScaleDownModifications": list(down)}
