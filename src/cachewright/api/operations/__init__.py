"""Which operation is carried out by whom? One table from AWS's names to our handlers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import TypeAlias

from cachewright.api.operations import (
    cache_clusters,
    catalogue,
    events,
    parameter_groups,
    replication_groups,
    reserved_nodes,
    security_groups,
    service_updates,
    subnet_groups,
    tags,
)
from cachewright.api.render import Output
from cachewright.protocol.decode import Params
from cachewright.service.context import Service

Handler: TypeAlias = Callable[[Service, Params], Awaitable[Output]]

HANDLERS: Mapping[str, Handler] = MappingProxyType(
    {
        "AddTagsToResource": tags.add,
        "AuthorizeCacheSecurityGroupIngress": security_groups.authorize,
        "BatchApplyUpdateAction": service_updates.apply,
        "BatchStopUpdateAction": service_updates.stop,
        "CreateCacheCluster": cache_clusters.create,
        "CreateCacheParameterGroup": parameter_groups.create,
        "CreateCacheSecurityGroup": security_groups.create,
        "CreateCacheSubnetGroup": subnet_groups.create,
        "CreateReplicationGroup": replication_groups.create,
        "DecreaseReplicaCount": replication_groups.decrease_replicas,
        "DeleteCacheCluster": cache_clusters.delete,
        "DeleteCacheParameterGroup": parameter_groups.delete,
        "DeleteCacheSecurityGroup": security_groups.delete,
        "DeleteCacheSubnetGroup": subnet_groups.delete,
        "DeleteReplicationGroup": replication_groups.delete,
        "DescribeCacheClusters": cache_clusters.describe,
        "DescribeCacheEngineVersions": catalogue.describe_engine_versions,
        "DescribeCacheParameterGroups": parameter_groups.describe,
        "DescribeCacheParameters": parameter_groups.describe_parameters,
        "DescribeCacheSecurityGroups": security_groups.describe,
        "DescribeCacheSubnetGroups": subnet_groups.describe,
        "DescribeEngineDefaultParameters": parameter_groups.describe_defaults,
        "DescribeEvents": events.describe,
        "DescribeReplicationGroups": replication_groups.describe,
        "DescribeReservedCacheNodes": reserved_nodes.describe,
        "DescribeReservedCacheNodesOfferings": reserved_nodes.describe_offerings,
        "DescribeServiceUpdates": service_updates.describe,
        "DescribeUpdateActions": service_updates.describe_actions,
        "IncreaseReplicaCount": replication_groups.increase_replicas,
        "ListAllowedNodeTypeModifications": catalogue.list_allowed_node_types,
        "ListTagsForResource": tags.list_all,
        "ModifyCacheCluster": cache_clusters.modify,
        "ModifyCacheParameterGroup": parameter_groups.modify,
        "ModifyCacheSubnetGroup": subnet_groups.modify,
        "ModifyReplicationGroup": replication_groups.modify,
        "ModifyReplicationGroupShardConfiguration": replication_groups.reshard,
        "PurchaseReservedCacheNodesOffering": reserved_nodes.purchase,
        "RebootCacheCluster": cache_clusters.reboot,
        "RemoveTagsFromResource": tags.remove,
        "ResetCacheParameterGroup": parameter_groups.reset,
        "RevokeCacheSecurityGroupIngress": security_groups.revoke,
        "TestFailover": replication_groups.test_failover,
    }
)

#: Operations whose answer follows from the records and the request alone: not from the time, the
#: offers or the caller. At equal revisions it is the same.
FROM_RECORDS_ALONE = frozenset({"DescribeCacheClusters", "DescribeReplicationGroups"})
