"""What is a cache security group? A name over groups of EC2 that were given leave to connect.

It comes from EC2-Classic, the network before there were VPCs. Nothing filters by it.
"""

from __future__ import annotations

from dataclasses import dataclass

#: The group that is always there.
DEFAULT_SECURITY_GROUP = "default"


@dataclass(frozen=True, kw_only=True, slots=True)
class Ingress:
    """A security group of EC2 whose members may connect."""

    name: str
    #: Account that it belongs to.
    owner_id: str


@dataclass(frozen=True, kw_only=True, slots=True)
class SecurityGroup:
    """A cache security group."""

    #: Lower case.
    name: str
    description: str
    ingress: tuple[Ingress, ...] = ()
