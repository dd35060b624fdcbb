"""What happens to clients when a cluster grows and shrinks? The middle part of the demo.

Shards come and go, and replicas come, through boto3, while the workers work as fast as they can and
stock clients use keys all over the slots. Nothing is stopped for it, and nobody is told.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from cachewright.checker import judge, lanes, strays, summary, traffic
from cachewright.checker.judge import Verdict
from cachewright.checker.pipes import Place
from cachewright.checker.summary import Summary
from cachewright.cli import answers, watching
from cachewright.model import slots

MORE_SHARDS, FEWER_SHARDS, REPLICAS = 5, 2, 2
#: Takes seconds; a machine under heavy load may take many times as long.
_STEP_TIMEOUT_S = 180.0
_SERVED_TIMEOUT_S = 60.0
#: The workers are what fills the machine; these shall find what they do not.
_REQUESTS_PER_S = 200.0
_SLOTS_PER_KEY = 16
_LOOK_AGAIN_S = 0.1
#: What is shown as the speed of now.
_NOW_S = 1.0
_AFTER_S = 1.0
#: What has moved away is removed by then, and counted where it is not.
_TIDIED_TIMEOUT_S = 10.0


class ScalingFailed(Exception):
    """The cluster did not become what was asked for; the text says why."""


class Work(Protocol):
    """The workers, while they work."""

    @property
    def operations(self) -> int:
        """Commands that were answered."""

    @property
    def errors(self) -> int:
        """Those of them that were answered with an error."""

    def follow(self, seconds: float) -> None:
        """Hear what workers say for a while."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Moment:
    """How it is now."""

    elapsed_s: float
    #: Slots of each shard, by shard id.
    slots: tuple[tuple[str, int], ...]
    replicas: int
    operations_per_s: float
    #: Of workers and clients.
    errors: int
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """One change, from the call until the group was available again."""

    what: str
    seconds: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Scaling:
    """What came of it."""

    steps: tuple[Step, ...]
    #: Of the workers while it lasted.
    operations: int
    operations_per_s: int
    #: Of the stock clients.
    requests: int
    failed_requests: int
    longest_gap_ms: float
    #: Keys that lie where no client finds them; `None` where somebody could not be asked.
    strays: int | None
    #: How long the demo itself was kept from running at the longest: it may be the gap's cause.
    own_pause_ms: float


#: Shows how it is.
Show = Callable[[Moment], None]


def scale(
    api: Any,
    look: Callable[[], answers.Group],
    work: Work,
    say: Callable[[str], None],
    show: Show,
) -> tuple[Scaling, Verdict, Summary]:
    """Let a cluster grow and shrink under its clients.

    Args:
        api: A boto3 client.
        look: Looks at the group.
        work: The workers.
        say: Is told what is done.
        show: Is told how it goes.
    """
    group = look()
    chosen = lanes.over_everything(
        secrets.token_hex(4),
        is_cluster=group.cluster_enabled,
        requests_per_s=_REQUESTS_PER_S,
        slots_per_key=_SLOTS_PER_KEY,
    )
    target = watching.target_of(group)
    with traffic.running(target, chosen) as running:
        if not running.wait_until_spread(_SERVED_TIMEOUT_S):
            raise ScalingFailed("clients are not served before anything is done to the group")
        # Nobody has heard what they did meanwhile.
        work.follow(_LOOK_AGAIN_S)
        since_s, before = time.monotonic(), work.operations
        changes = _Changes(api, look, _Eyes(work, running, since_s, show))
        steps = (
            changes.shards(MORE_SHARDS, say),
            changes.shards(FEWER_SHARDS, say),
            changes.replicas(REPLICAS, say),
        )
        work.follow(_AFTER_S)
        took_s, operations = time.monotonic() - since_s, work.operations - before
        history = running.finish()
    left_behind = strays.count(Place(target.host, target.port), timeout_s=_TIDIED_TIMEOUT_S)
    verdict = judge.judge(history, since_s)
    seen = summary.summarize(history, verdict, since_s)
    return (
        Scaling(
            steps=steps,
            operations=operations,
            operations_per_s=round(operations / took_s),
            requests=seen.writes.answered + seen.reads.answered,
            failed_requests=verdict.failed,
            longest_gap_ms=watching.milliseconds(
                max(seen.writes.longest_gap_s, seen.reads.longest_gap_s)
            ),
            strays=left_behind,
            own_pause_ms=watching.milliseconds(verdict.own_pause_s),
        ),
        verdict,
        seen,
    )


class _Eyes:
    """Looks at everything that is shown."""

    def __init__(self, work: Work, running: traffic.Traffic, since_s: float, show: Show) -> None:
        self._work, self._running, self._since_s, self._show = work, running, since_s, show
        self._past = [(since_s, work.operations)]

    def look(self, group: answers.Group) -> None:
        """Let the workers tell what they did, and show how it is."""
        self._work.follow(_LOOK_AGAIN_S)
        now_s = time.monotonic()
        self._past = [one for one in self._past if one[0] >= now_s - _NOW_S] or self._past[-1:]
        first_s, first = self._past[0]
        self._past.append((now_s, self._work.operations))
        failed = judge.judge(self._running.so_far(), self._since_s).failed
        self._show(
            Moment(
                elapsed_s=now_s - self._since_s,
                slots=slots_of(group),
                replicas=sum(max(0, len(shard.nodes) - 1) for shard in group.shards),
                operations_per_s=(self._work.operations - first) / max(now_s - first_s, 1e-3),
                errors=self._work.errors + failed,
                reason=group.reason,
            )
        )


class _Changes:
    """Asks for changes, and waits until they have happened."""

    def __init__(self, api: Any, look: Callable[[], answers.Group], eyes: _Eyes) -> None:
        self._api, self._look, self._eyes = api, look, eyes

    def shards(self, wanted: int, say: Callable[[str], None]) -> Step:
        """Let there be so many shards."""
        group = self._look()
        known = sorted(shard.shard_id for shard in group.shards)
        what = f"{len(known)} -> {wanted} shards"
        say(f"Scaling {'out' if wanted > len(known) else 'in'}: {what}, through boto3.")
        more = {"NodeGroupsToRemove": known[wanted:]} if wanted < len(known) else {}
        begin_s = time.monotonic()
        self._api.modify_replication_group_shard_configuration(
            ReplicationGroupId=group.name, NodeGroupCount=wanted, ApplyImmediately=True, **more
        )
        after = self._wait(what, begin_s)
        if len(after.shards) != wanted:
            raise ScalingFailed(f"{what}: there are {len(after.shards)} shards")
        return Step(what=what, seconds=round(time.monotonic() - begin_s, 3))

    def replicas(self, wanted: int, say: Callable[[str], None]) -> Step:
        """Let every shard have so many replicas."""
        group = self._look()
        before = max(0, max(len(shard.nodes) for shard in group.shards) - 1)
        what = f"{before} -> {wanted} replicas of each shard"
        say(f"Adding replicas: {what}, through boto3.")
        begin_s = time.monotonic()
        self._api.increase_replica_count(
            ReplicationGroupId=group.name, NewReplicaCount=wanted, ApplyImmediately=True
        )
        after = self._wait(what, begin_s)
        if {len(shard.nodes) for shard in after.shards} != {1 + wanted}:
            raise ScalingFailed(f"{what}: nodes are missing")
        return Step(what=what, seconds=round(time.monotonic() - begin_s, 3))

    def _wait(self, what: str, begin_s: float) -> answers.Group:
        while True:
            group = self._look()
            self._eyes.look(group)
            if watching.is_whole(group):
                return group
            elapsed_s = time.monotonic() - begin_s
            if elapsed_s > _STEP_TIMEOUT_S:
                raise ScalingFailed(
                    f"{what}: it is {group.status} after {elapsed_s:.0f} s: {group.reason}"
                )


def slots_of(group: answers.Group) -> tuple[tuple[str, int], ...]:
    """Return how many slots each shard has, by shard id."""
    return tuple((shard.shard_id, _count(shard.slots)) for shard in group.shards)


def _count(ranges: str) -> int:
    parsed = slots.parse_ranges(ranges) if ranges else ()
    return sum(part.last - part.first + 1 for part in parsed)
