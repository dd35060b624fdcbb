"""Which nodes come and go when the number of cache nodes changes? Every cell of the table."""

from __future__ import annotations

import datetime
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cachewright.model.errors import ClientFault
from cachewright.model.groups import GroupSpec, NodeSpec, PendingChanges, ShardSpec
from cachewright.service import cache_nodes
from cachewright.service.cache_nodes import Zones
from cachewright.service.inputs_cache_clusters import CreateCacheCluster, ModifyCacheCluster
from tests.unit.service.service_world import NOW, memcached_spec

ZONES = Zones(known=("za", "zb", "zc"), default=("za", "zb"))
IPC, IPV = "InvalidParameterCombination", "InvalidParameterValue"


def spec_of(
    ids: Sequence[str] = ("0001", "0002", "0003"),
    *,
    zones: Sequence[str] = (),
    pending: PendingChanges | None = None,
) -> GroupSpec:
    nodes = tuple(
        NodeSpec(node_id=node_id, zone=zones[index] if zones else "za")
        for index, node_id in enumerate(ids)
    )
    return memcached_spec(
        shards=(ShardSpec(shard_id="0001", slots=(), nodes=nodes),), pending=pending
    )


def changed(spec: GroupSpec, **asked: object) -> PendingChanges:
    wanted = ModifyCacheCluster(cache_cluster_id="cache", **asked)  # type: ignore[arg-type] # typed by msgspec at run time
    return cache_nodes.changed(spec, wanted, ZONES, taken=(), nodes_max=60)


def refusal(spec: GroupSpec, **asked: object) -> tuple[str, str]:
    with pytest.raises(ClientFault) as caught:
        changed(spec, **asked)
    return caught.value.code, caught.value.message


def coming(*zones: str) -> PendingChanges:
    return PendingChanges(zones_to_add=zones)


def going(*node_ids: str) -> PendingChanges:
    return PendingChanges(node_ids_to_remove=node_ids)


# What waits, what is asked for, what waits then


@pytest.mark.parametrize(
    ("waiting", "asked", "then"),
    [
        pytest.param(None, {}, PendingChanges(), id="nothing, nothing"),
        pytest.param(None, {"num_cache_nodes": 3}, PendingChanges(), id="as it is"),
        pytest.param(None, {"num_cache_nodes": 5}, coming("za", "za"), id="create"),
        pytest.param(
            None,
            {"num_cache_nodes": 2, "cache_node_ids_to_remove": ("0002",)},
            going("0002"),
            id="delete",
        ),
        pytest.param(
            going("0001"),
            {"num_cache_nodes": 1, "cache_node_ids_to_remove": ("0003", "0002")},
            going("0002", "0003"),
            id="delete, delete: the new one",
        ),
        pytest.param(
            going("0001"),
            {"num_cache_nodes": 4},
            coming("za"),
            id="delete, create: the create",
        ),
        pytest.param(
            coming("zb"),
            {"num_cache_nodes": 2, "cache_node_ids_to_remove": ("0001", "0004")},
            going("0001"),
            id="create, delete: the delete, with the nodes that wait named",
        ),
        pytest.param(
            coming("zb"),
            {"num_cache_nodes": 2, "cache_node_ids_to_remove": ("0001",)},
            going("0001"),
            id="create, delete: the delete, with existing nodes alone",
        ),
        pytest.param(
            coming("zb"),
            {"num_cache_nodes": 5, "new_availability_zones": ("zc",)},
            coming("zb", "zc"),
            id="create, create: both",
        ),
        pytest.param(
            coming("zb"), {"num_cache_nodes": 4}, coming("zb"), id="create, the same again"
        ),
        pytest.param(
            coming("zb", "zc"), {"num_cache_nodes": 3}, PendingChanges(), id="create, cancel"
        ),
        pytest.param(going("0001"), {"num_cache_nodes": 3}, PendingChanges(), id="delete, cancel"),
        pytest.param(going("0001"), {}, going("0001"), id="delete, something else"),
        pytest.param(coming("zb"), {}, coming("zb"), id="create, something else"),
    ],
)
def test_what_waits_and_what_is_asked_for_make_what_waits_then(
    waiting: PendingChanges | None, asked: dict[str, object], then: PendingChanges
) -> None:
    assert changed(spec_of(pending=waiting), **asked) == then


@pytest.mark.parametrize(
    ("waiting", "asked", "code", "text"),
    [
        pytest.param(
            coming("za", "za"),
            {"num_cache_nodes": 4},
            IPC,
            "cannot be replaced by a smaller one",
            id="a smaller increase",
        ),
        pytest.param(
            None,
            {"num_cache_nodes": 2},
            IPC,
            "CacheNodeIdsToRemove must be provided",
            id="a removal of nobody",
        ),
        pytest.param(
            None,
            {"num_cache_nodes": 1, "cache_node_ids_to_remove": ("0001",)},
            IPC,
            "names 1 cache nodes; for NumCacheNodes 1 it must name 2",
            id="too few ids",
        ),
        pytest.param(
            None,
            {
                "num_cache_nodes": 2,
                "cache_node_ids_to_remove": ("0001", "0002", "0003"),
            },
            IPC,
            "names 3 cache nodes; for NumCacheNodes 2 it must name 1",
            id="too many ids",
        ),
        pytest.param(
            coming("za", "za"),
            {"num_cache_nodes": 2, "cache_node_ids_to_remove": ("0001", "0004")},
            IPC,
            "names 2 cache nodes; for NumCacheNodes 2 it must name 3",
            id="one of two nodes that wait",
        ),
        pytest.param(
            None,
            {"num_cache_nodes": 2, "cache_node_ids_to_remove": ("0009",)},
            IPV,
            "no cache node with the id '0009'",
            id="an unknown id",
        ),
        pytest.param(
            None,
            {"num_cache_nodes": 1, "cache_node_ids_to_remove": ("0002", "0002")},
            IPV,
            "0002 was given more than once",
            id="an id twice",
        ),
        pytest.param(
            None,
            {"num_cache_nodes": 0, "cache_node_ids_to_remove": ("0001", "0002", "0003")},
            IPV,
            "Must be at least 1",
            id="no node at all",
        ),
        pytest.param(
            None,
            {"num_cache_nodes": -1},
            IPV,
            "Must be at least 1",
            id="removing more nodes than there are",
        ),
        pytest.param(
            None,
            {"num_cache_nodes": 61},
            "NodeQuotaForClusterExceeded",
            "Each cluster can have at most 60 nodes in this region.",
            id="61 nodes",
        ),
        pytest.param(
            None,
            {"num_cache_nodes": 4, "cache_node_ids_to_remove": ("0001",)},
            IPC,
            "CacheNodeIdsToRemove can only be given",
            id="more nodes and ids to remove",
        ),
        pytest.param(
            None,
            {"cache_node_ids_to_remove": ("0001",)},
            IPC,
            "CacheNodeIdsToRemove can only be given",
            id="ids without a number",
        ),
        pytest.param(
            None,
            {
                "num_cache_nodes": 2,
                "cache_node_ids_to_remove": ("0001",),
                "new_availability_zones": ("za",),
            },
            IPC,
            "NewAvailabilityZones can only be given",
            id="fewer nodes and new zones",
        ),
        pytest.param(
            None,
            {"num_cache_nodes": 5, "new_availability_zones": ("za",)},
            IPC,
            "names 1 zones for 2 new cache nodes",
            id="too few zones",
        ),
        pytest.param(
            None,
            {"num_cache_nodes": 4, "new_availability_zones": ("zz",)},
            IPV,
            "Invalid availability zone 'zz'",
            id="a zone nobody knows",
        ),
        pytest.param(
            None, {"az_mode": "cross-az"}, IPC, "all cache nodes are in one", id="spread in place"
        ),
        pytest.param(None, {"az_mode": "both"}, IPV, "for AZMode", id="a mode nobody knows"),
        pytest.param(
            None,
            {"num_cache_nodes": 4, "az_mode": "single-az", "new_availability_zones": ("zb",)},
            IPC,
            "more than one availability zone",
            id="single-az in two zones",
        ),
        pytest.param(
            None,
            {"num_cache_nodes": 4, "az_mode": "cross-az", "new_availability_zones": ("za",)},
            IPC,
            "all cache nodes are in one",
            id="cross-az in one zone",
        ),
    ],
)
def test_a_change_of_the_number_is_refused_with_its_reason(
    waiting: PendingChanges | None, asked: dict[str, object], code: str, text: str
) -> None:
    found_code, found_text = refusal(spec_of(pending=waiting), **asked)
    assert (found_code, text in found_text) == (code, True), found_text


def test_new_nodes_go_where_fewest_are_once_the_cluster_is_spread() -> None:
    spread = spec_of(zones=("za", "za", "zb"))
    assert changed(spread, num_cache_nodes=6) == coming("zb", "za", "zb")
    assert changed(spec_of(), num_cache_nodes=5, az_mode="cross-az") == coming("zb", "zb")
    assert changed(spec_of(zones=("zc",) * 3), num_cache_nodes=4) == coming("zc")


def test_a_spread_cluster_cannot_go_back() -> None:
    spread = spec_of(zones=("za", "za", "zb"))
    code, text = refusal(spread, num_cache_nodes=4, az_mode="single-az")
    assert (code, "more than one availability zone" in text) == (IPC, True)
    assert changed(spread, az_mode="cross-az") == PendingChanges()


# Ids


def applied(spec: GroupSpec, changes: PendingChanges, *taken: str) -> tuple[str, ...]:
    (shard,) = cache_nodes.with_changes(spec, changes, taken=taken, now=NOW)
    return tuple(node.node_id for node in shard.nodes)


def test_new_nodes_get_the_lowest_numbers_that_nobody_has() -> None:
    assert applied(spec_of(("0001", "0003")), coming("za", "za")) == (
        "0001", "0002", "0003", "0004",
    )  # fmt: skip
    assert applied(spec_of(("0001", "0003")), coming("za"), "0002") == ("0001", "0003", "0004")
    assert applied(spec_of(), going("0001", "0003")) == ("0002",)


def test_new_nodes_say_when_they_were_made() -> None:
    (shard,) = cache_nodes.with_changes(spec_of(), coming("zb"), taken=(), now=NOW)
    made: list[datetime.datetime | None] = [node.created_at for node in shard.nodes]
    assert made == [None, None, None, NOW]
    assert shard.nodes[-1].zone == "zb"


@settings(deadline=None)
@given(
    st.sets(st.integers(1, 20), min_size=1).map(lambda found: [f"{n:04}" for n in sorted(found)]),
    st.sets(st.integers(1, 20)).map(lambda found: [f"{n:04}" for n in sorted(found)]),
    st.integers(0, 10),
)
def test_an_id_that_has_a_place_is_never_given_again(
    ids: list[str], taken: list[str], count: int
) -> None:
    after = applied(spec_of(ids), coming(*["za"] * count), *taken)
    new = set(after) - set(ids)
    assert len(after) == len(ids) + count
    assert new.isdisjoint(taken)
    assert list(after) == sorted(after)


# A new cluster


def first(**asked: object) -> list[tuple[str, str]]:
    wanted = CreateCacheCluster(cache_cluster_id="cache", **asked)  # type: ignore[arg-type] # typed by msgspec at run time
    nodes = cache_nodes.first_nodes(wanted, ZONES, 60)
    return [(node.node_id, node.zone) for node in nodes]


def test_nodes_of_a_new_cluster_are_numbered_and_in_one_zone() -> None:
    assert first(num_cache_nodes=2) == [("0001", "za"), ("0002", "za")]
    assert first(num_cache_nodes=2, preferred_availability_zone="zc") == [
        ("0001", "zc"), ("0002", "zc"),
    ]  # fmt: skip
    assert len(first(num_cache_nodes=60)) == 60


def test_nodes_of_a_new_cluster_are_spread_if_that_is_asked_for() -> None:
    assert [z for _, z in first(num_cache_nodes=3, az_mode="cross-az")] == ["za", "zb", "za"]
    named = first(
        num_cache_nodes=3,
        az_mode="cross-az",
        preferred_availability_zones=("zc", "za", "zc"),
    )
    assert [zone for _, zone in named] == ["zc", "za", "zc"]


@pytest.mark.parametrize(
    ("asked", "code", "text"),
    [
        ({}, IPV, "The parameter NumCacheNodes must be provided."),
        ({"num_cache_nodes": 0}, IPV, "Must be at least 1"),
        ({"num_cache_nodes": 61}, "NodeQuotaForClusterExceeded", "at most 60 nodes"),
        ({"num_cache_nodes": 1, "az_mode": "cross-az"}, IPC, "at least 2 cache nodes"),
        (
            {"num_cache_nodes": 3, "preferred_availability_zones": ("za", "zb")},
            IPC,
            "names 2 zones for 3 cache nodes",
        ),
        ({"num_cache_nodes": 1, "preferred_availability_zone": "Multiple"}, IPV, "'Multiple'"),
        (
            {
                "num_cache_nodes": 1,
                "preferred_availability_zone": "za",
                "preferred_availability_zones": ("za",),
            },
            IPC,
            "cannot be combined",
        ),
        (
            {
                "num_cache_nodes": 2,
                "az_mode": "single-az",
                "preferred_availability_zones": ("za", "zb"),
            },
            IPC,
            "more than one availability zone",
        ),
        (
            {"num_cache_nodes": 2, "az_mode": "cross-az", "preferred_availability_zone": "za"},
            IPC,
            "in one availability zone",
        ),
    ],
)
def test_a_new_cluster_is_refused_with_its_reason(
    asked: dict[str, object], code: str, text: str
) -> None:
    with pytest.raises(ClientFault) as caught:
        first(**asked)
    assert (caught.value.code, text in caught.value.message) == (code, True), caught.value.message
