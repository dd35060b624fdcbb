"""What engines say of slots, where it is not text that anybody could read."""

from __future__ import annotations

import pytest

from cachewright.engines.resp import EngineUnreachable
from cachewright.engines.slot_replies import epoch_of
from cachewright.engines.slots import MemoryUse

#: What `DUMP` of Redis 7.0 answers for `epoch 12`.
PACKED = b"\x00\x08epoch 12\x0a\x00" + bytes(8)


def test_the_epoch_comes_as_a_packed_text() -> None:
    assert epoch_of(PACKED) == 12


@pytest.mark.parametrize("packed", [b"", b"\x00", b"x", PACKED[:6], b"\x00\x05epoch", PACKED[10:]])
def test_whatever_else_comes_is_no_epoch(packed: bytes) -> None:
    with pytest.raises(EngineUnreachable):
        epoch_of(packed)


def test_a_key_takes_no_more_because_others_were_deleted_meanwhile() -> None:
    """Slots go in groups by what a key takes; each would go alone."""
    memory = MemoryUse(dataset_bytes=1_000_000, keys=1, databases=(0,))
    assert memory.key_bytes([]) == 1_000_000
    assert memory.key_bytes([0, 600, 400]) == 1_000
    assert MemoryUse(dataset_bytes=10, keys=0, databases=()).key_bytes([0]) == 10
