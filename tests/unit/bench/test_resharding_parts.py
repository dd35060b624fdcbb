"""What is measured while slots move is what it is called."""

from __future__ import annotations

import hiredis
import pytest
from valkey.crc import key_slot

from bench import resharding, scaling
from bench.measure import Comparison
from bench.pressure import Pressure, Tick
from bench.processes import BenchFailed
from bench.resharding import Seen, Series, Took


def seen(seconds: float, stall_ms: float, lost_share: float = 0.0, failed: int = 0) -> Seen:
    errors = ("TryAgainError: no",) if failed else ()
    return Seen(
        took=Took(seconds, seconds / 2),
        stall_ms=stall_ms,
        failed=failed,
        errors=errors,
        lost_share=lost_share,
        usual_per_s=1_000.0,
    )


def test_the_load_is_counted_between_two_moments() -> None:
    load = Pressure(ticks=[Tick(0.0, 100, 0), Tick(0.1, 200, 1), Tick(0.2, 0, 2)])
    assert load.per_second(0.0, 0.2) == pytest.approx(1_500)
    assert load.per_second(0.1, 9.0) == pytest.approx(1_000)
    assert load.failed(0.1) == 3
    with pytest.raises(BenchFailed):
        load.per_second(5.0, 6.0)


def test_a_value_is_packed_as_engines_read_it_and_none_is_like_another() -> None:
    chaos = bytes(range(256)) * 8
    reader = hiredis.Reader()
    values = []
    for number in (1, 2):
        command = resharding._put(number, chaos)
        reader.feed(command.packed)
        verb, key, value = reader.gets()
        assert (verb, key) == (b"SET", f"key:{number}".encode())
        assert command.slot == key_slot(key)
        assert len(value) == resharding.VALUE_BYTES
        values.append(value)
    assert values[0] != values[1]


def test_owners_know_each_other_and_share_the_slots() -> None:
    files = resharding._seeds(["127.0.1.1", "127.0.1.2"])
    for address, content in files.items():
        *lines, last = content.decode().splitlines()
        assert last == "vars currentEpoch 2 lastVoteEpoch 0"
        assert [line.split()[1].partition(":")[0] for line in lines if "myself" in line] == [
            address
        ]
        assert [line.split()[8:] for line in lines] == [["0-8191"], ["8192-16383"]]


def test_rows_compare_ours_with_the_tool_and_fail_when_clients_did() -> None:
    ours = Series(seen=[seen(1.0, 20.0, 0.001), seen(2.0, 300.0, 0.0)])
    tool = Series(seen=[seen(10.0, 100.0, 0.1), seen(20.0, 90.0, 0.2, failed=3)])
    beside = scaling.Beside("what", ours, "the tool", tool)
    duration = beside.duration("scaling-x", 0.15)
    assert duration.compared().values == (0.1, 0.1)
    assert duration.is_met()
    assert "with the tool 3" in duration.note
    assert "ours 0.8 s of it, by hand with `add-node` 7.5 s" in duration.note
    moving = beside.moving("scaling-m", 1.0)
    assert moving.ours.values == (0.5, 1.0)
    assert moving.compared().values == (0.1, 0.1)
    stall = beside.stall("scaling-y")
    assert stall.comparison is Comparison.ALONE
    assert not stall.is_met()
    assert "TryAgainError" in stall.note
    lost = beside.lost("scaling-z")
    # Less than 0.1 % is noise.
    assert lost.ours.values == (0.1, 0.1)
    assert lost.compared().values == (0.01, 0.005)
    in_all = beside.lost_in_all("scaling-a")
    assert in_all.ours.values == (1.0, 2.0)
    assert in_all.baseline is not None
    assert in_all.baseline.values == (1_000.0, 4_000.0)
    failed = scaling.Beside("what", tool, "ours", ours).duration("scaling-w", 100.0)
    assert not failed.is_met()
    assert "3 requests of stock clients failed: TryAgainError: no." in failed.broken
