"""What the loader makes of the pinned botocore, and what it relies on there."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import botocore.loaders
import pytest

from cachewright.protocol import encode, service_model
from cachewright.protocol.service_model import ListShape, ScalarShape, StructureShape

MODEL = service_model.load_service_model()

#: Traits that the loader reads, or that change nothing in the Query protocol of this service.
KNOWN_TRAITS = {
    "structure": {
        "type", "members", "required", "documentation", "error", "exception", "synthetic",
        "wrapper",
    },
    "list": {"type", "member", "min", "max", "locationName", "documentation"},
    "string": {"type", "enum", "min", "max", "pattern", "regex", "sensitive", "documentation"},
    "boolean": {"type"},
    "integer": {"type"},
    "double": {"type"},
    "timestamp": {"type"},
}  # fmt: skip
KNOWN_REF_TRAITS = {"shape", "documentation", "deprecated", "locationName"}
KNOWN_PATTERNS = {r".*\S.*", r"\d+", r"[a-zA-Z]*", r"[a-zA-Z][a-zA-Z0-9\-]*"}


def raw_model() -> dict[str, Any]:
    raw: dict[str, Any] = botocore.loaders.Loader().load_service_model(
        "elasticache", "service-2", "2015-02-02"
    )
    return raw


def test_the_whole_api_is_there() -> None:
    assert len(MODEL.operations) == 77
    assert MODEL.api_version == service_model.API_VERSION
    assert MODEL.xml_namespace == encode.XML_NAMESPACE
    without_output = {name for name, op in MODEL.operations.items() if op.output is None}
    assert without_output == {
        "DeleteCacheParameterGroup",
        "DeleteCacheSecurityGroup",
        "DeleteCacheSubnetGroup",
    }


def test_operations_know_their_faults() -> None:
    codes = MODEL.operations["CreateReplicationGroup"].fault_codes
    assert "ReplicationGroupAlreadyExists" in codes
    assert codes <= set(MODEL.faults)
    fault = MODEL.faults["InvalidCredentialsException"]
    assert (fault.http_status, fault.is_sender) == (408, True)


def test_constraints_are_read() -> None:
    shape = MODEL.operations["CreateReplicationGroup"].input
    assert shape.required == ("ReplicationGroupId", "ReplicationGroupDescription")
    groups = shape.members["NodeGroupConfiguration"].shape
    assert isinstance(groups, ListShape)
    assert groups.element_name == "NodeGroupConfiguration"
    assert isinstance(groups.element, StructureShape)
    group_id = groups.element.members["NodeGroupId"].shape
    assert isinstance(group_id, ScalarShape)
    assert (group_id.minimum, group_id.maximum, group_id.pattern) == (1, 4, r"\d+")


def test_a_location_name_of_a_list_names_the_member_that_holds_it() -> None:
    group = MODEL.operations["DescribeReplicationGroups"].output
    assert group is not None
    groups = group.members["ReplicationGroups"].shape
    assert isinstance(groups, ListShape)
    assert isinstance(groups.element, StructureShape)
    pending = groups.element.members["PendingModifiedValues"].shape
    assert isinstance(pending, StructureShape)
    member = pending.members["LogDeliveryConfigurations"]
    assert member.wire_name == "PendingLogDeliveryConfiguration"


def test_the_model_uses_no_trait_that_the_loader_does_not_know() -> None:
    """A new botocore that brings one must be looked at, not guessed."""
    for name, shape in raw_model()["shapes"].items():
        assert set(shape) <= KNOWN_TRAITS[shape["type"]], name
        for ref in [*shape.get("members", {}).values(), shape.get("member", {})]:
            assert set(ref) <= KNOWN_REF_TRAITS, name


def test_every_pattern_was_looked_at() -> None:
    """Each is linear as it stands, or the overlay has a linear form of it."""
    shapes = raw_model()["shapes"]
    patterns = {shape["pattern"] for shape in shapes.values() if "pattern" in shape}
    assert patterns == KNOWN_PATTERNS


def test_every_deviation_has_a_reason_and_a_source_and_changes_something() -> None:
    path = Path(service_model.__file__).with_name("overlay.json")
    for entry in json.loads(path.read_bytes()):
        assert entry["reason"]
        assert "https://" in entry["source"]
        node: Any = raw_model()
        for key in entry["path"][:-1]:
            node = node[key]
        assert node.get(entry["path"][-1]) != entry["value"]


def test_a_shape_that_contains_itself_is_refused() -> None:
    """Every walk over shapes relies on their depth."""
    shapes = {"Loop": {"type": "structure", "members": {"Again": {"shape": "Loop"}}}}
    with pytest.raises(ValueError, match="nests deeper"):
        service_model._ShapeTable(shapes).structure("Loop")


def test_an_input_that_is_no_structure_is_refused() -> None:
    with pytest.raises(TypeError, match="not as a structure"):
        service_model._ShapeTable({"Text": {"type": "string"}}).structure("Text")


@pytest.mark.parametrize(
    ("operation", "member"),
    [
        ("CreateReplicationGroup", "AuthToken"),
        ("ModifyReplicationGroup", "AuthToken"),
        ("CreateCacheCluster", "AuthToken"),
        ("ModifyCacheCluster", "AuthToken"),
        ("CreateUser", "Passwords"),
        ("CreateUser", "AccessString"),
        ("ModifyUser", "AppendAccessString"),
    ],
)
def test_secrets_are_marked(operation: str, member: str) -> None:
    assert MODEL.operations[operation].input.members[member].is_sensitive


def test_the_server_side_imports_nothing_heavy() -> None:
    """Its own model and signer would cost every start 150 ms and 16 MB."""
    names = ("check", "decode", "encode", "errors", "pagination", "service_model", "sigv4")
    program = (
        f"import sys; from cachewright.protocol import {', '.join(names)}; "
        "service_model.load_service_model(); "
        "print(*[m for m in sys.modules if m.split('.')[0] in ('botocore', 'urllib3')])"
    )
    shown = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True, timeout=60
    )
    assert shown.stdout.split() == ["botocore"]
