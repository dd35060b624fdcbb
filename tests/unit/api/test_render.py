"""Does the API show what ElastiCache shows, and nothing that is not true?"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from cachewright.api import render, render_caches
from cachewright.model.arns import Arns
from cachewright.model.engines import EngineName
from cachewright.model.groups import Endpoints, GroupSpec, NodeSpec
from cachewright.model.status import GroupState, NodeState
from cachewright.protocol import encode
from cachewright.protocol.service_model import load_service_model
from cachewright.service import new_group
from cachewright.service.inputs import CreateReplicationGroup
from cachewright.service.views import ClusterView, GroupView
from tests.unit.service.service_world import World, placement_of, run, status_of, wanted

ARNS = Arns(region="us-east-1", account_id="000000000000")
MODEL = load_service_model()


@pytest.fixture(scope="module")
def specs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, GroupSpec]:
    """Return one group of each mode: 1 x 3 with failover, and 2 x 2 in cluster mode."""
    requests: dict[str, CreateReplicationGroup] = {
        "off": wanted(num_cache_clusters=3, automatic_failover_enabled=True),
        "on": wanted(num_node_groups=2, replicas_per_node_group=1),
    }

    async def scenario(world: World) -> dict[str, GroupSpec]:
        return {
            mode: new_group.new_spec(world.service, request) for mode, request in requests.items()
        }

    folder: Path = tmp_path_factory.mktemp("specs")
    return run(folder, scenario)


def view(spec: GroupSpec, state: GroupState | None, **status: Any) -> GroupView:
    return GroupView(
        spec=spec,
        placement=None if state is None else placement_of(spec),
        status=None if state is None else status_of(spec, state, **status),
        is_standalone=False,
        spec_revision=1,
    )


def shown(group: GroupView) -> dict[str, Any]:
    """Return what is rendered; the encoder proves that every member exists and has its type."""
    output = render.replication_group(ARNS, group)
    operation = MODEL.operations["DescribeReplicationGroups"]
    encode.encode_result(operation, {"ReplicationGroups": [output]})
    return output


def test_a_new_group_lists_its_members_and_no_node_group(specs: dict[str, GroupSpec]) -> None:
    output = shown(view(specs["off"], None))
    assert output["Status"] == "creating"
    assert output["MemberClusters"] == ["demo-001", "demo-002", "demo-003"]
    assert output["NodeGroups"] == []
    assert output["PendingModifiedValues"] == {}
    assert output["AutomaticFailover"] == "enabling"
    assert output["SnapshottingClusterId"] == "demo-002"
    assert output["ARN"] == "arn:aws:elasticache:us-east-1:000000000000:replicationgroup:demo"


def test_a_group_that_has_not_served_yet_shows_no_endpoint(specs: dict[str, GroupSpec]) -> None:
    for spec in specs.values():
        output = shown(view(spec, GroupState.CREATING, was_available=False))
        assert "Endpoint" not in str(output)
        assert {group["Status"] for group in output["NodeGroups"]} == {"creating"}


def test_cluster_mode_disabled_shows_roles_and_three_kinds_of_endpoints(
    specs: dict[str, GroupSpec],
) -> None:
    output = shown(view(specs["off"], GroupState.AVAILABLE, primary="demo-002"))
    assert (output["Status"], output["AutomaticFailover"]) == ("available", "enabled")
    assert (output["ClusterEnabled"], output["ClusterMode"]) == (False, "disabled")
    assert "ConfigurationEndpoint" not in output
    (group,) = output["NodeGroups"]
    assert (group["NodeGroupId"], group["Status"]) == ("0001", "available")
    assert "Slots" not in group
    assert group["PrimaryEndpoint"] == {"Address": "127.64.0.4", "Port": 6379}
    assert group["ReaderEndpoint"] == {"Address": "127.64.0.5", "Port": 6379}
    roles = [member["CurrentRole"] for member in group["NodeGroupMembers"]]
    assert roles == ["replica", "primary", "replica"]
    assert group["NodeGroupMembers"][2]["ReadEndpoint"] == {"Address": "127.64.0.3", "Port": 6379}


def test_cluster_mode_enabled_shows_slots_and_the_configuration_endpoint_alone(
    specs: dict[str, GroupSpec],
) -> None:
    output = shown(view(specs["on"], GroupState.AVAILABLE))
    assert output["ConfigurationEndpoint"] == {"Address": "127.64.0.5", "Port": 6379}
    assert [group["Slots"] for group in output["NodeGroups"]] == ["0-8191", "8192-16383"]
    for group in output["NodeGroups"]:
        assert not {"PrimaryEndpoint", "ReaderEndpoint"} & set(group)
        for member in group["NodeGroupMembers"]:
            assert not {"ReadEndpoint", "CurrentRole"} & set(member)


def test_endpoints_of_a_shared_address_follow_the_roles(specs: dict[str, GroupSpec]) -> None:
    def sharing(spec: GroupSpec, **status: Any) -> dict[str, Any]:
        group = view(spec, GroupState.AVAILABLE, **status)
        placement = placement_of(spec)
        nodes = tuple(
            dataclasses.replace(node, address="127.0.0.1", port=7000 + number)
            for number, node in enumerate(placement.nodes, 1)
        )
        placement = dataclasses.replace(
            placement, nodes=nodes, endpoints=Endpoints(), shares_address=True
        )
        return shown(dataclasses.replace(group, placement=placement))

    (group,) = sharing(specs["off"], primary="demo-001")["NodeGroups"]
    assert (group["PrimaryEndpoint"]["Port"], group["ReaderEndpoint"]["Port"]) == (7001, 7002)
    (group,) = sharing(specs["off"], primary="demo-003")["NodeGroups"]
    assert (group["PrimaryEndpoint"]["Port"], group["ReaderEndpoint"]["Port"]) == (7003, 7001)
    output = sharing(specs["on"])
    assert output["ConfigurationEndpoint"] == {"Address": "127.0.0.1", "Port": 7001}
    first, second = specs["on"].shards
    leaving = dataclasses.replace(first, is_leaving=True)
    output = sharing(dataclasses.replace(specs["on"], shards=(leaving, second)))
    # Clients that begin there shall find somebody later, too.
    port = 7001 + len(first.nodes)
    assert output["ConfigurationEndpoint"] == {"Address": "127.0.0.1", "Port": port}


def test_a_group_without_a_serving_replica_is_read_from_its_primary(
    specs: dict[str, GroupSpec],
) -> None:
    group = view(specs["off"], GroupState.MODIFYING)
    placement = placement_of(specs["off"])
    place = placement.of("demo-001")
    placement = dataclasses.replace(placement, endpoints=Endpoints())
    shard = specs["off"].shards[0]
    assert render.reader_endpoint(group, placement, shard) == (place.address, place.port)


def test_what_is_not_offered_is_shown_as_off(specs: dict[str, GroupSpec]) -> None:
    output = shown(view(specs["off"], GroupState.AVAILABLE))
    for member in ("AuthTokenEnabled", "TransitEncryptionEnabled", "AtRestEncryptionEnabled"):
        assert output[member] is False
    assert output["StorageEncryptionType"] == "none"
    assert output["EffectiveDurability"] == "disabled"


def test_a_recovering_shard_is_modifying_and_keeps_its_endpoints(
    specs: dict[str, GroupSpec],
) -> None:
    group = view(specs["on"], GroupState.MODIFYING)
    assert group.status is not None
    healthy = tuple(
        dataclasses.replace(node, state=NodeState.AVAILABLE)
        if node.node_id.startswith("demo-0002")
        else node
        for node in group.status.nodes
    )
    status = dataclasses.replace(group.status, nodes=healthy)
    output = shown(dataclasses.replace(group, status=status))
    assert [group["Status"] for group in output["NodeGroups"]] == ["modifying", "available"]
    assert "ConfigurationEndpoint" in output


def cluster(group: GroupView, node: NodeSpec, *, shows_nodes: bool = True) -> dict[str, Any]:
    view = ClusterView(group=group, cluster_id=node.node_id, nodes=(node,))
    output = render_caches.cache_cluster(ARNS, view, shows_nodes=shows_nodes)
    operation = MODEL.operations["DescribeCacheClusters"]
    encode.encode_result(operation, {"CacheClusters": [output]})
    return output


def test_a_member_cluster_shows_its_group_its_version_and_its_own_endpoint(
    specs: dict[str, GroupSpec],
) -> None:
    group = view(specs["on"], GroupState.AVAILABLE)
    node = specs["on"].shards[1].nodes[0]
    output = cluster(group, node)
    assert output["ReplicationGroupId"] == "demo"
    assert output["EngineVersion"] == "9.1.2"
    assert output["CacheParameterGroup"]["CacheParameterGroupName"] == "default.valkey9.cluster.on"
    (only,) = output["CacheNodes"]
    assert (only["CacheNodeId"], only["CacheNodeStatus"]) == ("0001", "available")
    assert only["Endpoint"] == {"Address": "127.64.0.3", "Port": 6379}
    assert "CacheNodes" not in cluster(group, node, shows_nodes=False)


def test_a_member_shows_what_it_runs_while_the_group_is_upgraded(
    specs: dict[str, GroupSpec],
) -> None:
    before = specs["off"]
    group = view(before, GroupState.MODIFYING)
    assert group.status is not None
    first, second, third = before.shards[0].nodes
    runs = {
        first.node_id: (EngineName.REDIS, "7.0.15"),
        second.node_id: (EngineName.VALKEY, "9.1.2"),
        third.node_id: (None, None),
    }
    nodes = tuple(
        dataclasses.replace(
            node, engine=runs[node.node_id][0], engine_version=runs[node.node_id][1]
        )
        for node in group.status.nodes
    )
    status = dataclasses.replace(group.status, nodes=nodes)
    assert group.placement is not None
    placement = dataclasses.replace(group.placement, build_version="8.1.1")
    group = dataclasses.replace(group, status=status, placement=placement)
    seen = [cluster(group, node) for node in (first, second, third)]
    assert [(one["Engine"], one["EngineVersion"]) for one in seen] == [
        ("redis", "7.0.15"),
        ("valkey", "9.1.2"),
        ("valkey", "9.1"),
    ]


def test_a_creating_cluster_shows_only_what_is_its_own(specs: dict[str, GroupSpec]) -> None:
    group = view(specs["on"], None)
    output = cluster(group, specs["on"].shards[0].nodes[0])
    assert output["CacheClusterStatus"] == "creating"
    assert output["EngineVersion"] == "9.1"
    assert "CacheNodes" not in output


def test_a_retained_cluster_belongs_to_no_group(specs: dict[str, GroupSpec]) -> None:
    group = dataclasses.replace(view(specs["off"], GroupState.AVAILABLE), is_standalone=True)
    output = cluster(group, specs["off"].shards[0].nodes[0])
    assert output["ReplicationGroupId"] is None
    assert output["CacheClusterStatus"] == "available"
