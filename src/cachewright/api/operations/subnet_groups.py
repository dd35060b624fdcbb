"""How are the operations on subnet groups carried out? Input to service to output."""

from __future__ import annotations

from cachewright.api import render_subnet_groups as render
from cachewright.api.render import Output
from cachewright.model.subnet_groups import SubnetGroup
from cachewright.protocol import pagination
from cachewright.protocol.decode import Params
from cachewright.service import inputs, subnet_groups
from cachewright.service import inputs_subnet_groups as kinds
from cachewright.service.context import Service


async def create(service: Service, params: Params) -> Output:
    """CreateCacheSubnetGroup."""
    wanted = inputs.read(kinds.CreateCacheSubnetGroup, params)
    return {"CacheSubnetGroup": _shown(service, await subnet_groups.create(service, wanted))}


async def describe(service: Service, params: Params) -> Output:
    """DescribeCacheSubnetGroups."""
    wanted = inputs.read(kinds.DescribeCacheSubnetGroups, params)
    page = pagination.paginate(
        subnet_groups.describe(service, wanted),
        key=lambda group: group.name,
        operation="DescribeCacheSubnetGroups",
        marker=wanted.marker or None,
        size=pagination.page_size(wanted.max_records),
    )
    return {
        "Marker": page.next_marker,
        "CacheSubnetGroups": [_shown(service, group) for group in page.items],
    }


async def modify(service: Service, params: Params) -> Output:
    """ModifyCacheSubnetGroup."""
    wanted = inputs.read(kinds.ModifyCacheSubnetGroup, params)
    return {"CacheSubnetGroup": _shown(service, await subnet_groups.modify(service, wanted))}


async def delete(service: Service, params: Params) -> Output:
    """DeleteCacheSubnetGroup."""
    await subnet_groups.delete(service, inputs.read(kinds.DeleteCacheSubnetGroup, params))
    return {}


def _shown(service: Service, group: SubnetGroup) -> Output:
    return render.subnet_group(service.arns, subnet_groups.vpc_id(service), group)
