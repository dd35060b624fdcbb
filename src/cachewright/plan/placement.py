"""Where does a group get its addresses? Chosen once, kept for the life of the node.

With own addresses each node gets one loopback address and the standard port, each endpoint one
more; the configuration endpoint of a Memcached cluster is a process and has a place like a node.
With shared addresses nodes differ by port and endpoints are answered from the roles. The search
starts at a place that the group's uid decides, so that the addresses of a deleted group are not
given to the next one at once: clients that linger would talk to a stranger. For the same reason a
group goes on behind what it had: clients that have not heard yet who left would ask a newcomer, and
one that lets nobody in yet refuses what a client does not try again.
"""

from __future__ import annotations

import dataclasses
import ipaddress
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from cachewright.model.errors import Terminal
from cachewright.model.groups import (
    DISCOVERY_ID,
    Endpoints,
    GroupKind,
    GroupPlacement,
    GroupSpec,
    NodePlacement,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class OwnAddresses:
    """Every node and endpoint has an address of its own out of `network`."""

    network: ipaddress.IPv4Network

    def capacity(self) -> int:
        """Return how many addresses there are: all but the first and the last."""
        return max(0, self.network.num_addresses - 2)


@dataclass(frozen=True, kw_only=True, slots=True)
class SharedAddress:
    """All nodes share `address`; each has one of the ports `first_port` to `last_port`."""

    address: str
    first_port: int
    last_port: int

    def capacity(self) -> int:
        """Return how many ports there are."""
        return self.last_port - self.first_port + 1


AddressPool = OwnAddresses | SharedAddress


def endpoints_of(spec: GroupSpec) -> int:
    """Return how many addresses the endpoints take that follow roles."""
    if spec.kind is not GroupKind.REPLICATION_GROUP:
        return 0
    return 1 if spec.cluster_enabled else 2


class Place(NamedTuple):
    """A process that needs a place."""

    node_id: str
    zone: str
    shard_id: str


def places_of(spec: GroupSpec) -> tuple[Place, ...]:
    """Return every process of a group, its configuration endpoint included."""
    nodes = tuple(
        Place(node.node_id, node.zone, shard.shard_id)
        for shard in spec.shards
        for node in shard.nodes
    )
    if spec.kind is GroupKind.MEMCACHED:
        return (*nodes, Place(DISCOVERY_ID, nodes[0].zone, ""))
    return nodes


def addresses_needed(spec: GroupSpec, *, is_shared: bool) -> int:
    """Return how many places of the pool a group takes; `is_shared`: all have one address."""
    return len(places_of(spec)) + (0 if is_shared else endpoints_of(spec))


def place_group(
    spec: GroupSpec,
    before: GroupPlacement | None,
    *,
    pool: AddressPool,
    taken: frozenset[str],
    host: str,
    new_engine_id: Callable[[], str],
    build_version: str,
) -> GroupPlacement:
    """Choose addresses for every node and endpoint of `spec` that has none in `before`.

    Args:
        spec: the group to place.
        before: the places that it has already, which stay as they are.
        pool: where addresses come from.
        taken: every `ADDRESS:PORT` in use.
        host: the host on which all nodes run.
        new_engine_id: makes a fresh engine id.
        build_version: full version of the build that will run.

    Raises:
        Terminal: the pool has not enough free addresses.
    """
    known = before.node_ids() if before else frozenset()
    missing = [place for place in places_of(spec) if place.node_id not in known]
    is_shared = isinstance(pool, SharedAddress)
    spare_count = 0 if before or is_shared else endpoints_of(spec)
    needed = len(missing) + spare_count
    found, tried = _free_places(pool, spec, taken, needed, before.tried if before else 0)
    if len(found) < needed:
        raise Terminal(
            f"the address pool is exhausted: {needed} addresses needed, {len(found)} are free",
            hint="delete a group, or start with a larger --address-pool",
        )
    added = tuple(
        NodePlacement(
            node_id=place.node_id,
            host=host,
            address=address,
            port=port,
            engine_id=new_engine_id(),
            zone=place.zone,
            shard_id=place.shard_id,
        )
        for place, (address, port) in zip(missing, found, strict=False)
    )
    if before is not None:
        return dataclasses.replace(before, nodes=before.nodes + added, tried=tried)
    return GroupPlacement(
        nodes=added,
        endpoints=_endpoints(spec, [address for address, _ in found[len(added) :]]),
        build_version=build_version,
        shares_address=is_shared,
        tried=tried,
    )


def _endpoints(spec: GroupSpec, spare: Sequence[str]) -> Endpoints:
    if not spare:
        return Endpoints()
    if spec.cluster_enabled:
        return Endpoints(configuration=spare[0])
    return Endpoints(primary=spare[0], reader=spare[1])


def _free_places(
    pool: AddressPool, spec: GroupSpec, taken: frozenset[str], needed: int, tried: int
) -> tuple[list[tuple[str, int]], int]:
    """Return free places behind those that were `tried`, and how many were tried by then."""
    found: list[tuple[str, int]] = []
    for address, port in _places(pool, spec, tried):
        if len(found) == needed:
            break
        tried += 1
        if f"{address}:{port}" not in taken:
            found.append((address, port))
    return found, tried % max(1, pool.capacity())


def _places(pool: AddressPool, spec: GroupSpec, tried: int) -> Iterator[tuple[str, int]]:
    """Yield every place of the pool once, from `tried` behind the one that the uid points at."""
    count = pool.capacity()
    start = zlib.crc32(spec.uid.encode()) + tried
    for index in range(count):
        offset = (start + index) % count
        match pool:
            case OwnAddresses(network=network):
                yield str(network.network_address + 1 + offset), spec.port
            case SharedAddress(address=address, first_port=first):
                yield address, first + offset
