"""What may never happen, as far as it can be seen from outside? One judge for each question.

Each takes a record and yields violations as sentences. Numbers of laws are those of
docs/architecture.md, section "Safety laws". Judges believe what engines did, never what anybody
says of them, and never call the planner's own predicates.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tests.fault.scenarios import judges_events
from tests.fault.scenarios.probes import Look
from tests.fault.scenarios.records import Failover, Record, Written
from tests.fault.scenarios.shapes import ENDPOINT
from tests.fault.scenarios.watching import Answer

#: An answer of the old primary may be read so long after the new one took over, seconds.
_READ_LATE_S = 0.05
#: A primary that was succeeded without having ended must be seen to refuse so soon, seconds.
_DEMOTED_WITHIN_S = 1.0
#: A service that is asked right after a write was accepted may say so a little early, seconds.
_EARLY_S = 0.3
#: The answers by which an engine says that it is no primary.
_REFUSALS = ("READONLY", "MOVED")


@dataclass(frozen=True, slots=True)
class Reign:
    """For how long one process was the writer of a shard, as a fact."""

    pid: int
    node_id: str
    #: When its first and last accepted tries were sent and answered.
    first: Look
    last: Look


def reigns(record: Record, shard_id: str) -> list[Reign]:
    """Return who took writes, one entry for each time that a process began to, in order."""
    names = _names(record, shard_id)
    open_reigns: dict[int, Reign] = {}
    found: list[Reign] = []
    for look in record.looks.get(shard_id, ()):
        if look.is_accepted:
            reign = open_reigns.pop(look.pid, None)
            first = look if reign is None else reign.first
            name = names.get(look.pid, look.node_id)
            open_reigns[look.pid] = Reign(look.pid, name, first, look)
        elif look.pid in open_reigns and (look.said.startswith(_REFUSALS) or look.role == "slave"):
            found.append(open_reigns.pop(look.pid))
    return sorted([*found, *open_reigns.values()], key=lambda reign: reign.first.received_s)


def _names(record: Record, shard_id: str) -> dict[int, str]:
    """Return which node each process was; an endpoint is only another way to it."""
    looks = record.looks.get(shard_id, ())
    return {look.pid: look.node_id for look in looks if look.node_id != ENDPOINT}


def one_writer(record: Record) -> Iterator[str]:
    """Law 1: while one process takes writes of a slot, no other one does."""
    for shard_id in record.looks:
        accepted = [look for look in record.looks[shard_id] if look.is_accepted]
        for reign in reigns(record, shard_id):
            inside = [
                look
                for look in accepted
                if look.pid != reign.pid
                and look.sent_s > reign.first.received_s
                and look.received_s < reign.last.sent_s
            ]
            if inside:
                yield (
                    f"law 1: {inside[0].node_id} (pid {inside[0].pid}) took {len(inside)} writes "
                    f"of shard {shard_id} while {reign.node_id} (pid {reign.pid}) did"
                )


def promoted_with_proof(record: Record) -> Iterator[str]:
    """Law 3: when another one takes writes, the one before has ended or refuses them."""
    for shard_id in record.looks:
        for before, after in itertools.pairwise(reigns(record, shard_id)):
            if before.pid == after.pid:
                continue
            ended_s = record.ended_s.get(before.pid)
            limit_s = after.first.received_s
            if ended_s is not None and ended_s <= limit_s + _READ_LATE_S:
                continue
            refused = [
                look
                for look in record.looks[shard_id]
                if look.pid == before.pid and not look.is_accepted
                and before.last.received_s < look.received_s <= limit_s + _DEMOTED_WITHIN_S
                and (look.said.startswith(_REFUSALS) or look.role == "slave")
            ]  # fmt: skip
            if not refused and ended_s is not None and ended_s <= limit_s + _DEMOTED_WITHIN_S:
                yield (
                    f"law 3: {after.node_id} took writes {ended_s - limit_s:.3f} s before "
                    f"{before.node_id} had ended"
                )
            elif not refused:
                yield f"law 3: {after.node_id} took writes while {before.node_id} lived on"


def nothing_lost(record: Record) -> Iterator[str]:
    """Law 4 and the promise: what a living copy had when the primary changed is still there.

    A write counts as copied when it was acknowledged and a process was seen to hold it. Each time
    that another process begins to take writes, whatever the furthest copy that lives then was
    seen to hold must be there at the end.
    """
    for shard_id, written in record.written.items():
        floors = _floors(record, shard_id)
        lost = set(written.missing)
        required = [
            number
            for number, at_s in written.acknowledged
            if number in lost
            and all(number <= floor for moment, floor in floors if at_s < moment + _READ_LATE_S)
        ]
        if required:
            yield (
                f"law 4: shard {shard_id} lost {len(required)} acknowledged writes that a living "
                f"copy had, {required[0]} to {required[-1]} (floors {_short(floors)})"
            )


def _floors(record: Record, shard_id: str) -> list[tuple[float, int]]:
    """Return for each change of the writer its moment and the last number that survived it."""
    looks = record.looks.get(shard_id, [])
    found: list[tuple[float, int]] = []
    changes = itertools.pairwise(reigns(record, shard_id))
    for moment in [after.first.sent_s for before, after in changes if before.pid != after.pid]:
        seen = [look for look in looks if look.pid and look.received_s <= moment]
        alive = [look.number for look in seen if record.ended_s.get(look.pid, moment + 1) > moment]
        if not alive and record.expected.keeps_on_disk:
            found.append((moment, _on_every_disk(seen)))
        else:
            found.append((moment, max(alive, default=-1)))
    return found


def _on_every_disk(looks: list[Look]) -> int:
    """Return the last number that every node was seen to hold."""
    furthest: dict[str, int] = {}
    for look in looks:
        furthest[look.node_id] = max(look.number, furthest.get(look.node_id, -1))
    return min(furthest.values(), default=-1)


def _short(floors: list[tuple[float, int]]) -> str:
    return ", ".join(f"{floor} at {moment:.2f}" for moment, floor in floors)


def losses_are_told(record: Record) -> Iterator[str]:
    """Who loses everything says so, and nobody else does; it happens only where it may."""
    told = [e.message for e in record.events if "empty" in e.message or "is lost" in e.message]
    emptied = []
    for shard_id, written in record.written.items():
        has_lost_all = _has_lost_all(record, written)
        if has_lost_all:
            emptied.append(shard_id)
        if has_lost_all and not record.expected.may_lose_all:
            yield f"shard {shard_id} lost all of {len(written.missing)} writes"
    if emptied and not told and not record.expected.is_clock_stepped:
        yield f"shards {emptied} came back empty and no event says so"
    had_writes = any(
        at_s < record.struck_s for w in record.written.values() for _, at_s in w.acknowledged
    )
    if told and not emptied and had_writes:
        yield f"nothing was lost but an event says: {told[0]}"


def _has_lost_all(record: Record, written: Written) -> bool:
    before = {n for n, at_s in written.acknowledged if at_s < record.struck_s}
    return len(before) > 0 and before <= set(written.missing)


def failed_over_as_expected(record: Record) -> Iterator[str]:
    """The primaries of struck shards changed, or stayed, as the table says."""
    for shard_id in record.shape.shard_ids:
        took = reigns(record, shard_id)
        before = [r.node_id for r in took if r.first.received_s < record.struck_s]
        if not before:
            continue
        others = {reign.node_id for reign in took} - {before[-1]}
        match record.expected.failover:
            case Failover.MUST_NOT if others:
                yield f"shard {shard_id} failed over to {sorted(others)} and should not have"
            case Failover.MUST if shard_id in record.struck_shards and not others:
                yield f"shard {shard_id} did not fail over"
            case _:
                pass


def writes_go_on(record: Record) -> Iterator[str]:
    """The longest time without an acknowledged write is as short as the table says."""
    for shard_id, written in record.written.items():
        moments = [at_s for _, at_s in written.acknowledged]
        gaps = [after - before for before, after in itertools.pairwise(moments)]
        longest_s = max(gaps, default=0.0)
        if longest_s > record.expected.gap_s + record.late_s:
            yield (
                f"shard {shard_id} took no write for {longest_s:.2f} s, "
                f"{record.expected.gap_s:g} s are allowed"
            )


def requests_succeed(record: Record) -> Iterator[str]:
    """Where nobody who serves was struck, no request fails for its caller."""
    if not record.expected.fails_nothing:
        return
    for shard_id, written in record.written.items():
        if written.refused:
            text, at_s = written.refused[0]
            yield (
                f"{len(written.refused)} requests to shard {shard_id} failed, the first one at "
                f"{at_s - record.struck_s:+.3f}: {text}"
            )


def available_was_true(record: Record) -> Iterator[str]:
    """Whenever the API said `available`, every shard took writes, or had just stopped to."""
    grace_s = record.expected.grace_s + record.late_s
    for answer in record.answers:
        if answer.status != "available":
            continue
        for shard_id in record.shape.shard_ids:
            accepted = [look for look in record.looks.get(shard_id, ()) if look.is_accepted]
            before = [a.received_s for a in accepted if a.received_s <= answer.sent_s]
            after = [a.sent_s for a in accepted if a.received_s > answer.sent_s]
            if not before or not after:
                continue
            silent_s = answer.sent_s - before[-1]
            if silent_s > grace_s and after[0] - answer.received_s > _EARLY_S + record.late_s:
                yield (
                    f"available was said {silent_s:.2f} s after shard {shard_id} had taken its "
                    f"last write and {after[0] - answer.received_s:.2f} s before its next "
                    f"({_after_strike(record, answer)})"
                )
                return


def _after_strike(record: Record, answer: Answer) -> str:
    return f"{answer.sent_s - record.struck_s:+.2f} s from the fault"


def roles_were_true(record: Record) -> Iterator[str]:
    """Nobody is called primary for long after another one has taken over."""
    grace_s = record.expected.grace_s + record.late_s
    changes = {
        shard_id: [
            (after.first.received_s, after.node_id)
            for before, after in itertools.pairwise(reigns(record, shard_id))
            if before.pid != after.pid
        ]
        for shard_id in record.shape.shard_ids
    }
    for answer in record.answers:
        primaries = [node_id for node_id, role in answer.roles.items() if role == "primary"]
        if len(primaries) > max(1, record.shape.shards, record.shards_max):
            yield f"the API calls {primaries} primaries at the same time"
            return
        for changed_s, node_id in (pair for pairs in changes.values() for pair in pairs[-1:]):
            is_late = answer.sent_s > changed_s + grace_s
            if is_late and primaries and answer.roles.get(node_id) == "replica":
                yield (
                    f"{answer.sent_s - changed_s:.2f} s after {node_id} had taken over it is "
                    f"called a replica"
                )
                return


def found_nothing(record: Record) -> Iterator[str]:
    """Laws 5, 7, 8 and 9, as they were looked at on the spot."""
    yield from record.findings


JUDGES: tuple[Callable[[Record], Iterator[str]], ...] = (
    one_writer,
    promoted_with_proof,
    nothing_lost,
    losses_are_told,
    failed_over_as_expected,
    writes_go_on,
    requests_succeed,
    available_was_true,
    roles_were_true,
    judges_events.in_order_and_once,
    found_nothing,
)


def verdict(record: Record) -> list[str]:
    """Return what every judge says against a scenario; nothing when all is well."""
    return [f"{judge.__name__}: {text}" for judge in JUDGES for text in judge(record)]
