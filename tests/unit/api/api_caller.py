"""How do tests talk to the application without a socket? ASGI messages, signed by botocore."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from cachewright.api.app import App, make_app
from cachewright.control.loop import Explanation
from cachewright.kit.clock import SystemClock
from cachewright.kit.secret import Secret
from cachewright.model.engines import EngineName
from cachewright.protocol import sign
from cachewright.rpc.agent import CommandFailed, EngineOffer
from tests.unit.service.service_world import OFFERS, World, run

FORM = "application/x-www-form-urlencoded; charset=utf-8"
SECRET = Secret("test")


@dataclasses.dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[bytes, bytes]
    body: bytes

    @property
    def document(self) -> Any:
        return json.loads(self.body)


async def no_explanation(uid: str) -> Explanation | None:
    return None


async def no_install(engine: EngineName, version: str) -> EngineOffer:
    raise CommandFailed(f"cannot install {engine.value} {version}: no network")


async def no_end(uid: str, node_id: str) -> None:
    raise CommandFailed(f"{node_id} does not run")


def app_of(world: World) -> App:
    return make_app(
        world.service,
        lookup={"test": SECRET}.get,
        explain=no_explanation,
        install=no_install,
        end_node=no_end,
    )


async def ask(
    app: App,
    method: str = "POST",
    path: str = "/",
    *,
    query: bytes = b"",
    headers: dict[str, str] | None = None,
    chunks: tuple[bytes, ...] = (b"",),
    stalls: bool = False,
) -> Answer:
    """Send one request through ASGI, as an HTTP server would."""
    waiting = list(chunks)
    sent: list[Any] = []

    async def receive() -> dict[str, object]:
        if not waiting:
            if stalls:
                await asyncio.Event().wait()
            return {"type": "http.disconnect"}
        chunk = waiting.pop(0)
        return {"type": "http.request", "body": chunk, "more_body": bool(waiting) or stalls}

    async def send(message: Any) -> None:
        sent.append(message)

    given = {"host": "localhost", **(headers or {})}
    scope = {
        "type": "http",
        "method": method,
        "raw_path": path.encode(),
        "query_string": query,
        "headers": [(name.lower().encode(), value.encode()) for name, value in given.items()],
    }
    await app(scope, receive, send)
    start, body = sent
    assert dict(start["headers"])[b"content-length"] == str(len(body["body"])).encode()
    assert dict(start["headers"])[b"x-amzn-requestid"]
    return Answer(start["status"], dict(start["headers"]), body["body"])


async def ask_signed(
    app: App,
    method: str,
    path: str,
    body: bytes = b"",
    *,
    content_type: str = FORM,
) -> Answer:
    url = f"http://localhost{path}"
    given = {"Content-Type": content_type, "host": "localhost"}
    headers = sign.sign_request(
        method, url, given, body, access_key="test", secret=SECRET, region="us-east-1"
    )
    return await ask(app, method, path, headers=headers, chunks=(body,))


def serve(
    folder: Path,
    scenario: Callable[[World, App], Awaitable[None]],
    *,
    offers: tuple[EngineOffer, ...] = OFFERS,
) -> None:
    """Run `scenario` with an application whose clock is the real one, as signatures need it."""

    async def within(world: World) -> None:
        service = dataclasses.replace(world.service, clock=SystemClock())
        timely = dataclasses.replace(world, service=service)
        await scenario(timely, app_of(timely))

    run(folder, within, offers=offers)
