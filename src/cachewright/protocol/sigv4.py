"""Who sent this request, and is it what they signed? AWS Signature Version 4.

Called for every request with the raw bytes of the HTTP message, after the body limit and before
anything is parsed. Both forms are accepted: the `Authorization` header, and `X-Amz-*` parameters
in the URL (presigned).

The canonical request is computed here from the raw bytes. botocore's signer works on parsed
URLs and its own clock, and importing it costs every start 150 ms; it is the oracle of the tests.

Order of the checks, which decides the code of a request that is wrong in several ways:

1. no signature at all                         MissingAuthenticationToken
2. malformed, incomplete or ambiguous          IncompleteSignature
3. session token, or unknown access key        InvalidClientTokenId
4. scope of another day, region or service     SignatureDoesNotMatch
5. too old, too new                            RequestExpired
6. `host` or the date not signed, other body hash, other signature   SignatureDoesNotMatch

Decisions: the body is always part of the signature. `x-amz-content-sha256` may be absent and
otherwise must be the hash of the body; `UNSIGNED-PAYLOAD` is refused, also for presigned URLs,
because no SDK sends it to a Query service. Repeated `authorization`, `host` and date headers and
repeated `X-Amz-*` parameters are ambiguous and refused. A session token is never known here.

https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
"""

from __future__ import annotations

import dataclasses
import datetime
import functools
import hashlib
import hmac
import urllib.parse
from collections.abc import Callable, Iterable, Sequence

from cachewright.kit.secret import Secret
from cachewright.protocol import text
from cachewright.protocol.claim import ALGORITHM, Claim, Headers, Pairs, header, read_claim
from cachewright.protocol.errors import WireError

#: How far the clock of a caller may be off.
SKEW_S = 300

_TERMINATOR = "aws4_request"
_EMPTY_PATH = b"/"

#: Bytes of path and query together. Presigned URLs of real clients stay below 8 KiB; this is what
#: common HTTP servers take, and it keeps the canonical query cheap.
URL_BYTES_MAX = 65_536

#: Derived keys kept. One entry serves an access key for a day; presigned URLs use up to 8 days.
_SIGNING_KEYS_MAX = 512

_MISMATCH = (
    "The request signature we calculated does not match the signature you provided. Check your "
    "AWS Secret Access Key and signing method. Consult the service documentation for details."
)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class WireRequest:
    """An HTTP request as it came."""

    method: str
    #: As on the request line, still escaped, without the query.
    path: bytes
    #: As on the request line, without the question mark.
    query: bytes
    headers: Sequence[tuple[bytes, bytes]]
    body: bytes


def verify(
    request: WireRequest,
    *,
    secret_of: Callable[[str], Secret | None],
    region: str,
    now: datetime.datetime,
    service: str = "elasticache",
) -> str:
    """Return the access key id that signed the request; a `WireError` if none did."""
    if len(request.path) + len(request.query) > URL_BYTES_MAX:
        raise WireError("RequestEntityTooLarge", f"A URL may have at most {URL_BYTES_MAX} bytes.")
    headers = _by_name(request.headers)
    pairs = _query_pairs(request.query)
    claim = read_claim(headers, pairs)
    secret = None if claim.has_token else secret_of(claim.access_key)
    if secret is None:
        raise WireError(
            "InvalidClientTokenId", "The security token included in the request is invalid."
        )
    _check_scope(claim, region, service)
    _check_time(claim, now)
    body_hash = _check_signed_parts(claim, headers, request.body)
    canonical = b"\n".join(
        (
            request.method.upper().encode(),
            _canonical_path(request.path),
            _canonical_query(pairs),
            *(_canonical_header(name, headers) for name in claim.signed_headers),
            b"",
            ";".join(claim.signed_headers).encode("latin-1"),
            body_hash.encode(),
        )
    )
    expected = _sign(_signing_key(secret, *claim.scope[:3]), claim, canonical)
    if not hmac.compare_digest(expected.encode(), claim.signature.encode()):
        raise WireError("SignatureDoesNotMatch", _MISMATCH)
    return claim.access_key


# Reading the message


def _by_name(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, list[bytes]]:
    by_name: dict[str, list[bytes]] = {}
    for name, value in headers:
        by_name.setdefault(name.decode("latin-1").lower(), []).append(value)
    return by_name


def _query_pairs(query: bytes) -> list[tuple[bytes, bytes]]:
    """Return names and values without their escapes, in the order of the URL."""
    if not query:
        return []
    pairs = []
    for pair in query.replace(b"+", b" ").split(b"&"):
        name, _, value = pair.partition(b"=")
        pairs.append((urllib.parse.unquote_to_bytes(name), urllib.parse.unquote_to_bytes(value)))
    return pairs


# Judging it


def _check_scope(claim: Claim, region: str, service: str) -> None:
    date, claimed_region, claimed_service, terminator = claim.scope
    problems = []
    if claimed_region != region:
        problems.append(
            f"Credential should be scoped to a valid region, not '{text.shorten(claimed_region)}'."
        )
    if claimed_service != service:
        problems.append(f"Credential should be scoped to correct service: '{service}'.")
    if terminator != _TERMINATOR:
        problems.append(
            "Credential should be scoped with a valid terminator: "
            f"'{_TERMINATOR}', not '{text.shorten(terminator)}'."
        )
    if date != claim.stamp[:8]:
        problems.append(
            "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date "
            f"from HTTP: '{text.shorten(date)}' != '{claim.stamp[:8]}', from '{claim.stamp}'."
        )
    if problems:
        raise WireError("SignatureDoesNotMatch", " ".join(problems))


def _check_time(claim: Claim, now: datetime.datetime) -> None:
    # Differences, not sums: the stamp may be the last second of the year 9999.
    age_s = (now - claim.signed_at).total_seconds()
    lifetime_s = SKEW_S if claim.expires_s is None else claim.expires_s
    shown = f"{now.astimezone(datetime.UTC):%Y%m%dT%H%M%SZ}"
    if age_s > lifetime_s:
        raise WireError(
            "RequestExpired",
            f"Signature expired: {claim.stamp} is more than {lifetime_s} s earlier than {shown}",
        )
    if age_s < -SKEW_S:
        raise WireError(
            "RequestExpired",
            f"Signature not yet current: {claim.stamp} is more than {SKEW_S} s later than {shown}",
        )


def _check_signed_parts(claim: Claim, headers: Headers, body: bytes) -> str:
    """Return the hash of the body, after all that must be signed was found to be signed."""
    for name in ("host", claim.date_header):
        if name is not None and name not in claim.signed_headers:
            raise WireError(
                "SignatureDoesNotMatch",
                f"'{name}' must be a 'SignedHeader' in the AWS Authorization.",
            )
    for name in claim.signed_headers:
        if name not in headers:
            raise WireError(
                "SignatureDoesNotMatch", f"The signed header '{text.shorten(name)}' is missing."
            )
    body_hash = hashlib.sha256(body).hexdigest()
    if header(headers, "x-amz-content-sha256") not in ("", body_hash):
        raise WireError(
            "SignatureDoesNotMatch", "The header x-amz-content-sha256 is not the hash of the body."
        )
    return body_hash


# Computing it


def _canonical_path(path: bytes) -> bytes:
    """Return the path without dot segments and empty ones, escaped once more."""
    if path in (b"", _EMPTY_PATH):
        return _EMPTY_PATH
    kept: list[bytes] = []
    for segment in path.split(b"/"):
        if segment == b"..":
            del kept[-1:]
        elif segment not in (b"", b"."):
            kept.append(segment)
    joined = b"/" + b"/".join(kept)
    if kept and path.endswith(b"/"):
        joined += b"/"
    return urllib.parse.quote_from_bytes(joined, safe="/~").encode()


def _canonical_query(pairs: Pairs) -> bytes:
    escaped = sorted(
        (_escape(name), _escape(value)) for name, value in pairs if name != b"X-Amz-Signature"
    )
    return "&".join(f"{name}={value}" for name, value in escaped).encode()


def _escape(raw: bytes) -> str:
    return urllib.parse.quote_from_bytes(raw, safe="-_.~")


def _canonical_header(name: str, headers: Headers) -> bytes:
    values = b",".join(b" ".join(value.split()) for value in headers[name])
    return name.encode("latin-1") + b":" + values


@functools.lru_cache(maxsize=_SIGNING_KEYS_MAX)
def _signing_key(secret: Secret, date: str, region: str, service: str) -> bytes:
    key = f"AWS4{secret.reveal()}".encode()
    for part in (date, region, service, _TERMINATOR):
        key = hmac.digest(key, part.encode(), "sha256")
    return key


def _sign(key: bytes, claim: Claim, canonical: bytes) -> str:
    to_sign = "\n".join(
        (ALGORITHM, claim.stamp, "/".join(claim.scope), hashlib.sha256(canonical).hexdigest())
    )
    return hmac.digest(key, to_sign.encode(), "sha256").hex()
