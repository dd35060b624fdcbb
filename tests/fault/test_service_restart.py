"""Whatever ended the service, the next `up` on the folder finds the groups and tells the truth.

A kill of the server leaves the engines serving; a loss of power loses the data and nothing else;
what died while nobody watched is replaced by who has its data.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from cachewright.kit import shared_memory
from tests import service_kit as kit
from tests.fault import service_filled as filled

_MAP = "nodes.conf"


@pytest.fixture
def service(tmp_path: Path) -> Iterator[kit.Up]:
    with kit.up(tmp_path) as running:
        yield running


def test_a_killed_server_leaves_engines_serving_and_the_next_adopts_them(service: kit.Up) -> None:
    shown = filled.make(service, shards=3, replicas=1)
    before = service.engines()
    with (
        filled.writer(shown["plain"]) as writer,
        filled.cluster_writer(shown["sharded"]) as cluster_writer,
    ):
        for _ in range(2):
            service.kill()
            writer.wait_for_writes()
            cluster_writer.wait_for_writes()
            assert service.engines() == before
            service.start()
            # Never a moment in which it does not say what is true.
            assert kit.status(service.api, "plain") == "available"
            assert kit.status(service.api, "sharded") == "available"
    assert writer.refusals == []
    assert cluster_writer.refusals == []
    assert service.engines() == before
    filled.check(service, shown)
    assert not [text for text in kit.messages(service.api) if "Recover" in text]


def test_no_engine_without_a_file_on_disk_waits_for_the_disk_with_its_map(
    service: kit.Up,
) -> None:
    kit.create_available(service.api, "mapped", shards=2, replicas=1)
    memory = shared_memory.folder_of(service.state_dir / "nodes")

    def where() -> tuple[list[str], list[str]]:
        folders = kit.node_folders(service.state_dir).items()
        at_home = [node_id for node_id, folder in folders if (folder / _MAP).exists()]
        in_memory = [n for n, folder in folders if (memory / folder.name / _MAP).exists()]
        return sorted(in_memory), sorted(at_home)

    everybody = sorted(service.engines())
    assert len(everybody) == 4
    assert where() == (everybody, [])
    service.kill()
    service.start()
    assert where() == (everybody, [])
    service.stop()
    assert where() == ([], everybody)
    assert not memory.exists()
    service.start()
    kit.wait_status(service.api, "mapped", "available")
    assert where() == (everybody, [])
    service.kill()
    for engine in service.engines().values():
        engine.kill()
    service.start()
    kit.wait_event(service.api, "mapped", "fully again")
    kit.delete(service.api, "mapped")
    kit.assert_nothing_left(service.state_dir)


def test_after_a_loss_of_power_groups_come_back_empty_and_whole_and_say_so(
    service: kit.Up,
) -> None:
    shown = filled.make(service)
    service.lose_power()
    service.start()
    for name, shards in (("plain", "Shard 0001 comes"), ("sharded", "All 2 shards come")):
        kit.wait_event(service.api, name, "fully again")
        kit.wait_status(service.api, name, "available")
        told = kit.messages(service.api, name)
        lost = [text for text in told if "empty" in text and "lost" in text]
        assert len(lost) == 1, told
        assert lost[0].startswith(shards)
    with kit.connect(kit.primary_endpoint(shown["plain"])) as client:
        assert client.dbsize() == 0
        assert client.set("after", "1")
    with kit.connect_cluster(shown["sharded"]) as cluster:
        assert cluster.dbsize() == 0
        assert all(cluster.set(f"key:{n}", n) for n in range(100))
    kit.wait_until("whole", service.engines, is_it=lambda found: len(found) == 4)


def test_no_group_is_called_available_before_it_serves_again(service: kit.Up) -> None:
    """The status of before is of the past, from the first answer on."""
    names = [f"group-{number}" for number in range(12)]
    for name in names:
        kit.create(service.api, name)
    for name in names:
        kit.wait_status(service.api, name, "available")
    for end in (service.stop, service.lose_power):
        end()
        service.start()
        answer = service.api.describe_replication_groups()["ReplicationGroups"]
        for group in answer:
            if group["Status"] == "available":
                with kit.connect(kit.primary_endpoint(group)) as client:
                    assert client.ping()
        for name in names:
            kit.wait_status(service.api, name, "available")


def test_what_was_saved_is_loaded_once_and_never_again(service: kit.Up) -> None:
    """After a loss of power, the snapshot of an earlier stop would be the past."""
    kit.create_available(service.api, "plain", replicas=1)
    primary = kit.primary_endpoint(filled.shown(service, "plain"))
    with kit.connect(primary) as client:
        client.set("color", "old")
    assert service.stop() == 0
    service.start()
    kit.wait_status(service.api, "plain", "available")
    with kit.connect(primary) as client:
        assert client.get("color") == "old"
        client.set("color", "new")
    service.lose_power()
    service.start()
    kit.wait_event(service.api, "plain", "empty")
    kit.wait_status(service.api, "plain", "available")
    with kit.connect(primary) as client:
        assert client.get("color") is None


@pytest.mark.parametrize("after_s", [0.0, 0.03, 0.06])
def test_a_primary_that_dies_right_after_the_start_loses_nothing_silently(
    service: kit.Up, after_s: float
) -> None:
    """Before it served its snapshot is loaded again; after, the group is empty and says so."""
    group = kit.create_available(service.api, "plain", replicas=1)
    with kit.connect(kit.primary_endpoint(group)) as client:
        client.set("greeting", "hello")
    assert service.stop() == 0
    service.start()
    engine = kit.wait_until("it runs", lambda: service.engines().get("plain-001"))
    assert engine is not None
    service.let_run(after_s)
    engine.kill()
    filled.wait_in_sync(service, "plain", 1)
    kit.wait_status(service.api, "plain", "available")
    with kit.connect(kit.primary_endpoint(group)) as client:
        is_empty = client.get("greeting") is None
    told = [text for text in kit.messages(service.api, "plain") if "comes back empty" in text]
    assert len(told) == is_empty


@pytest.mark.parametrize("shards", [0, 1, 3])
def test_a_primary_that_died_while_nobody_watched_is_replaced_by_its_replica(
    service: kit.Up, shards: int
) -> None:
    """The server and one primary end together; the next `up` must not start it empty."""
    group = kit.create_available(service.api, "watched", shards=shards, replicas=1)
    filled.wait_in_sync(service, "watched", max(1, shards))
    with filled.client_of(group) as client:
        for number in range(100):
            client.set(f"key:{number}", number)
    found = service.engines()
    primary = min(found)
    with kit.connect(kit.nodes(service.api, "watched")[primary]) as client:
        client.wait(1, 5_000)
    service.kill()
    found[primary].kill()
    service.start()
    kit.wait_event(service.api, "watched", f"Failover from primary node {primary}")
    kit.wait_status(service.api, "watched", "available")
    with filled.client_of(group) as client:
        assert [client.get(f"key:{n}") for n in range(100)] == [str(n) for n in range(100)]
        assert client.set("after", "1")
    assert not [text for text in kit.messages(service.api, "watched") if "empty" in text]


def test_who_became_primary_saves_and_is_primary_after_the_stop(service: kit.Up) -> None:
    group = kit.create_available(service.api, "plain", replicas=1)
    filled.wait_in_sync(service, "plain", 1)
    service.engines()["plain-001"].kill()
    kit.wait_event(service.api, "plain", "Failover from primary node plain-001")
    kit.wait_status(service.api, "plain", "available")
    with kit.connect(kit.primary_endpoint(group)) as client:
        client.set("greeting", "hello")
    assert service.stop() == 0
    service.start()
    kit.wait_status(service.api, "plain", "available")
    with kit.connect(kit.primary_endpoint(group)) as client:
        assert client.get("greeting") == "hello"
    filled.wait_in_sync(service, "plain", 1)


def test_a_folder_with_a_strange_name_works_like_any_other(tmp_path: Path) -> None:
    folder = tmp_path / 'it\'s a "folder" # for größe %d'
    folder.mkdir()
    with kit.up(folder) as service:
        group = kit.create_available(service.api, "plain", shards=1, replicas=1)
        with kit.connect_cluster(group) as client:
            client.set("greeting", "hello")
        assert service.stop() == 0
        service.start()
        kit.wait_status(service.api, "plain", "available")
        with kit.connect_cluster(group) as client:
            assert client.get("greeting") == "hello"


def test_a_retained_primary_is_stopped_and_brought_back_like_a_group(service: kit.Up) -> None:
    kit.create_available(service.api, "plain", replicas=1)
    endpoint = kit.nodes(service.api, "plain")["plain-001"]
    with kit.connect(endpoint) as client:
        client.set("greeting", "hello")
    service.api.delete_replication_group(ReplicationGroupId="plain", RetainPrimaryCluster=True)
    kit.wait_status(service.api, "plain", "gone")
    for end in (service.stop, service.kill):
        end()
        service.start()

        def seen() -> str:
            answer = service.api.describe_cache_clusters(CacheClusterId="plain-001")
            return str(answer["CacheClusters"][0]["CacheClusterStatus"])

        kit.wait_until("available", seen, is_it=lambda found: found == "available")
        with kit.connect(endpoint) as client:
            assert client.get("greeting") == "hello"
    assert set(service.engines()) == {"plain-001"}
    service.api.delete_cache_cluster(CacheClusterId="plain-001")
    kit.wait_until("gone", service.engines, is_it=lambda found: not found)
    kit.wait_until(
        "no folder", lambda: kit.node_folders(service.state_dir), is_it=lambda found: not found
    )
