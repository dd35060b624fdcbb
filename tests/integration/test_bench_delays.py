"""In the benchmark's own network every packet is late, and nothing of it is left behind."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bench import processes
from bench.delays import DELAY_US

ROOT = Path(__file__).resolve().parent.parent.parent
TIMEOUT_S = 60.0


@contextlib.contextmanager
def living_there(folder: Path, mode: str) -> Iterator[subprocess.Popen[str]]:
    """Run a process that lives in a network with delays."""
    argv = [sys.executable, "-m", "tests.integration.delays_child", str(folder), mode]
    with subprocess.Popen(
        argv, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        try:
            yield child
        finally:
            child.kill()


def said_by(folder: Path, mode: str) -> list[dict[str, Any]]:
    """Return what such a process has to say."""
    with living_there(folder, mode) as child:
        output, _ = child.communicate(timeout=TIMEOUT_S)
    assert child.returncode == 0
    return [json.loads(line) for line in output.splitlines()]


def within(first: dict[str, Any]) -> dict[str, Any]:
    """Return what was seen in the network; skip where there can be none."""
    if "no_delays" in first:
        pytest.skip(first["no_delays"])
    return first


def members(namespace: str) -> list[str]:
    """Return the processes in a network namespace."""
    found = []
    for link in Path("/proc").glob("[0-9]*/ns/net"):
        with contextlib.suppress(OSError):
            if str(link.readlink()) == namespace:
                found.append(link.parts[2])
    return found


def wait_until_empty(namespace: str) -> None:
    processes.wait_until(lambda: not members(namespace), "the network is left", TIMEOUT_S)


def test_a_question_and_its_answer_are_late_by_twice_as_much(tmp_path: Path) -> None:
    first, last = said_by(tmp_path, "look")
    seen = within(first)
    assert seen["round_trip_us"] >= 2 * DELAY_US
    assert f"take {seen['round_trip_us']:.0f} µs" in seen["note"]
    assert seen["is_whole"]
    assert seen["dropped"] == [0, 0]
    assert last == {"is_as_before": True, "ended_by": ""}
    wait_until_empty(seen["namespace"])


def test_nothing_is_left_when_the_block_raises(tmp_path: Path) -> None:
    first, last = said_by(tmp_path, "raise")
    seen = within(first)
    assert last == {"is_as_before": True, "ended_by": "RuntimeError: of the block"}
    wait_until_empty(seen["namespace"])


def test_nothing_is_left_when_the_benchmark_is_killed(tmp_path: Path) -> None:
    with living_there(tmp_path, "wait") as child:
        assert child.stdout is not None
        seen = within(json.loads(child.stdout.readline()))
        assert len(members(seen["namespace"])) == 2
        child.kill()
        child.wait(TIMEOUT_S)
        wait_until_empty(seen["namespace"])


def test_packets_that_nobody_holds_back_go_on_but_no_figure_comes_of_them(tmp_path: Path) -> None:
    first, last = said_by(tmp_path, "kill")
    within(first)
    assert last == {
        "is_as_before": True,
        "ended_by": "BenchFailed: who holds packets back has ended: -9",
    }


@pytest.mark.parametrize("mode", ["without-root", "without-rights"])
def test_who_may_not_make_it_is_told_why(tmp_path: Path, mode: str) -> None:
    first, last = said_by(tmp_path, mode)
    assert first["no_delays"].endswith(": Operation not permitted")
    assert last == {"is_as_before": True, "ended_by": ""}
