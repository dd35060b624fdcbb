"""A client that writes to a replica is disconnected at the next look, where that is asked for."""

from __future__ import annotations

import asyncio
import dataclasses
from pathlib import Path

import pytest

from cachewright.agent.supervisor import LocalAgent
from cachewright.model.commands import AdmitNode, ApplySettings, FollowPrimary, Launch, StartNode
from cachewright.model.facts import EngineFact
from tests.contract.engine_lab import Client
from tests.fault.agent_world import fact_of, hosting, launch_of, start_serving, until

SETTING = "close-on-replica-write"


async def serve_replica(agent: LocalAgent, replica: Launch) -> None:
    primary = launch_of("g.n1")
    await start_serving(agent, primary)
    await agent.execute(StartNode(launch=replica), epoch=1)
    follow = FollowPrimary(key=replica.key, address=primary.address, port=primary.port)
    await agent.execute(follow, epoch=1)

    async def in_sync() -> bool:
        engine = (await fact_of(agent, replica.key)).engine
        return isinstance(engine, EngineFact) and engine.is_in_sync

    await until(in_sync, "the replica is in sync")
    await agent.execute(AdmitNode(key=replica.key, bind=(replica.address,)), epoch=1)


async def loses_its_connection(agent: LocalAgent, replica: Launch) -> bool:
    """Tell whether a client that writes is gone after a look."""
    await fact_of(agent, replica.key)
    client = Client(replica.address, replica.port)
    assert "READONLY" in str(client("SET", "k", "v"))
    await fact_of(agent, replica.key)
    try:
        return not isinstance(client("PING"), bytes)
    except OSError:
        return True
    finally:
        client.close()


@pytest.mark.parametrize(("first", "later"), [("yes", "no"), ("no", "yes")])
def test_the_setting_says_whether_and_can_change(tmp_path: Path, first: str, later: str) -> None:
    async def scenario() -> None:
        replica = dataclasses.replace(launch_of("g.n2"), settings=((SETTING, first),))
        async with hosting(tmp_path) as agent:
            await serve_replica(agent, replica)
            for value in (first, later):
                change = ApplySettings(
                    key=replica.key,
                    settings=((SETTING, value),),
                    maxmemory_bytes=replica.maxmemory_bytes,
                )
                await agent.execute(change, epoch=1)
                launched = (await fact_of(agent, replica.key)).launched
                assert launched is not None
                assert (launched.settings, launched.refused) == (change.settings, ())
                assert await loses_its_connection(agent, replica) is (value == "yes")

    asyncio.run(scenario())
