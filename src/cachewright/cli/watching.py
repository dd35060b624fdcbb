"""Through whose eyes are groups watched? Clients for each shard, and what they saw, as values.

The drill and the demo watch the same way; `checker` does the work.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from cachewright.checker import keys
from cachewright.checker.clients import Kind, Target
from cachewright.checker.history import Lane
from cachewright.checker.judge import LaneVerdict, RequestsVerdict, Verdict
from cachewright.cli import answers
from cachewright.cli.failures import Failed
from cachewright.model import slots

#: Between two requests of one kind where it matters: a gap is known to this precision.
PACE_S = 0.004
#: Requests a second to all the other shards together: this program shall not be what is measured.
_OTHERS_PER_S = 500.0
#: Writers and readers are threads; more of them would wait for each other.
SHARDS_MAX = 32
_KEYS_PER_SHARD = 16
LOOK_AGAIN_S = 0.1
#: A service that is asked about a node that has ended knows it by then.
_NOTICED_WITHIN_S = 2.0


@dataclass(frozen=True, kw_only=True, slots=True)
class RequestsSeen:
    """How requests of one kind went."""

    answered: int
    #: Failed for their caller, after all that the client tried.
    failed: int
    longest_gap_ms: float
    #: From when it was due to its answer.
    slowest_ms: float


@dataclass(frozen=True, kw_only=True, slots=True)
class ShardSeen:
    """What the clients of one shard saw since something was done to it."""

    shard_id: str
    #: Its primary was ended.
    is_struck: bool
    #: Between two requests of one kind: no gap is known more precisely.
    pace_ms: float
    writes: RequestsSeen
    reads: RequestsSeen
    #: Acknowledged writes that are gone; `None` where nobody could look.
    lost: int | None
    #: Writes that are there twice: a client that lost an answer asked again.
    doubled: int
    #: Reads that lacked what had been acknowledged before.
    wrong_reads: int
    #: Texts of failures, the most frequent ones first.
    errors: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Struck:
    """The node that was ended, and its shard."""

    shard_id: str
    node_id: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Recovery:
    """How a group recovered."""

    #: The primary of the struck shard in the end; `None` while there is none.
    primary: str | None
    #: After how long every node served again; `None` when they did not in time.
    whole_after_s: float | None


def target_of(group: answers.Group, kind: Kind = Kind.VALKEY_PY) -> Target:
    """Return where clients of a group connect to, or raise that it has no such place yet."""
    ends = group.endpoints
    at = ends.configuration if group.cluster_enabled else ends.primary or ends.node
    if at is None:
        raise Failed(
            f"{group.name} has no endpoint yet", hint=f"`cachewright explain {group.name}` says why"
        )
    host, _, port = at.rpartition(":")
    return Target(
        host=host.strip("[]"), port=int(port), is_cluster=group.cluster_enabled, kind=kind
    )


def lanes_of(group: answers.Group, focus: str | None = None) -> tuple[Lane, ...]:
    """Return a lane for each shard, for `SHARDS_MAX` of them where there are more.

    Args:
        group: The group.
        focus: The shard that matters most, which gets most requests; all alike by default.
    """
    token = secrets.token_hex(4)
    ordered = sorted(group.shards, key=lambda shard: (shard.shard_id != focus, shard.shard_id))
    chosen = ordered[:SHARDS_MAX]
    others_s = max(PACE_S, 2 * len(chosen) / _OTHERS_PER_S)
    return tuple(
        Lane(
            name=shard.shard_id,
            keys=keys.keys_in(_ranges(shard), token, _KEYS_PER_SHARD),
            pace_s=PACE_S if focus in {None, shard.shard_id} else others_s,
        )
        for shard in sorted(chosen, key=lambda shard: shard.shard_id)
    )


def primary_of(shard: answers.Shard) -> str | None:
    """Return the primary of a shard, `None` while nobody is known to be it."""
    return next((node.node_id for node in shard.nodes if node.role == "primary"), None)


def is_whole(group: answers.Group) -> bool:
    """Tell whether every node serves, and every shard has a primary."""
    return group.status == "available" and all(
        primary_of(shard) is not None and all(node.status == "available" for node in shard.nodes)
        for shard in group.shards
    )


def wait_until_whole(
    look: Callable[[], answers.Group],
    struck: Struck,
    *,
    timeout_s: float,
    meanwhile: Callable[[], None],
) -> Recovery:
    """Look until every node of a group serves again.

    Args:
        look: Returns the group as it is now.
        struck: What was ended.
        timeout_s: How long to look at most.
        meanwhile: Is called between two looks.
    """
    begin_s = time.monotonic()
    has_changed = False
    while True:
        group = look()
        elapsed_s = time.monotonic() - begin_s
        shard = next((one for one in group.shards if one.shard_id == struck.shard_id), None)
        primary = None if shard is None else primary_of(shard)
        whole = is_whole(group)
        # At first the service may not have noticed.
        has_changed |= not whole or primary != struck.node_id or elapsed_s > _NOTICED_WITHIN_S
        if whole and has_changed:
            return Recovery(primary=primary, whole_after_s=round(elapsed_s, 3))
        if elapsed_s >= timeout_s:
            return Recovery(primary=primary, whole_after_s=None)
        meanwhile()
        time.sleep(LOOK_AGAIN_S)


def seen(verdict: Verdict, struck: Iterable[str]) -> tuple[ShardSeen, ...]:
    """Return a verdict as people and programs are shown it."""
    struck_ids = frozenset(struck)
    return tuple(_shard_seen(lane, is_struck=lane.name in struck_ids) for lane in verdict.lanes)


def milliseconds(seconds: float) -> float:
    """Return seconds as milliseconds, to the tenth: more would be noise."""
    return round(seconds * 1_000, 1)


def _shard_seen(lane: LaneVerdict, *, is_struck: bool) -> ShardSeen:
    return ShardSeen(
        shard_id=lane.name,
        is_struck=is_struck,
        pace_ms=milliseconds(lane.pace_s),
        writes=_requests_seen(lane.writes),
        reads=_requests_seen(lane.reads),
        lost=None if lane.lost is None else len(lane.lost),
        doubled=len(lane.doubled),
        wrong_reads=lane.wrong_reads,
        errors=lane.errors,
    )


def _requests_seen(requests: RequestsVerdict) -> RequestsSeen:
    return RequestsSeen(
        answered=requests.answered,
        failed=requests.failed,
        longest_gap_ms=milliseconds(requests.longest_gap_s),
        slowest_ms=milliseconds(requests.slowest_s),
    )


def _ranges(shard: answers.Shard) -> slots.SlotRanges:
    return slots.parse_ranges(shard.slots) if shard.slots else ()
