"""Pages, markers, and markers that nobody made."""

import base64
import hashlib

import pytest

from cachewright.protocol import pagination
from cachewright.protocol.errors import WireError
from cachewright.protocol.pagination import Page

NAMES = [f"group-{n:03}" for n in range(45)]


def page(marker: str | None, *, items: list[str] = NAMES, operation: str = "D") -> Page[str]:
    return pagination.paginate(items, key=str, operation=operation, marker=marker, size=20)


def test_all_pages_together_are_the_list() -> None:
    first = page(None)
    second = page(first.next_marker)
    third = page(second.next_marker)
    assert [*first.items, *second.items, *third.items] == NAMES
    assert third.next_marker is None


@pytest.mark.parametrize("count", [0, 1, 19, 20])
def test_a_list_that_fits_has_no_marker(count: int) -> None:
    found = page(None, items=NAMES[:count])
    assert (list(found.items), found.next_marker) == (NAMES[:count], None)


def test_items_that_come_and_go_move_no_page() -> None:
    marker = page(None).next_marker
    changed = ["a-new-one", *NAMES[:19], *NAMES[21:]]
    assert page(marker, items=changed).items[0] == NAMES[21]
    assert page(marker, items=NAMES[:20]) == Page(items=[], next_marker=None)


def test_markers_carry_any_key() -> None:
    keys = sorted(f"{letter}:{n}" for letter in ":\u00e9\u20ac" for n in range(10))
    first = page(None, items=keys)
    assert list(page(first.next_marker, items=keys).items) == keys[20:]


def forged(content: bytes) -> str:
    checksum = hashlib.blake2s(content, digest_size=8).digest()
    return base64.urlsafe_b64encode(checksum + content).decode()


@pytest.mark.parametrize(
    "marker",
    ["", "x", "AAAA", "\u00e9", "\ud800", "a" * 3000, forged(b""), forged(b"D"), forged(b"\xff"),
     forged(b"Other:group-001"), forged(b"[" * 1000)],
)  # fmt: skip
def test_a_marker_that_nobody_made_is_an_invalid_value(marker: str) -> None:
    with pytest.raises(WireError) as caught:
        page(marker)
    assert caught.value.code == "InvalidParameterValue"


def test_a_marker_of_another_operation_or_with_a_changed_letter_is_invalid() -> None:
    marker = page(None).next_marker
    assert marker is not None
    with pytest.raises(WireError):
        page(marker, operation="DescribeEvents")
    for position, letter in enumerate(marker.rstrip("=")):
        changed = marker[:position] + ("A" if letter != "A" else "B") + marker[position + 1 :]
        with pytest.raises(WireError):
            page(changed)


def test_sizes_of_pages() -> None:
    assert pagination.page_size(None) == 100
    assert [pagination.page_size(n) for n in (20, 100)] == [20, 100]
    assert pagination.page_size(None, maximum=50, default=50) == 50
    for bad in (-1, 0, 19, 101, 10**9):
        with pytest.raises(WireError) as caught:
            pagination.page_size(bad)
        assert caught.value.code == "InvalidParameterValue"
        assert "MaxRecords" in caught.value.message
    with pytest.raises(WireError, match="MaxResults"):
        pagination.page_size(51, maximum=50, name="MaxResults")
