"""Groups whose slots move: newcomers, keys in every slot, and whether all of them are there."""

from __future__ import annotations

import dataclasses
import secrets

from cachewright.agent.supervisor import LocalAgent
from cachewright.model.commands import AdmitNode, IntroduceNode, Launch, Peer, StartNode
from cachewright.model.facts import ClusterFact
from cachewright.model.status import Role
from tests.fault.agent_groups import EPOCH, Group
from tests.fault.agent_world import free_address, until


def newcomer_of(group: Group) -> Launch:
    """Return what starts a primary without slots that knows the whole group."""
    model = group.launches()[0]
    address = free_address()
    own = Peer(
        engine_id=secrets.token_hex(20),
        address=address,
        port=model.port,
        role=Role.PRIMARY,
        primary_engine_id=None,
        slots=(),
        epoch=max(peer.epoch for peer in model.peers) + 1,
    )
    return dataclasses.replace(
        model,
        key=f"g.new-{own.engine_id[:4]}",
        address=address,
        peers=(*model.peers, own),
        engine_id=own.engine_id,
    )


async def cluster_of(group: Group, launch: Launch) -> ClusterFact:
    fact = (await group.engine(launch)).cluster
    assert fact is not None
    return fact


async def join(agent: LocalAgent, group: Group, launch: Launch) -> None:
    """Start and introduce a newcomer; return when everybody knows it and it serves."""
    others = group.launches()
    await agent.execute(StartNode(launch=launch), epoch=EPOCH)
    places = tuple((other.address, other.port) for other in others)
    await agent.execute(IntroduceNode(key=launch.key, others=places), epoch=EPOCH)
    group.shards.append([launch])

    async def is_known() -> bool:
        return all([launch.engine_id in (await cluster_of(group, one)).known_ids for one in others])

    await until(is_known, "everybody knows the newcomer")
    await agent.execute(AdmitNode(key=launch.key, bind=(launch.address,)), epoch=EPOCH)
    await until(group.is_whole, "a whole group")
