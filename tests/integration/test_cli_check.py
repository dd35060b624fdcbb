"""A check covers everything that a group holds, and tells the truth about what clients saw."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from click.testing import CliRunner, Result

from cachewright import testing
from cachewright.checker.clients import Kind
from cachewright.cli import app, checking
from tests import service_kit as kit

pytestmark = pytest.mark.slow(15)
FLEET, PAIR, SINGLE, CACHE = "fleet", "pair", "single", "cache"
_PYTHON = sys.executable


@pytest.fixture(scope="module")
def service() -> Iterator[testing.Service]:
    """A service with groups of all kinds: each test leaves them available."""
    with testing.service() as running:
        running.create_replication_group(FLEET, shards=2, replicas=1)
        running.create_replication_group(PAIR, replicas=1)
        running.create_cache_cluster(SINGLE, engine="valkey")
        yield running


def run(service: testing.Service, *arguments: str) -> Result:
    cli = app.command_line(further=(), open_service=testing.service)
    return CliRunner().invoke(cli, [*arguments, "--state-dir", str(service.state_dir)])


def report_of(service: testing.Service, *arguments: str) -> tuple[int, Any]:
    """Check as a program does; a process of its own, so that its output is a file."""
    argv = [_PYTHON, "-m", "cachewright", "check", *arguments, "--output", "json"]
    argv += ["--state-dir", str(service.state_dir)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=100, check=False)
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def kept(service: testing.Service, name: str) -> Any:
    result = run(service, "show", name, "--output", "json")
    return json.loads(result.stdout)["checks"]


def client_of(service: testing.Service, name: str) -> Any:
    return contextlib.closing(testing.ReplicationGroup(service.client(), name).valkey())


def assert_no_keys(service: testing.Service, name: str) -> None:
    with client_of(service, name) as client:
        assert list(client.scan_iter("*")) == []


CLIENTS = [
    pytest.param(
        kind.value, marks=() if kind.is_here() else pytest.mark.skip(f"no {kind.package} here")
    )
    for kind in Kind
]


@pytest.mark.parametrize("client", CLIENTS)
def test_every_slot_is_watched_and_the_figures_are_kept(
    service: testing.Service, client: str
) -> None:
    code, report = report_of(service, FLEET, "--seconds", "2", "--client", client)
    assert (code, report["ok"]) == (0, True), json.dumps(report)
    assert report["client"].startswith(f"{client} ")
    assert (report["keys"], report["during"], report["exit_code"]) == (16_384, None, None)
    assert 500 < report["keys_written"] < 16_384
    assert (report["lost"], report["doubled"], report["foreign"], report["wrong_reads"]) == (
        *(0, 0, 0, 0),
    )
    for kind in ("writes", "reads"):
        assert report[kind]["failed"] == 0
        assert report[kind]["answered"] > 500
        assert 0 < report[kind]["longest_gap_ms"] < 20_000
        assert 0 < report[kind]["lowest_per_second"] <= report[kind]["per_second"] * 1.5
    assert_no_keys(service, FLEET)
    newest = kept(service, FLEET)[-1]
    assert (newest["is_good"], newest["client"]) == (True, report["client"])
    answered = report["writes"]["answered"] + report["reads"]["answered"]
    assert newest["requests"] == answered
    assert "served" in run(service, "show", FLEET).stdout


@pytest.mark.parametrize("client", CLIENTS)
def test_no_client_notices_that_shards_come_and_go(service: testing.Service, client: str) -> None:
    """Not even one that learns slot by slot who has them, as valkey-glide does at first."""
    for wanted in (3, 2):
        during = f"cachewright scale {FLEET} --shards {wanted}"
        code, report = report_of(service, FLEET, "--during", during, "--client", client)
        assert (code, report["ok"], report["strays"]) == (0, True, 0), json.dumps(report)
        assert (report["exit_code"], report["is_over"]) == (0, True)
        group = kit.describe(service.client(), FLEET)
        assert group is not None
        assert len(group["NodeGroups"]) == wanted
        assert kept(service, FLEET)[-1]["during"] == during
    assert_no_keys(service, FLEET)


@pytest.mark.parametrize("client", CLIENTS)
def test_no_client_notices_that_every_node_is_started_again(
    service: testing.Service, client: str
) -> None:
    """Not even one that tries less and less often to reach a node, as valkey-glide does."""
    api, name = service.client(), f"old-{client}"
    versions = api.describe_cache_engine_versions(Engine="valkey", EngineVersion="8.1")
    if not versions["CacheEngineVersions"]:
        pytest.skip("valkey 8.1 cannot be had on this machine")
    service.create_replication_group(name, shards=2, replicas=1, EngineVersion="8.1")
    during = f"cachewright upgrade {name} 9.1"
    code, report = report_of(service, name, "--during", during, "--client", client)
    testing.ReplicationGroup(api, name).delete()
    assert (code, report["ok"], report["strays"]) == (0, True, 0), json.dumps(report)


def test_cluster_mode_disabled_and_a_single_node_are_checked_too(
    service: testing.Service,
) -> None:
    for name in (PAIR, SINGLE):
        code, report = report_of(service, name, "--seconds", "1")
        assert (code, report["ok"], report["keys"]) == (0, True, 256), json.dumps(report)
        assert kept(service, name)[-1]["is_good"] is True
    assert_no_keys(service, PAIR)


def test_a_check_lasts_until_the_command_has_ended_and_the_group_is_available(
    service: testing.Service,
) -> None:
    """The primaries hand over meanwhile, which costs nobody a request."""
    program = (
        "import boto3, sys, time; print('from the command'); time.sleep(0.5); "
        "boto3.client('elasticache', endpoint_url=sys.argv[1], region_name='us-east-1')"
        ".test_failover(ReplicationGroupId='fleet', NodeGroupId='0001')"
    )
    key_id, secret = service.key_pair
    argv = [_PYTHON, "-m", "cachewright", "check", FLEET, "--output", "json"]
    argv += ["--state-dir", str(service.state_dir)]
    argv += ["--during", f'{_PYTHON} -c "{program}" {service.url}']
    keys = {"AWS_ACCESS_KEY_ID": key_id, "AWS_SECRET_ACCESS_KEY": secret}
    done = subprocess.run(
        argv, capture_output=True, text=True, timeout=100, check=False, env=os.environ | keys
    )
    report = json.loads(done.stdout)
    assert (done.returncode, report["ok"]) == (0, True), (json.dumps(report), done.stderr)
    assert (report["exit_code"], report["is_over"]) == (0, True)
    assert report["during"].startswith(_PYTHON)
    # What the command says is not mixed with the document.
    assert "from the command" in done.stderr
    assert report["seconds"] > 2.5
    assert kit.status(service.client(), FLEET) == "available"
    assert kept(service, FLEET)[-1]["during"] == report["during"][:200]


def test_a_command_that_fails_or_does_not_end_fails_the_check(service: testing.Service) -> None:
    code, report = report_of(service, PAIR, "--during", f"{_PYTHON} -c 'raise SystemExit(3)'")
    assert (code, report["ok"], report["exit_code"]) == (1, False, 3)
    assert report["writes"]["failed"] == 0
    code, report = report_of(service, PAIR, "--seconds", "1", "--during", "sleep 60")
    assert (code, report["ok"], report["is_over"], report["exit_code"]) == (1, False, False, None)
    assert kept(service, PAIR)[-1]["is_good"] is False
    assert_no_keys(service, PAIR)


def test_our_own_commands_mean_the_same_service_wherever_they_are_installed(
    service: testing.Service,
) -> None:
    argv = [_PYTHON, "-m", "cachewright", "check", PAIR, "--during", f"cachewright show {PAIR}"]
    argv += ["--state-dir", str(service.state_dir)]
    environment = {n: v for n, v in os.environ.items() if n != "CACHEWRIGHT_STATE_DIR"}
    environment["PATH"] = "/nowhere"
    done = subprocess.run(
        argv, capture_output=True, text=True, timeout=100, check=False, env=environment
    )
    assert done.returncode == 0, done.stderr
    # It is shown what is known of the group, and after that what clients saw.
    assert "primary endpoint" in done.stderr
    assert done.stdout.startswith(f"Lists are written into {PAIR} first")
    assert f"during `cachewright show {PAIR}`" in done.stdout


def test_what_somebody_takes_or_doubles_meanwhile_is_found(service: testing.Service) -> None:
    is_done = threading.Event()

    def meddle() -> None:
        with client_of(service, FLEET) as client:
            while not is_done.wait(0.01):
                found = list(client.scan_iter("cachewright-check:*", count=1_000))
                if len(found) == 16_384:
                    client.rpush(found[0], client.lindex(found[0], 0))
                    client.lpop(found[1])
                    client.unlink(found[2])
                    client.rpush(found[3], 10**9)
                    is_done.set()

    meddler = threading.Thread(target=meddle)
    meddler.start()
    try:
        code, report = report_of(service, FLEET, "--seconds", "3")
    finally:
        is_done.set()
        meddler.join()
    assert (code, report["ok"]) == (1, False)
    # One of them may have had two numbers already.
    assert report["lost"] in {2, 3}
    assert report["doubled"] == 1
    assert report["foreign"] == 1
    assert_no_keys(service, FLEET)


def test_who_fails_requests_is_named(service: testing.Service) -> None:
    def refuse() -> None:
        time.sleep(0.5)
        for value in (1, 0):
            for node_id in kit.engines(service.state_dir):
                if node_id.startswith(PAIR):
                    with kit.admin(service.state_dir, node_id) as admin:
                        admin.config_set("maxmemory", value * 1_000 or 100_000_000)
            time.sleep(0.5)

    refusing = threading.Thread(target=refuse)
    with client_of(service, PAIR) as client:
        argv = [_PYTHON, "-m", "cachewright", "check", PAIR, "--seconds", "4"]
        argv += ["--state-dir", str(service.state_dir)]
        with subprocess.Popen(
            argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as program:
            kit.wait_until("keys", lambda: client.dbsize() == 256)
            refusing.start()
            stdout, stderr = program.communicate(timeout=kit.PATIENCE_S)
        refusing.join()
    assert program.returncode == 1
    assert "requests failed" in stderr
    assert "Failed: OutOfMemoryError" in stdout
    assert kept(service, PAIR)[-1]["failed"] > 0


def test_nobody_waits_for_minutes_for_who_does_not_answer_at_all(
    service: testing.Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checking, "_FIRST_ANSWER_TIMEOUT_S", 2.0)
    engine = kit.engines(service.state_dir)[SINGLE]
    engine.kill(signal.SIGSTOP)
    try:
        result = run(service, "check", SINGLE)
    finally:
        engine.kill(signal.SIGCONT)
    assert result.exit_code == 1
    assert "clients are not served at" in result.stderr
    assert "Timeout" in result.stderr
    kit.wait_until(
        "it serves again",
        lambda: json.loads(run(service, "show", SINGLE, "--output", "json").stdout)["status"],
        is_it=lambda status: status == "available",
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("nobody",), "`cachewright ls` shows what is there"),
    ],
)
def test_a_wish_that_makes_no_sense_is_explained(
    service: testing.Service, arguments: tuple[str, ...], said: str
) -> None:
    result = run(service, "check", *arguments)
    assert result.exit_code == 1
    assert said in result.stderr


def test_ctrl_c_ends_a_check_that_has_no_end_with_its_verdict(service: testing.Service) -> None:
    argv = [_PYTHON, "-m", "cachewright", "check", PAIR, "--state-dir", str(service.state_dir)]
    before = len(kept(service, PAIR))
    with (
        client_of(service, PAIR) as client,
        subprocess.Popen(
            argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as program,
    ):
        kit.wait_until("keys", lambda: client.dbsize() == 256)
        time.sleep(1.5)
        os.kill(program.pid, signal.SIGINT)
        stdout, stderr = program.communicate(timeout=kit.PATIENCE_S)
    assert program.returncode == 0, stderr
    assert "No request failed, and nothing is lost, doubled or wrong." in stdout
    assert len(kept(service, PAIR)) == min(5, before + 1)
    assert_no_keys(service, PAIR)


def test_an_interrupt_while_a_command_runs_ends_both_and_leaves_no_keys(
    service: testing.Service,
) -> None:
    argv = [_PYTHON, "-m", "cachewright", "check", PAIR, "--state-dir", str(service.state_dir)]
    with (
        client_of(service, PAIR) as client,
        subprocess.Popen(
            [*argv, "--during", "sleep 1234.5"], stderr=subprocess.PIPE, text=True
        ) as program,
    ):
        kit.wait_until("keys", lambda: client.dbsize() == 256)
        time.sleep(1.0)
        os.kill(program.pid, signal.SIGTERM)
        _, stderr = program.communicate(timeout=kit.PATIENCE_S)
    assert program.returncode == 128 + signal.SIGTERM
    assert "Interrupted" in stderr
    assert "Traceback" not in stderr
    assert subprocess.run(["pgrep", "-f", "^sleep 1234.5$"], check=False).returncode == 1
    assert_no_keys(service, PAIR)
