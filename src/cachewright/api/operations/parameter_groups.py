"""How are the operations on parameter groups carried out? Input to service to output."""

from __future__ import annotations

from cachewright.api import render_parameters as render
from cachewright.api.render import Output
from cachewright.protocol import pagination
from cachewright.protocol.decode import Params
from cachewright.service import inputs, parameter_groups, parameter_lists
from cachewright.service import inputs_parameters as kinds
from cachewright.service.context import Service


async def create(service: Service, params: Params) -> Output:
    """CreateCacheParameterGroup."""
    wanted = inputs.read(kinds.CreateCacheParameterGroup, params)
    made = await parameter_groups.create(service, wanted)
    return {"CacheParameterGroup": render.parameter_group(service.arns, made)}


async def describe(service: Service, params: Params) -> Output:
    """DescribeCacheParameterGroups."""
    wanted = inputs.read(kinds.DescribeCacheParameterGroups, params)
    page = pagination.paginate(
        parameter_groups.describe(service, wanted),
        key=lambda group: group.name,
        operation="DescribeCacheParameterGroups",
        marker=wanted.marker or None,
        size=pagination.page_size(wanted.max_records),
    )
    groups = [render.parameter_group(service.arns, group) for group in page.items]
    return {"Marker": page.next_marker, "CacheParameterGroups": groups}


async def describe_parameters(service: Service, params: Params) -> Output:
    """DescribeCacheParameters."""
    wanted = inputs.read(kinds.DescribeCacheParameters, params)
    page = pagination.paginate(
        parameter_lists.of_group(service, wanted),
        key=lambda shown: shown.key,
        operation="DescribeCacheParameters",
        marker=wanted.marker or None,
        size=pagination.page_size(wanted.max_records),
    )
    return {"Marker": page.next_marker, **render.parameters(page.items)}


async def describe_defaults(service: Service, params: Params) -> Output:
    """DescribeEngineDefaultParameters."""
    wanted = inputs.read(kinds.DescribeEngineDefaultParameters, params)
    page = pagination.paginate(
        parameter_lists.of_family(wanted),
        key=lambda shown: shown.key,
        operation="DescribeEngineDefaultParameters",
        marker=wanted.marker or None,
        size=pagination.page_size(wanted.max_records),
    )
    return {
        "EngineDefaults": {
            "CacheParameterGroupFamily": wanted.cache_parameter_group_family,
            "Marker": page.next_marker,
            **render.parameters(page.items),
        }
    }


async def modify(service: Service, params: Params) -> Output:
    """ModifyCacheParameterGroup."""
    wanted = inputs.read(kinds.ModifyCacheParameterGroup, params)
    return {"CacheParameterGroupName": await parameter_groups.modify(service, wanted)}


async def reset(service: Service, params: Params) -> Output:
    """ResetCacheParameterGroup."""
    wanted = inputs.read(kinds.ResetCacheParameterGroup, params)
    return {"CacheParameterGroupName": await parameter_groups.reset(service, wanted)}


async def delete(service: Service, params: Params) -> Output:
    """DeleteCacheParameterGroup."""
    wanted = inputs.read(kinds.DeleteCacheParameterGroup, params)
    await parameter_groups.delete(service, wanted)
    return {}
