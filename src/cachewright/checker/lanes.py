"""How is everything that a group holds watched, whichever shard has it? Lanes over all slots.

Pure. What is moved from shard to shard has no lane of a shard: each lane has a part of the slots,
side by side, and a key in each of them. Every key holds a number before anything is measured, so
that whatever loses a slot is found.
"""

from __future__ import annotations

from cachewright.checker import keys
from cachewright.checker.history import Lane

#: Each has two threads, which wait for one answer at a time: what a shard delays delays nobody
#: else. More of them would wait for each other.
LANES = 8
#: Of one lane where there are no slots.
_KEYS_WITHOUT_SLOTS = 32


def over_everything(
    token: str, *, is_cluster: bool, requests_per_s: float, slots_per_key: int = 1
) -> tuple[Lane, ...]:
    """Return lanes over all slots, or over some keys where cluster mode is disabled.

    Args:
        token: Of this run alone.
        is_cluster: Cluster mode is enabled.
        requests_per_s: How many requests all lanes together send, half of them writes.
        slots_per_key: There is a key in each slot by default, else in one of so many.
    """
    if is_cluster:
        every = keys.key_of_each_slot(token)[::slots_per_key]
    else:
        every = keys.keys_in((), token, LANES * _KEYS_WITHOUT_SLOTS)
    size, step = len(every) // LANES, slots_per_key if is_cluster else 1
    return tuple(
        Lane(
            name=f"{first * step}-{(first + size) * step - 1}",
            keys=every[first : first + size],
            pace_s=2 * LANES / requests_per_s,
            at_once=size,
        )
        for first in range(0, len(every), size)
    )
