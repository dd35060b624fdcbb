"""Groups of real engines under one agent: started, admitted and in sync, cluster mode or not."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import secrets
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from cachewright.agent.supervisor import LocalAgent
from cachewright.engines.catalogue import Catalogue
from cachewright.kit.clock import SystemClock
from cachewright.model.commands import AdmitNode, FollowPrimary, Launch, Peer, StartNode
from cachewright.model.engines import EngineName
from cachewright.model.facts import EngineFact, NodeFact, ProcessIdentity, Running
from cachewright.model.slots import split_evenly
from cachewright.model.status import Role
from tests.fault.agent_world import (
    PATIENCE_S,
    end_engines,
    fact_of,
    free_address,
    launch_of,
    until,
)

EPOCH = 1
VALKEY = (EngineName.VALKEY, "9.1")


@contextlib.asynccontextmanager
async def hosting_all(folder: Path) -> AsyncIterator[LocalAgent]:
    """Open an agent that knows every build of this machine; at the end, leave no engine behind."""
    agent = LocalAgent(folder / "nodes", Catalogue(), SystemClock(), start_timeout_s=PATIENCE_S)
    await agent.open()
    try:
        yield agent
    finally:
        agent.close()
        end_engines(folder)


@dataclass
class Group:
    """Nodes by shard; the first of each was started as its primary."""

    agent: LocalAgent
    shards: list[list[Launch]]
    #: Cluster mode disabled: the address that follows the primary.
    endpoint: str | None

    @property
    def is_cluster(self) -> bool:
        return self.endpoint is None

    def launches(self) -> list[Launch]:
        return [launch for shard in self.shards for launch in shard]

    async def engine(self, launch: Launch) -> EngineFact:
        engine = (await fact_of(self.agent, launch.key)).engine
        assert isinstance(engine, EngineFact), engine
        return engine

    async def is_whole(self) -> bool:
        """Tell whether every node answers, and every replica is in sync."""
        facts = await self.agent.observe([launch.key for launch in self.launches()])
        return all(_is_well(fact) for fact in facts.values())


def _is_well(fact: NodeFact) -> bool:
    engine = fact.engine
    if not isinstance(engine, EngineFact) or (engine.cluster and not engine.cluster.is_ok):
        return False
    return engine.role is Role.PRIMARY or engine.is_in_sync


def identity_of(fact: NodeFact) -> ProcessIdentity:
    assert isinstance(fact.process, Running), fact
    return fact.process.identity


def launches_of(
    nodes: int,
    shards: int = 1,
    build: tuple[EngineName, str] = VALKEY,
    *,
    is_cluster: bool = False,
    empty: int = 0,
) -> list[list[Launch]]:
    """Return launches of `shards` shards with `nodes` nodes each.

    And of `empty` more that have a primary alone, which owns no slots.
    """
    made = [
        [
            dataclasses.replace(
                launch_of(f"g.n{shard}-{number}"), engine=build[0], engine_version=build[1]
            )
            for number in range(nodes if shard < shards else 1)
        ]
        for shard in range(shards + empty)
    ]
    if not is_cluster:
        return made
    ids = [[secrets.token_hex(20) for _ in shard] for shard in made]
    slots = [*split_evenly(shards), *((),) * empty]
    peers = tuple(
        Peer(
            engine_id=ids[shard][number],
            address=launch.address,
            port=launch.port,
            role=Role.REPLICA if number else Role.PRIMARY,
            primary_engine_id=ids[shard][0] if number else None,
            slots=() if number else slots[shard],
            epoch=0 if number else shard + 1,
        )
        for shard, launches in enumerate(made)
        for number, launch in enumerate(launches)
    )
    return [
        [
            dataclasses.replace(launch, peers=peers, engine_id=ids[shard][number])
            for number, launch in enumerate(launches)
        ]
        for shard, launches in enumerate(made)
    ]


async def start_group(agent: LocalAgent, shards: list[list[Launch]]) -> Group:
    """Start, admit and wait until all is whole and every primary takes writes."""
    is_cluster = bool(shards[0][0].peers)
    group = Group(agent, shards, None if is_cluster else free_address())
    starts = [agent.execute(StartNode(launch=one), epoch=EPOCH) for one in group.launches()]
    await asyncio.gather(*starts)
    for shard in shards:
        for launch in shard:
            bind: tuple[str, ...] = (launch.address,)
            if group.endpoint is not None and launch is shard[0]:
                bind = (launch.address, group.endpoint)
            elif group.endpoint is not None:
                await agent.execute(_follow(launch, shard[0]), epoch=EPOCH)
            await agent.execute(AdmitNode(key=launch.key, bind=bind), epoch=EPOCH)
    await until(group.is_whole, "a whole group")
    return group


def _follow(launch: Launch, primary: Launch) -> FollowPrimary:
    return FollowPrimary(key=launch.key, address=primary.address, port=primary.port)


async def follow(agent: LocalAgent, launch: Launch, primary: Launch) -> None:
    await agent.execute(_follow(launch, primary), epoch=EPOCH)


def now_ms(since_s: float) -> float:
    return (time.monotonic() - since_s) * 1000
