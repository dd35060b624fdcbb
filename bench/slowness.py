"""Does a primary that is only slow keep its role? Failovers that nobody needed, in every slow way.

Each deed makes engines late as real life does; the figure counts primaries that changed and engines
that were ended or started again meanwhile. All of them must be 0.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hiredis

from bench import engines, groups, processes, raw, world
from bench.deployment import Deployment
from bench.measure import Figure, Skipped, Target, sample
from bench.processes import BenchFailed
from bench.watch import watching
from bench.world import World, say

#: What is decided about a silence is decided by then: the engines answer again.
_SETTLE_S = 3.0
_BUSY_S, _QUICK_BUSY_S = 60.0, 5.0
_STALL_S = 2
_VALUE_BYTES = 1 << 18
#: Of the large group: 4 GB fit beside the reserved quarter.
_LARGE = "cache.m7g.large"
_LARGE_BYTES, _QUICK_LARGE_BYTES = 4 << 30, 200 << 20
_SCRIPT = (
    "local function now() local t = redis.call('TIME') return t[1] * 1000000 + t[2] end "
    "local begin = now() repeat until now() - begin > 1000000 return 1"
)
_DISK_MB = 512
_NONE = Target(bound=0, is_minimum=False, share=1.0)


def measure_slowness(within: World) -> Iterator[Figure | Skipped]:
    """Be slow in four ways, with clients that write all the time."""
    with world.running_server(within) as server, contextlib.closing(server.client()) as api:
        yield _scripts(within, api)
        yield _busy(within, api)
        yield _large(within, api)
    yield _stalled_disk(within)


def _scripts(within: World, api: Any) -> Figure:
    with groups.running(api, shards=3) as group, watching(group.engines):
        found = group.engines
        counts = []
        for number in within.rounds(10, 2):
            primary = found.primary_of(found.shards[number % 3])
            counts.append(_changes(found, lambda: _run_script(primary)))  # noqa: B023 called here
    return _figure(
        "script",
        "a primary of 3 x 2 answers nobody for 1 s",
        counts,
        "A script that runs for 1 s: to everybody else the same as `DEBUG SLEEP 1`, which is "
        "closed to clients.",
    )


def _run_script(address: str) -> None:
    with socket.create_connection((address, engines.PORT), 10.0) as connection:
        connection.sendall(raw.packed(("EVAL", _SCRIPT, "0")))
        if not connection.recv(64).startswith(b":1"):
            raise BenchFailed("the script did not run")


def _busy(within: World, api: Any) -> Figure:
    duration_s = _QUICK_BUSY_S if within.quick else _BUSY_S
    count = 2 * (os.cpu_count() or 1)

    def deed() -> None:
        folder = within.fresh_folder()
        started = [
            processes.spawn(
                [sys.executable, "-c", "while True: pass"], folder=folder, output=folder / "log"
            )
            for _ in range(count)
        ]
        time.sleep(duration_s)
        for process in started:
            processes.stop(process, number=signal.SIGKILL)

    with groups.running(api, shards=3) as group, watching(group.engines):
        found = group.engines
        counts = [_changes(found, deed)]
    return _figure(
        "busy",
        f"all cores busy for {duration_s:g} s, 3 x 2",
        counts,
        f"{count} processes that only compute, at the priority of everything else.",
    )


def _large(within: World, api: Any) -> Figure:
    size = _QUICK_LARGE_BYTES if within.quick else _LARGE_BYTES
    with groups.running(api, shards=1, further={"CacheNodeType": _LARGE}) as group:
        found = group.engines
        shard = found.shards[0]
        primary = found.primary_of(shard)
        fill(primary, size)
        found.wait_until_whole()
        before = found.pid_of(primary)
        with watching(found):
            replica = found.replica_of(shard)
            found.kill(replica)
            begin_s = time.monotonic()
            group.wait_until_settled()
            took_s = time.monotonic() - begin_s
        count = int(found.primary_of(shard) != primary) + int(found.pid_of(primary) != before)
    return _figure(
        "fork",
        f"a primary with {size / 2**30:.2g} GB forks and sends all of it",
        [count],
        "The fork is the one of a full sync, as its replica was killed: the same child and the "
        f"same copied pages as `BGSAVE`, which is closed to clients. In sync after {took_s:.1f} s.",
    )


def fill(address: str, size: int) -> None:
    """Write about this many bytes of values to one engine."""
    value = os.urandom(_VALUE_BYTES)
    window, total = 16, size // _VALUE_BYTES
    with socket.create_connection((address, engines.PORT), 60.0) as connection:
        reader, answered = hiredis.Reader(), 0
        for number in range(total):
            key = f"{{fill}}{number}"
            connection.sendall(raw.packed(("SET", key, value)))
            while number - answered >= window or (number == total - 1 and answered < total):
                while (answer := reader.gets()) is False:
                    reader.feed(connection.recv(1 << 16))
                if isinstance(answer, hiredis.ReplyError):
                    raise BenchFailed(f"{address} does not take values: {answer}")
                answered += 1


def _stalled_disk(within: World) -> Figure | Skipped:
    key, what = "false-failover-disk", f"the disk takes no write for {_STALL_S} s, append-only file"
    tools = [shutil.which(name) for name in ("mkfs.ext4", "mount", "umount", "fsfreeze")]
    if os.geteuid() != 0 or not all(tools):
        return Skipped(key=key, what=what, reason="only root can freeze a file system")
    try:
        with _own_disk(within) as disk:
            counts = _stalls(dataclasses.replace(within, folder=disk), disk)
    except subprocess.CalledProcessError as error:
        return Skipped(key=key, what=what, reason=f"no file system of our own here: {error}")
    return _figure(
        "disk",
        f"the disk takes no write for {_STALL_S} s, append-only file, 3 x 2",
        counts,
        "`fsfreeze` of a file system that holds the whole state folder: engines and service wait "
        "for it.",
    )


def _stalls(within: World, disk: Path) -> list[int]:
    script = f"fsfreeze -f {disk}; sleep {_STALL_S}; fsfreeze -u {disk}"

    def deed() -> None:
        subprocess.run(["sh", "-c", script], check=True, timeout=60)

    with world.running_server(within) as server, contextlib.closing(server.client()) as api:
        parameters = groups.parameter_group(api, {"appendonly": "yes", "cluster-enabled": "yes"})
        further = {"CacheParameterGroupName": parameters}
        with (
            groups.running(api, shards=3, further=further) as group,
            watching(group.engines),
        ):
            return [_changes(group.engines, deed) for _ in within.rounds(5, 1)]


@contextlib.contextmanager
def _own_disk(within: World) -> Iterator[Path]:
    """Mount a file system that nobody else uses for the block."""
    folder = within.fresh_folder()
    image, disk = folder / "image", folder / "disk"
    disk.mkdir()
    with image.open("wb") as file:
        file.truncate(_DISK_MB << 20)
    subprocess.run(["mkfs.ext4", "-q", image], check=True, timeout=60)
    subprocess.run(["mount", "-o", "loop", image, disk], check=True, timeout=60)
    try:
        yield disk
    finally:
        subprocess.run(["umount", disk], check=True, timeout=60)


def _changes(found: Deployment, deed: Callable[[], None]) -> int:
    """Do something slow; return how many primaries and processes are others afterwards."""
    found.wait_until_whole()
    primaries = [found.primary_of(shard) for shard in found.shards]
    engines_before = found.identities()
    deed()
    time.sleep(_SETTLE_S)
    found.wait_until_whole()
    moved = sum(
        found.primary_of(shard) != before
        for shard, before in zip(found.shards, primaries, strict=True)
    )
    return moved + len(engines_before - found.identities())


def _figure(key: str, what: str, counts: list[int], note: str) -> Figure:
    say(f"  {what}: {counts}")
    return Figure(
        key=f"false-failover-{key}",
        what=f"failovers and restarts nobody needed: {what}",
        ours=sample("in a run", counts),
        target=_NONE,
        note=note,
    )
