"""Which quotas can be set, and how far? The rows behind `cachewright up --quota NAME=VALUE`.

The two quotas of nodes have options of their own, `--max-nodes` and `--max-nodes-per-group`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import NamedTuple

from cachewright.entry.failures import BadSetting
from cachewright.model.settings import Limits


class _Quota(NamedTuple):
    #: As it is typed; the field of `Limits` has underscores.
    name: str
    least: int
    most: int

    @property
    def field(self) -> str:
        return self.name.replace("-", "_")


_QUOTAS = (
    # What one address pool serves with room for everything else.
    _Quota("nodes-per-memcached-cluster", 1, 300),
    # Lists of this length are still answered at once.
    _Quota("parameter-groups", 0, 10_000),
    _Quota("subnet-groups", 0, 10_000),
    _Quota("subnets-per-subnet-group", 1, 100),
    _Quota("security-groups", 0, 10_000),
    _Quota("reserved-nodes", 0, 1_000_000),
    # A change of a group's tags writes those of all its members at once.
    _Quota("tags-per-resource", 0, 50),
    # The times of all of them are one record.
    _Quota("test-failovers-per-day", 0, 1_000),
)
_BY_NAME = {quota.name: quota for quota in _QUOTAS}


def described() -> str:
    """Return the names of all quotas, each with its default."""
    defaults = Limits()
    return ", ".join(f"{quota.name} ({getattr(defaults, quota.field)})" for quota in _QUOTAS)


def apply(limits: Limits, texts: Iterable[str]) -> Limits:
    """Return `limits` with each `NAME=VALUE` of `texts`; the last one of a name counts."""
    values: dict[str, int] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        quota = _BY_NAME.get(name.strip())
        if quota is None or not equals:
            raise BadSetting(f"--quota {text!r} is not NAME=VALUE; the names are {described()}")
        value = value.strip()
        is_number = value.isascii() and value.isdigit() and len(value) <= len(str(quota.most))
        if not is_number or not quota.least <= int(value) <= quota.most:
            raise BadSetting(
                f"--quota {text!r}: {quota.name} is a number from {quota.least} to {quota.most}"
            )
        values[quota.field] = int(value)
    return dataclasses.replace(limits, **values)
