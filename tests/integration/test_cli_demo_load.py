"""The demo's workers and checks agree with a real engine, and notice when it disagrees."""

from __future__ import annotations

import contextlib
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest
import valkey

from cachewright.cli.demo import checks, load, workload
from cachewright.engines import embedded

_DEADLINE_S = 20.0


def free_port(address: str) -> int:
    with socket.create_server((address, 0)) as server:
        return int(server.getsockname()[1])


@pytest.fixture(scope="module")
def engine_endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, int]]:
    """A cluster of one node that owns every slot."""
    program = embedded.embedded_server()
    assert program is not None, "the embedded engine is a dependency of the project"
    address = (
        f"127.{16 + secrets.randbelow(32)}.{secrets.randbelow(256)}.{1 + secrets.randbelow(254)}"
    )
    port, bus = free_port(address), free_port(address)
    options = f"--bind {address} --port {port} --cluster-port {bus} --cluster-enabled yes"
    argv = [str(program), *options.split(), "--save", ""]
    with subprocess.Popen(
        argv, cwd=tmp_path_factory.mktemp("engine"), stdout=subprocess.DEVNULL
    ) as engine:
        try:
            form_cluster(address, port)
            yield address, port
        finally:
            engine.kill()


@pytest.fixture
def endpoint(engine_endpoint: tuple[str, int]) -> tuple[str, int]:
    """The same cluster, empty."""
    client: Any = valkey.Valkey(host=engine_endpoint[0], port=engine_endpoint[1])
    client.flushall()
    client.close()
    return engine_endpoint


def form_cluster(address: str, port: int) -> None:
    deadline = time.monotonic() + _DEADLINE_S
    client: Any = valkey.Valkey(host=address, port=port)
    while True:
        try:
            client.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16_383)
            break
        except valkey.ConnectionError:
            assert time.monotonic() < deadline, "the engine does not answer"
            time.sleep(0.01)
    while client.execute_command("CLUSTER INFO")["cluster_state"] != "ok":
        assert time.monotonic() < deadline, "the cluster does not become ok"
        time.sleep(0.01)
    client.close()


@pytest.fixture
def client(endpoint: tuple[str, int]) -> Iterator[Any]:
    found: Any = valkey.ValkeyCluster(host=endpoint[0], port=endpoint[1])
    yield found
    found.close()


def run(endpoint: tuple[str, int], *, seconds: float = 0.5) -> load.Outcome:
    with started(endpoint) as work:
        work.follow(seconds)
        return work.finish()


def started(
    endpoint: tuple[str, int], on_tick: load.OnTick = lambda *_: None
) -> contextlib.AbstractContextManager[load.Load]:
    return load.running(host=endpoint[0], port=endpoint[1], workers=2, on_tick=on_tick)


def test_the_engine_holds_what_the_workers_computed(endpoint: tuple[str, int], client: Any) -> None:
    ticks: list[tuple[float, int, int]] = []
    with started(endpoint, lambda *tick: ticks.append(tick)) as work:
        work.follow(0.8)
        assert work.operations == ticks[-1][1]
        outcome = work.finish()
    total = outcome.total
    assert outcome.seconds < _DEADLINE_S
    assert {errors for _, _, errors in ticks} == {0}
    assert total.operations == total.requests * workload.PIPELINE > 1_000
    assert 0 < total.latency.p50_ms <= total.latency.p99_ms <= total.latency.p99_9_ms
    assert [done for _, done, _ in ticks] == sorted(done for _, done, _ in ticks)
    assert 0 < ticks[-1][1] <= total.operations
    assert set(outcome.tops) <= set(workload.BOARDS)
    assert checks.every_answer_was_good(outcome.errors, outcome.first_error, total.operations).ok
    assert checks.boards_are_right(client, outcome.tops).ok
    assert checks.sessions_are_right(client, outcome.visits).ok


def test_one_changed_point_and_one_lost_session_are_found(
    endpoint: tuple[str, int], client: Any
) -> None:
    outcome = run(endpoint)
    board, top = next(iter(outcome.tops.items()))
    client.zincrby(board, 1, top[0][0])
    client.delete(next(iter(outcome.visits)))
    boards = checks.boards_are_right(client, outcome.tops)
    sessions = checks.sessions_are_right(client, outcome.visits)
    assert (boards.ok, sessions.ok) == (False, False)
    assert board in boards.detail


def test_error_replies_are_counted_and_shown(endpoint: tuple[str, int], client: Any) -> None:
    """A board of the wrong type makes every command on it an error."""
    client.set(workload.BOARDS[0], "no sorted set")
    outcome = run(endpoint)
    assert outcome.errors > 0
    assert "WRONGTYPE" in outcome.first_error


def test_an_engine_that_hangs_up_ends_the_load_with_a_reason(
    endpoint: tuple[str, int], client: Any
) -> None:
    def hang_up(*_: float) -> None:
        client.execute_command("CLIENT", "KILL", "TYPE", "normal", target_nodes="primaries")

    with (
        pytest.raises(load.LoadFailed, match=r"hung up on \d+ commands that nobody else has"),
        started(endpoint, hang_up) as work,
    ):
        work.follow(30.0)


def test_nobody_at_the_endpoint_ends_the_load_with_a_reason() -> None:
    with (
        pytest.raises(load.LoadFailed, match=r"worker \d: Unreachable"),
        started(("127.0.0.1", free_port("127.0.0.1"))),
    ):
        raise AssertionError("they cannot be ready")


def test_a_worker_ends_when_nobody_reads_its_reports(endpoint: tuple[str, int]) -> None:
    """So that kill -9 of the demo leaves no worker behind for long."""
    argv = [sys.executable, "-m", "cachewright.cli.demo.worker"]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as worker:
        assert worker.stdin is not None
        assert worker.stdout is not None
        task = f'{{"worker": 0, "host": "{endpoint[0]}", "port": {endpoint[1]}}}'
        worker.stdin.write(f"{task}\n".encode())
        worker.stdin.flush()
        assert b"ready" in worker.stdout.readline()
        worker.stdin.write(b"go\n")
        worker.stdin.flush()
        worker.stdout.close()
        assert worker.wait(_DEADLINE_S) != -signal.SIGKILL
