"""Whatever arrives, nothing but a `WireError` leaves, and it can be told to the caller."""

import contextlib
import dataclasses
import datetime
from xml.etree import ElementTree

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from cachewright.kit.secret import Secret
from cachewright.protocol import check, decode, encode, pagination, service_model, sigv4
from cachewright.protocol.errors import WireError

MODEL = service_model.load_service_model()
FORM = "application/x-www-form-urlencoded"
NOW = datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.UTC)
SETTINGS = settings(
    max_examples=200, deadline=None, database=None, suppress_health_check=list(HealthCheck)
)

WORDS = st.sampled_from(
    sorted(
        {name for op in MODEL.operations.values() for name in op.input.members}
        | {"member", "Tag", "Key", "Value", "NodeGroupConfiguration", "Slots", "ConfigureShard"}
    )
)
INDEXES = st.one_of(
    st.integers(-2, 12).map(str), st.sampled_from(["01", "999999999", "", "x", "\u0661"])
)
NAMES = st.lists(st.one_of(WORDS, INDEXES, st.text(max_size=3)), min_size=1, max_size=8).map(
    ".".join
)
VALUES = st.one_of(
    st.text(max_size=8),
    st.integers().map(str),
    st.sampled_from(["true", "", "%00", "%", "%ff", "a%0d%0ab", "2026-01-02T03:04:05Z", "1e999"]),
)
FIELDS = st.lists(st.tuples(NAMES, VALUES), max_size=8).map(
    lambda fields: "&".join(f"{name}={value}" for name, value in fields).encode(errors="replace")
)
REAL = (
    b"Action=CreateReplicationGroup&Version=2015-02-02&ReplicationGroupId=demo"
    b"&ReplicationGroupDescription=x&NumNodeGroups=2&AutomaticFailoverEnabled=true"
    b"&Tags.Tag.1.Key=a&NodeGroupConfiguration.NodeGroupConfiguration.1.Slots=0-1"
)


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """Return a real request with some bytes replaced, added or removed."""
    body = bytearray(REAL)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(body)))
        body[at : at + draw(st.integers(0, 3))] = draw(st.binary(max_size=3))
    return bytes(body)


def speak(body: bytes, query: bytes, content_type: str | None) -> None:
    try:
        call = decode.decode(MODEL, query=query, body=body, content_type=content_type)
        check.check(call.operation, call.params)
    except WireError as error:
        tell(error)


def tell(error: WireError) -> None:
    """Prove that a refusal blames the caller in XML that can be read."""
    assert error.is_sender
    assert len(error.message) < 8_000
    answer = encode.encode_error(error.code, error.message, error.http_status, "r-1")
    ElementTree.fromstring(answer)  # noqa: S314 - our own bytes


@SETTINGS
@given(
    body=st.binary(max_size=200),
    query=st.binary(max_size=50),
    content_type=st.one_of(st.none(), st.just(FORM), st.text(max_size=10)),
)
def test_any_bytes(body: bytes, query: bytes, content_type: str | None) -> None:
    speak(body, query, content_type)


@SETTINGS
@given(body=mutated())
def test_mutated_requests(body: bytes) -> None:
    speak(body, b"", FORM)


@SETTINGS
@given(action=st.sampled_from(sorted(MODEL.operations)), fields=FIELDS)
@example(action="CreateUser", fields=b"Tags.Tag." + b"1." * 500 + b"=x")
@example(action="CreateUser", fields=b".".join([b"Tags"] * 300))
def test_fields_that_look_right(action: str, fields: bytes) -> None:
    speak(fields, f"Action={action}&Version=2015-02-02".encode(), FORM)


HEADER_NAMES = st.one_of(
    st.sampled_from([b"authorization", b"x-amz-date", b"date", b"host", b"x-amz-security-token"]),
    st.binary(max_size=5),
)
AUTHORIZATION = (
    b"AWS4-HMAC-SHA256 Credential=AK/20260102/eu-central-1/elasticache/aws4_request, "
    b"SignedHeaders=host;x-amz-date, Signature=" + b"0" * 64
)
SIGNED = sigv4.WireRequest(
    method="POST",
    path=b"/",
    query=b"",
    headers=[
        (b"host", b"h"),
        (b"x-amz-date", b"20260102T030405Z"),
        (b"authorization", AUTHORIZATION),
    ],
    body=b"",
)
IN_URL = (
    b"X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AK%2F20260102%2Feu-central-1%2F"
    b"elasticache%2Faws4_request&X-Amz-Date=20260102T030405Z&X-Amz-Expires=60"
    b"&X-Amz-SignedHeaders=host&X-Amz-Signature=0"
)


def refuse(request: sigv4.WireRequest) -> None:
    try:
        sigv4.verify(request, secret_of={"AK": Secret("s")}.get, region="eu-central-1", now=NOW)
    except WireError as error:
        tell(error)
    else:
        raise AssertionError("nobody signed this")


@SETTINGS
@given(
    path=st.binary(max_size=20),
    query=st.binary(max_size=50),
    headers=st.lists(st.tuples(HEADER_NAMES, st.binary(max_size=20)), max_size=5),
    body=st.binary(max_size=10),
)
def test_any_signature(
    path: bytes, query: bytes, headers: list[tuple[bytes, bytes]], body: bytes
) -> None:
    request = sigv4.WireRequest(method="GET", path=path, query=query, headers=headers, body=body)
    refuse(request)


@SETTINGS
@given(
    at=st.integers(0, 300),
    cut=st.integers(0, 3),
    put=st.binary(max_size=3),
    header=st.integers(0, 2),
)
def test_mutated_signatures(at: int, cut: int, put: bytes, header: int) -> None:
    def mutate(text: bytes) -> bytes:
        start = at % (len(text) + 1)
        return text[:start] + put + text[start + cut :]

    headers = [
        (name, mutate(value) if number == header else value)
        for number, (name, value) in enumerate(SIGNED.headers)
    ]
    refuse(dataclasses.replace(SIGNED, headers=headers))
    refuse(dataclasses.replace(SIGNED, headers=SIGNED.headers[:1], query=mutate(IN_URL)))


@SETTINGS
@given(marker=st.text(max_size=40))
def test_any_marker(marker: str) -> None:
    with contextlib.suppress(WireError):
        pagination.paginate(["a", "b"], key=str, operation="D", marker=marker, size=20)
