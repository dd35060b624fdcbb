"""Which parameter groups may be made and changed, and who may use them?"""

from __future__ import annotations

import asyncio
import dataclasses
from pathlib import Path

import pytest

from cachewright.api import render_caches
from cachewright.model.groups import GroupSpec, PendingChanges
from cachewright.model.parameters import ParameterGroup
from cachewright.model.settings import Limits
from cachewright.model.status import SourceType
from cachewright.service import (
    cache_clusters,
    inputs_cache_clusters,
    parameter_groups,
    replication_groups,
    views,
)
from cachewright.service import inputs_parameters as inputs
from cachewright.service.inputs import ModifyReplicationGroup, Tag
from cachewright.service.inputs_parameters import ParameterNameValue
from cachewright.store.records import SPEC, ChangeSet
from tests.unit.service.service_world import CLUSTER_OFFERS, World, code_of, run


async def create(
    world: World,
    name: str = "mine",
    family: str = "valkey9",
    description: str = "d",
    tags: tuple[Tag, ...] = (),
    **values: str,
) -> ParameterGroup:
    wanted = inputs.CreateCacheParameterGroup(
        cache_parameter_group_name=name,
        cache_parameter_group_family=family,
        description=description,
        tags=tags,
    )
    made = await parameter_groups.create(world.service, wanted)
    if values:
        await modify(world, name, **values)
    return made


def pairs(values: dict[str, str]) -> tuple[ParameterNameValue, ...]:
    return tuple(
        ParameterNameValue(parameter_name=key.replace("_", "-"), parameter_value=value)
        for key, value in values.items()
    )


async def modify(world: World, name: str = "mine", **values: str) -> str:
    return await modify_exactly(world, name, pairs(values))


async def modify_exactly(world: World, name: str, given: tuple[ParameterNameValue, ...]) -> str:
    wanted = inputs.ModifyCacheParameterGroup(
        cache_parameter_group_name=name, parameter_name_values=given
    )
    return await parameter_groups.modify(world.service, wanted)


async def reset(world: World, *names: str, name: str = "mine", everything: bool = False) -> str:
    wanted = inputs.ResetCacheParameterGroup(
        cache_parameter_group_name=name,
        reset_all_parameters=everything or None,
        parameter_name_values=tuple(ParameterNameValue(parameter_name=each) for each in names),
    )
    return await parameter_groups.reset(world.service, wanted)


async def delete(world: World, name: str = "mine") -> None:
    wanted = inputs.DeleteCacheParameterGroup(cache_parameter_group_name=name)
    await parameter_groups.delete(world.service, wanted)


def values_of(world: World, name: str = "mine") -> dict[str, str]:
    found = world.records.parameter_group(name)
    assert found is not None
    return dict(found.value.values)


def generations(world: World, *specs: GroupSpec) -> list[int]:
    """Return how many changes the groups count by now."""
    found = [world.records.spec(spec.uid) for spec in specs]
    return [-1 if spec is None else spec.value.generation for spec in found]


@pytest.mark.parametrize(
    ("name", "family", "description", "code"),
    [
        pytest.param("", "valkey9", "d", "InvalidParameterValue", id="no name"),
        pytest.param("a" * 256, "valkey9", "d", "InvalidParameterValue", id="256 characters"),
        pytest.param("a_b", "valkey9", "d", "InvalidParameterValue", id="an underscore"),
        pytest.param("a.b", "valkey9", "d", "InvalidParameterValue", id="a dot"),
        pytest.param("1a", "valkey9", "d", "InvalidParameterValue", id="a digit first"),
        pytest.param("a-", "valkey9", "d", "InvalidParameterValue", id="a hyphen last"),
        pytest.param("a--b", "valkey9", "d", "InvalidParameterValue", id="two hyphens"),
        pytest.param("\u00e4", "valkey9", "d", "InvalidParameterValue", id="an umlaut"),
        pytest.param("default.valkey9", "valkey9", "d", "InvalidParameterValue", id="a default"),
        pytest.param("mine", "valkey7", "d", "InvalidParameterValue", id="nothing runs it"),
        pytest.param("mine", "Valkey9", "d", "InvalidParameterValue", id="family in other case"),
        pytest.param("mine", "", "d", "InvalidParameterValue", id="no family"),
        pytest.param("mine", "valkey9", " ", "InvalidParameterValue", id="no description"),
        pytest.param("mine", "valkey9", "d" * 256, "InvalidParameterValue", id="a long one"),
        pytest.param("a" * 255, "memcached1.6", "d" * 255, "accepted", id="limits"),
    ],
)
def test_a_group_that_is_wrong_is_refused(
    tmp_path: Path, name: str, family: str, description: str, code: str
) -> None:
    async def scenario(world: World) -> None:
        assert await code_of(create(world, name, family, description)) == code
        assert len(world.records.parameter_groups()) == (code == "accepted")

    run(tmp_path, scenario)


def test_a_new_group_is_there_once_with_its_tags_until_it_is_deleted(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        arn = world.service.arns.of_parameter_group("mine")
        await create(world, "Mine", tags=(Tag(key="team", value="a"),))
        assert world.records.tags(arn).value == {"team": "a"}
        assert await code_of(create(world, "MINE")) == "CacheParameterGroupAlreadyExists"
        await delete(world, "mINE")
        assert world.records.parameter_group("mine") is None
        assert world.records.tags(arn).mod_revision == 0
        assert await code_of(delete(world)) == "CacheParameterGroupNotFound"
        events = [(event.source_id, event.message) for event in world.events()]
        assert events == [
            ("mine", "Cache parameter group mine created"),
            ("mine", "Cache parameter group mine deleted"),
        ]
        assert {event.source_type for event in world.events()} == {SourceType.CACHE_PARAMETER_GROUP}

    run(tmp_path, scenario)


def test_there_is_a_quota(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        await create(world, "a")
        await create(world, "b")
        assert await code_of(create(world, "c")) == "CacheParameterGroupQuotaExceeded"
        await delete(world, "a")
        await create(world, "c")

    run(tmp_path, scenario, limits=Limits(parameter_groups=2))


def test_default_groups_are_there_and_stay_as_they_are(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        await create(world, "mine")
        everything = parameter_groups.describe(world.service, inputs.DescribeCacheParameterGroups())
        names = [group.name for group in everything]
        assert names == sorted(names)
        assert {"default.redis7", "default.valkey8.cluster.on", "mine"} < set(names)
        one = inputs.DescribeCacheParameterGroups(cache_parameter_group_name="Default.Valkey9")
        (found,) = parameter_groups.describe(world.service, one)
        assert found.name == "default.valkey9"
        code = "InvalidCacheParameterGroupState"
        for name in ("default.valkey9", "DEFAULT.valkey9.cluster.on"):
            assert await code_of(modify(world, name, timeout="20")) == code
            assert await code_of(reset(world, name=name, everything=True)) == code
            assert await code_of(delete(world, name)) == code

    run(tmp_path, scenario)


def test_values_are_set_and_given_back(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        await create(world)
        assert await modify(world, "MINE", timeout="20", maxmemory_policy="allkeys-lru") == "mine"
        await modify(world, timeout="30")
        assert values_of(world) == {"timeout": "30", "maxmemory-policy": "allkeys-lru"}
        await modify(world, hash_max_listpack_value="64")  # the default, and yet set
        await reset(world, "timeout", "latency-tracking")
        assert values_of(world) == {
            "maxmemory-policy": "allkeys-lru",
            "hash-max-listpack-value": "64",
        }
        await reset(world, everything=True)
        assert values_of(world) == {}
        texts = [event.message for event in world.events()][1:]
        assert texts == [
            "Updated parameter maxmemory-policy to allkeys-lru",
            "Updated parameter timeout to 20",
            "Updated parameter timeout to 30",
            "Updated parameter hash-max-listpack-value to 64",
            "Reset parameter timeout",
            "Reset parameter hash-max-listpack-value",
            "Reset parameter maxmemory-policy",
        ]

    run(tmp_path, scenario)


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("no-such-thing", "1", "Parameter no-such-thing doesn't exist"),
        ("Timeout", "20", "Parameter Timeout doesn't exist"),
        ("lazyfree-lazy-expire", "yes", "doesn't exist"),
        ("max_item_size", "2097152", "doesn't exist"),
        ("x" * 100_000, "1", "doesn't exist"),
        ("", "1", "ParameterName must be provided"),
        (None, "1", "ParameterName must be provided"),
        ("timeout", None, "ParameterValue must be provided"),
        ("timeout", "", "is invalid"),
        ("timeout", "19", "it takes integer 0,20-"),
        ("timeout", "1" * 100_000, "is invalid"),
        ("timeout", "20\nsave 1 1", "is invalid"),
        ("maxmemory-policy", 'x"\r\nmaxmemory 0', "is invalid"),
        ("notify-keyspace-events", "KEA\0", "any of the letters"),
        ("maxmemory", "1", "cannot be modified"),
        ("maxclients", "10", "cannot be modified"),
        ("rename-commands", "flushall gone", "the word blocked"),
        ("replica-allow-chaining", "yes", "cannot be modified"),
        ("activedefrag", "yes", "one of no"),
        ("reserved-memory-percent", "101", "integer 0-100"),
    ],
)
def test_names_and_values_that_are_wrong_are_refused(
    tmp_path: Path, name: str | None, value: str | None, text: str
) -> None:
    async def scenario(world: World) -> None:
        await create(world, slowlog_max_len="7")
        before = world.records.revision
        good = ParameterNameValue(parameter_name="timeout", parameter_value="40")
        bad = ParameterNameValue(parameter_name=name, parameter_value=value)
        given = (bad,) if name == "timeout" else (good, bad)
        with pytest.raises(Exception, match=text) as caught:
            await modify_exactly(world, "mine", given)
        assert caught.value.code == "InvalidParameterValue"  # type: ignore[attr-defined] # a fault
        assert len(str(caught.value)) < 1_000
        # All or nothing.
        assert world.records.revision == before
        assert values_of(world) == {"slowlog-max-len": "7"}

    run(tmp_path, scenario)


def test_how_many_parameters_a_call_may_name(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        await create(world)
        names = [
            *("acllog-max-len", "active-defrag-cycle-max", "active-defrag-cycle-min"),
            *("active-defrag-max-scan-fields", "active-defrag-threshold-lower"),
            *("active-defrag-threshold-upper", "active-expire-effort", "hash-max-listpack-entries"),
            *("hash-max-listpack-value", "hll-sparse-max-bytes", "lfu-decay-time"),
            *("lfu-log-factor", "list-compress-depth", "maxmemory-samples"),
            *("min-replicas-max-lag", "min-replicas-to-write", "repl-backlog-ttl"),
            *("set-max-intset-entries", "slowlog-max-len", "stream-node-max-bytes"),
            "stream-node-max-entries",
        ]
        given = tuple(ParameterNameValue(parameter_name=n, parameter_value="1") for n in names)
        assert len(given) == 21
        refused = "InvalidParameterValue"
        assert await code_of(modify_exactly(world, "mine", given)) == refused
        assert await code_of(modify_exactly(world, "mine", ())) == refused
        assert await code_of(modify_exactly(world, "mine", (given[0], given[0]))) == refused
        assert values_of(world) == {}
        await modify_exactly(world, "mine", given[:20])
        assert len(values_of(world)) == 20
        assert await code_of(reset(world)) == "InvalidParameterCombination"
        both = reset(world, "timeout", everything=True)
        assert await code_of(both) == "InvalidParameterCombination"
        assert await code_of(reset(world, "no-such-thing")) == refused

    run(tmp_path, scenario)


def test_values_that_contradict_each_other_are_refused(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        await create(world, reserved_memory_percent="30")
        refused = "InvalidParameterCombination"
        assert await code_of(modify(world, reserved_memory="1000")) == refused
        await modify(world, reserved_memory="1000", reserved_memory_percent="0")
        await reset(world, "reserved-memory")
        await create(world, "items", "memcached1.6")

        async def items(**values: str) -> str:
            given = tuple(
                ParameterNameValue(parameter_name=name, parameter_value=value)
                for name, value in values.items()
            )
            return await code_of(modify_exactly(world, "items", given))

        assert await items(max_item_size="262144") == refused
        assert await items(max_item_size="262144", slab_chunk_max="262144") == "accepted"
        assert await items(slab_chunk_max="524288") == refused

    run(tmp_path, scenario)


def test_what_is_in_use_cannot_be_deleted_and_changes_wake_its_users(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        await create(world)
        await create(world, "other")
        spec = await world.create_available(cache_parameter_group_name="Mine")
        waits = await world.create_available(replication_group_id="waits")
        pending = dataclasses.replace(waits, pending=PendingChanges(parameter_group="mine"))
        changes = ChangeSet()
        changes.put(SPEC + waits.uid, pending)
        await world.records.commit(changes)
        elsewhere = await world.create_available(
            replication_group_id="elsewhere", cache_parameter_group_name="other"
        )
        assert spec.parameter_group == "mine"
        assert await code_of(delete(world)) == "InvalidCacheParameterGroupState"
        world.woken.clear()
        await modify(world, timeout="20")
        assert set(world.woken) == {spec.uid, waits.uid}
        assert generations(world, spec, waits, elsewhere) == [2, 2, 1]
        await modify(world, timeout="20")
        assert generations(world, spec, waits, elsewhere) == [2, 2, 1]
        world.woken.clear()
        await reset(world, everything=True)
        assert elsewhere.uid not in world.woken
        await world.forget(spec)
        assert await code_of(delete(world)) == "InvalidCacheParameterGroupState"
        await world.forget(pending)
        await delete(world)

    run(tmp_path, scenario)


def test_some_parameters_change_only_while_nobody_uses_the_group(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        await create(world, databases="4")
        spec = await world.create_available(cache_parameter_group_name="mine")
        code = "InvalidCacheParameterGroupState"
        assert await code_of(modify(world, databases="5")) == code
        assert await code_of(modify(world, cluster_enabled="yes")) == code
        assert await code_of(modify(world, cluster_databases="2")) == code
        assert await code_of(reset(world, "databases")) == code
        assert await code_of(reset(world, everything=True)) == code
        await modify(world, databases="4", timeout="20")
        await world.forget(spec)
        await modify(world, databases="5", cluster_enabled="yes")
        await reset(world, everything=True)

    run(tmp_path, scenario)


def test_a_change_must_fit_the_nodes_that_use_the_group(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        await create(world)
        await world.create_available(cache_parameter_group_name="mine")
        much = "600000000"  # more than the smallest type has
        refused = await code_of(modify(world, reserved_memory=much))
        assert refused == "InvalidParameterCombination"
        await create(world, "large", reserved_memory=much)
        small = world.create(replication_group_id="small", cache_parameter_group_name="large")
        assert await code_of(small) == "InvalidParameterCombination"
        await world.create(
            replication_group_id="fits",
            cache_parameter_group_name="large",
            cache_node_type="cache.m7g.large",
        )

    run(tmp_path, scenario)


def test_the_mode_of_a_new_group_follows_its_parameter_group(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        await create(world, cluster_enabled="yes")
        await create(world, "plain")
        made = await world.create(cache_parameter_group_name="mine")
        assert (made.spec.cluster_enabled, made.spec.parameter_group) == (True, "mine")
        sharded = world.create(
            replication_group_id="other", num_node_groups=2, cache_parameter_group_name="plain"
        )
        assert await code_of(sharded) == "InvalidParameterCombination"
        for name, code in [
            ("default.redis7", "InvalidParameterCombination"),
            ("default.memcached1.6", "InvalidParameterCombination"),
            ("nobodys", "CacheParameterGroupNotFound"),
            ("x" * 300, "CacheParameterGroupNotFound"),
        ]:
            refused = world.create(replication_group_id="third", cache_parameter_group_name=name)
            assert await code_of(refused) == code

    run(tmp_path, scenario)


def test_another_group_must_agree_on_what_is_fixed(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        await create(world, "four", databases="4")
        await create(world, "more", databases="4", timeout="30")
        await create(world, "five", databases="5")
        await world.create_available(cache_parameter_group_name="four")

        async def move(name: str) -> str:
            wanted = ModifyReplicationGroup(
                replication_group_id="demo",
                cache_parameter_group_name=name,
                apply_immediately=True,
            )
            return await code_of(replication_groups.modify(world.service, wanted))

        assert await move("five") == "InvalidParameterCombination"
        assert await move("default.valkey9") == "InvalidParameterCombination"
        assert await move("more") == "accepted"
        await delete(world, "four")
        assert await code_of(delete(world, "more")) == "InvalidCacheParameterGroupState"

    run(tmp_path, scenario)


@pytest.mark.parametrize("is_delete_first", [True, False])
def test_a_delete_and_a_use_at_one_time_do_not_both_succeed(
    tmp_path: Path, is_delete_first: bool
) -> None:
    async def scenario(world: World) -> None:
        for number in range(8):
            name = f"mine{number}"
            await create(world, name)
            calls = [
                code_of(delete(world, name)),
                code_of(world.create(replication_group_id=name, cache_parameter_group_name=name)),
            ]
            codes = await asyncio.gather(*calls[:: 1 if is_delete_first else -1])
            is_used = world.records.uid_of_group(name) is not None
            assert (world.records.parameter_group(name) is not None) is is_used
            assert codes.count("accepted") == 1

    run(tmp_path, scenario)


def test_changes_at_one_time_all_count(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        await create(world)
        await asyncio.gather(
            modify(world, timeout="20"),
            modify(world, slowlog_max_len="7"),
            modify(world, latency_tracking="yes"),
            reset(world, "tcp-keepalive"),
        )
        assert values_of(world) == {
            "timeout": "20",
            "slowlog-max-len": "7",
            "latency-tracking": "yes",
        }

    run(tmp_path, scenario)


def test_items_must_fit_the_nodes_of_a_memcached_cluster(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        await create(world, "items", "memcached1.6")
        largest = ParameterNameValue(parameter_name="max_item_size", parameter_value="134217728")
        await modify_exactly(world, "items", (largest,))
        asked = {"cache_parameter_group_name": "items"}
        small = world.create_cluster(**asked)
        assert await code_of(small) == "InvalidParameterCombination"
        await world.create_cluster(**asked, cache_node_type="cache.m7g.large")
        overhead = ParameterNameValue(
            parameter_name="memcached_connections_overhead", parameter_value="6100"
        )
        refused = await code_of(modify_exactly(world, "items", (overhead,)))
        assert refused == "InvalidParameterCombination"

    run(tmp_path, scenario, offers=CLUSTER_OFFERS)


def test_a_change_is_not_said_to_have_arrived_before_anybody_looked(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        await create(world)
        spec = await world.create_available(cache_parameter_group_name="mine")

        def shown() -> object:
            cluster = views.find_cluster(world.records, "demo-001")
            return render_caches.cache_cluster(world.service.arns, cluster, shows_nodes=False)[
                "CacheParameterGroup"
            ]

        status = {"CacheParameterGroupName": "mine", "CacheNodeIdsToReboot": []}
        assert shown() == {**status, "ParameterApplyStatus": "in-sync"}
        await modify(world, timeout="20")
        assert shown() == {**status, "ParameterApplyStatus": "applying"}
        found = world.records.spec(spec.uid)
        assert found is not None
        await world.settle(found.value)
        assert shown() == {**status, "ParameterApplyStatus": "in-sync"}

    run(tmp_path, scenario)


def test_changes_of_a_group_and_of_its_values_at_one_time_all_count(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        await create(world)
        spec = await world.create_available(cache_parameter_group_name="mine")
        changes = [
            replication_groups.modify(
                world.service,
                ModifyReplicationGroup(
                    replication_group_id="demo", replication_group_description=f"{number}"
                ),
            )
            for number in range(3)
        ]
        await asyncio.gather(modify(world, timeout="20"), *changes, modify(world, timeout="30"))
        assert generations(world, spec) == [6]
        assert values_of(world)["timeout"] in {"20", "30"}

    run(tmp_path, scenario)


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        ("appendonly", "yes", "accepted"),
        ("appendonly", "maybe", "InvalidParameterValue"),
        ("appendonly", "", "InvalidParameterValue"),
        ("appendfsync", "always", "accepted"),
        ("appendfsync", "everysec", "accepted"),
        ("appendfsync", "no", "accepted"),
        ("appendfsync", "ALWAYS", "InvalidParameterValue"),
        ("appendfsync", "always\nsave 1 1", "InvalidParameterValue"),
        ("min-replicas-to-write", "-1", "InvalidParameterValue"),
        ("min-replicas-to-write", "1.0", "InvalidParameterValue"),
        ("min-replicas-to-write", str(2**31), "InvalidParameterValue"),
        ("min-replicas-max-lag", "0", "accepted"),
    ],
)
@pytest.mark.parametrize("family", ["redis7", "valkey8", "valkey9"])
def test_what_keeps_writes_can_be_set(
    tmp_path: Path, family: str, name: str, value: str, code: str
) -> None:
    async def scenario(world: World) -> None:
        await create(world, family=family)
        given = (ParameterNameValue(parameter_name=name, parameter_value=value),)
        assert await code_of(modify_exactly(world, "mine", given)) == code
        assert values_of(world) == ({name: value} if code == "accepted" else {})

    run(tmp_path, scenario)


def test_writes_never_need_more_replicas_than_a_group_has(tmp_path: Path) -> None:
    """At a create, an association, a change in use, and when a replica goes."""

    async def scenario(world: World) -> None:
        refused = "InvalidParameterCombination"
        await create(world, min_replicas_to_write="1")
        make = world.create(cache_parameter_group_name="mine")
        assert await code_of(make) == refused
        await world.create_available(num_cache_clusters=2, cache_parameter_group_name="mine")
        assert await code_of(modify(world, min_replicas_to_write="2")) == refused
        assert await code_of(modify(world, min_replicas_max_lag="0")) == refused
        request = inputs_cache_clusters.DeleteCacheCluster(cache_cluster_id="demo-002")
        assert await code_of(cache_clusters.delete(world.service, request)) == refused
        assert values_of(world) == {"min-replicas-to-write": "1"}
        await modify(world, min_replicas_to_write="0")
        await cache_clusters.delete(world.service, request)

        await create(world, "other", min_replicas_to_write="1")
        await world.create_available(replication_group_id="bare")
        change = ModifyReplicationGroup(
            replication_group_id="bare", cache_parameter_group_name="other"
        )
        assert await code_of(replication_groups.modify(world.service, change)) == refused
        shards = {"num_node_groups": 2, "replicas_per_node_group": 1}
        await create(world, "sharded", cluster_enabled="yes", min_replicas_to_write="1")
        await world.create(
            replication_group_id="many", cache_parameter_group_name="sharded", **shards
        )

    run(tmp_path, scenario)
