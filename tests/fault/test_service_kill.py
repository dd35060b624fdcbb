"""kill -9 of the service at any moment: what was acknowledged holds, the rest leaves no trace.

At random moments while groups come and go, and at every named failpoint. After a start without
failpoints everything converges, and there is no engine, folder or address too many.
"""

from __future__ import annotations

import itertools
import random
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import BotoCoreError, ClientError

from cachewright.kit import failpoints
from tests import service_kit as kit

#: 14 addresses: an address that leaks is missed at the end.
_POOL_PREFIX = 28
_ROUNDS = 6
#: With four addresses each at most.
_GROUPS_MAX = 3


@pytest.fixture
def service(tmp_path: Path) -> Iterator[kit.Up]:
    with kit.prepared(tmp_path, "--address-pool", kit.free_pool(_POOL_PREFIX)) as prepared:
        yield prepared


def attempt(call: Callable[[], object]) -> bool | None:
    """Tell whether a call was acknowledged; `None` when nobody knows, as the service died."""
    try:
        call()
    except ClientError:
        return False
    except BotoCoreError:
        return None
    return True


class Caller:
    """Creates and deletes groups, and remembers what it was promised."""

    def __init__(self) -> None:
        #: Promised to be there, promised to be gone, and neither.
        self.there: set[str] = set()
        self.gone: set[str] = set()
        self.unknown: set[str] = set()
        self._numbers = itertools.count()

    def create(self, api: Any, **shape: int) -> bool | None:
        name = f"g{next(self._numbers)}"
        outcome = attempt(lambda: kit.create(api, name, **shape))
        (self.unknown if outcome is None else self.there if outcome else self.gone).add(name)
        return outcome

    def delete(self, api: Any, name: str) -> bool | None:
        outcome = attempt(lambda: api.delete_replication_group(ReplicationGroupId=name))
        if outcome is not False:
            self.there.discard(name)
            self.unknown.discard(name)
            (self.gone if outcome else self.unknown).add(name)
        return outcome

    def check(self, service: kit.Up) -> None:
        """Fail unless the service, once at rest, has kept every promise and nothing else."""
        for name in self.there:
            kit.wait_status(service.api, name, "available")
        for name in self.gone:
            kit.wait_status(service.api, name, "gone")
        for name in self.unknown:
            wait_decided(service, name)
        groups = service.api.describe_replication_groups()["ReplicationGroups"]
        members = {node_id for group in groups for node_id in group["MemberClusters"]}
        kit.wait_until("its engines", lambda: set(service.engines()), is_it=lambda f: f == members)
        assert set(kit.node_folders(service.state_dir)) == members
        for group in groups:
            write_everywhere(group)


def wait_decided(service: kit.Up, name: str) -> None:
    """Wait until a group whose fate nobody was told is either there or not."""
    kit.wait_until(
        f"{name} is there or not",
        lambda: kit.status(service.api, name),
        is_it=lambda seen: seen in {"available", "gone"},
    )


def write_everywhere(group: dict[str, Any]) -> None:
    if group["ClusterEnabled"]:
        with kit.connect_cluster(group) as cluster:
            assert all(cluster.set(f"key:{n}", n) for n in range(32))
        return
    with kit.connect(kit.primary_endpoint(group)) as client:
        assert client.set("key", "value")
        replicas = len(group["MemberClusters"]) - 1
        assert client.wait(replicas, 5_000) == replicas


def assert_all_addresses_are_free(service: kit.Up) -> None:
    """Groups that need every address of the pool, 8 and 6, are accepted."""
    kit.create(service.api, "first", replicas=5)
    kit.create(service.api, "second", replicas=3)
    for name in ("first", "second"):
        kit.delete(service.api, name)
    kit.assert_nothing_left(service.state_dir)


def test_kills_at_random_moments(service: kit.Up) -> None:
    seed = secrets.randbelow(1 << 32)
    dice = random.Random(seed)  # noqa: S311 chooses moments, not secrets
    caller = Caller()
    service.start()
    for _ in range(_ROUNDS):
        for _ in range(dice.randint(1, 4)):
            if caller.there and dice.random() < 0.5:
                caller.delete(service.api, dice.choice(sorted(caller.there)))
            elif len(caller.there) < _GROUPS_MAX:
                caller.create(service.api, shards=dice.randint(0, 1), replicas=dice.randint(0, 1))
        service.let_run(dice.random() * 0.7)
        service.kill()
        service.start()
    try:
        caller.check(service)
    except AssertionError as error:
        raise AssertionError(f"with seed {seed}: {error}") from error
    for name in sorted(caller.there | caller.unknown):
        caller.delete(service.api, name)
    caller.check(service)
    assert_all_addresses_are_free(service)


@pytest.mark.parametrize(
    "name",
    sorted(failpoints.NAMES.keys() - failpoints.OF_FAILOVER.keys() - failpoints.OF_MOVES.keys()),
)
def test_a_kill_at_a_failpoint(service: kit.Up, name: str) -> None:
    """Create and delete with the failpoint armed; each death is followed by a plain start."""
    caller = Caller()
    service.launch(CACHEWRIGHT_FAILPOINTS=f"{name}=kill:1")
    if service.wait_ready():
        caller.create(service.api, replicas=1)
    deaths = int(died(service))
    service.kill()
    service.launch(CACHEWRIGHT_FAILPOINTS=f"{name}=kill:2")
    if service.wait_ready():
        caller.create(service.api, shards=1)
        caller.delete(service.api, "g0")
    deaths += died(service)
    service.kill()
    service.start()
    caller.check(service)
    for group in sorted(caller.there | caller.unknown):
        caller.delete(service.api, group)
    caller.check(service)
    assert deaths > 0, "the failpoint was never passed"
    assert_all_addresses_are_free(service)


def died(service: kit.Up) -> bool:
    """Wait until the service has died or all its groups have come to rest; tell which."""

    def look() -> str:
        if service.process.poll() is not None:
            return "died"
        try:
            groups = service.api.describe_replication_groups()["ReplicationGroups"]
        except BotoCoreError:
            return "no answer"
        return ",".join({group["Status"] for group in groups} - {"available"}) or "at rest"

    seen = kit.wait_until("dead or at rest", look, is_it=lambda s: s in {"died", "at rest"})
    return seen == "died"
