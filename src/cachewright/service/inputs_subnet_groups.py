"""What does a caller ask of subnet groups, as typed values? See `inputs`."""

from __future__ import annotations

import msgspec

from cachewright.service.inputs import Tag


class CreateCacheSubnetGroup(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    """A new subnet group."""

    cache_subnet_group_name: str
    cache_subnet_group_description: str
    subnet_ids: tuple[str, ...]
    tags: tuple[Tag, ...] = ()


class DescribeCacheSubnetGroups(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    """A look at one subnet group, or at all."""

    cache_subnet_group_name: str | None = None
    max_records: int | None = None
    marker: str | None = None


class ModifyCacheSubnetGroup(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    """Another description, or other subnets in the place of all there are."""

    cache_subnet_group_name: str
    cache_subnet_group_description: str | None = None
    subnet_ids: tuple[str, ...] | None = None


class DeleteCacheSubnetGroup(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    """The end of a subnet group."""

    cache_subnet_group_name: str
