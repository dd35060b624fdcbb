"""Does a group go on like any other while its slots are spread, and afterwards?"""

from __future__ import annotations

from cachewright.model.commands import PromoteNode, Promotion
from cachewright.model.groups import Group
from cachewright.model.slots import SLOT_COUNT
from tests.property.plan.groups import make_group
from tests.unit.plan.plan_story import Story


def spread_once() -> Story:
    """Return a cluster of two shards whose resharding found nothing to move."""
    one = Story(make_two())
    one.edit(resharding_generation=2)
    one.run(lambda status: status.resharding is not None and status.resharding.is_over)
    return one


def test_primaries_still_hand_over() -> None:
    one = spread_once()
    before = {node_id: engine.generation for node_id, engine in one.world.engines.items()}
    one.restart_all()
    for _ in range(6):
        one.settle()
        one.wait(5.0)
    after = {node_id: engine.generation for node_id, engine in one.world.engines.items()}
    assert all(after[node_id] > before[node_id] for node_id in before)


def test_a_shard_that_was_emptied_takes_over_on_its_own_word() -> None:
    """What was written down of it counts, not what it began with."""
    one = spread_once()
    giver, taker = (one.world.engines[f"demo-000{number}-001"] for number in (2, 1))
    taker.slots, giver.slots = (*taker.slots, *giver.slots), ()
    one.round()
    one.world.kill(giver.place.node_id)
    steps = [s.command for s in one.look().steps if isinstance(s.command, PromoteNode)]
    assert [command.how for command in steps] == [Promotion.TAKEOVER]


def test_slots_may_move_from_a_primary_that_leaves() -> None:
    """It gave some when a caller asked for fewer replicas; its shard goes on with them."""
    one = Story(make_group(shards=2, replicas=1, cluster_enabled=True))
    giver, taker = (one.world.engines[f"demo-000{number}-001"] for number in (1, 2))
    giver.slots, taker.slots = (*giver.slots, *taker.slots), ()
    one.edit(resharding_generation=2)
    one.run(lambda _: bool(one.world.errands.moves().running))
    one.remove(giver.place.node_id)
    one.run(lambda status: status.resharding is not None and status.resharding.is_over)
    for _ in range(4):
        one.settle()
        one.wait(5.0)
    assert giver.place.node_id not in one.world.engines
    assert sum(map(len, taker.slots)) == SLOT_COUNT // 2


def test_who_may_have_got_slots_is_asked_before_a_takeover() -> None:
    """Without a resharding nobody is: none has ever moved."""
    for one, count in ((spread_once(), 1), (Story(make_two()), 0)):
        one.world.kill("demo-0001-001")
        one.world.tick()
        (command,) = (s.command for s in one.look().steps if isinstance(s.command, PromoteNode))
        place = one.world.engines["demo-0002-001"].place
        assert command.others == ((place.address, place.port),) * count


def make_two() -> Group:
    return make_group(shards=2, replicas=1, cluster_enabled=True)
