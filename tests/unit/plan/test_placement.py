"""Addresses are given once, never twice, and not at once again."""

from __future__ import annotations

import dataclasses
import ipaddress

import pytest

from cachewright.kit import ids
from cachewright.model.errors import Terminal
from cachewright.model.groups import DISCOVERY_ID, Group, GroupKind, GroupPlacement, NodeSpec
from cachewright.plan.placement import (
    AddressPool,
    OwnAddresses,
    SharedAddress,
    addresses_needed,
    place_group,
)
from tests.property.plan.groups import make_group

POOL = OwnAddresses(network=ipaddress.IPv4Network("127.70.0.0/24"))


def place(
    group: Group, pool: AddressPool = POOL, taken: frozenset[str] = frozenset()
) -> GroupPlacement:
    return place_group(
        group.spec,
        group.placement,
        pool=pool,
        taken=taken,
        host="local",
        new_engine_id=ids.new_engine_id,
        build_version="9.1.2",
    )


def test_every_node_and_endpoint_has_an_address_of_its_own() -> None:
    placed = place(make_group(shards=1, replicas=2, cluster_enabled=False))
    addresses = [node.address for node in placed.nodes] + list(placed.endpoints.addresses())
    assert len(set(addresses)) == 5
    assert {node.port for node in placed.nodes} == {6379}
    assert all(ipaddress.ip_address(a) in POOL.network for a in addresses)


def test_a_cluster_has_one_configuration_endpoint_and_no_other() -> None:
    endpoints = place(make_group(shards=2, replicas=0, cluster_enabled=True)).endpoints
    assert endpoints.configuration is not None
    assert endpoints.primary is None
    assert endpoints.reader is None


def test_taken_addresses_are_left_alone() -> None:
    group = make_group(shards=1, replicas=0, cluster_enabled=False)
    first = place(group)
    taken = frozenset(f"{a}:6379" for a in (first.nodes[0].address, *first.endpoints.addresses()))
    second = place(group, taken=taken)
    assert not {second.nodes[0].address, *second.endpoints.addresses()} & {
        entry.partition(":")[0] for entry in taken
    }


def test_another_group_does_not_get_the_addresses_of_one_that_is_gone() -> None:
    group = make_group(shards=1, replicas=0, cluster_enabled=False)
    other = dataclasses.replace(group, spec=dataclasses.replace(group.spec, uid="zzzzzzzz"))
    assert place(group).nodes[0].address != place(other).nodes[0].address


@pytest.mark.parametrize(
    "pool", [POOL, SharedAddress(address="127.0.0.1", first_port=10_000, last_port=10_009)]
)
def test_a_newcomer_does_not_get_the_address_of_who_left(pool: AddressPool) -> None:
    """Until all others are used up."""
    group = make_group(shards=1, replicas=1, cluster_enabled=True)
    placed = place(group, pool)
    gone = [placed.nodes[1]]
    for number in range(pool.capacity() - 4):
        placed = dataclasses.replace(placed, nodes=placed.nodes[:1])
        newcomer = NodeSpec(node_id=f"new-{number}", zone="us-east-1a")
        shard = dataclasses.replace(
            group.spec.shards[0], nodes=(group.spec.shards[0].nodes[0], newcomer)
        )
        spec = dataclasses.replace(group.spec, shards=(shard,))
        kept = {*placed.endpoints.addresses(), placed.nodes[0].address}
        taken = frozenset(f"{n.address}:{n.port}" for n in placed.nodes) | {
            f"{address}:6379" for address in kept
        }
        placed = place(dataclasses.replace(group, spec=spec, placement=placed), pool, taken=taken)
        assert (placed.nodes[1].address, placed.nodes[1].port) not in {
            (node.address, node.port) for node in gone
        }
        gone.append(placed.nodes[1])


def test_a_pool_that_is_too_small_says_so() -> None:
    pool = OwnAddresses(network=ipaddress.IPv4Network("127.70.0.0/30"))
    group = make_group(shards=1, replicas=0, cluster_enabled=False)
    with pytest.raises(Terminal, match="3 addresses needed, 2 are free"):
        place(group, pool=pool)


def test_a_shared_address_gives_each_node_a_port_and_no_endpoints() -> None:
    pool = SharedAddress(address="127.0.0.1", first_port=10_000, last_port=10_009)
    group = make_group(shards=2, replicas=1, cluster_enabled=True)
    placed = place(group, pool=pool)
    assert {node.address for node in placed.nodes} == {"127.0.0.1"}
    assert len({node.port for node in placed.nodes}) == 4
    assert placed.shares_address
    assert placed.endpoints.addresses() == ()
    assert addresses_needed(group.spec, is_shared=isinstance(pool, SharedAddress)) == 4


def test_a_node_that_is_added_gets_a_place_and_the_others_keep_theirs() -> None:
    group = make_group(shards=1, replicas=1, cluster_enabled=False)
    first = place(group)
    shard = group.spec.shards[0]
    grown = (*shard.nodes, NodeSpec(node_id="late", zone="us-east-1c"))
    spec = dataclasses.replace(group.spec, shards=(dataclasses.replace(shard, nodes=grown),))
    second = place(dataclasses.replace(group, spec=spec, placement=first))
    assert second.nodes[:2] == first.nodes
    assert second.endpoints == first.endpoints
    assert second.of("late").zone == "us-east-1c"


def test_a_memcached_cluster_has_a_place_for_its_configuration_endpoint() -> None:
    group = make_group(shards=1, replicas=1, cluster_enabled=False)
    spec = dataclasses.replace(group.spec, kind=GroupKind.MEMCACHED)
    placed = place(dataclasses.replace(group, spec=spec))
    assert placed.node_ids() == {node.node_id for node in spec.nodes()} | {DISCOVERY_ID}
    assert not placed.endpoints.addresses()


def test_a_single_node_has_no_endpoint_but_its_own() -> None:
    group = make_group(shards=1, replicas=0, cluster_enabled=False)
    spec = dataclasses.replace(group.spec, kind=GroupKind.SINGLE_NODE)
    placed = place(dataclasses.replace(group, spec=spec))
    assert len(placed.nodes) == addresses_needed(spec, is_shared=False) == 1
    assert not placed.endpoints.addresses()
