"""Who is asked for keys that lie where no client finds them?"""

from __future__ import annotations

from cachewright.checker import strays
from cachewright.checker.pipes import Place

_SHOWN = """\
aa 127.0.0.1:7001@17001 myself,master - 0 0 5 connected 0-4095 5000 [7->-bb] [9-<-cc]
bb 127.0.0.2:7001@17001,a.name slave cc 0 1 5 connected
cc ::1:7002@17002 master - 0 1 6 connected
dd 127.0.0.3:7001@17001 master,fail? - 0 1 6 connected 4096-4097
"""


def test_every_primary_is_asked_about_all_but_the_slots_that_it_owns() -> None:
    """Also one that owns none; a replica holds what its primary holds."""
    assert dict(strays._primaries(_SHOWN)) == {
        Place("127.0.0.1", 7001): frozenset({*range(4096), 5000}),
        Place("::1", 7002): frozenset(),
        Place("127.0.0.3", 7001): frozenset({4096, 4097}),
    }


def test_whom_nobody_can_reach_nobody_knows_about() -> None:
    assert strays.count(Place("127.0.0.1", 1), timeout_s=0.0) is None
