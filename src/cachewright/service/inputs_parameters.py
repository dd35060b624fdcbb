"""What does a caller ask of parameter groups, as typed values? See `inputs`."""

from __future__ import annotations

import msgspec

from cachewright.service.inputs import Tag


class ParameterNameValue(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    """A parameter and its value; a reset looks at the name alone."""

    parameter_name: str | None = None
    parameter_value: str | None = None


class CreateCacheParameterGroup(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    """A new parameter group."""

    cache_parameter_group_name: str
    cache_parameter_group_family: str
    description: str
    tags: tuple[Tag, ...] = ()


class DescribeCacheParameterGroups(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    """Which parameter groups are there?"""

    cache_parameter_group_name: str | None = None
    max_records: int | None = None
    marker: str | None = None


class DescribeCacheParameters(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    """What are the values of a parameter group?"""

    cache_parameter_group_name: str
    source: str | None = None
    max_records: int | None = None
    marker: str | None = None


class DescribeEngineDefaultParameters(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    """What are the defaults of a family?"""

    cache_parameter_group_family: str
    max_records: int | None = None
    marker: str | None = None


class ModifyCacheParameterGroup(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    """Other values for some parameters of a group."""

    cache_parameter_group_name: str
    parameter_name_values: tuple[ParameterNameValue, ...] = ()


class ResetCacheParameterGroup(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    """The defaults again, for some parameters of a group or for all."""

    cache_parameter_group_name: str
    reset_all_parameters: bool | None = None
    parameter_name_values: tuple[ParameterNameValue, ...] = ()


class DeleteCacheParameterGroup(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    """The end of a parameter group."""

    cache_parameter_group_name: str
