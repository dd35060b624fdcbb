"""Does boto3 manage subnet groups as it does at ElastiCache?"""

from __future__ import annotations

from typing import Any

from tests.integration.api_server import Client, Server, refusal
from tests.unit.service.service_world import World

SUBNETS = ["subnet-0123456789abcdef0", "subnet-01234567", "subnet-aaaaaaaaaaaaaaaaa"]


def create(client: Client, name: str, **changes: Any) -> dict[str, Any]:
    usual = {
        "CacheSubnetGroupName": name,
        "CacheSubnetGroupDescription": "of a test",
        "SubnetIds": SUBNETS,
    }
    return dict(client.create_cache_subnet_group(**{**usual, **changes})["CacheSubnetGroup"])


def described(client: Client, name: str) -> dict[str, Any]:
    (group,) = client.describe_cache_subnet_groups(CacheSubnetGroupName=name)["CacheSubnetGroups"]
    return dict(group)


def test_a_subnet_group_from_create_to_not_found(client: Client, name: str) -> None:
    created = create(client, name.upper(), Tags=[{"Key": "team", "Value": "red"}])
    assert created == described(client, name)
    assert {**created, "Subnets": (), "VpcId": ""} == {
        "CacheSubnetGroupName": name,
        "CacheSubnetGroupDescription": "of a test",
        "VpcId": "",
        "Subnets": (),
        "ARN": f"arn:aws:elasticache:us-east-1:000000000000:subnetgroup:{name}",
        "SupportedNetworkTypes": ["ipv4"],
    }
    assert created["VpcId"] == described(client, "default")["VpcId"]
    zones = {subnet["SubnetAvailabilityZone"]["Name"] for subnet in created["Subnets"]}
    assert zones == {"us-east-1a", "us-east-1b", "us-east-1c"}
    assert [subnet["SubnetIdentifier"] for subnet in created["Subnets"]] == SUBNETS
    assert all(subnet["SupportedNetworkTypes"] == ["ipv4"] for subnet in created["Subnets"])

    modified = client.modify_cache_subnet_group(
        CacheSubnetGroupName=name, CacheSubnetGroupDescription="new", SubnetIds=SUBNETS[1:]
    )["CacheSubnetGroup"]
    assert modified["Subnets"] == created["Subnets"][1:]
    assert described(client, name)["CacheSubnetGroupDescription"] == "new"
    client.delete_cache_subnet_group(CacheSubnetGroupName=name)
    request = {"CacheSubnetGroupName": name}
    not_found = ("CacheSubnetGroupNotFoundFault", 400)
    assert refusal(client.describe_cache_subnet_groups, **request) == not_found
    assert refusal(client.delete_cache_subnet_group, **request) == not_found
    assert refusal(client.modify_cache_subnet_group, SubnetIds=SUBNETS, **request) == not_found
    events = client.describe_events(SourceType="cache-subnet-group", SourceIdentifier=name)
    assert [event["Message"] for event in events["Events"]] == [
        f"Cache subnet group {name} deleted",
        f"Cache subnet group {name} modified",
        f"Cache subnet group {name} created",
    ]


def test_the_default_group_is_always_there_and_stays(client: Client) -> None:
    group = described(client, "Default")
    assert (group["CacheSubnetGroupName"], len(group["Subnets"])) == ("default", 3)
    listed = client.describe_cache_subnet_groups()["CacheSubnetGroups"]
    assert group in listed
    request = {"CacheSubnetGroupName": "default"}
    assert refusal(client.delete_cache_subnet_group, **request) == ("CacheSubnetGroupInUse", 400)
    refused = refusal(client.modify_cache_subnet_group, SubnetIds=SUBNETS, **request)
    assert refused == ("InvalidParameterValue", 400)
    refused = refusal(
        client.create_cache_subnet_group,
        CacheSubnetGroupDescription="mine",
        SubnetIds=SUBNETS,
        **request,
    )
    assert refused == ("CacheSubnetGroupAlreadyExists", 400)


def test_a_group_that_nodes_are_in_cannot_be_deleted(
    server: Server, client: Client, name: str
) -> None:
    create(client, name)
    client.create_replication_group(
        ReplicationGroupId=name,
        ReplicationGroupDescription="in subnets",
        Engine="valkey",
        CacheNodeType="cache.t4g.micro",
        CacheSubnetGroupName=name.upper(),
    )
    (cluster,) = client.describe_cache_clusters(CacheClusterId=f"{name}-001")["CacheClusters"]
    assert cluster["CacheSubnetGroupName"] == name
    request = {"CacheSubnetGroupName": name}
    assert refusal(client.delete_cache_subnet_group, **request) == ("CacheSubnetGroupInUse", 400)

    async def forget(world: World) -> None:
        uid = world.records.uid_of_group(name)
        assert uid is not None
        spec = world.records.spec(uid)
        assert spec is not None
        await world.forget(spec.value)

    client.delete_replication_group(ReplicationGroupId=name)
    assert refusal(client.delete_cache_subnet_group, **request) == ("CacheSubnetGroupInUse", 400)
    server.do(forget)
    client.delete_cache_subnet_group(**request)


def test_every_group_is_on_one_of_the_pages(client: Client, name: str) -> None:
    for number in range(25):
        create(client, f"{name}-{number}")
    paginator = client.get_paginator("describe_cache_subnet_groups")
    pages = list(paginator.paginate(PaginationConfig={"PageSize": 20}))
    listed = [
        group["CacheSubnetGroupName"] for page in pages for group in page["CacheSubnetGroups"]
    ]
    assert len(pages) > 1
    assert listed == sorted(set(listed))
    assert {f"{name}-{number}" for number in range(25)} | {"default"} <= set(listed)
    assert refusal(client.describe_cache_subnet_groups, MaxRecords=19)[0] == "InvalidParameterValue"
