"""An engine dies while the service runs: the status says so, the node comes back where it was.

The engine process is killed from outside, as the OOM killer would do it.
"""

from __future__ import annotations

import itertools
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import service_kit as kit
from tests.fault.scenarios import ground


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[kit.Up]:
    with kit.up(tmp_path_factory.mktemp("death")) as running:
        yield running


@pytest.fixture
def api(service: kit.Up) -> Any:
    return service.api


def member_status(api: Any, node_id: str) -> str:
    answer = api.describe_cache_clusters(CacheClusterId=node_id)
    return str(answer["CacheClusters"][0]["CacheClusterStatus"])


def wait_member(api: Any, node_id: str, wanted: str) -> None:
    kit.wait_until(
        f"{node_id} is {wanted}",
        lambda: member_status(api, node_id),
        is_it=lambda seen: seen == wanted,
    )


def group_members(api: Any, name: str) -> list[str]:
    group = kit.describe(api, name)
    assert group is not None
    return list(group["MemberClusters"])


def role(endpoint: tuple[str, int]) -> dict[str, Any]:
    with kit.connect(endpoint) as client:
        said: dict[str, Any] = client.info("replication")
    return said


@pytest.mark.parametrize("shards", [0, 2])
def test_a_killed_replica_comes_back_in_sync_where_it_was(
    service: kit.Up, api: Any, shards: int
) -> None:
    name = f"replicated-{shards}"
    group = kit.create_available(api, name, shards=shards, replicas=1)
    places = kit.nodes(api, name)
    victim = next(n for n, place in places.items() if role(place)["role"] == "slave")
    before = service.engines()
    with kit.connect(_any_endpoint(group)) as client, kit.Writer(lambda _: client.ping()) as writer:
        before[victim].kill()
        kit.wait_event(api, victim, "Recovering cache nodes 0001")
        kit.wait_event(api, victim, "Finished recovery for cache nodes 0001")
        wait_member(api, victim, "available")
        # Who only lost a replica served all the time.
        assert writer.refusals == []
    after = service.engines()
    assert after[victim] != before[victim]
    assert {n: e for n, e in after.items() if n != victim} == {
        n: e for n, e in before.items() if n != victim
    }
    assert kit.nodes(api, name) == places
    said = role(places[victim])
    assert (said["role"], said["master_link_status"]) == ("slave", "up")
    assert kit.status(api, name) == "available"
    assert not [text for text in kit.messages(api, name) if "empty" in text]
    kit.delete(api, name)


def test_the_reader_endpoint_moves_to_who_can_read_and_back(service: kit.Up, api: Any) -> None:
    """While the only replica is away, the primary serves reads."""
    group = kit.create_available(api, "reading", replicas=1)
    primary, reader = kit.primary_endpoint(group), kit.reader_endpoint(group)
    with kit.connect(primary) as client:
        client.set("greeting", "hello")
    replica = next(n for n, place in kit.nodes(api, "reading").items() if place != primary
                   and role(place)["role"] == "slave")  # fmt: skip
    service.engines()[replica].kill()
    kit.wait_event(api, replica, "Finished recovery for cache nodes 0001")

    def read(client: Any) -> str:
        return f"{client.get('greeting')} {client.info('replication')['role']}"

    kit.wait_until(
        "the replica reads",
        lambda: kit.reachable(reader, read),
        is_it=lambda seen: seen == "hello slave",
    )
    kit.delete(api, "reading")


def test_a_lone_primary_comes_back_empty_and_says_so(service: kit.Up, api: Any) -> None:
    group = kit.create_available(api, "alone")
    primary = kit.primary_endpoint(group)
    with kit.connect(primary) as client:
        client.set("greeting", "hello")
    before = service.engines()["alone-001"]
    before.kill()
    kit.wait_event(api, "alone", "serves fully again")
    kit.wait_status(api, "alone", "available")
    with kit.connect(primary) as client:
        assert client.get("greeting") is None
        assert client.set("greeting", "again")
    assert service.engines()["alone-001"] != before
    told = kit.messages(api, "alone")
    assert len([t for t in told if "comes back empty" in t and "lost" in t]) == 1, told
    kit.delete(api, "alone")


def test_a_lone_primary_that_dies_again_and_again_comes_back_each_time(
    service: kit.Up, api: Any
) -> None:
    primary = kit.primary_endpoint(kit.create_available(api, "mortal"))
    for round_number in range(4):
        service.engines()["mortal-001"].kill()
        kit.wait_event(api, "mortal", "fully again", times=round_number + 1)
        with kit.connect(primary) as client:
            assert client.set("round", round_number)
    kit.delete(api, "mortal")


def test_a_frozen_engine_is_not_called_available_for_ever_and_is_not_killed(
    service: kit.Up, api: Any
) -> None:
    """Silence is not death: nobody may start a second one, and it serves when it wakes."""
    primary = kit.primary_endpoint(kit.create_available(api, "frozen"))
    with kit.connect(primary) as client:
        client.set("greeting", "hello")
    engine = service.engines()["frozen-001"]
    engine.kill(signal.SIGSTOP)
    try:
        kit.wait_status(api, "frozen", "modifying")
        wait_member(api, "frozen-001", "modifying")
    finally:
        engine.kill(signal.SIGCONT)
    kit.wait_status(api, "frozen", "available")
    assert service.engines()["frozen-001"] == engine
    with kit.connect(primary) as client:
        assert client.get("greeting") == "hello"
    kit.delete(api, "frozen")


def test_a_frozen_engine_can_be_deleted(service: kit.Up, api: Any) -> None:
    kit.create_available(api, "icy", replicas=1)
    for node_id, engine in service.engines().items():
        if node_id.startswith("icy-"):
            engine.kill(signal.SIGSTOP)
    kit.delete(api, "icy")
    assert not [n for n in service.engines() if n.startswith("icy-")]
    assert not [n for n in kit.node_folders(service.state_dir) if n.startswith("icy-")]


@pytest.mark.parametrize("shards", [0, 1, 3])
def test_a_replica_takes_over_from_a_dead_primary_with_all_its_data(
    service: kit.Up, api: Any, shards: int
) -> None:
    """With one shard the engines alone would never elect anybody."""
    name = f"failing-over-{shards}"
    group = kit.create_available(api, name, shards=shards, replicas=1)
    places = kit.nodes(api, name)
    kit.wait_until("in sync", lambda: all(_is_replicated(place) for place in places.values()))
    with _client_of(group) as client:
        for number in range(300):
            client.set(f"key:{number}", number)
    victim = next(n for n, place in places.items() if role(place)["role"] == "master")
    kit.wait_until("all is replicated", lambda: _lag(places) == 0)
    service.engines()[victim].kill()
    kit.wait_event(api, name, f"Failover from primary node {victim} to replica node")
    kit.wait_status(api, name, "available")
    # At this very moment all is there, and can be written.
    with _client_of(group) as client:
        assert [client.get(f"key:{n}") for n in range(300)] == [str(n) for n in range(300)]
        assert all(client.set(f"key:{n}", n) for n in range(300))
    wait_member(api, victim, "available")
    assert role(places[victim])["role"] == "slave"
    assert kit.nodes(api, name) == places
    assert not [text for text in kit.messages(api, name) if "empty" in text]
    if not shards:
        assert kit.roles(api, name)[victim] == "replica"
        shown = kit.describe(api, name)
        assert shown is not None
        assert kit.primary_endpoint(shown) == kit.primary_endpoint(group)
    kit.delete(api, name)


def test_siblings_follow_the_new_primary_and_endpoints_move(service: kit.Up, api: Any) -> None:
    group = kit.create_available(api, "siblings", replicas=2)
    primary, reader = kit.primary_endpoint(group), kit.reader_endpoint(group)
    for victim in ("siblings-001", "siblings-002"):
        service.engines()[victim].kill()
        kit.wait_event(api, "siblings", f"Failover from primary node {victim}")
        wait_member(api, victim, "available")
        kit.wait_status(api, "siblings", "available")
        with kit.connect(primary) as client:
            assert client.set("after", victim)
            assert client.wait(2, 5_000) == 2
        with kit.connect(reader) as client:
            assert client.get("after") == victim
            assert client.info("replication")["role"] == "slave"
    kit.delete(api, "siblings")


def test_two_primaries_that_die_together_are_both_replaced(service: kit.Up, api: Any) -> None:
    """Two of three: no majority of primaries is left that could vote."""
    group = kit.create_available(api, "voting", shards=3, replicas=1)
    places = kit.nodes(api, "voting")
    kit.wait_until("in sync", lambda: all(_is_replicated(place) for place in places.values()))
    with _client_of(group) as client:
        for number in range(300):
            client.set(f"key:{number}", number)
    kit.wait_until("all is replicated", lambda: _lag(places) == 0)
    found = service.engines()
    for victim in ("voting-0001-001", "voting-0002-001"):
        found[victim].kill()
    for victim in ("voting-0001-001", "voting-0002-001"):
        kit.wait_event(api, "voting", f"Failover from primary node {victim}")
    kit.wait_status(api, "voting", "available")
    with _client_of(group) as client:
        assert [client.get(f"key:{n}") for n in range(300)] == [str(n) for n in range(300)]
    kit.delete(api, "voting")


@pytest.mark.parametrize("shards", [0, 2])
@pytest.mark.parametrize("engines_seen", [1, 2, 4])
def test_an_engine_that_dies_during_the_create_is_made_again(
    service: kit.Up, api: Any, shards: int, engines_seen: int
) -> None:
    name = f"young-{shards}-{engines_seen}"
    kit.create(api, name, shards=shards, replicas=1 if shards else 3)

    def own() -> set[kit.Engine]:
        return {engine for n, engine in service.engines().items() if n.startswith(f"{name}-")}

    found = kit.wait_until(
        "engines", own, is_it=lambda found: len(found) >= engines_seen, every_s=kit.LOOK_SOON_S
    )
    victims = set(itertools.islice(found, 2))
    for victim in victims:
        victim.kill()
    # The last of the four may have been up already: then the group was available before.
    kit.wait_until("four others", own, is_it=lambda now: len(now) == 4 and not now & victims)
    for node_id in group_members(api, name):
        wait_member(api, node_id, "available")
    kit.wait_status(api, name, "available")
    group = kit.describe(api, name)
    assert group is not None
    with _client_of(group) as client:
        assert all(client.set(f"key:{n}", n) for n in range(32))
    roles = [role(place)["role"] for place in kit.nodes(api, name).values()]
    assert roles.count("master") == max(1, shards)
    kit.delete(api, name)


def test_without_automatic_failover_a_dead_primary_is_made_again_from_its_replica(
    service: kit.Up, api: Any
) -> None:
    group = kit.create_available(api, "manual", replicas=1, AutomaticFailoverEnabled=False)
    with kit.connect(kit.primary_endpoint(group)) as client:
        client.set("greeting", "hello")
        assert client.wait(1, 5_000) == 1
    service.engines()["manual-001"].kill()
    kit.wait_event(api, "manual", "Failover from primary node")
    kit.wait_status(api, "manual", "available")
    with kit.connect(kit.primary_endpoint(group)) as client:
        assert client.get("greeting") == "hello"
        assert client.set("greeting", "again")
    kit.delete(api, "manual")


def test_the_loss_of_the_last_copy_is_told_whatever_the_status_was(
    service: kit.Up, api: Any
) -> None:
    group = kit.create_available(api, "unlucky", replicas=1)
    with kit.connect(kit.primary_endpoint(group)) as client:
        client.set("greeting", "hello")
    found = service.engines()
    for node_id in ("unlucky-001", "unlucky-002"):  # with a successor, one would be ended
        found[node_id].kill(signal.SIGSTOP)
    kit.wait_status(api, "unlucky", "modifying")
    for node_id in ("unlucky-002", "unlucky-001"):
        found[node_id].kill()
    kit.wait_event(api, "unlucky", "serves fully again")
    with kit.connect(kit.primary_endpoint(group)) as client:
        is_empty = client.get("greeting") is None
    told = [text for text in kit.messages(api, "unlucky") if "empty" in text]
    assert len(told) == is_empty
    kit.delete(api, "unlucky")


#: How long an engine takes until it listens, seconds: as if it loaded some GB.
_SLOW_START_S = 6


@pytest.mark.slow(15)
def test_a_failover_is_told_while_a_start_lasts() -> None:
    with ground.with_own_engine() as service:
        line = {"Engine": ground.OWN_ENGINE, "EngineVersion": ground.OWN_VERSION}
        kit.create_available(service.api, "slow", shards=3, replicas=1, **line)
        _start_slowly(ground.program_of(service))
        found = service.engines()
        found["slow-0001-002"].kill()
        kit.wait_event(service.api, "slow-0001-002", "Recovering cache nodes 0001")
        found["slow-0002-001"].kill()
        kit.wait_event(service.api, "slow", "Failover from primary node slow-0002-001")
        assert not service.engines().keys() & {"slow-0001-002", "slow-0002-001"}
        for node_id in ("slow-0001-002", "slow-0002-001"):
            kit.wait_event(service.api, node_id, "Finished recovery for cache nodes 0001")
        kit.wait_status(service.api, "slow", "available")


def _start_slowly(program: Path) -> None:
    """Let an engine take its time before each start; what runs goes on."""
    (folder := program.parent.with_name("real")).mkdir()  # beside it: libraries are found from it
    real = program.rename(folder / program.name)
    # Who only wants to know which engine it is gets its answer at once.
    wait = f"case $1 in -*) ;; *) /bin/sleep {_SLOW_START_S} ;; esac"
    program.write_text(f'#!/bin/sh\n{wait}\nexec {real} "$@"\n')
    program.chmod(0o755)


def _is_replicated(place: tuple[str, int]) -> bool:
    said = role(place)
    if said["role"] == "slave":
        return bool(said["master_link_status"] == "up")
    return bool(said["connected_slaves"] == 1)


def _lag(places: dict[str, tuple[str, int]]) -> int:
    """Return by how many bytes replicas are behind the furthest primary of their own lineage."""
    seen = [role(place) for place in places.values()]
    offsets = {
        said["master_replid"]: said["master_repl_offset"]
        for said in seen
        if said["role"] == "master"
    }
    return sum(
        int(offsets[said["master_replid"]]) - int(said["slave_repl_offset"])
        for said in seen
        if said["role"] == "slave"
    )


def _client_of(group: dict[str, Any]) -> Any:
    if group["ClusterEnabled"]:
        return kit.connect_cluster(group)
    return kit.connect(kit.primary_endpoint(group))


def _any_endpoint(group: dict[str, Any]) -> tuple[str, int]:
    if group["ClusterEnabled"]:
        return kit.place(group["ConfigurationEndpoint"])
    return kit.primary_endpoint(group)
