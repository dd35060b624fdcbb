"""How are the operations on cache security groups carried out? Input to service to output.

The answer to an authorization says `authorizing` and the one to a revocation `revoking`, as
ElastiCache's do; there is nothing to wait for, so the next look shows the end.
"""

from __future__ import annotations

from cachewright.api import render_security_groups as render
from cachewright.api.render import Output
from cachewright.protocol import pagination
from cachewright.protocol.decode import Params
from cachewright.service import inputs, security_groups
from cachewright.service import inputs_security_groups as kinds
from cachewright.service.context import Service


async def create(service: Service, params: Params) -> Output:
    """CreateCacheSecurityGroup."""
    wanted = inputs.read(kinds.CreateCacheSecurityGroup, params)
    made = await security_groups.create(service, wanted)
    return {"CacheSecurityGroup": render.security_group(service.arns, made)}


async def describe(service: Service, params: Params) -> Output:
    """DescribeCacheSecurityGroups."""
    wanted = inputs.read(kinds.DescribeCacheSecurityGroups, params)
    page = pagination.paginate(
        security_groups.describe(service, wanted),
        key=lambda group: group.name,
        operation="DescribeCacheSecurityGroups",
        marker=wanted.marker or None,
        size=pagination.page_size(wanted.max_records),
    )
    groups = [render.security_group(service.arns, group) for group in page.items]
    return {"Marker": page.next_marker, "CacheSecurityGroups": groups}


async def delete(service: Service, params: Params) -> Output:
    """DeleteCacheSecurityGroup."""
    await security_groups.delete(service, inputs.read(kinds.DeleteCacheSecurityGroup, params))
    return {}


async def authorize(service: Service, params: Params) -> Output:
    """AuthorizeCacheSecurityGroupIngress."""
    wanted = inputs.read(kinds.AuthorizeCacheSecurityGroupIngress, params)
    group, new = await security_groups.authorize(service, wanted)
    shown = render.security_group(service.arns, group, changing=new, status="authorizing")
    return {"CacheSecurityGroup": shown}


async def revoke(service: Service, params: Params) -> Output:
    """RevokeCacheSecurityGroupIngress."""
    wanted = inputs.read(kinds.RevokeCacheSecurityGroupIngress, params)
    group, gone = await security_groups.revoke(service, wanted)
    shown = render.security_group(service.arns, group, changing=gone, status="revoking")
    return {"CacheSecurityGroup": shown}
