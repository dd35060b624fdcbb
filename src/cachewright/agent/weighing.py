"""What do the slots of a primary hold? Counts of keys, times what some of them take.

Every slot is counted, which costs an engine a fraction of a microsecond; some keys are measured. Of
one slot in sixteen first: if these are alike, and so explain what the engine's data takes, that is
enough; else of every slot. Values that are much larger than others may hide from that: where what
was measured leaves enough of the engine's memory unexplained for a key that is too large to be
moved, all keys are gone through, a few at a time.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence

from cachewright.agent.move import party
from cachewright.agent.node import Node
from cachewright.agent.party import Party, while_alive
from cachewright.engines.adapter import EngineRefused, EngineUnreachable
from cachewright.model.commands import WeighSlots
from cachewright.model.facts import SlotWeights
from cachewright.model.moves import LARGEST_KEY_BYTES
from cachewright.model.slots import numbers_of
from cachewright.rpc.agent import CommandFailed

#: Keys that are measured of each slot.
_SAMPLES = 8
#: Of so many slots one is looked into first.
_ONE_OF = 16
#: Keys are alike if the largest that was met is so many times the smallest at most, ...
_ALIKE = 2
#: ... and their mean says what all of them take, but for so much of it.
_UNLIKE_SHARE = 0.1
#: Slots whose keys are asked for in one call.
_SLOTS_AT_ONCE = 128
#: Keys that one step of the search goes through; an engine is busy with them for a millisecond.
_SCAN_COUNT = 500


async def weigh(node: Node, command: WeighSlots) -> None:
    """Write down what the slots of the node hold.

    Raises:
        CommandFailed: it could not be found out.
    """
    launch = node.launch
    owner = party(node, node.name, launch.engine_id, launch.address, launch.port)
    try:
        async with while_alive(node, "weighs nothing"):
            node.weights = await _weigh(owner, command.generation)
    except (EngineRefused, EngineUnreachable) as error:
        raise CommandFailed(f"node {node.name}: {error}") from error
    finally:
        owner.hang_up()


async def _weigh(owner: Party, generation: int) -> SlotWeights:
    keeper = owner.keeper
    view = await owner.call(keeper.view)
    slots = [*numbers_of(view.own_slots)]
    memory = await owner.call(keeper.memory)
    found: dict[int, int] = {}
    stuck: set[int] = set()
    try:
        for owner.database in memory.databases:
            whole = memory.dataset_bytes if len(memory.databases) == 1 else 0
            for slot, size, largest in await _measure(owner, slots, whole):
                found[slot] = found.get(slot, 0) + size
                if largest > LARGEST_KEY_BYTES:
                    stuck.add(slot)
            unexplained = memory.dataset_bytes - sum(found.values())
            if unexplained > LARGEST_KEY_BYTES:
                for slot, size in (await _search(owner)).items():
                    stuck.add(slot)
                    found[slot] = max(found.get(slot, 0), size)
    finally:
        owner.database = 0
    return SlotWeights(
        generation=generation,
        by_slot=tuple(sorted(found.items())),
        stuck=tuple(sorted(stuck)),
    )


async def _measure(
    owner: Party, slots: Sequence[int], whole_bytes: int
) -> list[tuple[int, int, int]]:
    """Return slot, bytes, and the largest key that was met, of each slot that holds something.

    `whole_bytes`: what all of them take together; 0 where nobody knows.
    """
    counts = await _counts(owner, slots)
    met = await _sample(owner, [*counts][::_ONE_OF])
    sizes = [*itertools.chain.from_iterable(met.values())]
    mean = sum(sizes) / max(1, len(sizes))
    if _are_alike(sizes) and _is_near(mean * sum(counts.values()), whole_bytes):
        largest = max(sizes)
        return [(slot, int(mean * count), largest) for slot, count in counts.items()]
    met |= await _sample(owner, [slot for slot in counts if slot not in met])
    return [
        (slot, sum(mine) * counts[slot] // len(mine), max(mine))
        for slot, mine in met.items()
        if mine
    ]


def _are_alike(sizes: Sequence[int]) -> bool:
    """Tell whether keys like these are no reason to look for others."""
    if not sizes:
        return False
    return max(sizes) <= _ALIKE * min(sizes) and _ALIKE * max(sizes) <= LARGEST_KEY_BYTES


def _is_near(estimate: float, whole_bytes: int) -> bool:
    return abs(estimate - whole_bytes) <= _UNLIKE_SHARE * whole_bytes


async def _counts(owner: Party, slots: Sequence[int]) -> dict[int, int]:
    """Return how many keys there are of each slot that holds some."""
    counts = await owner.call(functools.partial(owner.keeper.counts, slots=slots))
    return {slot: count for slot, count in zip(slots, counts, strict=True) if count}


async def _sample(owner: Party, slots: Sequence[int]) -> dict[int, list[int]]:
    """Return what some keys of each slot take."""
    keeper = owner.keeper
    sampled: dict[int, list[int]] = {}
    for first in range(0, len(slots), _SLOTS_AT_ONCE):
        part = slots[first : first + _SLOTS_AT_ONCE]
        listed = await owner.call(functools.partial(keeper.keys, slots=part, limit=_SAMPLES))
        names = [*itertools.chain.from_iterable(listed)]
        sizes = iter(await owner.call(functools.partial(keeper.sizes, keys=names)))
        for slot, keys in zip(part, listed, strict=True):
            sampled[slot] = [*itertools.islice(sizes, len(keys))]
    return sampled


async def _search(owner: Party) -> dict[int, int]:
    """Return the slots that hold a key which is too large to be moved, with what they take."""
    keeper = owner.keeper
    found: dict[int, int] = {}
    cursor = 0
    while True:
        cursor, keys = await owner.call(
            functools.partial(keeper.scan, cursor=cursor, count=_SCAN_COUNT)
        )
        sizes = await owner.call(functools.partial(keeper.sizes, keys=keys))
        for key, size in zip(keys, sizes, strict=True):
            if size > LARGEST_KEY_BYTES:
                slot = await owner.call(functools.partial(keeper.slot_of, key=key))
                found[slot] = found.get(slot, 0) + size
        if not cursor:
            return found
