"""How do the same engines fare without our service? The baselines of everything about failure.

Three ways that people run them: a cluster whose nodes elect for themselves, at the engine's
defaults or with a shorter `cluster-node-timeout`; and one primary with replicas under three
Sentinels, which are the same program started with `--sentinel`. Same build, same loopback
addresses and ports as the service's nodes, ended and asked in the same way.
"""

from __future__ import annotations

import contextlib
import secrets
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from bench import deployment, engines, processes
from bench.deployment import Deployment, Shard
from bench.engines import Asker
from bench.world import GROUP_TIMEOUT_S, World
from cachewright.model.slots import split_evenly

SENTINEL_PORT = 26_379
#: What Sentinel calls the primary that it watches.
WATCHED = "bench"
#: Three is the least number that decides by majority with one lost.
_SENTINELS, _QUORUM = 3, 2
#: What the service sets as well: without it a replica's first sync waits 5 s.
_NO_DELAY = {"save": "", "repl-diskless-sync-delay": "0"}


class Nodes:
    """Engines by address; one that ended can be started again on its folder, as a unit would."""

    def __init__(self, within: World, settings: Mapping[str, Mapping[str, str]]) -> None:
        self._within, self._settings = within, settings
        self._folders = {address: within.fresh_folder() for address in settings}
        self._started: dict[str, subprocess.Popen[bytes]] = {}

    def put(self, address: str, name: str, content: bytes) -> None:
        """Put a file into the folder of an engine."""
        (self._folders[address] / name).write_bytes(content)

    def start(self, address: str) -> None:
        """Start an engine on what its folder holds."""
        self._started[address] = engines.start_engine(
            self._within, address, self._settings[address], self._folders[address]
        )

    def ended(self) -> list[str]:
        """Return the addresses of engines that have ended."""
        return [a for a, process in self._started.items() if process.poll() is not None]

    def close(self) -> None:
        """End all of them."""
        for process in self._started.values():
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
            processes.stop(process, number=signal.SIGKILL)


@contextlib.contextmanager
def running_cluster(
    within: World, *, shards: int, further: Mapping[str, str] | None = None
) -> Iterator[tuple[Deployment, Nodes]]:
    """Run a cluster of pairs that nobody manages for the block."""
    addresses = engines.free_addresses(2 * shards)
    settings = {**engines.cluster_settings(), **_NO_DELAY, **(further or {})}
    nodes = Nodes(within, dict.fromkeys(addresses, settings))
    for address, files in seeds(addresses, shards).items():
        for name, content in files.items():
            nodes.put(address, name, content)
    made = tuple(
        Shard(
            shard_id=f"{number + 1:04d}",
            slots=slots,
            addresses=(addresses[number], addresses[shards + number]),
        )
        for number, slots in enumerate(split_evenly(shards))
    )
    # The last node is a replica; a client that is told it survives the loss of any primary.
    found = Deployment(host=addresses[-1], cluster_enabled=True, shards=made)
    with contextlib.closing(nodes), deployment.closing(found):
        for address in addresses:
            nodes.start(address)
        found.wait_until_whole(GROUP_TIMEOUT_S)
        processes.wait_until(
            lambda: found.asker.is_whole(addresses[0], shards, 1), "writable", GROUP_TIMEOUT_S
        )
        yield found, nodes


@contextlib.contextmanager
def running_sentinels(
    within: World, *, replicas: int, down_after_ms: int
) -> Iterator[tuple[Deployment, tuple[str, ...]]]:
    """Run a primary, its replicas and three Sentinels for the block; yields their addresses too."""
    addresses = engines.free_addresses(1 + replicas + _SENTINELS)
    data, watchers = addresses[: 1 + replicas], addresses[1 + replicas :]
    follows = {"replicaof": f"{data[0]} {engines.PORT}"}
    own = {address: {**_NO_DELAY, "bind-source-addr": address} for address in data}
    settings = {a: (own[a] if a == data[0] else own[a] | follows) for a in data}
    nodes = Nodes(within, settings)
    shard = Shard(shard_id="0001", slots=deployment.all_slots(), addresses=tuple(data))
    found = Deployment(host=data[0], cluster_enabled=False, shards=(shard,))
    with contextlib.ExitStack() as held:
        held.enter_context(contextlib.closing(nodes))
        held.enter_context(deployment.closing(found))
        for address in data:
            nodes.start(address)
        found.wait_until_whole(GROUP_TIMEOUT_S)
        for address in watchers:
            process = _start_sentinel(within, address, data[0], down_after_ms)
            held.callback(processes.stop, process, number=signal.SIGKILL)
        _wait_for_sentinels(watchers, replicas)
        yield found, tuple(watchers)


@contextlib.contextmanager
def supervised(nodes: Nodes, restart_after_s: float) -> Iterator[None]:
    """Start every engine that ends again for the block, this long after its end was noticed."""
    stop = threading.Event()

    def supervise() -> None:
        due: dict[str, float] = {}
        while not stop.wait(processes.POLL_S):
            now_s = time.monotonic()
            for address in nodes.ended():
                if now_s >= due.setdefault(address, now_s + restart_after_s):
                    nodes.start(address)
                    del due[address]

    thread = threading.Thread(target=supervise, name="supervisor")
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def seeds(addresses: Sequence[str], shards: int) -> dict[str, dict[str, bytes]]:
    """Return `nodes.conf` for each address: the first half primaries, the others replicas."""
    ids = [secrets.token_hex(20) for _ in addresses]
    ranges = split_evenly(shards)
    files = {}
    for me in addresses:
        lines = []
        for number, (address, node_id) in enumerate(zip(addresses, ids, strict=True)):
            is_primary, shard = number < shards, number % shards
            mine = "myself," if address == me else ""
            words = [node_id, f"{address}:{engines.PORT}@{engines.BUS_PORT}"]
            words += [f"{mine}{'master' if is_primary else 'slave'}"]
            words += ["-" if is_primary else ids[shard], "0 0", str(shard + 1), "connected"]
            words += [str(part) for part in ranges[shard]] if is_primary else []
            lines.append(" ".join(words))
        lines.append(f"vars currentEpoch {shards} lastVoteEpoch 0")
        files[me] = {"nodes.conf": ("\n".join(lines) + "\n").encode("ascii")}
    return files


def _start_sentinel(
    within: World, address: str, primary: str, down_after_ms: int
) -> subprocess.Popen[bytes]:
    folder = within.fresh_folder()
    lines = (
        f"bind {address}",
        # Without these each tells the others that it is at 127.0.0.1.
        f"bind-source-addr {address}",
        f"sentinel announce-ip {address}",
        f"port {SENTINEL_PORT}",
        f"dir {folder}",
        f"sentinel monitor {WATCHED} {primary} {engines.PORT} {_QUORUM}",
        f"sentinel down-after-milliseconds {WATCHED} {down_after_ms}",
    )
    # Sentinel writes what it learns into its own configuration.
    path = folder / "sentinel.conf"
    path.write_text("\n".join(lines) + "\n", encoding="ascii")
    return processes.spawn(
        [Path(within.build.server), path, "--sentinel"],
        folder=folder,
        output=folder / "log",
        death_signal=signal.SIGKILL,
        is_preferred=True,
    )


def _wait_for_sentinels(watchers: Sequence[str], replicas: int) -> None:
    """Return when each of them knows all replicas and all others: before, none can decide."""

    def knows_all(asker: Asker, address: str) -> bool:
        with contextlib.suppress(engines.NoAnswer):
            answer = asker.ask(address, "SENTINEL", "MASTER", WATCHED)
            if isinstance(answer, list):
                known = dict(zip(answer[::2], answer[1::2], strict=True))
                counts = (int(known[b"num-slaves"]), int(known[b"num-other-sentinels"]))
                return counts == (replicas, len(watchers) - 1)
        return False

    with contextlib.closing(Asker(SENTINEL_PORT)) as asker:
        processes.wait_until(
            lambda: all(knows_all(asker, address) for address in watchers),
            "the Sentinels know each other",
            GROUP_TIMEOUT_S,
        )
