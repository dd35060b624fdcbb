"""When may maintenance and snapshots happen? Weekly and daily windows, checked and assigned.

All times are UTC. A window that nobody chose is derived from the group's uid, so that it looks
random among groups and is the same whenever it is asked for.
Source: ElastiCache user guide, maintenance windows (format, length, blocks of the regions).
"""

from __future__ import annotations

import datetime
import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass

from cachewright.model.errors import invalid_value
from cachewright.service import rules

_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_HOUR_MIN = 60
_DAY_MIN = 24 * _HOUR_MIN
_WEEK_MIN = 7 * _DAY_MIN
_LENGTH_MIN = _HOUR_MIN
#: Windows that nobody chose begin on the half hour.
_STEP_MIN = 30
_BLOCK_MIN = 8 * _HOUR_MIN

#: Minute of the day at which a region's 8-hour block of default windows begins.
_BLOCK_STARTS_MIN = {
    "sa-east-1": 60,
    **dict.fromkeys(("eu-central-2", "eu-south-2"), 120),
    **dict.fromkeys(("us-east-1", "ca-central-1", "il-central-1"), 180),
    "us-east-2": 240,
    **dict.fromkeys(("us-west-1", "us-west-2", "us-gov-west-1"), 360),
    "ap-south-2": 390,
    "ap-southeast-7": 480,
    **dict.fromkeys(("ap-east-2", "ap-southeast-5"), 540),
    "ap-southeast-4": 660,
    **dict.fromkeys(("ap-northeast-2", "ap-northeast-3", "ap-southeast-2"), 720),
    **dict.fromkeys(
        ("ap-northeast-1", "ap-east-1", "af-south-1", "me-south-1", "me-central-1"), 780
    ),
    **dict.fromkeys(("ap-southeast-1", "ap-southeast-3", "cn-north-1", "cn-northwest-1"), 840),
    "us-gov-east-1": 1020,
    "ap-south-1": 1050,
    "ca-west-1": 1080,
    "mx-central-1": 1140,
    "eu-south-1": 1260,
    "eu-west-1": 1320,
    **dict.fromkeys(("eu-central-1", "eu-west-2", "eu-north-1"), 1380),
    "eu-west-3": 1439,
}
#: Regions that the table does not know do as us-east-1.
_BLOCK_START_DEFAULT_MIN = 180

_CLOCK = r"([01][0-9]|2[0-3]):([0-5][0-9])"
_DAY = "(sun|mon|tue|wed|thu|fri|sat)"
_WEEKLY = re.compile(f"{_DAY}:{_CLOCK}-{_DAY}:{_CLOCK}", re.ASCII)
_DAILY = re.compile(f"{_CLOCK}-{_CLOCK}", re.ASCII)


@dataclass(frozen=True, slots=True)
class _Span:
    """Minutes from a start, which may run over the end of the week or the day."""

    start_min: int
    length_min: int

    def overlaps_daily(self, daily: _Span) -> bool:
        """Tell whether this weekly span touches the span that comes back every day."""
        gap_min = (daily.start_min - self.start_min) % _DAY_MIN
        return gap_min < self.length_min or gap_min + daily.length_min > _DAY_MIN


def choose(
    *, uid: str, region: str, maintenance: str | None, snapshot: str | None
) -> tuple[str, str]:
    """Return maintenance and snapshot window: the ones given, checked, or ones that fit."""
    weekly = _parse_weekly(maintenance) if maintenance else None
    daily = _parse_daily(snapshot) if snapshot else None
    if weekly and daily:
        _refuse_overlap(weekly, daily)
    if weekly is None:
        weekly = _first_fit(_weekly_candidates(uid, region), daily)
    if daily is None:
        daily = next(
            (c for c in _daily_candidates(uid) if not weekly.overlaps_daily(c)),
            next(_daily_candidates(uid)),
        )
    return _render_weekly(weekly), _render_daily(daily)


def is_open(maintenance: str, now: datetime.datetime) -> bool:
    """Tell whether `now` (UTC) lies in a weekly window that was checked before."""
    span = _parse_weekly(maintenance)
    # Python's weeks begin on Monday, the API's on Sunday.
    day = (now.weekday() + 1) % len(_DAYS)
    minute = day * _DAY_MIN + now.hour * _HOUR_MIN + now.minute
    return (minute - span.start_min) % _WEEK_MIN < span.length_min


def _first_fit(candidates: Iterator[_Span], daily: _Span | None) -> _Span:
    first = next(candidates)
    if daily is None or not first.overlaps_daily(daily):
        return first
    return next((c for c in candidates if not c.overlaps_daily(daily)), first)


def _weekly_candidates(uid: str, region: str) -> Iterator[_Span]:
    """Yield every default slot of the region's block once, from one that the uid decides."""
    digest = _digest(uid, "maintenance")
    block_min = _BLOCK_STARTS_MIN.get(region, _BLOCK_START_DEFAULT_MIN)
    day_min = digest % len(_DAYS) * _DAY_MIN
    slots = (_BLOCK_MIN - _LENGTH_MIN) // _STEP_MIN + 1
    for turn in range(slots):
        offset_min = (digest // len(_DAYS) + turn) % slots * _STEP_MIN
        yield _Span((day_min + block_min + offset_min) % _WEEK_MIN, _LENGTH_MIN)


def _daily_candidates(uid: str) -> Iterator[_Span]:
    """Yield every slot of the day once, from one that the uid decides."""
    slots = _DAY_MIN // _STEP_MIN
    digest = _digest(uid, "snapshot")
    for turn in range(slots):
        yield _Span((digest + turn) % slots * _STEP_MIN, _LENGTH_MIN)


def _digest(uid: str, purpose: str) -> int:
    return int.from_bytes(hashlib.sha256(f"{purpose}:{uid}".encode()).digest()[:8])


def _parse_weekly(text: str) -> _Span:
    match = _WEEKLY.fullmatch(text.lower())
    if match is None:
        raise invalid_value(
            f"Invalid maintenance window '{rules.shown(text)}'. "
            "It must have the form ddd:hh24:mi-ddd:hh24:mi, for example sun:05:00-sun:09:00"
        )
    day, hour, minute, last_day, last_hour, last_minute = match.groups()
    start_min = _DAYS.index(day) * _DAY_MIN + int(hour) * _HOUR_MIN + int(minute)
    end_min = _DAYS.index(last_day) * _DAY_MIN + int(last_hour) * _HOUR_MIN + int(last_minute)
    span = _Span(start_min, (end_min - start_min) % _WEEK_MIN)
    if not _LENGTH_MIN <= span.length_min <= _DAY_MIN:
        raise invalid_value(
            f"The maintenance window '{rules.shown(text)}' must last from 60 minutes to 24 hours."
        )
    return span


def _parse_daily(text: str) -> _Span:
    match = _DAILY.fullmatch(text)
    if match is None:
        raise invalid_value(
            f"Invalid snapshot window '{rules.shown(text)}'. "
            "It must have the form hh24:mi-hh24:mi, for example 05:00-09:00"
        )
    hour, minute, last_hour, last_minute = map(int, match.groups())
    start_min = hour * _HOUR_MIN + minute
    span = _Span(start_min, (last_hour * _HOUR_MIN + last_minute - start_min) % _DAY_MIN)
    if span.length_min < _LENGTH_MIN:
        raise invalid_value(
            f"The snapshot window '{rules.shown(text)}' must last at least 60 minutes."
        )
    return span


def _refuse_overlap(weekly: _Span, daily: _Span) -> None:
    if weekly.overlaps_daily(daily):
        raise invalid_value("The snapshot window and maintenance window must not overlap.")


def _render_weekly(span: _Span) -> str:
    start_day, start_min = divmod(span.start_min, _DAY_MIN)
    end_day, end_min = divmod((span.start_min + span.length_min) % _WEEK_MIN, _DAY_MIN)
    return f"{_DAYS[start_day]}:{_clock(start_min)}-{_DAYS[end_day]}:{_clock(end_min)}"


def _render_daily(span: _Span) -> str:
    return f"{_clock(span.start_min)}-{_clock((span.start_min + span.length_min) % _DAY_MIN)}"


def _clock(minute_of_day: int) -> str:
    hour, minute = divmod(minute_of_day, _HOUR_MIN)
    return f"{hour:02}:{minute:02}"
