"""`cachewright.testing` gives a real service and leaves nothing of it, whatever a test does."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import valkey

from cachewright import testing
from cachewright.testing import leftovers
from cachewright.testing.groups import GroupFactory

_DEADLINE_S = 30.0


def wait_until(what: str, predicate: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _DEADLINE_S
    while not predicate():
        assert time.monotonic() < deadline, f"not within {_DEADLINE_S} s: {what}"
        time.sleep(0.02)


@pytest.fixture
def state_dir(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "state"
    yield folder
    assert leftovers.kill_processes_of(folder) == ()


def test_a_group_without_cluster_mode_has_a_primary_and_a_reader(
    replication_group: GroupFactory,
) -> None:
    group = replication_group(replicas=1)
    client = group.valkey(decode_responses=True)
    assert isinstance(client, valkey.Valkey)
    assert client.set("greeting", "hello")
    assert client.wait(1, 5_000) == 1
    host, port = group.reader_endpoint
    assert (host, port) != group.endpoint
    with valkey.Valkey(host=host, port=port, decode_responses=True) as reader:
        found: Any = reader.get("greeting")
        assert found == "hello"
    assert group.status == "available"


def test_a_sharded_group_has_a_cluster_client_and_goes_away_on_delete(
    cachewright_service: testing.Service,
) -> None:
    group = cachewright_service.create_replication_group(shards=3)
    client = group.valkey()
    assert isinstance(client, valkey.ValkeyCluster)
    assert len(client.get_primaries()) == 3  # type: ignore[no-untyped-call] # of valkey
    for number in range(20):
        client.set(f"key:{number}", number)
        assert client.get(f"key:{number}") == str(number).encode()
    host, port = group.endpoint
    group.delete()
    assert group.status == "deleted"
    with pytest.raises(valkey.ConnectionError):
        valkey.Valkey(host=host, port=port).ping()
    group.delete()


def test_a_group_id_and_parameters_of_the_api_are_passed_on(
    replication_group: GroupFactory,
) -> None:
    group = replication_group("named", shards=1, cluster_mode=True, CacheNodeType="cache.m7g.large")
    described = group.describe()
    assert group.id == "named"
    assert described["ClusterEnabled"] is True
    assert described["CacheNodeType"] == "cache.m7g.large"


def test_a_group_that_is_not_available_in_time_fails_and_is_still_deleted(
    cachewright_service: testing.Service,
) -> None:
    """The factory knows the group although its caller never got it."""
    factory = cachewright_service.group_factory()
    with pytest.raises(testing.GroupFailed, match=r"late is .*\n.*late"):
        factory("late", shards=3, timeout_s=0.0)
    factory.close()
    groups = cachewright_service.client().describe_replication_groups()["ReplicationGroups"]
    assert "late" not in {group["ReplicationGroupId"] for group in groups}


def _fail_in(service: testing.Service) -> None:
    service.create_replication_group(replicas=1)
    # The guardian, the service and two engines.
    assert len(service.processes()) == 4
    assert service.credentials.secret_access_key not in repr(service.credentials)
    raise RuntimeError


def test_a_service_ends_with_its_block_even_when_the_test_raises() -> None:
    with pytest.raises(RuntimeError), testing.service() as service:
        _fail_in(service)
    assert service.processes() == ()
    assert not service.state_dir.parent.exists()


def test_a_named_state_folder_is_kept_with_its_credentials(state_dir: Path) -> None:
    with testing.service(state_dir=state_dir, region="eu-west-1") as first:
        credentials = first.credentials
        assert first.region == "eu-west-1"
        assert first.client().describe_replication_groups()["ReplicationGroups"] == []
    with testing.service(state_dir=state_dir) as second:
        assert second.credentials == credentials
    assert (state_dir / "credentials.json").exists()


def test_an_address_pool_is_used_as_named(state_dir: Path) -> None:
    # Outside of the block in which services search for a pool of their own.
    pool = f"127.{160 + os.getpid() % 40}.{os.getpid() // 40 % 256}.0/24"
    with testing.service(state_dir=state_dir, address_pool=pool) as service:
        group = service.create_replication_group()
        assert group.endpoint.host.rpartition(".")[0] == pool.rpartition(".")[0]


def test_a_start_that_fails_says_why_and_leaves_nothing(state_dir: Path) -> None:
    with (
        pytest.raises(testing.ServiceFailed, match="no region name"),
        testing.service(state_dir=state_dir, region="nowhere"),
    ):
        raise AssertionError("it must not start")
    assert leftovers.processes_of(state_dir) == ()


def test_a_start_that_takes_too_long_says_so_and_leaves_nothing(state_dir: Path) -> None:
    with (
        pytest.raises(testing.ServiceFailed, match="not ready after 0 s"),
        testing.service(state_dir=state_dir, start_timeout_s=0.0),
    ):
        raise AssertionError("it must not be ready")
    assert leftovers.processes_of(state_dir) == ()


def test_credentials_of_the_environment_are_not_those_of_the_test(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CACHEWRIGHT_ACCESS_KEY_ID", "AKMINE")
    monkeypatch.setenv("CACHEWRIGHT_SECRET_ACCESS_KEY", "mine")
    with testing.service() as service:
        assert service.credentials.access_key_id != "AKMINE"
        assert service.client().describe_replication_groups()["ReplicationGroups"] == []


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_the_end_of_the_test_process_is_the_end_of_its_service(
    number: signal.Signals, state_dir: Path
) -> None:
    program = (
        "import pathlib, signal, sys, time\n"
        "from cachewright import testing\n"
        # Ignored where the tests run in the background of a shell.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "with testing.service(state_dir=pathlib.Path(sys.argv[1])) as service:\n"
        "    service.create_replication_group(replicas=1)\n"
        "    print('up', flush=True)\n"
        # Not `signal.pause`: a signal just before it would be waited for for ever.
        "    while True: time.sleep(0.05)\n"
    )
    argv = [sys.executable, "-c", program, str(state_dir)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == b"up\n"
        assert len(leftovers.processes_of(state_dir)) >= 4
        owner.send_signal(number)
    wait_until("nothing is left", lambda: leftovers.processes_of(state_dir) == ())


_TESTS_OF_A_USER = """
import json, os, pathlib

def note(service):
    worker = os.environ["PYTEST_XDIST_WORKER"]
    facts = {"url": service.url, "state_dir": str(service.state_dir)}
    pathlib.Path(f"{worker}.json").write_text(json.dumps(facts))

def test_one(cachewright_service, replication_group):
    note(cachewright_service)
    client = replication_group().valkey()
    client.incr("visits")
    assert client.get("visits") == b"1"

def test_two(cachewright_service):
    # The group of the test before is gone.
    assert cachewright_service.client().describe_replication_groups()["ReplicationGroups"] == []
"""


def test_the_plugin_gives_each_worker_a_service_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "test_of_a_user.py").write_text(_TESTS_OF_A_USER)
    options = ["-q", "-n", "2", "--dist", "each", "-W", "error", "-p", "no:cacheprovider"]
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", *options], cwd=tmp_path, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout + ran.stderr
    facts = [json.loads(path.read_text()) for path in tmp_path.glob("gw*.json")]
    assert len({fact["url"] for fact in facts}) == 2
    for fact in facts:
        assert leftovers.processes_of(Path(fact["state_dir"])) == ()
        assert not Path(fact["state_dir"]).exists()


def test_the_plugin_imports_nothing_heavy() -> None:
    """It is loaded in every pytest run of an environment."""
    program = (
        "import sys, cachewright.testing.plugin;"
        "print(sorted({'boto3', 'botocore', 'valkey', 'rich', 'msgspec'} & set(sys.modules)))"
    )
    argv = [sys.executable, "-c", program]
    assert subprocess.run(argv, capture_output=True, text=True, check=True).stdout == "[]\n"
