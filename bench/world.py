"""What do all measurements share? The folder, the number of rounds, our service, the engines.

One `World` for a run. Whatever it starts ends with it.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import secrets
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

from bench import processes
from bench.processes import BenchFailed
from cachewright.engines.catalogue import Catalogue
from cachewright.model.builds import Build, InstallFailed
from cachewright.model.engines import EngineName
from cachewright.testing import leftovers

REGION = "us-east-1"
VERSION = "9.1"
NODE_TYPE = "cache.t4g.micro"
#: Of this environment, and not of people's.
_PYTHON_VARIABLES = {"PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED", "PYTHONPYCACHEPREFIX"}
#: Far above what a loaded machine takes; ends a run that hangs.
START_TIMEOUT_S = 60.0
GROUP_TIMEOUT_S = 120.0


@dataclass(kw_only=True)
class World:
    """What a family of figures needs; `quick` means fewer rounds for a first impression."""

    quick: bool
    folder: Path
    build: Build
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    def rounds(self, full: int, quick: int) -> range:
        """Return the rounds to run."""
        return range(quick if self.quick else full)

    def fresh_folder(self) -> Path:
        """Return a new empty folder with a short path."""
        path = self.folder / str(next(self._numbers))
        path.mkdir()
        return path


class Server:
    """Our service on a state folder; may be killed and started again."""

    def __init__(self, within: World) -> None:
        self.folder = folder = within.fresh_folder()
        self._environment = environment(within)
        self.state_dir = folder / "state"
        self.log = folder / "log"
        self.key_id, self.secret = "AKIABENCHBENCHBENCH0", secrets.token_urlsafe(30)
        self.url = ""
        self.started_s = 0.0

    def start(self, *arguments: str) -> None:
        """Start it and return when it says that it is ready."""
        argv = [sys.executable, "-P", "-m", "cachewright", "up", "--listen", "127.0.0.1:0"]
        secret = {
            "CACHEWRIGHT_ACCESS_KEY_ID": self.key_id,
            "CACHEWRIGHT_SECRET_ACCESS_KEY": self.secret,
        }
        self.started_s = time.monotonic()
        self.process = processes.spawn(
            [*argv, "--state-dir", str(self.state_dir), *arguments],
            folder=self.folder,
            output=self.log,
            environment=self._environment | secret,
            has_pipe=True,
        )
        self.url = processes.wait_for_line(self.process, b"ready: ", START_TIMEOUT_S)

    def client(self) -> Any:
        """Return a boto3 client for it."""
        return client(self.url, self.key_id, self.secret)

    def engines(self) -> tuple[int, ...]:
        """Return the pids of its engines."""
        found = leftovers.processes_of(self.state_dir)
        return tuple(sorted(pid for pid in found if pid != self.process.pid))

    def kill(self) -> None:
        """End it as a crash would; its engines stay."""
        self.process.kill()
        self.process.wait(processes.STOP_TIMEOUT_S)

    def close(self) -> None:
        """End it and its engines; what its data was does not matter."""
        processes.stop(self.process)
        if left := leftovers.kill_processes_of(self.state_dir):
            raise BenchFailed(f"processes {left} cannot be ended")
        shutil.rmtree(self.folder, ignore_errors=True)


def environment(within: World) -> dict[str, str]:
    """Return the environment of every server that is measured, ours and others.

    Each finds its own modules compiled, as anywhere but in an environment that forbids to keep
    compiled modules; the first start fills the cache.
    """
    kept = {name: value for name, value in os.environ.items() if name not in _PYTHON_VARIABLES}
    return kept | {"PYTHONPYCACHEPREFIX": str(within.folder / "modules")}


@contextlib.contextmanager
def running_server(within: World, *arguments: str) -> Iterator[Server]:
    """Run our service for the block."""
    server = Server(within)
    with contextlib.closing(server):
        server.start(*arguments)
        yield server


@contextlib.contextmanager
def open_world(*, quick: bool) -> Iterator[World]:
    """Prepare what everything needs: a folder, and the build that both sides run."""
    try:
        build = Catalogue().install(EngineName.VALKEY, VERSION, progress=say)
    except InstallFailed as error:
        raise BenchFailed(f"both sides need Debian's Valkey {VERSION}: {error}") from error
    with tempfile.TemporaryDirectory(prefix="cw-bench-") as name:
        yield World(quick=quick, folder=Path(name), build=build)


def client(url: str, key_id: str, secret: str) -> Any:
    """Return a boto3 client; the same settings for every server that is measured."""
    session = boto3.session.Session(
        aws_access_key_id=key_id, aws_secret_access_key=secret, region_name=REGION
    )
    config = Config(proxies={}, retries={"total_max_attempts": 1}, read_timeout=60)
    return session.client("elasticache", endpoint_url=url, config=config)


def wait_until_available(api: Any, names: list[str], timeout_s: float = GROUP_TIMEOUT_S) -> None:
    """Return when all these groups are `available`."""

    def all_available() -> bool:
        groups = statuses(api)
        if failed := [name for name in names if groups.get(name) == "create-failed"]:
            raise BenchFailed(f"groups {failed} failed")
        return all(groups.get(name) == "available" for name in names)

    processes.wait_until(all_available, f"{len(names)} groups available", timeout_s)


def statuses(api: Any) -> dict[str, str]:
    """Return the status of every group by its id, as `describe` says."""
    pages = api.get_paginator("describe_replication_groups").paginate(
        PaginationConfig={"PageSize": 100}
    )
    return {
        group["ReplicationGroupId"]: group["Status"]
        for page in pages
        for group in page["ReplicationGroups"]
    }


def say(line: str) -> None:
    """Tell people how far it is."""
    print(line, file=sys.stderr, flush=True)
