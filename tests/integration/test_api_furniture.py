"""Does boto3 manage cache security groups, reserved nodes and all their tags as at ElastiCache?"""

from __future__ import annotations

import dataclasses
import datetime
from typing import Any

import pytest

from cachewright.model.engines import EngineName
from cachewright.service import service_updates, update_batches
from cachewright.service.inputs_service_updates import BatchApplyUpdateAction
from tests.integration.api_server import Client, Server, refusal
from tests.unit.service.service_world import World, offer

ARN = "arn:aws:elasticache:us-east-1:000000000000"
EC2 = {"EC2SecurityGroupName": "web", "EC2SecurityGroupOwnerId": "123456789012"}


def test_a_cache_security_group_from_create_to_not_found(client: Client, name: str) -> None:
    def described() -> dict[str, Any]:
        (group,) = client.describe_cache_security_groups(**request)["CacheSecurityGroups"]
        return dict(group)

    request = {"CacheSecurityGroupName": name}
    created = client.create_cache_security_group(
        CacheSecurityGroupName=name.upper(), Description="of a test"
    )["CacheSecurityGroup"]
    assert created == described()
    assert created == {
        "OwnerId": "000000000000",
        "CacheSecurityGroupName": name,
        "Description": "of a test",
        "EC2SecurityGroups": [],
        "ARN": f"{ARN}:securitygroup:{name}",
    }
    authorized = client.authorize_cache_security_group_ingress(**request, **EC2)
    (ingress,) = authorized["CacheSecurityGroup"]["EC2SecurityGroups"]
    assert ingress == {"Status": "authorizing", **EC2}
    assert described()["EC2SecurityGroups"] == [{"Status": "authorized", **EC2}]
    refused = refusal(client.authorize_cache_security_group_ingress, **request, **EC2)
    assert refused == ("AuthorizationAlreadyExists", 400)
    revoked = client.revoke_cache_security_group_ingress(**request, **EC2)
    assert revoked["CacheSecurityGroup"]["EC2SecurityGroups"] == [{"Status": "revoking", **EC2}]
    assert described()["EC2SecurityGroups"] == []
    refused = refusal(client.revoke_cache_security_group_ingress, **request, **EC2)
    assert refused == ("AuthorizationNotFound", 404)
    client.delete_cache_security_group(**request)
    not_found = ("CacheSecurityGroupNotFound", 404)
    assert refusal(client.describe_cache_security_groups, **request) == not_found
    messages = [
        event["Message"]
        for event in client.describe_events(
            SourceType="cache-security-group", SourceIdentifier=name
        )["Events"]
    ]
    assert messages == [
        f"Cache security group {name} {what}"
        for what in ("deleted", "modified", "modified", "created")
    ]


def test_the_default_cache_security_group_is_listed_and_stays(client: Client) -> None:
    listed = client.describe_cache_security_groups()["CacheSecurityGroups"]
    assert "default" in [group["CacheSecurityGroupName"] for group in listed]
    refused = refusal(client.delete_cache_security_group, CacheSecurityGroupName="default")
    assert refused == ("InvalidCacheSecurityGroupState", 400)
    refused = refusal(
        client.create_cache_security_group, CacheSecurityGroupName="Default", Description="d"
    )
    assert refused == ("InvalidParameterValue", 400)


def test_offerings_come_on_pages_and_pass_filters(client: Client) -> None:
    paginator = client.get_paginator("describe_reserved_cache_nodes_offerings")
    pages = list(paginator.paginate(OfferingType="All Upfront"))
    listed = [offer for page in pages for offer in page["ReservedCacheNodesOfferings"]]
    ids = [offer["ReservedCacheNodesOfferingId"] for offer in listed]
    assert len(pages) > 1
    assert ids == sorted(set(ids))
    assert {offer["OfferingType"] for offer in listed} == {"All Upfront"}
    assert all((offer["FixedPrice"], offer["UsagePrice"]) == (0.0, 0.0) for offer in listed)
    refused = refusal(client.describe_reserved_cache_nodes_offerings, Duration="2")
    assert refused == ("InvalidParameterValue", 400)


def test_a_reservation_from_the_offering_to_its_tags(client: Client, name: str) -> None:
    (offer,) = client.describe_reserved_cache_nodes_offerings(
        CacheNodeType="cache.r7g.large",
        ProductDescription="valkey",
        Duration="31536000",
        OfferingType="No Upfront",
    )["ReservedCacheNodesOfferings"]
    request = {
        "ReservedCacheNodesOfferingId": offer["ReservedCacheNodesOfferingId"],
        "ReservedCacheNodeId": name,
    }
    made = client.purchase_reserved_cache_nodes_offering(
        **request, CacheNodeCount=2, Tags=[{"Key": "a", "Value": "1"}]
    )["ReservedCacheNode"]
    (shown,) = client.describe_reserved_cache_nodes(ReservedCacheNodeId=name)["ReservedCacheNodes"]
    assert made == shown
    assert {key: value for key, value in made.items() if key != "StartTime"} == {
        **offer,
        "ReservedCacheNodeId": name,
        "CacheNodeCount": 2,
        "State": "active",
        "ReservationARN": f"{ARN}:reserved-instance:{name}",
    }
    tags = client.list_tags_for_resource(ResourceName=made["ReservationARN"])["TagList"]
    assert tags == [{"Key": "a", "Value": "1"}]
    refused = refusal(client.purchase_reserved_cache_nodes_offering, **request)
    assert refused == ("ReservedCacheNodeAlreadyExists", 404)
    refused = refusal(
        client.purchase_reserved_cache_nodes_offering,
        ReservedCacheNodesOfferingId=offer["ReservedCacheNodesOfferingId"],
        CacheNodeCount=299,
    )
    assert refused == ("ReservedCacheNodeQuotaExceeded", 400)
    refused = refusal(client.describe_reserved_cache_nodes, ReservedCacheNodeId="nobody")
    assert refused == ("ReservedCacheNodeNotFound", 404)


@pytest.mark.parametrize(
    ("kind", "code", "status"),
    [
        ("cluster", "CacheClusterNotFound", 404),
        ("replicationgroup", "ReplicationGroupNotFoundFault", 404),
        ("parametergroup", "CacheParameterGroupNotFound", 404),
        ("subnetgroup", "CacheSubnetGroupNotFoundFault", 400),
        ("securitygroup", "CacheSecurityGroupNotFound", 404),
        ("reserved-instance", "ReservedCacheNodeNotFound", 404),
        ("snapshot", "SnapshotNotFoundFault", 404),
        ("user", "UserNotFound", 404),
        ("usergroup", "UserGroupNotFound", 404),
        ("serverlesscache", "ServerlessCacheNotFoundFault", 404),
        ("serverlesscachesnapshot", "ServerlessCacheSnapshotNotFoundFault", 404),
        ("sandwich", "InvalidARN", 400),
    ],
)
def test_tags_of_what_is_not_there(client: Client, kind: str, code: str, status: int) -> None:
    arn = f"{ARN}:{kind}:nobody"
    assert refusal(client.list_tags_for_resource, ResourceName=arn) == (code, status)
    tag = {"Key": "a", "Value": "b"}
    assert refusal(client.add_tags_to_resource, ResourceName=arn, Tags=[tag]) == (code, status)
    refused = refusal(client.remove_tags_from_resource, ResourceName=arn, TagKeys=["a"])
    assert refused == (code, status)


def test_a_service_update_from_the_listing_to_the_stop(
    server: Server, client: Client, name: str
) -> None:
    update, version = "elasticache-valkey-9-1-9", "9.1.9"

    async def fill(world: World) -> None:
        await world.create_available(replication_group_id=name, num_node_groups=2)
        offers = (offer(EngineName.VALKEY, version),)
        service = dataclasses.replace(world.service, offers=lambda: offers)
        await service_updates.notice(service)

    server.do(fill)
    (shown,) = client.describe_service_updates(ServiceUpdateName=update)["ServiceUpdates"]
    assert shown["ServiceUpdateRecommendedApplyByDate"] - shown["ServiceUpdateReleaseDate"] == (
        datetime.timedelta(days=60)
    )
    assert (shown["Engine"], shown["EngineVersion"]) == ("valkey", version)
    assert shown["ServiceUpdateType"] == "security-update"
    # The build is gone from this server's host again: its offers did not change.
    assert shown["ServiceUpdateStatus"] == "cancelled"
    request = {"ServiceUpdateName": update, "ReplicationGroupIds": [name]}
    assert client.describe_update_actions(**request)["UpdateActions"] == []
    refused = client.batch_apply_update_action(**request)
    assert refused["ProcessedUpdateActions"] == []
    (row,) = refused["UnprocessedUpdateActions"]
    assert row == {
        "ReplicationGroupId": name,
        "ServiceUpdateName": update,
        "ErrorType": "InvalidParameterCombination",
        "ErrorMessage": f"Service update {update} is cancelled.",
    }

    async def ask(world: World) -> None:
        offers = (offer(EngineName.VALKEY, version),)
        service = dataclasses.replace(world.service, offers=lambda: offers)
        wanted = BatchApplyUpdateAction(service_update_name=update, replication_group_ids=(name,))
        await update_batches.apply(service, wanted)

    server.do(ask)
    (action,) = client.describe_update_actions(**request, ShowNodeLevelUpdateStatus=True)[
        "UpdateActions"
    ]
    assert action["NodesUpdated"] == "0/2"
    assert action["SlaMet"] == "n/a"
    shards = action["NodeGroupUpdateStatus"]
    assert [shard["NodeGroupId"] for shard in shards] == ["0001", "0002"]
    (member,) = shards[0]["NodeGroupMemberUpdateStatus"]
    assert (member["CacheClusterId"], member["CacheNodeId"]) == (f"{name}-0001-001", "0001")
    assert member["NodeUpdateInitiatedBy"] == "customer"
    assert (
        "NodeGroupUpdateStatus" not in client.describe_update_actions(**request)["UpdateActions"][0]
    )
    (stopped,) = client.batch_stop_update_action(**request)["ProcessedUpdateActions"]
    assert (stopped["ReplicationGroupId"], stopped["UpdateActionStatus"]) == (name, "stopping")
    unknown = {**request, "ServiceUpdateName": "nobody"}
    not_found = ("ServiceUpdateNotFoundFault", 404)
    assert refusal(client.describe_service_updates, ServiceUpdateName="nobody") == not_found
    assert refusal(client.batch_apply_update_action, **unknown) == not_found
    assert refusal(client.batch_stop_update_action, **unknown) == not_found
    many = {**request, "ReplicationGroupIds": ["x"] * 21}
    assert refusal(client.batch_apply_update_action, **many) == ("InvalidParameterValue", 400)


@pytest.mark.parametrize(
    "shape",
    [
        {"Engine": "memcached", "NumCacheNodes": 2},
        {"Engine": "valkey", "NumCacheNodes": 1},
    ],
    ids=["memcached", "a single node"],
)
def test_a_cluster_of_its_own_has_tags_of_its_own(
    server: Server, client: Client, name: str, shape: dict[str, Any]
) -> None:
    async def settle(world: World) -> None:
        uid = world.records.uid_of_node(name)
        assert uid is not None
        spec = world.records.spec(uid)
        assert spec is not None
        await world.settle(spec.value)

    created = client.create_cache_cluster(
        CacheClusterId=name,
        CacheNodeType="cache.t4g.micro",
        Tags=[{"Key": "a", "Value": "1"}],
        **shape,
    )["CacheCluster"]
    arn = created["ARN"]
    refused = refusal(client.list_tags_for_resource, ResourceName=arn)
    assert refused == ("InvalidReplicationGroupState", 400)
    server.do(settle)
    assert client.list_tags_for_resource(ResourceName=arn)["TagList"] == [
        {"Key": "a", "Value": "1"}
    ]
    many = [{"Key": f"k{number}", "Value": ""} for number in range(50)]
    refused = refusal(client.add_tags_to_resource, ResourceName=arn, Tags=many)
    assert refused == ("TagQuotaPerResourceExceeded", 400)
    added = client.add_tags_to_resource(ResourceName=arn, Tags=many[:49])["TagList"]
    assert len(added) == 50
    left = client.remove_tags_from_resource(ResourceName=arn, TagKeys=["k0", "a"])["TagList"]
    assert len(left) == 48
