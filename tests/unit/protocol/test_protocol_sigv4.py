"""botocore signs, we verify; then each thing that can be wrong with a signature."""

import dataclasses
import datetime
import functools
import hashlib
from collections.abc import Callable
from urllib.parse import urlsplit

import pytest
from botocore.auth import SigV4Auth, SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from cachewright.kit.secret import Secret
from cachewright.protocol import sign, sigv4
from cachewright.protocol.errors import WireError
from cachewright.protocol.sigv4 import WireRequest

KEY, SECRET, REGION = "AKIDEXAMPLE", Secret("wJalrXUtnFEMI"), "eu-central-1"
BODY = b"Action=DescribeEvents&Version=2015-02-02"
URL = "http://127.0.0.1:4510/"
Change = Callable[[WireRequest], WireRequest]


def secret_of(access_key: str) -> Secret | None:
    return SECRET if access_key == KEY else None


def utc_now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


def signed(
    *,
    access_key: str = KEY,
    secret: Secret = SECRET,
    region: str = REGION,
    service: str = "elasticache",
    headers: dict[str, str] | None = None,
    token: str | None = None,
) -> WireRequest:
    """Return a POST with an Authorization header."""
    request = AWSRequest(
        method="POST",
        url=URL,
        headers={"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"}
        | (headers or {}),
        data=BODY,
    )
    SigV4Auth(Credentials(access_key, secret.reveal(), token), service, region).add_auth(request)
    return WireRequest(
        method="POST",
        path=b"/",
        query=b"",
        headers=[
            (b"Host", b"127.0.0.1:4510"),
            (b"User-Agent", b"test"),
            *((name.encode(), str(value).encode()) for name, value in request.headers.items()),
        ],
        body=BODY,
    )


def presigned(
    *,
    access_key: str = KEY,
    secret: Secret = SECRET,
    region: str = REGION,
    service: str = "elasticache",
    expires_s: int = 60,
    token: str | None = None,
) -> WireRequest:
    """Return a GET with its signature in the URL."""
    request = AWSRequest(method="GET", url=f"{URL}?{BODY.decode()}")
    credentials = Credentials(access_key, secret.reveal(), token)
    SigV4QueryAuth(credentials, service, region, expires=expires_s).add_auth(request)
    return WireRequest(
        method="GET",
        path=b"/",
        query=urlsplit(str(request.url)).query.encode(),
        headers=[(b"host", b"127.0.0.1:4510")],
        body=b"",
    )


def verify(request: WireRequest, *, later_s: float = 0) -> str:
    now = utc_now() + datetime.timedelta(seconds=later_s)
    return sigv4.verify(request, secret_of=secret_of, region=REGION, now=now)


def refusal(request: WireRequest, *, later_s: float = 0) -> WireError:
    with pytest.raises(WireError) as caught:
        verify(request, later_s=later_s)
    assert SECRET.reveal() not in caught.value.message
    return caught.value


def header(name: str, value: str | None) -> Change:
    """Set a header, or remove it."""

    def change(request: WireRequest) -> WireRequest:
        kept = [h for h in request.headers if h[0].lower() != name.encode()]
        added = [] if value is None else [(name.encode(), value.encode())]
        return dataclasses.replace(request, headers=[*kept, *added])

    return change


def more_header(name: str, value: str) -> Change:
    """Add a header, even if it is there."""
    return lambda request: dataclasses.replace(
        request, headers=[*request.headers, (name.encode(), value.encode())]
    )


def authorization(old: str, new: str, *, twice: bool = False) -> Change:
    """Change the text of the Authorization header."""

    def change(request: WireRequest) -> WireRequest:
        changed = [
            (name, value.replace(old.encode(), new.encode()))
            if name == b"Authorization"
            else (name, value)
            for name, value in request.headers
        ]
        assert changed != list(request.headers)
        return dataclasses.replace(request, headers=changed)

    return change


def cut_signature(request: WireRequest) -> WireRequest:
    headers = [(n, v[:-1] if n == b"Authorization" else v) for n, v in request.headers]
    return dataclasses.replace(request, headers=headers)


def query(old: bytes, new: bytes) -> Change:
    def change(request: WireRequest) -> WireRequest:
        changed = request.query.replace(old, new)
        assert changed != request.query
        return dataclasses.replace(request, query=changed)

    return change


def with_body(body: bytes) -> Change:
    return lambda request: dataclasses.replace(request, body=body)


def with_query(query: bytes) -> Change:
    return lambda request: dataclasses.replace(request, query=query)


def today() -> str:
    return f"{utc_now():%Y%m%d}"


@pytest.mark.parametrize("make", [signed, presigned], ids=["header", "url"])
def test_what_botocore_signs_is_verified(make: Callable[[], WireRequest]) -> None:
    assert verify(make()) == KEY


@pytest.mark.parametrize(
    "headers",
    [
        {"Date": "set by botocore"},
        {"X-Amz-Content-SHA256": hashlib.sha256(BODY).hexdigest()},
        {"X-Custom": "  two   spaces  "},
    ],
    ids=["date header", "hash of the body", "spaces"],
)
def test_other_headers_that_clients_sign(headers: dict[str, str]) -> None:
    assert verify(signed(headers=headers)) == KEY


def test_headers_that_are_not_signed_may_change() -> None:
    assert verify(header("user-agent", "other")(signed())) == KEY


def test_our_own_signer_signs_what_we_verify() -> None:
    found = sign.sign_request(
        "POST", URL, {"Host": "127.0.0.1:4510"}, BODY,
        access_key=KEY, secret=SECRET, region=REGION,
    )  # fmt: skip
    headers = [(name.encode(), value.encode()) for name, value in found.items()]
    request = WireRequest(method="POST", path=b"/", query=b"", headers=headers, body=BODY)
    assert verify(request) == KEY


HEADER_FORM: list[tuple[str, Change, str]] = [
    ("no signature", header("authorization", None), "MissingAuthenticationToken"),
    ("empty Authorization", header("authorization", ""), "MissingAuthenticationToken"),
    ("body changed", with_body(BODY + b"x"), "SignatureDoesNotMatch"),
    ("body removed", with_body(b""), "SignatureDoesNotMatch"),
    ("query added", with_query(b"MaxRecords=20"), "SignatureDoesNotMatch"),
    ("path changed", lambda r: dataclasses.replace(r, path=b"/x"), "SignatureDoesNotMatch"),
    ("method changed", lambda r: dataclasses.replace(r, method="GET"), "SignatureDoesNotMatch"),
    ("signed header changed", header("host", "other"), "SignatureDoesNotMatch"),
    ("signed header removed", header("content-type", None), "SignatureDoesNotMatch"),
    ("signed header repeated", more_header("content-type", "x"), "SignatureDoesNotMatch"),
    ("host twice", more_header("host", "other"), "IncompleteSignature"),
    ("date twice", more_header("x-amz-date", "20260101T000000Z"), "IncompleteSignature"),
    ("Authorization twice", more_header("authorization", "x"), "IncompleteSignature"),
    ("no date", header("x-amz-date", None), "IncompleteSignature"),
    ("bad date", header("x-amz-date", "yesterday"), "IncompleteSignature"),
    ("date in no calendar", header("x-amz-date", f"{today()[:4]}1341T000000Z"),
     "IncompleteSignature"),
    ("truncated signature", cut_signature, "SignatureDoesNotMatch"),
    ("signature in capitals", authorization("Signature=", "Signature=A"), "SignatureDoesNotMatch"),
    ("signature not ASCII", authorization("Signature=", "Signature=\u00e9"),
     "SignatureDoesNotMatch"),
    ("empty signature", authorization("Signature=", "Signature=,X="), "IncompleteSignature"),
    ("no Signature", authorization("Signature=", "Sig="), "IncompleteSignature"),
    ("no Credential", authorization("Credential=", "Cred="), "IncompleteSignature"),
    ("no SignedHeaders", authorization("SignedHeaders=", "Headers="), "IncompleteSignature"),
    ("a part twice", authorization("Signature=", "Signature=a, Signature="),
     "IncompleteSignature"),
    ("a part without value", authorization("Signature=", "Nonsense, Signature="),
     "IncompleteSignature"),
    ("other algorithm", authorization("AWS4-HMAC-SHA256", "AWS4-HMAC-SHA1"),
     "IncompleteSignature"),
    ("basic authentication", header("authorization", "Basic dGVzdDp0ZXN0"),
     "IncompleteSignature"),
    ("endless Authorization", authorization("Signature=", "X=" + "x" * 5000 + ", Signature="),
     "IncompleteSignature"),
    ("headers not sorted", authorization("SignedHeaders=", "SignedHeaders=z;"),
     "IncompleteSignature"),
    ("headers in capitals", authorization(";host;", ";Host;"), "IncompleteSignature"),
    ("a header signed twice", authorization(";host;", ";host;host;"), "IncompleteSignature"),
    ("host not signed", authorization(";host;", ";"), "SignatureDoesNotMatch"),
    ("date not signed", authorization(";x-amz-date", ""), "SignatureDoesNotMatch"),
    ("other key", authorization(KEY, "AKIDOTHER"), "InvalidClientTokenId"),
    ("scope of four parts", authorization("/aws4_request", ""), "IncompleteSignature"),
    ("scope of six parts", authorization("/aws4_request", "/x/aws4_request"),
     "IncompleteSignature"),
    ("scope with an empty part", authorization(f"/{REGION}/", "//"), "IncompleteSignature"),
    ("scope with other terminator", authorization("aws4_request", "AWS4_REQUEST"),
     "SignatureDoesNotMatch"),
    ("scope of another day", authorization(f"/{today()}/", "/20200101/"),
     "SignatureDoesNotMatch"),
    ("hash of another body", header("x-amz-content-sha256", "0" * 64), "SignatureDoesNotMatch"),
    ("UNSIGNED-PAYLOAD", header("x-amz-content-sha256", "UNSIGNED-PAYLOAD"),
     "SignatureDoesNotMatch"),
    ("session token", more_header("x-amz-security-token", "t"), "InvalidClientTokenId"),
    ("a second signature in the URL", with_query(b"X-Amz-Signature=x"), "IncompleteSignature"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("change", "code"), [pytest.param(c, code, id=name) for name, c, code in HEADER_FORM]
)
def test_refusals_of_the_header_form(change: Change, code: str) -> None:
    assert refusal(change(signed())).code == code


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (authorization("aws4_request", "aws5"), "valid terminator: 'aws4_request', not 'aws5'"),
        (authorization(f"/{today()}/", "/20200101/"), "Date in Credential scope does not match"),
        (authorization(";host;", ";"), "'host' must be a 'SignedHeader'"),
        (authorization(";x-amz-date", ""), "'x-amz-date' must be a 'SignedHeader'"),
        (header("content-type", None), "signed header 'content-type' is missing"),
        (header("x-amz-content-sha256", "0" * 64), "is not the hash of the body"),
        (with_body(b""), "The request signature we calculated does not match"),
    ],
)
def test_a_mismatch_says_what_does_not_match(change: Change, words: str) -> None:
    found = refusal(change(signed()))
    assert found.code == "SignatureDoesNotMatch"
    assert words in found.message


def test_paths_and_queries_are_compared_in_their_canonical_form() -> None:
    """Empty and dot segments vanish from a path, and a plus is a space as in a form."""
    request = AWSRequest(method="GET", url="http://127.0.0.1:4510/a/b", params={"x": "1 2"})
    SigV4Auth(Credentials(KEY, SECRET.reveal()), "elasticache", REGION).add_auth(request)
    headers = [(name.encode(), str(value).encode()) for name, value in request.headers.items()]
    headers.append((b"host", b"127.0.0.1:4510"))
    for path, query in ((b"/a/b", b"x=1%202"), (b"//a/./c/../b", b"x=1+2"), (b"/a/b", b"%78=1+2")):
        assert (
            verify(WireRequest(method="GET", path=path, query=query, headers=headers, body=b""))
            == KEY
        )


URL_FORM: list[tuple[str, Change, str]] = [
    ("parameter changed", query(b"DescribeEvents", b"DescribeUsers"), "SignatureDoesNotMatch"),
    ("parameter added", query(b"Action=", b"X=1&Action="), "SignatureDoesNotMatch"),
    ("body added", with_body(b"x"), "SignatureDoesNotMatch"),
    ("host changed", header("host", "other"), "SignatureDoesNotMatch"),
    ("lifetime changed", query(b"Expires=60", b"Expires=61"), "SignatureDoesNotMatch"),
    ("lifetime over a week", query(b"Expires=60", b"Expires=604801"), "IncompleteSignature"),
    ("lifetime 0", query(b"Expires=60", b"Expires=0"), "IncompleteSignature"),
    ("lifetime negative", query(b"Expires=60", b"Expires=-1"), "IncompleteSignature"),
    ("lifetime not a number", query(b"Expires=60", b"Expires=1e9"), "IncompleteSignature"),
    ("no algorithm", query(b"X-Amz-Algorithm", b"Algorithm"), "IncompleteSignature"),
    ("other algorithm", query(b"HMAC-SHA256", b"HMAC-SHA1"), "IncompleteSignature"),
    ("no credential", query(b"X-Amz-Credential", b"Credential"), "IncompleteSignature"),
    ("no signed headers", query(b"X-Amz-SignedHeaders", b"Signed"), "IncompleteSignature"),
    ("no date", query(b"X-Amz-Date", b"Date"), "IncompleteSignature"),
    ("bad date", query(b"X-Amz-Date=", b"X-Amz-Date=x"), "IncompleteSignature"),
    ("no signature", query(b"X-Amz-Signature", b"Signature"), "IncompleteSignature"),
    ("empty signature", query(b"X-Amz-Signature=", b"X-Amz-Signature=&X="),
     "IncompleteSignature"),
    ("signature twice", query(b"X-Amz-Signature=", b"X-Amz-Signature=x&X-Amz-Signature="),
     "IncompleteSignature"),
    ("host not signed", query(b"SignedHeaders=host", b"SignedHeaders=date"),
     "SignatureDoesNotMatch"),
    ("a header too", header("authorization", "x"), "IncompleteSignature"),
    ("other key", query(KEY.encode(), b"AKIDOTHER"), "InvalidClientTokenId"),
    ("unsigned names only", with_query(BODY), "MissingAuthenticationToken"),
    ("a URL without end", with_query(b"x" * sigv4.URL_BYTES_MAX), "RequestEntityTooLarge"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("change", "code"), [pytest.param(c, code, id=name) for name, c, code in URL_FORM]
)
def test_refusals_of_the_url_form(change: Change, code: str) -> None:
    assert refusal(change(presigned())).code == code


@pytest.mark.parametrize("make", [signed, presigned])
def test_refusals_of_well_made_signatures(make: Callable[..., WireRequest]) -> None:
    assert refusal(make(secret=Secret("other"))).code == "SignatureDoesNotMatch"
    assert refusal(make(access_key="AKIDOTHER")).code == "InvalidClientTokenId"
    assert refusal(make(token="t")).code == "InvalidClientTokenId"
    other_region = refusal(make(region="us-east-2"))
    assert other_region.code == "SignatureDoesNotMatch"
    assert other_region.message == (
        "Credential should be scoped to a valid region, not 'us-east-2'."
    )
    other_service = refusal(make(service="rds"))
    assert other_service.code == "SignatureDoesNotMatch"
    assert other_service.message == (
        "Credential should be scoped to correct service: 'elasticache'."
    )


def test_the_clock_of_a_caller_may_be_five_minutes_off() -> None:
    request = signed()
    assert verify(request, later_s=290) == KEY
    assert verify(request, later_s=-290) == KEY
    assert refusal(request, later_s=310).code == "RequestExpired"
    assert refusal(request, later_s=-310).code == "RequestExpired"


def test_a_presigned_url_lives_as_long_as_it_says() -> None:
    request = presigned(expires_s=3600)
    assert verify(request, later_s=3590) == KEY
    assert refusal(request, later_s=3610).code == "RequestExpired"
    assert refusal(request, later_s=-310).code == "RequestExpired"
    assert verify(presigned(expires_s=604_800), later_s=604_700) == KEY


@pytest.mark.parametrize("stamp", ["00010101T000000Z", "99991231T235959Z"])
def test_the_ends_of_the_calendar_are_times_too(stamp: str) -> None:
    changed = header("x-amz-date", stamp)(signed())
    changed = authorization(f"/{today()}/", f"/{stamp[:8]}/")(changed)
    assert refusal(changed).code == "RequestExpired"


def test_a_changed_secret_is_used_at_once() -> None:
    """The cache of derived keys must not outlive a secret."""
    new = Secret("another")
    assert verify(signed()) == KEY
    after = functools.partial(sigv4.verify, secret_of=lambda _: new, region=REGION, now=utc_now())
    assert after(signed(secret=new)) == KEY
    with pytest.raises(WireError):
        after(signed())
