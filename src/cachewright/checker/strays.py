"""Do keys lie where no client finds them? Asks each primary itself, beside what clients do.

A key in a slot that its node does not own is shown to nobody: a copy that a move left behind, or
one that was never fetched. While slots move that is as it should be, so this is a question for the
time after.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator

from cachewright.checker import pipes
from cachewright.checker.pipes import Place
from cachewright.model.slots import SLOT_COUNT

#: Of one answer of a node: it counts what it holds in some slots within milliseconds.
_ANSWER_TIMEOUT_S = 5.0
#: What is given away is removed piece by piece, for the sake of who waits.
_LOOK_AGAIN_S = 0.2
#: Of a line of CLUSTER NODES: who, where, which roles, and after five others the slots.
_PLACE, _FLAGS, _SLOTS = 1, 2, 8


class _Unknown(Exception):
    """A node does not say what is asked."""


def count(place: Place, *, timeout_s: float) -> int | None:
    """Return how many keys lie on primaries that do not own their slot, all of them together.

    Args:
        place: Any node of the cluster.
        timeout_s: How long to look again until there is none.

    Returns:
        `None` where somebody could not be asked.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        found = _counted(place)
        if found == 0 or time.monotonic() >= deadline:
            return found
        time.sleep(_LOOK_AGAIN_S)


def _counted(place: Place) -> int | None:
    try:
        primaries = _primaries(_shown(place))
        return sum(_held(primary, owned) for primary, owned in primaries)
    except (OSError, _Unknown):
        return None


def _shown(place: Place) -> str:
    (shown,) = _ask(place, (("CLUSTER", "NODES"),))
    if not isinstance(shown, bytes):
        raise _Unknown
    return shown.decode()


def _held(primary: Place, owned: frozenset[int]) -> int:
    """Return how many keys a node holds beside those of its slots."""
    others = (slot for slot in range(SLOT_COUNT) if slot not in owned)
    answers = _ask(primary, tuple(("CLUSTER", "COUNTKEYSINSLOT", slot) for slot in others))
    counts = [answer for answer in answers if isinstance(answer, int)]
    if len(counts) < len(answers):
        raise _Unknown
    return sum(counts)


def _ask(place: Place, commands: tuple[tuple[str | int, ...], ...]) -> list[object]:
    packed = [pipes.packed(words) for words in commands]
    return pipes.ask(place, packed, timeout_s=_ANSWER_TIMEOUT_S)


def _primaries(shown: str) -> Iterator[tuple[Place, frozenset[int]]]:
    """Give where primaries listen and the slots that they own, also those that own none."""
    for fields in map(str.split, shown.splitlines()):
        if "master" in fields[_FLAGS].split(","):
            host, _, port = fields[_PLACE].partition("@")[0].rpartition(":")
            # What stands in brackets is on its way from or to somebody.
            ranges = (text for text in fields[_SLOTS:] if not text.startswith("["))
            yield Place(host, int(port)), frozenset(itertools.chain(*map(_slots, ranges)))


def _slots(text: str) -> range:
    first, _, last = text.partition("-")
    return range(int(first), int(last or first) + 1)
