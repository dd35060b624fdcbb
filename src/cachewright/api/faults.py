"""What does the caller see when something went wrong? Every exception as AWS's code and status.

An error that is not foreseen is logged with its traceback and the request id, and answered as
`InternalFailure` without details.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from cachewright.model.errors import ClientFault
from cachewright.protocol import errors as wire
from cachewright.rpc.agent import CommandFailed
from cachewright.store.base import StoreUnavailable

_log = logging.getLogger(__name__)

#: Codes that the service model does not have, with the status and the reason for each.
OWN_STATUSES: Mapping[str, int] = MappingProxyType(
    {
        # An operation that ElastiCache has and that is not offered here. `InvalidAction` would
        # say that no such operation exists; EC2 uses this word for the same case. No SDK tries
        # a request with status 400 and this code again.
        "UnsupportedOperation": 400,
        # HTTP's own errors, in the words that S3 uses for them.
        "MethodNotAllowed": 405,
        "NoSuchKey": 404,
        "RequestTimeout": 408,
    }
)

#: Codes that an operation answers although the model does not list them for it. SDKs raise the
#: right exception all the same: they look codes up for the whole service.
BEYOND_MODEL: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        # A retained cluster may have the id that a member of the new group would get.
        "CreateReplicationGroup": frozenset({"CacheClusterAlreadyExists"}),
        # The same limit as at a create, which has this code for it.
        "IncreaseReplicaCount": frozenset({"NodeQuotaForClusterExceeded"}),
        "ModifyReplicationGroupShardConfiguration": frozenset({"NodeQuotaForClusterExceeded"}),
    }
)


class Refused(Exception):
    """The request is refused by this face: wrong path, wrong method, too slow, not offered."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message


@dataclass(frozen=True, kw_only=True, slots=True)
class Fault:
    """An error as it is answered."""

    code: str
    message: str
    http_status: int


def fault_of(error: Exception, request_id: str) -> Fault:
    """Return what to answer for `error`; logs what should not have happened."""
    match error:
        case wire.WireError():
            return Fault(code=error.code, message=error.message, http_status=error.http_status)
        case ClientFault() | Refused():
            return Fault(code=error.code, message=error.message, http_status=_status_of(error.code))
        case TimeoutError():
            _log.warning("event=too_slow request=%s", request_id)
            return _fault("ServiceUnavailable", "The host did not answer in time.")
        case StoreUnavailable() | CommandFailed():
            _log.warning("event=unavailable request=%s reason=%r", request_id, str(error))
            return _fault("ServiceUnavailable", str(error))
        case _:
            _log.error("event=request_failed request=%s", request_id, exc_info=error)
            return _fault(
                "InternalFailure",
                "The request could not be processed because of an internal error.",
            )


def allowed_codes(operation: str, modelled: frozenset[str]) -> frozenset[str]:
    """Return the codes that an operation may answer, given the ones that the model lists."""
    beyond = BEYOND_MODEL.get(operation, frozenset())
    return modelled | frozenset(wire.COMMON_STATUSES) | frozenset(OWN_STATUSES) | beyond


def _fault(code: str, message: str) -> Fault:
    return Fault(code=code, message=message, http_status=_status_of(code))


def _status_of(code: str) -> int:
    return OWN_STATUSES[code] if code in OWN_STATUSES else wire.status_of(code)
