"""What does the configuration endpoint of a Memcached cluster cost?

Its process's memory, alone and with a thousand clients that wait; a poll for the list of nodes; and
a request that it passes on to a node, beside the same request made of the node.
"""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator
from pathlib import Path

from bench import processes
from bench.measure import Comparison, Figure, sample
from bench.processes import BenchFailed
from bench.world import Server, World, say

_MODULE = b"cachewright.discovery"
_PORT = 11211
_ANSWER_TIMEOUT_S = 5.0
_POLL, _POLL_END = b"config get cluster\r\n", b"\n\r\nEND\r\n"
_GET, _GET_END = b"get bench\r\n", b"END\r\n"
_REQUESTS = 2000
_CLIENTS = 1000


def measure_endpoint(
    within: World, server: Server, *, endpoint: str, node: str
) -> Iterator[Figure]:
    """Time of a poll and of a relayed request; memory."""
    polls, relayed, direct = [], [], []
    for number in within.rounds(20, 3):
        direct.append(_median_ms(node, _GET, _GET_END))
        polls.append(_median_ms(endpoint, _POLL, _POLL_END))
        relayed.append(_median_ms(endpoint, _GET, _GET_END))
        say(
            f"  {number + 1}: poll {polls[-1]:.3f} ms, relayed get {relayed[-1]:.3f} ms, "
            f"get {direct[-1]:.3f} ms"
        )
    for key, what, ours in (
        ("discovery-poll", "ask the configuration endpoint for the list of nodes", polls),
        ("discovery-relay", "get through the configuration endpoint", relayed),
    ):
        yield Figure(
            key=key,
            what=what,
            ours=sample("ms", ours),
            baseline_name="get from the node itself",
            baseline=sample("ms", direct),
            comparison=Comparison.DIFFERENCE,
            target=None,
            note=f"Median of {_REQUESTS} requests, one after the other on one connection.",
        )
    yield _memory(server, endpoint)


def _memory(server: Server, endpoint: str) -> Figure:
    pid = _pid(server)
    alone = processes.memory_mb(pid)
    with contextlib.ExitStack() as held:
        for _ in range(_CLIENTS):
            connection = held.enter_context(_connected(endpoint))
            _ask(connection, _POLL, _POLL_END)
        crowded = processes.memory_mb(pid)
    return Figure(
        key="discovery-memory",
        what="memory of the configuration endpoint's process",
        ours=sample("MB", [alone["rss"]]),
        target=None,
        note=(
            f"RSS; PSS: {alone['pss']:.1f} MB. With {_CLIENTS:,} clients that have asked and wait: "
            f"{crowded['rss']:.1f} MB."
        ),
        details={"pss_mb": alone["pss"], "crowded_rss_mb": crowded["rss"]},
    )


def _pid(server: Server) -> int:
    for pid in server.engines():
        if _MODULE in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0"):
            return pid
    raise BenchFailed("the service runs no configuration endpoint")


def _median_ms(address: str, request: bytes, end: bytes) -> float:
    taken = []
    with _connected(address) as connection:
        for _ in range(_REQUESTS):
            begin_s = time.perf_counter()
            _ask(connection, request, end)
            taken.append((time.perf_counter() - begin_s) * 1000)
    return sample("ms", taken).median


def _connected(address: str) -> socket.socket:
    return socket.create_connection((address, _PORT), timeout=_ANSWER_TIMEOUT_S)


def _ask(connection: socket.socket, request: bytes, end: bytes) -> None:
    connection.sendall(request)
    said = b""
    while not said.endswith(end):
        received = connection.recv(65_536)
        if not received:
            raise BenchFailed(f"closed after {said!r}")
        said += received
