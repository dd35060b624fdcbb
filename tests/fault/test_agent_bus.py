"""Do the links of the engine that takes over send at once, and nothing else of it?"""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

from cachewright.agent import bus, process
from cachewright.engines.nodes_conf import bus_port
from tests.fault.agent_groups import hosting_all, identity_of, launches_of, start_group
from tests.fault.agent_world import fact_of

SHARDS, REPLICAS = 2, 1


def delays(running: process.Process) -> dict[tuple[str, int], bool]:
    """Return for each connected socket of a process, by its peer, whether it may hold data back."""
    found: dict[tuple[str, int], bool] = {}
    for number in bus._sockets(running.identity.pid):
        with socket.socket(fileno=bus._copy(running.pidfd, number)) as link:
            peer = bus.peer_of(link)
            if peer is not None:
                found[peer] = not link.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    return found


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_the_links_to_the_other_engines_send_at_once(tmp_path: Path) -> None:
    async def work() -> None:
        async with hosting_all(tmp_path) as agent:
            group = await start_group(agent, launches_of(1 + REPLICAS, SHARDS, is_cluster=True))
            launch = group.shards[0][1]
            running = process.adopt(identity_of(await fact_of(agent, launch.key)))
            assert isinstance(running, process.Process)
            try:
                others = {(p.address, bus_port(p.port)) for p in launch.peers}
                before = delays(running)
                links = others & before.keys()
                assert len(links) == SHARDS * (1 + REPLICAS) - 1
                assert all(before[link] for link in links), "the engine does it itself by now"
                assert bus.quicken(running, launch) == len(links)
                after = delays(running)
                assert {p for p, waits in before.items() if waits and not after.get(p)} == links
                assert bus.quicken(running, launch) == len(links)
            finally:
                running.release()

    asyncio.run(work())


def test_what_is_no_socket_any_more_and_who_has_ended_cost_nothing(tmp_path: Path) -> None:
    async def work() -> None:
        async with hosting_all(tmp_path) as agent:
            group = await start_group(agent, launches_of(2, 1, is_cluster=True))
            launch = group.shards[0][1]
            running = process.adopt(identity_of(await fact_of(agent, launch.key)))
            assert isinstance(running, process.Process)
            before = open_descriptors()
            assert not bus._quicken_one(running.pidfd, 0, set())  # /dev/null
            assert not bus._quicken_one(running.pidfd, 1 << 16, set())  # not open
            assert open_descriptors() == before
            await running.kill()
            assert bus.quicken(running, launch) == 0

    asyncio.run(work())
