"""Who may hold a name, and until when?

The decision behind `acquire_lease` and `release_lease` for a store without leases of its own: a
lease is an entry under LEASE_PREFIX, written with compare-and-set. The entry outlives its lease, so
that epochs never repeat. Pure: the moment is an argument, and the store reads and writes.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Final

from cachewright.store.base import LEASE_PREFIX, Entry, Lease, check_key

#: Tries of one acquire or release. Each failed one means that somebody else wrote the lease
#: meanwhile, so a third is already rare.
ATTEMPTS_MAX: Final = 3
#: The owner written for a lease that was given back.
NOBODY: Final = ""


def key_of(name: str) -> str:
    """Return the key that holds the lease."""
    key = LEASE_PREFIX + name
    check_key(key)
    return key


def grant(
    entry: Entry | None, *, name: str, owner: str, ttl_s: float, now: datetime
) -> Lease | None:
    """Return the lease that `owner` may write over `entry`, or None if another owner holds it."""
    if owner == NOBODY or ttl_s <= 0 or now.tzinfo is None:
        raise ValueError(f"a lease needs an owner, a duration and an aware time: {name!r}")
    expires_at = now.astimezone(UTC) + timedelta(seconds=ttl_s)
    if entry is None:
        return Lease(name=name, owner=owner, epoch=1, expires_at=expires_at)
    current = parse(entry)
    is_held = current.owner != NOBODY and now < current.expires_at
    if is_held and current.owner != owner:
        return None
    epoch = current.epoch if is_held else current.epoch + 1
    return Lease(name=name, owner=owner, epoch=epoch, expires_at=expires_at)


def give_back(entry: Entry | None, lease: Lease) -> Lease | None:
    """Return what to write to end the lease, or None if it is no longer the current one."""
    current = None if entry is None else parse(entry)
    if current is None or (current.owner, current.epoch) != (lease.owner, lease.epoch):
        return None
    return Lease(name=lease.name, owner=NOBODY, epoch=current.epoch, expires_at=current.expires_at)


def render(lease: Lease) -> bytes:
    """Return the value that holds the lease."""
    record = {
        "owner": lease.owner,
        "epoch": lease.epoch,
        "expires_at": lease.expires_at.isoformat(),
    }
    return json.dumps(record).encode()


def parse(entry: Entry) -> Lease:
    """Return the lease that an entry holds."""
    record = json.loads(entry.value)
    return Lease(
        name=entry.key.removeprefix(LEASE_PREFIX),
        owner=record["owner"],
        epoch=record["epoch"],
        expires_at=datetime.fromisoformat(record["expires_at"]),
    )
