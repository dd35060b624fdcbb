"""Does boto3 drive the API as it drives ElastiCache? A real server, a real store, no engines."""

from __future__ import annotations

import concurrent.futures
import contextlib
import socket
from pathlib import Path
from typing import Any

import botocore.config
import botocore.exceptions
import pytest

from cachewright.model.groups import GroupSpec
from cachewright.model.status import GroupState
from tests.integration.api_server import DEADLINE_S, Client, Server, make_client, running
from tests.unit.service.service_world import World


def create(client: Client, name: str, **changes: Any) -> dict[str, Any]:
    usual = {
        "ReplicationGroupId": name,
        "ReplicationGroupDescription": "a group",
        "Engine": "valkey",
        "CacheNodeType": "cache.t4g.micro",
    }
    group: dict[str, Any] = client.create_replication_group(**{**usual, **changes})[
        "ReplicationGroup"
    ]
    return group


def described(client: Client, name: str) -> dict[str, Any]:
    (group,) = client.describe_replication_groups(ReplicationGroupId=name)["ReplicationGroups"]
    return dict(group)


def spec_of(world: World, name: str) -> GroupSpec:
    uid = world.records.uid_of_group(name)
    written = None if uid is None else world.records.spec(uid)
    assert written is not None
    return written.value


def settle(server: Server, name: str, state: GroupState = GroupState.AVAILABLE) -> None:
    async def as_the_loop_would(world: World) -> None:
        await world.settle(spec_of(world, name), state)

    server.do(as_the_loop_would)


def forget(server: Server, name: str) -> None:
    async def as_the_loop_would(world: World) -> None:
        await world.forget(spec_of(world, name))

    server.do(as_the_loop_would)


# The life of a group


def test_a_group_of_cluster_mode_from_create_to_not_found(
    server: Server, client: Client, name: str
) -> None:
    created = create(client, name.upper(), NumNodeGroups=3, ReplicasPerNodeGroup=1)
    assert (created["ReplicationGroupId"], created["Status"]) == (name, "creating")
    assert len(created["MemberClusters"]) == 6
    assert created["PendingModifiedValues"] == {}
    settle(server, name)
    client.get_waiter("replication_group_available").wait(
        ReplicationGroupId=name, WaiterConfig={"Delay": 0, "MaxAttempts": 1}
    )
    group = described(client, name)
    assert group["ConfigurationEndpoint"]["Port"] == 6379
    assert [shard["NodeGroupId"] for shard in group["NodeGroups"]] == ["0001", "0002", "0003"]
    changed = client.modify_replication_group(
        ReplicationGroupId=name, ReplicationGroupDescription="another"
    )["ReplicationGroup"]
    assert (changed["Description"], changed["Status"]) == ("another", "available")
    deleted = client.delete_replication_group(ReplicationGroupId=name)["ReplicationGroup"]
    assert deleted["Status"] == "deleting"
    assert described(client, name)["Status"] == "deleting"
    with pytest.raises(client.exceptions.InvalidReplicationGroupStateFault):
        client.delete_replication_group(ReplicationGroupId=name)
    with pytest.raises(client.exceptions.ReplicationGroupAlreadyExistsFault):
        create(client, name)
    forget(server, name)
    with pytest.raises(client.exceptions.ReplicationGroupNotFoundFault):
        described(client, name)
    client.get_waiter("replication_group_deleted").wait(
        ReplicationGroupId=name, WaiterConfig={"Delay": 0, "MaxAttempts": 1}
    )


def test_the_primary_of_a_group_can_be_retained_and_deleted_later(
    server: Server, client: Client, name: str
) -> None:
    create(client, name, NumCacheClusters=2, Tags=[{"Key": "team", "Value": "red"}])
    settle(server, name)
    client.delete_replication_group(ReplicationGroupId=name, RetainPrimaryCluster=True)

    async def release(world: World) -> None:
        await world.release(spec_of(world, name), f"{name}-001")

    server.do(release)
    alone = client.describe_cache_clusters(ShowCacheClustersNotInReplicationGroups=True)
    (cluster,) = alone["CacheClusters"]
    assert cluster["CacheClusterId"] == f"{name}-001"
    assert "ReplicationGroupId" not in cluster
    tags = client.list_tags_for_resource(ResourceName=cluster["ARN"])["TagList"]
    assert tags == [{"Key": "team", "Value": "red"}]
    with pytest.raises(client.exceptions.CacheClusterAlreadyExistsFault):
        create(client, name)
    gone = client.delete_cache_cluster(CacheClusterId=f"{name}-001")["CacheCluster"]
    assert gone["CacheClusterStatus"] == "deleting"


def test_a_group_can_be_deleted_while_it_is_created(client: Client, name: str) -> None:
    create(client, name)
    deleted = client.delete_replication_group(ReplicationGroupId=name)
    assert deleted["ReplicationGroup"]["Status"] == "deleting"


def test_a_create_that_failed_says_so_and_can_be_deleted(
    server: Server, client: Client, name: str
) -> None:
    create(client, name)

    async def fail(world: World) -> None:
        spec = spec_of(world, name)
        await world.settle(spec, GroupState.CREATE_FAILED, was_available=False)

    server.do(fail)
    group = described(client, name)
    assert group["Status"] == "create-failed"
    assert "Endpoint" not in str(group)
    assert client.delete_replication_group(ReplicationGroupId=name)


def test_of_twenty_creates_at_once_one_wins_and_nineteen_are_told(
    client: Client, name: str
) -> None:
    def attempt(_: int) -> str:
        try:
            create(client, name, NumCacheClusters=2)
        except botocore.exceptions.ClientError as error:
            return str(error.response["Error"]["Code"])
        return "accepted"

    with concurrent.futures.ThreadPoolExecutor(20) as pool:
        outcomes = sorted(pool.map(attempt, range(20)))
    assert outcomes == ["ReplicationGroupAlreadyExists"] * 19 + ["accepted"]
    assert described(client, name)["MemberClusters"] == [f"{name}-001", f"{name}-002"]


def test_what_was_acknowledged_is_there_after_a_restart(tmp_path: Path) -> None:
    with running(tmp_path) as server:
        client = make_client(server.port)
        create(client, "kept", Tags=[{"Key": "k", "Value": "v"}])
        client.close()
    with running(tmp_path) as server:
        client = make_client(server.port)
        assert described(client, "kept")["Status"] == "creating"
        client.close()


# Lists


def test_lists_come_in_pages_without_gaps_or_repeats(tmp_path: Path) -> None:
    async def fill(world: World) -> None:
        for number in range(45):
            await world.create(replication_group_id=f"g{number}", num_cache_clusters=2)

    with running(tmp_path) as server, contextlib.closing(make_client(server.port)) as client:
        server.do(fill)
        for operation, member, identifier, count in (
            ("describe_replication_groups", "ReplicationGroups", "ReplicationGroupId", 45),
            ("describe_cache_clusters", "CacheClusters", "CacheClusterId", 90),
            ("describe_events", "Events", "SourceIdentifier", 45),
        ):
            pages = list(
                client.get_paginator(operation).paginate(PaginationConfig={"PageSize": 20})
            )
            found = [item[identifier] for page in pages for item in page[member]]
            assert len(found) == len(set(found)) == count
            assert [len(page[member]) for page in pages[:2]] == [20, 20]


def test_members_are_cache_clusters(server: Server, client: Client, name: str) -> None:
    create(client, name, NumCacheClusters=2, Port=7777)
    (cluster,) = client.describe_cache_clusters(
        CacheClusterId=f"{name}-002", ShowCacheNodeInfo=True
    )["CacheClusters"]
    assert (cluster["CacheClusterStatus"], cluster.get("CacheNodes", [])) == ("creating", [])
    settle(server, name)
    (cluster,) = client.describe_cache_clusters(
        CacheClusterId=f"{name}-002".upper(), ShowCacheNodeInfo=True
    )["CacheClusters"]
    assert cluster["ReplicationGroupId"] == name
    assert cluster["EngineVersion"] == "9.1.2"
    (node,) = cluster["CacheNodes"]
    assert (node["CacheNodeId"], node["Endpoint"]["Port"]) == ("0001", 7777)
    with pytest.raises(client.exceptions.CacheClusterNotFoundFault):
        client.describe_cache_clusters(CacheClusterId="nobody")


def test_engine_versions_show_the_patch_that_runs(client: Client) -> None:
    versions = client.describe_cache_engine_versions(Engine="valkey")["CacheEngineVersions"]
    assert [(v["EngineVersion"], v["CacheEngineVersionDescription"]) for v in versions] == [
        ("8.1", "valkey version 8.1"),
        ("9.1", "valkey version 9.1.2"),
    ]
    assert versions[1]["CacheParameterGroupFamily"] == "valkey9"


def test_tags_of_a_group_are_those_of_its_members(
    server: Server, client: Client, name: str
) -> None:
    arn = create(client, name)["ARN"]
    with pytest.raises(client.exceptions.InvalidReplicationGroupStateFault):
        client.list_tags_for_resource(ResourceName=arn)
    settle(server, name)
    client.add_tags_to_resource(ResourceName=arn, Tags=[{"Key": "a", "Value": "1"}, {"Key": "b"}])
    member = arn.replace(":replicationgroup:", ":cluster:") + "-001"
    tags = client.list_tags_for_resource(ResourceName=member)["TagList"]
    assert tags == [{"Key": "a", "Value": "1"}, {"Key": "b", "Value": ""}]
    left = client.remove_tags_from_resource(ResourceName=arn, TagKeys=["a"])["TagList"]
    assert left == [{"Key": "b", "Value": ""}]
    with pytest.raises(client.exceptions.TagNotFoundFault):
        client.remove_tags_from_resource(ResourceName=arn, TagKeys=["a"])
    with pytest.raises(client.exceptions.InvalidARNFault):
        client.list_tags_for_resource(ResourceName="demo")


def test_other_lookups(server: Server, client: Client, name: str) -> None:
    create(client, name)
    settle(server, name)
    allowed = client.list_allowed_node_type_modifications(ReplicationGroupId=name)
    assert "cache.t4g.small" in allowed["ScaleUpModifications"]
    assert allowed["ScaleDownModifications"] == []  # nobody has said what the engines hold
    groups = client.describe_cache_parameter_groups()["CacheParameterGroups"]
    assert "default.valkey9.cluster.on" in [g["CacheParameterGroupName"] for g in groups]
    events = client.describe_events(SourceType="replication-group", SourceIdentifier=name)
    assert [event["Message"] for event in events["Events"]] == [
        f"Create of replication group {name} accepted"
    ]


# Input that is wrong


STRINGS = [
    "ReplicationGroupId", "ReplicationGroupDescription", "Engine", "EngineVersion",
    "CacheNodeType", "CacheParameterGroupName", "CacheSubnetGroupName",
    "PreferredMaintenanceWindow", "SnapshotWindow", "NotificationTopicArn", "AuthToken",
    "KmsKeyId", "SnapshotName", "PrimaryClusterId", "GlobalReplicationGroupId",
]  # fmt: skip


@pytest.mark.parametrize("member", STRINGS)
@pytest.mark.parametrize("char", ["\r\n", "\n", "\0"], ids=["CRLF", "LF", "NUL"])
def test_no_line_can_be_smuggled_through_any_text(
    client: Client, name: str, member: str, char: str
) -> None:
    with pytest.raises(botocore.exceptions.ClientError) as caught:
        create(client, name, **{member: f"x{char}save 1 1"})
    assert caught.value.response["Error"]["Code"] == "InvalidParameterValue"
    with pytest.raises(client.exceptions.ReplicationGroupNotFoundFault):
        described(client, name)


@pytest.mark.parametrize(
    "credentials",
    [
        pytest.param(
            ({"aws_access_key_id": "nobody"}, "InvalidClientTokenId"), id="another access key"
        ),
        pytest.param(
            ({"aws_secret_access_key": "wrong"}, "SignatureDoesNotMatch"), id="another secret"
        ),
        pytest.param(({"region_name": "eu-west-1"}, "SignatureDoesNotMatch"), id="another region"),
        pytest.param(
            ({"aws_session_token": "token"}, "InvalidClientTokenId"), id="a session token"
        ),
    ],
)
def test_callers_who_do_not_prove_who_they_are_are_turned_away(
    server: Server, credentials: tuple[dict[str, str], str]
) -> None:
    changes, code = credentials
    with (
        contextlib.closing(make_client(server.port, **changes)) as client,
        pytest.raises(botocore.exceptions.ClientError) as caught,
    ):
        client.describe_replication_groups()
    assert caught.value.response["Error"]["Code"] == code
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403


def test_a_presigned_url_works_as_it_is(server: Server, client: Client) -> None:
    url = client.generate_presigned_url("describe_cache_engine_versions", HttpMethod="GET")
    path = url.removeprefix(f"http://127.0.0.1:{server.port}")
    with socket.create_connection(("127.0.0.1", server.port), timeout=DEADLINE_S) as link:
        link.sendall(
            f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n"
            "Connection: close\r\n\r\n".encode()
        )
        answer = b"".join(iter(lambda: link.recv(65_536), b""))
    assert answer.startswith(b"HTTP/1.1 200 OK")
    assert b"<CacheParameterGroupFamily>valkey9" in answer
