"""Every shard of a group has clients of its own, and the one that matters gets most requests."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest
from valkey.crc import key_slot

from cachewright.cli import answers, watching
from cachewright.cli.failures import Failed
from cachewright.model.slots import render_ranges, split_evenly
from tests.unit.cli.cli_values import group, node, shard


def sharded(shards: int, **changed: object) -> answers.Group:
    """Return a group with cluster mode where there is more than one shard."""
    made = tuple(
        dataclasses.replace(
            shard(
                node(f"a-{number}", "primary"),
                node(f"b-{number}", "replica"),
                shard_id=f"{number:04}",
            ),
            slots=render_ranges(part) if shards > 1 else "",
        )
        for number, part in enumerate(split_evenly(shards), start=1)
    )
    ends = answers.Endpoints(primary="127.64.0.3:6379", configuration="[::1]:6380")
    wanted = {"cluster_enabled": shards > 1, "endpoints": ends} | changed
    return group(*made, **wanted)


def test_clients_connect_where_everybody_does() -> None:
    target = watching.target_of(sharded(1))
    assert (target.host, target.port, target.is_cluster) == ("127.64.0.3", 6379, False)
    target = watching.target_of(sharded(2))
    assert (target.host, target.port, target.is_cluster) == ("::1", 6380, True)
    with pytest.raises(Failed, match="`cachewright explain scores`"):
        watching.target_of(sharded(1, endpoints=answers.Endpoints()))


def test_a_lane_has_keys_of_its_shard() -> None:
    for lane, part in zip(watching.lanes_of(sharded(3)), split_evenly(3), strict=True):
        slots = [key_slot(key.encode()) for key in lane.keys]
        assert all(part[0].first <= slot <= part[0].last for slot in slots)
        assert lane.pace_s == watching.PACE_S
    (only,) = watching.lanes_of(sharded(1))
    assert len(only.keys) == len(set(only.keys)) > 1


def test_the_shard_that_matters_is_among_them_and_gets_most_requests() -> None:
    lanes = watching.lanes_of(sharded(90), focus="0080")
    assert len(lanes) == watching.SHARDS_MAX
    assert [lane.name for lane in lanes] == sorted(lane.name for lane in lanes)
    paces = {lane.name: lane.pace_s for lane in lanes}
    assert paces.pop("0080") == watching.PACE_S
    assert sum(2 / pace_s for pace_s in paces.values()) <= 500
    assert min(paces.values()) > watching.PACE_S


def test_two_watchers_use_different_keys() -> None:
    (one,), (other,) = watching.lanes_of(sharded(1)), watching.lanes_of(sharded(1))
    assert set(one.keys).isdisjoint(other.keys)


@pytest.mark.parametrize(
    ("nodes", "status", "is_whole"),
    [
        ((node("a", "primary"), node("b", "replica")), "available", True),
        ((node("a", "primary"), node("b", "replica")), "modifying", False),
        ((node("a", "primary"), node("b", None, "creating")), "available", False),
        ((node("a", "replica"), node("b", "replica")), "available", False),
    ],
)
def test_a_group_is_whole_when_everybody_serves(
    nodes: tuple[answers.Node, ...], status: str, is_whole: bool
) -> None:
    assert watching.is_whole(group(shard(*nodes), status=status)) is is_whole


def looks(*primaries: str | None) -> Callable[[], answers.Group]:
    """Return what gives a whole group with these primaries, or one that is not, look by look."""
    left = list(primaries)

    def look() -> answers.Group:
        primary = left.pop(0) if len(left) > 1 else left[0]
        if primary is None:
            return sharded(1, status="modifying")
        other = "b-1" if primary == "a-1" else "a-1"
        return group(shard(node(primary, "primary"), node(other, "replica")))

    return look


@pytest.mark.parametrize(
    ("primaries", "counted", "primary", "is_recovered"),
    [
        (("a-1", "a-1", "b-1"), 2, "b-1", True),
        (("a-1", None, "b-1"), 2, "b-1", True),
        (("a-1", None, "a-1"), 2, "a-1", True),
        (("a-1", None), 0, "a-1", False),
    ],
    ids=["nobody had noticed", "another one took over", "it came back itself", "never"],
)
def test_a_group_is_waited_for_until_it_is_whole(
    primaries: tuple[str | None, ...], counted: int, primary: str, is_recovered: bool
) -> None:
    calls: list[None] = []
    recovery = watching.wait_until_whole(
        looks(*primaries),
        watching.Struck(shard_id="0001", node_id="a-1"),
        timeout_s=5.0 if is_recovered else 0.2,
        meanwhile=lambda: calls.append(None),
    )
    assert recovery.primary == primary
    assert (recovery.whole_after_s is not None) is is_recovered
    # How often there is time for a look before time is up depends on the machine.
    assert len(calls) == counted if is_recovered else calls
