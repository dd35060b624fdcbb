"""Is there room for more nodes? Nodes of the region, and addresses.

Counted from the records at the moment of the decision. What is decided at the same moment may pass
the quota together by as many nodes as it adds; the loop refuses what finds no address.
"""

from __future__ import annotations

from cachewright.model.errors import ClientFault
from cachewright.model.groups import GroupSpec
from cachewright.model.settings import Addressing
from cachewright.plan import placement
from cachewright.service import views
from cachewright.service.context import Service


def refuse_beyond(service: Service, spec: GroupSpec) -> None:
    """Raise unless the region has room for the nodes and endpoints of the new group `spec`."""
    _refuse_nodes(service, sum(1 for _ in spec.nodes()))
    _refuse_addresses(service, _addresses(service, spec))


def refuse_growth(service: Service, before: GroupSpec, after: GroupSpec) -> None:
    """Raise unless the region has room for the nodes that a group gets, now or in its window."""
    added = _nodes_of(after) - _nodes_of(before)
    if added > 0:
        _refuse_nodes(service, added)
        _refuse_addresses(service, added)


def _refuse_nodes(service: Service, added: int) -> None:
    limit = service.settings.limits.nodes_per_region
    if _nodes_of_region(service) + added > limit:
        raise ClientFault(
            "NodeQuotaForCustomerExceeded",
            f"Customer node quota exceeded. You can have at most {limit} nodes in this region",
        )


def _nodes_of_region(service: Service) -> int:
    """Return how many nodes there are, those that go or are promised included."""
    records = service.records
    groups = (views.view(records, uid) for uid in records.uids())
    count = 0
    for group in groups:
        if group is not None:
            count += _nodes_of(group.spec) + len(group.leaving())
    return count


def _nodes_of(spec: GroupSpec) -> int:
    waiting = len(spec.pending.zones_to_add) if spec.pending else 0
    return sum(1 for _ in spec.nodes()) + waiting


def _refuse_addresses(service: Service, needed: int) -> None:
    free = service.address_capacity() - _promised(service)
    if needed > free:
        raise ClientFault(
            "InsufficientCacheClusterCapacity",
            f"The request needs {needed} addresses and {max(0, free)} are free. Delete a group, "
            "or start the service with a larger address pool.",
        )


def _promised(service: Service) -> int:
    """Return how many addresses are promised to groups and nodes that have none yet."""
    records = service.records
    count = 0
    for uid in records.uids():
        spec, placed = records.spec(uid), records.placement(uid)
        if spec is None or spec.value.deletion is not None:
            continue
        waiting = len(spec.value.pending.zones_to_add) if spec.value.pending else 0
        if placed is None:
            count += _addresses(service, spec.value) + waiting
        else:
            known = placed.value.node_ids()
            places = placement.places_of(spec.value)
            count += sum(1 for place in places if place.node_id not in known) + waiting
    return count


def _addresses(service: Service, spec: GroupSpec) -> int:
    is_shared = service.settings.addressing is Addressing.PORTS
    return placement.addresses_needed(spec, is_shared=is_shared)
