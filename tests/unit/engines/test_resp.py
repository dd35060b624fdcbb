"""The administrator's connection: which reply belongs to whom, and how a call ends."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from cachewright.engines.resp import (
    CALLS_MAX,
    AdminConnection,
    EngineClosed,
    EngineRefused,
    EngineUnreachable,
)


class Wire(asyncio.Transport):
    """The engine's end of a connection, in memory."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []
        self.is_aborted = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written.append(bytes(data))

    def abort(self) -> None:
        self.is_aborted = True


def talk(conversation: Callable[[AdminConnection, Wire], Awaitable[None]]) -> None:
    """Run a conversation over a fresh connection."""

    async def run() -> None:
        admin, wire = AdminConnection(5.0), Wire()
        admin.connection_made(wire)
        await conversation(admin, wire)

    asyncio.run(run())


async def sent(admin: AdminConnection, *arguments: str) -> asyncio.Task[object]:
    task: asyncio.Task[object] = asyncio.ensure_future(admin.command(*arguments))
    await asyncio.sleep(0)
    return task


def test_replies_go_to_calls_in_order() -> None:
    async def conversation(admin: AdminConnection, wire: Wire) -> None:
        first, second = await sent(admin, "GET", "a"), await sent(admin, "GET", "b")
        assert wire.written == [
            b"*2\r\n$3\r\nGET\r\n$1\r\na\r\n",
            b"*2\r\n$3\r\nGET\r\n$1\r\nb\r\n",
        ]
        admin.data_received(b"$1\r\n1\r\n$1\r")
        assert await first == b"1"
        assert not second.done()
        admin.data_received(b"\n2\r\n")
        assert await second == b"2"

    talk(conversation)


def test_a_pipeline_is_one_write_and_keeps_errors_as_values() -> None:
    async def conversation(admin: AdminConnection, wire: Wire) -> None:
        task = asyncio.ensure_future(admin.pipeline([("A",), ("B", 1), ("C", b"x")]))
        await asyncio.sleep(0)
        assert len(wire.written) == 1
        admin.data_received(b":7\r\n-LOADING wait\r\n*2\r\n$-1\r\n+x\r\n")
        number, error, nested = await task
        assert number == 7
        assert isinstance(error, EngineRefused)
        assert error.code == "LOADING"
        assert str(error) == "LOADING wait"
        assert nested == [None, b"x"]

    talk(conversation)


def test_an_error_is_raised_and_the_connection_stays() -> None:
    async def conversation(admin: AdminConnection, wire: Wire) -> None:
        task = await sent(admin, "SHUTDOWN")
        admin.data_received(b"-ERR Errors trying to SHUTDOWN. Check logs.\r\n")
        with pytest.raises(EngineRefused, match="Errors trying"):
            await task
        assert not admin.is_closed
        assert not wire.is_aborted

    talk(conversation)


def test_megabytes_in_small_pieces() -> None:
    async def conversation(admin: AdminConnection, _: Wire) -> None:
        task = await sent(admin, "CLUSTER", "NODES")
        reply = b"$3000000\r\n" + b"x" * 3_000_000 + b"\r\n"
        for start in range(0, len(reply), 65_536):
            admin.data_received(reply[start : start + 65_536])
        assert await task == b"x" * 3_000_000

    talk(conversation)


def test_a_call_without_an_answer_ends_the_connection() -> None:
    """Its reply could come at any time and be taken for another's."""

    async def conversation(admin: AdminConnection, wire: Wire) -> None:
        other = await sent(admin, "PING")
        with pytest.raises(EngineUnreachable, match=r"no answer within 0\.01 s") as silent:
            await admin.command("PING", timeout_s=0.01)
        assert not isinstance(silent.value, EngineClosed)
        assert wire.is_aborted
        with pytest.raises(EngineUnreachable):
            await other
        with pytest.raises(EngineUnreachable, match="closed"):
            await admin.command("PING")

    talk(conversation)


def test_a_cancelled_call_leaves_the_others_their_replies() -> None:
    async def conversation(admin: AdminConnection, _: Wire) -> None:
        first, second = await sent(admin, "GET", "a"), await sent(admin, "GET", "b")
        first.cancel()
        await asyncio.sleep(0)
        admin.data_received(b"+1\r\n+2\r\n")
        assert await second == b"2"
        assert not admin.is_closed

    talk(conversation)


def test_who_does_not_wait_is_called_once_with_the_replies_or_the_end() -> None:
    async def conversation(admin: AdminConnection, wire: Wire) -> None:
        said: list[object] = []
        admin.send([("PING",), ("GET", "a")], said.append)
        later = await sent(admin, "GET", "b")
        admin.send([("PING",)], said.append)
        assert len(wire.written) == 3
        admin.data_received(b"+PONG\r\n")
        assert said == []
        admin.data_received(b"$1\r\n1\r\n+2\r\n")
        assert said == [[b"PONG", b"1"]]
        assert await later == b"2"
        admin.close()
        admin.close()
        assert len(said) == 2
        assert isinstance(said[1], EngineUnreachable)
        with pytest.raises(EngineUnreachable, match="closed"):
            admin.send([("PING",)], said.append)
        assert len(said) == 2

    talk(conversation)


def test_an_end_by_the_engine_is_told_from_ours() -> None:
    async def conversation(admin: AdminConnection, _: Wire) -> None:
        task = await sent(admin, "SHUTDOWN")
        admin.connection_lost(None)
        with pytest.raises(EngineClosed):
            await task
        assert admin.is_closed

    async def ours(admin: AdminConnection, _: Wire) -> None:
        task = await sent(admin, "SHUTDOWN")
        admin.close()
        admin.connection_lost(None)
        with pytest.raises(EngineUnreachable) as ended:
            await task
        assert not isinstance(ended.value, EngineClosed)

    talk(conversation)
    talk(ours)


@pytest.mark.parametrize(
    "noise", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\x16\x03\x01\x00", b"*-7\r\n"]
)
def test_another_protocol_is_noticed(noise: bytes) -> None:
    async def conversation(admin: AdminConnection, wire: Wire) -> None:
        task = await sent(admin, "PING")
        admin.data_received(noise)
        with pytest.raises(EngineUnreachable, match="protocol"):
            await task
        assert wire.is_aborted

    talk(conversation)


def test_calls_that_wait_are_bounded() -> None:
    async def conversation(admin: AdminConnection, _: Wire) -> None:
        tasks = [await sent(admin, "PING") for _ in range(CALLS_MAX)]
        with pytest.raises(EngineUnreachable, match="wait for an answer"):
            await admin.command("PING")
        admin.data_received(b"+PONG\r\n" * CALLS_MAX)
        assert await asyncio.gather(*tasks) == [b"PONG"] * CALLS_MAX

    talk(conversation)


def test_an_engine_that_speaks_first_has_hung_up() -> None:
    """It says to a newcomer that there are too many clients; anything else is out of order."""

    async def refused(admin: AdminConnection, wire: Wire) -> None:
        admin.data_received(b"-ERR max number of clients reached\r\n")
        assert wire.is_aborted
        with pytest.raises(EngineRefused, match="max number of clients"):
            await admin.command("AUTH", "u", "p")

    async def confused(admin: AdminConnection, wire: Wire) -> None:
        admin.data_received(b"+OK\r\n")
        assert wire.is_aborted
        with pytest.raises(EngineUnreachable):
            await admin.command("PING")

    talk(refused)
    talk(confused)
