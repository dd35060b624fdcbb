"""Who counts for the majority while slots move? Shards that own some, whoever else there is."""

from __future__ import annotations

import dataclasses

import pytest

from cachewright.model.commands import PromoteNode, Promotion
from cachewright.model.slots import SlotRange
from cachewright.model.status import ShardSlots
from cachewright.plan.election import elections
from cachewright.plan.shard import shards_to_run, view_shard
from tests.property.plan.groups import make_group
from tests.unit.plan.plan_story import Story


def story(owners: int, empty: int) -> Story:
    """Return a cluster in which the first shards own everything and the last ones nothing."""
    one = Story(make_group(shards=owners + empty, replicas=1, cluster_enabled=True))
    engines = one.world.engines
    first = engines["demo-0001-001"]
    for number in range(owners + 1, owners + empty + 1):
        last = engines[f"demo-{number:04d}-001"]
        first.slots, last.slots = (*first.slots, *last.slots), ()
    write_down(one)
    return one


def write_down(one: Story) -> None:
    assert one.status is not None
    owned = tuple(
        ShardSlots(shard_id=engine.place.shard_id, slots=engine.slots)
        for engine in one.world.engines.values()
        if engine.serves_writes()
    )
    one.status = dataclasses.replace(one.status, owned=owned)


def promotions(one: Story) -> list[tuple[str | None, Promotion]]:
    group, observed = one.world.group, one.world.observe()
    views = [view_shard(shard, observed, one.status) for shard in shards_to_run(group)]
    steps = elections(group, views, observed, one.status).values()
    return [(s.node_id, s.command.how) for s in steps if isinstance(s.command, PromoteNode)]


def test_a_shard_without_slots_takes_over_on_its_own_word() -> None:
    """Engines before Valkey 8.0 would never ask for votes there."""
    one = story(owners=3, empty=1)
    one.world.kill("demo-0004-001")
    assert promotions(one) == [("demo-0004-002", Promotion.TAKEOVER)]


@pytest.mark.parametrize(
    ("owners", "empty", "dead", "how"),
    [
        (3, 4, 1, Promotion.FORCE),
        (3, 4, 2, Promotion.TAKEOVER),
        (2, 9, 1, Promotion.TAKEOVER),
        (5, 1, 2, Promotion.FORCE),
    ],
)
def test_the_majority_is_one_of_those_that_own_slots(
    owners: int, empty: int, dead: int, how: Promotion
) -> None:
    one = story(owners, empty)
    for number in range(1, dead + 1):
        one.world.kill(f"demo-{number:04d}-001")
    assert promotions(one) == [("demo-0001-002", how)]


def test_who_got_its_first_slots_since_the_last_look_counts() -> None:
    """Two of three own slots by what was written down, and all three by their own words."""
    one = story(owners=2, empty=1)
    second, third = (one.world.engines[f"demo-000{number}-001"] for number in (2, 3))
    third.slots = (SlotRange(8_000, 8_000),)
    second.slots = tuple(p for p in second.slots if p != third.slots[0])
    one.world.kill("demo-0001-001")
    assert promotions(one) == [("demo-0001-002", Promotion.FORCE)]
