"""When may `up` not start, and what does it say? And how do two of them live on one machine?

A refusal is one clear sentence and exit code 1 (2 for a wrong option), never a traceback.
"""

from __future__ import annotations

import ipaddress
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests import service_kit as kit


@pytest.fixture
def service(tmp_path: Path) -> Iterator[kit.Up]:
    with kit.prepared(tmp_path) as prepared:
        yield prepared


def refusal(service: kit.Up, *arguments: str, code: int = 1) -> str:
    """Start what must not start; return what it says."""
    service.launch(*arguments)
    assert not service.wait_ready(), "it started"
    assert service.wait_end() == code, service.output
    assert "Traceback" not in service.output
    assert "Error: " in service.output
    return service.output


def test_a_folder_in_use_is_refused_by_the_second(tmp_path: Path) -> None:
    with kit.up(tmp_path) as first:
        kit.create_available(first.api, "witness")
        second = kit.Up(first.state_dir)
        second._runs = 100
        said = refusal(second)
        assert f"is in use by process {first.process.pid}" in said
        assert "--state-dir" in said
        assert kit.status(first.api, "witness") == "available"
        assert (first.state_dir / "server.json").exists()


def test_a_folder_of_a_newer_version_is_refused_and_left_alone(service: kit.Up) -> None:
    service.start()
    service.stop()
    store = service.state_dir / "store.db"
    with sqlite3.connect(store) as connection:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        connection.execute(f"PRAGMA user_version = {version + 1}")
    connection.close()
    before = store.read_bytes()
    said = refusal(service)
    assert "newer" in said
    assert str(service.state_dir) in said
    assert store.read_bytes() == before


def test_a_damaged_store_is_refused(service: kit.Up) -> None:
    service.start()
    service.stop()
    (service.state_dir / "store.db").write_bytes(b"this is no data base at all" * 500)
    for name in ("store.db-wal", "store.db-shm"):
        (service.state_dir / name).unlink(missing_ok=True)
    assert "store.db" in refusal(service)


def test_a_file_in_place_of_the_folder_is_refused(service: kit.Up) -> None:
    service.state_dir.write_text("a file")
    assert str(service.state_dir) in refusal(service, code=2)


def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    folder.mkdir(mode=0o500)
    # Root may write everywhere, unless it gives that away.
    without = [] if os.geteuid() else ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]
    if without and shutil.which("setpriv") is None:
        pytest.skip("root cannot give its rights away here")
    command = [*without, sys.executable, "-P", "-m", "cachewright", "up"]
    command += ["--listen", "127.0.0.1:0", "--state-dir", str(folder / "state")]
    result = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    assert "ermission" in result.stderr
    assert str(folder) in result.stderr


def test_a_read_only_disk_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    folder.mkdir()
    mount = f"mount -t tmpfs -o ro,mode=700 tmpfs {folder}"
    private = ["unshare", *([] if os.geteuid() == 0 else ["--map-root-user"]), "--mount"]
    if (
        shutil.which("unshare") is None
        or subprocess.run(
            [*private, "sh", "-c", mount], capture_output=True, timeout=10, check=False
        ).returncode
    ):
        pytest.skip("this machine does not let us mount a read-only file system")
    up = f"{sys.executable} -P -m cachewright up --listen 127.0.0.1:0 --state-dir {folder}"
    for state_dir in (folder, folder / "new"):
        result = subprocess.run(
            [*private, "sh", "-c", f"{mount} && exec {up.replace(str(folder), str(state_dir))}"],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert result.returncode == 1, result.stderr
        assert "Traceback" not in result.stderr
        assert "ead-only" in result.stderr
        assert str(state_dir) in result.stderr


def test_a_port_that_is_taken_is_named(tmp_path: Path, service: kit.Up) -> None:
    (tmp_path / "first").mkdir()
    with kit.up(tmp_path / "first") as first:
        address = first.url.removeprefix("http://")
        assert address in refusal(service, "--listen", address)


@pytest.mark.parametrize(
    "arguments",
    [
        ("--address-pool", "10.0.0.0/24"),
        ("--address-pool", "127.0.0.0/24"),
        ("--address-pool", "127.70.0.1/24"),
        ("--address-pool", "cheese"),
        ("--region", "nowhere"),
        ("--account-id", "12"),
        ("--listen", "127.0.0.1"),
        ("--listen", "127.0.0.1:99999"),
        ("--listen", "0.0.0.0:0", "--dev"),
        ("--max-nodes-per-group", "501"),
        ("--addresses", "clouds"),
    ],
)
def test_wrong_options_are_refused(service: kit.Up, arguments: tuple[str, ...]) -> None:
    said = refusal(service, *arguments, code=2)
    assert arguments[0] in said or "--dev" in said
    assert not service.state_dir.exists()


def test_half_a_pair_of_credentials_is_refused(service: kit.Up) -> None:
    service.launch(CACHEWRIGHT_ACCESS_KEY_ID="AKMINE")
    assert not service.wait_ready()
    assert service.wait_end() in {1, 2}
    assert "CACHEWRIGHT_SECRET_ACCESS_KEY" in service.output
    assert "Traceback" not in service.output


# Addresses


def test_two_services_do_not_meet(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    with kit.up(tmp_path / "one") as one, kit.up(tmp_path / "two") as two:
        found = []
        for service in (one, two):
            group = kit.create_available(service.api, "same", replicas=1)
            with kit.connect(kit.primary_endpoint(group)) as client:
                client.set("who", service.url)
            found.append(group)
        for service, group in zip((one, two), found, strict=True):
            with kit.connect(kit.primary_endpoint(group)) as client:
                assert client.get("who") == service.url
        places = [set(kit.nodes(service.api, "same").values()) for service in (one, two)]
        assert not places[0] & places[1]


def test_a_pool_that_another_service_holds_is_refused(tmp_path: Path) -> None:
    """Also a part of it, and also when only engines of the other are left: they still listen."""
    pool = kit.free_pool(28)
    inside = str(next(ipaddress.IPv4Network(pool).subnets(1)))
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    with (
        kit.up(tmp_path / "one", "--address-pool", pool) as one,
        kit.prepared(tmp_path / "two") as two,
    ):
        for wanted in (pool, inside):
            said = refusal(two, "--address-pool", wanted)
            assert f"overlaps with {pool}" in said
        kit.create_available(one.api, "witness")
        one.kill()
        said = refusal(two, "--address-pool", pool)
        assert "a program listens on" in said
        one.start()
        assert kit.status(one.api, "witness") == "available"


def test_a_pool_that_is_used_up_is_a_clear_error_and_nothing_leaks(tmp_path: Path) -> None:
    """Six addresses: two groups of one node with its two endpoints."""
    with kit.up(tmp_path, "--address-pool", kit.free_pool(29)) as service:
        for _ in range(2):
            kit.create_available(service.api, "one")
            kit.create_available(service.api, "two")
            with pytest.raises(ClientError) as caught:
                kit.create(service.api, "three")
            error = caught.value.response["Error"]
            assert error["Code"] == "InsufficientCacheClusterCapacity"
            assert "3 addresses" in error["Message"]
            assert "0 are free" in error["Message"]
            assert kit.status(service.api, "three") == "gone"
            with pytest.raises(ClientError):
                service.api.describe_cache_clusters(CacheClusterId="three-001")
            for name in ("one", "two"):
                kit.delete(service.api, name)
        # All six at once.
        kit.create_available(service.api, "three", replicas=3)
        kit.delete(service.api, "three")
        kit.assert_nothing_left(service.state_dir)


def test_another_pool_for_a_folder_with_groups_leaves_them_where_they_are(tmp_path: Path) -> None:
    with kit.up(tmp_path) as service:
        group = kit.create_available(service.api, "settled")
        with kit.connect(kit.primary_endpoint(group)) as client:
            client.set("greeting", "hello")
        service.stop()
        service.launch("--address-pool", kit.free_pool(28))
        if not service.wait_ready():
            assert "Traceback" not in service.output
            return
        kit.wait_status(service.api, "settled", "available")
        with kit.connect(kit.primary_endpoint(group)) as client:
            assert client.get("greeting") == "hello"
        fresh = kit.create_available(service.api, "fresh")
        assert kit.primary_endpoint(fresh) != kit.primary_endpoint(group)


@pytest.fixture(scope="module")
def ports(tmp_path_factory: pytest.TempPathFactory) -> Iterator[kit.Up]:
    with kit.up(tmp_path_factory.mktemp("ports"), "--addresses", "ports") as running:
        yield running


def test_with_ports_all_nodes_share_one_address(ports: kit.Up) -> None:
    group = kit.create_available(ports.api, "plain", replicas=1)
    places = kit.nodes(ports.api, "plain")
    assert {address for address, _ in places.values()} == {"127.0.0.1"}
    assert len({port for _, port in places.values()}) == 2
    with kit.connect(kit.primary_endpoint(group)) as client:
        client.set("greeting", "hello")
        assert client.wait(1, 5_000) == 1
    with kit.connect(kit.reader_endpoint(group)) as client:
        assert client.get("greeting") == "hello"
        assert client.info("replication")["role"] == "slave"
    sharded = kit.create_available(ports.api, "sharded", shards=2, replicas=1)
    with kit.connect_cluster(sharded) as cluster:
        assert all(cluster.set(f"key:{n}", n) for n in range(100))
    for end in (ports.stop, ports.kill):
        end()
        ports.start()
        for name in ("plain", "sharded"):
            kit.wait_status(ports.api, name, "available")
        assert kit.nodes(ports.api, "plain") == places
        with kit.connect_cluster(sharded) as cluster:
            assert [cluster.get(f"key:{n}") for n in range(100)] == [str(n) for n in range(100)]
    for name in ("plain", "sharded"):
        kit.delete(ports.api, name)
    kit.assert_nothing_left(ports.state_dir)
    assert all(kit.can_be_bound(*place) for place in places.values())


def test_two_services_with_ports_do_not_meet(ports: kit.Up, tmp_path: Path) -> None:
    with kit.up(tmp_path, "--addresses", "ports") as other:
        seen: set[Any] = set()
        for service in (ports, other):
            kit.create_available(service.api, "same", replicas=1)
            seen |= set(kit.nodes(service.api, "same").values())
            seen.add(service.url)
        assert len(seen) == 6
        assert other.stop(signal.SIGINT) == 0
    kit.delete(ports.api, "same")
