"""botocore and we must understand each other, both ways, for every operation.

Inputs and outputs are generated from botocore's own shapes, not from ours.
"""

import datetime
from typing import Any
from xml.etree import ElementTree

import botocore.awsrequest
import botocore.loaders
import botocore.model
import botocore.parsers
import botocore.serialize
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cachewright.protocol import decode, encode, service_model

MODEL = service_model.load_service_model()
ORACLE = botocore.model.ServiceModel(
    botocore.loaders.Loader().load_service_model("elasticache", "service-2", "2015-02-02")
)
OPERATIONS = sorted(ORACLE.operation_names)
SETTINGS = settings(
    max_examples=8, deadline=None, database=None, suppress_health_check=list(HealthCheck)
)

#: What XML 1.0 can carry: all but most control characters, surrogates and two non-characters.
TEXT = st.text(
    st.characters(
        codec="utf-8",
        exclude_characters="\ufffe\uffff",
        exclude_categories=["Cc", "Cs"],
        include_characters="\t\n\r&<>\"'%+=. ",
    ),
    max_size=12,
)
#: Both sides keep microseconds on the way in and milliseconds on the way out.
TIMES = st.datetimes(
    min_value=datetime.datetime(1970, 1, 1),  # noqa: DTZ001 - the strategy adds the zone
    max_value=datetime.datetime(9999, 12, 31),  # noqa: DTZ001 - the strategy adds the zone
    timezones=st.just(datetime.UTC),
)
SCALARS: dict[str, st.SearchStrategy[Any]] = {
    "string": TEXT,
    "boolean": st.booleans(),
    "integer": st.integers(-(2**31), 2**31 - 1),
    "double": st.floats(allow_nan=False, allow_infinity=False),
    "timestamp": TIMES,
}


def values(shape: botocore.model.Shape) -> st.SearchStrategy[Any]:
    """Return a strategy for values of a shape, without regard to its constraints."""
    match shape:
        case botocore.model.StructureShape():
            members = {name: values(member) for name, member in shape.members.items()}
            return st.fixed_dictionaries({}, optional=members)
        case botocore.model.ListShape():
            return st.lists(values(shape.member), max_size=3)
        case _:
            return SCALARS[shape.type_name]


def sent(value: Any) -> Any:
    """Return what a Query request can say of a value: structures without members are not there."""
    if isinstance(value, dict):
        parts = {name: sent(part) for name, part in value.items()}
        return {name: part for name, part in parts.items() if part is not None} or None
    if isinstance(value, list) and value:
        return [part for part in map(sent, value) if part is not None] or None
    return value


def in_milliseconds(value: Any) -> Any:
    match value:
        case dict():
            return {name: in_milliseconds(part) for name, part in value.items()}
        case list():
            return [in_milliseconds(part) for part in value]
        case datetime.datetime():
            return value.replace(microsecond=value.microsecond // 1000 * 1000)
        case _:
            return value


@pytest.mark.parametrize("name", OPERATIONS)
@SETTINGS
@given(data=st.data())
def test_what_botocore_serializes_we_decode(name: str, data: st.DataObject) -> None:
    oracle = ORACLE.operation_model(name)
    assert oracle.input_shape is not None
    params = data.draw(values(oracle.input_shape))
    serializer = botocore.serialize.create_serializer("query", include_validation=False)
    serialized = serializer.serialize_to_request(params, oracle)
    prepared = botocore.awsrequest.AWSRequest(
        method="POST", url="http://127.0.0.1/", data=serialized["body"]
    ).prepare()
    call = decode.decode(
        MODEL,
        query=b"",
        body=prepared.body if isinstance(prepared.body, bytes) else str(prepared.body).encode(),
        content_type=serialized["headers"]["Content-Type"],
    )
    assert call.operation.name == name
    assert call.params == (sent(params) or {})


@pytest.mark.parametrize("name", OPERATIONS)
@SETTINGS
@given(data=st.data())
def test_what_we_encode_botocore_parses(name: str, data: st.DataObject) -> None:
    shape = ORACLE.operation_model(name).output_shape
    output = in_milliseconds(data.draw(values(shape) if shape else st.just({})))
    body = encode.encode_response(MODEL.operations[name], output, "r-1")
    parsed = botocore.parsers.create_parser("query").parse(
        {"body": body, "headers": {}, "status_code": 200},
        shape,  # type: ignore[arg-type] # the stubs forget operations without output
    )
    assert parsed.pop("ResponseMetadata")["RequestId"] == "r-1"
    assert parsed == output


@settings(SETTINGS, max_examples=100)
@given(message=st.text(), code=st.sampled_from(sorted(MODEL.faults)))
def test_every_error_that_we_encode_botocore_parses(message: str, code: str) -> None:
    fault = MODEL.faults[code]
    body = encode.encode_error(code, message, fault.http_status, "r-1")
    ElementTree.fromstring(body)  # noqa: S314 - our own bytes
    shape = ORACLE.operation_model("DescribeEvents").output_shape
    assert shape is not None
    parsed = botocore.parsers.create_parser("query").parse(
        {"body": body, "headers": {}, "status_code": fault.http_status}, shape
    )
    assert parsed["Error"]["Code"] == code
    assert parsed["Error"]["Type"] == ("Sender" if fault.is_sender else "Receiver")
    assert parsed["ResponseMetadata"]["RequestId"] == "r-1"
