"""How are the things written down that stand around groups and own no process?

Typed reads on top of `Records`. All of these records are written by `service` alone.

Keys: `subnet-group/NAME`.
"""

from __future__ import annotations

from cachewright.model.subnet_groups import SubnetGroup
from cachewright.store.records import Records, Versioned

SUBNET_GROUP = "subnet-group/"


def subnet_group(records: Records, name: str) -> Versioned[SubnetGroup] | None:
    """Return the subnet group that a caller made under this name."""
    return records.find(SUBNET_GROUP + name, SubnetGroup)


def subnet_groups(records: Records) -> tuple[SubnetGroup, ...]:
    """Return every subnet group that a caller made, by name."""
    return records.find_all(SUBNET_GROUP, SubnetGroup)
