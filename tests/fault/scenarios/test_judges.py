"""Do the judges fire? Each on a record made by hand in which its law is broken, and on a good one.

A judge that stays silent proves nothing: every record here is a small story of two nodes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

import pytest

from tests.fault.scenarios import judges
from tests.fault.scenarios.probes import Look
from tests.fault.scenarios.records import Expected, Failover, Record, Told, Written
from tests.fault.scenarios.shapes import ENDPOINT, SHAPES
from tests.fault.scenarios.watching import Answer

_EVERY_S = 0.01
_STRUCK_S = 1.0
_FAILOVER = "Failover from primary node chaos-001 to replica node chaos-002 completed"
A, B, A_AGAIN = 101, 202, 303


def taking(node_id: str, pid: int, since_s: float, until_s: float) -> list[Look]:
    """Looks at a node that takes writes; the number it holds is the time in milliseconds."""
    return _looks(node_id, pid, since_s, until_s, is_accepted=True)


def refusing(
    node_id: str, pid: int, since_s: float, until_s: float, *, behind_s: float = 0.0
) -> list[Look]:
    """Looks at a replica; it holds what was written `behind_s` before, and nothing new from 1.0."""
    return _looks(node_id, pid, since_s, until_s, is_accepted=False, behind_s=behind_s)


def _looks(
    node_id: str,
    pid: int,
    since_s: float,
    until_s: float,
    *,
    is_accepted: bool,
    behind_s: float = 0.0,
) -> list[Look]:
    count = round((until_s - since_s) / _EVERY_S)
    moments = [since_s + step * _EVERY_S for step in range(count)]
    return [
        Look(
            node_id=node_id,
            pid=pid,
            sent_s=at_s,
            received_s=at_s + 0.001,
            is_accepted=is_accepted,
            role="master" if is_accepted else "slave",
            number=round((at_s if is_accepted else min(at_s, _STRUCK_S) - behind_s) * 1000),
            said="OK" if is_accepted else "READONLY You can't write against a read only replica.",
        )
        for at_s in moments
    ]


def in_order(*parts: Iterable[Look]) -> list[Look]:
    return sorted((look for part in parts for look in part), key=lambda look: look.received_s)


def acks(*spans: tuple[int, int]) -> tuple[tuple[int, float], ...]:
    """Numbers acknowledged when they were written: every 10 ms one, named by its millisecond."""
    return tuple((number, number / 1000) for low, high in spans for number in range(low, high, 10))


#: A dies at 1.0, B takes over at 1.1, and holds all that A had acknowledged.
GOOD = Record(
    shape=SHAPES["1+1"],
    expected=Expected(failover=Failover.MUST, gap_s=0.5, grace_s=0.5),
    struck_s=_STRUCK_S,
    lifted_s=_STRUCK_S,
    struck_shards=("0001",),
    looks={
        "0001": in_order(
            taking("chaos-001", A, 0.0, 1.0),
            refusing("chaos-002", B, 0.0, 1.1),
            taking("chaos-002", B, 1.1, 2.0),
        )
    },
    ended_s={A: 1.0},
    answers=(
        Answer(0.5, 0.51, "available", {"chaos-001": "primary", "chaos-002": "replica"}),
        Answer(1.05, 1.06, "modifying", {"chaos-001": "primary", "chaos-002": "replica"}),
        Answer(1.9, 1.91, "available", {"chaos-001": "replica", "chaos-002": "primary"}),
    ),
    events=(
        Told(source_type="cache-cluster", source_id="chaos-001", message="Cache cluster created"),
        Told(source_type="cache-cluster", source_id="chaos-001", message=_FAILOVER),
        Told(source_type="replication-group", source_id="chaos", message=_FAILOVER),
        Told(
            source_type="cache-cluster",
            source_id="chaos-001",
            message="Recovering cache nodes 0001",
        ),
        Told(
            source_type="cache-cluster",
            source_id="chaos-001",
            message="Finished recovery for cache nodes 0001",
        ),
    ),
    written={"0001": Written(acknowledged=acks((0, 1000), (1110, 2000)))},
)


def but(**changes: object) -> Record:
    return dataclasses.replace(GOOD, **changes)  # type: ignore[arg-type]


def with_looks(*parts: Iterable[Look]) -> dict[str, list[Look]]:
    return {"0001": in_order(*parts)}


def with_missing(*numbers: int) -> dict[str, Written]:
    return {"0001": dataclasses.replace(GOOD.written["0001"], missing=numbers)}


def events(*told: tuple[str, str]) -> tuple[Told, ...]:
    return tuple(
        Told(
            source_type="replication-group" if source == "chaos" else "cache-cluster",
            source_id=source,
            message=message,
        )
        for source, message in told
    )


_A_LIVES_ON = with_looks(
    taking("chaos-001", A, 0.0, 1.5),
    refusing("chaos-002", B, 0.0, 1.1),
    taking("chaos-002", B, 1.1, 2.0),
)
_A_WAKES = with_looks(
    taking("chaos-001", A, 0.0, 1.0),
    refusing("chaos-002", B, 0.0, 1.1),
    taking("chaos-002", B, 1.1, 2.0),
    taking("chaos-001", A, 1.6, 1.7),
)
_LAGGARD = with_looks(
    taking("chaos-001", A, 0.0, 1.0),
    refusing("chaos-003", B + 1, 0.0, 2.0),
    refusing("chaos-002", B, 0.0, 1.1, behind_s=0.3),
    taking("chaos-002", B, 1.1, 2.0),
)
_COMES_BACK_EMPTY = with_looks(
    taking("chaos-001", A, 0.0, 1.0),
    refusing("chaos-002", B, 0.0, 2.0),
    taking("chaos-001", A_AGAIN, 1.2, 2.0),
)
_SLOW = with_looks(
    taking("chaos-001", A, 0.0, 1.0),
    refusing("chaos-002", B, 0.0, 1.9),
    taking("chaos-002", B, 1.9, 2.0),
)
_RECOVERING, _FINISHED = "Recovering cache nodes 0001", "Finished recovery for cache nodes 0001"
_BACKWARDS = "Failover from primary node chaos-001 to replica node chaos-003 completed"

_BROKEN = {
    "two write at the same time": ("one_writer", but(looks=_A_LIVES_ON, ended_s={})),
    "a frozen primary wakes and writes": ("one_writer", but(looks=_A_WAKES, ended_s={A: 1.8})),
    "promoted while the old one lives": ("promoted_with_proof", but(ended_s={})),
    "promoted before the end of the old one": ("promoted_with_proof", but(ended_s={A: 1.4})),
    "the laggard is promoted": (
        "nothing_lost",
        but(looks=_LAGGARD, written=with_missing(*range(800, 1000, 10))),
    ),
    "an emptied primary wipes its replica": (
        "nothing_lost",
        but(looks=_COMES_BACK_EMPTY, written=with_missing(*range(0, 1000, 10))),
    ),
    "what every disk had is lost": (
        "nothing_lost",
        but(
            expected=Expected(keeps_on_disk=True),
            ended_s={A: 1.0, B: 1.0},
            looks=_COMES_BACK_EMPTY,
            written=with_missing(500),
        ),
    ),
    "all is lost where it may not be": (
        "losses_are_told",
        but(written=with_missing(*range(0, 1000, 10)), ended_s={A: 1.0, B: 1.0}),
    ),
    "all is lost in silence": (
        "losses_are_told",
        but(
            expected=Expected(may_lose_all=True),
            written=with_missing(*range(0, 1000, 10)),
        ),
    ),
    "a loss is told that never was": (
        "losses_are_told",
        but(events=events(("chaos", "Shard 0001 comes back empty: the data is lost"))),
    ),
    "no failover": (
        "failed_over_as_expected",
        but(looks=with_looks(taking("chaos-001", A, 0.0, 2.0)), ended_s={}),
    ),
    "a failover for nothing": (
        "failed_over_as_expected",
        but(expected=Expected(failover=Failover.MUST_NOT)),
    ),
    "writes stand still": (
        "writes_go_on",
        but(written={"0001": Written(acknowledged=acks((0, 1000), (1800, 2000)))}),
    ),
    "a request fails although nobody was struck": (
        "requests_succeed",
        but(
            expected=Expected(fails_nothing=True),
            written={
                "0001": Written(
                    acknowledged=acks((0, 1000), (1110, 2000)), refused=(("TRYAGAIN", 1.05),)
                )
            },
        ),
    ),
    "available is said of a dead shard": (
        "available_was_true",
        but(looks=_SLOW, answers=(Answer(1.55, 1.56, "available"),)),
    ),
    "the old primary is still called one": (
        "roles_were_true",
        but(
            answers=(
                Answer(1.9, 1.91, "available", {"chaos-001": "primary", "chaos-002": "replica"}),
            )
        ),
    ),
    "two are called primary": (
        "roles_were_true",
        but(
            answers=(
                Answer(1.2, 1.21, "modifying", {"chaos-001": "primary", "chaos-002": "primary"}),
            )
        ),
    ),
    "an event is told twice": (
        "in_order_and_once",
        but(events=events(("chaos-001", _RECOVERING), ("chaos-001", _RECOVERING))),
    ),
    "an end is told without its beginning": (
        "in_order_and_once",
        but(events=events(("chaos-001", _FINISHED))),
    ),
    "an end is never told": ("in_order_and_once", but(events=events(("chaos-001", _RECOVERING)))),
    "a creation is told twice": (
        "in_order_and_once",
        but(events=events(*[("chaos-001", "Cache cluster created")] * 2)),
    ),
    "a failover is told of the group alone": (
        "in_order_and_once",
        but(events=events(("chaos", _FAILOVER))),
    ),
    "who was not the primary fails over": (
        "in_order_and_once",
        but(
            events=events(
                ("chaos", _FAILOVER),
                ("chaos-001", _FAILOVER),
                ("chaos", _BACKWARDS),
                ("chaos-001", _BACKWARDS),
            )
        ),
    ),
    "something is left": ("found_nothing", but(findings=("law 7: a folder is left",))),
}


@pytest.mark.parametrize("story", _BROKEN)
def test_a_judge_fires(story: str) -> None:
    judge, record = _BROKEN[story]
    assert any(text.startswith(f"{judge}: ") for text in judges.verdict(record))


def test_every_judge_has_fired() -> None:
    assert {judge.__name__ for judge in judges.JUDGES} == {judge for judge, _ in _BROKEN.values()}


def test_no_judge_fires_when_all_is_well() -> None:
    assert judges.verdict(GOOD) == []


def test_writes_that_nobody_else_had_may_go_with_their_primary() -> None:
    """Acknowledged in the last moment before the kill, held by no other process."""
    looks = with_looks(
        taking("chaos-001", A, 0.0, 1.0),
        refusing("chaos-002", B, 0.0, 1.1, behind_s=0.02),
        taking("chaos-002", B, 1.1, 2.0),
    )
    assert judges.verdict(but(looks=looks, written=with_missing(990))) == []


def test_an_endpoint_is_another_way_to_the_same_process() -> None:
    looks = with_looks(
        GOOD.looks["0001"], taking(ENDPOINT, A, 0.0, 0.99), taking(ENDPOINT, B, 1.2, 2.0)
    )
    assert judges.verdict(but(looks=looks)) == []


def test_a_handover_needs_no_end_when_the_old_primary_refuses() -> None:
    looks = with_looks(
        taking("chaos-001", A, 0.0, 1.0),
        refusing("chaos-001", A, 1.05, 2.0),
        refusing("chaos-002", B, 0.0, 1.1),
        taking("chaos-002", B, 1.1, 2.0),
    )
    assert judges.verdict(but(looks=looks, ended_s={})) == []


def test_what_began_before_a_delete_need_not_end() -> None:
    told = events(("chaos-001", _RECOVERING), ("chaos-001", "Cache cluster deleted"))
    assert judges.verdict(but(events=told)) == []


def test_a_slot_that_went_to_another_shard_has_another_writer() -> None:
    """The giver lives on, and leads clients to the taker."""
    moved = [
        dataclasses.replace(look, said="MOVED 7 127.64.0.9:6379", role="master")
        for look in refusing("chaos-0001-001", A, 1.05, 2.0)
    ]
    looks = with_looks(
        taking("chaos-0001-001", A, 0.0, 1.0), moved, taking("chaos-0002-001", B, 1.1, 2.0)
    )
    record = but(looks=looks, ended_s={}, expected=Expected(gap_s=0.5, grace_s=0.5))
    assert judges.verdict(dataclasses.replace(record, answers=())) == []


def test_more_shards_have_more_primaries() -> None:
    roles = {"chaos-0001-001": "primary", "chaos-0002-001": "primary"}
    record = but(answers=(Answer(0.5, 0.51, "available", roles),), shards_max=2)
    assert judges.verdict(record) == []
