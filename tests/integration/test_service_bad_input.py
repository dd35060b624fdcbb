"""Whatever a caller sends: a clear error, no traceback, nothing left behind, others unharmed.

Signed requests of any shape over plain HTTP, and shapes of groups through boto3, against the real
service with a group in it that somebody writes to.
"""

from __future__ import annotations

import http.client
import re
import urllib.parse
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from cachewright import testing
from tests import service_kit as kit

_FORM = "application/x-www-form-urlencoded; charset=utf-8"
_VERSION = "Version=2015-02-02"
_MIB = 1024 * 1024


@pytest.fixture(scope="module")
def unchecked(service: testing.Service) -> Any:
    """Give a boto3 client that sends what its own model forbids."""
    import boto3  # noqa: PLC0415 a client of its own, with other settings than the shared ones

    return boto3.session.Session().client(
        "elasticache",
        endpoint_url=service.url,
        region_name=service.region,
        aws_access_key_id=service.credentials.access_key_id,
        aws_secret_access_key=service.credentials.secret_access_key,
        config=Config(parameter_validation=False, retries={"total_max_attempts": 1}, proxies={}),
    )


@pytest.fixture(scope="module", autouse=True)
def _witness(service: testing.Service) -> Iterator[None]:
    """Have a group that serves at the end as at the beginning, with the same engines."""
    api = service.client()
    group = kit.create_available(api, "witness")
    before = kit.engines(service.state_dir)
    yield
    assert kit.engines(service.state_dir) == before
    with kit.connect(kit.primary_endpoint(group)) as client:
        assert client.set("greeting", "hello")
    kit.delete(api, "witness")


@pytest.fixture(autouse=True)
def _nothing_is_left(service: testing.Service) -> Iterator[None]:
    yield
    groups = service.client().describe_replication_groups()["ReplicationGroups"]
    assert [(g["ReplicationGroupId"], g["Status"]) for g in groups] == [("witness", "available")]


def send(
    service: testing.Service,
    body: bytes,
    *,
    content_type: str = _FORM,
    method: str = "POST",
    path: str = "/",
) -> tuple[int, str]:
    """Send a signed request; return the status and the body of the answer."""
    request = AWSRequest(
        method=method, url=service.url + path, data=body, headers={"Content-Type": content_type}
    )
    credentials = Credentials(
        service.credentials.access_key_id, service.credentials.secret_access_key
    )
    SigV4Auth(credentials, "elasticache", service.region).add_auth(request)
    place = urllib.parse.urlsplit(service.url)
    connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=20)
    try:
        connection.request(method, path, body, dict(request.headers))
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def code_in(text: str) -> str:
    found = re.search(r"<Code>([A-Za-z.]+)</Code>", text)
    assert found, text
    return found[1]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "MissingAction"),
        (b"&&&=&", "MissingAction"),
        (b"Action=&" + _VERSION.encode(), "MissingAction"),
        (b"Action=Explode&" + _VERSION.encode(), "InvalidAction"),
        (b"Action=DescribeReplicationGroups&Version=1999-01-01", "InvalidAction"),
        (b"Action=CreateReplicationGroup&" + _VERSION.encode(), "InvalidParameterValue"),
        (b'{"Action": "DescribeReplicationGroups"}', "MissingAction"),
    ],
)
def test_a_body_that_makes_no_sense(service: testing.Service, body: bytes, code: str) -> None:
    status, answer = send(service, body)
    assert status == 400
    assert code_in(answer) == code
    assert "Traceback" not in answer


def test_a_body_that_is_no_text(service: testing.Service) -> None:
    status, answer = send(service, b"\xff\xfe\x00Action=%zz")
    assert 400 <= status < 500
    assert code_in(answer)


@pytest.mark.parametrize("size", [_MIB, 8 * _MIB])
def test_a_large_body(service: testing.Service, size: int) -> None:
    start = f"Action=DescribeReplicationGroups&{_VERSION}&ReplicationGroupId=".encode()
    try:
        status, answer = send(service, start + b"x" * (size - len(start)))
    except (ConnectionError, http.client.HTTPException):
        return  # refused before it was read
    assert 400 <= status < 500
    assert "Traceback" not in answer


@pytest.mark.parametrize("content_type", ["application/json", "text/plain", "", "multipart/x"])
def test_another_content_type(service: testing.Service, content_type: str) -> None:
    body = f"Action=DescribeReplicationGroups&{_VERSION}".encode()
    status, answer = send(service, body, content_type=content_type)
    assert status in {200, 400, 415}
    assert "Traceback" not in answer


def test_unknown_repeated_and_scattered_parameters(service: testing.Service) -> None:
    asked = f"Action=DescribeReplicationGroups&{_VERSION}"
    for more in (
        "&Unheard=of", "&ReplicationGroupId=a&ReplicationGroupId=b", "&MaxRecords=20&MaxRecords=x",
        "&MaxRecords=cheese", "&MaxRecords=19", "&MaxRecords=101", "&MaxRecords=-1",
        "&Marker=cheese", "&ReplicationGroupId.member.1=x",
    ):  # fmt: skip
        status, answer = send(service, (asked + more).encode())
        assert status in {200, 400}, more
        assert "Traceback" not in answer
    create = (
        f"Action=CreateReplicationGroup&{_VERSION}&ReplicationGroupId=holes"
        "&ReplicationGroupDescription=x&Engine=valkey&CacheNodeType=cache.t4g.micro"
    )
    for more in (
        "&PreferredCacheClusterAZs.AvailabilityZone.1=us-east-1a"
        "&PreferredCacheClusterAZs.AvailabilityZone.3=us-east-1b&NumCacheClusters=3",
        "&Tags.Tag.999999999999999999.Key=x",
        "&Tags.Tag.-1.Key=x",
        "&NumCacheClusters=1e3",
        "&NumCacheClusters=0x10",
        "&NumCacheClusters=%EF%BC%91",
        "&AutomaticFailoverEnabled=perhaps",
        "&Port=6379.0",
    ):
        status, answer = send(service, (create + more).encode())
        assert status == 400, more
        assert "Traceback" not in answer


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("PUT", "/"),
        ("DELETE", "/"),
        ("GET", "/%00"),
        ("POST", "/../../etc/passwd"),
        ("GET", "/nowhere"),
    ],
)
def test_other_methods_and_paths(service: testing.Service, method: str, path: str) -> None:
    status, answer = send(service, b"", method=method, path=path)
    assert 400 <= status < 500
    assert "Traceback" not in answer


_SHAPES: list[dict[str, Any]] = [
    {"NumNodeGroups": 0},
    {"NumNodeGroups": -1},
    {"NumNodeGroups": 10**9},
    {"NumNodeGroups": 91},
    {"NumNodeGroups": 16, "ReplicasPerNodeGroup": 5},
    {"NumNodeGroups": 1, "ReplicasPerNodeGroup": 6},
    {"NumNodeGroups": 1, "ReplicasPerNodeGroup": -1},
    {"NumCacheClusters": 0},
    {"NumCacheClusters": -1},
    {"NumCacheClusters": 7},
    {"NumCacheClusters": 10**9},
    {"NumCacheClusters": 2, "PreferredCacheClusterAZs": [f"us-east-1{z}" for z in "abcab"]},
    {"NumCacheClusters": 2, "NumNodeGroups": 2},
    {"NumCacheClusters": 1, "AutomaticFailoverEnabled": True},
    {"NumNodeGroups": 2, "AutomaticFailoverEnabled": False},
    {"NumCacheClusters": 1, "Port": 0},
    {"NumCacheClusters": 1, "Port": 70_000},
    {"NumCacheClusters": 1, "Port": 80},
    {"NumCacheClusters": 1, "CacheNodeType": "cache.cheese"},
    {"NumCacheClusters": 1, "Engine": "memcached"},
    {"NumCacheClusters": 1, "Engine": "postgres"},
    {"NumCacheClusters": 1, "CacheParameterGroupName": "nobody"},
    {"NumCacheClusters": 1, "CacheParameterGroupName": "default.redis7"},
    {"NumCacheClusters": 1, "TransitEncryptionEnabled": True},
    {"NumCacheClusters": 1, "AuthToken": "sixteen-letters-or-more"},
    {"NumCacheClusters": 1, "SnapshotRetentionLimit": 36},
    {"NumCacheClusters": 1, "PreferredMaintenanceWindow": "never"},
]


@pytest.mark.parametrize("shape", _SHAPES, ids=lambda shape: ",".join(f"{k}" for k in shape))
def test_a_group_that_cannot_be(unchecked: Any, shape: dict[str, Any]) -> None:
    request = {"Engine": "valkey", "CacheNodeType": kit.NODE_TYPE} | shape
    with pytest.raises(ClientError) as caught:
        unchecked.create_replication_group(
            ReplicationGroupId="odd", ReplicationGroupDescription="x", **request
        )
    _assert_clear(caught.value)


def _assert_clear(error: ClientError) -> None:
    assert 400 <= error.response["ResponseMetadata"]["HTTPStatusCode"] < 500
    assert error.response["Error"]["Code"] not in {"InternalFailure", "UnknownError"}
    assert error.response["Error"]["Message"]


_IPC, _IPV = "InvalidParameterCombination", "InvalidParameterValue"
_HUGE = "9" * 5_000
#: Of values that break a constraint of the service model.
_VE = "ValidationError"
#: Of `witness`, a group of one node without failover: parameters and the codes that refuse them.
_FAILOVERS: list[tuple[str, str, set[str]]] = [
    ("TestFailover", "", {_IPV}),
    ("TestFailover", "&ReplicationGroupId=witness", {_IPV}),
    ("TestFailover", "&NodeGroupId=0001", {_IPV}),
    ("TestFailover", "&ReplicationGroupId=witness&NodeGroupId=", {_VE}),
    ("TestFailover", f"&ReplicationGroupId=witness&NodeGroupId={_HUGE}", {_VE}),
    ("TestFailover", "&ReplicationGroupId=witness&NodeGroupId=one", {_VE}),
    ("TestFailover", "&ReplicationGroupId=witness&NodeGroupId=%0d%0a", {_VE}),
    ("TestFailover", "&ReplicationGroupId=witness&NodeGroupId=%D9%A1", {_VE}),
    ("TestFailover", "&ReplicationGroupId=witness&NodeGroupId=9", {"NodeGroupNotFoundFault"}),
    ("TestFailover", "&ReplicationGroupId=w&NodeGroupId=0001", {"ReplicationGroupNotFoundFault"}),
    ("TestFailover", "&ReplicationGroupId=..%2Fw&NodeGroupId=0001",
     {"ReplicationGroupNotFoundFault", _IPV}),
    ("TestFailover", "&ReplicationGroupId=witness&NodeGroupId=0001",
     {"TestFailoverNotAvailableFault"}),
    ("ModifyReplicationGroup", "&PrimaryClusterId=nobody-001", {"CacheClusterNotFound"}),
    ("ModifyReplicationGroup", f"&PrimaryClusterId={_HUGE}", {"CacheClusterNotFound"}),
    ("ModifyReplicationGroup", "&PrimaryClusterId=a%00b", {_IPV, "InvalidQueryParameter"}),
    ("ModifyReplicationGroup", "&PrimaryClusterId=", {_IPC}),
    ("ModifyReplicationGroup", "&PrimaryClusterId=witness-001", {_IPC}),
    ("ModifyReplicationGroup", "&PrimaryClusterId=witness-001&AutomaticFailoverEnabled=true",
     {_IPC}),
    ("ModifyReplicationGroup", "&AutomaticFailoverEnabled=true", {_IPC}),
    ("ModifyReplicationGroup", "&AutomaticFailoverEnabled=perhaps", {_IPV}),
    ("ModifyReplicationGroup", "&AutomaticFailoverEnabled=", {_IPV, _IPC}),
    ("ModifyReplicationGroup", "&MultiAZEnabled=true", {_IPC}),
    ("ModifyReplicationGroup", "&MultiAZEnabled=1e0", {_IPV}),
    ("ModifyReplicationGroup", "&AutomaticFailoverEnabled=true&MultiAZEnabled=true", {_IPC}),
    ("ModifyReplicationGroup", "&Durability=sync", {_IPC}),
    ("ModifyReplicationGroup", "&Durability=async", {_IPC}),
    ("ModifyReplicationGroup", f"&Durability={_HUGE}", {_VE}),
    ("ModifyReplicationGroup", "&Durability=DEFAULT", {_VE}),
    ("ModifyReplicationGroup", "&Durability=disabled", {_IPC}),
]  # fmt: skip


@pytest.mark.parametrize(("operation", "more", "codes"), _FAILOVERS)
def test_a_failover_that_cannot_be(
    service: testing.Service, operation: str, more: str, codes: set[str]
) -> None:
    api = service.client()
    before = kit.describe(api, "witness")
    told = kit.messages(api, "witness")
    named = "" if operation == "TestFailover" else "&ReplicationGroupId=witness"
    status, answer = send(service, f"Action={operation}&{_VERSION}{named}{more}".encode())
    assert (400 <= status < 500, code_in(answer) in codes) == (True, True), answer
    assert "Traceback" not in answer
    assert len(answer) < 2_000
    assert kit.describe(api, "witness") == before
    assert kit.messages(api, "witness") == told


@pytest.mark.parametrize(
    "body",
    [b"", b"{}", b'{"shard_id": "0001"}', b'{"accepts_loss": 1}', b"[]", b"\xff", b"[" * 100_000],
)
def test_a_drill_that_would_lose_data_or_makes_no_sense(
    service: testing.Service, body: bytes
) -> None:
    path = "/cachewright/v1/groups/witness/drill"
    status, answer = send(service, body, path=path, content_type="application/json")
    assert 400 <= status < 500
    assert "Traceback" not in answer


@pytest.mark.parametrize(
    "slots",
    [
        ("0-8000", "8002-16383"),
        ("0-8000", "8000-16383"),
        ("0-8000", "8001-16384"),
        ("0-16383", ""),
        ("0-16383", "-"),
        ("16383-0", "1-2"),
        ("0-8000", "8001-16383\n"),
        ("0-99999999999999999999", "1-2"),
        ("a-b", "1-2"),
        ("0-8000", "٣-16383"),
    ],
)
def test_slots_that_leave_a_gap_or_meet(unchecked: Any, slots: tuple[str, str]) -> None:
    with pytest.raises(ClientError) as caught:
        unchecked.create_replication_group(
            ReplicationGroupId="odd",
            ReplicationGroupDescription="x",
            Engine="valkey",
            CacheNodeType=kit.NODE_TYPE,
            NodeGroupConfiguration=[{"Slots": part, "ReplicaCount": 0} for part in slots],
            AutomaticFailoverEnabled=True,
        )
    _assert_clear(caught.value)


@pytest.mark.parametrize(
    "name",
    ["", "-a", "a-", "a--b", "1a", "a" * 41, "a" * 51, "a" * 5_000, "a b", "a.b", "a/b", "../a",
     "a\n", "a\r\nb", "a\0b", "a'b", 'a"b', "a;b", "ünïcode", "smile\U0001f600", "a%00b", "<a>",
     "a&b"],
)  # fmt: skip
def test_ids_that_cannot_be(unchecked: Any, name: str) -> None:
    with pytest.raises(ClientError) as caught:
        kit.create(unchecked, name)
    _assert_clear(caught.value)


@pytest.mark.parametrize("text", ["a" * 20_000, "<b>&amp;\"'", "smile \U0001f600"])
def test_strange_descriptions_are_kept_or_refused(
    service: testing.Service, unchecked: Any, text: str
) -> None:
    try:
        kit.create(unchecked, "described", ReplicationGroupDescription=text)
    except ClientError as error:
        _assert_clear(error)
        return
    shown = kit.describe(unchecked, "described")
    assert shown is not None
    assert shown["Description"] == text
    kit.delete(service.client(), "described")


def test_upper_case_is_made_lower(api: Any) -> None:
    kit.create(api, "UPPER")
    assert kit.status(api, "upper") == "creating"
    kit.delete(api, "Upper")


def test_five_hundred_nodes_need_the_higher_limit(tmp_path_factory: pytest.TempPathFactory) -> None:
    """The quota is looked at before the addresses: no engine is started here."""
    arguments = ("--max-nodes", "600", "--address-pool", kit.free_pool(29))
    for limit, asked, code in (
        ("90", 91, "NodeGroupsPerReplicationGroupQuotaExceeded"),
        ("500", 501, "NodeGroupsPerReplicationGroupQuotaExceeded"),
        ("500", 500, "InsufficientCacheClusterCapacity"),
    ):
        folder = tmp_path_factory.mktemp("limits")
        with kit.up(folder, *arguments, "--max-nodes-per-group", limit) as service:
            with pytest.raises(ClientError) as caught:
                kit.create(service.api, "huge", shards=asked)
            assert caught.value.response["Error"]["Code"] == code
            assert "Traceback" not in service.output
