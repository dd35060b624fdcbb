"""What may a caller ask of subnet groups? Create, describe, modify, delete; and use by a group.

Subnets are notes: no address is taken from them. What is kept is what callers can see, so that it
fits together: a subnet has one zone for ever, nodes without a zone of their own are put into the
zones of their subnet group, and what is in use stays.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator

from cachewright.model import subnet_groups as model
from cachewright.model.errors import ClientFault, invalid_combination, invalid_value
from cachewright.model.groups import GroupSpec
from cachewright.model.status import SourceType
from cachewright.model.subnet_groups import DEFAULT_SUBNET_GROUP, Subnet, SubnetGroup
from cachewright.service import events, rules, tags
from cachewright.service.context import Decision, Service, change
from cachewright.service.inputs_subnet_groups import (
    CreateCacheSubnetGroup,
    DeleteCacheSubnetGroup,
    DescribeCacheSubnetGroups,
    ModifyCacheSubnetGroup,
)
from cachewright.store import furniture
from cachewright.store.records import TAGS, ChangeSet, Versioned

_NAME_CHARS_MAX = 255
_NAME = re.compile(rf"[a-z0-9-]{{1,{_NAME_CHARS_MAX}}}", re.ASCII)
_SUBNET = re.compile(r"subnet-[0-9a-f]{8,17}", re.ASCII)


def find(service: Service, name: str) -> SubnetGroup:
    """Return the group `name` in any case of letters, or raise that there is none."""
    return _find(service, name).value


def describe(service: Service, wanted: DescribeCacheSubnetGroups) -> tuple[SubnetGroup, ...]:
    """Return the group that is asked for, or every group, by name."""
    if wanted.cache_subnet_group_name:
        return (find(service, wanted.cache_subnet_group_name),)
    made = furniture.subnet_groups(service.records)
    return tuple(sorted((default(service), *made), key=lambda group: group.name))


def default(service: Service) -> SubnetGroup:
    """Return the group that is always there."""
    settings = service.settings
    return model.default_group(account_id=settings.account_id, zones=rules.zones(settings))


def vpc_id(service: Service) -> str:
    """Return the VPC of every subnet group."""
    settings = service.settings
    return model.vpc_id(region=settings.region, account_id=settings.account_id)


def use(service: Service, changes: ChangeSet, name: str) -> None:
    """Let the group that `changes` creates use the subnet group `name`.

    The record is written again, as it is: a delete that was decided before then fails and looks
    again, and so does this change if the delete was faster.
    """
    if name != DEFAULT_SUBNET_GROUP:
        found = _find(service, name)
        changes.replace(furniture.SUBNET_GROUP + name, found.value, found.mod_revision)


async def create(service: Service, wanted: CreateCacheSubnetGroup) -> SubnetGroup:
    """Make a group and return it."""

    def decide() -> Decision[SubnetGroup]:
        group = SubnetGroup(
            name=_new_name(wanted.cache_subnet_group_name),
            description=_description(wanted.cache_subnet_group_description),
            subnets=_subnets(service, wanted.subnet_ids),
        )
        given = tags.checked(wanted.tags, service.settings)
        _refuse_taken(service, group.name)
        changes = ChangeSet()
        changes.create(furniture.SUBNET_GROUP + group.name, group)
        if given:
            changes.put(TAGS + service.arns.of_subnet_group(group.name), given)
        _tell(service, changes, group.name, "created")
        return Decision(uid=None, changes=changes, result=group)

    return await change(service, decide)


async def modify(service: Service, wanted: ModifyCacheSubnetGroup) -> SubnetGroup:
    """Give a group another description or other subnets, and return it."""

    def decide() -> Decision[SubnetGroup]:
        found = _find(service, wanted.cache_subnet_group_name)
        before = found.value
        if before.name == DEFAULT_SUBNET_GROUP:
            raise invalid_value("The default cache subnet group cannot be modified.")
        description, subnet_ids = wanted.cache_subnet_group_description, wanted.subnet_ids
        if description is None and not subnet_ids:
            raise invalid_combination("No modifications were requested")
        after = dataclasses.replace(
            before,
            description=before.description if description is None else _description(description),
            subnets=_subnets(service, subnet_ids) if subnet_ids else before.subnets,
        )
        _refuse_emptied_zones(service, before, after)
        changes = ChangeSet()
        changes.replace(furniture.SUBNET_GROUP + before.name, after, found.mod_revision)
        _tell(service, changes, before.name, "modified")
        return Decision(uid=None, changes=changes, result=after)

    return await change(service, decide)


async def delete(service: Service, wanted: DeleteCacheSubnetGroup) -> None:
    """Remove a group that no cluster uses."""

    def decide() -> Decision[None]:
        found = _find(service, wanted.cache_subnet_group_name)
        name = found.value.name
        if name == DEFAULT_SUBNET_GROUP:
            raise ClientFault(
                "CacheSubnetGroupInUse", "The default cache subnet group cannot be deleted."
            )
        user = next(_users(service, name), None)
        if user is not None:
            raise ClientFault(
                "CacheSubnetGroupInUse",
                f"Cache subnet group {name} is currently in use by {user.name}.",
            )
        changes = ChangeSet()
        changes.expect(furniture.SUBNET_GROUP + name, found.mod_revision)
        changes.delete(furniture.SUBNET_GROUP + name)
        changes.delete(TAGS + service.arns.of_subnet_group(name))
        _tell(service, changes, name, "deleted")
        return Decision(uid=None, changes=changes, result=None)

    await change(service, decide)


def _find(service: Service, name: str) -> Versioned[SubnetGroup]:
    lower = name.lower()
    if lower == DEFAULT_SUBNET_GROUP:
        return Versioned(default(service), 0)
    known = _NAME.fullmatch(lower) is not None
    found = furniture.subnet_group(service.records, lower) if known else None
    if found is None:
        raise ClientFault(
            "CacheSubnetGroupNotFoundFault",
            f"Cache Subnet Group {rules.shown(name)} does not exist.",
        )
    return found


def _users(service: Service, name: str) -> Iterator[GroupSpec]:
    """Yield every group of nodes that is in the subnet group, until nothing is left of it."""
    for uid in service.records.uids():
        spec = service.records.spec(uid)
        if spec is not None and spec.value.subnet_group == name:
            yield spec.value


def _new_name(text: str) -> str:
    if not text:
        raise invalid_value(
            "The parameter CacheSubnetGroupName must be provided and must not be blank."
        )
    if not _NAME.fullmatch(text.lower()):
        raise invalid_value(
            "The parameter CacheSubnetGroupName must contain no more than "
            f"{_NAME_CHARS_MAX} alphanumeric characters or hyphens: '{rules.shown(text)}'."
        )
    return text.lower()


def _description(text: str) -> str:
    return rules.description(text, member="CacheSubnetGroupDescription")


def _subnets(service: Service, subnet_ids: tuple[str, ...]) -> tuple[Subnet, ...]:
    """Return the subnets with these ids; a zone that is known already stays."""
    unique = tuple(dict.fromkeys(subnet_ids))
    if not unique:
        raise invalid_value("The parameter SubnetIds must be provided.")
    limit = service.settings.limits.subnets_per_subnet_group
    if len(unique) > limit:
        raise ClientFault(
            "CacheSubnetQuotaExceededFault",
            f"Cache subnet quota exceeded. Each cache subnet group can have at most {limit} "
            "subnets.",
        )
    for subnet_id in unique:
        if not _SUBNET.fullmatch(subnet_id):
            raise ClientFault(
                "InvalidSubnet",
                f"The subnet ID '{rules.shown(subnet_id)}' is invalid: it is subnet- and 8 to 17 "
                "of 0-9 and a-f.",
            )
    groups = (default(service), *furniture.subnet_groups(service.records))
    known = {subnet.subnet_id: subnet.zone for group in groups for subnet in group.subnets}
    return model.in_zones(unique, known, rules.zones(service.settings))


def _refuse_taken(service: Service, name: str) -> None:
    made = furniture.subnet_groups(service.records)
    if name == DEFAULT_SUBNET_GROUP or any(group.name == name for group in made):
        raise ClientFault(
            "CacheSubnetGroupAlreadyExists", f"Cache subnet group {name} already exists."
        )
    limit = service.settings.limits.subnet_groups
    if len(made) >= limit:
        raise ClientFault(
            "CacheSubnetGroupQuotaExceeded",
            f"Cache subnet group quota exceeded. You can have at most {limit} cache subnet groups "
            "in this region.",
        )


def _refuse_emptied_zones(service: Service, before: SubnetGroup, after: SubnetGroup) -> None:
    """Refuse to take the last subnet of a zone in which the group has nodes."""
    emptied = set(before.zones()) - set(after.zones())
    for spec in _users(service, before.name) if emptied else ():
        for node in spec.nodes():
            if node.zone in emptied:
                gone = next(s.subnet_id for s in before.subnets if s.zone == node.zone)
                raise ClientFault(
                    "SubnetInUse",
                    f"The subnet {gone} is in use by {node.node_id} of {spec.name} in {node.zone}.",
                )


def _tell(service: Service, changes: ChangeSet, name: str, what: str) -> None:
    text = f"Cache subnet group {name} {what}"
    events.about(service, changes, SourceType.CACHE_SUBNET_GROUP, name, text)
