"""The example pairs that AWS publishes with the model, through botocore and through us."""

import datetime
import json
from pathlib import Path
from typing import Any

import botocore
import botocore.awsrequest
import botocore.loaders
import botocore.model
import botocore.parsers
import botocore.serialize
import pytest

from cachewright.protocol import check, decode, encode, service_model

MODEL = service_model.load_service_model()
ORACLE = botocore.model.ServiceModel(
    botocore.loaders.Loader().load_service_model("elasticache", "service-2", "2015-02-02")
)
FOLDER = Path(botocore.BOTOCORE_ROOT, "data/elasticache/2015-02-02")
EXAMPLES = [
    pytest.param(operation, example, id=f"{operation}-{number}")
    for operation, examples in json.loads((FOLDER / "examples-1.json").read_bytes())[
        "examples"
    ].items()
    for number, example in enumerate(examples, 1)
]


def typed(value: Any, shape: botocore.model.Shape | None) -> Any:
    """Return an example with its times, which are JSON texts, as times."""
    match shape:
        case botocore.model.StructureShape():
            return {name: typed(part, shape.members[name]) for name, part in value.items()}
        case botocore.model.ListShape():
            return [typed(element, shape.member) for element in value]
        case botocore.model.Shape(type_name="timestamp"):
            return datetime.datetime.fromisoformat(value)
        case _:
            return value


def test_there_are_48_pairs() -> None:
    assert len(EXAMPLES) == 48


@pytest.mark.parametrize(("operation", "example"), EXAMPLES)
def test_the_input_of_an_example_arrives(operation: str, example: dict[str, Any]) -> None:
    oracle = ORACLE.operation_model(operation)
    expected = typed(example.get("input", {}), oracle.input_shape)
    serialized = botocore.serialize.create_serializer("query").serialize_to_request(
        expected, oracle
    )
    request = botocore.awsrequest.AWSRequest(
        method="POST", url="http://127.0.0.1/", data=serialized["body"]
    ).prepare()
    body = request.body if isinstance(request.body, bytes) else str(request.body).encode()
    call = decode.decode(
        MODEL, query=b"", body=body, content_type=serialized["headers"]["Content-Type"]
    )
    assert call.operation.name == operation
    assert call.params == expected
    check.check(call.operation, call.params)


@pytest.mark.parametrize(("operation", "example"), EXAMPLES)
def test_the_output_of_an_example_is_read_back(operation: str, example: dict[str, Any]) -> None:
    shape = ORACLE.operation_model(operation).output_shape
    expected = typed(example.get("output", {}), shape)
    body = encode.encode_response(MODEL.operations[operation], expected, "r-1")
    parsed = botocore.parsers.create_parser("query").parse(
        {"body": body, "headers": {}, "status_code": 200},
        shape,  # type: ignore[arg-type] # the stubs forget operations without output
    )
    assert parsed.pop("ResponseMetadata")["RequestId"] == "r-1"
    assert parsed == expected
