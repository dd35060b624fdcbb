"""Under which name is an event published to a topic? One table from texts to ElastiCache's names.

A text that no row knows is one that ElastiCache does not have; it is published as a notice.
Source: ElastiCache user guide, event notifications and Amazon SNS.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from cachewright.model.status import Event, SourceType

#: What events are published as that ElastiCache has no name for.
NOTICE = "Cachewright:Notice"

_PREFIX = "ElastiCache:"


class _Row(NamedTuple):
    #: The whole text.
    pattern: re.Pattern[str]
    name: str
    #: The name for events of replication groups, where it is another one.
    of_groups: str = ""


def _row(pattern: str, name: str, of_groups: str = "") -> _Row:
    return _Row(re.compile(pattern), name, of_groups)


#: Published where nodes were added; for removed ones there is a text of its own.
_RESIZED = re.compile(r"Finished modifying number of nodes from (\d+) to (\d+)")
_ROWS = (
    _row(r"Failed to modify number of nodes .*", "AddCacheNodeFailed"),
    _row(r"Updated parameter .* to .*", "CacheClusterParametersChanged"),
    _row(r"Updated to use a CacheParameterGroup .*", "CacheClusterParametersChanged"),
    _row(r"Cache cluster created", "CacheClusterProvisioningComplete"),
    _row(r"Failed to create the cache cluster.*", "CacheClusterProvisioningFailed"),
    _row(
        r"Succeeded applying modification to cache node type to .*",
        "CacheClusterScalingComplete",
        "ReplicationGroupScalingComplete",
    ),
    _row(
        r"Failed applying modification to cache node type to .*",
        "CacheClusterScalingFailed",
        "ReplicationGroupScalingFailed",
    ),
    _row(
        r"Failed to scale down to cache node type .*",
        "CacheClusterScalingFailed",
        "ReplicationGroupScalingFailed",
    ),
    _row(
        r"Increase of the number of replicas of replication group \S+ accepted: .*",
        "ReplicationGroupIncreaseReplicaCountStarted",
    ),
    _row(r"Applied change to security group", "CacheClusterSecurityGroupModified"),
    _row(r"Recovering cache nodes .*", "CacheNodeReplaceStarted"),
    _row(r"Finished recovery for cache nodes .*", "CacheNodeReplaceComplete"),
    _row(r"Cache node \S+ restarted( without .*)?", "CacheNodesRebooted"),
    _row(r"Replication group \S+ created", "CreateReplicationGroupComplete"),
    _row(r"Cache cluster deleted", "DeleteCacheClusterComplete"),
    _row(r"Failover (from \w+ node \S+ )?to replica node \S+ completed", "FailoverComplete"),
    _row(r"Removed cache nodes .*", "RemoveCacheNodeComplete"),
    _row(r"Service update is available for cache node .*", "ServiceUpdateAvailableForNode"),
    _row(r"Snapshot succeeded for snapshot with ID .*", "SnapshotComplete"),
    _row(r"Snapshot failed for snapshot with ID .*", "SnapshotFailed"),
)


def name_of(event: Event) -> str:
    """Return what an event is published as, with the prefix that says whose name it is."""
    resized = _RESIZED.fullmatch(event.message)
    if resized is not None and int(resized[2]) > int(resized[1]):
        return _PREFIX + "AddCacheNodeComplete"
    for row in _ROWS:
        if row.pattern.fullmatch(event.message):
            is_of_group = event.source_type is SourceType.REPLICATION_GROUP
            return _PREFIX + ((row.of_groups if is_of_group else "") or row.name)
    return NOTICE
