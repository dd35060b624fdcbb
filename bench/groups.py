"""How do groups of the service come and go during a measurement?

Every figure of failover uses a node only a few times: a node whose process ends again and again is
rightly held back by the service, and that is not what these figures are about. So groups are made,
used and deleted; several at once where one would only be waited for.
"""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from bench import deployment, processes, world
from bench.deployment import Deployment
from bench.world import GROUP_TIMEOUT_S

_NUMBERS = itertools.count()
#: A describe takes about 3 ms of the same two cores.
_DESCRIBE_EVERY_S = 0.05
_FAMILY = "valkey9"


@dataclass(frozen=True, kw_only=True)
class Group:
    """A group of the service that runs."""

    api: Any
    name: str
    engines: Deployment

    def wait_until_settled(self) -> None:
        """Return when the engines are whole and the service says so of group and nodes."""
        self.engines.wait_until_whole()
        deadline = time.monotonic() + GROUP_TIMEOUT_S
        while not self._is_settled():
            if time.monotonic() > deadline:
                raise processes.BenchFailed(f"{self.name} is whole and its status does not say so")
            time.sleep(_DESCRIBE_EVERY_S)

    def _is_settled(self) -> bool:
        answer = self.api.describe_replication_groups(ReplicationGroupId=self.name)
        if answer["ReplicationGroups"][0]["Status"] != "available":
            return False
        pages = self.api.get_paginator("describe_cache_clusters").paginate(ShowCacheNodeInfo=True)
        return all(
            node["CacheNodeStatus"] == "available"
            for page in pages
            for cluster in page["CacheClusters"]
            if cluster.get("ReplicationGroupId") == self.name
            for node in cluster["CacheNodes"]
        )


def create(
    api: Any, *, shards: int, replicas: int, cluster_mode: bool, further: Mapping[str, object]
) -> str:
    """Ask for a group and return its id; `further` parameters by boto3's names."""
    name = f"bench-{next(_NUMBERS)}"
    size: dict[str, object] = (
        {"ClusterMode": "enabled", "NumNodeGroups": shards, "ReplicasPerNodeGroup": replicas}
        if cluster_mode
        else {"NumCacheClusters": 1 + replicas}
    )
    api.create_replication_group(
        **{
            "ReplicationGroupId": name,
            "ReplicationGroupDescription": "measured",
            "Engine": "valkey",
            "EngineVersion": world.VERSION,
            "CacheNodeType": world.NODE_TYPE,
            "AutomaticFailoverEnabled": replicas > 0,
            **size,
            **further,
        }
    )
    return name


@contextlib.contextmanager
def running(
    api: Any,
    *,
    shards: int,
    replicas: int = 1,
    cluster_mode: bool = True,
    further: Mapping[str, object] | None = None,
) -> Iterator[Group]:
    """Run a group for the block, once all its engines are in sync."""
    name = create(
        api,
        shards=shards,
        replicas=replicas,
        cluster_mode=cluster_mode,
        further=further or {},
    )
    try:
        world.wait_until_available(api, [name])
        with deployment.closing(deployment.deployment_of(api, name)) as found:
            found.wait_until_whole()
            yield Group(api=api, name=name, engines=found)
    finally:
        delete(api, name)


def delete(api: Any, name: str) -> None:
    """Delete a group and wait until it is gone."""

    def is_asked() -> bool:
        # A group that changes right now refuses for a moment.
        with contextlib.suppress(api.exceptions.InvalidReplicationGroupStateFault):
            api.delete_replication_group(ReplicationGroupId=name)
            return True
        return False

    processes.wait_until(is_asked, f"{name} may be deleted", GROUP_TIMEOUT_S)
    processes.wait_until(
        lambda: name not in world.statuses(api), f"{name} is gone", GROUP_TIMEOUT_S
    )


def parameter_group(api: Any, values: Mapping[str, str]) -> str:
    """Make a parameter group with these values and return its name."""
    name = f"bench-parameters-{next(_NUMBERS)}"
    api.create_cache_parameter_group(
        CacheParameterGroupName=name, CacheParameterGroupFamily=_FAMILY, Description="measured"
    )
    api.modify_cache_parameter_group(
        CacheParameterGroupName=name,
        ParameterNameValues=[
            {"ParameterName": parameter, "ParameterValue": value}
            for parameter, value in values.items()
        ],
    )
    return name
