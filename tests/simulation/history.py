"""What has been written, and who has it? A chain of writes, one link each, shared by all copies.

A copy of a shard's data is its newest link; a copy lacks nothing of another one if the other's
newest link is on its chain. That makes a copy one reference, however much was written.
"""

from __future__ import annotations


class Link:
    """One acknowledged write, and all that were there before it."""

    __slots__ = ("before", "depth", "root")

    def __init__(self, before: Link | None) -> None:
        self.before = before
        #: How many writes there are up to this one.
        self.depth: int = depth_of(before) + 1
        #: The first write: copies with different ones have nothing in common.
        self.root: Link = self if before is None else before.root


#: A copy: its newest write, `None` for an empty one.
Copy = Link | None


def depth_of(copy: Copy) -> int:
    """Return how many writes a copy has."""
    return 0 if copy is None else copy.depth


def has_all_of(copy: Copy, other: Copy) -> bool:
    """Tell whether `copy` lacks no write that `other` has."""
    wanted = depth_of(other)
    while copy is not None and copy.depth > wanted:
        copy = copy.before
    return copy is other


def are_strangers(copy: Copy, other: Copy) -> bool:
    """Tell whether `other` has writes and `copy` has not even the first of them."""
    return other is not None and (copy is None or copy.root is not other.root)
