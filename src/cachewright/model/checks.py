"""What did clients of a group see while something was done to it? Figures that are kept with it.

Values only. They are measured by the program that people call, so everything has a bound.
"""

from __future__ import annotations

import datetime
from typing import Annotated

import msgspec

#: Figures kept of each group; older ones give way.
CHECKS_KEPT = 5
#: Longer texts are refused.
TEXT_CHARS_MAX = 200

_Text = Annotated[str, msgspec.Meta(max_length=TEXT_CHARS_MAX)]
_Count = Annotated[int, msgspec.Meta(ge=0, lt=1 << 53)]
_Measure = Annotated[float, msgspec.Meta(ge=0.0, lt=1e9)]


class CheckFigures(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What all clients together saw from begin to end."""

    #: No request failed, and nothing was lost, doubled or wrong.
    is_good: bool
    #: Name and version of the client.
    client: _Text
    #: The command that ran meanwhile; empty where none did.
    during: _Text
    seconds: _Measure
    #: Answered requests.
    requests: _Count
    #: Requests that failed for their caller.
    failed: _Count
    #: Reads that lacked what had been acknowledged before.
    wrong_reads: _Count
    #: Acknowledged writes that are gone; `None` where somebody could not look.
    lost: _Count | None
    #: What is there more than once, was never written, or lies where no client finds it.
    doubled: _Count
    #: The longest time that a client was without an answer.
    longest_gap_ms: _Measure
    per_second: _Measure
    #: In the whole second with the fewest answers.
    lowest_per_second: _Measure


class KeptCheck(msgspec.Struct, frozen=True, kw_only=True):
    """Figures, and when they were brought."""

    at: datetime.datetime
    figures: CheckFigures
