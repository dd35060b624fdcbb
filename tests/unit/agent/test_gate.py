"""Does an engine wait at the gate until the act is done, and is it told what has come of it?"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence

import pytest

from cachewright.agent.gate import Gate, Passage

SELECT = b"*2\r\n$6\r\nSELECT\r\n$1\r\n0\r\n"
DONE, NOT_YET, UNCERTAIN = (
    b"+OK\r\n",
    b"-NOTYET nothing was done\r\n",
    b"-ERR it is done or not\r\n",
)


def sent(key: str) -> bytes:
    return SELECT + b"*4\r\n$14\r\nRESTORE-ASKING\r\n$%d\r\n%s\r\n$1\r\n0\r\n$1\r\nx\r\n" % (
        len(key),
        key.encode(),
    )


def talk(gate: Gate, sends: Sequence[bytes]) -> bytes:
    """Send, each after two answers to what was sent before; return all answers."""
    with socket.create_connection((gate.address, gate.port), timeout=5) as engine:
        answers = b""
        for number, content in enumerate(sends, start=1):
            engine.sendall(content)
            while answers.count(b"\r\n") < 2 * number and (said := engine.recv(1024)):
                answers += said
        return answers


def answered(act: Callable[[Passage], Awaitable[None]], *sends: bytes) -> tuple[bytes, Passage]:
    """Return the answers to what is sent while `act` is awaited under the name `m`."""

    async def run() -> tuple[bytes, Passage]:
        async with Gate().opened() as gate, gate.awaited("m", act) as passage:
            answers = await asyncio.to_thread(talk, gate, sends)
        return answers, passage

    return asyncio.run(run())


def test_the_answer_comes_when_the_act_is_done() -> None:
    done: list[bool] = []

    async def act(_: Passage) -> None:
        await asyncio.sleep(0.01)
        done.append(True)

    answers, passage = answered(act, sent("m"))
    assert answers == DONE + DONE
    assert done == [True]
    assert passage.failure is None
    assert passage.packed == b"x"


@pytest.mark.parametrize(("has_begun", "answer"), [(False, NOT_YET), (True, UNCERTAIN)])
def test_who_waits_is_told_whether_something_may_have_been_done(
    has_begun: bool, answer: bytes
) -> None:
    async def act(passage: Passage) -> None:
        passage.has_begun = has_begun
        raise LookupError("nobody there")

    answers, passage = answered(act, sent("m"))
    assert answers == DONE + answer
    assert isinstance(passage.failure, LookupError)


def test_no_other_name_and_no_second_time_sets_it_off() -> None:
    done: list[bool] = []

    async def act(_: Passage) -> None:
        done.append(True)

    answers, _ = answered(act, sent("other"), sent("m"), sent("m"))
    assert [answer[:1] for answer in answers.splitlines()] == [b"+", b"-", b"+", b"+", b"+", b"-"]
    assert done == [True]


def test_who_asks_in_another_language_is_hung_up_on() -> None:
    async def act(_: Passage) -> None:
        raise AssertionError

    assert answered(act, b"*x\r\n")[0] == b""


def test_the_act_has_ended_when_the_block_has() -> None:
    done: list[bool] = []

    async def run() -> None:
        begun = asyncio.Event()

        async def act(_: Passage) -> None:
            begun.set()
            await asyncio.sleep(0.02)
            done.append(True)

        async with Gate().opened() as gate:
            async with gate.awaited("m", act):
                talking = asyncio.create_task(asyncio.to_thread(talk, gate, [sent("m")]))
                await asyncio.wait_for(begun.wait(), 5)
            assert done == [True]
            await talking

    asyncio.run(run())
