"""What may a caller ask of cache security groups? Create, describe, delete, authorize, revoke.

They are kept and shown as ElastiCache does, and no more: no cluster can be put into one, so nothing
is ever in use but the group that is always there.
"""

from __future__ import annotations

import dataclasses
import re

from cachewright.model.errors import ClientFault, invalid_value
from cachewright.model.security_groups import DEFAULT_SECURITY_GROUP, Ingress, SecurityGroup
from cachewright.model.status import SourceType
from cachewright.service import events, rules, tags
from cachewright.service.context import Decision, Service, change
from cachewright.service.inputs_security_groups import (
    AuthorizeCacheSecurityGroupIngress,
    CreateCacheSecurityGroup,
    DeleteCacheSecurityGroup,
    DescribeCacheSecurityGroups,
    RevokeCacheSecurityGroupIngress,
)
from cachewright.store import furniture
from cachewright.store.records import TAGS, ChangeSet, Versioned

_NAME_CHARS_MAX = 255
_NAME = re.compile(rf"[a-z0-9-]{{1,{_NAME_CHARS_MAX}}}", re.ASCII)
_ACCOUNT = re.compile(r"[0-9]{1,12}", re.ASCII)
#: Authorizations of one group: a record stays far below what a transaction holds.
_INGRESS_MAX = 100


def describe(service: Service, wanted: DescribeCacheSecurityGroups) -> tuple[SecurityGroup, ...]:
    """Return the group that is asked for, or every group, by name."""
    if wanted.cache_security_group_name:
        return (_find(service, wanted.cache_security_group_name).value,)
    made = {group.name: group for group in furniture.security_groups(service.records)}
    made.setdefault(DEFAULT_SECURITY_GROUP, _default())
    return tuple(made[name] for name in sorted(made))


async def create(service: Service, wanted: CreateCacheSecurityGroup) -> SecurityGroup:
    """Make a group and return it."""

    def decide() -> Decision[SecurityGroup]:
        name = _new_name(wanted.cache_security_group_name)
        description = rules.description(wanted.description, member="Description")
        given = tags.checked(wanted.tags, service.settings)
        _refuse_taken(service, name)
        group = SecurityGroup(name=name, description=description)
        changes = ChangeSet()
        changes.create(furniture.SECURITY_GROUP + name, group)
        if given:
            changes.put(TAGS + service.arns.of_security_group(name), given)
        _tell(service, changes, name, "created")
        return Decision(uid=None, changes=changes, result=group)

    return await change(service, decide)


async def delete(service: Service, wanted: DeleteCacheSecurityGroup) -> None:
    """Remove a group."""

    def decide() -> Decision[None]:
        found = _find(service, wanted.cache_security_group_name)
        name = found.value.name
        if name == DEFAULT_SECURITY_GROUP:
            raise ClientFault(
                "InvalidCacheSecurityGroupState",
                "The default cache security group cannot be deleted.",
            )
        changes = ChangeSet()
        changes.expect(furniture.SECURITY_GROUP + name, found.mod_revision)
        changes.delete(furniture.SECURITY_GROUP + name)
        changes.delete(TAGS + service.arns.of_security_group(name))
        _tell(service, changes, name, "deleted")
        return Decision(uid=None, changes=changes, result=None)

    await change(service, decide)


async def authorize(
    service: Service, wanted: AuthorizeCacheSecurityGroupIngress
) -> tuple[SecurityGroup, Ingress]:
    """Give a security group of EC2 leave to connect; return the group as it is then, and whom."""

    def decide() -> Decision[tuple[SecurityGroup, Ingress]]:
        found = _find(service, wanted.cache_security_group_name)
        before, new = found.value, _ingress(wanted)
        if new in before.ingress:
            raise ClientFault(
                "AuthorizationAlreadyExists",
                f"Authorization already exists for EC2 security group {rules.shown(new.name)} of "
                f"{new.owner_id}.",
            )
        if len(before.ingress) >= _INGRESS_MAX:
            raise invalid_value(
                f"A cache security group can have at most {_INGRESS_MAX} EC2 security groups."
            )
        after = dataclasses.replace(before, ingress=(*before.ingress, new))
        changes = _change_of(service, found, after)
        return Decision(uid=None, changes=changes, result=(after, new))

    return await change(service, decide)


async def revoke(
    service: Service, wanted: RevokeCacheSecurityGroupIngress
) -> tuple[SecurityGroup, Ingress]:
    """Take that leave back; return the group as it was before, and whom it concerns."""

    def decide() -> Decision[tuple[SecurityGroup, Ingress]]:
        found = _find(service, wanted.cache_security_group_name)
        before, gone = found.value, _ingress(wanted)
        if gone not in before.ingress:
            raise ClientFault(
                "AuthorizationNotFound",
                f"There is no authorization for EC2 security group {rules.shown(gone.name)} of "
                f"{gone.owner_id}.",
            )
        left = tuple(each for each in before.ingress if each != gone)
        changes = _change_of(service, found, dataclasses.replace(before, ingress=left))
        return Decision(uid=None, changes=changes, result=(before, gone))

    return await change(service, decide)


def _change_of(
    service: Service, found: Versioned[SecurityGroup], after: SecurityGroup
) -> ChangeSet:
    changes = ChangeSet()
    changes.replace(furniture.SECURITY_GROUP + after.name, after, found.mod_revision)
    _tell(service, changes, after.name, "modified")
    return changes


def _default() -> SecurityGroup:
    return SecurityGroup(name=DEFAULT_SECURITY_GROUP, description="default")


def _find(service: Service, name: str) -> Versioned[SecurityGroup]:
    lower = name.lower()
    known = _NAME.fullmatch(lower) is not None
    found = furniture.security_group(service.records, lower) if known else None
    if found is not None:
        return found
    if lower == DEFAULT_SECURITY_GROUP:
        return Versioned(_default(), 0)
    raise ClientFault(
        "CacheSecurityGroupNotFound", f"CacheSecurityGroup {rules.shown(name)} not found."
    )


def _new_name(text: str) -> str:
    if not _NAME.fullmatch(text.lower()) or text.lower() == DEFAULT_SECURITY_GROUP:
        raise invalid_value(
            f"The parameter CacheSecurityGroupName must contain from 1 to {_NAME_CHARS_MAX} "
            "alphanumeric characters or hyphens and must not be the word Default: "
            f"'{rules.shown(text)}'."
        )
    return text.lower()


def _ingress(
    wanted: AuthorizeCacheSecurityGroupIngress | RevokeCacheSecurityGroupIngress,
) -> Ingress:
    name, owner_id = wanted.ec2_security_group_name, wanted.ec2_security_group_owner_id
    if not 1 <= len(name) <= _NAME_CHARS_MAX:
        raise invalid_value(
            f"The parameter EC2SecurityGroupName must have from 1 to {_NAME_CHARS_MAX} characters."
        )
    if not _ACCOUNT.fullmatch(owner_id):
        raise invalid_value(
            f"The parameter EC2SecurityGroupOwnerId is not an account: '{rules.shown(owner_id)}'."
        )
    return Ingress(name=name, owner_id=owner_id)


def _refuse_taken(service: Service, name: str) -> None:
    made = [
        group.name
        for group in furniture.security_groups(service.records)
        if group.name != DEFAULT_SECURITY_GROUP
    ]
    if name in made:
        raise ClientFault(
            "CacheSecurityGroupAlreadyExists", f"Cache security group {name} already exists."
        )
    limit = service.settings.limits.security_groups
    if len(made) >= limit:
        raise ClientFault(
            "QuotaExceeded.CacheSecurityGroup",
            f"Cache security group quota exceeded. You can have at most {limit} cache security "
            "groups in this region.",
        )


def _tell(service: Service, changes: ChangeSet, name: str, what: str) -> None:
    text = f"Cache security group {name} {what}"
    events.about(service, changes, SourceType.CACHE_SECURITY_GROUP, name, text)
