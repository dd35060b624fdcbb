"""A create that cannot work ends in a clear status and event, and everything else goes on.

The obstacles are real: an address that somebody else listens on, an engine that crashes, a program
that has vanished, an engine that is frozen, a disk that is full.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cachewright.engines.embedded import embedded_server
from tests import service_kit as kit

CHILD = Path(__file__).with_name("service_disk_child.py")
_CRASHING = """#!/bin/sh
case "$1" in
--version) echo "Redis server v=7.0.99 sha=00000000:0 malloc=jemalloc-5.2.1 bits=64 build=0" ;;
--port) echo "Failed to configure TLS" ;;
*) echo "this program fails on purpose"; exit 3 ;;
esac
"""


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder for PATH with a Redis that crashes at its start and a Valkey that works."""
    folder = tmp_path_factory.mktemp("programs")
    crashing = folder / "redis-server"
    crashing.write_text(_CRASHING)
    crashing.chmod(0o755)
    return folder


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, programs: Path) -> Iterator[kit.Up]:
    folder = tmp_path_factory.mktemp("failing")
    environment = {
        "PATH": f"{programs}:{os.environ['PATH']}",
        "CACHEWRIGHT_ENGINES_DIR": str(folder / "engines"),
    }
    with kit.up(folder, "--address-pool", kit.free_pool(28), **environment) as running:
        kit.create_available(running.api, "witness")
        yield running


@pytest.fixture
def witness(service: kit.Up) -> Iterator[None]:
    """Have somebody write to another group all the time; nothing of it may be refused."""
    group = kit.describe(service.api, "witness")
    assert group is not None
    with (
        kit.connect(kit.primary_endpoint(group)) as client,
        kit.Writer(lambda number: client.set("n", number)) as writer,
    ):
        yield
        writer.wait_for_writes()
        assert kit.status(service.api, "witness") == "available"
    assert writer.refusals == []


def assert_deletable(service: kit.Up, name: str) -> None:
    kit.delete(service.api, name)
    assert not [n for n in service.engines() if n.startswith(name)]
    assert not [n for n in kit.node_folders(service.state_dir) if n.startswith(name)]


def failure_of(service: kit.Up, name: str) -> str:
    """Wait for the end of a create that fails, and return what its event says."""
    kit.wait_status(service.api, name, "create-failed")
    found = [t for t in kit.messages(service.api, name) if t.startswith("Failed to create")]
    assert len(found) == 1
    group = kit.describe(service.api, name)
    assert group is not None
    assert not group.get("ConfigurationEndpoint")
    assert not [g for g in group["NodeGroups"] if g.get("PrimaryEndpoint")]
    kit.wait_until(
        "its engines have ended",
        lambda: [n for n in service.engines() if n.startswith(name)],
        is_it=lambda found: not found,
    )
    return found[0]


@pytest.mark.usefixtures("witness")
def test_an_engine_that_crashes_at_its_start_is_quoted(service: kit.Up) -> None:
    kit.create(service.api, "crashing", Engine="redis", EngineVersion="7.0", replicas=1)
    said = failure_of(service, "crashing")
    assert "ended with exit code 3" in said
    assert "this program fails on purpose" in said
    assert_deletable(service, "crashing")


@contextlib.contextmanager
def occupied(pool: str) -> Iterator[None]:
    """Listen on every address of a block where nobody does yet."""
    with contextlib.ExitStack() as held:
        for address in ipaddress.IPv4Network(pool).hosts():
            taking = held.enter_context(socket.socket())
            with contextlib.suppress(OSError):
                taking.bind((str(address), kit.PORT))
                taking.listen()
        yield


@pytest.mark.usefixtures("witness")
def test_addresses_that_others_listen_on_are_named(service: kit.Up) -> None:
    pool = service.arguments[1]
    with occupied(pool):
        kit.create(service.api, "squatted", replicas=1)
        said = failure_of(service, "squatted")
        assert "is taken by another process" in said
        assert pool.rpartition(".")[0] in said
        assert_deletable(service, "squatted")
    kit.create_available(service.api, "squatted", replicas=1)
    assert_deletable(service, "squatted")


@pytest.mark.usefixtures("witness")
@pytest.mark.parametrize("shards", [0, 1])
def test_an_engine_that_is_frozen_during_the_create_does_not_make_it_lie(
    service: kit.Up, shards: int
) -> None:
    """Frozen before its first answer it is started again; after it, the create waits for it."""
    name = f"icy-{shards}"
    kit.create(service.api, name, shards=shards, replicas=1)
    first = kit.wait_until(
        "the first engine",
        lambda: [e for n, e in service.engines().items() if n.startswith(name)],
        every_s=kit.LOOK_SOON_S,
    )[0]
    first.kill(signal.SIGSTOP)
    # Whatever was said in the moment before: silence shows after a short grace.
    kit.wait_until("the truth", lambda: is_true(service, name, first))
    service.let_run(3)
    assert is_true(service, name, first)
    with contextlib.suppress(ProcessLookupError):
        first.kill(signal.SIGCONT)
    kit.wait_status(service.api, name, "available")
    group = kit.describe(service.api, name)
    assert group is not None
    if shards:
        with kit.connect_cluster(group) as cluster:
            assert cluster.set("greeting", "hello")
    else:
        with kit.connect(kit.primary_endpoint(group)) as client:
            assert client.set("greeting", "hello")
            assert client.wait(1, 5_000) == 1
    assert_deletable(service, name)


def is_true(service: kit.Up, name: str, frozen: kit.Engine) -> bool:
    """Tell whether nobody is told that a group with a frozen engine is available."""
    return not frozen.is_alive() or kit.status(service.api, name) != "available"


def test_a_program_that_vanished_is_named_and_comes_back(tmp_path: Path) -> None:
    """Known at the start of the service, gone when it is needed, here again later."""
    server = embedded_server()
    if server is None:
        pytest.skip("the wheel has no server for this machine")
    path = tmp_path / "programs" / "redis-server"
    path.parent.mkdir()
    path.write_text(_CRASHING)
    path.chmod(0o755)
    environment = {
        "PATH": f"{path.parent}:{os.environ['PATH']}",
        "CACHEWRIGHT_ENGINES_DIR": str(tmp_path / "engines"),
    }
    with kit.up(tmp_path, **environment) as service:
        path.unlink()
        kit.create(service.api, "orphan", Engine="redis", EngineVersion="7.0")
        state = kit.wait_until(
            "an outcome",
            lambda: kit.status(service.api, "orphan"),
            is_it=lambda s: s in {"create-failed", "available"},
        )
        if state == "create-failed":
            assert "no build of redis 7.0" in failure_of(service, "orphan")
        else:  # installed from the distribution in its place
            assert any("nstalling redis 7.0" in t for t in kit.messages(service.api, "orphan"))
        assert_deletable(service, "orphan")
        kit.create_available(service.api, "other")


def test_an_endpoint_that_somebody_else_listens_on_is_not_called_available(tmp_path: Path) -> None:
    with kit.up(tmp_path) as service:
        group = kit.create_available(service.api, "squatted", replicas=1)
        endpoint = kit.primary_endpoint(group)
        assert service.stop() == 0
        with socket.socket() as taking:
            taking.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            taking.bind(endpoint)
            taking.listen()
            service.start()
            kit.wait_until("engines run", service.engines, is_it=lambda found: len(found) == 2)
            assert kit.status(service.api, "squatted") == "modifying"
            kit.wait_until(
                "it is named",
                lambda: kit.messages(service.api, "squatted"),
                is_it=lambda told: any(endpoint[0] in text for text in told),
            )
            assert kit.status(service.api, "squatted") == "modifying"
        kit.wait_status(service.api, "squatted", "available")
        with kit.connect(endpoint) as client:
            assert client.set("greeting", "hello")


def test_a_full_disk_is_told_and_overcome(tmp_path: Path) -> None:
    """In a mount namespace of its own; the child has the steps."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = f"mount -t tmpfs -o size=96m,mode=700 tmpfs {folder}"
    private = ["unshare", *([] if os.geteuid() == 0 else ["--map-root-user"]), "--mount"]
    if (
        shutil.which("unshare") is None
        or subprocess.run(
            [*private, "sh", "-c", mount], capture_output=True, timeout=10, check=False
        ).returncode
    ):
        pytest.skip("this machine does not let us mount a small file system")
    program = f"{mount} && exec {sys.executable} {CHILD} {folder}"
    result = subprocess.run(
        [*private, "sh", "-c", program],
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
        env=dict(os.environ) | {"PYTHONPATH": os.pathsep.join(_python_path())},
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stdout.strip().endswith("overcome")


def _python_path() -> list[str]:
    return [str(Path(__file__).parents[2])]
