"""How do tests get a real service? `with cachewright.testing.service() as service: ...`.

    from cachewright import testing

    with testing.service() as service:
        group = service.create_replication_group(shards=3, replicas=1)
        group.valkey().set("greeting", "hello")
        cache = service.create_cache_cluster(nodes=2)  # Memcached
        print(cache.endpoint, cache.nodes)
        print(service.client().describe_replication_groups()["ReplicationGroups"])

For pytest, `cachewright.testing.plugin` offers the same as fixtures. Needs the extra `testing`
(boto3 and valkey), which are imported when they are first used.
"""

from cachewright.testing.caches import CacheCluster
from cachewright.testing.groups import Endpoint, GroupFailed, ReplicationGroup
from cachewright.testing.services import Credentials, Service, ServiceFailed, service

__all__ = [
    "CacheCluster",
    "Credentials",
    "Endpoint",
    "GroupFailed",
    "ReplicationGroup",
    "Service",
    "ServiceFailed",
    "service",
]
