"""How is a cluster written down before its first start, and what does a node say it owns?

An engine in cluster mode keeps what it knows of the cluster in `nodes.conf`. Nodes that find each
other there need no introduction: the cluster is whole as soon as all of them run, limited only by
the engine's own wait before a fresh primary takes writes (2 s).

Who owns nothing has nothing to wait for. Such a primary is written down as the replica of a node
that does not exist, and takes over from it as soon as it answers: replicas do not wait, and one
that is made a primary does not begin to.

Written for a fresh node only: a file that an engine has written itself may hold a past in which
the node owned slots, and is never used again. `shard-id` is left out, the engines agree on it by
themselves; with a wrong one replicas are not recognised.

Source: the files that Redis 7.0 and Valkey 8.0, 8.1, 9.1 write.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator

from cachewright.engines.text import PORT_MAX, UnusableLaunch, check_address, check_port
from cachewright.model.commands import Launch, Peer
from cachewright.model.slots import SlotRange, SlotRanges, merge
from cachewright.model.status import Role

#: What the engines add to the port for the cluster bus unless they are told otherwise.
BUS_PORT_DISTANCE = 10_000

_ENGINE_ID = re.compile(r"[0-9a-f]{40}")
#: Of the node that does not exist: it has no address, so nobody is ever called there.
NOBODY_ID = "0" * 39 + "1"
_NOBODY_LINE = f"{NOBODY_ID} :0@0 master,noaddr - 0 0 0 disconnected\n"
#: Where the flags of the answering node begin in `CLUSTER NODES`, and the fields before the slots.
_MYSELF = b" myself,"
_FIELDS_BEFORE_SLOTS = 8


def bus_port(port: int) -> int:
    """Return the port of the cluster bus of a node whose clients use `port`.

    10000 above, and below where there is no such port. Nodes that share an address must be
    given ports none of which is the bus port of another.
    """
    above = port + BUS_PORT_DISTANCE
    return above if above <= PORT_MAX else port - BUS_PORT_DISTANCE


def render_nodes_conf(launch: Launch) -> bytes:
    """Return the content of `nodes.conf` for the node that `launch` starts.

    Raises:
        UnusableLaunch: the peers are not a cluster that contains this node.
    """
    _check_peers(launch)
    peers = launch.peers
    lines: list[str] = []
    if owns_nothing(launch):
        peers = tuple(_following_nobody(p) if p.engine_id == launch.engine_id else p for p in peers)
        lines.append(_NOBODY_LINE)
    lines += [_line(peer, is_myself=peer.engine_id == launch.engine_id) for peer in peers]
    epoch = max(peer.epoch for peer in launch.peers)
    lines.append(f"vars currentEpoch {epoch:d} lastVoteEpoch 0\n")
    return "".join(lines).encode("ascii")


def owns_nothing(launch: Launch) -> bool:
    """Tell whether a launch is of a primary that has neither slots nor data, beside others."""
    if launch.loads_saved_data or launch.loads_append_only_file:
        return False
    own = next((peer for peer in launch.peers if peer.engine_id == launch.engine_id), None)
    return own is not None and own.role is Role.PRIMARY and not own.slots


def is_replica(launch: Launch) -> bool:
    """Tell whether a launch is of a replica of a cluster."""
    return any(p.engine_id == launch.engine_id and p.role is Role.REPLICA for p in launch.peers)


def _following_nobody(peer: Peer) -> Peer:
    return dataclasses.replace(peer, role=Role.REPLICA, primary_engine_id=NOBODY_ID)


def own_line(cluster_nodes: bytes) -> bytes:
    """Return the line of the answering node out of a reply to `CLUSTER NODES`, or of its file.

    Searched, not parsed: there can be 500 others. Empty where there is none.
    """
    flags = cluster_nodes.find(_MYSELF)
    if flags < 0:
        return b""
    start = cluster_nodes.rfind(b"\n", 0, flags) + 1
    end = cluster_nodes.find(b"\n", flags)
    return cluster_nodes[start : end if end >= 0 else len(cluster_nodes)]


def parse_own_slots(cluster_nodes: bytes) -> SlotRanges:
    """Return the slots of the answering node out of a reply to `CLUSTER NODES`, or of its file."""
    return parse_slots(own_line(cluster_nodes))


def parse_slots(line: bytes) -> SlotRanges:
    """Return the slots of a node out of its line.

    Slots that are being imported or migrated (in brackets) are owned by their present owner and
    not counted here. A range that is named twice counts once: Valkey 8.0 and 8.1 repeat it after
    somebody asked for CLUSTER SHARDS.
    """
    return merge(frozenset(_owned(line.decode().split()[_FIELDS_BEFORE_SLOTS:])))


def _owned(words: list[str]) -> Iterator[SlotRange]:
    for word in words:
        if not word.startswith("["):
            first, _, last = word.partition("-")
            yield SlotRange(int(first), int(last or first))


def _line(peer: Peer, *, is_myself: bool) -> str:
    role = "master" if peer.role is Role.PRIMARY else "slave"
    words = [
        peer.engine_id,
        f"{peer.address}:{peer.port:d}@{bus_port(peer.port):d}",
        f"myself,{role}" if is_myself else role,
        peer.primary_engine_id or "-",
        "0",  # no ping is under way
        "0",  # no pong has come
        f"{peer.epoch:d}",
        "connected" if is_myself else "disconnected",
        *(_slot_words(peer.slots)),
    ]
    return " ".join(words) + "\n"


def _slot_words(slots: SlotRanges) -> Iterator[str]:
    for part in slots:
        yield str(part) if len(part) > 1 else f"{part.first:d}"


def _check_peers(launch: Launch) -> None:
    primaries = {peer.engine_id: peer for peer in launch.peers if peer.role is Role.PRIMARY}
    for peer in launch.peers:
        if not _ENGINE_ID.fullmatch(peer.engine_id):
            raise UnusableLaunch("a peer's engine id is not 40 hexadecimal characters")
        check_address("a peer's address", peer.address)
        check_port("a peer's port", peer.port)
        is_primary = peer.role is Role.PRIMARY
        if is_primary is not (peer.primary_engine_id is None) or peer.epoch < 0:
            raise UnusableLaunch(f"peer {peer.engine_id} is neither primary nor replica")
        if not is_primary and (peer.slots or peer.primary_engine_id not in primaries):
            raise UnusableLaunch(f"replica {peer.engine_id} has slots of its own or no primary")
    places = {peer.engine_id: (peer.address, peer.port) for peer in launch.peers}
    if len(set(places.values())) != len(launch.peers):
        raise UnusableLaunch("two peers have the same id or the same place")
    if places.get(launch.engine_id) != (launch.address, launch.port):
        raise UnusableLaunch("the peers do not name this node")
    if len({peer.epoch for peer in primaries.values()}) != len(primaries):
        raise UnusableLaunch("two primaries have the same epoch")
    try:
        merge(part for peer in primaries.values() for part in peer.slots)
    except ValueError:
        raise UnusableLaunch("two primaries own the same slot") from None
