"""What may a caller ask of reserved nodes? See what can be reserved, reserve, look at it.

A reservation is a note: it costs nothing, holds no capacity and ends after its term.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable

from cachewright.model import reservations
from cachewright.model.errors import ClientFault, invalid_value
from cachewright.model.reservations import OFFERING_TYPES, YEAR_S, Offering, Reservation
from cachewright.service import rules, tags
from cachewright.service.context import Decision, Service, change
from cachewright.service.inputs_reserved_nodes import (
    DescribeReservedCacheNodes,
    DescribeReservedCacheNodesOfferings,
    PurchaseReservedCacheNodesOffering,
)
from cachewright.store import furniture
from cachewright.store.records import TAGS, ChangeSet

_ID_CHARS_MAX = 60
_ID = re.compile(rf"[a-z0-9-]{{1,{_ID_CHARS_MAX}}}", re.ASCII)
#: In years, in seconds, and as Terraform asks.
_DURATIONS_S = {
    "1": YEAR_S,
    "3": 3 * YEAR_S,
    "P1Y": YEAR_S,
    "P3Y": 3 * YEAR_S,
    **{str(seconds): seconds for seconds in reservations.DURATIONS_S},
}


def offerings(wanted: DescribeReservedCacheNodesOfferings) -> tuple[Offering, ...]:
    """Return the offerings that pass the filters, by id."""
    passes = _filter(wanted)
    if wanted.reserved_cache_nodes_offering_id:
        found = _offering(wanted.reserved_cache_nodes_offering_id)
        return (found,) if passes(found) else ()
    return tuple(each for each in reservations.offerings().values() if passes(each))


def describe(service: Service, wanted: DescribeReservedCacheNodes) -> tuple[Reservation, ...]:
    """Return the reservations that pass the filters, by id."""
    passes, offering_id = _filter(wanted), wanted.reserved_cache_nodes_offering_id
    made = furniture.reservations(service.records)
    if wanted.reserved_cache_node_id:
        name = wanted.reserved_cache_node_id.lower()
        made = tuple(each for each in made if each.reservation_id == name)
        if not made:
            raise ClientFault(
                "ReservedCacheNodeNotFound",
                f"ReservedCacheNode {rules.shown(wanted.reserved_cache_node_id)} not found.",
            )
    return tuple(
        each
        for each in made
        if passes(each.offering) and (not offering_id or each.offering_id == offering_id.lower())
    )


async def purchase(service: Service, wanted: PurchaseReservedCacheNodesOffering) -> Reservation:
    """Reserve nodes and return the reservation."""

    def decide() -> Decision[Reservation]:
        now = service.clock.now()
        made = Reservation(
            reservation_id=_new_id(service, wanted.reserved_cache_node_id, now),
            offering_id=_offering(wanted.reserved_cache_nodes_offering_id).offering_id,
            node_count=_count(wanted.cache_node_count),
            started_at=now,
        )
        given = tags.checked(wanted.tags, service.settings)
        _refuse_beyond_quota(service, made)
        changes = ChangeSet()
        changes.create(furniture.RESERVATION + made.reservation_id, made)
        if given:
            changes.put(TAGS + service.arns.of_reserved_node(made.reservation_id), given)
        return Decision(uid=None, changes=changes, result=made)

    return await change(service, decide)


def _filter(
    wanted: DescribeReservedCacheNodesOfferings | DescribeReservedCacheNodes,
) -> Callable[[Offering], bool]:
    """Return the test of node type, duration, engine and offering type, as far as they are given.

    Raises:
        ClientFault: a duration or an offering type that there is not.
    """
    duration_s = _duration_s(wanted.duration) if wanted.duration else None
    offering_type = wanted.offering_type or None
    if offering_type is not None and offering_type not in OFFERING_TYPES:
        raise invalid_value(
            f"Invalid value '{rules.shown(offering_type)}' for OfferingType. "
            f"Valid values are {', '.join(OFFERING_TYPES)}"
        )
    engine = (wanted.product_description or "").lower()

    def passes(offering: Offering) -> bool:
        return (
            (not wanted.cache_node_type or offering.node_type == wanted.cache_node_type)
            and (duration_s is None or offering.duration_s == duration_s)
            and (not engine or offering.engine.value == engine)
            and (offering_type is None or offering.offering_type == offering_type)
        )

    return passes


def _duration_s(text: str) -> int:
    if text not in _DURATIONS_S:
        raise invalid_value(
            f"Invalid value '{rules.shown(text)}' for Duration. "
            f"Valid values are {', '.join(_DURATIONS_S)}"
        )
    return _DURATIONS_S[text]


def _offering(offering_id: str) -> Offering:
    found = reservations.offerings().get(offering_id.lower())
    if found is None:
        raise ClientFault(
            "ReservedCacheNodesOfferingNotFound",
            f"ReservedCacheNodesOffering {rules.shown(offering_id)} not found.",
        )
    return found


def _count(asked: int | None) -> int:
    if asked is not None and asked < 1:
        raise invalid_value(f"Invalid value {asked} for CacheNodeCount. Must be at least 1")
    return 1 if asked is None else asked


def _new_id(service: Service, asked: str | None, now: datetime.datetime) -> str:
    if not asked:
        return _next_id(service, now)
    if not _ID.fullmatch(asked.lower()):
        raise invalid_value(
            f"The parameter ReservedCacheNodeId must have from 1 to {_ID_CHARS_MAX} letters, "
            f"digits and hyphens: '{rules.shown(asked)}'."
        )
    if furniture.reservation(service.records, asked.lower()) is not None:
        raise ClientFault(
            "ReservedCacheNodeAlreadyExists", f"Reserved cache node {asked.lower()} already exists."
        )
    return asked.lower()


def _next_id(service: Service, now: datetime.datetime) -> str:
    """Return an id made of the time, a millisecond later for each one that is taken."""
    while True:  # at most as often as there are reservations
        text = f"ri-{now:%Y-%m-%d-%H-%M-%S}-{now.microsecond // 1_000:03}"
        if furniture.reservation(service.records, text) is None:
            return text
        now += datetime.timedelta(milliseconds=1)


def _refuse_beyond_quota(service: Service, new: Reservation) -> None:
    limit = service.settings.limits.reserved_nodes
    reserved = sum(
        each.node_count
        for each in furniture.reservations(service.records)
        if not each.is_retired(new.started_at)
    )
    if reserved + new.node_count > limit:
        raise ClientFault(
            "ReservedCacheNodeQuotaExceeded",
            f"Reserved cache node quota exceeded. You can have at most {limit} reserved cache "
            "nodes in this region.",
        )
