"""People change the size of what serves through the command line, and are told how it goes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from click.testing import CliRunner, Result

from cachewright import testing
from cachewright.cli import app
from tests import service_kit as kit

NAME = "games"


@pytest.fixture(scope="module")
def service() -> Iterator[testing.Service]:
    """A service with a group without cluster mode."""
    with testing.service() as running:
        running.create_replication_group(NAME, replicas=1)
        yield running


def run(service: testing.Service, *arguments: str) -> Result:
    cli = app.command_line(further=(), open_service=testing.service)
    return CliRunner().invoke(cli, [*arguments, "--state-dir", str(service.state_dir)])


def document(service: testing.Service, *arguments: str) -> Any:
    result = run(service, *arguments, "--output", "json")
    assert result.exit_code == 0, result.stderr
    assert result.stderr == ""
    return json.loads(result.stdout)


def test_replicas_are_added_and_taken_away(service: testing.Service) -> None:
    service.create_replication_group("few", replicas=1)
    report = document(service, "scale", "few", "--replicas", "2")
    assert (report["ok"], report["status"], report["change"]) == (True, "available", "2 replicas")
    (shard,) = report["group"]["shards"]
    assert [node["status"] for node in shard["nodes"]] == ["available"] * 3
    result = run(service, "scale", "few", "--replicas", "1")
    assert result.exit_code == 0, result.stderr
    assert "removing few-003" in result.stdout
    assert "few  available  1 replica: done after" in result.stdout


def test_a_refusal_says_what_to_do_next(service: testing.Service) -> None:
    result = run(service, "scale", NAME, "--replicas", "6")
    assert result.exit_code == 1
    assert "Invalid value 6 for NewReplicaCount" in result.stderr
    result = run(service, "scale", NAME, "--shards", "2")
    assert (result.exit_code, "always one shard" in result.stderr) == (1, True)
    result = run(service, "scale", "nobody", "--replicas", "1")
    assert (result.exit_code, "`cachewright ls`" in result.stderr) == (1, True)


def test_shards_come_and_go_and_their_slots_with_them(service: testing.Service) -> None:
    service.create_replication_group("board", shards=2, cluster_mode=True)
    result = run(service, "scale", "board", "--shards", "91")
    assert (result.exit_code, "--max-nodes-per-group" in result.stderr) == (1, True)
    report = document(service, "scale", "board", "--shards", "4")
    assert (report["ok"], report["change"]) == (True, "4 shards instead of 2")
    assert [shard["shard_id"] for shard in report["group"]["shards"]] == [
        "0001", "0002", "0003", "0004",
    ]  # fmt: skip
    assert all(shard["slots"] for shard in report["group"]["shards"])
    result = run(service, "scale", "board", "--shards", "2")
    assert result.exit_code == 0, result.stderr
    assert " %)" in result.stdout
    assert "2 shards instead of 4, without 0003, 0004: done after" in result.stdout
    report = document(service, "scale", "board", "--remove", "0001")
    assert [shard["shard_id"] for shard in report["group"]["shards"]] == ["0002"]
    assert report["group"]["shards"][0]["slots"] == "0-16383"


def test_ctrl_c_ends_the_command_and_not_the_change(service: testing.Service) -> None:
    service.create_replication_group("cut", replicas=1)
    command = [sys.executable, "-m", "cachewright", "scale", "cut", "--replicas", "3"]
    command += ["--state-dir", str(service.state_dir)]
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=dict(os.environ),
    ) as process:
        assert process.stdout is not None
        assert "modifying" in process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=kit.PATIENCE_S)
    assert process.returncode == 130, said
    assert "3 replicas goes on without you: `cachewright show cut`" in said
    api = service.client()
    kit.wait_status(api, "cut", "available")
    group = kit.describe(api, "cut")
    assert group is not None
    assert len(group["MemberClusters"]) == 4


def test_who_does_not_wait_is_told_how_to_look(service: testing.Service) -> None:
    service.create_replication_group("busy", replicas=1)
    for replicas in ("2", "3", "4"):
        result = run(service, "scale", "busy", "--replicas", replicas, "--no-wait")
        assert result.exit_code == 0, result.stderr
        assert "accepted and goes on: `cachewright show busy`" in result.stdout
        second = run(service, "scale", "busy", "--replicas", "1")
        kit.wait_status(service.client(), "busy", "available")
        if second.exit_code:  # else the first was done before the second was asked for
            break
    assert (second.exit_code, "cachewright explain" in second.stderr) == (1, True)


def test_a_larger_type_and_a_newer_version_are_followed_to_their_end(
    service: testing.Service,
) -> None:
    api = service.client()
    versions = api.describe_cache_engine_versions(Engine="redis", EngineVersion="7.0")
    if not versions["CacheEngineVersions"]:
        pytest.skip("redis 7.0 cannot be had on this machine")
    service.create_replication_group("old", replicas=1, Engine="redis", EngineVersion="7.0")
    report = document(service, "scale", "old", "--node-type", "cache.t4g.small")
    assert (report["ok"], report["group"]["node_type"]) == (True, "cache.t4g.small")
    assert any("Succeeded applying modification" in event for event in report["events"])
    result = run(service, "upgrade", "old", "6.2")
    assert (result.exit_code, "Cannot find version 6.2" in result.stderr) == (1, True)
    report = document(service, "upgrade", "old", "9.1")
    assert (report["ok"], report["change"]) == (True, "valkey 9.1 instead of redis 7.0")
    versions = [n["engine_version"] for s in report["group"]["shards"] for n in s["nodes"]]
    assert all(version.startswith("9.1.") for version in versions)
    again = run(service, "upgrade", "old", "9.1")
    assert (again.exit_code, "No modifications were requested" in again.stderr) == (1, True)
