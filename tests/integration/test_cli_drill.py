"""A fire drill is asked for, done to the right node, and tells the truth about what clients saw."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from valkey.exceptions import ValkeyError

from cachewright import testing
from cachewright.cli import app
from tests import service_kit as kit

FLEET, PAIR, ALONE, SINGLE = "fleet", "pair", "alone", "single"


@pytest.fixture(scope="module")
def service() -> Iterator[testing.Service]:
    """A service with groups of all kinds: each test leaves them available."""
    with testing.service() as running:
        running.create_replication_group(FLEET, shards=2, replicas=1)
        running.create_replication_group(PAIR, replicas=1)
        running.create_replication_group(ALONE, cluster_mode=True)
        running.create_cache_cluster(SINGLE, engine="valkey")
        yield running


def run(service: testing.Service, *arguments: str, typed: str = "") -> Result:
    cli = app.command_line(further=(), open_service=testing.service)
    given = ["drill", *arguments, "--state-dir", str(service.state_dir)]
    return CliRunner().invoke(cli, given, input=typed)


def report_of(service: testing.Service, *arguments: str) -> tuple[int, Any]:
    result = run(service, *arguments, "--yes", "--output", "json")
    assert result.stdout, result.stderr
    return result.exit_code, json.loads(result.stdout)


def drills(service: testing.Service, name: str) -> list[str]:
    """Return the drills that events tell of."""
    return [text for text in kit.messages(service.client(), name) if text.startswith("Drill")]


def client_of(service: testing.Service, name: str) -> Any:
    return contextlib.closing(testing.ReplicationGroup(service.client(), name).valkey())


def assert_no_keys(service: testing.Service, name: str) -> None:
    with client_of(service, name) as client:
        assert list(client.scan_iter("*")) == []


def test_a_program_learns_what_the_clients_of_each_shard_saw(service: testing.Service) -> None:
    before = kit.engines(service.state_dir)
    code, report = report_of(service, FLEET, "--shard", "0002")
    assert code == 0
    assert report["ok"] is True
    assert (report["name"], report["shard_id"]) == (FLEET, "0002")
    assert not before[report["node_id"]].is_alive()
    assert report["primary"] != report["node_id"]
    assert report["primary"].startswith(f"{FLEET}-0002-")
    assert 0 < report["whole_after_s"] <= 30
    assert 3 <= report["seconds"] <= 31
    assert report["left_keys"] == []
    quiet, struck = report["shards"]
    assert [shard["shard_id"] for shard in report["shards"]] == ["0001", "0002"]
    assert [shard["is_struck"] for shard in report["shards"]] == [False, True]
    assert quiet["pace_ms"] > struck["pace_ms"]
    assert (quiet["writes"]["failed"], quiet["reads"]["failed"]) == (0, 0)
    for shard in (quiet, struck):
        assert (shard["lost"], shard["wrong_reads"]) == (0, 0)
        for kind in ("writes", "reads"):
            assert shard[kind]["answered"] > 0
            assert 0 < shard[kind]["longest_gap_ms"] < 20_000
    others = {name: e for name, e in before.items() if name != report["node_id"]}
    assert all(engine.is_alive() for engine in others.values())
    assert len(drills(service, FLEET)) == 1
    assert_no_keys(service, FLEET)


def test_people_are_asked_and_told(service: testing.Service) -> None:
    told = len(drills(service, PAIR))
    result = run(service, PAIR, typed="y\n")
    assert result.exit_code == 0, result.output
    assert "is ended with SIGKILL" in result.stderr
    assert "until a replica has taken over" in result.stderr
    assert "Go on? [y/N]" in result.stderr
    assert "0001 *" in result.stdout
    assert "was ended;" in result.stdout
    assert "is the primary now." in result.stdout
    assert "Its clients had no acknowledged write for" in result.stdout
    assert "No acknowledged write was lost." in result.stdout
    assert "Every node served again after" in result.stdout
    assert len(drills(service, PAIR)) == told + 1
    assert_no_keys(service, PAIR)


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("n\n", "Error: nothing was ended"),
        ("\n", "Error: nothing was ended"),
        ("", "nobody said yes, so nothing was ended: --yes does not ask"),
    ],
    ids=["no", "just a newline", "nobody is there"],
)
def test_without_a_yes_nothing_is_ended(service: testing.Service, typed: str, said: str) -> None:
    before = kit.engines(service.state_dir)
    result = run(service, PAIR, typed=typed)
    assert result.exit_code == 1
    assert said in result.stderr
    assert result.stdout == ""
    assert kit.engines(service.state_dir) == before


def test_a_loss_has_to_be_accepted_and_is_counted(service: testing.Service) -> None:
    """The only node of a cluster: its clients cross it out, and new ones are made."""
    before = kit.engines(service.state_dir)
    result = run(service, ALONE, "--yes")
    assert result.exit_code == 1
    assert "no replica that could take over" in result.stderr
    assert "--accept-loss" in result.stderr
    assert kit.engines(service.state_dir) == before
    code, report = report_of(service, ALONE, "--accept-loss")
    assert code == 0
    (shard,) = report["shards"]
    assert report["accepts_loss"] is True
    assert shard["lost"] > 0
    assert shard["writes"]["failed"] > 0
    assert shard["errors"]
    assert report["primary"] == report["node_id"]
    assert report["whole_after_s"] is not None
    assert_no_keys(service, ALONE)


def test_people_read_before_that_everything_will_be_lost(service: testing.Service) -> None:
    result = run(service, ALONE, "--accept-loss", typed="n\n")
    assert "WHAT IT HOLDS IS LOST" in result.stderr


def test_a_loss_that_was_not_accepted_fails_the_drill(service: testing.Service) -> None:
    """Somebody takes one number out of one list meanwhile."""
    taken = threading.Event()

    def take() -> None:
        with client_of(service, FLEET) as client:
            while not taken.wait(0.01):
                if any(client.lpop(key) for key in client.scan_iter("cachewright-check:*")):
                    taken.set()

    thief = threading.Thread(target=take)
    thief.start()
    try:
        code, report = report_of(service, FLEET)
    finally:
        taken.set()
        thief.join()
    assert code == 1
    assert report["ok"] is False
    assert [shard["lost"] for shard in report["shards"]] in ([0, 1], [1, 0])
    result = run(service, FLEET, "--shard", "0009")
    assert result.exit_code == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("nobody",), "`cachewright ls` shows what is there"),
        ((FLEET, "--shard", "9"), "fleet has no shard 9: it has 0001, 0002"),
        ((SINGLE,), "single is not a replication group: nothing fails over"),
    ],
)
def test_a_wish_that_makes_no_sense_is_explained_without_a_question(
    service: testing.Service, arguments: tuple[str, ...], said: str
) -> None:
    result = run(service, *arguments, typed="y\n")
    assert result.exit_code == 1
    assert said in result.stderr
    assert "Go on?" not in result.stderr


def test_a_group_that_is_not_available_is_left_alone(service: testing.Service) -> None:
    kit.create(service.client(), "young", replicas=1)
    try:
        result = run(service, "young", "--yes")
    finally:
        kit.wait_status(service.client(), "young", "available")
        testing.ReplicationGroup(service.client(), "young").delete()
    assert result.exit_code == 1
    assert "young is creating" in result.stderr
    assert "`cachewright explain young`" in result.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_leaves_no_keys(service: testing.Service, number: signal.Signals) -> None:
    argv = [sys.executable, "-m", "cachewright", "drill", PAIR, "--yes"]
    argv += ["--state-dir", str(service.state_dir)]
    with client_of(service, PAIR) as client:
        with subprocess.Popen(argv, stderr=subprocess.PIPE, text=True) as program:
            kit.wait_until("keys", lambda: list(client.scan_iter("*")), every_s=0.01)
            os.kill(program.pid, number)
            _, stderr = program.communicate(timeout=kit.PATIENCE_S)
        assert program.returncode == 128 + number
        assert "Interrupted" in stderr
        assert "Traceback" not in stderr
    kit.wait_status(service.client(), PAIR, "available")
    assert_no_keys(service, PAIR)


def test_a_service_that_dies_meanwhile_is_said_and_leaves_no_keys(tmp_path: Path) -> None:
    with kit.up(tmp_path) as up:
        group = kit.create_available(up.api, PAIR, replicas=1)
        argv = [sys.executable, "-m", "cachewright", "drill", PAIR, "--yes"]
        environment = os.environ | {"CACHEWRIGHT_STATE_DIR": str(up.state_dir)}
        before = up.engines()
        with subprocess.Popen(argv, stderr=subprocess.PIPE, text=True, env=environment) as program:
            kit.wait_until(
                "the end of the primary",
                lambda: all(engine.is_alive() for engine in before.values()),
                is_it=lambda are_alive: not are_alive,
                every_s=0.01,
            )
            kit.wait_until("a primary", lambda: _is_served(group), every_s=0.01)
            up.kill()
            _, stderr = program.communicate(timeout=kit.PATIENCE_S)
        assert program.returncode == 1
        assert "cannot be reached" in stderr
        assert "Traceback" not in stderr
        with contextlib.closing(kit.connect(kit.primary_endpoint(group))) as client:
            assert list(client.scan_iter("*")) == []


def _is_served(group: dict[str, Any]) -> bool:
    try:
        with contextlib.closing(kit.connect(kit.primary_endpoint(group))) as client:
            return bool(client.info("replication")["role"] == "master")
    except (ValkeyError, OSError):
        return False
