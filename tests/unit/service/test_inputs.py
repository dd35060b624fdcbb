"""Is any parameter of the API ever dropped in silence?"""

from __future__ import annotations

import importlib
import pkgutil

import msgspec
import pytest

import cachewright.service
from cachewright.api import operations
from cachewright.model.errors import ClientFault
from cachewright.protocol.service_model import ListShape, StructureShape, load_service_model
from cachewright.service import inputs, inputs_scaling, unoffered

#: `inputs` itself and what stands beside it, a file for each resource.
MODULES = [
    importlib.import_module(f"cachewright.service.{module.name}")
    for module in pkgutil.iter_modules(cachewright.service.__path__)
    if module.name.startswith("inputs")
]
KINDS = {
    name: kind
    for module in MODULES
    for name, kind in vars(module).items()
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct) and name in operations.HANDLERS
}


def fields(kind: type[msgspec.Struct]) -> set[str]:
    return {field.encode_name for field in msgspec.structs.fields(kind)}


def test_every_operation_that_is_offered_has_an_input() -> None:
    assert set(KINDS) == set(operations.HANDLERS)


@pytest.mark.parametrize("operation", sorted(KINDS))
def test_every_member_of_the_model_is_a_field_or_is_refused_by_name(operation: str) -> None:
    modelled = set(load_service_model().operations[operation].input.members)
    refused = {row.member for row in unoffered.UNOFFERED.get(operation, ())}
    known = fields(KINDS[operation])
    # A member may be both: understood, but not every value of it.
    assert known | refused == modelled
    assert not known & refused


@pytest.mark.parametrize(
    ("operation", "member", "kind"),
    [
        ("CreateReplicationGroup", "NodeGroupConfiguration", inputs.NodeGroup),
        (
            "ModifyReplicationGroupShardConfiguration",
            "ReshardingConfiguration",
            inputs_scaling.NewShard,
        ),
        ("IncreaseReplicaCount", "ReplicaConfiguration", inputs_scaling.ConfigureShard),
        ("DecreaseReplicaCount", "ReplicaConfiguration", inputs_scaling.ConfigureShard),
    ],
)
def test_every_member_of_an_element_is_a_field_or_is_refused_by_name(
    operation: str, member: str, kind: type[msgspec.Struct]
) -> None:
    shape = load_service_model().operations[operation].input.members[member].shape
    assert isinstance(shape, ListShape)
    assert isinstance(shape.element, StructureShape)
    refused = {row.member for row in unoffered.UNOFFERED_OF_ELEMENTS.get(member, ())}
    assert fields(kind) | refused == set(shape.element.members)


def test_outposts_of_replicas_are_refused_with_their_place() -> None:
    shard = {"NodeGroupId": "0001", "NewReplicaCount": 1, "PreferredOutpostArns": ["arn"]}
    params = {
        "ReplicationGroupId": "a",
        "ApplyImmediately": True,
        "ReplicaConfiguration": [shard],
    }
    with pytest.raises(ClientFault, match=r"ReplicaConfiguration\.1\.PreferredOutpostArns"):
        inputs.read(inputs_scaling.IncreaseReplicaCount, params)


CREATE: dict[str, object] = {"ReplicationGroupId": "a", "ReplicationGroupDescription": "b"}


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("TransitEncryptionEnabled", True),
        ("AtRestEncryptionEnabled", True),
        ("DataTieringEnabled", True),
        ("AuthToken", "0123456789abcdef"),
        ("UserGroupIds", ["users"]),
        ("SnapshotRetentionLimit", 1),
        ("SnapshotName", "backup"),
        ("SnapshotArns", ["arn:aws:s3:::bucket/file.rdb"]),
        ("LogDeliveryConfigurations", [{"LogType": "slow-log"}]),
        ("GlobalReplicationGroupId", "global"),
        ("PrimaryClusterId", "node"),
        ("NetworkType", "ipv6"),
        ("IpDiscovery", "ipv6"),
        ("KmsKeyId", "key"),
        ("CacheSecurityGroupNames", ["classic"]),
        ("NodeGroupConfiguration", [{"PrimaryOutpostArn": "arn"}]),
    ],
)
def test_what_is_not_offered_is_refused_with_its_name_and_never_with_its_value(
    member: str, value: object
) -> None:
    with pytest.raises(ClientFault) as caught:
        inputs.read(inputs.CreateReplicationGroup, {**CREATE, member: value})
    assert caught.value.code in {"InvalidParameterCombination", "InvalidParameterValue"}
    assert member in caught.value.message
    assert "0123456789abcdef" not in caught.value.message


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("TransitEncryptionEnabled", False),
        ("AtRestEncryptionEnabled", False),
        ("SnapshotRetentionLimit", 0),
        ("AuthToken", ""),
        ("UserGroupIds", []),
        ("NetworkType", "ipv4"),
        ("CacheSecurityGroupNames", ["default"]),
    ],
)
def test_asking_for_what_is_there_anyway_is_accepted(member: str, value: object) -> None:
    inputs.read(inputs.CreateReplicationGroup, {**CREATE, member: value})


@pytest.mark.parametrize("char", ["\r\n", "\n", "\0", "\x1b", "\x85", "\u2028", "\ufffe"])
@pytest.mark.parametrize(
    "params",
    [
        pytest.param(lambda text: {"ReplicationGroupDescription": text}, id="description"),
        pytest.param(lambda text: {"ReplicationGroupId": text}, id="id"),
        pytest.param(lambda text: {"CacheNodeType": text}, id="node type"),
        pytest.param(lambda text: {"SecurityGroupIds": ["sg-1", text]}, id="list element"),
        pytest.param(
            lambda text: {"NodeGroupConfiguration": [{"Slots": text}]}, id="nested structure"
        ),
        pytest.param(lambda text: {"Tags": [{"Key": "k", "Value": text}]}, id="tag value"),
    ],
)
def test_no_text_carries_a_character_that_ends_a_line(params: object, char: str) -> None:
    assert callable(params)
    with pytest.raises(ClientFault) as caught:
        inputs.read(inputs.CreateReplicationGroup, {**CREATE, **params(f"x{char}maxmemory 1")})
    assert caught.value.code == "InvalidParameterValue"
    assert "maxmemory" not in caught.value.message
