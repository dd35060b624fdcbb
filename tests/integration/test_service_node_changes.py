"""Replicas come and go, nodes grow, engines are replaced: clients write on and notice nothing."""

from __future__ import annotations

import contextlib
import resource
import secrets
import time
from collections.abc import Iterator
from typing import Any

import pytest

from cachewright import testing
from cachewright.checker import clients, judge, lanes, traffic
from cachewright.checker.judge import Verdict
from tests import service_kit as kit

LARGE = "cache.m6g.large"
#: Two cores are shared with other tests.
_REQUESTS_PER_S = 800
_SERVED_S = 20.0
#: Of every node one after the other, with a wait of two seconds each in cluster mode.
_UPGRADE_S = 120.0
_INSTALL_S = 100.0


@contextlib.contextmanager
def checked(group: dict[str, Any]) -> Iterator[list[Verdict]]:
    """Let stock clients write to and read from every shard for the block, and judge it."""
    is_cluster = "ConfigurationEndpoint" in group
    host, port = (
        kit.place(group["ConfigurationEndpoint"]) if is_cluster else kit.primary_endpoint(group)
    )
    everything = lanes.over_everything(
        secrets.token_hex(4),
        is_cluster=is_cluster,
        requests_per_s=_REQUESTS_PER_S,
        slots_per_key=64,
    )
    target = clients.Target(host=host, port=port, is_cluster=is_cluster)
    verdicts: list[Verdict] = []
    with traffic.running(target, everything) as running:
        assert running.wait_until_served(_SERVED_S)
        begin_s = time.monotonic()
        yield verdicts
        assert running.wait_until_served(_SERVED_S)
        verdicts.append(judge.judge(running.finish(), begin_s))


def failed(verdict: Verdict) -> list[tuple[str, ...]]:
    return [lane.errors for lane in verdict.lanes if lane.errors]


def known_nodes(service: testing.Service, node_ids: list[str]) -> set[int]:
    """Return how many nodes each of these says its cluster has."""
    found: set[int] = set()
    for node_id in node_ids:
        with kit.admin(service.state_dir, node_id) as admin:
            lines = admin.execute_command("CLUSTER", "NODES").splitlines()
        found.add(sum("handshake" not in line for line in lines))
    return found


def pids(service: testing.Service, group: dict[str, Any]) -> dict[str, int]:
    members = set(group["MemberClusters"])
    running = kit.engines(service.state_dir)
    return {node_id: engine.pid for node_id, engine in running.items() if node_id in members}


def settings(service: testing.Service, node_id: str) -> dict[str, str]:
    with kit.admin(service.state_dir, node_id) as admin:
        return dict(admin.config_get("maxmemory", "maxclients", "client-output-buffer-limit"))


def test_replicas_come_and_go_in_a_cluster_that_is_written_to(
    service: testing.Service, api: Any, group_id: str
) -> None:
    group = kit.create_available(api, group_id, shards=2, replicas=1)
    with checked(group) as verdicts:
        api.increase_replica_count(
            ReplicationGroupId=group_id, NewReplicaCount=2, ApplyImmediately=True
        )
        kit.wait_status(api, group_id, "available")
        grown = kit.describe(api, group_id)
        assert grown is not None
        assert len(grown["MemberClusters"]) == 6
        assert known_nodes(service, grown["MemberClusters"]) == {6}
        for node_id in grown["MemberClusters"]:
            with kit.admin(service.state_dir, node_id) as admin:
                replication = admin.info("replication")
            if replication["role"] == "slave":
                assert replication["master_link_status"] == "up"
        api.decrease_replica_count(
            ReplicationGroupId=group_id, NewReplicaCount=1, ApplyImmediately=True
        )
        kit.wait_status(api, group_id, "available")
        shrunk = kit.describe(api, group_id)
        assert shrunk is not None
        assert known_nodes(service, shrunk["MemberClusters"]) == {4}
    (verdict,) = verdicts
    assert failed(verdict) == []
    assert verdict.keeps_everything
    gone = set(grown["MemberClusters"]) - set(shrunk["MemberClusters"])
    assert len(gone) == 2
    for node_id in gone:
        assert "Cache cluster deleted" in kit.messages(api, node_id)


def test_a_node_type_changes_in_processes_that_run_on(
    service: testing.Service, api: Any, group_id: str
) -> None:
    group = kit.create_available(api, group_id, shards=3, replicas=1)
    before = pids(service, group)
    with checked(group) as verdicts:
        _, files_max = resource.getrlimit(resource.RLIMIT_NOFILE)
        for node_type, clients_max in ((LARGE, 65_000), (kit.NODE_TYPE, 20_000)):
            api.modify_replication_group(
                ReplicationGroupId=group_id, CacheNodeType=node_type, ApplyImmediately=True
            )
            kit.wait_status(api, group_id, "available")
            for node_id in before:
                found = settings(service, node_id)
                assert int(found["maxclients"]) == min(clients_max, files_max - 32)
            kit.wait_event(
                api,
                group_id,
                f"Succeeded applying modification to cache node type to {node_type}.",
            )
    (verdict,) = verdicts
    assert failed(verdict) == []
    assert verdict.keeps_everything
    assert pids(service, group) == before
    assert not [m for m in kit.messages(api) if "restarted" in m and group_id in m]


@pytest.fixture
def offered(api: Any) -> set[tuple[str, str]]:
    versions = api.describe_cache_engine_versions()["CacheEngineVersions"]
    return {(v["Engine"], v["EngineVersion"]) for v in versions}


@pytest.mark.parametrize("shards", [0, 2])
def test_redis_becomes_valkey_and_valkey_newer_while_clients_write(
    service: testing.Service,
    api: Any,
    group_id: str,
    offered: set[tuple[str, str]],
    shards: int,
) -> None:
    path = [("redis", "7.0"), ("valkey", "8.1"), ("valkey", "9.1")]
    missing = [line for line in path if line not in offered]
    if missing:
        pytest.skip(f"{missing} cannot be had on this machine")
    kit.create(api, group_id, shards=shards, replicas=1, Engine="redis", EngineVersion="7.0")
    kit.wait_status(api, group_id, "available", timeout_s=_INSTALL_S)
    group = kit.describe(api, group_id)
    assert group is not None
    for engine, version in path[1:]:
        with checked(group) as verdicts:
            api.modify_replication_group(
                ReplicationGroupId=group_id,
                Engine=engine,
                EngineVersion=version,
                ApplyImmediately=True,
            )
            assert kit.status(api, group_id) == "modifying"
            kit.wait_status(api, group_id, "available", timeout_s=_INSTALL_S + _UPGRADE_S)
        (verdict,) = verdicts
        assert verdict.keeps_everything
        if shards:
            assert failed(verdict) == []
        else:
            # valkey-py does not ask again there when its connection is closed; others do, but none
            # of them asks again when a replica refuses a write.
            assert "ReadOnlyError" not in repr(failed(verdict))
        for node_id, endpoint in kit.nodes(api, group_id).items():
            with kit.connect(endpoint) as client:
                assert client.info("server")["valkey_version"].startswith(f"{version}.")
            (shown,) = api.describe_cache_clusters(CacheClusterId=node_id)["CacheClusters"]
            assert shown["Engine"] == engine
            assert shown["EngineVersion"].startswith(f"{version}.")
    said = kit.messages(api, group_id)
    assert f"Upgrading replication group {group_id} from redis 7.0 to valkey 8.1" in said
    assert f"Finished upgrading replication group {group_id} to valkey 9.1" in said
    assert not [text for text in said if "does not serve fully" in text]


def test_everybody_knows_the_claims_of_all_primaries_after_an_upgrade(
    service: testing.Service, api: Any, group_id: str, offered: set[tuple[str, str]]
) -> None:
    """Valkey 8.0 lets a former primary lower its successor's claim, which then gets no votes."""
    if missing := {("redis", "7.0"), ("valkey", "8.0")} - offered:
        pytest.skip(f"{missing} cannot be had on this machine")
    kit.create(api, group_id, shards=3, replicas=1, Engine="redis", EngineVersion="7.0")
    kit.wait_status(api, group_id, "available", timeout_s=_INSTALL_S)
    api.modify_replication_group(
        ReplicationGroupId=group_id, Engine="valkey", EngineVersion="8.0", ApplyImmediately=True
    )
    kit.wait_status(api, group_id, "available", timeout_s=_INSTALL_S + _UPGRADE_S)
    group = kit.describe(api, group_id)
    assert group is not None

    def claims() -> set[frozenset[tuple[str, str]]]:
        """Return what each node knows of the primaries and the epochs of their claims."""
        found = set()
        for node_id in group["MemberClusters"]:
            with kit.admin(service.state_dir, node_id) as admin:
                lines = admin.execute_command("CLUSTER", "NODES").splitlines()
            owners = (words for line in lines if len(words := line.split()) > 8)
            found.add(frozenset((words[0], words[6]) for words in owners))
        return found

    (agreed,) = kit.wait_until("agreed", claims, is_it=lambda seen: len(seen) == 1)
    assert len(agreed) == 3
