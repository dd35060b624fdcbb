"""What engines say of slots, where it is not text that anybody could read."""

from __future__ import annotations

import pytest

from cachewright.engines.resp import EngineUnreachable
from cachewright.engines.slot_replies import epoch_of

#: What `DUMP` of Redis 7.0 answers for `epoch 12`.
PACKED = b"\x00\x08epoch 12\x0a\x00" + bytes(8)


def test_the_epoch_comes_as_a_packed_text() -> None:
    assert epoch_of(PACKED) == 12


@pytest.mark.parametrize("packed", [b"", b"\x00", b"x", PACKED[:6], b"\x00\x05epoch", PACKED[10:]])
def test_whatever_else_comes_is_no_epoch(packed: bytes) -> None:
    with pytest.raises(EngineUnreachable):
        epoch_of(packed)
