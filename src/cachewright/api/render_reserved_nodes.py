"""How does the API show reserved nodes? Decides nothing and reads nothing but its arguments."""

from __future__ import annotations

import datetime
from collections.abc import Mapping

from cachewright.api.render import Output
from cachewright.model.arns import Arns
from cachewright.model.reservations import Offering, Reservation

#: Nothing is billed here.
_PRICES: Mapping[str, object] = {
    "FixedPrice": 0.0,
    "UsagePrice": 0.0,
    "RecurringCharges": [{"RecurringChargeAmount": 0.0, "RecurringChargeFrequency": "Hourly"}],
}


def offering(offered: Offering) -> Output:
    """Return a `ReservedCacheNodesOffering`."""
    return {"ReservedCacheNodesOfferingId": offered.offering_id, **_terms(offered)}


def reservation(arns: Arns, made: Reservation, now: datetime.datetime) -> Output:
    """Return a `ReservedCacheNode`."""
    return {
        "ReservedCacheNodeId": made.reservation_id,
        "ReservedCacheNodesOfferingId": made.offering_id,
        "StartTime": made.started_at,
        "CacheNodeCount": made.node_count,
        "State": "retired" if made.is_retired(now) else "active",
        "ReservationARN": arns.of_reserved_node(made.reservation_id),
        **_terms(made.offering),
    }


def _terms(offered: Offering) -> Output:
    return {
        "CacheNodeType": offered.node_type,
        "Duration": offered.duration_s,
        "ProductDescription": offered.engine.value,
        "OfferingType": offered.offering_type,
        **_PRICES,
    }
