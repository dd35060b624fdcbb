"""How do the members of a Valkey or Redis cluster come to know each other, and who owns what?

Single acts in the engines' words. Each is of one node: what it is told, the others are not, except
through the engines' own gossip.
"""

from __future__ import annotations

from collections.abc import Sequence

from cachewright.engines import cluster_view, nodes_conf, render, resp
from cachewright.engines.home import BusView, Claim
from cachewright.engines.text import check_address, check_port
from cachewright.model.slots import SlotRanges

_UNKNOWN_NODE = "ERR Unknown node"
#: Of a slot of which the answering node knows no owner.
_UNASSIGNED = "is already unassigned"
#: Slots in one write; each takes an engine some microseconds.
_AT_ONCE = 512


class ValkeyCluster:
    """Membership of a cluster, for all versions of Valkey and Redis."""

    map_name = render.NODES_NAME

    def own_slots(self, content: bytes) -> SlotRanges | None:
        """Return what the writer of `map_name` owned by its own word; `None` if it says nothing."""
        if not nodes_conf.own_line(content):
            return None
        try:
            return nodes_conf.parse_own_slots(content)
        except ValueError:
            return None

    def reopened(self, fresh: bytes, before: bytes | None) -> bytes:
        """Return the map to start on, with the moves that were open by the one before."""
        try:
            return cluster_view.reopen(fresh, before or b"")
        except ValueError:
            return fresh  # a file that was cut has nothing to tell

    async def lead(self, admin: resp.AdminConnection) -> None:
        """Make a primary of a node that was started as the replica of nobody; else do nothing."""
        said = await admin.command("CLUSTER", "NODES")
        if not isinstance(said, bytes):
            raise resp.EngineUnreachable("what answers there is not such an engine")
        if nodes_conf.NOBODY_ID.encode("ascii") in nodes_conf.own_line(said):
            await admin.command("CLUSTER", "FAILOVER", "TAKEOVER")
        await self.forget(admin, [nodes_conf.NOBODY_ID])

    async def introduce(
        self, admin: resp.AdminConnection, others: Sequence[tuple[str, int]]
    ) -> None:
        """Meet the nodes at these addresses and ports; whoever is known already stays so."""
        await _all(
            admin,
            [
                (
                    "CLUSTER",
                    "MEET",
                    check_address("address", address),
                    check_port("port", port),
                    nodes_conf.bus_port(port),
                )
                for address, port in others
            ],
        )

    async def forget(self, admin: resp.AdminConnection, engine_ids: Sequence[str]) -> None:
        """Strike these off; who is not known is forgotten already."""
        replies = await admin.pipeline([("CLUSTER", "FORGET", one) for one in engine_ids])
        for reply in replies:
            if isinstance(reply, resp.EngineRefused) and str(reply).startswith(_UNKNOWN_NODE):
                continue
            resp.reply_or_raise(reply)

    async def claim(
        self, admin: resp.AdminConnection, slots: Sequence[int], own_id: str, other_id: str
    ) -> None:
        """Make this node own slots, and let all others know, whoever they think owns them.

        The claim with the highest epoch wins. An engine raises its own, and tells everybody at
        once, only when it ends an import; so the last slot becomes one, from `other_id`. Without
        another one nobody need know.
        """
        for first in range(0, len(slots), _AT_ONCE):
            await _own(admin, slots[first : first + _AT_ONCE])
        if slots and other_id:
            last = slots[-1]
            await self.disclaim(admin, [last])
            opened = ("CLUSTER", "SETSLOT", last, "IMPORTING", other_id)
            await _all(admin, [opened, ("CLUSTER", "SETSLOT", last, "NODE", own_id)])

    async def disclaim(self, admin: resp.AdminConnection, slots: Sequence[int]) -> None:
        """Let a node know no owner of slots; it learns of one through the engines' gossip."""
        replies = await admin.pipeline([("CLUSTER", "DELSLOTS", slot) for slot in slots])
        for reply in replies:
            if isinstance(reply, resp.EngineRefused) and _UNASSIGNED in str(reply):
                continue
            resp.reply_or_raise(reply)

    async def own_claim(self, admin: resp.AdminConnection) -> Claim | None:
        """Return what a primary owns; `None` for a replica."""
        return cluster_view.parse_own_claim(await _nodes(admin))

    async def followed_claim(self, admin: resp.AdminConnection) -> Claim | None:
        """Return what a replica would take over; `None` for a primary."""
        return cluster_view.parse_followed_claim(await _nodes(admin))

    async def bus_view(self, admin: resp.AdminConnection) -> BusView:
        """Return with whom it is connected now."""
        return cluster_view.parse_bus_view(await _nodes(admin))


async def _nodes(admin: resp.AdminConnection) -> bytes:
    said = await admin.command("CLUSTER", "NODES")
    if not isinstance(said, bytes):
        raise resp.EngineUnreachable("what answers there is not such an engine")
    return said


async def _own(admin: resp.AdminConnection, slots: Sequence[int]) -> None:
    """Own slots, also those of which another owner is known."""
    words = (word for slot in slots for word in (("DELSLOTS", slot), ("ADDSLOTS", slot)))
    replies = await admin.pipeline([("CLUSTER", *word) for word in words])
    for forgotten, added in zip(replies[::2], replies[1::2], strict=True):
        if not (isinstance(forgotten, resp.EngineRefused) and _UNASSIGNED in str(forgotten)):
            resp.reply_or_raise(forgotten)
        resp.reply_or_raise(added)


async def _all(
    admin: resp.AdminConnection, commands: Sequence[Sequence[resp.Argument]]
) -> list[resp.Reply]:
    """Send commands in one write; raise the first refusal."""
    return [resp.reply_or_raise(reply) for reply in await admin.pipeline(commands)]
