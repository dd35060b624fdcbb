"""How fast do Memcached clusters come, grow and answer, beside memcached started by hand?

Throughput compares one build with itself: as a node of the service, with its items in memory that
outlives a planned restart, and started by hand from a copy of the same flags without that. The load
generator asks them in turn. Creating and growing end when a client serves itself: every node that
the configuration endpoint names takes and gives an item.
"""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias

import msgspec

from bench import discovery, engines, memcached_load, processes, world
from bench.measure import Comparison, Figure, Skipped, Target, noise, sample
from bench.memcached_load import Outcome
from bench.processes import BenchFailed
from bench.world import GROUP_TIMEOUT_S, Server, World, say
from cachewright.engines.catalogue import Catalogue
from cachewright.model.builds import InstallFailed
from cachewright.model.engines import EngineName

_PORT = 11211
_VERSION = "1.6.38"
_NAME = "bench"
#: About half a second for each of the two requests: short, so that both sides meet the same
#: disturbances.
_LOAD_S = 0.4
_LOAD_TIMEOUT_S = 120.0
_ANSWER_TIMEOUT_S = 5.0
#: How often a client asks the configuration endpoint for the list; real ones do once a minute.
_POLL_S = 0.01

#: Outcomes by the kind of request.
_Outcomes: TypeAlias = dict[str, Outcome]


def measure_memcached(within: World) -> Iterator[Figure | Skipped]:
    """Time to create and to grow; throughput and p99 of set and get."""
    try:
        server_path = Catalogue().install(EngineName.MEMCACHED, _VERSION, progress=say).server
    except InstallFailed as error:
        yield Skipped(key="memcached", what="Memcached clusters", reason=str(error))
        return
    with world.running_server(within) as server, contextlib.closing(server.client()) as api:
        yield from _times(within, api, server_path)
        _create(api, nodes=1)
        (node,) = _endpoints(api)
        endpoint = _endpoint(api)
        assert endpoint is not None  # a client has polled it
        yield from discovery.measure_endpoint(within, server, endpoint=endpoint, node=node)
        for pipeline in (1, 16):
            with _by_hand(within, server) as address:
                yield from _compare(within, node, address, pipeline)
        _delete(api)


def _times(within: World, api: Any, server_path: str) -> Iterator[Figure]:
    created, grown, by_hand = [], [], []
    for number in within.rounds(15, 2):
        begin_s = time.monotonic()
        _create(api, nodes=3)
        created.append(time.monotonic() - begin_s)
        begin_s = time.monotonic()
        api.modify_cache_cluster(CacheClusterId=_NAME, NumCacheNodes=4, ApplyImmediately=True)
        _wait_until_listed(api, 4)
        grown.append(time.monotonic() - begin_s)
        _delete(api)
        by_hand.append(_start_by_hand(within, server_path, 3))
        say(
            f"  {number + 1}: 3 nodes {created[-1]:.2f} s, by hand {by_hand[-1]:.2f} s, "
            f"3 to 4 {grown[-1]:.2f} s"
        )
    yield Figure(
        key="memcached-create-3",
        what="create 3 Memcached nodes until all serve and the configuration endpoint lists them",
        ours=sample("s", created),
        baseline_name="3 memcacheds started by hand until all answer",
        baseline=sample("s", by_hand),
        comparison=Comparison.DIFFERENCE,
        target=None,
    )
    yield Figure(
        key="memcached-grow-4",
        what="scale Memcached from 3 to 4 nodes until a polling client has an item on the new one",
        ours=sample("s", grown),
        target=None,
        note=f"The client asks every {_POLL_S * 1000:.0f} ms; real ones ask once a minute.",
    )


def _compare(within: World, node: str, by_hand: str, pipeline: int) -> Iterator[Figure]:
    found: dict[str, list[_Outcomes]] = {node: [], by_hand: []}
    for address in found:
        _load(address, pipeline, fills=True)  # warms both
    for number in within.rounds(40, 4):
        # In this order whatever grows or shrinks steadily meanwhile falls on both alike.
        first, second, third, fourth = (
            _load(address, pipeline) for address in (node, by_hand, by_hand, node)
        )
        found[node].append(_mean(first, fourth))
        found[by_hand].append(_mean(second, third))
        if (number + 1) % 4:
            continue
        ours, theirs = found[node][-1]["get"], found[by_hand][-1]["get"]
        say(
            f"  P={pipeline} {number + 1}: get {ours.per_second:,.0f}/s, "
            f"by hand {theirs.per_second:,.0f}/s"
        )
    for request in ("set", "get"):
        yield _figure(
            f"memcached-throughput-{request}-p{pipeline}",
            f"memcached throughput, {request}, P={pipeline}",
            [one[request].per_second for one in found[node]],
            [one[request].per_second for one in found[by_hand]],
            unit="/s",
            target=Target(bound=0.98, is_minimum=True),
        )
        yield _figure(
            f"memcached-p99-{request}-p{pipeline}",
            f"memcached p99, {request}, P={pipeline}",
            [one[request].p99_ms for one in found[node]],
            [one[request].p99_ms for one in found[by_hand]],
            unit="ms",
            target=None,
        )


def _figure(
    key: str, what: str, ours: list[float], theirs: list[float], *, unit: str, target: Target | None
) -> Figure:
    return Figure(
        key=key,
        what=what,
        ours=sample(unit, ours),
        baseline_name="same build and flags, by hand",
        baseline=sample(unit, theirs),
        comparison=Comparison.RATIO,
        target=target,
        note=(
            f"{memcached_load.CONNECTIONS} connections, {memcached_load.VALUE_BYTES} byte values. "
            f"By hand, one round against the next: {noise(theirs)}."
        ),
    )


def _mean(one: _Outcomes, other: _Outcomes) -> _Outcomes:
    return {
        request: Outcome(
            per_second=(one[request].per_second + other[request].per_second) / 2,
            p99_ms=(one[request].p99_ms + other[request].p99_ms) / 2,
        )
        for request in one
    }


def _load(address: str, pipeline: int, *, fills: bool = False) -> _Outcomes:
    said = processes.run_to_end(
        memcached_load.argv(address, _PORT, pipeline=pipeline, seconds=_LOAD_S, fills=fills),
        timeout_s=_LOAD_TIMEOUT_S,
    )
    return msgspec.json.decode(said, type=_Outcomes)


@contextlib.contextmanager
def _by_hand(within: World, server: Server) -> Iterator[str]:
    """Run a copy of the service's only memcached, without what keeps its items."""
    argv = _argv_of_node(server)
    (address,) = engines.free_addresses(1)
    argv[argv.index("-l") + 1] = address
    with contextlib.suppress(ValueError):
        keeps = argv.index("-e")
        del argv[keeps : keeps + 2]
    folder = within.fresh_folder()
    process = processes.spawn(
        argv,
        folder=folder,
        output=folder / "output",
        death_signal=signal.SIGKILL,
        is_preferred=True,
    )
    try:
        processes.wait_until(lambda: _serves(address), address, GROUP_TIMEOUT_S)
        yield address
    finally:
        processes.stop(process, number=signal.SIGKILL)


def _argv_of_node(server: Server) -> list[str]:
    for pid in server.engines():
        if Path(f"/proc/{pid}/comm").read_text(encoding="utf-8").strip() == "memcached":
            content = Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0")
            return content.decode().split("\0")
    raise BenchFailed("the service runs no memcached")


def _start_by_hand(within: World, server_path: str, nodes: int) -> float:
    """Start memcacheds at once; return the seconds until all serve."""
    started: list[subprocess.Popen[bytes]] = []
    addresses = engines.free_addresses(nodes)
    begin_s = time.monotonic()
    try:
        for address in addresses:
            folder = within.fresh_folder()
            words = [server_path, "-l", address, "-p", str(_PORT), "-U", "0", "-m", "412"]
            started.append(
                processes.spawn(
                    [*words, "-u", "root"],
                    folder=folder,
                    output=folder / "output",
                    death_signal=signal.SIGKILL,
                    is_preferred=True,
                )
            )
        for address in addresses:
            processes.wait_until(lambda at=address: _serves(at), address, GROUP_TIMEOUT_S)  # type: ignore[misc] # mypy cannot infer a default
        return time.monotonic() - begin_s
    finally:
        for process in started:
            processes.stop(process, number=signal.SIGKILL)


def _create(api: Any, *, nodes: int) -> None:
    api.create_cache_cluster(
        CacheClusterId=_NAME,
        Engine="memcached",
        EngineVersion=_VERSION,
        CacheNodeType=world.NODE_TYPE,
        NumCacheNodes=nodes,
    )
    _wait_until_listed(api, nodes)


def _wait_until_listed(api: Any, nodes: int) -> None:
    """Return when a client that polls the configuration endpoint can use so many nodes."""
    processes.wait_until(lambda: _endpoint(api) is not None, "an endpoint", GROUP_TIMEOUT_S)
    endpoint = _endpoint(api)
    assert endpoint is not None
    deadline = time.monotonic() + GROUP_TIMEOUT_S
    while True:
        found = _listed(endpoint)
        if len(found) == nodes and all(_serves(address) for address in found):
            return
        if time.monotonic() > deadline:
            raise BenchFailed(f"{len(found)} nodes after {GROUP_TIMEOUT_S:g} s, not {nodes}")
        time.sleep(_POLL_S)


def _endpoint(api: Any) -> str | None:
    (cluster,) = api.describe_cache_clusters(CacheClusterId=_NAME)["CacheClusters"]
    found = cluster.get("ConfigurationEndpoint")
    return None if found is None else str(found["Address"])


def _endpoints(api: Any) -> list[str]:
    (cluster,) = api.describe_cache_clusters(CacheClusterId=_NAME, ShowCacheNodeInfo=True)[
        "CacheClusters"
    ]
    return [str(node["Endpoint"]["Address"]) for node in cluster["CacheNodes"]]


def _delete(api: Any) -> None:
    api.delete_cache_cluster(CacheClusterId=_NAME)
    processes.wait_until(
        lambda: not api.describe_cache_clusters()["CacheClusters"], "deleted", GROUP_TIMEOUT_S
    )


def _listed(endpoint: str) -> list[str]:
    """Return the nodes that a configuration endpoint names; none while it does not answer."""
    answer = _ask(endpoint, b"config get cluster\r\n", b"\n\r\nEND\r\n")
    lines = answer.split(b"\n")
    return [part.split(b"|")[1].decode() for part in lines[2].split()] if len(lines) > 2 else []


def _serves(address: str) -> bool:
    """Tell whether a node takes an item and gives it back."""
    said = _ask(address, b"set bench 0 0 1\r\nx\r\nget bench\r\n", b"END\r\n")
    return said == b"STORED\r\nVALUE bench 0 1\r\nx\r\nEND\r\n"


def _ask(address: str, request: bytes, end: bytes) -> bytes:
    said = b""
    with contextlib.suppress(OSError):
        with socket.create_connection((address, _PORT), timeout=_ANSWER_TIMEOUT_S) as connection:
            connection.sendall(request)
            while not said.endswith(end):
                received = connection.recv(65_536)
                if not received:
                    return b""
                said += received
        return said
    return b""
