"""What happens in a drill? Clients begin, a primary is ended, they are watched until all is well.

The service decides whether the drill may be and ends the process. Imported when a drill runs.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from cachewright.checker import judge, traffic
from cachewright.checker.judge import Verdict
from cachewright.checker.traffic import Traffic
from cachewright.cli import answers, calls, watching
from cachewright.cli.failures import Failed

#: Clients of a group that serves are served at once; a machine under heavy load may take longer.
_WARM_UP_TIMEOUT_S = 15.0
#: So that there is something to compare with.
_BEFORE_S = 0.5
#: What comes after a failover, such as a node that joins again, may disturb clients as well.
_WATCHED_S_MIN = 3.0

#: Shows how far the clients are: what they saw, with the shard that was struck.
Show = Callable[[tuple[watching.ShardSeen, ...]], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Wish:
    """What is to be done."""

    shard_id: str
    accepts_loss: bool
    #: How long clients are watched at most after the end of the primary.
    seconds: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """What a drill came to: the document of `--output json`."""

    #: Clients are served again, and nothing acknowledged was lost unless that was accepted.
    ok: bool
    name: str
    shard_id: str
    #: The node whose process was ended, and when (ISO 8601, UTC).
    node_id: str
    at: str
    #: The primary of the shard in the end; `None` where there was none yet.
    primary: str | None
    #: From the end of the process until all nodes served again; `None` when they did not in time.
    whole_after_s: float | None
    #: How long clients were watched after the end of the process.
    seconds: float
    accepts_loss: bool
    #: By shard id.
    shards: tuple[watching.ShardSeen, ...]
    #: How long this program was kept from running at the longest: gaps as short may be its own.
    own_pause_ms: float
    #: Keys of the drill that could not be removed.
    left_keys: tuple[str, ...]

    @property
    def struck(self) -> watching.ShardSeen:
        """What the clients of the shard of the drill saw."""
        return next(shard for shard in self.shards if shard.is_struck)


def run(service: calls.Service, group: answers.Group, wish: Wish, show: Show) -> Report:
    """Carry out a drill and return what clients saw; `Failed` says why it could not be."""
    target = watching.target_of(group)
    lanes = watching.lanes_of(group, focus=wish.shard_id)
    try:
        with traffic.running(target, lanes) as running:
            if not running.wait_until_served(_WARM_UP_TIMEOUT_S):
                errors = judge.judge(running.so_far(), 0.0).of(wish.shard_id).errors
                raise Failed(
                    f"clients are not served at {target.host}:{target.port} ({'; '.join(errors)})",
                    hint=f"nothing was ended; see `cachewright show {group.name}`",
                )
            time.sleep(_BEFORE_S)
            return _strike(service, group.name, wish, running, show)
    except traffic.CheckFailed as error:
        raise Failed(f"the clients of the drill cannot go on ({error})") from error


def is_good(verdict: Verdict, *, accepts_loss: bool) -> bool:
    """Tell whether clients are served again, and nothing is lost that was not given up."""
    return verdict.is_served and (accepts_loss or verdict.keeps_everything)


def _strike(service: calls.Service, name: str, wish: Wish, running: Traffic, show: Show) -> Report:
    struck_s = time.monotonic()
    done = service.drill(name, wish.shard_id, accepts_loss=wish.accepts_loss)
    ended_s = time.monotonic()

    def show_more() -> None:
        show(watching.seen(judge.judge(running.so_far(), struck_s), [done.shard_id]))

    recovery = watching.wait_until_whole(
        lambda: service.group(done.name),
        watching.Struck(shard_id=done.shard_id, node_id=done.node_id),
        timeout_s=wish.seconds,
        meanwhile=show_more,
    )
    running.wait_until_served(max(0.0, ended_s + wish.seconds - time.monotonic()), since_s=ended_s)
    while time.monotonic() < ended_s + min(wish.seconds, _WATCHED_S_MIN):
        show_more()
        time.sleep(watching.LOOK_AGAIN_S)
    watched_s = time.monotonic() - ended_s
    verdict = judge.judge(running.finish(), struck_s)
    return Report(
        ok=is_good(verdict, accepts_loss=wish.accepts_loss),
        name=done.name,
        shard_id=done.shard_id,
        node_id=done.node_id,
        at=done.at,
        primary=recovery.primary,
        whole_after_s=recovery.whole_after_s,
        seconds=round(watched_s, 3),
        accepts_loss=wish.accepts_loss,
        shards=watching.seen(verdict, [done.shard_id]),
        own_pause_ms=watching.milliseconds(verdict.own_pause_s),
        left_keys=verdict.left_keys,
    )
