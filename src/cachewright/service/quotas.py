"""Is there room for one more group? Nodes of the region, and addresses.

Counted from the records at the moment of the decision. Creates that are decided at the same moment
may pass the quota together by as many nodes as they have; the loop refuses what finds no address.
"""

from __future__ import annotations

from cachewright.model.errors import ClientFault
from cachewright.model.groups import GroupSpec
from cachewright.model.settings import Addressing
from cachewright.plan import placement
from cachewright.service.context import Service


def refuse_beyond(service: Service, spec: GroupSpec) -> None:
    """Raise unless the region has room for the nodes and endpoints of `spec`."""
    limit = service.settings.limits.nodes_per_region
    nodes = sum(1 for _ in spec.nodes())
    if len(service.records.node_names()) + nodes > limit:
        raise ClientFault(
            "NodeQuotaForCustomerExceeded",
            f"Customer node quota exceeded. You can have at most {limit} nodes in this region",
        )
    needed = _addresses(service, spec)
    free = service.address_capacity() - _promised(service)
    if needed > free:
        raise ClientFault(
            "InsufficientCacheClusterCapacity",
            f"The group needs {needed} addresses and {max(0, free)} are free. Delete a group, or "
            "start the service with a larger address pool.",
        )


def _promised(service: Service) -> int:
    """Return how many addresses the groups need that are accepted and not placed yet."""
    records = service.records
    return sum(
        _addresses(service, spec.value)
        for uid in records.uids()
        if records.placement(uid) is None
        and (spec := records.spec(uid)) is not None
        and spec.value.deletion is None
    )


def _addresses(service: Service, spec: GroupSpec) -> int:
    is_shared = service.settings.addressing is Addressing.PORTS
    return placement.addresses_needed(spec, is_shared=is_shared)
