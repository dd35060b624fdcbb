"""Which answers can be given again? Encoded pages, for as long as the records do not change.

A describe of a hundred groups costs milliseconds to encode and microseconds to send again. A page
is kept under the exact bytes of the request and is good for one revision of the records; only the
request id in it is new each time. Operations whose answer follows from anything else than the
records are not kept (`operations.FROM_RECORDS_ALONE`). Every caller who is let in sees the same,
so the key does not say who asked.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from cachewright.protocol.sigv4 import WireRequest

#: Content type and body of the request.
Key: TypeAlias = tuple[bytes, bytes]

#: Different requests that are asked again and again: a handful of programs with a few each.
_PAGES_MAX = 256
_PAGE_BYTES_MAX = 4 * 1024 * 1024
#: All pages together: a console that lists everything needs a few of 300 kB.
_PAGES_BYTES_MAX = 32 * 1024 * 1024
#: A describe without filters has under 100 bytes, one with a marker under 4 kB.
_KEY_BYTES_MAX = 4_096


@dataclass(frozen=True, slots=True)
class _Page:
    revision: int
    before_id: bytes
    after_id: bytes

    @property
    def size_bytes(self) -> int:
        return len(self.before_id) + len(self.after_id)


class Pages:
    """A bounded memory of answers; the oldest go first."""

    def __init__(self) -> None:
        self._pages: dict[Key, _Page] = {}
        self._size_bytes = 0

    def find(self, key: Key, revision: int, request_id: str) -> bytes | None:
        """Return the answer to the same request at the same revision, with a new request id."""
        page = self._pages.get(key)
        if page is None or page.revision != revision:
            return None
        return b"".join((page.before_id, request_id.encode(), page.after_id))

    def keep(self, key: Key, revision: int, body: bytes, request_id: str) -> None:
        """Remember the answer `body` that was given under `request_id`."""
        self._drop(key)
        before_id, _, after_id = body.rpartition(request_id.encode())
        page = _Page(revision, before_id, after_id)
        if page.size_bytes > _PAGE_BYTES_MAX or not after_id:
            return
        self._pages[key] = page
        self._size_bytes += page.size_bytes
        while self._size_bytes > _PAGES_BYTES_MAX or len(self._pages) > _PAGES_MAX:
            self._drop(next(iter(self._pages)))

    def _drop(self, key: Key) -> None:
        page = self._pages.pop(key, None)
        if page is not None:
            self._size_bytes -= page.size_bytes


def key_of(request: WireRequest) -> Key | None:
    """Return under what an answer to `request` is kept; `None` for requests that never recur."""
    if request.method != "POST" or request.query or len(request.body) > _KEY_BYTES_MAX:
        return None
    content_type = next((v for name, v in request.headers if name == b"content-type"), b"")
    return content_type[:_KEY_BYTES_MAX], request.body
