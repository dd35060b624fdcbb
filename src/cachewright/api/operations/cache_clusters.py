"""How are the operations on cache clusters carried out? Input to service to output."""

from __future__ import annotations

from cachewright.api import render_caches
from cachewright.api.render import Output
from cachewright.protocol import pagination
from cachewright.protocol.decode import Params
from cachewright.service import cache_clusters, cluster_changes, inputs, views
from cachewright.service import inputs_cache_clusters as kinds
from cachewright.service.context import Service


async def create(service: Service, params: Params) -> Output:
    """CreateCacheCluster."""
    wanted = inputs.read(kinds.CreateCacheCluster, params)
    return _shown(service, await cache_clusters.create(service, wanted))


async def modify(service: Service, params: Params) -> Output:
    """ModifyCacheCluster."""
    wanted = inputs.read(kinds.ModifyCacheCluster, params)
    return _shown(service, await cluster_changes.modify(service, wanted))


async def reboot(service: Service, params: Params) -> Output:
    """RebootCacheCluster."""
    wanted = inputs.read(kinds.RebootCacheCluster, params)
    cluster_id, node_ids = wanted.cache_cluster_id, wanted.cache_node_ids_to_reboot
    return _shown(service, await cluster_changes.reboot(service, cluster_id, node_ids))


async def describe(service: Service, params: Params) -> Output:
    """DescribeCacheClusters."""
    wanted = inputs.read(kinds.DescribeCacheClusters, params)
    size = pagination.page_size(wanted.max_records)
    shows_nodes = bool(wanted.show_cache_node_info)
    if wanted.cache_cluster_id:
        found = views.find_cluster(service.records, wanted.cache_cluster_id)
        shown = render_caches.cache_cluster(service.arns, found, shows_nodes=shows_nodes)
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
            render_caches.cache_cluster(service.arns, cluster, shows_nodes=shows_nodes)
            for cluster in clusters
            if cluster is not None
        ],
    }


async def delete(service: Service, params: Params) -> Output:
    """DeleteCacheCluster."""
    wanted = inputs.read(kinds.DeleteCacheCluster, params)
    return _shown(service, await cache_clusters.delete(service, wanted))


def _shown(service: Service, cluster: views.ClusterView) -> Output:
    return {"CacheCluster": render_caches.cache_cluster(service.arns, cluster, shows_nodes=False)}
