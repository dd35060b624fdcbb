"""How are the operations on cache clusters carried out? Input to service to output."""

from __future__ import annotations

from cachewright.api import render
from cachewright.api.render import Output
from cachewright.protocol import pagination
from cachewright.protocol.decode import Params
from cachewright.service import cache_clusters, inputs, views
from cachewright.service.context import Service


async def describe(service: Service, params: Params) -> Output:
    """DescribeCacheClusters."""
    wanted = inputs.read(inputs.DescribeCacheClusters, params)
    size = pagination.page_size(wanted.max_records)
    shows_nodes = bool(wanted.show_cache_node_info)
    if wanted.cache_cluster_id:
        found = views.find_cluster(service.records, wanted.cache_cluster_id)
        shown = render.cache_cluster(service.arns, found, shows_nodes=shows_nodes)
        return {"CacheClusters": [shown]}
    page = pagination.paginate(
        cache_clusters.names(service, wanted),
        key=lambda named: named[0],
        operation="DescribeCacheClusters",
        marker=wanted.marker or None,
        size=size,
    )
    clusters = [views.cluster(service.records, *named) for named in page.items]
    return {
        "Marker": page.next_marker,
        "CacheClusters": [
            render.cache_cluster(service.arns, cluster, shows_nodes=shows_nodes)
            for cluster in clusters
            if cluster is not None
        ],
    }


async def delete(service: Service, params: Params) -> Output:
    """DeleteCacheCluster."""
    wanted = inputs.read(inputs.DeleteCacheCluster, params)
    deleted = await cache_clusters.delete(service, wanted)
    return {"CacheCluster": render.cache_cluster(service.arns, deleted, shows_nodes=False)}
