"""Which fixtures do the tests with other tools share? A service, and looks from outside."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from cachewright import testing


@pytest.fixture
def service() -> Iterator[testing.Service]:
    """Give a service of the test's own, so that "nothing is left" can be seen."""
    with testing.service() as running:
        yield running
