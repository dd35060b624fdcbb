"""Which keys does a lane use? Some whose slots a shard has, or one for each slot that there is.

Pure. Keys begin with `PREFIX` and a token of the run, so that no two runs and no user's data meet;
they have no time to live, for an engine that is full evicts those that have one first.
"""

from __future__ import annotations

import binascii
import itertools

from cachewright.model.slots import SLOT_COUNT, SlotRanges

PREFIX = "cachewright-check"


def slot_of(key: str) -> int:
    """Return the slot of a key without a hash tag."""
    return binascii.crc_hqx(key.encode(), 0) % SLOT_COUNT


def keys_in(slots: SlotRanges, token: str, count: int) -> tuple[str, ...]:
    """Return `count` keys in `slots`, spread as keys are; all slots when there is no range."""
    owned = frozenset(slot for part in slots for slot in range(part.first, part.last + 1))
    candidates = (f"{PREFIX}:{token}:{number}" for number in itertools.count())
    wanted = (key for key in candidates if not slots or slot_of(key) in owned)
    return tuple(itertools.islice(wanted, count))


def key_of_each_slot(token: str) -> tuple[str, ...]:
    """Return a key for every slot, by slot."""
    found: dict[int, str] = {}
    for number in itertools.count():
        key = f"{PREFIX}:{token}:{number}"
        found.setdefault(slot_of(key), key)
        if len(found) == SLOT_COUNT:
            break
    return tuple(found[slot] for slot in range(SLOT_COUNT))
