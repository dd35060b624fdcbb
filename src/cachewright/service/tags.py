"""Which tags does a resource have? Rules of keys and values, and the three tag operations.

A group's tags are written once. A member node shows its group's tags until it gets tags of its
own; from then on it has a list of its own, into which changes to the group's tags are copied.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Collection, Iterable, Mapping

from cachewright.model.errors import ClientFault, invalid_value
from cachewright.model.settings import Settings
from cachewright.service import rules, taggable, views
from cachewright.service.context import Decision, Service, change
from cachewright.service.inputs import Tag
from cachewright.service.taggable import Tagged
from cachewright.store.base import TRANSACTION_BYTES_MAX, Put
from cachewright.store.records import TAGS, ChangeSet

Tags = Mapping[str, str]

_KEY_CHARS_MAX = 128
_VALUE_CHARS_MAX = 256
_PUNCTUATION = frozenset("+-=._:/@")
_RESERVED_PREFIX = "aws:"


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
    return _tags_of(service, taggable.find(service, arn))


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
    return dict(_tags_of(service, taggable.member(service, group, node_id)))


def copy_common(
    service: Service, changes: ChangeSet, group: views.GroupView, new_ids: Collection[str]
) -> None:
    """Give new nodes the tags that all nodes of their group have in common.

    Where these are the tags of the group, they have them without being told.
    """
    if not new_ids:
        return
    of_group = service.records.tags(service.arns.of_group(group.spec.name)).value
    tags_of = [inherited(service, group, node.node_id) for node in group.spec.nodes()]
    common = dict(set.intersection(*(set(tags.items()) for tags in tags_of)))
    if common == of_group:
        return
    for node_id in new_ids:
        changes.put(TAGS + service.arns.of_node(node_id), dict(sorted(common.items())))
    _refuse_too_large(changes)


async def _change_tags(
    service: Service, arn: str, changed: Callable[[Tags], dict[str, str]]
) -> Tags:
    def decide() -> Decision[Tags]:
        tagged = taggable.find(service, arn)
        if tagged.fixed:
            raise ClientFault("InvalidARN", tagged.fixed)
        changes = ChangeSet()
        # A delete that was accepted meanwhile must not find tags that come after it.
        changes.expect(*tagged.guard)
        own = service.records.tags(tagged.arn)
        after = changed(_tags_of(service, tagged))
        changes.replace(TAGS + tagged.arn, after, own.mod_revision)
        for copy_arn in tagged.copies:
            copy = service.records.tags(copy_arn)
            if copy.mod_revision:
                changes.replace(TAGS + copy_arn, changed(copy.value), copy.mod_revision)
        _refuse_too_large(changes)
        return Decision(uid=tagged.uid, changes=changes, result=after)

    return await change(service, decide)


def _tags_of(service: Service, tagged: Tagged) -> Tags:
    own = service.records.tags(tagged.arn)
    if own.mod_revision or tagged.inherits_from is None:
        return own.value
    return service.records.tags(tagged.inherits_from).value


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
