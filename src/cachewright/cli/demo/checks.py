"""Did everything hold? The promises that the demo checks, each with a name and what was found.

The data is read back through the cluster client (valkey-py); what is left of the group is asked
of the kernel and the disk, not of the service.
"""

from __future__ import annotations

import ipaddress
import itertools
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cachewright.checker.judge import Verdict
from cachewright.checker.summary import Summary
from cachewright.cli import tables
from cachewright.cli.demo import workload
from cachewright.model.slots import SLOT_COUNT

_LISTEN = "0A"
#: Sessions whose hash and time to live are asked for at once.
_SESSIONS_AT_ONCE = 500
_SHOWN_MAX = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """One promise; `detail` says what was compared, or what is wrong."""

    name: str
    ok: bool
    detail: str


def every_answer_was_good(errors: int, first_error: str, operations: int) -> Check:
    """No command was answered with an error."""
    detail = f"{errors} errors in {operations:,} answers"
    return Check(
        name="every command was answered without an error",
        ok=errors == 0 and operations > 0,
        detail=f"{detail}, the first one: {first_error}" if errors else detail,
    )


def boards_are_right(client: Any, expected: Mapping[str, workload.Top]) -> Check:
    """Every board's top ten, players and points, is what the workers computed."""
    wrong: list[str] = []
    for board, top in expected.items():
        found = client.zrevrange(board, 0, workload.TOP - 1, withscores=True)
        if tuple((player.decode(), int(score)) for player, score in found) != top:
            wrong.append(board)
    return _compared(
        "the top ten of every leaderboard equals what the workers computed",
        wrong,
        f"{len(expected)} leaderboards",
    )


def sessions_are_right(client: Any, expected: Mapping[str, int]) -> Check:
    """Every session reads back with its fields, its visits and a time to live."""
    wrong: list[str] = []
    remaining = iter(expected.items())
    while part := list(itertools.islice(remaining, _SESSIONS_AT_ONCE)):
        pipeline = client.pipeline()
        for session, _ in part:
            pipeline.hgetall(session)
            pipeline.ttl(session)
        answers = pipeline.execute()
        for (session, visits), fields, ttl_s in zip(part, answers[::2], answers[1::2], strict=True):
            wanted = workload.session_fields(session) | {"visits": str(visits)}
            held = {name.decode(): value.decode() for name, value in fields.items()}
            if held != wanted or not 0 < ttl_s <= workload.SESSION_TTL_S:
                wrong.append(session)
    return _compared(
        "every session reads back with its fields and a time to live",
        wrong,
        f"{len(expected):,} sessions",
    )


def clients_noticed_nothing(verdict: Verdict, seen: Summary, strays: int | None) -> Check:
    """While the cluster grew and shrank no request failed, and nothing was lost or doubled.

    `strays` are keys that lie where no client finds them.
    """
    requests = seen.writes.answered + seen.reads.answered
    lost, hidden = ("unknown" if n is None else f"{n}" for n in (verdict.lost, strays))
    detail = (
        f"{requests:,} requests, {verdict.failed} failed, {lost} writes lost, {seen.doubled} "
        f"doubled, {seen.wrong_reads} wrong answers, on {seen.keys:,} slots; {hidden} keys where "
        "no client finds them"
    )
    wrong = verdict.failed + seen.doubled + seen.foreign + seen.wrong_reads
    ok = not wrong and strays == 0 and verdict.keeps_everything and verdict.is_served
    return Check(
        name="clients noticed nothing while shards and replicas came and went",
        ok=ok,
        detail=detail if ok else f"{detail}: {'; '.join(seen.errors[:_SHOWN_MAX])}",
    )


def slots_are_spread(slots: Sequence[tuple[str, int]], wanted: int) -> Check:
    """In the end there are as many shards as were asked for, with all slots."""
    counts = [count for _, count in slots]
    detail = ", ".join(f"{shard_id}: {count:,} slots" for shard_id, count in slots)
    ok = len(counts) == wanted and sum(counts) == SLOT_COUNT and min(counts) > 0
    return Check(name="every slot is owned by a shard that was asked for", ok=ok, detail=detail)


def clients_are_served_again(verdict: Verdict, gap_ms: float) -> Check:
    """After the kill every shard takes writes and answers reads."""
    answered = sum(lane.writes.answered + lane.reads.answered for lane in verdict.lanes)
    errors = "; ".join(error for lane in verdict.lanes for error in lane.errors[:1])
    detail = (
        f"{answered:,} requests, {verdict.failed} failed, no write for {tables.gap_text(gap_ms)}"
    )
    ok = verdict.is_served
    return Check(
        name="clients are served again after the kill of a primary",
        ok=ok,
        detail=detail if ok else f"{detail}: {errors}",
    )


def no_write_is_lost(verdict: Verdict) -> Check:
    """Everything that was acknowledged before and after the kill is there, and nothing else."""
    lost = [f"{lane.name}/{number}" for lane in verdict.lanes for number in lane.lost or ()]
    strange = [f"{lane.name}/{number}" for lane in verdict.lanes for number in lane.foreign]
    if lost:
        detail = f"{len(lost)} lost: {', '.join(lost[:_SHOWN_MAX])}"
    elif strange:
        detail = f"{len(strange)} that nobody wrote: {', '.join(strange[:_SHOWN_MAX])}"
    elif not verdict.keeps_everything:
        detail = "what the shards hold could not be read"
    else:
        detail = f"every number is there, of {len(verdict.lanes)} shards"
    return Check(name="no acknowledged write was lost", ok=verdict.keeps_everything, detail=detail)


def group_is_whole_again(victim: str, primary: str | None, whole_after_s: float | None) -> Check:
    """Another node is primary, and the one that was killed is back."""
    detail = f"{victim} was killed, {primary or 'nobody'} is primary"
    ok = primary not in {None, victim} and whole_after_s is not None
    return Check(
        name="a replica took over and the group is whole again",
        ok=ok,
        detail=f"{detail}, whole after {whole_after_s:.1f} s" if whole_after_s else detail,
    )


def data_outlived(*again: Check) -> Check:
    """What was right before the kill is right after it."""
    wrong = [check.detail for check in again if not check.ok]
    return Check(
        name="leaderboards and sessions outlived the kill",
        ok=not wrong and bool(again),
        detail="; ".join(wrong or [check.detail for check in again]),
    )


def group_is_gone(names: Sequence[str]) -> Check:
    """The service lists no group any more."""
    return _nothing_left("the service lists no group", names, "no group")


def processes_are_gone(before: Iterable[int], after: Iterable[int]) -> Check:
    """No process came to stay since the group was created."""
    left = sorted(set(after) - set(before))
    return _nothing_left("no engine process is left", left, "no process of the state folder")


def sockets_are_gone(
    pool: ipaddress.IPv4Network | None,
    addresses: Iterable[str],
    listening: Iterable[str],
) -> Check:
    """Nobody listens on a HOST:PORT that the group had, nor anywhere in the pool of addresses."""
    had = frozenset(addresses)
    left = sorted(at for at in listening if at in had or (pool and _host(at) in pool))
    where = f"{pool} and {len(had)} addresses" if pool else f"{len(had)} addresses"
    return _nothing_left("no listening socket is left", left, f"nobody listens in {where}")


def pool_of(state_dir: Path) -> ipaddress.IPv4Network | None:
    """Return the pool of addresses of a service; `None` where nodes share one address."""
    try:
        content = json.loads((state_dir / "pool.json").read_bytes())
        return ipaddress.IPv4Network(content["network"])
    except (OSError, ValueError, KeyError):
        return None


def folders_are_gone(state_dir: Path, node_ids: Iterable[str]) -> Check:
    """No folder or file of a node is in the state folder."""
    ids = tuple(node_ids)
    left = [
        path.name
        for path in sorted(state_dir.rglob("*"))
        if any(path.name == node_id or path.name.endswith(f".{node_id}") for node_id in ids)
    ]
    return _nothing_left("no folder of a node is left", left, f"{len(ids)} nodes, no folder")


def service_is_gone(state_dir: Path, processes: Sequence[int]) -> Check:
    """The service has ended and its temporary folder is removed."""
    left = [f"process {pid}" for pid in processes]
    left += [str(state_dir)] if state_dir.exists() else []
    return _nothing_left(
        "the service has stopped and its folder is removed", left, "no process, no folder"
    )


def listening_sockets() -> frozenset[str]:
    """Return every HOST:PORT of IPv4 on which somebody listens, from the kernel's table."""
    lines = Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]
    return frozenset(
        parse_socket(fields[1]) for fields in map(str.split, lines) if fields[3] == _LISTEN
    )


def parse_socket(text: str) -> str:
    """Parse a socket of /proc/net/tcp, such as 0100407F:18EB (the address in host byte order)."""
    address, _, port = text.partition(":")
    number = int.from_bytes(bytes.fromhex(address), sys.byteorder)
    return f"{ipaddress.IPv4Address(number)}:{int(port, 16)}"


def _host(at: str) -> ipaddress.IPv4Address:
    return ipaddress.IPv4Address(at.rpartition(":")[0])


def _compared(name: str, wrong: Sequence[str], what: str) -> Check:
    shown = ", ".join(wrong[:_SHOWN_MAX])
    detail = f"{what}, {len(wrong)} wrong: {shown}" if wrong else f"{what}, all right"
    # A comparison with nothing proves nothing.
    return Check(name=name, ok=not wrong and not what.startswith("0 "), detail=detail)


def _nothing_left(name: str, left: Sequence[object], nothing: str) -> Check:
    shown = ", ".join(str(item) for item in left[:_SHOWN_MAX])
    return Check(name=name, ok=not left, detail=f"{len(left)} left: {shown}" if left else nothing)
