"""How is it answered what can be had? Engine versions, parameter groups, node types."""

from __future__ import annotations

from cachewright.api import render
from cachewright.api.render import Output
from cachewright.protocol import pagination
from cachewright.protocol.decode import Params
from cachewright.service import engine_versions, inputs, node_types, parameter_groups
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


async def describe_parameter_groups(service: Service, params: Params) -> Output:
    """DescribeCacheParameterGroups."""
    wanted = inputs.read(inputs.DescribeCacheParameterGroups, params)
    page = pagination.paginate(
        parameter_groups.describe(wanted),
        key=lambda group: group.name,
        operation="DescribeCacheParameterGroups",
        marker=wanted.marker or None,
        size=pagination.page_size(wanted.max_records),
    )
    groups = [render.parameter_group(service.arns, group) for group in page.items]
    return {"Marker": page.next_marker, "CacheParameterGroups": groups}


async def list_allowed_node_types(service: Service, params: Params) -> Output:
    """ListAllowedNodeTypeModifications: none, as long as changing the type is not offered."""
    wanted = inputs.read(inputs.ListAllowedNodeTypeModifications, params)
    node_types.require_scalable(service, wanted)
    return {"ScaleUpModifications": [], "ScaleDownModifications": []}
