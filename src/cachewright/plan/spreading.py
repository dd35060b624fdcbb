"""Who shall own which slot? Decided once for a resharding, from what every slot holds.

A slot counts with its bytes, and a little by itself, so that an empty cluster is spread by number.
Shards above the mean give, shards below it take, and none does both; who is near enough to the mean
does neither unless the others need it. What a shard gives is the end of a range where that takes no
more slots than other choices would, else those slots that make it the fewest. Takers come in the
order of their free memory, and whoever owns the slots beside goes first: that joins ranges for
nothing. The same world gives the same answer, and asked again once all is done, it moves nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cachewright.model.status import ShardSlots
from cachewright.plan.slot_board import FIT_MARGIN, Board
from cachewright.plan.slots import Holder


@dataclass(frozen=True, kw_only=True, slots=True)
class Spread:
    """Who shall own what."""

    #: In the order of the holders.
    target: tuple[ShardSlots, ...]
    slots_to_move: int
    bytes_to_move: int
    #: What shards that leave keep, because it cannot be moved: these shards stay.
    stuck: tuple[ShardSlots, ...] = ()
    #: Why it cannot be done at all, for people: then nothing shall move. Empty where it can.
    problem: str = ""


def spread(holders: Sequence[Holder]) -> Spread:
    """Return who shall own what, balanced by bytes, with as few slots moved as that takes."""
    board = Board(holders)
    if board.staying:
        board.deal()
    moved = board.moved()
    return Spread(
        target=board.target(),
        slots_to_move=len(moved),
        bytes_to_move=sum(board.bytes[slot] for slot in moved),
        stuck=tuple(
            found
            for found, holder in zip(board.target(), holders, strict=True)
            if holder.is_leaving and found.slots
        ),
        problem=_problem(board),
    )


def _problem(board: Board) -> str:
    """Return why the data of the shards that leave has no room, empty where it has."""
    size = board.leaving_bytes()
    known = [board.holders[n].headroom_bytes for n in board.staying]
    room = sum(free for free in known if free is not None)
    if board.lacks_room or (None not in known and size * FIT_MARGIN > room):
        return (
            f"the shards to remove hold {size} bytes, which take up to {int(size * FIT_MARGIN)}; "
            f"the shards that stay have {room} bytes free"
        )
    return ""
