"""Real memcacheds for tests: started from their adapter's words as an agent would, and ended.

Each has a folder and a loopback address of its own; folders in memory are removed.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import time
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

import pytest

from cachewright.engines.catalogue import Catalogue
from cachewright.engines.home import Home
from cachewright.engines.memcached import MemcachedAdapter
from cachewright.engines.resp import EngineUnreachable
from cachewright.model.builds import Build, InstallFailed
from cachewright.model.commands import Launch
from cachewright.model.engines import EngineName
from cachewright.model.facts import EngineFact
from tests.contract.engine_lab import CALL_TIMEOUT_S, START_TIMEOUT_S, free_address

PORT = 11211
VERSIONS = ("1.6.18", "1.6.38", "1.6.45")
MIB = 1 << 20


@cache
def build_named(version: str) -> Build | str:
    """Return the build, or why there is none."""
    try:
        return Catalogue().install(EngineName.MEMCACHED, version)
    except InstallFailed as error:
        return str(error)


def launch_of(version: str, **changes: object) -> Launch:
    launch = Launch(
        key="test.0001",
        engine=EngineName.MEMCACHED,
        engine_version=version,
        address=free_address(),
        port=PORT,
        maxmemory_bytes=64 * MIB,
        maxclients=1000,
        settings=(),
        admin_password="",
        replication_password="",
    )
    return replace(launch, **changes)  # type: ignore[arg-type] # a test knows the fields


class Client:
    """A client of the text protocol, as anybody has one."""

    def __init__(self, address: str, port: int = PORT) -> None:
        self.socket = socket.create_connection((address, port), CALL_TIMEOUT_S)
        self._reader = self.socket.makefile("rb")

    def ask(self, request: str) -> str:
        """Send a line and return the first line of the answer."""
        self.socket.sendall(request.encode() + b"\r\n")
        return self._line()

    def send(self, content: bytes) -> None:
        """Send what is not answered."""
        self.socket.sendall(content)

    def stats(self, about: str = "") -> dict[str, str]:
        line = self.ask(f"stats {about}".strip())
        found = {}
        while line != "END":
            _, name, value = line.split(" ", 2)
            found[name] = value
            line = self._line()
        return found

    def set(self, key: str, value: bytes, *, flags: int = 0, ttl_s: int = 0) -> None:
        head = f"set {key} {flags} {ttl_s} {len(value)}\r\n".encode()
        self.socket.sendall(head + value + b"\r\n")
        assert self._line() == "STORED"

    def get(self, key: str) -> tuple[int, bytes] | None:
        """Return flags and value, `None` where there is no such item."""
        line = self.ask(f"get {key}")
        if line == "END":
            return None
        _, _, flags, size = line.split(" ")
        value = self._reader.read(int(size))
        assert self._reader.read(7) == b"\r\nEND\r\n"
        return int(flags), value

    def close(self) -> None:
        self._reader.close()
        self.socket.close()

    def _line(self) -> str:
        line = self._reader.readline()
        if not line:
            raise ConnectionError("closed by the engine")
        return line.removesuffix(b"\r\n").decode()


@dataclass(kw_only=True)
class Engine:
    """One memcached, started and ended as an agent does it."""

    build: Build
    launch: Launch
    home: Home
    process: subprocess.Popen[bytes] | None = None
    clients: list[Client] = field(default_factory=list)

    def start(self) -> None:
        """Start it; it may not answer yet."""
        with (self.home.folder / "start.log").open("wb") as output:
            self.process = subprocess.Popen(
                MemcachedAdapter().argv(self.build, self.launch, self.home),
                cwd=self.home.folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                umask=0o077,
                start_new_session=True,
            )

    def observe(self, tls: ssl.SSLContext | None = None) -> EngineFact:
        """Ask it about itself, waiting for its start."""
        adapter, launch = MemcachedAdapter(), self.launch
        deadline = time.monotonic() + START_TIMEOUT_S

        async def observe() -> EngineFact:
            while True:
                try:
                    admin = await adapter.connect(
                        launch.address, launch.port, "", timeout_s=CALL_TIMEOUT_S, tls=tls
                    )
                    break
                except EngineUnreachable:
                    assert self.process is not None
                    if self.process.poll() is not None or time.monotonic() > deadline:
                        pytest.fail(self.said())
                    await asyncio.sleep(0.005)
            try:
                return await adapter.observe(admin)
            finally:
                admin.close()

        return asyncio.run(observe())

    def client(self) -> Client:
        self.clients.append(Client(self.launch.address, self.launch.port))
        return self.clients[-1]

    def end(self, number: signal.Signals = signal.SIGKILL) -> int:
        """End it with a signal and see its end."""
        for client in self.clients:
            client.close()
        self.clients.clear()
        if self.process is None:
            return 0
        self.process.send_signal(number)
        with contextlib.suppress(OSError):  # a connection makes it look at the signal
            socket.create_connection((self.launch.address, self.launch.port), 1.0).close()
        return self.process.wait(START_TIMEOUT_S)

    def said(self) -> str:
        return (self.home.folder / "start.log").read_text()


@dataclass
class Lab:
    """Makes engines, and ends them."""

    folder: Path
    engines: list[Engine] = field(default_factory=list)
    _memory: list[Path] = field(default_factory=list)

    def memory(self) -> Path:
        """Return a folder in memory for the items of an engine."""
        self._memory.append(Path(tempfile.mkdtemp(prefix="cachewright-test.", dir="/dev/shm")))
        return self._memory[-1]

    def engine(self, build: Build, *, items: Path | None = None, **changes: object) -> Engine:
        folder = self.folder / str(len(self.engines))
        folder.mkdir(mode=0o700)
        engine = Engine(
            build=build,
            launch=launch_of(build.version, **changes),
            home=Home(folder=folder, items=items),
        )
        self.engines.append(engine)
        return engine

    def started(self, build: Build, *, items: Path | None = None, **changes: object) -> Engine:
        """Start one and wait until it answers."""
        engine = self.engine(build, items=items, **changes)
        engine.start()
        engine.observe()
        return engine

    def close(self) -> None:
        for engine in self.engines:
            engine.end()
        for folder in self._memory:
            shutil.rmtree(folder)
