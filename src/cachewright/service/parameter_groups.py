"""What may a caller ask of parameter groups? Create, describe, change, delete; and use by nodes.

A group is a family and the values that differ from its defaults. The groups named `default.…` are
always there and stay as they are. A change is written whole or not at all; the loop then brings it
to the nodes of every group that uses it.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping
from typing import TypeAlias

from cachewright.model import parameters
from cachewright.model.engines import EngineLine
from cachewright.model.errors import ClientFault, invalid_combination, invalid_value
from cachewright.model.groups import GroupSpec
from cachewright.model.parameters import DefaultGroup, ParameterGroup
from cachewright.model.status import SourceType
from cachewright.service import events, parameter_values, rules, tags
from cachewright.service.context import Decision, Service, change
from cachewright.service.inputs_parameters import (
    CreateCacheParameterGroup,
    DeleteCacheParameterGroup,
    DescribeCacheParameterGroups,
    ModifyCacheParameterGroup,
    ResetCacheParameterGroup,
)
from cachewright.store.base import TRANSACTION_BYTES_MAX, Put
from cachewright.store.records import PARAMETER_GROUP, SPEC, TAGS, ChangeSet, Versioned

#: Both have a name, a family, a description, a mode and values.
KnownGroup: TypeAlias = DefaultGroup | ParameterGroup
Values: TypeAlias = Mapping[str, str]

_NAME_CHARS_MAX = 255
_NAME = re.compile(r"[a-z](-?[a-z0-9])*", re.ASCII)


def find(service: Service, name: str) -> KnownGroup:
    """Return the group `name` in any case of letters, for nodes that shall use it."""
    found = _known(service, name)
    if found is None:
        raise _not_found(f"CacheParameterGroup not found: {rules.shown(name)}")
    return found


def named(service: Service, name: str) -> KnownGroup:
    """Return the group `name` in any case of letters, for a look at it."""
    found = _known(service, name)
    if found is None:
        raise _not_found(f"CacheParameterGroup {rules.shown(name)} not found.")
    return found


def default_name(line: EngineLine, *, cluster_enabled: bool) -> str:
    """Return the name of the default group of an engine line."""
    return parameters.default_group_name(line.engine, line.api_version, cluster_enabled)


def describe(service: Service, wanted: DescribeCacheParameterGroups) -> tuple[KnownGroup, ...]:
    """Return the group that is asked for, or every group, by name."""
    if wanted.cache_parameter_group_name:
        return (named(service, wanted.cache_parameter_group_name),)
    made = (group.value for group in service.records.parameter_groups())
    return tuple(sorted((*parameters.default_groups(), *made), key=lambda group: group.name))


def use(service: Service, changes: ChangeSet, name: str) -> None:
    """Let nodes that `changes` creates or changes use the parameter group `name`.

    The record is written again, as it is: a change of the group that was decided before then
    fails and looks again, and so does this change if the other was faster.
    """
    if parameters.parse_default_group(name) is None:
        found = _made(service, name)
        changes.replace(PARAMETER_GROUP + name, found.value, found.mod_revision)


async def create(service: Service, wanted: CreateCacheParameterGroup) -> ParameterGroup:
    """Make a group with the defaults of its family and return it."""

    def decide() -> Decision[ParameterGroup]:
        group = ParameterGroup(
            name=_new_name(wanted.cache_parameter_group_name),
            family=family(wanted.cache_parameter_group_family),
            description=rules.description(wanted.description, member="Description"),
            values={},
            created_at=service.clock.now(),
        )
        given = tags.checked(wanted.tags, service.settings)
        _refuse_taken(service, group.name)
        changes = ChangeSet()
        changes.create(PARAMETER_GROUP + group.name, group)
        if given:
            changes.put(TAGS + service.arns.of_parameter_group(group.name), given)
        _tell(service, changes, group.name, f"Cache parameter group {group.name} created")
        return Decision(uid=None, changes=changes, result=group)

    return await change(service, decide)


async def modify(service: Service, wanted: ModifyCacheParameterGroup) -> str:
    """Give parameters of a group other values and return the group's name."""

    def changed(group: ParameterGroup) -> Values:
        new = parameter_values.checked(group.family, wanted.parameter_name_values)
        return {**group.values, **new}

    return await _change_values(service, wanted.cache_parameter_group_name, changed)


async def reset(service: Service, wanted: ResetCacheParameterGroup) -> str:
    """Give parameters of a group, or all, their defaults and return the group's name."""
    if bool(wanted.reset_all_parameters) == bool(wanted.parameter_name_values):
        raise invalid_combination(
            "Exactly one is needed: ResetAllParameters, or the ParameterNameValues to reset."
        )

    def changed(group: ParameterGroup) -> Values:
        if wanted.reset_all_parameters:
            return {}
        gone = parameter_values.names(group.family, wanted.parameter_name_values)
        return {name: value for name, value in group.values.items() if name not in gone}

    return await _change_values(service, wanted.cache_parameter_group_name, changed)


async def delete(service: Service, wanted: DeleteCacheParameterGroup) -> None:
    """Remove a group that no cluster uses."""

    def decide() -> Decision[None]:
        found = _changeable(service, wanted.cache_parameter_group_name)
        name = found.value.name
        user = next(iter(users(service, name)), None)
        if user is not None:
            raise parameter_values.invalid_state(
                f"One or more cache clusters are still members of this parameter group {name}, so "
                f"the group cannot be deleted: {user.value.name} is one."
            )
        changes = ChangeSet()
        changes.expect(PARAMETER_GROUP + name, found.mod_revision)
        changes.delete(PARAMETER_GROUP + name)
        changes.delete(TAGS + service.arns.of_parameter_group(name))
        _tell(service, changes, name, f"Cache parameter group {name} deleted")
        return Decision(uid=None, changes=changes, result=None)

    await change(service, decide)


def users(service: Service, name: str) -> tuple[Versioned[GroupSpec], ...]:
    """Return every group of nodes that uses a parameter group, or will in its window."""
    found: list[Versioned[GroupSpec]] = []
    for uid in service.records.uids():
        spec = service.records.spec(uid)
        if spec is not None and name in _used_by(spec.value):
            found.append(spec)
    return tuple(found)


def family(text: str) -> str:
    """Return the name of a family that is offered."""
    if text not in parameters.FAMILIES:
        raise invalid_value(
            f"CacheParameterGroupFamily {rules.shown(text)} is not a valid parameter group family. "
            f"There is {', '.join(parameters.FAMILIES)}."
        )
    return text


async def _change_values(
    service: Service, name: str, changed: Callable[[ParameterGroup], Values]
) -> str:
    def decide() -> Decision[str]:
        found = _changeable(service, name)
        before = found.value
        after = changed(before)
        using = users(service, before.name)
        parameter_values.refuse_in_use(
            before.family, before.values, after, using[0].value if using else None
        )
        parameter_values.refuse_contradiction(before.family, after)
        for spec in using:
            parameter_values.refuse_contradiction(
                before.family, after, spec.value.node_type, spec.value.replicas_least()
            )
        changes = ChangeSet()
        new = dataclasses.replace(before, values=after)
        changes.replace(PARAMETER_GROUP + before.name, new, found.mod_revision)
        for text in _differences(before.values, after):
            _tell(service, changes, before.name, text)
        if after != before.values:
            _count_change(changes, using)
        woken = tuple(spec.value.uid for spec in using)
        return Decision(uid=None, changes=changes, result=before.name, others=woken)

    return await change(service, decide)


def _count_change(changes: ChangeSet, using: tuple[Versioned[GroupSpec], ...]) -> None:
    """Count the change in every group that uses the values, so that none is said to have them yet.

    With more groups than one transaction can write, the next look at each says so instead.
    """
    counted = ChangeSet()
    for spec in using:
        if spec.value.deletion is None:
            new = dataclasses.replace(spec.value, generation=spec.value.generation + 1)
            counted.replace(SPEC + new.uid, new, spec.mod_revision)
    size_bytes = sum(len(put.value) for put in counted.operations if isinstance(put, Put))
    if size_bytes <= TRANSACTION_BYTES_MAX // 2:
        changes.compares += counted.compares
        changes.operations += counted.operations


def _differences(before: Values, after: Values) -> list[str]:
    """Return a sentence for each parameter that is set to something else, or no longer set."""
    texts = [
        f"Updated parameter {name} to {value}"
        for name, value in sorted(after.items())
        if before.get(name) != value
    ]
    return texts + [f"Reset parameter {name}" for name in sorted(before) if name not in after]


def _known(service: Service, name: str) -> KnownGroup | None:
    lower = name.lower()
    default = parameters.parse_default_group(lower)
    if default is not None or not _is_name(lower):
        return default
    found = service.records.parameter_group(lower)
    return None if found is None else found.value


def _made(service: Service, name: str) -> Versioned[ParameterGroup]:
    lower = name.lower()
    found = service.records.parameter_group(lower) if _is_name(lower) else None
    if found is None:
        raise _not_found(f"CacheParameterGroup {rules.shown(name)} not found.")
    return found


def _changeable(service: Service, name: str) -> Versioned[ParameterGroup]:
    if parameters.parse_default_group(name.lower()) is not None:
        raise parameter_values.invalid_state(
            f"The parameter group {name.lower()} is a default parameter group: it can be neither "
            "modified nor deleted."
        )
    return _made(service, name)


def _used_by(spec: GroupSpec) -> set[str]:
    waiting = spec.pending.parameter_group if spec.pending else None
    return {spec.parameter_group, waiting or spec.parameter_group}


def _is_name(text: str) -> bool:
    return len(text) <= _NAME_CHARS_MAX and _NAME.fullmatch(text) is not None


def _new_name(text: str) -> str:
    if not text:
        raise invalid_value(
            "The parameter CacheParameterGroupName must be provided and must not be blank."
        )
    if not _is_name(text.lower()):
        raise invalid_value(
            "The parameter CacheParameterGroupName is not a valid identifier. Identifiers must "
            "begin with a letter; must contain only ASCII letters, digits, and hyphens; must not "
            "end with a hyphen or contain two consecutive hyphens; and have at most "
            f"{_NAME_CHARS_MAX} characters: '{rules.shown(text)}'."
        )
    return text.lower()


def _refuse_taken(service: Service, name: str) -> None:
    if service.records.parameter_group(name) is not None:
        raise ClientFault(
            "CacheParameterGroupAlreadyExists", f"Cache parameter group {name} already exists."
        )
    limit = service.settings.limits.parameter_groups
    if len(service.records.parameter_groups()) >= limit:
        raise ClientFault(
            "CacheParameterGroupQuotaExceeded",
            f"Cache parameter group quota exceeded. You can have at most {limit} cache parameter "
            "groups in this region.",
        )


def _tell(service: Service, changes: ChangeSet, name: str, text: str) -> None:
    events.about(service, changes, SourceType.CACHE_PARAMETER_GROUP, name, text)


def _not_found(message: str) -> ClientFault:
    return ClientFault("CacheParameterGroupNotFound", message)
