"""A process that hosts an agent and is killed by tests: `agent_child.py FOLDER ADDRESS DEED`.

`serve` starts and admits one node, says its process id and waits; `remove` then stops and
removes it; `save` is told by a line of input to stop it with its data.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from cachewright.model.commands import RemoveNode, StopNode
from tests.fault import agent_world


async def main(folder: Path, address: str, deed: str) -> None:
    """Do as told; never returns for `serve`."""
    agent = agent_world.new_agent(folder)
    await agent.open()
    launch = agent_world.launch_of(address=address)
    sys.stdout.write(f"{await agent_world.start_serving(agent, launch)}\n")
    sys.stdout.flush()
    if deed != "remove":
        await asyncio.to_thread(sys.stdin.readline)
    await agent.execute(StopNode(key=launch.key, saves=deed == "save"), epoch=1)
    await agent.execute(RemoveNode(key=launch.key), epoch=1)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2], sys.argv[3]))
