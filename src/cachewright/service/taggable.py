"""Which resource does an ARN name, where are its tags, and may they be looked at now?

A row for each kind of resource. It reads; what tags may be is the business of `tags`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from cachewright.model import parameters
from cachewright.model.errors import ClientFault
from cachewright.model.security_groups import DEFAULT_SECURITY_GROUP
from cachewright.model.settings import Settings
from cachewright.model.status import GroupState, NodeState
from cachewright.model.subnet_groups import DEFAULT_SUBNET_GROUP
from cachewright.service import rules, views
from cachewright.service.context import Service
from cachewright.store import furniture
from cachewright.store.records import PARAMETER_GROUP, SPEC

_ARN_PARTS = 7
#: An ARN with the longest name has well under 400 characters.
_ARN_CHARS_MAX = 512


@dataclass(frozen=True, kw_only=True, slots=True)
class Tagged:
    """A resource that has tags."""

    arn: str
    #: The record that says that the resource is there, and its revision.
    guard: tuple[str, int]
    #: The group of nodes that it belongs to, if any.
    uid: str | None = None
    #: Whose tags it shows until it gets some of its own.
    inherits_from: str | None = None
    #: Resources with lists of their own into which changes are copied.
    copies: tuple[str, ...] = ()
    #: Why nothing can be changed, empty where it can.
    fixed: str = ""


def find(service: Service, arn: str) -> Tagged:
    """Return the resource with this ARN if its tags may be looked at now, or raise why not."""
    kind, name = _parse(service.settings, arn)
    return _FINDERS[kind](service, name)


def member(service: Service, group: views.GroupView, node_id: str) -> Tagged:
    """Return a node of a group, or the cache cluster that it is alone."""
    arns = service.arns
    return Tagged(
        arn=arns.of_node(node_id),
        guard=(SPEC + group.spec.uid, group.spec_revision),
        uid=group.spec.uid,
        inherits_from=None if group.is_standalone else arns.of_group(group.spec.name),
    )


def _group(service: Service, name: str) -> Tagged:
    group = views.find_group(service.records, name)
    _require_available(is_available=group.state is GroupState.AVAILABLE)
    spec = group.spec
    return Tagged(
        arn=service.arns.of_group(spec.name),
        guard=(SPEC + spec.uid, group.spec_revision),
        uid=spec.uid,
        copies=tuple(service.arns.of_node(cluster_id) for cluster_id in spec.cluster_ids()),
    )


def _cluster(service: Service, name: str) -> Tagged:
    cluster = views.find_cluster(service.records, name)
    _require_available(is_available=cluster.state is NodeState.AVAILABLE)
    return member(service, cluster.group, name)


def _require_available(*, is_available: bool) -> None:
    if not is_available:
        raise rules.invalid_group_state(
            "Cluster not in available state to perform tagging operations."
        )


def _parameter_group(service: Service, name: str) -> Tagged:
    arn, key = service.arns.of_parameter_group(name), PARAMETER_GROUP + name
    if parameters.parse_default_group(name) is not None:
        return Tagged(arn=arn, guard=(key, 0), fixed="Default parameter groups cannot be tagged.")
    found = service.records.parameter_group(name)
    if found is None:
        raise _not_found("CacheParameterGroupNotFound", "CacheParameterGroup", name)
    return Tagged(arn=arn, guard=(key, found.mod_revision))


def _subnet_group(service: Service, name: str) -> Tagged:
    arn, key = service.arns.of_subnet_group(name), furniture.SUBNET_GROUP + name
    found = furniture.subnet_group(service.records, name)
    if found is None and name != DEFAULT_SUBNET_GROUP:
        raise _not_found("CacheSubnetGroupNotFoundFault", "CacheSubnetGroup", name)
    return Tagged(arn=arn, guard=(key, found.mod_revision if found else 0))


def _security_group(service: Service, name: str) -> Tagged:
    arn, key = service.arns.of_security_group(name), furniture.SECURITY_GROUP + name
    found = furniture.security_group(service.records, name)
    if name == DEFAULT_SECURITY_GROUP:
        text = "The default cache security group cannot be tagged."
        return Tagged(arn=arn, guard=(key, 0), fixed=text)
    if found is None:
        raise _not_found("CacheSecurityGroupNotFound", "CacheSecurityGroup", name)
    return Tagged(arn=arn, guard=(key, found.mod_revision))


def _reserved_node(service: Service, name: str) -> Tagged:
    found = furniture.reservation(service.records, name)
    if found is None:
        raise _not_found("ReservedCacheNodeNotFound", "ReservedCacheNode", name)
    key = furniture.RESERVATION + name
    return Tagged(arn=service.arns.of_reserved_node(name), guard=(key, found.mod_revision))


def _never(code: str, noun: str) -> Callable[[Service, str], Tagged]:
    """Return the finder for a kind of resource that is not offered: none is ever found."""

    def refuse(service: Service, name: str) -> Tagged:
        raise _not_found(code, noun, name)

    return refuse


_FINDERS: Mapping[str, Callable[[Service, str], Tagged]] = MappingProxyType(
    {
        "cluster": _cluster,
        "parametergroup": _parameter_group,
        "replicationgroup": _group,
        "reserved-instance": _reserved_node,
        "securitygroup": _security_group,
        "serverlesscache": _never("ServerlessCacheNotFoundFault", "ServerlessCache"),
        "serverlesscachesnapshot": _never(
            "ServerlessCacheSnapshotNotFoundFault", "ServerlessCacheSnapshot"
        ),
        "snapshot": _never("SnapshotNotFoundFault", "Snapshot"),
        "subnetgroup": _subnet_group,
        "user": _never("UserNotFound", "User"),
        "usergroup": _never("UserGroupNotFound", "UserGroup"),
    }
)


def _parse(settings: Settings, text: str) -> tuple[str, str]:
    """Return kind and name of a resource of this region and account."""
    parts = text.split(":", _ARN_PARTS - 1) if len(text) <= _ARN_CHARS_MAX else []
    ours = ["arn", "aws", "elasticache", settings.region, settings.account_id]
    if len(parts) != _ARN_PARTS or parts[:5] != ours or parts[5] not in _FINDERS or not parts[6]:
        raise ClientFault(
            "InvalidARN", f"The ARN '{rules.shown(text)}' names no resource of this service."
        )
    return parts[5], parts[6].lower()


def _not_found(code: str, noun: str, name: str) -> ClientFault:
    return ClientFault(code, f"{noun} {rules.shown(name)} not found.")
