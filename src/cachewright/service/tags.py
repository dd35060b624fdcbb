"""Which tags does a resource have? Rules of keys and values, and the three tag operations.

A group's tags are written once. A member node shows its group's tags until it gets tags of its
own; from then on it has a list of its own, into which changes to the group's tags are copied.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from cachewright.model.errors import ClientFault, invalid_value
from cachewright.model.settings import Settings
from cachewright.model.status import GroupState, NodeState
from cachewright.service import rules, views
from cachewright.service.context import Decision, Service, change
from cachewright.service.inputs import Tag
from cachewright.store.base import TRANSACTION_BYTES_MAX, Put
from cachewright.store.records import SPEC, TAGS, ChangeSet

Tags = Mapping[str, str]

_KEY_CHARS_MAX = 128
_VALUE_CHARS_MAX = 256
_PUNCTUATION = frozenset("+-=._:/@")
_RESERVED_PREFIX = "aws:"

_ARN_PARTS = 7
#: An ARN with the longest id has well under 300 characters.
_ARN_CHARS_MAX = 512
_GROUP = "replicationgroup"
_CLUSTER = "cluster"
#: Resources that can be tagged and are not offered yet: none is ever found.
_NOT_FOUND = {
    "parametergroup": ("CacheParameterGroupNotFound", "CacheParameterGroup"),
    "securitygroup": ("CacheSecurityGroupNotFound", "CacheSecurityGroup"),
    "subnetgroup": ("CacheSubnetGroupNotFoundFault", "CacheSubnetGroup"),
    "snapshot": ("SnapshotNotFoundFault", "Snapshot"),
    "user": ("UserNotFound", "User"),
    "usergroup": ("UserGroupNotFound", "UserGroup"),
    "serverlesscache": ("ServerlessCacheNotFoundFault", "ServerlessCache"),
    "serverlesscachesnapshot": ("ServerlessCacheSnapshotNotFoundFault", "ServerlessCacheSnapshot"),
    "reserved-instance": ("ReservedCacheNodeNotFound", "ReservedCacheNode"),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class _Tagged:
    """A resource that has tags: a group, or one of its nodes."""

    group: views.GroupView
    #: `None` for the group itself.
    node_id: str | None


def checked(tags: Iterable[Tag], settings: Settings) -> dict[str, str]:
    """Return `tags` as a mapping, where a later value replaces an earlier one of the same key."""
    mapping: dict[str, str] = {}
    for tag in tags:
        key = _checked_key(tag.key or "")
        mapping[key] = _checked_value(tag.value or "", key)
    _refuse_too_many(mapping, settings)
    return mapping


def list_tags(service: Service, arn: str) -> Tags:
    """Return the tags of the resource with this ARN."""
    return _tags_of(service, _find(service, arn))


async def add_tags(service: Service, arn: str, tags: Iterable[Tag]) -> Tags:
    """Add `tags` to a resource, and to the nodes of a group; return the complete tags."""
    added = checked(tags, service.settings)

    def with_added(before: Tags) -> dict[str, str]:
        after = {**before, **added}
        _refuse_too_many(after, service.settings)
        return after

    return await _change_tags(service, arn, with_added)


async def remove_tags(service: Service, arn: str, keys: Iterable[str]) -> Tags:
    """Take the tags with these keys from a resource, and from the nodes of a group."""
    removed = frozenset(_checked_key(key) for key in keys)
    missing = removed - set(list_tags(service, arn))
    if missing:
        shown = ", ".join(sorted(missing))
        raise ClientFault("TagNotFound", f"The resource has no tag with the key {shown}.")
    return await _change_tags(
        service,
        arn,
        lambda before: {key: value for key, value in before.items() if key not in removed},
    )


def inherited(service: Service, group: views.GroupView, node_id: str) -> dict[str, str]:
    """Return what a node's own tags would be if it left the group now."""
    return dict(_tags_of(service, _Tagged(group=group, node_id=node_id)))


async def _change_tags(
    service: Service, arn: str, changed: Callable[[Tags], dict[str, str]]
) -> Tags:
    def decide() -> Decision[Tags]:
        tagged = _find(service, arn)
        spec = tagged.group.spec
        changes = ChangeSet()
        # A delete that was accepted meanwhile must not find tags that come after it.
        changes.expect(SPEC + spec.uid, tagged.group.spec_revision)
        own_arn = _arn_of(service, tagged)
        own = service.records.tags(own_arn)
        after = changed(_tags_of(service, tagged))
        changes.replace(TAGS + own_arn, after, own.mod_revision)
        if tagged.node_id is None:
            for node in spec.nodes():
                node_arn = service.arns.of_node(node.node_id)
                copy = service.records.tags(node_arn)
                if copy.mod_revision:
                    changes.replace(TAGS + node_arn, changed(copy.value), copy.mod_revision)
        _refuse_too_large(changes)
        return Decision(uid=spec.uid, changes=changes, result=after)

    return await change(service, decide)


def _tags_of(service: Service, tagged: _Tagged) -> Tags:
    own = service.records.tags(_arn_of(service, tagged))
    if own.mod_revision or tagged.node_id is None or tagged.group.is_standalone:
        return own.value
    return service.records.tags(service.arns.of_group(tagged.group.spec.name)).value


def _arn_of(service: Service, tagged: _Tagged) -> str:
    if tagged.node_id is None:
        return service.arns.of_group(tagged.group.spec.name)
    return service.arns.of_node(tagged.node_id)


def _find(service: Service, arn: str) -> _Tagged:
    """Return the resource with this ARN if its tags may be looked at and changed now."""
    kind, name = _parse_arn(service.settings, arn)
    if kind == _GROUP:
        group = views.find_group(service.records, name)
        tagged = _Tagged(group=group, node_id=None)
        is_available = group.state is GroupState.AVAILABLE
    elif kind == _CLUSTER:
        cluster = views.find_cluster(service.records, name)
        tagged = _Tagged(group=cluster.group, node_id=cluster.node.node_id)
        is_available = cluster.state is NodeState.AVAILABLE
    else:
        code, noun = _NOT_FOUND[kind]
        raise ClientFault(code, f"{noun} {rules.shown(name)} not found.")
    if not is_available:
        raise rules.invalid_group_state(
            "Cluster not in available state to perform tagging operations."
        )
    return tagged


def _parse_arn(settings: Settings, text: str) -> tuple[str, str]:
    """Return kind and name of a resource of this region and account."""
    parts = text.split(":", _ARN_PARTS - 1) if len(text) <= _ARN_CHARS_MAX else []
    ours = ["arn", "aws", "elasticache", settings.region, settings.account_id]
    known = {_GROUP, _CLUSTER, *_NOT_FOUND}
    if len(parts) != _ARN_PARTS or parts[:5] != ours or parts[5] not in known or not parts[6]:
        raise ClientFault(
            "InvalidARN", f"The ARN '{rules.shown(text)}' names no resource of this service."
        )
    return parts[5], parts[6].lower()


def _checked_key(key: str) -> str:
    if not 1 <= len(key) <= _KEY_CHARS_MAX or not _is_tag_text(key):
        raise invalid_value(
            f"Invalid tag key '{rules.shown(key)}': it has from 1 to {_KEY_CHARS_MAX} letters, "
            f"digits, spaces and characters of {' '.join(sorted(_PUNCTUATION))}."
        )
    if key.lower().startswith(_RESERVED_PREFIX):
        raise invalid_value(
            f"Invalid tag key '{rules.shown(key)}': the prefix {_RESERVED_PREFIX} is reserved."
        )
    return key


def _checked_value(value: str, key: str) -> str:
    if len(value) > _VALUE_CHARS_MAX or not _is_tag_text(value):
        raise invalid_value(
            f"Invalid value of the tag '{rules.shown(key)}': it has at most {_VALUE_CHARS_MAX} "
            f"letters, digits, spaces and characters of {' '.join(sorted(_PUNCTUATION))}."
        )
    return value


def _is_tag_text(text: str) -> bool:
    """Tell whether all characters are letters, numbers or separators of Unicode, or listed."""
    return all(char in _PUNCTUATION or unicodedata.category(char)[0] in "LNZ" for char in text)


def _refuse_too_many(tags: Tags, settings: Settings) -> None:
    limit = settings.limits.tags_per_resource
    if len(tags) > limit:
        raise ClientFault(
            "TagQuotaPerResourceExceeded",
            f"The request would give the resource {len(tags)} tags; it can have {limit}.",
        )


def _refuse_too_large(changes: ChangeSet) -> None:
    """Refuse what the store could not write at once: many nodes with long lists of their own."""
    size_bytes = sum(len(put.value) for put in changes.operations if isinstance(put, Put))
    if size_bytes > TRANSACTION_BYTES_MAX // 2:
        raise invalid_value(
            "The tags of the group's nodes are too long to be changed at once; change the nodes "
            "one by one."
        )
