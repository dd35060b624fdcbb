"""Which error does the caller see, and with which HTTP status?

    WireError   the request is refused by the protocol itself: syntax, signature, constraint
    Bug         this program tried to say something that the service model does not contain

`status_of` answers for every code: those of the service model and the common ones of AWS. The
sentences are made where the facts are; they never contain a secret.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from cachewright.protocol import service_model

#: Codes that any operation may answer and that no shape of the model declares, with statuses.
#: https://docs.aws.amazon.com/AmazonElastiCache/latest/APIReference/CommonErrors.html
COMMON_STATUSES: Mapping[str, int] = MappingProxyType(
    {
        "AccessDenied": 403,
        "ExpiredToken": 403,
        "IncompleteSignature": 400,
        "InternalFailure": 500,
        "InvalidAction": 400,
        "InvalidClientTokenId": 403,
        "InvalidParameterCombination": 400,
        "InvalidParameterValue": 400,
        "InvalidQueryParameter": 400,
        "MalformedQueryString": 404,
        "MissingAction": 400,
        "MissingAuthenticationToken": 403,
        "MissingParameter": 400,
        "NotAuthorized": 401,
        "OptInRequired": 403,
        "RequestEntityTooLarge": 413,
        "RequestExpired": 400,
        "ServiceUnavailable": 503,
        "SignatureDoesNotMatch": 403,
        "Throttling": 400,
        "UnrecognizedClientException": 403,
        "ValidationError": 400,
    }
)

_SERVER_ERROR_STATUS = 500


class Bug(AssertionError):
    """A promise of this program broke; the text names the place, never a value."""


class WireError(Exception):
    """The request is refused; `code` is AWS's word, the status follows from it."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.http_status = status_of(code)
        self.is_sender = is_sender_status(self.http_status)


def status_of(code: str) -> int:
    """Return the HTTP status of an AWS error code; an unknown code is a `Bug`."""
    fault = service_model.load_service_model().faults.get(code)
    if fault is not None:
        return fault.http_status
    try:
        return COMMON_STATUSES[code]
    except KeyError:
        raise Bug(f"no such error code: {code}") from None


def is_sender_status(http_status: int) -> bool:
    """Say whether a status blames the caller (`Sender`) or us (`Receiver`)."""
    return http_status < _SERVER_ERROR_STATUS
