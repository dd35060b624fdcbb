"""Who goes when nobody is named? Laws of the choice, against all that could have been chosen."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Sequence

from hypothesis import given
from hypothesis import strategies as st

from cachewright.model.facts import (
    EngineFact,
    NodeFact,
    Observed,
    ProcessIdentity,
    Running,
    Unknown,
)
from cachewright.model.groups import NodeSpec
from cachewright.model.status import Role
from cachewright.plan import removal
from cachewright.plan.syncs import BACKLOG_BYTES

ZONES = ("us-east-1a", "us-east-1b", "us-east-1c")
RUNNING = Running(identity=ProcessIdentity(pid=1, start_ticks=1, boot_id="b"))


@st.composite
def shards(
    draw: st.DrawFn,
    *,
    is_well: bool = False,
    lags: Sequence[int] = (0,),
    zones: Sequence[str] = ZONES,
) -> list[removal.Member]:
    """Return nodes of a shard, the oldest first."""
    good = st.just(True) if is_well else st.booleans()
    return [
        removal.Member(
            node=NodeSpec(node_id=f"demo-{number:03}", zone=draw(st.sampled_from(zones))),
            serves=draw(good),
            is_in_sync=draw(good),
            lag_bytes=draw(st.sampled_from(lags)),
        )
        for number in range(1, draw(st.integers(2, 7)) + 1)
    ]


def zones_of(shard: Iterable[removal.Member]) -> Counter[str]:
    return Counter(member.node.zone for member in shard)


def crowd(shard: Iterable[removal.Member]) -> int:
    return sum(count * count for count in zones_of(shard).values())


def choices(
    shard: Sequence[removal.Member], primary: removal.Member, count: int
) -> list[list[removal.Member]]:
    """Return all that could stay."""
    kept = itertools.combinations(shard, len(shard) - count)
    return [[*some] for some in kept if primary in some]


def part(
    shard: Sequence[removal.Member], gone: Sequence[NodeSpec]
) -> tuple[list[removal.Member], list[removal.Member]]:
    """Return who stays and who goes."""
    ids = {node.node_id for node in gone}
    assert len(ids) == len(gone)
    left = [member for member in shard if member.node.node_id not in ids]
    return left, [member for member in shard if member not in left]


@given(shards(lags=(0, 2)), st.data())
def test_who_has_not_everything_goes_first_and_the_primary_stays(
    shard: list[removal.Member], data: st.DataObject
) -> None:
    primary, count = data.draw(st.sampled_from(shard)), data.draw(st.integers(0, len(shard) - 1))
    found = removal.least_needed(shard, count, primary_id=primary.node.node_id)
    kept, gone = part(shard, found)
    assert len(gone) == count
    assert primary in kept
    kept.remove(primary)
    for stays, goes in itertools.product(kept, gone):
        assert (goes.serves, goes.is_in_sync) <= (stays.serves, stays.is_in_sync)


@given(shards(is_well=True, lags=(0, 0, 2, 5)), st.data())
def test_where_nothing_else_tells_them_apart_the_furthest_behind_goes_then_the_newest(
    shard: list[removal.Member], data: st.DataObject
) -> None:
    primary, count = data.draw(st.sampled_from(shard)), data.draw(st.integers(0, len(shard) - 1))
    kept, gone = part(shard, removal.least_needed(shard, count, primary_id=primary.node.node_id))
    for stays, goes in itertools.product(kept, gone):
        if stays is not primary and stays.node.zone == goes.node.zone:
            assert goes.lag_bytes >= stays.lag_bytes
            assert goes.lag_bytes > stays.lag_bytes or goes.node.node_id > stays.node.node_id


@given(shards(is_well=True), st.data())
def test_zones_are_as_spread_afterwards_as_they_can_be(
    shard: list[removal.Member], data: st.DataObject
) -> None:
    primary, count = data.draw(st.sampled_from(shard)), data.draw(st.integers(0, len(shard) - 1))
    kept, _ = part(shard, removal.least_needed(shard, count, primary_id=primary.node.node_id))
    assert crowd(kept) == min(map(crowd, choices(shard, primary, count)))


@given(shards(zones=ZONES[:2]), st.data())
def test_a_shard_that_needs_a_second_zone_keeps_one_whoever_is_in_it(
    shard: list[removal.Member], data: st.DataObject
) -> None:
    primary, count = data.draw(st.sampled_from(shard)), data.draw(st.integers(0, len(shard) - 1))
    found = removal.least_needed(shard, count, primary_id=primary.node.node_id, is_multi_az=True)
    kept, _ = part(shard, found)
    could = choices(shard, primary, count)
    assert len(zones_of(kept)) == 2 or all(len(zones_of(some)) == 1 for some in could)


@given(shards(), st.data())
def test_zones_that_are_named_are_what_is_left(
    shard: list[removal.Member], data: st.DataObject
) -> None:
    primary, count = data.draw(st.sampled_from(shard)), data.draw(st.integers(0, len(shard) - 1))
    wanted = zones_of(data.draw(st.sampled_from(choices(shard, primary, count))))
    found = removal.least_needed(
        shard, count, primary_id=primary.node.node_id, zones=[*wanted.elements()]
    )
    assert zones_of(part(shard, found)[0]) == wanted


def engine(**said: object) -> NodeFact:
    usual = {
        "version": "9.1.2", "role": Role.REPLICA, "is_held": False, "is_loading": False,
        "is_in_sync": True, "offset": 3 * BACKLOG_BYTES, "used_memory_bytes": 0, "bind": (),
    }  # fmt: skip
    return NodeFact(process=RUNNING, engine=EngineFact(**usual | said))  # type: ignore[arg-type]


def test_what_engines_say_is_how_they_are_taken() -> None:
    facts = {
        "primary": engine(role=Role.PRIMARY, is_in_sync=False),
        "well": engine(),
        "nearly": engine(offset=2 * BACKLOG_BYTES),
        "behind": engine(offset=2 * BACKLOG_BYTES - 1),
        "copies": engine(is_in_sync=False),
        "held": engine(is_held=True),
        "silent": NodeFact(process=RUNNING, engine=Unknown(reason="no answer")),
        "unseen": None,
    }
    nodes = [NodeSpec(node_id=node_id, zone=ZONES[0]) for node_id in facts]
    observed = Observed(nodes={n: fact for n, fact in facts.items() if fact is not None})
    found = removal.members(nodes, observed, frozenset({"well", "silent"}))
    ids = [member.node.node_id for member in found]
    assert ids == [*facts]
    assert [m.node.node_id for m in found if m.is_in_sync] == ["well", "nearly", "behind"]
    assert {m.node.node_id: m.lag_bytes for m in found if m.lag_bytes} == {
        "behind": BACKLOG_BYTES + 1
    }
    assert [m.node.node_id for m in found if m.serves] == ["well", "silent"]
