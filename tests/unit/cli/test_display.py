"""People on a terminal and in a pipe are told what goes on while it is felt."""

from __future__ import annotations

import io
import time

import pytest
from rich.console import Console

from cachewright.cli.demo import display
from cachewright.cli.demo.scaling import Moment, Scaling, Step
from cachewright.cli.demo.strike import Failover
from cachewright.cli.watching import RequestsSeen, ShardSeen


def shown(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def seen(shard_id: str, *, is_struck: bool, lost: int | None = None) -> ShardSeen:
    gap_ms = 38.4 if is_struck else 4.0
    requests = RequestsSeen(answered=1_234, failed=0, longest_gap_ms=gap_ms, slowest_ms=2.0)
    return ShardSeen(
        shard_id=shard_id,
        is_struck=is_struck,
        pace_ms=4.0,
        writes=requests,
        reads=requests,
        lost=lost,
        doubled=0,
        wrong_reads=0,
        errors=(),
    )


SHARDS = (seen("0001", is_struck=False), seen("0002", is_struck=True))


def test_a_pipe_gets_a_line_a_second_of_the_struck_shard() -> None:
    console = Console(file=io.StringIO(), width=120, highlight=False)
    made = display.make_display(console)
    with made.moving():
        for elapsed_s in (0.0, 0.1, 0.9, 1.0, 1.1):
            made.clients(SHARDS, elapsed_s)
    assert shown(console).splitlines() == [
        "    0.0 s  shard 0002: 1,234 writes, longest gap 38 ms",
        "    1.0 s  shard 0002: 1,234 writes, longest gap 38 ms",
    ]


def test_a_terminal_gets_all_shards_in_one_place() -> None:
    console = Console(file=io.StringIO(), width=120, force_terminal=True, highlight=False)
    made = display.make_display(console)
    deadline = time.monotonic() + 10.0
    with made.moving():
        while "since the kill" not in shown(console):
            assert time.monotonic() < deadline
            made.clients(SHARDS, 0.4)
            time.sleep(0.01)
    assert "38 ms" in shown(console)
    assert "0001" in shown(console)


@pytest.mark.parametrize(("own_pause_ms", "is_busy"), [(0.0, False), (25.0, True)])
def test_the_gap_is_told_with_what_may_have_caused_it(own_pause_ms: float, is_busy: bool) -> None:
    console = Console(file=io.StringIO(), width=120, highlight=False)
    failover = Failover(
        shard_id="0002",
        node_id="demo-0002-001",
        primary="demo-0002-002",
        gap_ms=38.4,
        failed_requests=2,
        whole_after_s=0.2,
        shards=(seen("0001", is_struck=False, lost=0), seen("0002", is_struck=True, lost=0)),
        own_pause_ms=own_pause_ms,
    )
    console.print(display.failover_view(failover))
    text = shown(console)
    assert "shard 0002 (*) were without an acknowledged write for 38 ms" in text
    assert "demo-0002-002 is the primary now" in text
    assert ("busy" in text) is is_busy


def moment(elapsed_s: float, errors: int = 0) -> Moment:
    return Moment(
        elapsed_s=elapsed_s,
        slots=(("0001", 12_288), ("0004", 4_096)),
        replicas=2,
        operations_per_s=123_456.7,
        errors=errors,
        reason="moving slots\nsecond line",
    )


def test_a_pipe_gets_a_line_a_second_of_all_slots_and_the_speed() -> None:
    console = Console(file=io.StringIO(), width=120, highlight=False)
    made = display.make_display(console)
    with made.moving():
        for elapsed_s in (0.0, 0.9, 1.1):
            made.scaling(moment(elapsed_s, errors=3))
    assert shown(console).splitlines() == [
        f"    {second} s  slots 0001: 12,288, 0004: 4,096; 2 replicas; 123,457 operations/s, "
        "3 errors"
        for second in ("0.0", "1.1")
    ]


def test_a_terminal_gets_a_bar_for_each_shard() -> None:
    console = Console(file=io.StringIO(), width=120, force_terminal=True, highlight=False)
    made = display.make_display(console)
    deadline = time.monotonic() + 10.0
    with made.moving():
        while "moving slots" not in shown(console):
            assert time.monotonic() < deadline
            made.scaling(moment(0.4))
            time.sleep(0.01)
    text = shown(console)
    assert "12,288" in text
    assert "0 errors" in text
    assert "second line" not in text


def test_what_scaling_took_and_cost_is_told() -> None:
    console = Console(file=io.StringIO(), width=200, highlight=False)
    scaling = Scaling(
        steps=(Step(what="3 -> 5 shards", seconds=4.25), Step(what="5 -> 2 shards", seconds=6.0)),
        operations=1_000_000,
        operations_per_s=90_000,
        requests=2_000,
        failed_requests=0,
        longest_gap_ms=41.7,
        strays=0,
        own_pause_ms=0.0,
    )
    console.print(display.scaling_view(scaling))
    text = shown(console)
    assert "3 -> 5 shards   4.2 s" in text
    assert "2,000 requests of stock clients 0 failed, and none waited longer than 42 ms." in text
