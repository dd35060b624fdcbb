"""What does a service with a hundred running nodes cost, at rest and when it comes back?

The hundred nodes are a hundred groups of one node each, so that there are as many groups as the
figures of `describe` need; they are made once for all families that use them.
"""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Iterator
from pathlib import Path

from bench import processes, world
from bench.measure import Figure, Target, sample
from bench.processes import BenchFailed
from bench.world import Server, World, say

NODES = 100
#: Kill and start again; the target is 3 s.
_ADOPT_TIMEOUT_S = 60.0
#: After the last group has come up: every group has been looked at once more and rests.
_SETTLE_S = 12.0
_REST_S = 30.0
_ADOPTED = re.compile(r"event=adopted nodes=(\d+) running=(\d+)")
_ESTABLISHED = "01"
_PORT = 6379


@contextlib.contextmanager
def running_fleet(within: World) -> Iterator[Server]:
    """Run our service with a hundred groups for the block."""
    with world.running_server(within, "--verbose") as server:
        begin_s = time.monotonic()
        names = fill(server.url, server.key_id, server.secret)
        world.wait_until_available(server.client(), names, timeout_s=300.0)
        say(f"  {NODES} groups available after {time.monotonic() - begin_s:.1f} s")
        yield server


def fill(url: str, key_id: str, secret: str) -> list[str]:
    """Create a hundred groups of one node; the same request for every server."""
    api = world.client(url, key_id, secret)
    names = [f"bench-{number:03d}" for number in range(NODES)]
    for name in names:
        api.create_replication_group(
            ReplicationGroupId=name,
            ReplicationGroupDescription="one of a hundred",
            Engine="valkey",
            CacheNodeType=world.NODE_TYPE,
            NumCacheClusters=1,
            AutomaticFailoverEnabled=False,
        )
    return names


def measure_restart(within: World, server: Server) -> Figure:
    """Kill -9 of the server, start again, until every engine is adopted and was asked."""
    before = _identities(server)
    if len(before) != NODES:
        raise BenchFailed(f"{len(before)} engines run, not {NODES}")
    adopted_s, ready_s = [], []
    for number in within.rounds(5, 2):
        server.kill()
        server.log.write_bytes(b"")
        server.start("--verbose")
        ready_s.append(time.monotonic() - server.started_s)
        processes.wait_until(lambda: _has_asked_all(server), "all adopted", _ADOPT_TIMEOUT_S)
        adopted_s.append(time.monotonic() - server.started_s)
        _require_all_available(server)
        say(f"  restart {number + 1}: ready {ready_s[-1]:.2f} s, adopted {adopted_s[-1]:.2f} s")
    restarts = len(before ^ _identities(server)) // 2
    return Figure(
        key="restart-100",
        what=f"kill -9 of the server, start, until {NODES} running nodes are adopted",
        ours=sample("s", adopted_s),
        target=Target(bound=3.0, is_minimum=False),
        note=(
            f"{restarts} engine restarts (pid and start time compared). Adopted: the log says so, "
            "the new server has a connection to every engine, all groups are `available`."
        ),
        details={"engine_restarts": restarts, "ready_median_s": sample("s", ready_s).median},
    )


def measure_rest(within: World, server: Server) -> Figure:
    """CPU time of the server while nobody asks anything."""
    time.sleep(_SETTLE_S)
    ours, engines = [], []
    for number in within.rounds(3, 1):
        pids = server.engines()
        begin_s, begin = time.monotonic(), processes.cpu_s(server.process.pid)
        begin_engines = sum(map(processes.cpu_s, pids))
        time.sleep(_REST_S)
        elapsed_s = time.monotonic() - begin_s
        ours.append(100 * (processes.cpu_s(server.process.pid) - begin) / elapsed_s)
        engines.append(100 * (sum(map(processes.cpu_s, pids)) - begin_engines) / elapsed_s)
        say(f"  rest {number + 1}: server {ours[-1]:.2f} %, engines {engines[-1]:.2f} %")
    memory = processes.memory_mb(server.process.pid)
    return Figure(
        key="rest-100",
        what=f"the server at rest with {NODES} nodes, share of one core",
        ours=sample("%", ours),
        target=Target(bound=5.0, is_minimum=False),
        note=(
            f"CPU time over {_REST_S:g} s windows. The engines' own idle work is "
            f"{sample('%', engines).median:.1f} % in all and not counted. Resident memory of the "
            f"server then: {memory['rss']:.0f} MB."
        ),
        details={"engines_percent": sample("%", engines).median, "rss_mb": memory["rss"]},
    )


def _identities(server: Server) -> frozenset[tuple[int, int]]:
    return frozenset((pid, processes.start_ticks(pid)) for pid in server.engines())


def _has_asked_all(server: Server) -> bool:
    said = _ADOPTED.search(server.log.read_text(errors="replace"))
    if said is None or said.groups() != (str(NODES), str(NODES)):
        return False
    return len(_engines_connected_to(server.process.pid)) == NODES


def _engines_connected_to(pid: int) -> frozenset[str]:
    """Return the remote addresses of a process's connections to engines."""
    inodes = set()
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            inodes.add(str(descriptor.readlink()).removeprefix("socket:[").rstrip("]"))
    found = set()
    for line in Path(f"/proc/{pid}/net/tcp").read_text(encoding="ascii").splitlines()[1:]:
        fields = line.split()
        remote, state, inode = fields[2], fields[3], fields[9]
        if state == _ESTABLISHED and inode in inodes and int(remote[-4:], 16) == _PORT:
            found.add(remote)
    return frozenset(found)


def _require_all_available(server: Server) -> None:
    groups = world.statuses(server.client())
    if len(groups) != NODES or set(groups.values()) != {"available"}:
        raise BenchFailed(f"after the restart groups are {sorted(set(groups.values()))}")
