"""What do tests of the configuration endpoint need? Launches, members, a plain connection."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import getpass
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from cachewright.engines.catalogue import Catalogue
from cachewright.engines.discovery import DiscoveryAdapter, own_build
from cachewright.engines.home import Home
from cachewright.model.builds import Build, InstallFailed
from cachewright.model.commands import Launch, Member, Part
from cachewright.model.engines import EngineName
from tests.contract.engine_lab import miss
from tests.fault.agent_world import PATIENCE_S, free_address

MEMCACHED_PORT = 11211
DISCOVERY_KEY = "abcd1234.discovery"


def endpoint_launch(*members: Member, version: int = 1) -> Launch:
    """Return what starts a configuration endpoint."""
    return Launch(
        key=DISCOVERY_KEY,
        engine=EngineName.MEMCACHED,
        engine_version="1.6.38",
        address=free_address(),
        port=MEMCACHED_PORT,
        maxmemory_bytes=0,
        maxclients=0,
        settings=(),
        admin_password="p" * 64,
        replication_password="r" * 64,
        part=Part.DISCOVERY,
        members=members,
        config_version=version,
    )


def member(address: str) -> Member:
    """Return a node that clients are told of by its address."""
    return Member(name=address, address=address, port=MEMCACHED_PORT)


@contextlib.contextmanager
def plain_connection(address: str) -> Iterator[socket.socket]:
    """Connect as the plainest of clients."""
    with socket.create_connection((address, MEMCACHED_PORT), timeout=PATIENCE_S) as connection:
        yield connection


def read_until(connection: socket.socket, end: bytes) -> bytes:
    """Return what the server says up to `end`; fail where it says something else and closes."""
    said = b""
    while not said.endswith(end):
        data = connection.recv(65_536)
        assert data, f"closed after {said!r}"
        said += data
    return said


def say(address: str, request: bytes, *, end: bytes = b"\r\n") -> bytes:
    """Ask on a connection of its own."""
    with plain_connection(address) as connection:
        connection.sendall(request)
        return read_until(connection, end)


@functools.cache
def memcached_build(version: str) -> Build | str:
    """Return a build of memcached, or why there is none."""
    try:
        return Catalogue().provide(EngineName.MEMCACHED, version)
    except InstallFailed as error:
        return str(error)


@dataclass(kw_only=True)
class World:
    """Plain memcached nodes and an endpoint before them; nothing of it is left after the test."""

    folder: Path
    version: str
    ends: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def node(self, *flags: str, address: str | None = None) -> str:
        """Start a node; return its address."""
        build = memcached_build(self.version)
        if isinstance(build, str):
            miss(build)
        address = address or free_address()
        argv = [build.server, "-u", getpass.getuser(), "-l", address, "-p", str(MEMCACHED_PORT)]
        self.ends.append(subprocess.Popen([*argv, *flags], stderr=subprocess.DEVNULL))
        wait_until_listening(address)
        return address

    def endpoint(self, *addresses: str, files: int | None = None) -> Endpoint:
        """Start an endpoint before these nodes; `files`: how many it may have open."""
        launch = endpoint_launch(*map(member, addresses))
        adapter = DiscoveryAdapter()
        for name, content in adapter.files(launch).items():
            (self.folder / name).write_bytes(content)
        argv = adapter.argv(own_build(), launch, Home(folder=self.folder))
        if files is not None:
            argv = ("sh", "-c", f'ulimit -n {files:d}; exec "$@"', "sh", *argv)
        with (self.folder / "start.log").open("ab") as log:
            process = subprocess.Popen(argv, stdout=log, stderr=subprocess.STDOUT)
        self.ends.append(process)
        wait_until_listening(launch.address)
        return Endpoint(launch=launch, process=process, file=self.folder / "discovery.json")

    def end(self) -> None:
        """End every process."""
        for process in self.ends:
            process.kill()
            process.wait()


@dataclass(kw_only=True)
class Endpoint:
    """A running endpoint."""

    launch: Launch
    process: subprocess.Popen[bytes]
    file: Path

    @property
    def address(self) -> str:
        """Where it listens."""
        return self.launch.address

    def tell(self, *addresses: str, version: int) -> None:
        """Replace the list, and wait until clients are told."""
        members = tuple(map(member, addresses))
        launch = dataclasses.replace(self.launch, members=members, config_version=version)
        for content in DiscoveryAdapter().files(launch).values():
            fresh = self.file.with_name("fresh.json")
            fresh.write_bytes(content)
            fresh.replace(self.file)
        self.process.send_signal(signal.SIGHUP)
        wait_until(self.version, version)

    def version(self) -> int:
        """Return the version that clients are told."""
        answer = say(self.address, b"config get cluster\r\n", end=b"\n\r\nEND\r\n")
        return int(answer.split(b"\n")[1])

    def memory_mb(self) -> float:
        """Return its resident memory."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith("VmRSS"))
        return int(line.split()[1]) / 1024

    def open_files(self) -> int:
        """Return how many files it has open."""
        return len(list(Path(f"/proc/{self.process.pid}/fd").iterdir()))


def wait_until_listening(address: str) -> None:
    """Wait until somebody takes connections there."""

    def listens() -> bool:
        with contextlib.suppress(OSError), plain_connection(address):
            return True
        return False

    wait_until(listens, wanted=True)


def wait_until(look: Callable[[], object], wanted: object) -> None:
    """Look until it is what is wanted."""
    deadline = time.monotonic() + PATIENCE_S
    while (seen := look()) != wanted:
        assert time.monotonic() < deadline, f"{seen!r} after {PATIENCE_S} s, not {wanted!r}"
        time.sleep(0.005)
