"""Where does a group get its addresses? Chosen once, kept for the life of the group.

With own addresses each node gets one loopback address and the standard port, each endpoint one
more. With shared addresses nodes differ by port and endpoints are answered from the roles.
The search starts at a place that the group's uid decides, so that the addresses of a deleted
group are not given to the next one at once: clients that linger would talk to a stranger.
"""

from __future__ import annotations

import ipaddress
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from cachewright.model.errors import Terminal
from cachewright.model.groups import Endpoints, GroupPlacement, GroupSpec, NodePlacement


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


def addresses_needed(spec: GroupSpec, pool: AddressPool) -> int:
    """Return how many places of the pool a group takes."""
    nodes = sum(1 for _ in spec.nodes())
    if isinstance(pool, SharedAddress):
        return nodes
    return nodes + (1 if spec.cluster_enabled else 2)


def place_group(
    spec: GroupSpec,
    *,
    pool: AddressPool,
    taken: frozenset[str],
    host: str,
    engine_ids: Sequence[str],
    build_version: str,
) -> GroupPlacement:
    """Choose addresses for every node and endpoint of `spec`.

    Args:
        spec: the group to place.
        pool: where addresses come from.
        taken: every `ADDRESS:PORT` in use.
        host: the host on which all nodes run.
        engine_ids: one fresh engine id for each node.
        build_version: full version of the build that will run.

    Raises:
        Terminal: the pool has not enough free addresses.
    """
    needed = addresses_needed(spec, pool)
    found = _free_places(pool, spec, taken, needed)
    if len(found) < needed:
        raise Terminal(
            f"the address pool is exhausted: {needed} addresses needed, {len(found)} are free",
            hint="delete a group, or start with a larger --address-pool",
        )
    nodes = tuple(
        NodePlacement(
            node_id=node.node_id, host=host, address=address, port=port, engine_id=engine_id
        )
        for node, (address, port), engine_id in zip(spec.nodes(), found, engine_ids, strict=False)
    )
    spare = [address for address, _ in found[len(nodes) :]]
    return GroupPlacement(
        nodes=nodes,
        endpoints=_endpoints(spec, spare),
        build_version=build_version,
        shares_address=isinstance(pool, SharedAddress),
    )


def _endpoints(spec: GroupSpec, spare: Sequence[str]) -> Endpoints:
    if not spare:
        return Endpoints()
    if spec.cluster_enabled:
        return Endpoints(configuration=spare[0])
    return Endpoints(primary=spare[0], reader=spare[1])


def _free_places(
    pool: AddressPool, spec: GroupSpec, taken: frozenset[str], needed: int
) -> list[tuple[str, int]]:
    found: list[tuple[str, int]] = []
    for address, port in _places(pool, spec):
        if f"{address}:{port}" not in taken:
            found.append((address, port))
            if len(found) == needed:
                break
    return found


def _places(pool: AddressPool, spec: GroupSpec) -> Iterator[tuple[str, int]]:
    """Yield every place of the pool once, from the one that the uid points at."""
    count = pool.capacity()
    start = zlib.crc32(spec.uid.encode())
    for index in range(count):
        offset = (start + index) % count
        match pool:
            case OwnAddresses(network=network):
                yield str(network.network_address + 1 + offset), spec.port
            case SharedAddress(address=address, first_port=first):
                yield address, first + offset
