"""Requests by hand: the tolerant corners, and each way to be refused."""

import datetime
from typing import Any

import pytest

from cachewright.protocol import decode, service_model
from cachewright.protocol.errors import WireError

MODEL = service_model.load_service_model()
FORM = "application/x-www-form-urlencoded; charset=utf-8"
UTC = datetime.UTC


def call(
    rest: str | bytes = "",
    *,
    action: str = "CreateReplicationGroup",
    query: bytes = b"",
    content_type: str | None = FORM,
) -> decode.Call:
    rest_bytes = rest if isinstance(rest, bytes) else rest.encode()
    body = f"Action={action}&Version=2015-02-02".encode()
    return decode.decode(
        MODEL,
        query=query,
        body=body + (b"&" + rest_bytes if rest_bytes else b""),
        content_type=content_type,
    )


def params(rest: str | bytes, action: str = "CreateReplicationGroup") -> dict[str, Any]:
    return call(rest, action=action).params


def refusal(rest: str | bytes, action: str = "CreateReplicationGroup") -> WireError:
    with pytest.raises(WireError) as caught:
        call(rest, action=action)
    return caught.value


def code_of(body: bytes, *, query: bytes = b"", content_type: str | None = FORM) -> str:
    with pytest.raises(WireError) as caught:
        decode.decode(MODEL, query=query, body=body, content_type=content_type)
    return caught.value.code


def test_a_create_becomes_a_typed_dict() -> None:
    found = call(
        "ReplicationGroupId=demo&NumNodeGroups=2&AutomaticFailoverEnabled=true"
        "&ReplicationGroupDescription=a+b%26c%C3%A9&Tags.Tag.1.Key=k&Tags.Tag.1.Value=v"
        "&NodeGroupConfiguration.NodeGroupConfiguration.1.Slots=0-8191"
        "&NodeGroupConfiguration.NodeGroupConfiguration.1.ReplicaAvailabilityZones"
        ".AvailabilityZone.1=z"
    )
    assert found.operation is MODEL.operations["CreateReplicationGroup"]
    assert found.params == {
        "ReplicationGroupId": "demo",
        "NumNodeGroups": 2,
        "AutomaticFailoverEnabled": True,
        "ReplicationGroupDescription": "a b&c\u00e9",
        "Tags": [{"Key": "k", "Value": "v"}],
        "NodeGroupConfiguration": [{"Slots": "0-8191", "ReplicaAvailabilityZones": ["z"]}],
    }


def test_a_get_carries_the_call_in_the_url() -> None:
    query = b"Action=DescribeReplicationGroups&Version=2015-02-02&ReplicationGroupId=demo"
    found = decode.decode(MODEL, query=query, body=b"", content_type=None)
    assert found.operation.name == "DescribeReplicationGroups"
    assert found.params == {"ReplicationGroupId": "demo"}


def test_url_and_body_are_read_together() -> None:
    assert call("Engine=valkey", query=b"NumNodeGroups=3").params == {
        "NumNodeGroups": 3,
        "Engine": "valkey",
    }


def test_signing_parameters_and_other_unknown_names_are_ignored() -> None:
    assert params("X-Amz-Signature=abc&Novelty.1.X=1&Engine.Size=9&Tags.Tag.1.Colour=red") == {}
    assert params("=x&&&") == {}


@pytest.mark.parametrize(
    ("rest", "expected"),
    [
        ("SecurityGroupIds.SecurityGroupId.1=a&SecurityGroupIds.SecurityGroupId.2=b", ["a", "b"]),
        ("SecurityGroupIds.member.1=a&SecurityGroupIds.member.2=b", ["a", "b"]),
        ("SecurityGroupIds.member.2=b&SecurityGroupIds.SecurityGroupId.1=a", ["a", "b"]),
        ("SecurityGroupIds.member.1=a&SecurityGroupIds.member.3=c", ["a", "c"]),
        ("SecurityGroupIds.member.10=j&SecurityGroupIds.member.9=i", ["i", "j"]),
        ("SecurityGroupIds.member.99999=z", ["z"]),
        ("SecurityGroupIds=", []),
        ("SecurityGroupIds=&SecurityGroupIds.member.1=a", ["a"]),
    ],
    ids=[
        "by the model's name",
        "as member",
        "both names, any order",
        "a hole is closed",
        "order is numeric",
        "largest index",
        "empty",
        "empty and then not",
    ],
)
def test_lists(rest: str, expected: list[str]) -> None:
    assert params(rest) == {"SecurityGroupIds": expected}


@pytest.mark.parametrize(
    "rest",
    [
        "SecurityGroupIds.member.0=a",
        "SecurityGroupIds.member.01=a",
        "SecurityGroupIds.member.-1=a",
        "SecurityGroupIds.member.999999999=a",
        "SecurityGroupIds.member.%D9%A1=a",
        "SecurityGroupIds.member.x=a",
        "SecurityGroupIds.member=a",
        "SecurityGroupIds.1=a",
        "SecurityGroupIds.Other.1=a",
        "SecurityGroupIds.member.1=a&SecurityGroupIds.SecurityGroupId.1=b",
        "Engine=a&Engine=b",
        "Novelty=a&Novelty=a",
        "Action=CreateReplicationGroup",
        "N" * 513 + "=a",
        "&".join(f"a{n}=" for n in range(10_001)),
    ],
    ids=[
        "index 0",
        "leading zero",
        "negative index",
        "huge index",
        "index in other digits",
        "index is no number",
        "no index",
        "flattened",
        "another element name",
        "same element under both names",
        "repeated",
        "repeated and unknown",
        "repeated Action",
        "long name",
        "too many",
    ],
)
def test_bad_structure_is_an_invalid_query_parameter(rest: str) -> None:
    assert refusal(rest).code == "InvalidQueryParameter"


@pytest.mark.parametrize(
    "rest",
    [b"Engine=%zz", b"Engine=%", b"Engine=%f", b"Engine=%ff", b"Engine=\xff", b"%c3%28=x"],
)
def test_bad_escapes_and_bad_utf_8_are_malformed(rest: bytes) -> None:
    assert refusal(rest).code == "MalformedQueryString"


def test_utf_8_without_escapes_is_understood() -> None:
    assert params("Engine=\u00e9") == {"Engine": "\u00e9"}


@pytest.mark.parametrize("character", ["%00", "%01", "%1B", "%0B", "%EF%BF%BF"])
def test_characters_that_no_answer_could_carry_are_refused(character: str) -> None:
    found = refusal(f"ReplicationGroupDescription=a{character}b")
    assert found.code == "InvalidParameterValue"
    assert "ReplicationGroupDescription" in found.message


def test_line_ends_and_tabs_stay() -> None:
    assert params("Engine=a%0D%0A%09b") == {"Engine": "a\r\n\tb"}


@pytest.mark.parametrize(
    ("rest", "expected"),
    [
        ("NumNodeGroups=-1", -1),
        ("NumNodeGroups=007", 7),
        ("NumNodeGroups=2147483647", 2147483647),
        ("NumNodeGroups=-2147483648", -2147483648),
        ("MultiAZEnabled=true", True),
        ("MultiAZEnabled=FALSE", False),
    ],
)
def test_numbers_and_booleans(rest: str, expected: object) -> None:
    (value,) = params(rest).values()
    assert value == expected
    assert type(value) is type(expected)


@pytest.mark.parametrize(
    "rest",
    [
        "NumNodeGroups=",
        "NumNodeGroups=x",
        "NumNodeGroups=1.0",
        "NumNodeGroups=%201",
        "NumNodeGroups=1_0",
        "NumNodeGroups=%D9%A1",
        "NumNodeGroups=2147483648",
        "NumNodeGroups=-2147483649",
        "NumNodeGroups=" + "9" * 5000,
        "MultiAZEnabled=",
        "MultiAZEnabled=1",
        "MultiAZEnabled=yes",
        "SecurityGroupIds=sg-1",
        "Tags.Tag.1=x",
    ],
)
def test_bad_values(rest: str) -> None:
    found = refusal(rest)
    assert found.code == "InvalidParameterValue"
    assert rest.partition("=")[0] in found.message
    assert len(found.message) < 400


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-01-02T03:04:05Z", datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("2026-01-02T03:04:05.678Z", datetime.datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=UTC)),
        ("2026-01-02T03:04:05.123456789Z", datetime.datetime(2026, 1, 2, 3, 4, 5, 123456, UTC)),
        ("2026-01-02T03:04:05%2B02:00", datetime.datetime(2026, 1, 2, 1, 4, 5, tzinfo=UTC)),
    ],
)
def test_times(text: str, expected: datetime.datetime) -> None:
    found = params(f"StartTime={text}", "DescribeEvents")["StartTime"]
    assert found == expected
    assert found.tzinfo is UTC


@pytest.mark.parametrize(
    "text",
    [
        "",
        "now",
        "2026-01-02",
        "2026-13-02T03:04:05Z",
        "2026-01-02T03:04:61Z",
        "2026-01-02T03:04:05",
        "0001-01-01T00:00:00%2B01:00",
        "9999-12-31T23:59:59-01:00",
        "1767323045",
    ],
)
def test_bad_times(text: str) -> None:
    assert refusal(f"StartTime={text}", "DescribeEvents").code == "InvalidParameterValue"


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "MissingAction"),
        (b"Version=2015-02-02", "MissingAction"),
        (b"Action=&Version=2015-02-02", "MissingAction"),
        (b"Action=Nonsense&Version=2015-02-02", "InvalidAction"),
        (b"Action=describeEvents&Version=2015-02-02", "InvalidAction"),
        (b"Action=DescribeEvents&Version=2014-09-30", "InvalidAction"),
        (b"Action=DescribeEvents", "InvalidAction"),
    ],
)
def test_action_and_version(body: bytes, code: str) -> None:
    assert code_of(body) == code


def test_a_missing_version_is_named() -> None:
    with pytest.raises(WireError) as caught:
        decode.decode(MODEL, query=b"", body=b"Action=DescribeEvents", content_type=FORM)
    assert caught.value.message == (
        "Could not find operation DescribeEvents for version NO_VERSION_SPECIFIED"
    )


def test_other_content_types_are_refused_and_none_is_accepted() -> None:
    body = b"Action=DescribeEvents&Version=2015-02-02"
    assert code_of(b"{}", content_type="application/json") == "InvalidQueryParameter"
    assert code_of(body, content_type="multipart/form-data") == "InvalidQueryParameter"
    for accepted in (None, "", "Application/X-WWW-Form-Urlencoded"):
        decode.decode(MODEL, query=b"", body=body, content_type=accepted)
    decode.decode(MODEL, query=body, body=b"", content_type="application/json")


def test_a_body_of_one_mebibyte_is_the_largest() -> None:
    prefix = b"Action=DescribeEvents&Version=2015-02-02&Novelty="
    largest = prefix + b"x" * (decode.BODY_BYTES_MAX - len(prefix))
    assert decode.decode(MODEL, query=b"", body=largest, content_type=FORM).params == {}
    with pytest.raises(WireError) as caught:
        decode.decode(MODEL, query=b"", body=largest + b"x", content_type=FORM)
    assert (caught.value.code, caught.value.http_status) == ("RequestEntityTooLarge", 413)


DOUBLES = service_model.StructureShape(
    name="Doubles",
    members=(
        members := {
            "Price": service_model.Member(
                name="Price",
                wire_name="Price",
                shape=service_model.ScalarShape(name="Double", kind=service_model.Kind.DOUBLE),
                is_sensitive=False,
            )
        }
    ),
    members_by_wire_name=members,
    required=(),
)


@pytest.mark.parametrize(
    ("text", "expected"), [("1", 1.0), ("-0.5", -0.5), ("1e-05", 1e-05), ("1.5E+300", 1.5e300)]
)
def test_doubles(text: str, expected: float) -> None:
    """No input of the model has one yet."""
    assert decode.decode_params(DOUBLES, {"Price": text}) == {"Price": expected}


@pytest.mark.parametrize("text", ["", "x", "nan", "inf", "1e999", "0x1p3", "1_0", " 1"])
def test_bad_doubles(text: str) -> None:
    with pytest.raises(WireError) as caught:
        decode.decode_params(DOUBLES, {"Price": text})
    assert caught.value.code == "InvalidParameterValue"


def test_a_secret_in_a_bad_request_is_not_echoed() -> None:
    for rest in ("AuthToken=hush%00", "AuthToken=hush&AuthToken=hush", "AuthToken=hush%"):
        assert "hush" not in refusal(rest).message
