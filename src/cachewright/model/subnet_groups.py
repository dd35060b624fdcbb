"""What is a subnet group? Ids of subnets under a name, and the zone that each is taken to lie in.

There is no network to divide here: a subnet is an id. Its zone is chosen when its first group
names it and stays the same in every group. All subnets lie in one VPC, whose id follows from
region and account, as the ids of the default group's subnets do.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

DEFAULT_SUBNET_GROUP = "default"

#: Hexadecimal digits of an id, as EC2 makes them today.
_ID_DIGITS = 17


@dataclass(frozen=True, kw_only=True, slots=True)
class Subnet:
    """One subnet."""

    #: `subnet-` and hexadecimal digits.
    subnet_id: str
    zone: str


@dataclass(frozen=True, kw_only=True, slots=True)
class SubnetGroup:
    """A named list of subnets."""

    #: Lower case.
    name: str
    description: str
    subnets: tuple[Subnet, ...]

    def zones(self) -> tuple[str, ...]:
        """Return the zones of its subnets, sorted, each once."""
        return tuple(sorted({subnet.zone for subnet in self.subnets}))


def default_group(*, account_id: str, zones: Sequence[str]) -> SubnetGroup:
    """Return the group that is always there: a subnet in every zone of the region."""
    return SubnetGroup(
        name=DEFAULT_SUBNET_GROUP,
        description="Default CacheSubnetGroup",
        subnets=tuple(
            Subnet(subnet_id=f"subnet-{_digits(account_id, zone)}", zone=zone) for zone in zones
        ),
    )


def vpc_id(*, region: str, account_id: str) -> str:
    """Return the id of the VPC in which all subnets lie."""
    return f"vpc-{_digits(account_id, region)}"


def in_zones(
    subnet_ids: Sequence[str], known: Mapping[str, str], zones: Sequence[str]
) -> tuple[Subnet, ...]:
    """Return the subnets with a zone each: the `known` one, else one with the fewest of the rest.

    Which of several zones with equally few is decided by the id, so that subnets which come alone
    spread as well.
    """
    chosen = {subnet_id: known[subnet_id] for subnet_id in subnet_ids if subnet_id in known}
    counts = dict.fromkeys(zones, 0)
    for zone in chosen.values():
        counts[zone] = counts.get(zone, 0) + 1
    for subnet_id in subnet_ids:
        if subnet_id in chosen:
            continue
        first = int(_digits(subnet_id), 16) % len(zones)
        in_turn = [*zones[first:], *zones[:first]]
        chosen[subnet_id] = min(in_turn, key=lambda zone: counts[zone])
        counts[chosen[subnet_id]] += 1
    return tuple(Subnet(subnet_id=each, zone=chosen[each]) for each in subnet_ids)


def _digits(*parts: str) -> str:
    return hashlib.sha256(":".join(parts).encode()).hexdigest()[:_ID_DIGITS]
