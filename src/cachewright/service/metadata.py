"""How do notes become part of a spec, for groups and cache clusters alike?

Windows, notification, security groups and the wish for minor upgrades are notes: no process sees
them, and they change at once, whatever `ApplyImmediately` says.
"""

from __future__ import annotations

import dataclasses
from typing import Protocol

from cachewright.model.errors import invalid_combination, invalid_value
from cachewright.model.groups import TOPIC_ACTIVE, GroupKind, GroupSpec, Notification
from cachewright.service import rules, windows

_TOPIC_STATUSES = (TOPIC_ACTIVE, "inactive")


class Notes(Protocol):
    """What requests to modify groups and cache clusters have in common; `None` stays as it is."""

    @property
    def security_group_ids(self) -> tuple[str, ...]:
        """Replaces the list; empty keeps it."""

    @property
    def preferred_maintenance_window(self) -> str | None:
        """Weekly."""

    @property
    def snapshot_window(self) -> str | None:
        """Daily."""

    @property
    def notification_topic_arn(self) -> str | None:
        """An empty text takes the notification away."""

    @property
    def notification_topic_status(self) -> str | None:
        """One of `_TOPIC_STATUSES`."""

    @property
    def auto_minor_version_upgrade(self) -> bool | None:
        """Whether minor upgrades are wanted."""


def modified(spec: GroupSpec, wanted: Notes, *, region: str) -> GroupSpec:
    """Return `spec` with the notes that are asked for, or raise what is wrong with them."""
    maintenance_window, snapshot_window = _windows(spec, wanted, region)
    upgrade = wanted.auto_minor_version_upgrade
    return dataclasses.replace(
        spec,
        security_group_ids=rules.security_group_ids(wanted.security_group_ids)
        or spec.security_group_ids,
        maintenance_window=maintenance_window,
        snapshot_window=snapshot_window,
        notification=_notification(spec.notification, wanted),
        auto_minor_version_upgrade=spec.auto_minor_version_upgrade if upgrade is None else upgrade,
    )


def new_notification(topic_arn: str | None) -> Notification | None:
    """Return where events are sent to; a new topic is active."""
    if not topic_arn:
        return None
    return Notification(topic_arn=rules.topic_arn(topic_arn), topic_status=TOPIC_ACTIVE)


def new_windows(
    kind: GroupKind, *, uid: str, region: str, maintenance: str | None, snapshot: str | None
) -> tuple[str, str]:
    """Return maintenance and snapshot window; Memcached has no snapshots and an empty text."""
    if kind is GroupKind.MEMCACHED:
        if snapshot:
            raise invalid_combination(
                "The parameter SnapshotWindow cannot be used: memcached has no snapshots."
            )
        return windows.choose(uid=uid, region=region, maintenance=maintenance, snapshot=None)[0], ""
    return windows.choose(uid=uid, region=region, maintenance=maintenance, snapshot=snapshot)


def _windows(spec: GroupSpec, wanted: Notes, region: str) -> tuple[str, str]:
    if not (wanted.preferred_maintenance_window or wanted.snapshot_window):
        return spec.maintenance_window, spec.snapshot_window
    return new_windows(
        spec.kind,
        uid=spec.uid,
        region=region,
        maintenance=wanted.preferred_maintenance_window or spec.maintenance_window,
        snapshot=wanted.snapshot_window or spec.snapshot_window,
    )


def _notification(before: Notification | None, wanted: Notes) -> Notification | None:
    """An empty topic takes the notification away, as infrastructure tools ask for it."""
    status = wanted.notification_topic_status
    if status and status not in _TOPIC_STATUSES:
        raise invalid_value(
            f"Invalid value '{rules.shown(status)}' for NotificationTopicStatus. "
            f"Valid values are {' and '.join(_TOPIC_STATUSES)}"
        )
    if wanted.notification_topic_arn == "":
        return None
    after = new_notification(wanted.notification_topic_arn) or before
    if not status:
        return after
    if after is None:
        raise invalid_combination("NotificationTopicStatus needs a NotificationTopicArn.")
    return dataclasses.replace(after, topic_status=status)
