"""How are engines started and asked without our service, for the baselines?

Each has a loopback address of its own and the standard port, as the service gives them, so that
nothing differs but who does the work.
"""

from __future__ import annotations

import contextlib
import random
import signal
import socket
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import hiredis

from bench import processes
from bench.processes import BenchFailed
from bench.world import World

PORT = 6379
BUS_PORT = PORT + 10_000
#: Outside 127.64.0.0/10, where the service looks for its own.
_FIRST_BLOCK, _LAST_BLOCK = 32, 63
_TRIES = 50
_ANSWER_TIMEOUT_S = 10.0
_ANSWER_BYTES = 65_536
#: A redirect for each shard would be too many already.
_REDIRECTS_MAX = 5


class NoAnswer(Exception):
    """Nobody listens there, or it hung up."""


def free_addresses(count: int) -> list[str]:
    """Return loopback addresses on whose standard port nobody listens."""
    for _ in range(_TRIES):
        block = f"127.{random.randint(_FIRST_BLOCK, _LAST_BLOCK)}.{random.randint(1, 254)}"  # noqa: S311 not a secret
        found = [f"{block}.{number}" for number in range(1, count + 1)]
        if all(_is_free(address) for address in found):
            return found
    raise BenchFailed("no free loopback addresses")


@contextlib.contextmanager
def running_engines(
    within: World,
    settings: Mapping[str, str],
    addresses: Sequence[str],
    files: Mapping[str, Mapping[str, bytes]] | None = None,
) -> Iterator[None]:
    """Start an engine for each address at once, for the block; ends them with SIGKILL.

    Args:
        within: The world, whose build is run.
        settings: Settings of all of them.
        addresses: Where they listen.
        files: Files to put into the folder of an engine first, by address and name.
    """
    folders = {address: within.fresh_folder() for address in addresses}
    for address, contents in (files or {}).items():
        for name, content in contents.items():
            (folders[address] / name).write_bytes(content)
    started: list[subprocess.Popen[bytes]] = []
    try:
        for address, folder in folders.items():
            started.append(start_engine(within, address, settings, folder))
        yield
    finally:
        for process in started:
            processes.stop(process, number=signal.SIGKILL)


def start_engine(
    within: World, address: str, settings: Mapping[str, str], folder: Path
) -> subprocess.Popen[bytes]:
    """Start one engine."""
    own = {"bind": address, "port": str(PORT), "dir": str(folder)}
    if "cluster-enabled" in settings:
        # Without these every peer sees 127.0.0.1, and the nodes never find each other.
        own |= {"bind-source-addr": address, "cluster-announce-ip": address}
    words = [word for name, value in {**own, **settings}.items() for word in (f"--{name}", value)]
    return processes.spawn(
        [within.build.server, *words],
        folder=folder,
        output=folder / "log",
        death_signal=signal.SIGKILL,
        is_preferred=True,
    )


def cluster_settings() -> dict[str, str]:
    """Return the settings that a node of a cluster needs, and no more."""
    return {"cluster-enabled": "yes", "cluster-config-file": "nodes.conf", "save": ""}


class Asker:
    """Asks engines; keeps one connection to each address."""

    def __init__(self, port: int = PORT) -> None:
        self._port = port
        self._connections: dict[str, tuple[socket.socket, hiredis.Reader]] = {}

    def ask(self, address: str, *words: str) -> object:
        """Return the answer of the engine; an error it answers is a `hiredis.ReplyError` value.

        A kept connection may be to an engine that has ended and come back since: it is asked again.
        """
        is_kept = address in self._connections
        try:
            return self._ask(address, *words)
        except NoAnswer:
            if not is_kept:
                raise
            return self._ask(address, *words)

    def _ask(self, address: str, *words: str) -> object:
        request = f"*{len(words)}\r\n" + "".join(f"${len(w)}\r\n{w}\r\n" for w in words)
        try:
            if address not in self._connections:
                opened = socket.create_connection((address, self._port), timeout=_ANSWER_TIMEOUT_S)
                self._connections[address] = (opened, hiredis.Reader())
            connection, reader = self._connections[address]
            connection.sendall(request.encode("ascii"))
            while (answer := reader.gets()) is False:
                received = connection.recv(_ANSWER_BYTES)
                if not received:
                    raise ConnectionResetError
                reader.feed(received)
        except OSError as error:
            self._forget(address)
            raise NoAnswer from error
        return answer

    def answers_ping(self, address: str) -> bool:
        """Tell whether the engine is there and serves."""
        with contextlib.suppress(NoAnswer):
            return self.ask(address, "PING") == b"PONG"
        return False

    def is_whole(self, seed: str, shards: int, replicas: int) -> bool:
        """Tell whether every part of the slots takes a write and every replica is in sync.

        Every node says that the cluster is whole, the middle slot of each shard takes a key (each
        from a different primary), and every replica has an unbroken link to its primary.
        """
        with contextlib.suppress(NoAnswer):
            nodes = self._nodes(seed)
            if len(nodes) != shards * (1 + replicas):
                return False
            in_sync = 0
            for address in nodes:
                if b"cluster_state:ok" not in self._text(address, "CLUSTER", "INFO"):
                    return False
                info = self._text(address, "INFO", "replication")
                if b"role:slave" in info:
                    if b"master_link_status:up" not in info:
                        return False
                    in_sync += 1
            takers = {self._write(seed, key) for key in _keys(shards)}
            return in_sync == shards * replicas and len(takers - {None}) == shards
        return False

    def close(self) -> None:
        """Close all connections."""
        for address in list(self._connections):
            self._forget(address)

    def _nodes(self, seed: str) -> list[str]:
        lines = self._text(seed, "CLUSTER", "NODES").decode().splitlines()
        return [line.split()[1].partition(":")[0] for line in lines]

    def _text(self, address: str, *words: str) -> bytes:
        answer = self.ask(address, *words)
        return answer if isinstance(answer, bytes) else b""

    def _write(self, address: str, key: str) -> str | None:
        """Return who took the key, `None` when nobody did."""
        for _ in range(_REDIRECTS_MAX):
            answer = self.ask(address, "SET", key, "x")
            if answer == b"OK":
                return address
            if not isinstance(answer, hiredis.ReplyError) or "MOVED" not in str(answer):
                return None
            address = str(answer).split()[-1].partition(":")[0]
        return None

    def _forget(self, address: str) -> None:
        if (found := self._connections.pop(address, None)) is not None:
            found[0].close()


def _keys(shards: int) -> list[str]:
    """Return a key for each shard of a cluster that is split evenly, near the middle of it."""
    from valkey.crc import key_slot  # noqa: PLC0415 its package imports much

    wanted = {int((number + 0.5) * 16_384 / shards) // 16: number for number in range(shards)}
    found: dict[int, str] = {}
    for number in range(1_000_000):
        part = key_slot(str(number).encode()) // 16
        if part in wanted:
            found.setdefault(wanted[part], str(number))
        if len(found) == shards:
            break
    return list(found.values())


def _is_free(address: str) -> bool:
    for port in (PORT, BUS_PORT):
        with socket.socket() as probe:
            if probe.connect_ex((address, port)) == 0:
                return False
    return True
