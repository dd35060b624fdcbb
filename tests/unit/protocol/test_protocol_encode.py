"""XML by hand: envelope, empty things, forbidden things."""

import datetime
import enum
from typing import Any
from xml.etree import ElementTree

import pytest

from cachewright.protocol import encode, service_model
from cachewright.protocol.errors import Bug

MODEL = service_model.load_service_model()
NAMESPACE = "{http://elasticache.amazonaws.com/doc/2015-02-02/}"


def body(operation: str, output: dict[str, Any] | None) -> str:
    return encode.encode_response(MODEL.operations[operation], output, "r-1").decode()


def result(operation: str, output: dict[str, Any]) -> str:
    return encode.encode_result(MODEL.operations[operation], output).decode()


def group(**members: Any) -> dict[str, Any]:
    return {"ReplicationGroup": members}


def test_the_envelope() -> None:
    assert body("CreateReplicationGroup", group(Status="creating")) == (
        '<CreateReplicationGroupResponse xmlns="http://elasticache.amazonaws.com/doc/2015-02-02/">'
        "<CreateReplicationGroupResult><ReplicationGroup><Status>creating</Status>"
        "</ReplicationGroup></CreateReplicationGroupResult>"
        "<ResponseMetadata><RequestId>r-1</RequestId></ResponseMetadata>"
        "</CreateReplicationGroupResponse>"
    )


@pytest.mark.parametrize("output", [None, {}])
def test_an_operation_without_output_has_no_result(output: dict[str, Any] | None) -> None:
    assert body("DeleteCacheSubnetGroup", output) == (
        '<DeleteCacheSubnetGroupResponse xmlns="http://elasticache.amazonaws.com/doc/2015-02-02/">'
        "<ResponseMetadata><RequestId>r-1</RequestId></ResponseMetadata>"
        "</DeleteCacheSubnetGroupResponse>"
    )


def test_a_kept_result_gives_the_same_body() -> None:
    operation = MODEL.operations["CreateReplicationGroup"]
    kept = encode.encode_result(operation, group(Status="creating"))
    assert encode.wrap_result(operation, kept, "r-1").decode() == body(
        "CreateReplicationGroup", group(Status="creating")
    )


@pytest.mark.parametrize(
    ("members", "xml"),
    [
        ({"PendingModifiedValues": {}, "MemberClusters": []},
         "<PendingModifiedValues/><MemberClusters/>"),
        ({"MemberClusters": ("a", "")},
         "<MemberClusters><ClusterId>a</ClusterId><ClusterId></ClusterId></MemberClusters>"),
        ({"Description": None, "Status": "x"}, "<Status>x</Status>"),
        ({"UserGroupIds": ["u"]}, "<UserGroupIds><member>u</member></UserGroupIds>"),
        ({"ClusterEnabled": True, "MultiAZ": "disabled"},
         "<ClusterEnabled>true</ClusterEnabled><MultiAZ>disabled</MultiAZ>"),
        ({"SnapshotRetentionLimit": 0}, "<SnapshotRetentionLimit>0</SnapshotRetentionLimit>"),
        ({"Description": "a<b>&\"c'\r\n\t]]>"},
         "<Description>a&lt;b&gt;&amp;\"c'&#13;\n\t]]&gt;</Description>"),
        ({"Description": "a\x00b\x1b\ufffe\ud800c"},
         "<Description>a\ufffdb\ufffd\ufffd\ufffdc</Description>"),
    ],
    ids=["empty", "list", "None", "unnamed list", "boolean", "zero", "escapes", "unsayable"],
)  # fmt: skip
def test_values(members: dict[str, Any], xml: str) -> None:
    found = result("CreateReplicationGroup", group(**members))
    assert found == (
        f"<CreateReplicationGroupResult><ReplicationGroup>{xml}</ReplicationGroup>"
        "</CreateReplicationGroupResult>"
    )


def test_times_are_written_in_utc_with_milliseconds() -> None:
    zone = datetime.timezone(datetime.timedelta(hours=2))
    at = datetime.datetime(2026, 1, 2, 5, 4, 5, 678_900, zone)
    found = result("CreateReplicationGroup", group(ReplicationGroupCreateTime=at))
    assert ">2026-01-02T03:04:05.678Z<" in found


def test_the_element_name_of_pending_log_deliveries_is_the_one_that_botocore_reads() -> None:
    pending = {"LogDeliveryConfigurations": [{"LogType": "slow-log"}]}
    found = result("CreateReplicationGroup", group(PendingModifiedValues=pending))
    assert (
        "<PendingModifiedValues><PendingLogDeliveryConfiguration><member>"
        "<LogType>slow-log</LogType>" in found
    )


class Mixed(str, enum.Enum):  # noqa: UP042 - not StrEnum: the kind that formats as its name
    """An enum that is a string, and yet not what must be written."""

    AVAILABLE = "available"


@pytest.mark.parametrize(
    "members",
    [
        {"Novelty": "x"},
        {"Novelty": None},
        {"Status": 1},
        {"Status": Mixed.AVAILABLE},
        {"SnapshotRetentionLimit": "1"},
        {"SnapshotRetentionLimit": True},
        {"SnapshotRetentionLimit": 1.5},
        {"ClusterEnabled": 1},
        {"ReplicationGroupCreateTime": "2026-01-02T03:04:05Z"},
        {"ReplicationGroupCreateTime": datetime.datetime(2026, 1, 2)},  # noqa: DTZ001 - naive
        {"MemberClusters": "demo-001"},
        {"MemberClusters": [None]},
        {"PendingModifiedValues": []},
    ],
)
def test_what_the_shape_does_not_contain_is_a_bug(members: dict[str, Any]) -> None:
    with pytest.raises(Bug):
        result("CreateReplicationGroup", group(**members))


@pytest.mark.parametrize("price", [float("nan"), float("inf"), "1.0", True])
def test_a_double_must_be_a_finite_number(price: object) -> None:
    with pytest.raises(Bug):
        result("PurchaseReservedCacheNodesOffering", {"ReservedCacheNode": {"FixedPrice": price}})


def test_output_of_an_operation_without_output_is_a_bug() -> None:
    with pytest.raises(Bug):
        body("DeleteCacheSubnetGroup", {"CacheSubnetGroup": {}})


@pytest.mark.parametrize(("status", "fault"), [(404, "Sender"), (500, "Receiver")])
def test_errors(status: int, fault: str) -> None:
    found = ElementTree.fromstring(  # noqa: S314 - our own bytes
        encode.encode_error("SomeCode", "no <such> thing \x00", status, "r-1")
    )
    assert found.tag == f"{NAMESPACE}ErrorResponse"
    assert found.findtext(f"{NAMESPACE}Error/{NAMESPACE}Type") == fault
    assert found.findtext(f"{NAMESPACE}Error/{NAMESPACE}Code") == "SomeCode"
    assert found.findtext(f"{NAMESPACE}Error/{NAMESPACE}Message") == "no <such> thing \ufffd"
    assert found.findtext(f"{NAMESPACE}RequestId") == "r-1"


def test_a_kept_structure_is_written_as_any_other_and_only_once() -> None:
    plain = {"ReplicationGroupId": "demo", "Status": "creating", "MemberClusters": ["demo-001"]}
    kept = encode.Kept(plain)
    assert result("CreateReplicationGroup", {"ReplicationGroup": kept}) == result(
        "CreateReplicationGroup", {"ReplicationGroup": plain}
    )
    (written,) = kept.encoded.values()
    page = result("DescribeReplicationGroups", {"ReplicationGroups": [kept, kept]})
    assert f"<ReplicationGroups>{written}{written}</ReplicationGroups>" in page


def test_a_kept_structure_is_checked_when_it_is_written() -> None:
    with pytest.raises(Bug):
        result("CreateReplicationGroup", {"ReplicationGroup": encode.Kept({"Nope": "x"})})
