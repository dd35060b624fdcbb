"""A connection to a memcached: what it is told, and how a question ends that goes wrong."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

import pytest

from cachewright.engines.memcached import MemcachedAdapter
from cachewright.engines.memcached_admin import MemcachedConnection, open_connection
from cachewright.engines.resp import EngineClosed, EngineRefused, EngineUnreachable

Conversation = Callable[[MemcachedConnection], Awaitable[None]]


def talk(conversation: Conversation, *answers: bytes, timeout_s: float = 5.0) -> list[bytes]:
    """Hold a conversation with a server that gives these answers; return what it was asked."""
    asked: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            for answer in answers:
                if answer or len(answers) == 1:
                    asked.append(await reader.readline())
                writer.write(answer)
            if answers[-1]:
                await reader.read()  # until the other side has closed
        writer.close()
        over.set()

    over = asyncio.Event()

    async def run() -> None:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        address, port = server.sockets[0].getsockname()
        async with server:
            admin = await open_connection(address, port, tls=None, timeout_s=timeout_s)
            try:
                await conversation(admin)
            finally:
                admin.close()
            async with asyncio.timeout(5.0):
                await over.wait()

    asyncio.run(run())
    return asked


def test_stats_are_read_to_their_end_and_in_turn() -> None:
    async def conversation(admin: MemcachedConnection) -> None:
        first, second = await asyncio.gather(admin.stats(), admin.stats("settings"))
        assert first == {"bytes": "7", "version": "1.6.38"}
        assert second == {"inter": "127.0.0.1", "ssl_key": "a b"}

    answers = (
        b"STAT bytes 7\r\nSTAT version 1.6.38\r\nEND\r\n",
        b"STAT inter 127.0.0.1\r\nSTAT empty\r\nSTAT ssl_key a b\r\nEND\r\n",
    )
    assert talk(conversation, *answers) == [b"stats\r\n", b"stats settings\r\n"]


@pytest.mark.parametrize("refusal", [b"ERROR", b"CLIENT_ERROR no", b"SERVER_ERROR out of memory"])
def test_a_refusal_leaves_the_connection_usable(refusal: bytes) -> None:
    async def conversation(admin: MemcachedConnection) -> None:
        with pytest.raises(EngineRefused, match=refusal.decode()):
            await admin.stats()
        assert await admin.say("slabs automove 0") == "OK"

    talk(conversation, refusal + b"\r\n", b"OK\r\n")


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"-ERR unknown command\r\n", "no memcached"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "no memcached"),
        (b"x" * 100_000, "no memcached"),
        (b"STAT a 1\r\n" * 2000, "no memcached"),
    ],
)
def test_who_speaks_something_else_is_no_memcached(answer: bytes, words: str) -> None:
    async def conversation(admin: MemcachedConnection) -> None:
        with pytest.raises(EngineUnreachable, match=words):
            await admin.stats()
        assert admin.is_closed

    talk(conversation, answer)


def test_silence_ends_with_the_deadline_and_the_connection() -> None:
    async def conversation(admin: MemcachedConnection) -> None:
        with pytest.raises(EngineUnreachable, match=r"no answer within 0\.5 s"):
            await admin.stats()
        assert admin.is_closed

    talk(conversation, b"STAT bytes", timeout_s=0.5)


def test_an_end_in_the_middle_is_seen() -> None:
    async def conversation(admin: MemcachedConnection) -> None:
        with pytest.raises(EngineClosed):
            await admin.stats()
        assert admin.is_closed

    talk(conversation, b"")


def test_a_question_that_is_given_up_takes_no_answer_of_another() -> None:
    async def conversation(admin: MemcachedConnection) -> None:
        task = asyncio.ensure_future(admin.stats())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert admin.is_closed

    talk(conversation, b"STAT bytes")


def test_an_engine_without_its_figures_is_no_memcached() -> None:
    async def conversation(admin: MemcachedConnection) -> None:
        with pytest.raises(EngineUnreachable, match="no memcached"):
            await MemcachedAdapter().observe(admin)

    talk(conversation, b"STAT bytes x\r\nEND\r\n")


def test_a_connection_that_the_engine_ended_is_seen_to_be_closed() -> None:
    """Before it is used again, so that an idle one costs no look."""

    async def conversation(admin: MemcachedConnection) -> None:
        assert await admin.stats() == {}
        async with asyncio.timeout(5.0):
            while not admin.is_closed:  # noqa: ASYNC110 nobody tells us
                await asyncio.sleep(0.001)

    talk(conversation, b"END\r\n", b"")
