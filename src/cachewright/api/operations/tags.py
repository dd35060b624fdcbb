"""How are the operations on tags carried out? All of them answer the complete list."""

from __future__ import annotations

from cachewright.api import render
from cachewright.api.render import Output
from cachewright.protocol.decode import Params
from cachewright.service import inputs, tags
from cachewright.service.context import Service


async def list_all(service: Service, params: Params) -> Output:
    """ListTagsForResource."""
    wanted = inputs.read(inputs.ListTagsForResource, params)
    return render.tag_list(tags.list_tags(service, wanted.resource_name))


async def add(service: Service, params: Params) -> Output:
    """AddTagsToResource."""
    wanted = inputs.read(inputs.AddTagsToResource, params)
    return render.tag_list(await tags.add_tags(service, wanted.resource_name, wanted.tags))


async def remove(service: Service, params: Params) -> Output:
    """RemoveTagsFromResource."""
    wanted = inputs.read(inputs.RemoveTagsFromResource, params)
    return render.tag_list(await tags.remove_tags(service, wanted.resource_name, wanted.tag_keys))
