"""Keys of a check go where they should."""

from __future__ import annotations

from valkey.crc import key_slot

from cachewright.checker import keys
from cachewright.model.slots import parse_ranges, split_evenly


def test_keys_have_slots_of_the_ranges_and_are_all_different() -> None:
    for ranges in (*split_evenly(3), parse_ranges("5,100-199,16383")):
        found = keys.keys_in(ranges, "token", 20)
        assert len(set(found)) == 20
        slots = [key_slot(key.encode()) for key in found]
        assert all(any(part.first <= slot <= part.last for part in ranges) for slot in slots)
        assert slots == [keys.slot_of(key) for key in found]


def test_without_ranges_any_key_will_do() -> None:
    found = keys.keys_in((), "token", 3)
    assert found == tuple(f"cachewright-check:token:{n}" for n in range(3))
    assert keys.keys_in((), "other", 1) != found[:1]


def test_every_slot_has_one_key() -> None:
    found = keys.key_of_each_slot("token")
    assert [key_slot(key.encode()) for key in found] == list(range(16_384))
