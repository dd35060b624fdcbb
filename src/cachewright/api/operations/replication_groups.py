"""How are the operations on replication groups carried out? Input to service to output."""

from __future__ import annotations

from cachewright.api import render
from cachewright.api.render import Output
from cachewright.protocol import encode, pagination
from cachewright.protocol.decode import Params
from cachewright.service import (
    failover_tests,
    inputs,
    inputs_scaling,
    replica_counts,
    replication_groups,
    resharding,
    views,
)
from cachewright.service.context import Service


async def create(service: Service, params: Params) -> Output:
    """CreateReplicationGroup."""
    wanted = inputs.read(inputs.CreateReplicationGroup, params)
    return _shown(service, await replication_groups.create(service, wanted))


async def modify(service: Service, params: Params) -> Output:
    """ModifyReplicationGroup."""
    wanted = inputs.read(inputs.ModifyReplicationGroup, params)
    return _shown(service, await replication_groups.modify(service, wanted))


async def delete(service: Service, params: Params) -> Output:
    """DeleteReplicationGroup."""
    wanted = inputs.read(inputs.DeleteReplicationGroup, params)
    return _shown(service, await replication_groups.delete(service, wanted))


async def reshard(service: Service, params: Params) -> Output:
    """ModifyReplicationGroupShardConfiguration."""
    wanted = inputs.read(inputs_scaling.ModifyReplicationGroupShardConfiguration, params)
    return _shown(service, await resharding.modify(service, wanted))


async def increase_replicas(service: Service, params: Params) -> Output:
    """IncreaseReplicaCount."""
    wanted = inputs.read(inputs_scaling.IncreaseReplicaCount, params)
    return _shown(service, await replica_counts.increase(service, wanted))


async def decrease_replicas(service: Service, params: Params) -> Output:
    """DecreaseReplicaCount."""
    wanted = inputs.read(inputs_scaling.DecreaseReplicaCount, params)
    return _shown(service, await replica_counts.decrease(service, wanted))


async def test_failover(service: Service, params: Params) -> Output:
    """TestFailover."""
    wanted = inputs.read(inputs.TestFailover, params)
    return _shown(service, await failover_tests.test(service, wanted))


async def describe(service: Service, params: Params) -> Output:
    """DescribeReplicationGroups."""
    wanted = inputs.read(inputs.DescribeReplicationGroups, params)
    size = pagination.page_size(wanted.max_records)
    if wanted.replication_group_id:
        found = views.find_group(service.records, wanted.replication_group_id)
        return {"ReplicationGroups": [render.replication_group(service.arns, found)]}
    page = pagination.paginate(
        service.records.group_names(),
        key=lambda named: named[0],
        operation="DescribeReplicationGroups",
        marker=wanted.marker or None,
        size=size,
    )
    rows = (_row(service, uid) for _, uid in page.items)
    return {
        "Marker": page.next_marker,
        "ReplicationGroups": [row for row in rows if row is not None],
    }


def _row(service: Service, uid: str) -> Output | None:
    """Return a group of a page, rendered and encoded only when it has changed."""

    def make() -> encode.Kept | None:
        group = views.view(service.records, uid)
        shown = None if group is None else render.replication_group(service.arns, group)
        return None if shown is None else encode.Kept(shown)

    return service.records.derived(uid, make)


def _shown(service: Service, group: views.GroupView) -> Output:
    return {"ReplicationGroup": render.replication_group(service.arns, group)}
