"""Which fixtures do end-to-end tests share? A service that runs for all tests of a worker."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from typing import Any

import pytest

from cachewright import testing


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
