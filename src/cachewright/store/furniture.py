"""How are the things written down that stand around groups and own no process?

Typed reads on top of `Records`. All of these records are written by `service` alone.

Keys: `subnet-group/NAME`, `security-group/NAME`, `reservation/ID`, `service-update/NAME`,
`update-request/NAME/UID`, `test-failovers`.
"""

from __future__ import annotations

import datetime

from cachewright.model.reservations import Reservation
from cachewright.model.security_groups import SecurityGroup
from cachewright.model.service_updates import ServiceUpdate, UpdateRequest
from cachewright.model.subnet_groups import SubnetGroup
from cachewright.store.records import Records, Versioned

RESERVATION = "reservation/"
SECURITY_GROUP = "security-group/"
SERVICE_UPDATE = "service-update/"
SUBNET_GROUP = "subnet-group/"
UPDATE_REQUEST = "update-request/"
#: One record for the account: it outlives the groups.
TEST_FAILOVERS = "test-failovers"


def subnet_group(records: Records, name: str) -> Versioned[SubnetGroup] | None:
    """Return the subnet group that a caller made under this name."""
    return records.find(SUBNET_GROUP + name, SubnetGroup)


def subnet_groups(records: Records) -> tuple[SubnetGroup, ...]:
    """Return every subnet group that a caller made, by name."""
    return records.find_all(SUBNET_GROUP, SubnetGroup)


def security_group(records: Records, name: str) -> Versioned[SecurityGroup] | None:
    """Return the cache security group of this name, if a caller made or changed it."""
    return records.find(SECURITY_GROUP + name, SecurityGroup)


def security_groups(records: Records) -> tuple[SecurityGroup, ...]:
    """Return every cache security group that a caller made or changed, by name."""
    return records.find_all(SECURITY_GROUP, SecurityGroup)


def reservation(records: Records, reservation_id: str) -> Versioned[Reservation] | None:
    """Return the reservation with this id."""
    return records.find(RESERVATION + reservation_id, Reservation)


def reservations(records: Records) -> tuple[Reservation, ...]:
    """Return every reservation, by id."""
    return records.find_all(RESERVATION, Reservation)


def service_update(records: Records, name: str) -> ServiceUpdate | None:
    """Return the update of this name."""
    found = records.find(SERVICE_UPDATE + name, ServiceUpdate)
    return None if found is None else found.value


def service_updates(records: Records) -> tuple[ServiceUpdate, ...]:
    """Return every update that was ever noticed, by name."""
    return records.find_all(SERVICE_UPDATE, ServiceUpdate)


def request_key(update_name: str, uid: str) -> str:
    """Return where it is written down that an update of a group was asked for."""
    return f"{UPDATE_REQUEST}{update_name}/{uid}"


def update_request(records: Records, update_name: str, uid: str) -> Versioned[UpdateRequest] | None:
    """Return what was asked of a group, `None` for nothing."""
    return records.find(request_key(update_name, uid), UpdateRequest)


def test_failovers(records: Records) -> Versioned[tuple[datetime.datetime, ...]]:
    """Return when tests of failover were accepted lately; revision 0 where none ever was."""
    found = records.find(TEST_FAILOVERS, tuple[datetime.datetime, ...])
    return Versioned((), 0) if found is None else found
