"""Where does the next page begin? Opaque markers over lists that are sorted by a key.

A marker holds the operation and the key of the last item shown, so a page is right even when
items came or went in between. The checksum catches mistakes, not attackers: a marker grants
nothing that the caller could not list anyway.

https://docs.aws.amazon.com/AmazonElastiCache/latest/APIReference/API_DescribeReplicationGroups.html
(MaxRecords: 20 to 100, 100 by default; other operations differ and pass their own limits)
"""

from __future__ import annotations

import base64
import bisect
import dataclasses
import hashlib
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from cachewright.protocol.errors import WireError

RECORDS_MIN = 20
RECORDS_MAX = 100

#: Keys are names of at most 255 characters; four times that leaves room for base64 and UTF-8.
_MARKER_CHARS_MAX = 2_048

#: Enough that a typing mistake is never taken for a marker.
_CHECKSUM_BYTES = 8

#: Between operation and key; no name of an operation contains it.
_SEPARATOR = ":"

Item = TypeVar("Item")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Page(Generic[Item]):
    """Some items, and the marker that asks for those behind them."""

    items: Sequence[Item]
    #: None on the last page.
    next_marker: str | None


def page_size(
    max_records: int | None,
    *,
    minimum: int = RECORDS_MIN,
    maximum: int = RECORDS_MAX,
    default: int = RECORDS_MAX,
    name: str = "MaxRecords",
) -> int:
    """Return how many items a page holds, from what the caller asked for."""
    if max_records is None:
        return default
    if minimum <= max_records <= maximum:
        return max_records
    raise WireError(
        "InvalidParameterValue",
        f"Invalid value {max_records} for {name}. Must be between {minimum} and {maximum}",
    )


def paginate(
    items: Sequence[Item],
    *,
    key: Callable[[Item], str],
    operation: str,
    marker: str | None,
    size: int,
) -> Page[Item]:
    """Return the page behind the marker; `items` are sorted by `key`, which is unique."""
    start = 0
    if marker is not None:
        start = bisect.bisect_right(items, _last_key(marker, operation), key=key)
    page = items[start : start + size]
    has_more = start + size < len(items)
    return Page(
        items=page, next_marker=_marker(operation, key(page[-1])) if page and has_more else None
    )


def _marker(operation: str, last_key: str) -> str:
    content = f"{operation}{_SEPARATOR}{last_key}".encode()
    return base64.urlsafe_b64encode(_checksum(content) + content).decode()


def _last_key(marker: str, operation: str) -> str:
    """Return the key in a marker that this operation made."""
    if len(marker) > _MARKER_CHARS_MAX:
        raise _invalid_marker()
    try:
        raw = base64.b64decode(marker.encode(), altchars=b"-_", validate=True)
        content = raw[_CHECKSUM_BYTES:]
        made_for, separator, last_key = content.decode().partition(_SEPARATOR)
    except ValueError:  # also what base64 and UTF-8 raise
        raise _invalid_marker() from None
    if not separator or made_for != operation or raw[:_CHECKSUM_BYTES] != _checksum(content):
        raise _invalid_marker()
    return last_key


def _invalid_marker() -> WireError:
    return WireError("InvalidParameterValue", "The marker is not valid.")


def _checksum(content: bytes) -> bytes:
    return hashlib.blake2s(content, digest_size=_CHECKSUM_BYTES).digest()
