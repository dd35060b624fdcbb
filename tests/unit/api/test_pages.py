"""Are answers given again only where they are the same, and is their memory bounded?"""

from __future__ import annotations

import pytest

from cachewright.api import pages
from cachewright.protocol.sigv4 import WireRequest

FIRST = "11111111-1111-4111-8111-111111111111"
SECOND = "22222222-2222-4222-8222-222222222222"
BODY = f"<Result>groups</Result><RequestId>{FIRST}</RequestId></Response>".encode()
KEY = (b"form", b"Action=DescribeReplicationGroups")


def test_a_page_is_given_again_with_a_new_request_id() -> None:
    memory = pages.Pages()
    memory.keep(KEY, 7, BODY, FIRST)
    assert memory.find(KEY, 7, SECOND) == BODY.replace(FIRST.encode(), SECOND.encode())


def test_a_page_is_forgotten_when_anything_was_written() -> None:
    memory = pages.Pages()
    memory.keep(KEY, 7, BODY, FIRST)
    assert memory.find(KEY, 8, SECOND) is None
    assert memory.find((b"json", KEY[1]), 7, SECOND) is None


def test_a_request_id_that_a_caller_wrote_into_a_text_stays_there() -> None:
    memory = pages.Pages()
    body = BODY.replace(b"groups", FIRST.encode())
    memory.keep(KEY, 7, body, FIRST)
    again = memory.find(KEY, 7, SECOND)
    assert again is not None
    assert again.startswith(f"<Result>{FIRST}</Result>".encode())
    assert again.endswith(f"<RequestId>{SECOND}</RequestId></Response>".encode())


def test_the_memory_is_bounded_in_pages_and_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    memory = pages.Pages()
    for number in range(1_000):
        memory.keep((b"", str(number).encode()), 1, BODY, FIRST)
    kept = [n for n in range(1_000) if memory.find((b"", str(n).encode()), 1, SECOND)]
    assert kept == list(range(744, 1_000))
    monkeypatch.setattr(pages, "_PAGES_BYTES_MAX", 10 * len(BODY))
    memory.keep(KEY, 1, BODY, FIRST)
    kept = [n for n in range(1_000) if memory.find((b"", str(n).encode()), 1, SECOND)]
    assert 5 < len(kept) <= 20


def test_a_giant_page_is_not_kept() -> None:
    memory = pages.Pages()
    memory.keep(KEY, 1, b"x" * 5_000_000 + BODY, FIRST)
    assert memory.find(KEY, 1, SECOND) is None


@pytest.mark.parametrize(
    ("method", "query", "body", "recurs"),
    [
        ("POST", b"", b"Action=x", True),
        ("GET", b"", b"", False),
        ("POST", b"X-Amz-Signature=1", b"Action=x", False),
        ("POST", b"", b"x" * 5_000, False),
    ],
)
def test_only_requests_that_recur_are_kept(
    method: str, query: bytes, body: bytes, recurs: bool
) -> None:
    request = WireRequest(method=method, path=b"/", query=query, headers=[], body=body)
    assert (pages.key_of(request) is not None) == recurs
