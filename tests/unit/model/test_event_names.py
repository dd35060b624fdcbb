"""Is an event published under the name that ElastiCache gives it?"""

from __future__ import annotations

import datetime

import pytest

from cachewright.model.event_names import NOTICE, name_of
from cachewright.model.status import Event, SourceType

AT = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
CLUSTER, GROUP = SourceType.CACHE_CLUSTER, SourceType.REPLICATION_GROUP


TOO_SMALL = "Failed to scale down to cache node type cache.t4g.micro Cache Cluster [x] because"
MORE_REPLICAS = (
    "Increase of the number of replicas of replication group demo accepted: adding demo-003"
)
SCALED = "Succeeded applying modification to cache node type to cache.m5.large."
FAILED_OVER = "Failover from primary node a-001 to replica node a-002 completed"


@pytest.mark.parametrize(
    ("source", "message", "name"),
    [
        (CLUSTER, "Finished modifying number of nodes from 2 to 3", "AddCacheNodeComplete"),
        (CLUSTER, "Updated parameter timeout to 0", "CacheClusterParametersChanged"),
        (CLUSTER, "Cache cluster created", "CacheClusterProvisioningComplete"),
        (CLUSTER, "Cache cluster deleted", "DeleteCacheClusterComplete"),
        (CLUSTER, "Recovering cache nodes 0001", "CacheNodeReplaceStarted"),
        (CLUSTER, "Finished recovery for cache nodes 0001", "CacheNodeReplaceComplete"),
        (CLUSTER, "Cache node 0001 restarted", "CacheNodesRebooted"),
        (CLUSTER, "Cache node 0001 restarted without its items: no room", "CacheNodesRebooted"),
        (CLUSTER, "Removed cache nodes 0001, 0002", "RemoveCacheNodeComplete"),
        (GROUP, "Replication group demo created", "CreateReplicationGroupComplete"),
        (GROUP, FAILED_OVER, "FailoverComplete"),
        (CLUSTER, "Failover to replica node a-002 completed", "FailoverComplete"),
        (CLUSTER, SCALED, "CacheClusterScalingComplete"),
        (GROUP, SCALED, "ReplicationGroupScalingComplete"),
        (CLUSTER, TOO_SMALL, "CacheClusterScalingFailed"),
        (GROUP, TOO_SMALL, "ReplicationGroupScalingFailed"),
        (GROUP, MORE_REPLICAS, "ReplicationGroupIncreaseReplicaCountStarted"),
    ],
)
def test_texts_of_elasticache_have_its_names(source: SourceType, message: str, name: str) -> None:
    event = Event(source_type=source, source_id="demo", message=message, at=AT)
    assert name_of(event) == f"ElastiCache:{name}"


@pytest.mark.parametrize(
    "message",
    [
        "",
        "Replication group demo serves fully again",
        "Cache cluster created twice",
        "Finished modifying number of nodes from 3 to 2",
    ],
)
def test_any_other_text_is_a_notice(message: str) -> None:
    event = Event(source_type=GROUP, source_id="demo", message=message, at=AT)
    assert name_of(event) == NOTICE
