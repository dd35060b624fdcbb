"""The story of large copies: how many at a time, and from whom."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from cachewright.model.commands import AdmitNode, FollowPrimary, StartNode
from cachewright.model.engines import EngineName
from cachewright.model.groups import NodeSpec
from cachewright.model.status import Role
from cachewright.plan.invariants import violations
from cachewright.plan.shard import view_shard
from cachewright.plan.syncs import BACKLOG_BYTES, LARGE_BYTES, source_id
from tests.property.plan.groups import LINES, make_group
from tests.unit.plan.plan_story import Story, ended, runs, steps

REDIS_7, VALKEY_8, _ = LINES


def growing(line: tuple[EngineName, str] = REDIS_7, *, is_large: bool = True) -> Story:
    """Return a group with a primary and two replicas that is to have one more."""
    one = Story(make_group(shards=1, replicas=2, cluster_enabled=False, line=line))
    for engine in one.world.engines.values():
        engine.memory_bytes = LARGE_BYTES if is_large else LARGE_BYTES - 1
    one.change(lambda nodes: (*nodes, NodeSpec(node_id="demo-new", zone="us-east-1a")))
    return one


def followed(one: Story, rounds: int = 12) -> list[str]:
    """Go on; return whom the new node is told to follow, in order, and when it is admitted."""
    told: list[str] = []
    names = {e.place.address: node_id for node_id, e in one.world.engines.items()}
    for _ in range(rounds):
        plan = one.look()
        assert violations(one.world.group, one.world.observe(), plan) == ()
        for step in one.round().steps:
            names |= {e.place.address: node_id for node_id, e in one.world.engines.items()}
            if step.node_id == "demo-new" and isinstance(step.command, FollowPrimary):
                told.append(names[step.command.address])
            if step.node_id == "demo-new" and isinstance(step.command, AdmitNode):
                told.append("admitted")
    return told


def test_a_large_copy_comes_from_a_sibling_and_goes_on_with_the_primary() -> None:
    one = growing()
    assert followed(one) == ["demo-002", "demo-001", "admitted"]


def test_a_small_copy_comes_from_the_primary() -> None:
    assert followed(growing(is_large=False)) == ["demo-001", "admitted"]


def test_engines_with_a_channel_for_copies_take_them_from_the_primary() -> None:
    assert followed(growing(VALKEY_8)) == ["demo-001", "admitted"]


def test_a_sibling_that_is_down_is_not_copied_from() -> None:
    one = growing()
    one.round()
    one.world.kill("demo-002")
    assert followed(one)[0] == "demo-003"


def test_a_copy_whose_source_ends_is_taken_from_another_one() -> None:
    one = growing()
    told = followed(one, rounds=2)
    new = one.world.engines["demo-new"]
    while not told:
        told = followed(one, rounds=1)
    assert told == ["demo-002"]
    new = one.world.engines["demo-new"]
    new.is_in_sync, new.lineage = False, "of its own"
    one.world.kill("demo-002")
    assert followed(one)[0] == "demo-003"


def test_who_has_lost_its_primary_during_a_copy_follows_the_next_one() -> None:
    one = growing()
    told: list[str] = []
    while not told:
        told = followed(one, rounds=1)
    one.world.kill("demo-001")
    rest = followed(one, rounds=20)
    assert rest[-1] == "admitted"
    engines = one.world.engines
    primary = next(n for n, e in engines.items() if e.serves_writes())
    assert engines["demo-new"].follows == primary


def _be_older(one: Story) -> None:
    engine = one.world.engines["demo-002"]
    assert engine.launched is not None
    engine.launched = msgspec.structs.replace(engine.launched, engine_version="6.2")


def _has_lost_its_link(one: Story) -> None:
    one.world.engines["demo-002"].is_in_sync = False


def _follows_the_other_one(one: Story) -> None:
    one.world.engines["demo-002"].follows = "demo-003"


def _is_far_behind(one: Story) -> None:
    one.world.engines["demo-001"].shift = BACKLOG_BYTES + 1


def _is_held(one: Story) -> None:
    one.world.engines["demo-002"].is_held = True


def _has_begun_with(source_id: str) -> Callable[[Story], None]:
    def begin(one: Story) -> None:
        new = one.world.engines["demo-new"]
        new.role, new.follows = Role.REPLICA, source_id

    return begin


def _serves(one: Story) -> None:
    _has_begun_with("demo-003")(one)
    one.world.engines["demo-new"].is_held = False


@pytest.mark.parametrize(
    ("change", "wanted"),
    [
        (lambda _: None, "demo-002"),
        (_be_older, "demo-003"),
        (_has_lost_its_link, "demo-003"),
        (_follows_the_other_one, "demo-003"),
        (_is_held, "demo-003"),
        (_is_far_behind, "demo-001"),
        (_has_begun_with("demo-003"), "demo-003"),
        (_has_begun_with("demo-001"), "demo-001"),
        (_serves, "demo-001"),
    ],
)
def test_whom_a_new_replica_copies_from(change: Callable[[Story], None], wanted: str) -> None:
    one = growing()
    while "demo-new" not in one.world.engines or one.world.engines["demo-new"].launched is None:
        one.round()
    change(one)
    placement, observed = one.world.group.placement, one.world.observe()
    assert placement is not None
    view = view_shard(one.world.group.spec.shards[0], observed, one.status)
    assert source_id(placement, view, observed, "demo-new") == wanted


def test_large_shards_let_one_replica_of_a_host_change_at_a_time() -> None:
    one = Story(make_group(shards=3, replicas=1, cluster_enabled=True, line=REDIS_7))
    one.edit(engine=VALKEY_8[0], engine_version=VALKEY_8[1])
    assert ended(one.look()) == [f"demo-000{shard}-002" for shard in (1, 2, 3)]
    for engine in one.world.engines.values():
        engine.memory_bytes = LARGE_BYTES
    assert ended(one.look()) == ["demo-0001-002"]
    one.round()
    plan = one.look()
    assert (ended(plan), len(steps(plan, StartNode))) == ([], 1)


def test_a_replica_that_copies_much_does_not_wait_for_its_own_copy() -> None:
    """It was started as what it ran before, and the build of the new version came meanwhile."""
    one = Story(make_group(shards=1, replicas=2, cluster_enabled=False, line=REDIS_7))
    for engine in one.world.engines.values():
        engine.memory_bytes = LARGE_BYTES
    one.edit(engine=VALKEY_8[0], engine_version=VALKEY_8[1])
    one.world.is_build_here = False
    for node_id in ("demo-002", "demo-003"):
        one.world.kill(node_id)
    one.round()
    assert runs(one)["demo-002"] == "7.0"
    assert ended(one.look()) == ["demo-002"]
    for _ in range(40):
        one.round()
    assert set(runs(one).values()) == {"8.1"}
