"""Constraints of the model, and AWS's words for them."""

import dataclasses
import time
from typing import Any

import pytest

from cachewright.protocol import check, service_model
from cachewright.protocol.errors import WireError

MODEL = service_model.load_service_model()


def refusal(operation: str, **params: Any) -> WireError:
    with pytest.raises(WireError) as caught:
        check.check(MODEL.operations[operation], params)
    return caught.value


def user(**more: Any) -> dict[str, Any]:
    return {
        "UserId": "u1",
        "UserName": "u1",
        "Engine": "valkey",
        "AccessString": "on ~* +@all",
    } | more


def test_good_input_passes() -> None:
    check.check(MODEL.operations["CreateUser"], user(Passwords=["0123456789abcdef"]))
    check.check(MODEL.operations["DescribeEvents"], {})


def test_a_missing_required_parameter() -> None:
    found = refusal("CreateReplicationGroup", ReplicationGroupId="demo")
    assert found.code == "InvalidParameterValue"
    assert found.message == "The parameter ReplicationGroupDescription must be provided."


def test_a_missing_required_parameter_of_a_list_element() -> None:
    found = refusal(
        "IncreaseReplicaCount",
        ReplicationGroupId="demo",
        ApplyImmediately=True,
        ReplicaConfiguration=[{"NodeGroupId": "0001"}],
    )
    assert found.message == (
        "The parameter ReplicaConfiguration.1.NewReplicaCount must be provided."
    )


def test_an_enum() -> None:
    found = refusal("ModifyReplicationGroup", ReplicationGroupId="demo", IpDiscovery="ipv5")
    assert found.code == "ValidationError"
    assert found.message == (
        "1 validation error detected: Value 'ipv5' at 'ipDiscovery' failed to satisfy "
        "constraint: Member must satisfy enum value set: [ipv4, ipv6]"
    )


def test_a_pattern() -> None:
    found = refusal("CreateUser", **user(Engine="valkey-9"))
    assert found.message.endswith(
        "Value 'valkey-9' at 'engine' failed to satisfy constraint: "
        "Member must satisfy regular expression pattern: [a-zA-Z]*"
    )


@pytest.mark.parametrize("user_id", ["a\n", "1a", "a b", "a\u0661"])
def test_patterns_cover_the_whole_value(user_id: str) -> None:
    assert refusal("CreateUser", **user(UserId=user_id)).code == "ValidationError"


def test_digits_are_those_of_ascii() -> None:
    shard = {"NodeGroupId": "\u0661", "NewReplicaCount": 1}
    found = refusal(
        "IncreaseReplicaCount",
        ReplicationGroupId="demo",
        ApplyImmediately=True,
        ReplicaConfiguration=[shard],
    )
    assert found.message.endswith(r"Member must satisfy regular expression pattern: \d+")


@pytest.mark.parametrize("access_string", ["", "  \t", "\n", "on\n", "on\r\n+@all"])
def test_an_access_string_is_one_line_with_something_in_it(access_string: str) -> None:
    found = refusal("CreateUser", **user(AccessString=access_string))
    assert found.message.endswith(r"Member must satisfy regular expression pattern: .*\S.*")


def test_lengths_of_texts() -> None:
    group = {"NodeGroupId": "12345", "NewReplicaCount": 1}
    found = refusal(
        "IncreaseReplicaCount",
        ReplicationGroupId="demo",
        ApplyImmediately=True,
        ReplicaConfiguration=[{"NodeGroupId": "", "NewReplicaCount": 1}, group],
    )
    assert found.message == (
        "2 validation errors detected: "
        "Value '' at 'replicaConfiguration.1.member.nodeGroupId' failed to satisfy constraint: "
        "Member must have length greater than or equal to 1; "
        "Value '12345' at 'replicaConfiguration.2.member.nodeGroupId' failed to satisfy "
        "constraint: Member must have length less than or equal to 4"
    )


def test_sizes_of_lists() -> None:
    found = refusal("DescribeUpdateActions", ServiceUpdateStatus=["available"] * 4)
    assert found.message.endswith(
        "Value '[4 elements]' at 'serviceUpdateStatus' failed to satisfy constraint: "
        "Member must have length less than or equal to 3"
    )
    found = refusal("CreateUser", **user(Passwords=[]))
    assert found.message.endswith("Member must have length greater than or equal to 1")


@pytest.mark.parametrize("member", ["ReplicationGroupIds", "CacheClusterIds"])
def test_too_many_ids_are_a_wrong_value(member: str) -> None:
    for operation in ("DescribeUpdateActions", "BatchApplyUpdateAction", "BatchStopUpdateAction"):
        required = {} if operation.startswith("Describe") else {"ServiceUpdateName": "x"}
        found = refusal(operation, **required, **{member: ["x"] * 21})
        assert found.code == "InvalidParameterValue"
        assert found.message == f"The parameter {member} must have at most 20 elements."


@pytest.mark.parametrize(
    ("number", "constraint"),
    [(0, "greater than or equal to 1"), (6, "less than or equal to 5"), (1, None), (5, None)],
)
def test_ranges_of_numbers(number: int, constraint: str | None) -> None:
    """No input of the model has one yet."""
    shape = service_model.ScalarShape(
        name="Few", kind=service_model.Kind.INTEGER, minimum=1, maximum=5
    )
    member = service_model.Member(name="Few", wire_name="Few", shape=shape, is_sensitive=False)
    operation = dataclasses.replace(
        MODEL.operations["DescribeEvents"],
        input=service_model.StructureShape(
            name="Input",
            members={"Few": member},
            members_by_wire_name={"Few": member},
            required=(),
        ),
    )
    if constraint is None:
        check.check(operation, {"Few": number})
        return
    with pytest.raises(WireError, match=f"Value '{number}' at 'few' .* value {constraint}"):
        check.check(operation, {"Few": number})


def test_many_violations_are_counted_and_some_are_shown() -> None:
    found = refusal("DescribeUpdateActions", UpdateActionStatus=["x"] * 9000)
    assert found.message.startswith("9001 validation errors detected: ")
    assert len(found.message) < 4000


def test_no_text_is_longer_than_the_global_bound() -> None:
    longest = "x" * check.STRING_CHARS_MAX
    check.check(
        MODEL.operations["CreateReplicationGroup"],
        {"ReplicationGroupId": "demo", "ReplicationGroupDescription": longest},
    )
    found = refusal(
        "CreateReplicationGroup",
        ReplicationGroupId="demo",
        ReplicationGroupDescription=longest + "x",
    )
    assert found.code == "ValidationError"
    assert len(found.message) < 400


def test_patterns_take_linear_time() -> None:
    """On this text the pattern of access strings, taken literally, backtracks for seconds."""
    params = user(AccessString="a" * (check.STRING_CHARS_MAX - 1) + "\n")
    took_s = []
    for _ in range(3):  # of which the garbage of other tests may be collected in one
        started_s = time.process_time()
        with pytest.raises(WireError):
            check.check(MODEL.operations["CreateUser"], params)
        took_s.append(time.process_time() - started_s)
    assert min(took_s) < 0.5


def test_secrets_are_not_echoed() -> None:
    too_long = "hush" * 10_000
    for operation, params in (
        ("CreateUser", user(AccessString="on >hush\n")),
        ("CreateUser", user(Passwords=[too_long])),
        ("CreateUser", user(AuthenticationMode={"Passwords": [too_long]})),
        (
            "CreateReplicationGroup",
            {
                "ReplicationGroupId": "demo",
                "ReplicationGroupDescription": "x",
                "AuthToken": too_long,
            },
        ),
    ):
        found = refusal(operation, **params)
        assert "hush" not in found.message
        assert "***" in found.message
