"""Which parameters are understood but not offered yet? Every one is refused, with its reason.

A row names a parameter, the values that change nothing and are therefore accepted, and why any
other value is refused. `inputs.read` asks `refuse` before anything else looks at the parameters.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from cachewright.model.errors import ClientFault, invalid_combination, invalid_value


class Unoffered(NamedTuple):
    """One row of the tables below."""

    member: str
    reason: str
    #: Values that ask for what is there anyway, besides nothing, an empty text and an empty list.
    harmless: tuple[object, ...] = ()


_NO_SNAPSHOTS = "snapshots are not offered yet"
_NO_TLS = "encryption in transit is not offered yet"
_NO_USERS = "users and user groups are not offered yet"
_NO_LOGS = "log delivery is not offered yet"
_NO_IPV6 = "only ipv4 is offered"
_NO_OUTPOSTS = "outposts are not offered"
_NO_CLASSIC = "Use of cache security groups is not permitted in this API version for your account"
_NO_AUTH = "The AUTH token is only supported when encryption-in-transit is enabled"

_OF_CLUSTERS = (
    Unoffered("AuthToken", f"{_NO_AUTH}, and {_NO_TLS}"),
    Unoffered("CacheSecurityGroupNames", _NO_CLASSIC, (["default"],)),
    Unoffered("IpDiscovery", _NO_IPV6, ("ipv4",)),
    Unoffered("LogDeliveryConfigurations", _NO_LOGS),
    Unoffered("SnapshotRetentionLimit", _NO_SNAPSHOTS, (0,)),
)
_IN_BOTH = (
    *_OF_CLUSTERS,
    Unoffered("TransitEncryptionEnabled", _NO_TLS, (False,)),
    Unoffered("TransitEncryptionMode", _NO_TLS),
)

UNOFFERED: Mapping[str, tuple[Unoffered, ...]] = {
    "CreateReplicationGroup": (
        *_IN_BOTH,
        Unoffered("AtRestEncryptionEnabled", "encryption at rest is not offered yet", (False,)),
        Unoffered("DataTieringEnabled", "data tiering is not offered", (False,)),
        Unoffered("GlobalReplicationGroupId", "global datastores are not offered yet"),
        Unoffered("KmsKeyId", "encryption at rest is not offered yet"),
        Unoffered("NetworkType", _NO_IPV6, ("ipv4",)),
        Unoffered("PrimaryClusterId", "a group cannot be made of an existing cluster yet"),
        Unoffered("ServerlessCacheSnapshotName", _NO_SNAPSHOTS),
        Unoffered("SnapshotArns", _NO_SNAPSHOTS),
        Unoffered("SnapshotName", _NO_SNAPSHOTS),
        Unoffered("UserGroupIds", _NO_USERS),
    ),
    "ModifyReplicationGroup": (
        *_IN_BOTH,
        Unoffered("RemoveUserGroups", _NO_USERS, (False,)),
        Unoffered("UserGroupIdsToAdd", _NO_USERS),
        Unoffered("UserGroupIdsToRemove", _NO_USERS),
    ),
    "CreateCacheCluster": (
        *_OF_CLUSTERS,
        Unoffered("NetworkType", _NO_IPV6, ("ipv4",)),
        Unoffered("OutpostMode", _NO_OUTPOSTS),
        Unoffered("PreferredOutpostArn", _NO_OUTPOSTS),
        Unoffered("PreferredOutpostArns", _NO_OUTPOSTS),
        Unoffered("SnapshotArns", _NO_SNAPSHOTS),
        Unoffered("SnapshotName", _NO_SNAPSHOTS),
    ),
    "ModifyCacheCluster": (
        *_OF_CLUSTERS,
        Unoffered("AuthTokenUpdateStrategy", f"{_NO_AUTH}, and {_NO_TLS}"),
        Unoffered("ScaleConfig", "scaling in steps is not offered"),
    ),
    "DeleteReplicationGroup": (Unoffered("FinalSnapshotIdentifier", _NO_SNAPSHOTS),),
    "DeleteCacheCluster": (Unoffered("FinalSnapshotIdentifier", _NO_SNAPSHOTS),),
}

#: The same for the members of each element of a list.
UNOFFERED_OF_ELEMENTS: Mapping[str, tuple[Unoffered, ...]] = {
    "NodeGroupConfiguration": (
        Unoffered("PrimaryOutpostArn", _NO_OUTPOSTS),
        Unoffered("ReplicaOutpostArns", _NO_OUTPOSTS),
    ),
    "ReplicaConfiguration": (Unoffered("PreferredOutpostArns", _NO_OUTPOSTS),),
}

#: Parameters that are wrong by themselves; all others collide with what can be had.
_WRONG_VALUES = frozenset({"AuthToken", "CacheSecurityGroupNames"})
_EMPTY: tuple[object, ...] = (None, "", [], ())


def refuse(operation: str, params: Mapping[str, object]) -> None:
    """Raise for the first parameter that asks for something which is not offered."""
    for row in UNOFFERED.get(operation, ()):
        _refuse_row(row, row.member, params)
    for member, rows in UNOFFERED_OF_ELEMENTS.items():
        elements = params.get(member)
        for number, element in enumerate(elements if isinstance(elements, list) else (), 1):
            for row in rows:
                _refuse_row(row, f"{member}.{number}.{row.member}", element)


def _refuse_row(row: Unoffered, path: str, params: Mapping[str, object]) -> None:
    given = params.get(row.member)
    if given in _EMPTY or given in row.harmless:
        return
    raise _fault(row, f"The parameter {path} cannot be used: {row.reason}.")


def _fault(row: Unoffered, message: str) -> ClientFault:
    return invalid_value(message) if row.member in _WRONG_VALUES else invalid_combination(message)
