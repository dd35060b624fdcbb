"""What do tests of the agent need? Addresses, launches, an agent on a folder, a plain client.

Every engine that was started under a folder is ended when `hosting` ends, whatever the test did.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import signal
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import hiredis

from cachewright.agent import process
from cachewright.agent.supervisor import LocalAgent
from cachewright.engines.catalogue import Catalogue
from cachewright.engines.resp import AdminConnection
from cachewright.engines.valkey import ValkeyAdapter
from cachewright.kit import shared_memory
from cachewright.kit.clock import SystemClock
from cachewright.model.commands import AdmitNode, Launch, StartNode
from cachewright.model.engines import EngineName
from cachewright.model.facts import NodeFact, Running
from tests import patience

PORT = 6379
KEY = "abcd1234.store-001"
PASSWORD = "p" * 64
#: Long enough for six workers on two cores; nothing waits this long when all is well.
PATIENCE_S = 15.0


def free_address() -> str:
    """Return a loopback address on which nobody listens; 127.128.0.0/9 is no pool's."""
    for _ in range(100):
        number = secrets.randbelow(120 << 16)
        address = f"127.{128 + (number >> 16)}.{number >> 8 & 255}.{number & 255}"
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind((address, PORT))
            return address
    raise AssertionError("no free address")


def launch_of(key: str = KEY, *, address: str | None = None, loads: bool = False) -> Launch:
    """Return what starts one small node without cluster mode."""
    return Launch(
        key=key,
        engine=EngineName.VALKEY,
        engine_version="9.1",
        address=address or free_address(),
        port=PORT,
        maxmemory_bytes=64 * 1024 * 1024,
        maxclients=400,
        settings=(),
        admin_password=PASSWORD,
        replication_password="r" * 64,
        loads_saved_data=loads,
    )


def embedded_catalogue(folder: Path) -> Catalogue:
    """Return a catalogue that knows the wheel's build alone."""
    return Catalogue(folder / "engines", search_path="", apt_folder=folder / "no-apt")


def new_agent(folder: Path, *, start_timeout_s: float = PATIENCE_S) -> LocalAgent:
    """Return an agent that is not open yet."""
    return LocalAgent(
        folder / "nodes",
        embedded_catalogue(folder),
        SystemClock(),
        start_timeout_s=start_timeout_s,
    )


@contextlib.asynccontextmanager
async def hosting(
    folder: Path, *, start_timeout_s: float = PATIENCE_S
) -> AsyncIterator[LocalAgent]:
    """Open an agent on `folder`; at the end, leave no engine behind."""
    agent = new_agent(folder, start_timeout_s=start_timeout_s)
    await agent.open()
    try:
        yield agent
    finally:
        agent.close()
        end_engines(folder)


def end_engines(folder: Path) -> None:
    """End every process whose standard output is in a node's folder, and free its memory."""
    for output in (folder / "nodes").glob("*/start.log"):
        for identity in process.find_by_output(output):
            with contextlib.suppress(ProcessLookupError):
                os.kill(identity.pid, signal.SIGKILL)
    shared_memory.remove(folder / "nodes")


async def start_serving(agent: LocalAgent, launch: Launch) -> int:
    """Start and admit a node; return the id of its process."""
    await agent.execute(StartNode(launch=launch), epoch=1)
    await agent.execute(AdmitNode(key=launch.key, bind=(launch.address,)), epoch=1)
    return pid_of(await fact_of(agent, launch.key))


async def fact_of(agent: LocalAgent, key: str = KEY) -> NodeFact:
    """Return what the agent knows of one node."""
    return (await agent.observe([key]))[key]


def pid_of(fact: NodeFact) -> int:
    """Return the process id of a running node."""
    assert isinstance(fact.process, Running), fact
    return fact.process.identity.pid


async def until(look: Callable[[], Awaitable[object]], what: str) -> None:
    """Wait until `look` gives something true."""
    began_s = time.monotonic()
    while not await look():
        waited_s = time.monotonic() - began_s
        assert waited_s < PATIENCE_S, f"not within {PATIENCE_S} s: {what}"
        await asyncio.sleep(patience.pause_s(waited_s))


async def slow_down_saving(address: str) -> AdminConnection:
    """Let every snapshot take at least two seconds; return the administrator's connection."""
    admin = await ValkeyAdapter().connect(address, PORT, PASSWORD, timeout_s=5)
    for number in range(100):
        await admin.command("SET", f"key-{number}", "kept")
    await admin.command("CONFIG", "SET", "rdb-key-save-delay", "20000")
    return admin


def say(address: str, *words: str) -> object:
    """Send one command to an engine as any client would; return its reply."""
    reader = hiredis.Reader(encoding="utf-8", errors="replace")
    with socket.create_connection((address, PORT), timeout=PATIENCE_S) as connection:
        parts = "".join(f"${len(word.encode())}\r\n{word}\r\n" for word in words)
        connection.sendall(f"*{len(words)}\r\n{parts}".encode())
        while (reply := reader.gets()) is False:
            data = connection.recv(65536)
            if not data:
                raise ConnectionError("closed")
            reader.feed(data)
    return reply
