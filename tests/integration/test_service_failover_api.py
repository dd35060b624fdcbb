"""What do callers of the API see when they ask for another primary? Real service, real engines.

A writer pushes numbers all the while: what was acknowledged must be there afterwards, each number
once or more (a client that lost an answer asks again), and the pause is measured loosely. How long
pauses are on a quiet machine is the business of the benchmarks.
"""

from __future__ import annotations

import http.client
import itertools
import json
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any

import botocore.exceptions
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from valkey.exceptions import ValkeyError

from cachewright import testing
from tests import cache_kit
from tests import service_kit as kit

#: Far above the 50 ms that a handover may take, for tests that share two cores, seconds.
PAUSE_MAX_S = 3.0
_KEY = "numbers"


class Numbers:
    """Pushes 1, 2, 3... to a list until it is told to stop; tries each until it is acknowledged."""

    def __init__(self, make_client: Callable[[], Any]) -> None:
        self._make_client = make_client
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="numbers")
        self.acknowledged: list[float] = []

    def __enter__(self) -> Numbers:
        self._thread.start()
        self.wait_for_more()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join(kit.PATIENCE_S)
        assert not self._thread.is_alive()

    def _run(self) -> None:
        client: Any = None
        for number in itertools.count(1):
            while not self._stop.wait(0.001):
                try:
                    client = client or self._make_client()
                    client.rpush(_KEY, number)
                    self.acknowledged.append(time.monotonic())
                    break
                except (ValkeyError, OSError):
                    _close(client)
                    client = None
            if self._stop.is_set():
                _close(client)
                return

    def wait_for_more(self, count: int = 50) -> None:
        wanted = len(self.acknowledged) + count
        kit.wait_until(f"{count} more writes", lambda: len(self.acknowledged) >= wanted)

    def assert_nothing_lost(self) -> None:
        client = self._make_client()
        try:
            there = {int(number) for number in client.lrange(_KEY, 0, -1)}
        finally:
            _close(client)
        lost = [n for n in range(1, len(self.acknowledged) + 1) if n not in there]
        assert lost == []

    @property
    def longest_pause_s(self) -> float:
        return max(later - sooner for sooner, later in itertools.pairwise(self.acknowledged))


def _close(client: Any) -> None:
    if client is not None:
        client.close()


def at_primary(group: dict[str, Any]) -> Callable[[], Any]:
    endpoint = kit.primary_endpoint(group)
    return lambda: kit.connect(endpoint, socket_timeout=1.0)


def engine_roles(service: testing.Service, group_id: str) -> dict[str, str]:
    """Return the role of every member as its engine says it."""
    found: dict[str, str] = {}
    for node_id in kit.engines(service.state_dir):
        if node_id.startswith(f"{group_id}-"):
            try:
                with kit.admin(service.state_dir, node_id) as admin:
                    found[node_id] = str(admin.info("replication")["role"])
            except (ValkeyError, OSError) as error:
                found[node_id] = repr(error)
    return found


def events(api: Any, *sources: str) -> list[tuple[str, str]]:
    """Return (source, message) of the sources, in the order in which it happened."""
    pages = api.get_paginator("describe_events").paginate(Duration=60)
    # The API gives the newest first, in the order of writing at one time.
    found = [event for page in pages for event in page["Events"]][::-1]
    return [
        (e["SourceIdentifier"], e["Message"]) for e in found if e["SourceIdentifier"] in sources
    ]


def wait_finished(api: Any, node_id: str, *, times: int = 1) -> None:
    kit.wait_event(api, node_id, "Finished recovery for cache nodes 0001", times=times)


def test_a_failover_is_tested_without_a_loss_and_told_in_five_events(
    service: testing.Service, api: Any, group_id: str
) -> None:
    group = kit.create_available(api, group_id, replicas=1)
    old, new = group["MemberClusters"]
    assert kit.roles(api, group_id) == {old: "primary", new: "replica"}
    before = kit.engines(service.state_dir)
    statuses: set[str] = set()
    with Numbers(at_primary(group)) as numbers:
        told = len(events(api, group_id, old, new))
        answer = api.test_failover(ReplicationGroupId=group_id, NodeGroupId="0001")
        assert answer["ReplicationGroup"]["Status"] == "available"

        def has_finished() -> bool:
            statuses.add(kit.status(api, group_id))
            return "Finished recovery for cache nodes 0001" in kit.messages(api, old)

        kit.wait_until("the old primary is back", has_finished)
        numbers.wait_for_more()
    failover = f"Failover from primary node {old} to replica node {new} completed"
    assert events(api, group_id, old, new)[told:] == [
        (group_id, "Test Failover API called for node group 0001"),
        (old, failover),
        (group_id, failover),
        (old, "Recovering cache nodes 0001"),
        (old, "Finished recovery for cache nodes 0001"),
    ]
    assert statuses == {"available"}
    numbers.assert_nothing_lost()
    assert numbers.longest_pause_s < PAUSE_MAX_S
    assert kit.roles(api, group_id) == {old: "replica", new: "primary"}
    assert engine_roles(service, group_id) == {old: "slave", new: "master"}
    # The old primary was replaced, the new one never ended.
    now = kit.engines(service.state_dir)
    assert now[old].pid != before[old].pid
    assert now[new] == before[new]


def test_one_shard_fails_over_and_the_others_notice_nothing(
    service: testing.Service, api: Any, group_id: str
) -> None:
    group = kit.create_available(api, group_id, shards=3, replicas=1)
    old, new = f"{group_id}-0002-001", f"{group_id}-0002-002"
    before = kit.engines(service.state_dir)
    with Numbers(lambda: kit.connect_cluster(group)) as numbers:
        api.test_failover(ReplicationGroupId=group_id, NodeGroupId="0002")
        with pytest.raises(botocore.exceptions.ClientError) as caught:
            api.test_failover(ReplicationGroupId=group_id, NodeGroupId="0001")
        assert caught.value.response["Error"]["Code"] == "InvalidReplicationGroupState"
        wait_finished(api, old)
        numbers.wait_for_more()
    numbers.assert_nothing_lost()
    found = engine_roles(service, group_id)
    assert (found[old], found[new]) == ("slave", "master")
    now = kit.engines(service.state_dir)
    assert {n for n in before if n.startswith(group_id) and before[n] != now.get(n)} == {old}
    # Now the next one may.
    api.test_failover(ReplicationGroupId=group_id, NodeGroupId="0001")
    wait_finished(api, f"{group_id}-0001-001")


def test_a_replica_is_made_the_primary_and_back_without_a_loss_or_a_restart(
    service: testing.Service, api: Any, group_id: str
) -> None:
    group = kit.create_available(api, group_id, replicas=2, AutomaticFailoverEnabled=False)
    first, second, third = group["MemberClusters"]
    before = kit.engines(service.state_dir)
    with Numbers(at_primary(group)) as numbers:
        for wanted in (third, second, first):
            # A replica that has just been given another primary may still be on its way to it.
            cache_kit.wait_available(api, wanted)
            answer = api.modify_replication_group(
                ReplicationGroupId=group_id, PrimaryClusterId=wanted, ApplyImmediately=True
            )
            assert answer["ReplicationGroup"]["Status"] == "modifying"
            kit.wait_status(api, group_id, "available")
            assert kit.roles(api, group_id)[wanted] == "primary"
            numbers.wait_for_more()
    numbers.assert_nothing_lost()
    assert numbers.longest_pause_s < PAUSE_MAX_S
    found = engine_roles(service, group_id)
    assert found == {first: "master", second: "slave", third: "slave"}
    now = kit.engines(service.state_dir)
    assert [now[n] for n in (first, second, third)] == [before[n] for n in (first, second, third)]
    told = [text for source, text in events(api, group_id) if text.startswith("Failover")]
    assert told == [
        f"Failover from primary node {a} to replica node {b} completed"
        for a, b in ((first, third), (third, second), (second, first))
    ]


def test_failover_is_turned_on_and_off_while_the_group_serves(api: Any, group_id: str) -> None:
    kit.create_available(
        api,
        group_id,
        replicas=1,
        AutomaticFailoverEnabled=False,
        PreferredCacheClusterAZs=["us-east-1a", "us-east-1b"],
    )

    def switch(*, is_on: bool) -> None:
        word = "enabled" if is_on else "disabled"
        answer = api.modify_replication_group(
            ReplicationGroupId=group_id,
            AutomaticFailoverEnabled=is_on,
            MultiAZEnabled=is_on,
            ApplyImmediately=True,
        )
        assert answer["ReplicationGroup"]["AutomaticFailover"] == f"{word[:-2]}ing"
        kit.wait_until(
            word,
            lambda: kit.describe(api, group_id),
            is_it=lambda seen: seen is not None and seen["AutomaticFailover"] == word,
        )
        group = kit.describe(api, group_id)
        assert group is not None
        assert (group["MultiAZ"], group["Status"]) == (word, "available")
        assert group["PendingModifiedValues"] == {}

    switch(is_on=True)
    switch(is_on=False)
    told = [text for _, text in events(api, group_id) if "turned" in text]
    assert told == [
        f"Automatic failover has been turned {word} for replication group {group_id}"
        for word in ("on", "off")
    ]


def test_a_reboot_of_a_primary_hands_over_without_a_loss(
    service: testing.Service, api: Any, group_id: str
) -> None:
    group = kit.create_available(api, group_id, replicas=1)
    old, new = group["MemberClusters"]
    with Numbers(at_primary(group)) as numbers:
        answer = api.reboot_cache_cluster(CacheClusterId=old, CacheNodeIdsToReboot=["0001"])
        assert answer["CacheCluster"]["CacheClusterStatus"] == "rebooting cluster nodes"
        kit.wait_event(api, old, "Cache node 0001 restarted")
        kit.wait_status(api, group_id, "available")
        numbers.wait_for_more()
    numbers.assert_nothing_lost()
    assert numbers.longest_pause_s < PAUSE_MAX_S
    assert kit.roles(api, group_id) == {old: "replica", new: "primary"}
    told = kit.messages(api, old)
    assert "Recovering cache nodes 0001" not in told
    assert f"Failover from primary node {old} to replica node {new} completed" in told


# Drills


def drill(service: testing.Service, group_id: str, **asked: object) -> tuple[int, dict[str, Any]]:
    path = f"/cachewright/v1/groups/{group_id}/drill"
    body = json.dumps(asked).encode()
    request = AWSRequest(method="POST", url=service.url + path, data=body, headers={})
    credentials = Credentials(
        service.credentials.access_key_id, service.credentials.secret_access_key
    )
    SigV4Auth(credentials, "elasticache", service.region).add_auth(request)
    place = urllib.parse.urlsplit(service.url)
    connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=20)
    try:
        connection.request("POST", path, body, dict(request.headers))
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


def test_a_drill_ends_the_primary_and_a_replica_takes_over(
    service: testing.Service, api: Any, group_id: str
) -> None:
    group = kit.create_available(api, group_id, replicas=1)
    old, new = group["MemberClusters"]
    process = kit.engines(service.state_dir)[old]
    status, answer = drill(service, group_id)
    assert (status, answer["node_id"], answer["shard_id"]) == (200, old, "0001")
    assert not process.is_alive()
    kit.wait_until(
        "roles have changed",
        lambda: kit.roles(api, group_id),
        is_it=lambda seen: seen == {old: "replica", new: "primary"},
    )
    kit.wait_status(api, group_id, "available")
    assert f"Drill: primary {old} of shard 0001 is ended" in kit.messages(api, group_id)


def test_a_drill_of_a_single_node_has_to_be_meant(
    service: testing.Service, api: Any, group_id: str
) -> None:
    kit.create_available(api, group_id)
    node = kit.engines(service.state_dir)[f"{group_id}-001"]
    status, answer = drill(service, group_id)
    assert (status, answer["code"]) == (400, "InvalidReplicationGroupState")
    assert node.is_alive()
    status, answer = drill(service, group_id, accepts_loss=True)
    assert (status, answer["node_id"]) == (200, f"{group_id}-001")
    assert not node.is_alive()
    wait_finished(api, f"{group_id}-001")


# The limit


@pytest.fixture(scope="module")
def frugal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[kit.Up]:
    """Give a service with two tests of failover a day."""
    folder = tmp_path_factory.mktemp("frugal")
    arguments = ("--address-pool", kit.free_pool(), "--quota", "test-failovers-per-day=2")
    with kit.up(folder, *arguments) as service:
        yield service


def test_the_limit_of_a_day_outlives_groups_and_the_service(frugal: kit.Up) -> None:
    api = frugal.api
    for number in range(3):
        name = f"limited-{number}"
        group = kit.create_available(api, name, replicas=1)
        if number == 2:
            with pytest.raises(botocore.exceptions.ClientError) as caught:
                api.test_failover(ReplicationGroupId=name, NodeGroupId="0001")
            assert caught.value.response["Error"]["Code"] == "APICallRateForCustomerExceeded"
            assert set(kit.roles(api, name).values()) == {"primary", "replica"}
        else:
            api.test_failover(ReplicationGroupId=name, NodeGroupId="0001")
            wait_finished(api, group["MemberClusters"][0])
        kit.delete(api, name)
