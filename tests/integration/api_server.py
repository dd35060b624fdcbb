"""What do tests of the API through boto3 stand on? A real server, a real store, no engines."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import boto3
import botocore.config
import botocore.exceptions
import pytest
import uvicorn

from cachewright.api.app import make_app
from cachewright.control.loop import Explanation
from cachewright.kit.clock import SystemClock
from cachewright.kit.secret import Secret
from cachewright.model.engines import EngineName
from cachewright.model.settings import Limits, Settings
from cachewright.rpc.agent import CommandFailed, EngineOffer
from cachewright.service.context import Service
from cachewright.store.records import Records
from cachewright.store.sqlite import SqliteStore
from tests.unit.service.service_world import CLUSTER_OFFERS, World, no_look

T = TypeVar("T")

#: Starting and stopping takes milliseconds; a machine under load gets this long, seconds.
DEADLINE_S = 30.0
Client = Any


async def _no_explanation(uid: str) -> Explanation | None:
    return None


async def _no_install(engine: EngineName, version: str) -> EngineOffer:
    raise CommandFailed("nothing is installed in this test")


async def _no_end(uid: str, node_id: str) -> None:
    raise CommandFailed("nothing runs in this test")


class Server:
    """The API over a store in `folder`, served by a thread on a free port."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port: int = self._listener.getsockname()[1]
        self._is_up = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)
        self._loop: asyncio.AbstractEventLoop
        self._server: uvicorn.Server
        self.world: World

    def start(self) -> None:
        self._thread.start()
        assert self._is_up.wait(DEADLINE_S)

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(DEADLINE_S)
        assert not self._thread.is_alive()

    def do(self, scenario: Callable[[World], Awaitable[T]]) -> T:
        """Run `scenario` where the service runs: the tests play the loop this way."""

        async def within() -> T:
            return await scenario(self.world)

        return asyncio.run_coroutine_threadsafe(within(), self._loop).result(DEADLINE_S)

    async def _serve(self) -> None:
        store = await SqliteStore.open(self._folder / "state" / "store.db")
        service = Service(
            records=Records(store),
            settings=Settings(state_dir=self._folder, limits=Limits(nodes_per_region=5_000)),
            clock=SystemClock(),
            offers=lambda: CLUSTER_OFFERS,
            address_capacity=lambda: 100_000,
            usage=lambda uid: {},
            look=no_look,
            wake=lambda uid: None,
        )
        self.world = World(service=service, clock=service.clock, woken=[])
        app = make_app(
            service,
            lookup={"test": Secret("test")}.get,
            explain=_no_explanation,
            install=_no_install,
            end_node=_no_end,
        )
        config = uvicorn.Config(
            app, http="httptools", ws="none", lifespan="off", log_config=None, access_log=False
        )
        self._loop = asyncio.get_running_loop()
        self._server = uvicorn.Server(config)
        self._loop.call_soon(self._is_up.set)
        await self._server.serve(sockets=[self._listener])
        await store.close()


def make_client(port: int, **changes: Any) -> Client:
    options: dict[str, Any] = {
        "endpoint_url": f"http://127.0.0.1:{port}",
        "region_name": "us-east-1",
        "aws_access_key_id": "test",
        "aws_secret_access_key": "test",
        "config": botocore.config.Config(
            retries={"total_max_attempts": 1}, max_pool_connections=32, parameter_validation=False
        ),
    }
    return boto3.session.Session().client("elasticache", **{**options, **changes})


@contextlib.contextmanager
def running(folder: Path) -> Iterator[Server]:
    server = Server(folder)
    server.start()
    try:
        yield server
    finally:
        server.stop()


def refusal(call: Callable[..., Any], **request: Any) -> tuple[str, int]:
    """Return code and status with which `call` is refused."""
    with pytest.raises(botocore.exceptions.ClientError) as caught:
        call(**request)
    response = caught.value.response
    return response["Error"]["Code"], response["ResponseMetadata"]["HTTPStatusCode"]
