"""Who owns which slot, and who knows whom? What the engines of a cluster agree on.

The agreement is one for all: gossip is quicker than anybody's look. It outlives engines, as long as
one of their cluster lives that has heard of it; a primary that starts must claim what its shard
owned, or two would serve a slot, or none.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from cachewright.model.facts import OpenSlot
from cachewright.model.slots import SLOT_COUNT, SlotRange, SlotRanges, ranges_of
from tests.simulation.engine import Engine
from tests.simulation.judge import Judge

#: Whoever forgets a node hears nothing of it from others for so long, seconds.
_DEAF_S = 60.0


def set_of(ranges: Iterable[SlotRange]) -> frozenset[int]:
    """Return the slots of some ranges."""
    return frozenset(slot for part in ranges for slot in range(part.first, part.last + 1))


class Slots:
    """The slots of every cluster on the host, by group and shard."""

    def __init__(self, judge: Judge) -> None:
        self._judge = judge
        self._owned: dict[str, dict[str, SlotRanges]] = {}
        #: The engine id of the last primary of each shard.
        self._primaries: dict[str, str] = {}

    def of(self, shard: str) -> SlotRanges:
        """Return what a shard owns."""
        return self._owned.get(shard.partition("/")[0], {}).get(shard, ())

    def owners(self, uid: str) -> list[str]:
        """Return the shards of a group that own slots."""
        return [shard for shard, slots in self._owned.get(uid, {}).items() if slots]

    def all_of(self, uid: str) -> Mapping[str, SlotRanges]:
        """Return what each shard of a group owns."""
        return self._owned.get(uid, {})

    def begin(self, engine: Engine, slots: SlotRanges) -> None:
        """A primary starts with a map: it says what the shard owns, if nobody has before."""
        shards = self._owned.setdefault(engine.uid, {})
        known = shards.get(engine.shard)
        if known is not None and not set_of(known) <= set_of(slots):
            self._judge.blame(
                f"{engine.key} starts with {len(set_of(slots))} slots, "
                f"and its shard owned {len(set_of(known))}"
            )
        shards[engine.shard] = slots
        self.leads(engine)
        claimed = [slot for owned in shards.values() for slot in set_of(owned)]
        if len(claimed) != len(set(claimed)):
            self._judge.blame(f"slots of {engine.uid} are owned twice, since {engine.key} began")

    def leads(self, engine: Engine) -> None:
        """A node is the primary of its shard."""
        self._primaries[engine.shard] = engine.launch.engine_id

    def owner_ids(self, uid: str) -> frozenset[str]:
        """Return the engine ids of those that own slots."""
        return frozenset(self._primaries[shard] for shard in self.owners(uid))

    def let_go(self, shard: str, slots: frozenset[int]) -> None:
        """Nobody owns some slots of a shard any more."""
        shards = self._owned[shard.partition("/")[0]]
        shards[shard] = ranges_of(sorted(set_of(shards[shard]) - slots))

    def claim(self, shard: str, slots: frozenset[int]) -> None:
        """A shard owns slots that nobody owned."""
        shards = self._owned[shard.partition("/")[0]]
        if any(set_of(owned) & slots for owned in shards.values()):
            self._judge.blame(f"{shard} claims slots that somebody owns")
        shards[shard] = ranges_of(sorted(set_of(shards[shard]) | slots))

    def change(self, giver: str, taker: str, slots: frozenset[int]) -> None:
        """Slots have moved from one shard to another."""
        shards = self._owned[giver.partition("/")[0]]
        shards[giver] = ranges_of(sorted(set_of(shards[giver]) - slots))
        shards[taker] = ranges_of(sorted(set_of(shards[taker]) | slots))

    def drop(self, shard: str) -> None:
        """Nothing is left of a shard."""
        shards = self._owned.get(shard.partition("/")[0], {})
        if shards.pop(shard, ()):
            self._judge.blame(f"{shard} is gone, and it owned slots")
        self._primaries.pop(shard, None)

    def forget(self, uid: str) -> None:
        """A group is gone."""
        for shard in self._owned.pop(uid, {}):
            self._primaries.pop(shard, None)

    def problems(self, uid: str) -> Iterator[str]:
        """Yield what is wrong with the slots of a group at rest."""
        owned = self._owned.get(uid, {})
        count = sum(len(part) for slots in owned.values() for part in slots)
        if owned and count != SLOT_COUNT:
            yield f"{count} slots of {uid} have an owner"


def open_slots_of(engine: Engine) -> tuple[OpenSlot, ...]:
    """Return what a node says of moves that were begun and not ended."""
    return tuple(
        OpenSlot(slot=slot, peer_id=peer_id, is_import=is_import)
        for slot, (peer_id, is_import) in sorted(engine.opened.items())
    )


def known_to(engine: Engine, cluster: Iterable[Engine], now_s: float) -> frozenset[str]:
    """Return who a node knows, with what those have told that it knows and that know it."""
    own_id = engine.launch.engine_id
    for other in cluster:
        is_friend = other.launch.engine_id in engine.known and own_id in other.known
        if other.known is not engine.known and is_friend and other.hang is None:
            deaf = {i for i, until_s in engine.forgotten.items() if until_s > now_s}
            told = engine.known | (other.known - deaf)
            if told != engine.known:
                engine.known = told
            elif told == other.known:
                engine.known = other.known
    return engine.known


def meet(one: Engine, other: Engine) -> None:
    """Let two nodes know each other."""
    if one.is_alive and other.is_alive and one.hang is None and other.hang is None:
        one.known |= {other.launch.engine_id}
        other.known |= {one.launch.engine_id}


def forget(engine: Engine, engine_ids: Iterable[str], now_s: float) -> None:
    """Strike nodes off what a node knows."""
    gone = frozenset(engine_ids)
    engine.known -= gone
    engine.forgotten |= dict.fromkeys(gone, now_s + _DEAF_S)
