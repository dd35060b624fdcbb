"""What does a request say about its own signature? The claim that `sigv4` then verifies.

The claim stands in the `Authorization` header or in `X-Amz-*` parameters of the URL, never in
both. Nothing here is proven: this file only refuses what is absent (`MissingAuthenticationToken`)
or malformed, incomplete or ambiguous (`IncompleteSignature`). Headers and parameters that decide
who is meant and when are refused if they come twice, because two readers could differ.
"""

from __future__ import annotations

import dataclasses
import datetime
import re
from collections.abc import Mapping, Sequence
from typing import TypeAlias

from cachewright.protocol import text
from cachewright.protocol.errors import WireError

ALGORITHM = "AWS4-HMAC-SHA256"

#: How long a presigned URL may live: 7 days, as in AWS.
EXPIRES_S_MAX = 604_800

#: Values by lower-case name, in the order of the message.
Headers: TypeAlias = Mapping[str, Sequence[bytes]]
#: Names and values of the URL without their escapes, in its order.
Pairs: TypeAlias = Sequence[tuple[bytes, bytes]]

_CREDENTIAL_PARTS = 5

#: Bytes of an Authorization header; a real one has about 300.
_AUTHORIZATION_BYTES_MAX = 4_096

#: Headers that decide who is meant and when; twice means that two readers may differ.
_ONCE = ("authorization", "host", "x-amz-date", "date", "x-amz-content-sha256")

_URL_PREFIX = "X-Amz-"
_URL_MARKS = ("X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Signature")

_basic_stamp = re.compile(r"(\d{4})(\d{2})(\d{2})T(\d{2})(\d{2})(\d{2})Z", re.ASCII)
_http_stamp = re.compile(
    r"[A-Z][a-z]{2}, (\d{2}) ([A-Z][a-z]{2}) (\d{4}) (\d{2}):(\d{2}):(\d{2}) (?:GMT|[-+]0000)",
    re.ASCII,
)
_MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
_expires = re.compile(r"[0-9]{1,6}", re.ASCII)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Claim:
    """What a request says about its own signature."""

    access_key: str
    scope: tuple[str, str, str, str]
    signed_headers: tuple[str, ...]
    signature: str
    #: The moment of signing as it is signed: YYYYMMDDTHHMMSSZ.
    stamp: str
    signed_at: datetime.datetime
    #: None: valid for the skew only.
    expires_s: int | None
    #: The header that carries the moment, which must be signed; None if the URL does.
    date_header: str | None
    has_token: bool


def read_claim(headers: Headers, pairs: Pairs) -> Claim:
    """Return the one claim that a request makes."""
    for name in _ONCE:
        if len(headers.get(name, ())) > 1:
            raise _incomplete([f"The header {name} was given more than once."])
    signing = _signing_parameters(pairs)
    authorization = header(headers, "authorization")
    if any(mark in signing for mark in _URL_MARKS):
        if authorization:
            raise _incomplete(["Both the URL and the Authorization header carry a signature."])
        return _claim_of_url(signing, has_token="x-amz-security-token" in headers)
    if not authorization:
        raise WireError("MissingAuthenticationToken", "Request is missing Authentication Token")
    return _claim_of_header(authorization, headers)


def _signing_parameters(pairs: Pairs) -> dict[str, str]:
    signing: dict[str, str] = {}
    for raw_name, value in pairs:
        name = raw_name.decode("latin-1")
        if name.startswith(_URL_PREFIX):
            if name in signing:
                raise _incomplete([f"'{text.shorten(name)}' was given more than once."])
            signing[name] = value.decode("latin-1")
    return signing


def _claim_of_header(authorization: str, headers: Headers) -> Claim:
    algorithm, _, rest = authorization.partition(" ")
    if len(authorization) > _AUTHORIZATION_BYTES_MAX or algorithm != ALGORITHM:
        raise _incomplete(
            [
                f"The Authorization header must begin with '{ALGORITHM}' "
                f"and have at most {_AUTHORIZATION_BYTES_MAX} bytes."
            ]
        )
    parts: dict[str, str] = {}
    for part in rest.split(","):
        name, _, value = part.strip().partition("=")
        if name in parts or not value:
            raise _incomplete(
                [f"'{text.shorten(name)}' is not a valid key=value pair in Authorization header."]
            )
        parts[name] = value
    date_header = "x-amz-date" if "x-amz-date" in headers else "date"
    problems = [
        f"Authorization header requires '{name}' parameter."
        for name in ("Credential", "Signature", "SignedHeaders")
        if name not in parts
    ]
    if date_header not in headers:
        problems.append(
            "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header."
        )
    if problems:
        raise _incomplete(problems)
    return _claim(
        parts,
        stamp=_basic_of(header(headers, date_header)),
        expires_s=None,
        date_header=date_header,
        has_token="x-amz-security-token" in headers,
    )


def _claim_of_url(signing: Mapping[str, str], *, has_token: bool) -> Claim:
    problems = [
        f"AWS query-string parameters must include '{name}'."
        for name in ("Algorithm", "Credential", "Signature", "SignedHeaders", "Date")
        if not signing.get(_URL_PREFIX + name)
    ]
    if problems:
        raise _incomplete(problems)
    if signing["X-Amz-Algorithm"] != ALGORITHM:
        raise _incomplete([f"X-Amz-Algorithm must be '{ALGORITHM}'."])
    expires = signing.get("X-Amz-Expires")
    if expires is not None and not (
        _expires.fullmatch(expires) and 1 <= int(expires) <= EXPIRES_S_MAX
    ):
        raise _incomplete([f"X-Amz-Expires must be between 1 and {EXPIRES_S_MAX} seconds."])
    return _claim(
        {name.removeprefix(_URL_PREFIX): value for name, value in signing.items()},
        stamp=_basic_of(signing["X-Amz-Date"]),
        expires_s=None if expires is None else int(expires),
        date_header=None,
        has_token=has_token or "X-Amz-Security-Token" in signing,
    )


def _claim(
    parts: Mapping[str, str],
    *,
    stamp: str,
    expires_s: int | None,
    date_header: str | None,
    has_token: bool,
) -> Claim:
    credential = parts["Credential"].split("/", _CREDENTIAL_PARTS)
    if len(credential) != _CREDENTIAL_PARTS or not all(credential):
        raise _incomplete(
            [
                "Credential must have exactly 5 slash-delimited elements, "
                "e.g. keyid/date/region/service/term."
            ]
        )
    access_key, date, region, service, terminator = credential
    signed_headers = tuple(parts["SignedHeaders"].split(";"))
    if list(signed_headers) != sorted({name.lower() for name in signed_headers}):
        raise _incomplete(["SignedHeaders must be lower-case, sorted and each given once."])
    return Claim(
        access_key=access_key,
        scope=(date, region, service, terminator),
        signed_headers=signed_headers,
        signature=parts["Signature"],
        stamp=stamp,
        signed_at=_moment(stamp),
        expires_s=expires_s,
        date_header=date_header,
        has_token=has_token,
    )


def header(headers: Headers, name: str) -> str:
    """Return the value of a header that was given once at most; empty if it is absent."""
    values = headers.get(name)
    return values[0].decode("latin-1").strip() if values else ""


def _basic_of(stamp: str) -> str:
    """Return a moment in the form of HTTP as YYYYMMDDTHHMMSSZ, and anything else as it is."""
    match = _http_stamp.fullmatch(stamp)
    if match is not None and match[2] in _MONTHS:
        month = _MONTHS.index(match[2]) + 1
        stamp = f"{match[3]}{month:02}{match[1]}T{match[4]}{match[5]}{match[6]}Z"
    return stamp


def _moment(stamp: str) -> datetime.datetime:
    match = _basic_stamp.fullmatch(stamp)
    try:
        if match is not None:
            year, month, day, hour, minute, second = map(int, match.groups())
            return datetime.datetime(year, month, day, hour, minute, second, tzinfo=datetime.UTC)
    except ValueError:
        pass  # a 13th month, a 61st second
    raise _incomplete([f"Date must be in ISO-8601 'basic format'. Got '{text.shorten(stamp)}'."])


def _incomplete(problems: Sequence[str]) -> WireError:
    return WireError("IncompleteSignature", " ".join(problems))
