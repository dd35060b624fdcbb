"""A process that hosts an agent and is killed in the middle of an act: `mover_child.py FOLDER`.

Takes hold of the engines in the folder, reads one command in JSON from its input, carries it out
and says `done`.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import msgspec

from cachewright.agent.supervisor import LocalAgent
from cachewright.engines.catalogue import Catalogue
from cachewright.kit.clock import SystemClock
from cachewright.model.commands import CloseSlots, MoveSlots


async def main(folder: Path) -> None:
    agent = LocalAgent(folder / "nodes", Catalogue(), SystemClock())
    await agent.open()
    said = await asyncio.to_thread(sys.stdin.readline)
    kind, _, content = said.partition(" ")
    command = msgspec.json.decode(content, type={"move": MoveSlots, "close": CloseSlots}[kind])
    await agent.execute(command, epoch=1)
    sys.stdout.write("done\n")


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
