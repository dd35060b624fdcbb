"""What does one node say of its cluster? Reads `CLUSTER NODES`.

A reply has a line for each node, up to 500, and every node is asked at every look: so lines are
cut, not parsed, and views that are equal share one set of ids. Only the answering node's own line
is read in full.

Source: cluster-nodes of the engines' documentation; Redis 7.0, Valkey 8.0, 8.1, 9.1.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass

from cachewright.engines.home import BusView, Claim
from cachewright.engines.nodes_conf import own_line, parse_own_slots, parse_slots
from cachewright.model.facts import OpenSlot
from cachewright.model.slots import SLOT_COUNT, SlotRanges, numbers_of

_ID_LENGTH = 40
#: Of a node that was met and has not said who it is: its id is made up for the time being.
_HANDSHAKE = "handshake"
_FLAGS_FIELD = 2
#: The flags of an answering node that is a primary.
_PRIMARY = b" myself,master "
#: The state of the link is the last word of a node without slots: `connected`, `disconnected`.
_LINK_STATE = "connected"
_LINK_FIELD = 7
#: The id of a replica's primary, and the config epoch of a primary.
_FOLLOWED_FIELD = 3
_EPOCH_FIELD = 6
_OPEN_SLOT = re.compile(rb"\[([0-9]{1,5})-([<>])-([0-9a-f]{40})\]")
#: How many different sets of ids are kept for sharing: a few for each cluster of the host.
_SETS_SHARED = 256


@dataclass(frozen=True, kw_only=True, slots=True)
class View:
    """What is read from `CLUSTER NODES`: fields of `ClusterFact`, and the node's role."""

    own_id: str
    own_slots: SlotRanges
    known_ids: frozenset[str]
    owner_ids: frozenset[str]
    open_slots: tuple[OpenSlot, ...]
    is_primary: bool


def parse_own_claim(cluster_nodes: bytes) -> Claim | None:
    """Return what the answering node says of itself; `None` for a replica."""
    mine = own_line(cluster_nodes)
    return _claim(mine) if _PRIMARY in mine else None


def parse_followed_claim(cluster_nodes: bytes) -> Claim | None:
    """Return what the answering node, a replica, knows of its primary; `None` if it is none."""
    followed_id = own_line(cluster_nodes).split(b" ")[_FOLLOWED_FIELD]
    if len(followed_id) != _ID_LENGTH:
        return None
    lines = cluster_nodes.splitlines()
    return next((_claim(line) for line in lines if line.startswith(followed_id)), None)


def _claim(line: bytes) -> Claim:
    return Claim(epoch=_epoch_in(line), slots=parse_slots(line))


def _epoch_in(line: bytes) -> int:
    return int(line.split(b" ")[_EPOCH_FIELD])


def parse_view(cluster_nodes: bytes) -> View:
    """Return what the answering node knows of itself and the others."""
    text = cluster_nodes.decode("ascii")
    lines = text.splitlines()
    if _HANDSHAKE in text:
        lines = [line for line in lines if _HANDSHAKE not in line.split(" ", 3)[_FLAGS_FIELD]]
    own_slots = parse_own_slots(cluster_nodes)
    mine = own_line(cluster_nodes)
    own_id = mine[:_ID_LENGTH].decode("ascii")
    owners = {line[:_ID_LENGTH] for line in lines if not line.endswith(_LINK_STATE)}
    if not own_slots:
        owners.discard(own_id)  # its line may end with open slots
    return View(
        own_id=own_id,
        own_slots=own_slots,
        known_ids=_shared(frozenset([line[:_ID_LENGTH] for line in lines])),
        owner_ids=_shared(frozenset(owners)),
        open_slots=tuple(
            OpenSlot(slot=int(slot), peer_id=peer_id.decode("ascii"), is_import=way == b"<")
            for slot, way, peer_id in _OPEN_SLOT.findall(mine)
        ),
        is_primary=_PRIMARY in mine,
    )


def reopen(fresh: bytes, before: bytes) -> bytes:
    """Return the map `fresh` with the moves that a node had begun and not ended by its map before.

    An engine that loads keys of a slot which another one owns deletes them (Valkey), unless its map
    says that they are on their way. Moves that `fresh` makes impossible are left out.
    """
    mine, now = own_line(fresh), parse_view(fresh)
    own = frozenset(numbers_of(now.own_slots))
    words = [
        b"[%d-%s-%s]" % (one.slot, b"<" if one.is_import else b">", one.peer_id.encode("ascii"))
        for one in parse_view(before).open_slots
        if one.peer_id in now.known_ids and one.is_import is (one.slot not in own)
    ]
    return fresh.replace(mine, b" ".join([mine, *words])) if words else fresh


def parse_epoch(cluster_nodes: bytes, engine_id: str) -> int:
    """Return the config epoch of a node, as far as the answering one knows; -1 if it does not."""
    wanted = engine_id.encode("ascii")
    lines = (line for line in cluster_nodes.splitlines() if line.startswith(wanted))
    return next((_epoch_in(line) for line in lines), -1)


def parse_bus_view(cluster_nodes: bytes) -> BusView:
    """Return with whom the answering node is connected, and what could come of an election."""
    lines = [line.split(" ") for line in cluster_nodes.decode("ascii").splitlines()]
    return BusView(
        linked_ids=frozenset(line[0] for line in lines if line[_LINK_FIELD] == _LINK_STATE),
        owner_ids=parse_view(cluster_nodes).owner_ids,
    )


def parse_unowned(cluster_nodes: bytes) -> frozenset[int]:
    """Return the slots that nobody owns, as far as the answering node knows."""
    lines = [line.split(b" ")[_LINK_FIELD + 1 :] for line in cluster_nodes.splitlines()]
    bounds = (
        word.partition(b"-") for words in lines for word in words if not word.startswith(b"[")
    )
    owned = (
        slot for first, _, last in bounds for slot in range(int(first), int(last or first) + 1)
    )
    return frozenset(range(SLOT_COUNT)).difference(owned)


@functools.lru_cache(maxsize=_SETS_SHARED)
def _shared(ids: frozenset[str]) -> frozenset[str]:
    """Return the same object for equal sets: all nodes of a cluster name the same ids."""
    return ids
