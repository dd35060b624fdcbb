"""Who is asking? `GetCallerIdentity` of STS, the one call of another service that is answered.

Tools ask it before they build an ARN, at the address that a profile names for every service. Its
signature is for `sts`, so it is told apart before anything is verified; it may do nothing else.
Source: STS API reference, GetCallerIdentity.
"""

from __future__ import annotations

import urllib.parse

from cachewright.protocol import text

#: The name in the scope of the signature.
SERVICE = "sts"
_API_VERSION = "2011-06-15"
_FORM = {"Action": "GetCallerIdentity", "Version": _API_VERSION}
#: The form has 43 bytes; escapes may make three of one.
_FORM_BYTES_MAX = 128
_NAMESPACE = f"https://sts.amazonaws.com/doc/{_API_VERSION}/"


def is_asked(body: bytes) -> bool:
    """Tell whether this is the body of the call."""
    if len(body) > _FORM_BYTES_MAX:
        return False
    return dict(urllib.parse.parse_qsl(body.decode("latin-1"))) == _FORM


def encode(account_id: str, request_id: str) -> bytes:
    """Return the answer: there are no users, so whoever signs is the account itself."""
    account = text.escape(account_id)
    return (
        f'<GetCallerIdentityResponse xmlns="{_NAMESPACE}"><GetCallerIdentityResult>'
        f"<Arn>arn:aws:iam::{account}:root</Arn><UserId>{account}</UserId>"
        f"<Account>{account}</Account></GetCallerIdentityResult><ResponseMetadata>"
        f"<RequestId>{text.escape(request_id)}</RequestId></ResponseMetadata>"
        "</GetCallerIdentityResponse>"
    ).encode()
