"""Whatever request botocore signs, we verify from its raw bytes; changed, we do not."""

import dataclasses
import datetime
from urllib.parse import quote, urlsplit

import pytest
from botocore.auth import SIGNED_HEADERS_BLACKLIST, SigV4Auth, SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from cachewright.kit.secret import Secret
from cachewright.protocol import sigv4
from cachewright.protocol.errors import WireError
from cachewright.protocol.sigv4 import WireRequest

KEY, SECRET, REGION = "AKIDEXAMPLE", Secret("wJalrXUtnFEMI"), "eu-central-1"
CREDENTIALS = Credentials(KEY, SECRET.reveal())
HOST = "127.0.0.1:4510"
SETTINGS = settings(
    max_examples=80, deadline=None, database=None, suppress_health_check=list(HealthCheck)
)

SPECIAL = {*SIGNED_HEADERS_BLACKLIST, "authorization", "date", "host", "content-length"}
HEADERS = st.dictionaries(
    st.from_regex(r"[A-Za-z][A-Za-z0-9-]{0,8}", fullmatch=True).filter(
        lambda name: name.lower() not in SPECIAL and not name.lower().startswith("x-amz")
    ),
    st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=10),
    max_size=4,
).filter(lambda headers: len({name.lower() for name in headers}) == len(headers))
PARAMS = st.dictionaries(
    st.text(st.characters(codec="utf-8"), min_size=1, max_size=8).filter(
        lambda name: not name.startswith("X-Amz-")
    ),
    st.text(st.characters(codec="utf-8"), max_size=8),
    max_size=4,
)
PATHS = st.lists(
    st.one_of(st.sampled_from([".", "..", ""]), st.text(st.characters(codec="utf-8"), max_size=5)),
    max_size=4,
).map(lambda segments: "/" + "/".join(quote(segment, safe="") for segment in segments))


@st.composite
def header_form(draw: st.DrawFn) -> WireRequest:
    """Return a request that botocore signed in its headers."""
    request = AWSRequest(
        method=draw(st.sampled_from(["GET", "POST", "PUT"])),
        url=f"http://{HOST}{draw(PATHS)}",
        headers=draw(HEADERS),
        params=draw(PARAMS),
        data=draw(st.binary(max_size=40)),
    )
    SigV4Auth(CREDENTIALS, "elasticache", REGION).add_auth(request)
    return wire(request)


@st.composite
def url_form(draw: st.DrawFn) -> WireRequest:
    """Return a request that botocore signed in its URL."""
    request = AWSRequest(
        method="GET",
        url=f"http://{HOST}{draw(PATHS)}",
        headers=draw(HEADERS),
        params=draw(PARAMS),
    )
    SigV4QueryAuth(CREDENTIALS, "elasticache", REGION, expires=600).add_auth(request)
    return wire(request)


def wire(request: AWSRequest) -> WireRequest:
    prepared = request.prepare()
    url = urlsplit(prepared.url)
    body = prepared.body or b""
    assert isinstance(body, bytes)
    return WireRequest(
        method=str(prepared.method),
        path=url.path.encode(),
        query=url.query.encode(),
        headers=[
            (b"host", HOST.encode()),
            *((name.encode(), str(value).encode()) for name, value in request.headers.items()),
        ],
        body=body,
    )


def verify(request: WireRequest) -> str:
    return sigv4.verify(
        request,
        secret_of={KEY: SECRET}.get,
        region=REGION,
        now=datetime.datetime.now(datetime.UTC),
    )


@SETTINGS
@given(request_=st.one_of(header_form(), url_form()))
def test_what_botocore_signs_is_verified(request_: WireRequest) -> None:
    assert verify(request_) == KEY


@SETTINGS
@given(request_=st.one_of(header_form(), url_form()), data=st.data())
def test_another_body_is_refused(request_: WireRequest, data: st.DataObject) -> None:
    body = data.draw(st.binary(max_size=40))
    assume(body != request_.body)
    with pytest.raises(WireError) as caught:
        verify(dataclasses.replace(request_, body=body))
    assert caught.value.code == "SignatureDoesNotMatch"


@SETTINGS
@given(request_=st.one_of(header_form(), url_form()), data=st.data())
def test_another_parameter_is_refused(request_: WireRequest, data: st.DataObject) -> None:
    name = data.draw(st.from_regex(r"[A-Za-z]{1,5}", fullmatch=True))
    query = request_.query + (b"&" if request_.query else b"") + f"{name}=x".encode()
    with pytest.raises(WireError) as caught:
        verify(dataclasses.replace(request_, query=query))
    assert caught.value.code == "SignatureDoesNotMatch"
