"""Do clients have the answers to all that they asked before an engine closes their connections?"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path

import hiredis
import pytest

from cachewright.agent import bus, draining, process
from cachewright.agent.supervisor import LocalAgent
from cachewright.engines.home import ClientSeen
from cachewright.engines.resp import AdminConnection
from cachewright.engines.valkey import ValkeyAdapter
from cachewright.engines.valkey_roles import ValkeyRoles
from cachewright.model.commands import BindNode, HandOver, StopNode
from cachewright.model.facts import EngineFact
from tests.fault.agent_groups import (
    EPOCH,
    Group,
    hosting_all,
    identity_of,
    launches_of,
    start_group,
)
from tests.fault.agent_world import (
    PASSWORD,
    PATIENCE_S,
    PORT,
    fact_of,
    hosting,
    launch_of,
    pid_of,
    say,
    start_serving,
)


class Client:
    """A client that asks for something and reads what comes."""

    def __init__(self, address: str) -> None:
        self._socket = socket.create_connection((address, PORT), PATIENCE_S)
        self._reader = hiredis.Reader()

    def send(self, *words: str | int) -> None:
        self._socket.sendall(hiredis.pack_command(words))  # type: ignore[arg-type] # 1-tuple

    def receive(self) -> object:
        """Return the next answer; `None` at the end of the connection."""
        while (reply := self._reader.gets()) is False:
            data = self._socket.recv(65536)
            if not data:
                return None
            self._reader.feed(data)
        return reply

    def ask(self, *words: str | int) -> object:
        self.send(*words)
        return self.receive()

    def is_open(self) -> bool:
        """Tell whether the engine has not closed it; nothing may be on its way."""
        self._socket.setblocking(False)
        try:
            return self._socket.recv(1) != b""
        except BlockingIOError:
            return True
        finally:
            self._socket.settimeout(PATIENCE_S)

    def close(self) -> None:
        self._socket.close()


def test_what_has_come_is_answered_before_the_end(tmp_path: Path) -> None:
    """Told to close, the engine would drop what it has not read."""

    async def work() -> None:
        async with hosting(tmp_path) as agent:
            launch = launch_of()
            pid = await start_serving(agent, launch)
            running = process.adopt(identity_of(await fact_of(agent)))
            assert isinstance(running, process.Process)
            client, other = Client(launch.address), Client(launch.address)
            admin = await ValkeyAdapter().connect(launch.address, PORT, PASSWORD, timeout_s=5)
            try:
                assert client.ask("SET", "n", 0) == b"OK"
                assert other.ask("PING") == b"PONG"
                seen = await _seen(admin, client)
                os.kill(pid, signal.SIGSTOP)
                for _ in range(3):
                    client.send("INCR", "n")
                draining.end_of(seen, running)
                draining.end_of(seen, running)
                os.kill(pid, signal.SIGCONT)
                assert [client.receive() for _ in range(4)] == [1, 2, 3, None]
                assert other.ask("GET", "n") == b"3"
                # The descriptor is somebody else's by now.
                late = Client(launch.address)
                assert late.ask("PING") == b"PONG"
                assert (await _seen(admin, late)).descriptor == seen.descriptor
                draining.end_of(seen, running)
                assert late.ask("PING") == b"PONG"
                assert late.ask("PING") == b"PONG"
                late.close()
            finally:
                os.kill(pid, signal.SIGCONT)
                admin.close()
                client.close()
                other.close()
                running.release()

    asyncio.run(work())


async def _seen(admin: AdminConnection, client: Client) -> ClientSeen:
    place = client._socket.getsockname()
    (seen,) = (one for one in await ValkeyRoles().clients(admin) if one.place == place)
    return seen


def _before(monkeypatch: pytest.MonkeyPatch, act: str, look: Callable[[], None]) -> None:
    """Look at the world once, right before an act on an engine."""
    original = getattr(ValkeyRoles, act)
    has_looked = False

    async def seen(self: ValkeyRoles, admin: AdminConnection, *rest: object) -> object:
        nonlocal has_looked
        if not has_looked:
            has_looked = True
            look()
        return await original(self, admin, *rest)

    monkeypatch.setattr(ValkeyRoles, act, seen)


def _handover(group: Group) -> HandOver:
    primary, replica = group.shards[0]
    assert group.endpoint is not None
    return HandOver(
        key=primary.key,
        to_key=replica.key,
        to_address=replica.address,
        to_port=replica.port,
        is_cluster=False,
        bind=(primary.address,),
        to_bind=(replica.address, group.endpoint),
    )


def test_a_hand_over_lets_clients_go_before_writes_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A write that waits when its connection is closed is never answered."""

    async def work(agent: LocalAgent) -> None:
        group = await start_group(agent, launches_of(2))
        assert group.endpoint is not None
        clients = {name: Client(group.endpoint) for name in ("free", "blocked", "in transaction")}
        assert clients["free"].ask("INCR", "n") == 1
        clients["blocked"].send("BLPOP", "nothing", 0)
        assert clients["in transaction"].ask("MULTI") == b"OK"
        answers: list[object] = []
        stayed: list[str] = []

        def ask() -> None:
            clients["free"].send("INCR", "n")
            clients["free"].send("INCR", "n")

        def look() -> None:
            answers.extend(clients["free"].receive() for _ in range(3))
            stayed.extend(n for n in ("blocked", "in transaction") if clients[n].is_open())
            with pytest.raises(ConnectionRefusedError):
                Client(str(group.endpoint))

        _before(monkeypatch, "clients", ask)
        _before(monkeypatch, "pause_writes", look)
        await agent.execute(_handover(group), epoch=EPOCH)
        assert answers == [2, 3, None]
        assert stayed == ["blocked", "in transaction"]
        assert not any(client.is_open() for client in clients.values())
        assert say(group.endpoint, "INCR", "n") == 4
        for client in clients.values():
            client.close()

    async def hosted() -> None:
        async with hosting_all(tmp_path) as agent:
            await work(agent)

    asyncio.run(hosted())


def test_a_node_that_ends_answers_first_and_lets_nobody_new_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work() -> None:
        async with hosting(tmp_path) as agent:
            launch = launch_of()
            await start_serving(agent, launch)
            client = Client(launch.address)
            assert client.ask("INCR", "n") == 1

            def ask() -> None:
                with pytest.raises(ConnectionRefusedError):
                    Client(launch.address)
                client.send("INCR", "n")
                client.send("INCR", "n")

            _before(monkeypatch, "clients", ask)
            await agent.execute(StopNode(key=launch.key, saves=False), epoch=EPOCH)
            assert [client.receive() for _ in range(3)] == [2, 3, None]
            client.close()

    asyncio.run(work())


def test_who_listens_nowhere_is_found_by_the_next_agent(tmp_path: Path) -> None:
    """The agent died before the engine that it was about to end."""

    async def work() -> None:
        launch = launch_of()
        async with hosting(tmp_path) as agent:
            pid = await start_serving(agent, launch)
            folder = tmp_path / "nodes" / launch.key
            adapter = ValkeyAdapter()
            admin = await adapter.connect("", PORT, PASSWORD, timeout_s=5, folder=folder)
            await adapter.bind(admin, ())
            admin.close()
            agent.close()
            async with hosting(tmp_path) as heir:
                fact = await fact_of(heir)
                assert pid_of(fact) == pid
                assert isinstance(fact.engine, EngineFact)
                assert fact.engine.bind == ()
                bind = BindNode(key=launch.key, bind=(launch.address,))
                await heir.execute(bind, epoch=EPOCH)
                assert say(launch.address, "PING") == "PONG"

    asyncio.run(work())


def test_who_is_not_let_at_the_sockets_changes_roles_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise PermissionError(1, "not permitted")

    async def work() -> None:
        async with hosting_all(tmp_path) as agent:
            group = await start_group(agent, launches_of(2))
            assert group.endpoint is not None
            client = Client(group.endpoint)
            assert client.ask("SET", "n", 0) == b"OK"
            monkeypatch.setattr(bus, "socket_of", refused)
            await agent.execute(_handover(group), epoch=EPOCH)
            assert client.receive() is None
            assert say(group.endpoint, "INCR", "n") == 1
            client.close()

    asyncio.run(work())
