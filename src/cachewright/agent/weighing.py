"""What do the slots of a primary hold? Counts of keys, times what some of them take.

Every slot is counted, which costs an engine a fraction of a microsecond; some keys of each slot are
measured. Values that are much larger than others may hide from that: where what was measured leaves
enough of the engine's memory unexplained for a key that is too large to be moved, all keys are gone
through, a few at a time.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Mapping, Sequence

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
            for slot, size, largest in await _measure(owner, slots):
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


async def _measure(owner: Party, slots: Sequence[int]) -> list[tuple[int, int, int]]:
    """Return slot, bytes, and the largest key that was met, of each slot that holds something."""
    keeper = owner.keeper
    measured: list[tuple[int, int, int]] = []
    for first in range(0, len(slots), _SLOTS_AT_ONCE):
        part = slots[first : first + _SLOTS_AT_ONCE]
        counts = await owner.call(functools.partial(keeper.counts, slots=part))
        full = {slot: count for slot, count in zip(part, counts, strict=True) if count}
        measured += await _sample(owner, full)
    return measured


async def _sample(owner: Party, counts: Mapping[int, int]) -> list[tuple[int, int, int]]:
    keeper = owner.keeper
    listed = await owner.call(lambda admin: keeper.keys(admin, [*counts], _SAMPLES))
    names = [*itertools.chain.from_iterable(listed)]
    sizes = iter(await owner.call(lambda admin: keeper.sizes(admin, names)))
    sampled: list[tuple[int, int, int]] = []
    for (slot, count), keys in zip(counts.items(), listed, strict=True):
        mine = [*itertools.islice(sizes, len(keys))]
        if mine:
            sampled.append((slot, sum(mine) * count // len(mine), max(mine)))
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
