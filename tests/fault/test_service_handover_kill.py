"""The service dies while a role changes hands: afterwards there is one primary, and no write less.

The moment of the death walks through the handover, a few milliseconds at a time.
"""

from __future__ import annotations

import functools
import itertools
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from valkey.exceptions import ValkeyError

from tests import service_kit as kit

#: After the answer to the call; a handover begins some milliseconds later and takes about ten.
DELAYS_S = tuple(step * 0.003 for step in range(12))
GROUP = "handed"


@pytest.fixture
def service(tmp_path: Path) -> Iterator[kit.Up]:
    with kit.up(tmp_path, "--address-pool", kit.free_pool()) as running:
        yield running


class Numbers:
    """Pushes numbers to the primary endpoint, each until it is acknowledged."""

    def __init__(self, endpoint: tuple[str, int]) -> None:
        self._endpoint = endpoint
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.acknowledged = 0

    def __enter__(self) -> Numbers:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(kit.PATIENCE_S)

    def _run(self) -> None:
        for number in itertools.count(1):
            while not self._stop.wait(0.001):
                try:
                    with kit.connect(self._endpoint, socket_timeout=1.0) as client:
                        client.rpush("numbers", number)
                except (ValkeyError, OSError):
                    continue
                self.acknowledged = number
                break
            if self._stop.is_set():
                return

    def wait_for_more(self, count: int = 20) -> None:
        wanted = self.acknowledged + count
        kit.wait_until("more writes", lambda: self.acknowledged >= wanted)


def writers(service: kit.Up, group: dict[str, Any]) -> list[str]:
    """Return who says of itself that it is a primary; no one that cannot be asked."""
    found: list[str] = []
    for node_id in group["MemberClusters"]:
        try:
            with kit.admin(service.state_dir, node_id) as admin:
                if admin.info("replication")["role"] == "master":
                    found.append(node_id)
        except (ValkeyError, OSError):
            continue  # it takes another address just now
    return found


@pytest.mark.slow(20)
def test_a_death_at_any_moment_of_a_handover_costs_no_write(service: kit.Up) -> None:
    group = kit.create_available(service.api, GROUP, replicas=1, AutomaticFailoverEnabled=False)
    before = kit.engines(service.state_dir)
    endpoint = kit.primary_endpoint(group)
    with Numbers(endpoint) as numbers:
        numbers.wait_for_more()
        for delay_s in DELAYS_S:
            (primary,) = writers(service, group)
            wanted = next(n for n in group["MemberClusters"] if n != primary)
            service.api.modify_replication_group(
                ReplicationGroupId=GROUP, PrimaryClusterId=wanted, ApplyImmediately=True
            )
            time.sleep(delay_s)  # the moment is what is tried
            service.kill()
            assert len(writers(service, group)) <= 1
            service.start()
            kit.wait_until(
                "the wish is met",
                functools.partial(writers, service, group),
                is_it=[wanted].__eq__,
            )
            kit.wait_status(service.api, GROUP, "available")
            numbers.wait_for_more()
    with kit.connect(endpoint) as client:
        there = {int(number) for number in client.lrange("numbers", 0, -1)}
    assert [n for n in range(1, numbers.acknowledged + 1) if n not in there] == []
    # Whatever died, no engine was restarted for it.
    assert kit.engines(service.state_dir) == before
