"""Does a group with an append-only file have its data again, however its processes ended?

Real service, real engines, boto3. Nothing is replicated away in time here: what is there afterwards
comes from disk.
"""

from __future__ import annotations

import functools
import secrets
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from valkey.exceptions import ValkeyError

from cachewright import testing
from tests import service_kit as kit

COUNT = 500
Make = Callable[..., str]


def make_parameters(api: Any, **values: str) -> str:
    """Make a group of which what is acknowledged is in the file: `everysec` may hold some back."""
    values |= {"appendonly": "yes", "appendfsync": "no"}
    name = f"p-{secrets.token_hex(4)}"
    api.create_cache_parameter_group(
        CacheParameterGroupName=name, CacheParameterGroupFamily="valkey9", Description="of a test"
    )
    change(api, name, **values)
    return name


def change(api: Any, name: str, **values: str) -> None:
    api.modify_cache_parameter_group(
        CacheParameterGroupName=name,
        ParameterNameValues=[
            {"ParameterName": key, "ParameterValue": value} for key, value in values.items()
        ],
    )


@pytest.fixture
def kept(api: Any) -> Iterator[str]:
    """Give a parameter group with an append-only file; it goes after the groups that use it."""
    name = make_parameters(api)
    yield name
    api.delete_cache_parameter_group(CacheParameterGroupName=name)


@pytest.fixture
def group_id(api: Any, kept: str) -> Iterator[str]:
    """Give a fresh id; what the test made of it is deleted before its parameter group."""
    fresh = f"t-{secrets.token_hex(4)}"
    yield fresh
    testing.ReplicationGroup(api, fresh).delete()


def write(endpoint: tuple[str, int], start: int = 0) -> None:
    with kit.connect(endpoint) as client, client.pipeline(transaction=False) as pipeline:
        for number in range(start, start + COUNT):
            pipeline.set(f"key:{number}", number)
        assert all(pipeline.execute())


def count(endpoint: tuple[str, int]) -> int | str:
    """Return how many keys there are, or why nobody says."""
    try:
        with kit.connect(endpoint) as client:
            return int(client.dbsize())
    except (ValkeyError, OSError) as error:
        return repr(error)


def wait_count(endpoint: tuple[str, int], wanted: int) -> None:
    kit.wait_until("all keys", lambda: count(endpoint), is_it=lambda seen: seen == wanted)


def kill_all(service: testing.Service, group: dict[str, Any]) -> None:
    running = kit.engines(service.state_dir)
    for node_id in group["MemberClusters"]:
        running[node_id].kill()
    kit.wait_until(
        "all have ended",
        lambda: [n for n in group["MemberClusters"] if running[n].is_alive()],
        is_it=lambda left: not left,
    )


def setting(state_dir: Any, node_id: str, name: str) -> str:
    try:
        with kit.admin(state_dir, node_id) as admin:
            return str(admin.config_get(name)[name])
    except (ValkeyError, OSError) as error:
        return repr(error)


@pytest.mark.parametrize("replicas", [0, 1])
def test_a_shard_all_of_whose_nodes_are_killed_has_its_data_again(
    service: testing.Service, api: Any, kept: str, group_id: str, replicas: int
) -> None:
    group = kit.create_available(api, group_id, replicas=replicas, CacheParameterGroupName=kept)
    endpoint = kit.primary_endpoint(group)
    for times in (1, 2):
        write(endpoint, start=(times - 1) * COUNT)
        kill_all(service, group)
        wait_count(endpoint, times * COUNT)
        kit.wait_status(api, group_id, "available")
    assert not [text for text in kit.messages(api, group_id) if "lost" in text]


def test_a_file_that_is_begun_later_has_what_was_there_before(
    service: testing.Service, api: Any, kept: str, group_id: str
) -> None:
    change(api, kept, appendonly="no")
    group = kit.create_available(api, group_id, CacheParameterGroupName=kept)
    endpoint = kit.primary_endpoint(group)
    write(endpoint)
    change(api, kept, appendonly="yes")
    node_id = group["MemberClusters"][0]
    kit.wait_until(
        "the file is there",
        lambda: _persistence(service, node_id),
        is_it=lambda seen: seen == ("1", "0", "0", "ok"),
    )
    kill_all(service, group)
    wait_count(endpoint, COUNT)


def _persistence(service: testing.Service, node_id: str) -> tuple[str, ...]:
    names = ("aof_enabled", "aof_rewrite_in_progress", "aof_rewrite_scheduled",
             "aof_last_bgrewrite_status")  # fmt: skip
    with kit.admin(service.state_dir, node_id) as admin:
        found = admin.info("persistence")
    return tuple(str(found[name]) for name in names)


def test_a_file_that_was_given_up_is_never_read_again(
    service: testing.Service, api: Any, kept: str, group_id: str
) -> None:
    """It would bring back values that were overwritten since."""
    group = kit.create_available(api, group_id, CacheParameterGroupName=kept)
    node_id, endpoint = group["MemberClusters"][0], kit.primary_endpoint(group)
    with kit.connect(endpoint) as client:
        client.set("greeting", "old")
    change(api, kept, appendonly="no")
    kit.wait_until(
        "no file", lambda: setting(service.state_dir, node_id, "appendonly"),
        is_it=lambda seen: seen == "no",
    )  # fmt: skip
    with kit.connect(endpoint) as client:
        client.set("greeting", "new")
    kill_all(service, group)
    kit.wait_event(api, node_id, "Finished recovery")
    wait_count(endpoint, 0)


@pytest.mark.slow(15)
@pytest.mark.parametrize("ending", ["stop", "lose_power"])
@pytest.mark.parametrize("shards", [0, 2])
def test_a_service_that_comes_back_has_the_data_and_keeps_it(
    tmp_path_factory: pytest.TempPathFactory, ending: str, shards: int
) -> None:
    folder = tmp_path_factory.mktemp("kept")
    with kit.up(folder, "--address-pool", kit.free_pool()) as service:
        cluster_enabled = "yes" if shards else "no"
        name = make_parameters(service.api, **{"cluster-enabled": cluster_enabled})
        group = kit.create_available(
            service.api, "kept", shards=shards, replicas=0 if shards else 1,
            CacheParameterGroupName=name,
        )  # fmt: skip
        for times in (1, 2):
            _write_to(group, shards, (times - 1) * COUNT)
            if ending == "stop":
                service.stop()
            else:
                service.lose_power()
            service.start()
            kit.wait_status(service.api, "kept", "available")
            assert _count_in(group, shards) == times * COUNT
            for node_id in group["MemberClusters"]:
                kit.wait_until(
                    "the file is written again",
                    functools.partial(setting, service.state_dir, node_id, "appendonly"),
                    is_it=lambda seen: seen == "yes",
                )
        # After a stop the snapshot was loaded: the file must have been begun anew from it.
        service.lose_power()
        service.start()
        kit.wait_status(service.api, "kept", "available")
        assert _count_in(group, shards) == 2 * COUNT


def _write_to(group: dict[str, Any], shards: int, start: int) -> None:
    if not shards:
        write(kit.primary_endpoint(group), start)
        return
    with kit.connect_cluster(group) as client:
        for number in range(start, start + COUNT):
            assert client.set(f"key:{number}", number)


def _count_in(group: dict[str, Any], shards: int) -> int:
    if not shards:
        # Its addresses change when a replica is there to be read from: a connection may be refused.
        counting = functools.partial(count, kit.primary_endpoint(group))
        return int(kit.wait_until("an answer", counting, is_it=lambda seen: isinstance(seen, int)))
    with kit.connect_cluster(group) as client:
        return int(client.dbsize(target_nodes=client.PRIMARIES))
