"""Which slots stay where, and what is said of them?"""

from __future__ import annotations

from cachewright.model.slots import ranges_of
from cachewright.model.status import Resharding, ShardSlots
from cachewright.plan import change_texts


def said(stuck: set[int], **slots: set[int]) -> list[str]:
    resharding = Resharding(
        generation=2,
        target=tuple(
            ShardSlots(shard_id=name, slots=ranges_of(sorted(owned)))
            for name, owned in slots.items()
        ),
        stuck=ranges_of(sorted(stuck)),
    )
    return list(change_texts.of_stuck(resharding))


def test_a_slot_is_named_with_its_shard_and_what_helps() -> None:
    assert said({7}, a={1, 2, 3}, b={7}) == [
        "Slot 7 stays on node group b: it holds a key of more than 256 MB; delete or split it and "
        "ask again"
    ]
    assert said(set(), a={1, 2, 3}) == []


def test_many_slots_are_told_for_each_shard_and_some_are_named() -> None:
    first, second = said({1, 3, *range(20, 33)}, a={1, 2, 3}, b={*range(10, 40)})
    assert first.startswith("Slots 1, 3 stay on node group a: each holds a key")
    assert "27, 28, 29 and 3 more stay on node group b" in second
