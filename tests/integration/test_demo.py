"""The demo tells the truth with its exit code, and nothing is left of it, however it ends."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import valkey

from cachewright.testing import leftovers

pytestmark = pytest.mark.slow(12)
_DEADLINE_S = 100.0
_ENGINE = "valkey-server"


@pytest.fixture
def folder() -> Iterator[Path]:
    """The demo's folder for temporary files, with a short path as real ones have."""
    made = Path(tempfile.mkdtemp(prefix="cw-"))
    yield made
    left = leftovers.processes_of(made)
    leftovers.kill_processes_of(made)
    shutil.rmtree(made)
    assert left == ()


def start(folder: Path, *options: str) -> subprocess.Popen[str]:
    """Start the demo as the leader of a process group, as a shell does."""
    return subprocess.Popen(
        [sys.executable, "-u", "-m", "cachewright", "demo", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env=os.environ | {"TMPDIR": str(folder)},
    )


def wait_for_line(demo: subprocess.Popen[str], beginning: str) -> str:
    assert demo.stdout is not None
    for line in demo.stdout:
        if line.startswith(beginning):
            return line
    raise AssertionError(f"the demo ended without a line {beginning!r}")


def test_the_demo_holds_and_says_so_to_a_program(folder: Path) -> None:
    with start(folder, "--seconds", "1", "--output", "json") as demo:
        stdout, stderr = demo.communicate(timeout=_DEADLINE_S)
    report = json.loads(stdout)
    assert demo.returncode == 0, stderr
    assert report["ok"] is True
    assert [check["name"] for check in report["checks"] if not check["ok"]] == []
    assert len(report["checks"]) == 14
    assert report["engine_version"].startswith("9.1.")
    assert report["total"]["operations"] == report["total"]["requests"] * report["pipeline"] > 0
    latency = report["total"]["latency"]
    assert 0 < latency["p50_ms"] <= latency["p99_ms"] <= latency["p99_9_ms"]
    assert 0 < report["create_s"] < _DEADLINE_S
    assert "Available after" in stderr
    scaling = report["scaling"]
    assert [step["what"] for step in scaling["steps"]] == [
        "3 -> 5 shards",
        "5 -> 2 shards",
        "1 -> 2 replicas of each shard",
    ]
    assert all(0 < step["seconds"] < _DEADLINE_S for step in scaling["steps"])
    assert (scaling["failed_requests"], scaling["strays"]) == (0, 0)
    assert 0 < scaling["operations"] < report["total"]["operations"]
    assert scaling["requests"] > 0
    assert "Scaling out: 3 -> 5 shards" in stderr
    assert "slots 0001: " in stderr
    failover = report["failover"]
    assert failover["shard_id"] == "0002"
    assert failover["primary"] not in {None, failover["node_id"]}
    assert f"Killing {failover['node_id']}" in stderr
    assert 0 < failover["gap_ms"] < 30_000
    assert 0 < failover["whole_after_s"] < _DEADLINE_S
    assert [shard["shard_id"] for shard in failover["shards"]] == ["0001", "0002"]
    assert [shard["lost"] for shard in failover["shards"]] == [0, 0]
    assert all(shard["writes"]["answered"] > 0 for shard in failover["shards"])
    assert "were without an acknowledged write for" in stderr
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    ("moment", "number"),
    [
        ("Starting", signal.SIGINT),
        ("It is ready", signal.SIGTERM),
        ("Creating", signal.SIGINT),
        ("2 worker processes", signal.SIGINT),
        ("Scaling out", signal.SIGINT),
        ("Clients write", signal.SIGTERM),
        ("Killing", signal.SIGINT),
        ("Stopping", signal.SIGTERM),
    ],
)
def test_an_interrupt_leaves_nothing_behind(
    moment: str, number: signal.Signals, folder: Path
) -> None:
    """Sent to the whole group, as a terminal does, and a second time while it tidies up."""
    options = () if moment.startswith("Scaling") else ("--no-scaling",)
    with start(folder, "--seconds", "0.5", *options) as demo:
        wait_for_line(demo, moment)
        for _ in range(2):
            if demo.poll() is None:
                os.killpg(demo.pid, number)
        _, stderr = demo.communicate(timeout=_DEADLINE_S)
    assert demo.returncode == 128 + number
    assert "Traceback" not in stderr
    assert leftovers.processes_of(folder) == ()
    assert list(folder.iterdir()) == []


def test_kill_of_the_demo_leaves_nothing_for_long(folder: Path) -> None:
    with start(folder, "--seconds", "30") as demo:
        wait_for_line(demo, "2 worker processes")
        assert len(engines_of(folder)) == 6
        demo.kill()
    deadline = time.monotonic() + _DEADLINE_S
    while leftovers.processes_of(folder) or list(folder.iterdir()):
        assert time.monotonic() < deadline, "something is left of a demo that was killed"
        time.sleep(0.05)


def test_a_broken_promise_is_named_and_fails_the_demo(folder: Path) -> None:
    """Every engine is killed under the workers.

    They cannot say what became of what they had sent; who had not sent anything finds less.
    """
    with start(folder, "--seconds", "3", "--no-scaling") as demo:
        wait_for_line(demo, "2 worker processes")
        wait_for_line(demo, "  ")  # the first report of a worker
        for pid in engines_of(folder):
            os.kill(pid, signal.SIGKILL)
        _, stderr = demo.communicate(timeout=_DEADLINE_S)
    assert demo.returncode == 1
    workers, boards = "the workers do their work: worker", "the top ten of every leaderboard "
    assert f"Failed: {workers}" in stderr or f"Failed: {boards}" in stderr
    assert list(folder.iterdir()) == []


def test_a_write_that_is_lost_with_a_shard_fails_the_demo(folder: Path) -> None:
    """The replica is frozen, and killed with its primary, so nobody has the data any more."""
    with start(folder, "--seconds", "0.5", "--no-scaling") as demo:
        wait_for_line(demo, "Clients write")
        os.kill(engines_of(folder, "demo-0002-002")[0], signal.SIGSTOP)
        wait_for_line(demo, "Killing demo-0002-001")
        for pid in engines_of(folder, "demo-0002-"):
            os.kill(pid, signal.SIGKILL)
        _, stderr = demo.communicate(timeout=_DEADLINE_S)
    assert demo.returncode == 1
    assert "Failed: no acknowledged write was lost: " in stderr
    assert "Failed: leaderboards and sessions outlived the kill: " in stderr
    assert list(folder.iterdir()) == []


def engines_of(folder: Path, node: str = "") -> list[int]:
    """Return the engines of nodes whose ids begin so."""
    found = {pid: _name_and_folder(pid) for pid in leftovers.processes_of(folder)}
    return [
        pid for pid, (name, works_in) in found.items() if name == _ENGINE and f".{node}" in works_in
    ]


def _name_and_folder(pid: int) -> tuple[str, str]:
    """Return what a process is and where it works; one that is gone is nothing."""
    process = Path(f"/proc/{pid}")
    try:
        return (process / "comm").read_text().strip(), (process / "cwd").readlink().name
    except (FileNotFoundError, ProcessLookupError):
        return "", ""


def test_a_shard_that_dies_while_the_cluster_is_scaled_fails_the_demo(folder: Path) -> None:
    """Every node of one shard, under the workers."""
    with start(folder, "--seconds", "0.5") as demo:
        wait_for_line(demo, "Scaling out")
        for pid in engines_of(folder, "demo-0003-"):
            os.kill(pid, signal.SIGKILL)
        _, stderr = demo.communicate(timeout=_DEADLINE_S)
    assert demo.returncode == 1
    assert "Failed: " in stderr
    assert "Traceback" not in stderr
    assert list(folder.iterdir()) == []


def test_one_key_that_vanishes_while_the_cluster_is_scaled_fails_the_demo(folder: Path) -> None:
    """No request fails by that, and what the workers wrote is all right."""
    with start(folder, "--seconds", "0.5") as demo:
        found = re.search(r"endpoint (\S+):(\d+)", wait_for_line(demo, "2 worker processes"))
        assert found is not None
        wait_for_line(demo, "Scaling out")
        client: Any = valkey.ValkeyCluster(host=found[1], port=int(found[2]))
        with contextlib.closing(client):
            key = next(client.scan_iter("cachewright-check:*", count=1_000))
            assert client.unlink(key) == 1
        _, stderr = demo.communicate(timeout=_DEADLINE_S)
    assert demo.returncode == 1
    (failed,) = [line for line in stderr.splitlines() if line.startswith("Failed: ")]
    assert "clients noticed nothing while shards and replicas came and went" in failed
    assert re.search(r" 0 failed, [1-9]\d* writes lost", failed)
    assert list(folder.iterdir()) == []
