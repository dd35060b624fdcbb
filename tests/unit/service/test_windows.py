"""Which windows are accepted, and which ones are assigned?"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachewright.model.errors import ClientFault
from cachewright.service import windows


def choose(maintenance: str | None, snapshot: str | None, uid: str = "abc") -> tuple[str, str]:
    return windows.choose(uid=uid, region="us-east-1", maintenance=maintenance, snapshot=snapshot)


@pytest.mark.parametrize(
    ("maintenance", "snapshot", "reason"),
    [
        pytest.param("sun:05:00-sun:05:59", None, "60 minutes to 24", id="59 minutes"),
        pytest.param("sun:05:00-mon:05:01", None, "60 minutes to 24", id="more than a day"),
        pytest.param("sun:05:00-sun:05:00", None, "60 minutes to 24", id="no time at all"),
        pytest.param("sun:24:00-mon:01:00", None, "ddd:hh24:mi", id="hour 24"),
        pytest.param("xyz:01:00-mon:02:00", None, "ddd:hh24:mi", id="a day nobody knows"),
        pytest.param("sun:05:00-sun:09:00\n", None, "ddd:hh24:mi", id="a line feed at the end"),
        pytest.param(None, "05:00-05:30", "at least 60", id="snapshot of 30 minutes"),
        pytest.param(None, "05:00", "hh24:mi", id="half a snapshot window"),
        pytest.param("sun:05:00-sun:07:00", "06:59-08:00", "overlap", id="the last minute"),
        pytest.param("sun:05:00-sun:07:00", "03:00-05:01", "overlap", id="the first minute"),
        pytest.param("sun:23:00-mon:01:00", "00:30-02:00", "overlap", id="over midnight"),
        pytest.param("mon:00:30-mon:02:00", "23:00-01:00", "overlap", id="from the day before"),
    ],
)
def test_windows_that_are_wrong_are_refused(
    maintenance: str | None, snapshot: str | None, reason: str
) -> None:
    with pytest.raises(ClientFault, match=reason):
        choose(maintenance, snapshot)


def test_windows_that_are_right_are_kept_in_lower_case() -> None:
    assert choose("SUN:23:00-Mon:01:30", "05:00-09:00") == ("sun:23:00-mon:01:30", "05:00-09:00")
    assert choose("sat:23:30-sun:00:30", "00:30-23:30") == ("sat:23:30-sun:00:30", "00:30-23:30")


@given(uid=st.text(alphabet="abcdefgh", min_size=1, max_size=8))
def test_assigned_windows_are_the_regions_hour_do_not_overlap_and_do_not_change(uid: str) -> None:
    maintenance, snapshot = choose(None, None, uid)
    assert (maintenance, snapshot) == choose(None, None, uid)
    start = maintenance.partition("-")[0]
    assert "03:00" <= start[4:] <= "10:00"
    # What was assigned passes the checks of what is given: form, length, no overlap.
    assert choose(maintenance, snapshot, uid) == (maintenance, snapshot)


@given(uid=st.text(alphabet="abcdefgh", min_size=1, max_size=8))
def test_an_assigned_window_makes_room_for_the_given_one(uid: str) -> None:
    maintenance, snapshot = choose(None, "03:00-10:00", uid)
    assert choose(maintenance, snapshot, uid) == (maintenance, snapshot)
    maintenance, snapshot = choose("mon:04:00-mon:12:00", None, uid)
    assert choose(maintenance, snapshot, uid) == (maintenance, snapshot)


def test_windows_differ_between_groups() -> None:
    assert len({choose(None, None, f"uid{number}") for number in range(50)}) > 25
