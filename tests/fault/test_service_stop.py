"""A stop saves, whatever else happens at that moment; the next `up` brings the groups back.

Ctrl-C, SIGTERM, a second one of them, a kill in the middle, a dead or frozen primary.
"""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import service_kit as kit
from tests.fault import service_filled as filled


@pytest.fixture
def service(tmp_path: Path) -> Iterator[kit.Up]:
    with kit.up(tmp_path) as running:
        yield running


@pytest.mark.parametrize(
    ("number", "shards", "replicas"), [(signal.SIGINT, 1, 0), (signal.SIGTERM, 3, 1)]
)
def test_a_stop_saves_and_the_next_start_brings_all_back(
    service: kit.Up, number: signal.Signals, shards: int, replicas: int
) -> None:
    shown = filled.make(service, shards=shards, replicas=replicas)
    before = service.engines()
    places = kit.nodes(service.api, "plain") | kit.nodes(service.api, "sharded")
    assert service.stop(number) == 0
    assert service.engines() == {}
    service.start()
    filled.check(service, shown)
    assert set(service.engines()) == set(before)
    assert kit.nodes(service.api, "plain") | kit.nodes(service.api, "sharded") == places
    for name, count in (("plain", 1), ("sharded", shards * replicas)):
        filled.wait_in_sync(service, name, count)
    told = kit.messages(service.api)
    assert not [text for text in told if "empty" in text]


def test_a_stop_that_leaves_running_leaves_every_engine_serving(service: kit.Up) -> None:
    service.stop()
    service.start("--leave-running")
    shown = filled.make(service)
    before = service.engines()
    with filled.writer(shown["plain"]) as writer:
        assert service.stop() == 0
        writer.wait_for_writes()
        service.start()
        writer.wait_for_writes()
        filled.check(service, shown)
    assert writer.refusals == []
    assert service.engines() == before


def test_a_kill_in_the_middle_of_a_stop_loses_nothing(service: kit.Up) -> None:
    """Those that were told to save save; the others run on; all come back with their data."""
    shown = filled.make(service)
    with kit.connect(kit.primary_endpoint(shown["plain"])) as client:
        for number in range(20):
            client.set(f"large:{number}", "x" * 1_000_000)
    service.process.send_signal(signal.SIGTERM)
    kit.wait_until("the first has ended", service.engines, is_it=lambda found: len(found) < 4)
    service.process.kill()
    service.wait_end()
    service.start()
    filled.check(service, shown)
    assert not [text for text in kit.messages(service.api) if "empty" in text]


def test_a_second_signal_during_a_stop_harms_nobody(service: kit.Up) -> None:
    shown = filled.make(service)
    service.process.send_signal(signal.SIGTERM)
    kit.wait_until("the first has ended", service.engines, is_it=lambda found: len(found) < 4)
    with contextlib.suppress(ProcessLookupError):
        service.process.send_signal(signal.SIGTERM)
    service.wait_end()
    service.start()
    filled.check(service, shown)


def test_a_stop_during_a_create_is_clean_and_the_create_goes_on_after(service: kit.Up) -> None:
    kit.create(service.api, "young", shards=3, replicas=1)
    kit.wait_until("some run", service.engines, is_it=lambda found: len(found) >= 2)
    assert service.stop() == 0
    assert service.engines() == {}
    service.start()
    kit.wait_status(service.api, "young", "available")
    group = filled.shown(service, "young")
    with kit.connect_cluster(group) as cluster:
        assert all(cluster.set(f"key:{n}", n) for n in range(100))
    assert len(filled.members_in_sync(service, "young")) == 3
    kit.delete(service.api, "young")
    kit.assert_nothing_left(service.state_dir)


def test_a_stop_during_a_delete_is_clean_and_the_delete_goes_on_after(service: kit.Up) -> None:
    kit.create_available(service.api, "old", shards=3, replicas=1)
    service.api.delete_replication_group(ReplicationGroupId="old")
    assert service.stop() == 0
    assert service.engines() == {}
    service.start()
    kit.wait_status(service.api, "old", "gone")
    kit.assert_nothing_left(service.state_dir)


@pytest.mark.parametrize("fails_over", [True, False])
def test_a_stop_saves_the_last_copy_when_the_primary_is_dead(
    service: kit.Up, fails_over: bool
) -> None:
    """The replica of a primary that has crashed has all the data there is."""
    kit.create(service.api, "plain", replicas=1, AutomaticFailoverEnabled=fails_over)
    kit.wait_status(service.api, "plain", "available")
    group = filled.shown(service, "plain")
    with kit.connect(kit.primary_endpoint(group)) as client:
        client.set("greeting", "hello")
        assert client.wait(1, 5_000) == 1
    service.engines()["plain-001"].kill()
    if not fails_over:
        kit.wait_event(service.api, "plain", "Failover from primary node")
    assert service.stop() == 0
    service.start()
    kit.wait_status(service.api, "plain", "available")
    with kit.connect(kit.primary_endpoint(group)) as client:
        assert client.get("greeting") == "hello"


def test_a_stop_in_the_middle_of_a_delete_that_retains_keeps_the_data(service: kit.Up) -> None:
    kit.create_available(service.api, "plain", replicas=2)
    endpoint = kit.nodes(service.api, "plain")["plain-001"]
    with kit.connect(endpoint) as client:
        client.set("greeting", "hello")
    service.api.delete_replication_group(ReplicationGroupId="plain", RetainPrimaryCluster=True)
    assert service.stop() == 0
    service.start()
    kit.wait_status(service.api, "plain", "gone")

    kit.wait_until(
        "its data",
        lambda: kit.reachable(endpoint, lambda client: str(client.get("greeting"))),
        is_it=lambda found: found == "hello",
    )
    assert set(service.engines()) == {"plain-001"}


def test_every_write_that_was_acknowledged_before_the_stop_is_there_after(service: kit.Up) -> None:
    """Writers go on until they are refused: nothing between the last answer and the snapshot."""
    kit.create_available(service.api, "plain", replicas=1)
    kit.create_available(service.api, "sharded", shards=1)
    endpoints = (
        kit.primary_endpoint(filled.shown(service, "plain")),
        kit.place(filled.shown(service, "sharded")["ConfigurationEndpoint"]),
    )
    with contextlib.ExitStack() as held:
        clients = [held.enter_context(kit.connect(endpoint)) for endpoint in endpoints]
        writers = [
            held.enter_context(kit.Writer(lambda n, c=client: c.set("n", n)))  # type: ignore[misc]
            for client in clients
        ]
        for writer in writers:
            writer.wait_for_writes()
        assert service.stop() == 0
        for writer in writers:
            kit.wait_until("refused", lambda w=writer: w.refusals)  # type: ignore[misc]
    service.start()
    for name, endpoint, writer in zip(("plain", "sharded"), endpoints, writers, strict=True):
        kit.wait_status(service.api, name, "available")
        with kit.connect(endpoint) as client:
            # One more may have been carried out whose answer was lost.
            assert int(client.get("n")) in {writer.acknowledged, writer.acknowledged + 1}


def test_a_frozen_primary_is_left_running_by_a_stop_with_its_data(service: kit.Up) -> None:
    """It cannot be told to save: its data is worth more than a tidy process table."""
    group = kit.create_available(service.api, "plain")
    with kit.connect(kit.primary_endpoint(group)) as client:
        client.set("greeting", "hello")
    engine = service.engines()["plain-001"]
    engine.kill(signal.SIGSTOP)
    try:
        assert service.stop() == 1
        assert "plain-001 keeps running" in service.output
        assert service.engines() == {"plain-001": engine}
    finally:
        engine.kill(signal.SIGCONT)
    service.start()
    kit.wait_status(service.api, "plain", "available")
    assert service.engines() == {"plain-001": engine}
    with kit.connect(kit.primary_endpoint(group)) as client:
        assert client.get("greeting") == "hello"


def test_a_create_that_is_left_running_goes_on_after(service: kit.Up) -> None:
    service.stop()
    service.start("--leave-running")
    kit.create(service.api, "young", shards=2, replicas=1)
    kit.wait_until("some run", service.engines, is_it=lambda found: len(found) >= 1)
    assert service.stop() == 0
    before = service.engines()
    service.start()
    kit.wait_status(service.api, "young", "available")
    after = service.engines()
    assert {n: e for n, e in after.items() if n in before} == before
    kit.delete(service.api, "young")
    kit.assert_nothing_left(service.state_dir)


def test_a_stop_while_an_engine_is_installed_does_not_wait_for_it(tmp_path: Path) -> None:
    with kit.up(tmp_path, CACHEWRIGHT_ENGINES_DIR=str(tmp_path / "engines")) as service:
        versions = service.api.describe_cache_engine_versions(Engine="valkey", EngineVersion="8.1")
        if not versions["CacheEngineVersions"]:
            pytest.skip("nothing can be installed on this machine")
        kit.create(service.api, "fetched", EngineVersion="8.1")
        kit.wait_event(service.api, "fetched", "Installing valkey 8.1")
        service.process.send_signal(signal.SIGTERM)
        assert service.wait_end(timeout_s=8) == 0
        assert "Traceback" not in service.output
        service.start()
        kit.delete(service.api, "fetched")
        kit.assert_nothing_left(service.state_dir)
