"""The service dies while it replaces a primary: the next one ends what it began, once.

A death at each failpoint of a failover, and a service that is dead or frozen when the primary ends:
then the engines elect by themselves, and whoever comes back does nothing on what it knew before.
"""

from __future__ import annotations

import functools
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import valkey
from valkey.exceptions import ValkeyError

from cachewright.kit import failpoints
from tests import service_kit as kit

GROUP = "struck"
#: The engines' own election: 15 s until a primary counts as failed, then a vote; a busy machine.
ELECTION_S = 60.0


@pytest.fixture
def service(tmp_path: Path) -> Iterator[kit.Up]:
    with kit.up(tmp_path, "--address-pool", kit.free_pool()) as running:
        yield running


def writers(places: dict[str, tuple[str, int]]) -> list[str]:
    """Return who lets clients in and says that it is a primary."""
    found: list[str] = []
    for node_id, place in places.items():
        try:
            with kit.connect(place, socket_timeout=1.0) as client:
                if client.info("replication")["role"] == "master":
                    found.append(node_id)
        except (ValkeyError, OSError):
            continue  # it has ended, hangs, or is held
    return found


def write(endpoint: tuple[str, int], first: int, count: int = 50) -> None:
    """Write numbers, each of them to the replica as well."""
    with kit.connect(endpoint) as client:
        for number in range(first, first + count):
            client.rpush("numbers", number)
        assert client.wait(1, 5_000) == 1


@pytest.mark.parametrize("name", sorted(failpoints.OF_FAILOVER))
def test_a_death_at_any_point_of_a_failover_leaves_one_primary_with_everything(
    service: kit.Up, name: str
) -> None:
    group = kit.create_available(service.api, GROUP, replicas=1)
    places, endpoint = kit.nodes(service.api, GROUP), kit.primary_endpoint(group)
    write(endpoint, 0)
    (primary,) = writers(places)
    (heir,) = places.keys() - {primary}
    service.kill()
    service.launch(CACHEWRIGHT_FAILPOINTS=f"{name}=kill")
    assert service.wait_ready()
    before = service.engines()
    before[primary].kill(signal.SIGSTOP if "fence" in name else signal.SIGKILL)
    kit.wait_until("the service is dead", lambda: service.process.poll() is not None)
    assert len(writers(places)) <= 1
    service.start()
    kit.wait_until(
        "another one is the primary",
        functools.partial(writers, places),
        is_it=[heir].__eq__,
    )
    kit.wait_status(service.api, GROUP, "available")
    with kit.connect(endpoint) as client:
        assert client.lrange("numbers", 0, -1) == [str(n) for n in range(50)]
    kit.wait_event(service.api, primary, "Finished recovery for cache nodes 0001")
    write(endpoint, 50)
    after = service.engines()
    assert after[heir] == before[heir]
    assert after[primary] != before[primary]


@pytest.mark.slow
@pytest.mark.parametrize("fate", [signal.SIGKILL, signal.SIGSTOP])
def test_engines_elect_while_nobody_looks_and_are_left_in_peace_afterwards(
    service: kit.Up, fate: signal.Signals
) -> None:
    group = kit.create_available(service.api, GROUP, shards=3, replicas=1)
    places = kit.nodes(service.api, GROUP)
    with kit.connect_cluster(group) as cluster:
        assert all(cluster.set(f"key:{n}", n) for n in range(300))
    primaries = writers(places)
    victim = primaries[0]
    before = service.engines()
    service.process.send_signal(fate)
    if fate is signal.SIGKILL:
        service.process.wait(kit.PATIENCE_S)
    before[victim].kill()
    survivors = kit.wait_until(
        "the engines have elected",
        functools.partial(writers, places),
        is_it=lambda now: len(now) == len(primaries) and victim not in now,
        timeout_s=ELECTION_S,
    )
    # The configuration endpoint may have ended with its holder: nobody is there to move it.
    host, port = places[survivors[0]]
    with valkey.ValkeyCluster(host=host, port=port) as cluster:
        assert all(cluster.set(f"key:{n}", n + 1) for n in range(300))
    if fate is signal.SIGKILL:
        service.start()
    else:
        service.process.send_signal(signal.SIGCONT)
        service.close_api()  # what was open has been idle for too long
    kit.wait_event(service.api, victim, "Finished recovery for cache nodes 0001")
    kit.wait_status(service.api, GROUP, "available")
    assert writers(places) == survivors
    with kit.connect_cluster(group) as cluster:
        assert [cluster.get(f"key:{n}") for n in range(300)] == [str(n + 1) for n in range(300)]
    after = service.engines()
    assert {n: e for n, e in after.items() if n != victim} == {
        n: e for n, e in before.items() if n != victim
    }
