"""Real engines for tests: started from their adapter's files as an agent would, and ended.

Each engine has a folder and a loopback address of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import os
import secrets
import socket
import subprocess
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import NoReturn, TypeVar

import hiredis
import pytest

from cachewright.engines.adapter import (
    AdminConnection,
    EngineUnreachable,
    Home,
)
from cachewright.engines.catalogue import Catalogue
from cachewright.engines.valkey import ValkeyAdapter
from cachewright.model.builds import Build, BuildSource, InstallFailed
from cachewright.model.commands import Launch, Peer, Promotion
from cachewright.model.engines import EngineName
from cachewright.model.facts import EngineFact
from cachewright.model.slots import split_evenly
from cachewright.model.status import Role
from tests import patience

PORT = 6379
#: An engine starts in 20 ms; six workers on two cores and a cold disk stretch that.
START_TIMEOUT_S = 15.0
#: For what an engine does by itself: a reconnect takes it 1 s, a fresh cluster 2 s.
SETTLE_TIMEOUT_S = 20.0
CALL_TIMEOUT_S = 5.0
ADMIN_PASSWORD = secrets.token_hex(32)
REPLICATION_PASSWORD = secrets.token_hex(32)
EMBEDDED = "embedded"
BUILDS = {
    EMBEDDED: (EngineName.VALKEY, "9.1"),
    "valkey-9.1": (EngineName.VALKEY, "9.1"),
    "valkey-8.1": (EngineName.VALKEY, "8.1"),
    "valkey-8.0": (EngineName.VALKEY, "8.0"),
    "redis-7.0": (EngineName.REDIS, "7.0"),
}

T = TypeVar("T")
Reply = object


def miss(reason: str) -> NoReturn:
    """Skip on a person's machine, fail in CI."""
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


@cache
def build_named(name: str) -> Build | str:
    """Return the build, or why there is none."""
    catalogue = Catalogue()
    if name == EMBEDDED:
        found = [b for b in catalogue.builds() if b.source is BuildSource.EMBEDDED]
        return found[0] if found else "the wheel has no engine for this platform"
    try:
        return catalogue.install(*BUILDS[name])
    except InstallFailed as error:
        return str(error)


def wait_until(question: Callable[[], T], is_answer: Callable[[T], bool]) -> T:
    """Ask until the answer is right; fail with the last one."""
    began = time.monotonic()
    while not is_answer(answer := question()):
        waited_s = time.monotonic() - began
        if waited_s > SETTLE_TIMEOUT_S:
            pytest.fail(f"still {answer!r} after {SETTLE_TIMEOUT_S} s")
        time.sleep(patience.pause_s(waited_s))
    return answer


def free_address() -> str:
    """Return a loopback address on which nobody listens, outside of what the service takes."""
    for _ in range(100):
        address = str(ipaddress.IPv4Address("127.130.0.1") + secrets.randbelow(60 * 2**16))
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind((address, PORT))
            return address
    pytest.fail("no free loopback address")


class Client:
    """A client as anybody has one: it raises nothing, errors are `hiredis.ReplyError` values."""

    def __init__(self, address: str, port: int = PORT) -> None:
        self.socket = socket.create_connection((address, port), CALL_TIMEOUT_S)
        self.reader = hiredis.Reader()

    def __call__(self, *arguments: str | bytes | int) -> Reply:
        self.send(*arguments)
        return self.receive()

    def send(self, *arguments: str | bytes | int) -> None:
        self.socket.sendall(hiredis.pack_command(arguments))  # type: ignore[arg-type] # 1-tuple

    def receive(self) -> Reply:
        while (reply := self.reader.gets()) is False:
            data = self.socket.recv(65536)
            if not data:
                raise ConnectionError("closed by the engine")
            self.reader.feed(data)
        return reply

    def close(self) -> None:
        self.socket.close()


@dataclass(kw_only=True)
class Engine:
    """One engine, started and ended as an agent does it."""

    build: Build
    launch: Launch
    folder: Path
    #: Lines of configuration that only a test wants.
    extra: bytes = b""
    process: subprocess.Popen[bytes] | None = None
    clients: list[Client] = field(default_factory=list)

    def start(self, *, loads_saved_data: bool = False) -> None:
        self.launch = replace(self.launch, loads_saved_data=loads_saved_data)
        adapter = self.adapter
        if not loads_saved_data:
            (self.folder / adapter.snapshot_name).unlink(missing_ok=True)
        for name, content in adapter.files(self.launch).items():
            path = self.folder / name
            path.unlink(missing_ok=True)
            path.touch(mode=0o600)
            path.write_bytes(content + (self.extra if name.endswith(".conf") else b""))
            if name == "nodes.conf":
                path.write_bytes(content)
        start_log = self.folder / "start.log"
        start_log.touch(mode=0o600)
        with start_log.open("ab") as output:
            self.process = subprocess.Popen(
                adapter.argv(self.build, self.launch, Home(folder=self.folder)),
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                umask=0o077,
                start_new_session=True,
                # Ignored by Python and so by the engine: a full disk is an error, not a signal.
                restore_signals=False,
            )

    def call(self, act: Callable[[AdminConnection], Awaitable[T]]) -> T:
        """Do something with a connection of the administrator, waiting for the engine's start."""

        async def connected() -> T:
            admin = await self.connect()
            try:
                return await act(admin)
            finally:
                admin.close()

        return asyncio.run(connected())

    async def connect(self, *, timeout_s: float = CALL_TIMEOUT_S) -> AdminConnection:
        deadline = time.monotonic() + START_TIMEOUT_S
        while True:
            try:
                return await self.adapter.connect(
                    self.launch.address,
                    self.launch.port,
                    self.launch.admin_password,
                    timeout_s=timeout_s,
                    folder=self.folder,
                )
            except EngineUnreachable:
                assert self.process is not None
                if self.process.poll() is not None or time.monotonic() > deadline:
                    pytest.fail(self.log())
                await asyncio.sleep(0.005)

    @property
    def adapter(self) -> ValkeyAdapter:
        return ValkeyAdapter()

    def observe(self) -> EngineFact:
        return self.call(self.adapter.observe)

    def admit(self, *more: str) -> None:
        self.call(
            lambda admin: self.adapter.admit(admin, (self.launch.address, *more), self.launch)
        )

    def administer(self, *arguments: str | int) -> Reply:
        return self.call(lambda admin: admin.command(*arguments))

    def shutdown(self, *, saves: bool) -> None:
        self.call(lambda admin: self.adapter.shutdown(admin, saves=saves, timeout_s=10.0))
        self.wait()

    def wait(self) -> None:
        assert self.process is not None
        self.process.wait(START_TIMEOUT_S)

    def promote(self, how: Promotion) -> None:
        self.call(lambda admin: self.adapter.promote(admin, how))

    def client(self, address: str | None = None) -> Client:
        client = Client(address or self.launch.address, self.launch.port)
        self.clients.append(client)
        return client

    def end(self) -> None:
        for client in self.clients:
            client.close()
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def log(self) -> str:
        texts = [self.folder / "start.log", self.folder / "engine.log"]
        return "\n".join(text.read_text()[-3000:] for text in texts if text.exists())


@dataclass
class Lab:
    """Makes engines of one build, and ends them."""

    build: Build
    folder: Path
    engines: list[Engine] = field(default_factory=list)

    def engine(self, *, extra: bytes = b"", **changes: object) -> Engine:
        address = free_address()
        launch = Launch(
            key=f"test.n{len(self.engines)}",
            engine=self.build.engine,
            engine_version=self.build.api_version,
            address=address,
            port=PORT,
            maxmemory_bytes=64 * 2**20,
            maxclients=1000,
            settings=(),
            admin_password=ADMIN_PASSWORD,
            replication_password=REPLICATION_PASSWORD,
        )
        folder = self.folder / f"{address}"
        folder.mkdir(mode=0o700)
        engine = Engine(
            build=self.build,
            launch=replace(launch, **changes),  # type: ignore[arg-type] # a test knows the fields
            folder=folder,
            extra=extra,
        )
        self.engines.append(engine)
        return engine

    def started(self, *, extra: bytes = b"", **changes: object) -> Engine:
        engine = self.engine(extra=extra, **changes)
        engine.start()
        return engine

    def cluster(self, shards: int, replicas: int) -> list[Engine]:
        """Write a cluster down, not started: a primary, its replicas, the next primary ..."""
        engines = [self.engine() for _ in range(shards * (1 + replicas))]
        ids = [secrets.token_hex(20) for _ in engines]
        slots = split_evenly(shards)
        peers = []
        for index, (engine, engine_id) in enumerate(zip(engines, ids, strict=True)):
            shard, position = divmod(index, 1 + replicas)
            is_primary = position == 0
            peers.append(
                Peer(
                    engine_id=engine_id,
                    address=engine.launch.address,
                    port=engine.launch.port,
                    role=Role.PRIMARY if is_primary else Role.REPLICA,
                    primary_engine_id=None if is_primary else ids[index - position],
                    slots=slots[shard] if is_primary else (),
                    epoch=shard + 1 if is_primary else 0,
                )
            )
        for engine, engine_id in zip(engines, ids, strict=True):
            engine.launch = replace(engine.launch, peers=tuple(peers), engine_id=engine_id)
        return engines
