"""What does a drill announce, refuse before it asks, and call good?"""

from __future__ import annotations

import dataclasses

import pytest

from cachewright.checker.judge import LaneVerdict, RequestsVerdict, Verdict
from cachewright.cli import answers, drill, drilling
from cachewright.cli.failures import Failed
from tests.unit.cli.cli_values import group, node, shard

PRIMARY, REPLICA = node("a", "primary"), node("b", "replica")


@pytest.mark.parametrize(
    ("nodes", "accepts_loss", "said"),
    [
        ((PRIMARY, REPLICA), False, "its clients get errors until a replica has taken over"),
        ((PRIMARY,), True, "WHAT IT HOLDS IS LOST"),
        ((PRIMARY, node("b", "replica", "creating")), True, "WHAT IT HOLDS IS LOST"),
    ],
)
def test_people_read_what_is_going_to_happen(
    nodes: tuple[answers.Node, ...], accepts_loss: bool, said: str
) -> None:
    struck = shard(*nodes)
    text = drill.announcement(group(struck), struck, accepts_loss=accepts_loss)
    assert text.startswith("a, the primary of shard 0001 of scores, is ended with SIGKILL")
    assert said in text


@pytest.mark.parametrize(
    ("nodes", "status", "accepts_loss", "said"),
    [
        ((PRIMARY, REPLICA), "modifying", True, "scores is modifying: wait until"),
        ((REPLICA,), "available", True, "has no primary now"),
        ((PRIMARY,), "available", False, "give it a replica first, or say --accept-loss"),
        ((PRIMARY, node("b", "replica", "creating")), "available", False, "--accept-loss"),
    ],
)
def test_what_cannot_be_is_said_before_anybody_is_asked(
    nodes: tuple[answers.Node, ...], status: str, accepts_loss: bool, said: str
) -> None:
    struck = shard(*nodes)
    with pytest.raises(Failed, match=said):
        drill.announcement(group(struck, status=status), struck, accepts_loss=accepts_loss)


def test_the_named_shard_is_meant_else_the_first() -> None:
    found = group(shard(PRIMARY, shard_id="0002"), shard(REPLICA, shard_id="0001"))
    assert drill.shard_to_strike(found, None).shard_id == "0001"
    assert drill.shard_to_strike(found, "0002").shard_id == "0002"
    with pytest.raises(Failed, match="no shard 0003: it has 0001, 0002"):
        drill.shard_to_strike(found, "0003")
    for kind in ("memcached", "single-node"):
        with pytest.raises(Failed, match="is not a replication group"):
            drill.shard_to_strike(dataclasses.replace(found, kind=kind), None)


@pytest.mark.parametrize(
    ("is_served", "lost", "accepts_loss", "is_good"),
    [
        (True, (), False, True),
        (True, (7,), False, False),
        (True, (7,), True, True),
        (True, None, False, False),
        (False, (), False, False),
        (False, (7,), True, False),
    ],
)
def test_a_drill_is_good_when_clients_are_served_and_nothing_is_lost_that_was_not_given_up(
    is_served: bool, lost: tuple[int, ...] | None, accepts_loss: bool, is_good: bool
) -> None:
    requests = RequestsVerdict(
        answered=1, failed=0, longest_gap_s=0.1, slowest_s=0.1, is_served=is_served
    )
    lane = LaneVerdict(
        name="0001",
        pace_s=0.004,
        writes=requests,
        reads=requests,
        lost=lost,
        doubled=(),
        foreign=(),
        wrong_reads=0,
        errors=(),
    )
    verdict = Verdict(lanes=(lane,), own_pause_s=0.0, left_keys=())
    assert drilling.is_good(verdict, accepts_loss=accepts_loss) is is_good
