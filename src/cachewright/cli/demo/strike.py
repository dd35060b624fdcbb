"""What happens to clients when a primary is killed? The last part of the demo.

Clients write and read in every shard; the process of one primary gets SIGKILL from outside, as
somebody's mistake would; they go on until a replica is primary and the group is whole again. The
service is not told.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from cachewright.checker import judge, traffic
from cachewright.checker.judge import Verdict
from cachewright.cli import answers, watching

#: Nothing on one machine takes this long; a machine under heavy load may come near.
_SERVED_TIMEOUT_S = 30.0
_WHOLE_TIMEOUT_S = 60.0
#: So that there is something to compare with, and something afterwards.
_BEFORE_S = 1.0
_AFTER_S = 2.0
_ENGINE = "valkey-server"

#: Shows what clients saw until now, and how long it is since the kill (0 before).
Show = Callable[[tuple[watching.ShardSeen, ...], float], None]


class StrikeFailed(Exception):
    """The primary could not be killed; the text says why."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Failover:
    """What came of it."""

    shard_id: str
    #: The node whose process was killed.
    node_id: str
    #: The primary of the shard in the end; `None` where there was none.
    primary: str | None
    #: The longest time without an acknowledged write in the shard.
    gap_ms: float
    #: Requests of the clients of all shards that failed, after all that a client tries.
    failed_requests: int
    #: From the kill until all nodes served again; `None` when they did not.
    whole_after_s: float | None
    #: By shard id.
    shards: tuple[watching.ShardSeen, ...]
    #: How long the demo itself was kept from running at the longest: it may be the gap's cause.
    own_pause_ms: float


def strike(
    group: answers.Group,
    look: Callable[[], answers.Group],
    processes: Iterable[int],
    say: Callable[[str], None],
    show: Show,
) -> tuple[Failover, Verdict]:
    """Kill the primary of the group's middle shard under traffic.

    Args:
        group: The group, which serves.
        look: Looks at it again.
        processes: Among these pids is the primary's.
        say: Is told what is done.
        show: Is told what clients saw so far.
    """
    shard = group.shards[len(group.shards) // 2]
    victim = watching.primary_of(shard)
    if victim is None:
        raise StrikeFailed(f"shard {shard.shard_id} has no primary")
    pid = _engine_of(victim, processes)
    struck = [shard.shard_id]
    with traffic.running(watching.target_of(group), watching.lanes_of(group)) as running:
        if not running.wait_until_served(_SERVED_TIMEOUT_S):
            raise StrikeFailed("clients are not served before anything is done to the group")
        time.sleep(_BEFORE_S)
        say(f"Killing {victim}, the primary of shard {shard.shard_id}: kill -9 {pid}.")
        struck_s = time.monotonic()
        os.kill(pid, signal.SIGKILL)

        def seen_so_far() -> None:
            verdict = judge.judge(running.so_far(), struck_s)
            show(watching.seen(verdict, struck), time.monotonic() - struck_s)

        recovery = watching.wait_until_whole(
            look,
            watching.Struck(shard_id=shard.shard_id, node_id=victim),
            timeout_s=_WHOLE_TIMEOUT_S,
            meanwhile=seen_so_far,
        )
        running.wait_until_served(_SERVED_TIMEOUT_S, since_s=struck_s)
        while time.monotonic() < struck_s + _AFTER_S:
            seen_so_far()
            time.sleep(watching.LOOK_AGAIN_S)
        verdict = judge.judge(running.finish(), struck_s)
    return (
        Failover(
            shard_id=shard.shard_id,
            node_id=victim,
            primary=recovery.primary,
            gap_ms=watching.milliseconds(verdict.of(shard.shard_id).writes.longest_gap_s),
            failed_requests=verdict.failed,
            whole_after_s=recovery.whole_after_s,
            shards=watching.seen(verdict, struck),
            own_pause_ms=watching.milliseconds(verdict.own_pause_s),
        ),
        verdict,
    )


def _engine_of(node_id: str, processes: Iterable[int]) -> int:
    """Return the pid of a node's engine: it works in the folder of the node."""
    found = [pid for pid in processes if _folder_and_name(pid) == (node_id, _ENGINE)]
    if len(found) != 1:
        raise StrikeFailed(f"{len(found)} processes of {node_id} were found")
    return found[0]


def _folder_and_name(pid: int) -> tuple[str, str]:
    process = Path(f"/proc/{pid}")
    try:
        folder = (process / "cwd").readlink().name
        return folder.partition(".")[2], (process / "comm").read_text().strip()
    except OSError:
        return "", ""
