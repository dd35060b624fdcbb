"""How is each noun written down? Typed records on top of a `Store`, and the changes to them.

One key a record; `service` writes spec, secret, tags, names and checks, `control` writes placement,
membership, status and addresses, both add events. Reads are decoded once a revision. A `ChangeSet`
collects compares and writes and is committed whole or not at all.

Keys: `spec/UID`, `secret/UID`, `placement/UID`, `membership/UID`, `status/UID`, `checks/UID`,
`group-name/NAME` and `node-name/CLUSTER` (hold the uid), `address/ADDRESS:PORT` (holds the uid),
`tags/ARN`, `event/TIME-RANDOM`, `parameter-group/NAME`, `notified/WEBHOOK`; see also `furniture`.
"""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

import msgspec

from cachewright.kit import ids
from cachewright.model.groups import (
    Group,
    GroupKind,
    GroupPlacement,
    GroupSecret,
    GroupSpec,
    Membership,
)
from cachewright.model.parameters import ParameterGroup
from cachewright.model.status import Event, GroupStatus
from cachewright.store.base import Compare, Delete, Entry, Put, Store, list_all

T = TypeVar("T")

SPEC = "spec/"
SECRET = "secret/"  # noqa: S105 a prefix of keys
PLACEMENT = "placement/"
MEMBERSHIP = "membership/"
STATUS = "status/"
CHECKS = "checks/"
#: What is written under the uid of a group, and goes with it.
OF_GROUP = (SPEC, SECRET, PLACEMENT, MEMBERSHIP, STATUS, CHECKS)
GROUP_NAME = "group-name/"
NODE_NAME = "node-name/"
ADDRESS = "address/"
TAGS = "tags/"
EVENT = "event/"
NOTIFIED = "notified/"
PARAMETER_GROUP = "parameter-group/"

#: Derived values kept: as many as there can be nodes, so at least one a group.
_DERIVED_MAX = 3_000
#: ElastiCache keeps events for 14 days.
EVENT_RETENTION = datetime.timedelta(days=14)
#: Events kept, whatever their age: half of what a store holds.
EVENTS_MAX = 50_000
#: Events removed in one transaction.
_SWEPT_AT_ONCE = 1_000


@dataclass(frozen=True, slots=True)
class Versioned(Generic[T]):
    """A record and the revision at which it was written, for compare-and-set."""

    value: T
    mod_revision: int


class ChangeSet:
    """Compares and writes that are committed together."""

    def __init__(self) -> None:
        self.compares: list[Compare] = []
        self.operations: list[Put | Delete] = []

    def expect(self, key: str, mod_revision: int) -> None:
        """Commit only if `key` was last written at `mod_revision` (0: does not exist)."""
        self.compares.append(Compare(key=key, mod_revision=mod_revision))

    def create(self, key: str, value: object) -> None:
        """Write a record that must not exist yet."""
        self.expect(key, 0)
        self.put(key, value)

    def replace(self, key: str, value: object, mod_revision: int) -> None:
        """Write a record that must not have changed since `mod_revision`."""
        self.expect(key, mod_revision)
        self.put(key, value)

    def put(self, key: str, value: object) -> None:
        """Write a record, whatever is there."""
        self.operations.append(Put(key=key, value=msgspec.json.encode(value)))

    def delete(self, key: str) -> None:
        """Remove a record; a record that is not there stays away."""
        self.operations.append(Delete(key=key))

    def add_event(self, event: Event, *, topic_arn: str = "") -> None:
        """Add an event; its key sorts by time, and in the order of adding at one time.

        It is published to the topic with this ARN.
        """
        event = dataclasses.replace(event, topic_arn=topic_arn)
        at = event.at.isoformat(timespec="microseconds")
        self.put(f"{EVENT}{at}-{ids.new_sortable_id()}", event)

    def is_empty(self) -> bool:
        """Tell whether committing would write nothing."""
        return not self.operations


class Records:
    """Typed reads of everything, and the commit of change sets."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._decoded: dict[str, tuple[int, object]] = {}
        self._derived: dict[str, tuple[tuple[int, ...], object]] = {}

    @property
    def revision(self) -> int:
        """The newest revision; equal revisions mean equal answers."""
        return self.store.revision()

    async def commit(self, changes: ChangeSet) -> int:
        """Make `changes` durable and return the revision; raise `Conflict` when a compare fails."""
        return await self.store.transact(changes.compares, changes.operations)

    def spec(self, uid: str) -> Versioned[GroupSpec] | None:
        """Return the desired state of a group."""
        return self._get(SPEC + uid, GroupSpec)

    def placement(self, uid: str) -> Versioned[GroupPlacement] | None:
        """Return where a group runs, `None` before it was placed."""
        return self._get(PLACEMENT + uid, GroupPlacement)

    def membership(self, uid: str) -> Versioned[Membership] | None:
        """Return the nodes that a Memcached cluster tells its clients of."""
        return self._get(MEMBERSHIP + uid, Membership)

    def status(self, uid: str) -> Versioned[GroupStatus] | None:
        """Return how a group was last seen, `None` before its first round."""
        return self._get(STATUS + uid, GroupStatus)

    def group(self, uid: str) -> Group | None:
        """Return what is written down about a group, `None` when there is no such group."""
        spec = self.spec(uid)
        secret = self._get(SECRET + uid, GroupSecret)
        if spec is None or secret is None:
            return None
        placement, membership = self.placement(uid), self.membership(uid)
        parameters = self.parameter_group(spec.value.parameter_group)
        return Group(
            spec=spec.value,
            secret=secret.value,
            placement=None if placement is None else placement.value,
            parameters={} if parameters is None else parameters.value.values,
            membership=None if membership is None else membership.value,
        )

    def derived(self, uid: str, make: Callable[[], T]) -> T:
        """Return what `make` makes of a group's spec, placement and status, and of nothing else.

        It is made anew only when one of them has changed. One value is kept for each group: there
        is one caller, the description of groups.
        """
        found = (self.store.get(prefix + uid) for prefix in (SPEC, PLACEMENT, STATUS))
        revisions = tuple(0 if entry is None else entry.mod_revision for entry in found)
        kept = self._derived.get(uid)
        if kept is None or kept[0] != revisions:
            kept = self._derived[uid] = (revisions, make())
            if len(self._derived) > _DERIVED_MAX:
                del self._derived[next(iter(self._derived))]
        return kept[1]  # type: ignore[return-value] # one caller, one type

    def uids(self) -> tuple[str, ...]:
        """Return the uid of every group."""
        return tuple(entry.key.removeprefix(SPEC) for entry in list_all(self.store, SPEC))

    def uid_of_group(self, name: str) -> str | None:
        """Return the uid of the replication group `name`."""
        found = self._get(GROUP_NAME + name, str)
        return None if found is None else found.value

    def uid_of_node(self, node_id: str) -> str | None:
        """Return the uid of the group that the cache cluster `node_id` belongs to."""
        found = self._get(NODE_NAME + node_id, str)
        return None if found is None else found.value

    def group_names(self) -> tuple[tuple[str, str], ...]:
        """Return (name, uid) of every replication group, sorted by name."""
        return self._names(GROUP_NAME)

    def node_names(self) -> tuple[tuple[str, str], ...]:
        """Return (cache cluster id, uid) of every node, sorted by id."""
        return self._names(NODE_NAME)

    def taken_addresses(self) -> frozenset[str]:
        """Return every `ADDRESS:PORT` in use."""
        return frozenset(entry.key.removeprefix(ADDRESS) for entry in list_all(self.store, ADDRESS))

    def tags(self, arn: str) -> Versioned[dict[str, str]]:
        """Return the tags of a resource; revision 0 where it never had any."""
        return self._get(TAGS + arn, dict[str, str]) or Versioned({}, 0)

    def parameter_group(self, name: str) -> Versioned[ParameterGroup] | None:
        """Return the parameter group that a caller made under this name."""
        return self._get(PARAMETER_GROUP + name, ParameterGroup)

    def parameter_groups(self) -> tuple[Versioned[ParameterGroup], ...]:
        """Return every parameter group that a caller made, sorted by name."""
        return tuple(
            self._decode(entry, ParameterGroup) for entry in list_all(self.store, PARAMETER_GROUP)
        )

    def find(self, key: str, kind: type[T]) -> Versioned[T] | None:
        """Return the record under `key`, which is always written as `kind`."""
        return self._get(key, kind)

    def find_all(self, prefix: str, kind: type[T]) -> tuple[T, ...]:
        """Return every record under `prefix`, sorted by key."""
        return tuple(self._decode(entry, kind).value for entry in list_all(self.store, prefix))

    def keys(self, prefix: str) -> tuple[str, ...]:
        """Return every key under `prefix`, sorted."""
        return tuple(entry.key for entry in list_all(self.store, prefix))

    def events(
        self, *, since: datetime.datetime, until: datetime.datetime
    ) -> tuple[tuple[str, Event], ...]:
        """Return (key, event) for every event from `since` up to `until`, oldest first."""
        first = f"{EVENT}{since.isoformat(timespec='microseconds')}"
        last = f"{EVENT}{until.isoformat(timespec='microseconds')}~"
        found: list[tuple[str, Event]] = []
        page = self.store.list(EVENT, after=first)
        while page and page[0].key <= last:  # at most KEYS_MAX / PAGE_MAX rounds
            found += [
                (entry.key, self._decode(entry, Event).value) for entry in page if entry.key <= last
            ]
            page = self.store.list(EVENT, after=page[-1].key)
        return tuple(found)

    def events_written(
        self, *, since: datetime.datetime, after: tuple[int, str]
    ) -> tuple[tuple[int, str, Event], ...]:
        """Return (revision, key, event) for what was written after `after`, in that order.

        Not by time: who decides first need not write first. Events from before `since` are left
        out.
        """
        start = f"{EVENT}{since.isoformat(timespec='microseconds')}"
        found: list[tuple[int, str, Event]] = []
        page = self.store.list(EVENT, after=start)
        while page:  # at most KEYS_MAX / PAGE_MAX rounds
            found += [
                (entry.mod_revision, entry.key, self._decode(entry, Event).value)
                for entry in page
                if (entry.mod_revision, entry.key) > after
            ]
            page = self.store.list(EVENT, after=page[-1].key)
        return tuple(sorted(found, key=lambda written: written[:2]))

    def expired_events(self, now: datetime.datetime) -> tuple[str, ...]:
        """Return the keys of some events that are older than the retention, or too many."""
        entries = list_all(self.store, EVENT)
        bound = f"{EVENT}{(now - EVENT_RETENTION).isoformat(timespec='microseconds')}"
        excess = len(entries) - EVENTS_MAX
        return tuple(
            entry.key
            for number, entry in enumerate(entries[:_SWEPT_AT_ONCE])
            if entry.key < bound or number < excess
        )

    async def remove_events(self, keys: Iterable[str]) -> None:
        """Remove events for good."""
        changes = ChangeSet()
        for key in keys:
            changes.delete(key)
        await self.commit(changes)
        for change in changes.operations:
            self._decoded.pop(change.key, None)

    def _names(self, prefix: str) -> tuple[tuple[str, str], ...]:
        return tuple(
            (entry.key.removeprefix(prefix), self._decode(entry, str).value)
            for entry in list_all(self.store, prefix)
        )

    def _get(self, key: str, kind: type[T]) -> Versioned[T] | None:
        entry = self.store.get(key)
        if entry is None:
            self._decoded.pop(key, None)
            return None
        return self._decode(entry, kind)

    def _decode(self, entry: Entry, kind: type[T]) -> Versioned[T]:
        cached = self._decoded.get(entry.key)
        if cached is None or cached[0] != entry.mod_revision:
            cached = (entry.mod_revision, msgspec.json.decode(entry.value, type=kind))
            self._decoded[entry.key] = cached
        return Versioned(cached[1], entry.mod_revision)  # type: ignore[arg-type] # decoded as kind


def names_of(spec: GroupSpec) -> Mapping[str, str]:
    """Return the name keys that a new group holds, each with the uid as its value."""
    keys = {NODE_NAME + cluster_id: spec.uid for cluster_id in spec.cluster_ids()}
    if spec.kind is GroupKind.REPLICATION_GROUP:
        keys[GROUP_NAME + spec.name] = spec.uid
    return keys


def address_keys(placement: GroupPlacement) -> Iterable[str]:
    """Yield the address keys that a placement holds: one a node, one an endpoint."""
    port = placement.nodes[0].port
    for node in placement.nodes:
        yield f"{ADDRESS}{node.address}:{node.port}"
    for address in placement.endpoints.addresses():
        key = f"{ADDRESS}{address}:{port}"
        if not placement.shares_address:
            yield key
