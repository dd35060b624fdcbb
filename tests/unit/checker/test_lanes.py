"""Lanes of a check cover everything, at the rate that was asked for."""

from __future__ import annotations

import pytest

from cachewright.checker import keys, lanes


@pytest.mark.parametrize(("is_cluster", "count"), [(True, 16_384), (False, 256)])
def test_lanes_share_all_keys_and_the_rate(is_cluster: bool, count: int) -> None:
    made = lanes.over_everything("token", is_cluster=is_cluster, requests_per_s=2_000)
    used = [key for lane in made for key in lane.keys]
    assert len(used) == len(set(used)) == count
    assert sum(2 / lane.pace_s for lane in made) == pytest.approx(2_000)
    assert all(lane.at_once == len(lane.keys) for lane in made)
    assert len({lane.name for lane in made}) == len(made)


def test_a_lane_has_slots_side_by_side_and_says_which() -> None:
    for lane in lanes.over_everything("token", is_cluster=True, requests_per_s=100):
        first, last = map(int, lane.name.split("-"))
        assert [keys.slot_of(key) for key in lane.keys] == list(range(first, last + 1))


def test_fewer_keys_lie_evenly_over_all_slots() -> None:
    made = lanes.over_everything("t", is_cluster=True, requests_per_s=100, slots_per_key=16)
    slots = [keys.slot_of(key) for lane in made for key in lane.keys]
    assert slots == list(range(0, 16_384, 16))
    assert [lane.name for lane in made][:2] == ["0-2047", "2048-4095"]
