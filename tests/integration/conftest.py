"""Which fixtures do end-to-end tests share? A service that runs for all tests of a worker."""

from __future__ import annotations

import secrets
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from cachewright import testing
from tests.integration.api_server import Client, Server, make_client, running


@pytest.fixture(scope="session")
def service() -> Iterator[testing.Service]:
    """Give a service that end-to-end tests share; each test deletes the groups that it makes."""
    with testing.service() as running:
        yield running


@pytest.fixture(scope="session")
def api(service: testing.Service) -> Any:
    """Give a boto3 client of it."""
    return service.client()


@pytest.fixture
def group_id(api: Any) -> Iterator[str]:
    """Give a fresh id; what the test made of it is deleted after the test, and waited for."""
    fresh = f"t-{secrets.token_hex(4)}"
    yield fresh
    testing.ReplicationGroup(api, fresh).delete()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Give the API without engines; the tests of a module share it."""
    with running(tmp_path_factory.mktemp("api")) as running_server:
        yield running_server


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[Client]:
    """Give a boto3 client of `server`."""
    made = make_client(server.port)
    yield made
    made.close()


@pytest.fixture
def name() -> str:
    """Return an id that no other test uses."""
    return f"g{uuid.uuid4().hex[:12]}"
