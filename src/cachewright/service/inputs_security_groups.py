"""What does a caller ask of cache security groups, as typed values? See `inputs`."""

from __future__ import annotations

import msgspec

from cachewright.service.inputs import Tag


class CreateCacheSecurityGroup(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    """A new cache security group."""

    cache_security_group_name: str
    description: str
    tags: tuple[Tag, ...] = ()


class DescribeCacheSecurityGroups(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    """A look at one cache security group, or at all."""

    cache_security_group_name: str | None = None
    max_records: int | None = None
    marker: str | None = None


class DeleteCacheSecurityGroup(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    """The end of a cache security group."""

    cache_security_group_name: str


class AuthorizeCacheSecurityGroupIngress(
    msgspec.Struct, frozen=True, kw_only=True, rename="pascal"
):
    """Leave to connect for a security group of EC2."""

    cache_security_group_name: str
    ec2_security_group_name: str = msgspec.field(name="EC2SecurityGroupName")
    ec2_security_group_owner_id: str = msgspec.field(name="EC2SecurityGroupOwnerId")


class RevokeCacheSecurityGroupIngress(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    """The end of such a leave."""

    cache_security_group_name: str
    ec2_security_group_name: str = msgspec.field(name="EC2SecurityGroupName")
    ec2_security_group_owner_id: str = msgspec.field(name="EC2SecurityGroupOwnerId")
