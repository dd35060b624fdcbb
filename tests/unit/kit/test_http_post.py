"""Does a POST end, whatever the server does?"""

from __future__ import annotations

import asyncio
import socket

import pytest

from cachewright.kit.http_post import Unanswered, post
from tests.unit.control import webhook_kit


def status_of(*answers: int, deadline_s: float = 10.0) -> int:
    async def scenario() -> int:
        async with webhook_kit.webhook() as webhook:
            webhook.answers = list(answers)
            return await post(webhook.url, b"{}", {}, deadline_s=deadline_s)

    return asyncio.run(scenario())


@pytest.mark.parametrize("status", [200, 204, 301, 404, 503])
def test_the_status_is_returned_and_no_redirect_is_followed(status: int) -> None:
    assert status_of(status) == status


def test_a_head_without_end_is_cut_off_by_its_size() -> None:
    with pytest.raises(Unanswered, match="IncompleteRead"):
        status_of(webhook_kit.ENDLESS)


@pytest.mark.parametrize("answer", [webhook_kit.CLOSE, webhook_kit.GARBAGE])
def test_what_is_no_answer_is_an_error(answer: int) -> None:
    with pytest.raises(Unanswered):
        status_of(answer)


def test_a_silent_server_is_given_up_after_the_deadline() -> None:
    with pytest.raises(Unanswered, match=r"within 0\.2 s"):
        status_of(webhook_kit.HANG, deadline_s=0.2)


def test_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    with pytest.raises(Unanswered, match="Connect"):
        asyncio.run(post(f"http://127.0.0.1:{port}", b"", {}))


def test_https_needs_a_server_that_speaks_it() -> None:
    async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail.example.org ESMTP\r\n")
        writer.close()
        await writer.wait_closed()

    async def scenario() -> None:
        async with await asyncio.start_server(greet, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            await post(f"https://127.0.0.1:{port}/", b"", {}, deadline_s=5.0)

    with pytest.raises(Unanswered, match="SSL"):
        asyncio.run(scenario())
