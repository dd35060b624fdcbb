"""Which operations of ElastiCache are not offered yet, and why?

Each is answered with `UnsupportedOperation`, its reason in the text. Handlers and this table
together are all operations of the service model, by test.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

_SNAPSHOTS = "snapshots come later"
_USERS = "users, user groups and their passwords come later"
_GLOBAL = "global datastores come later"
_SERVERLESS = "serverless caches come later"
_MIGRATION = "online migration comes later"

_BY_REASON: Mapping[str, tuple[str, ...]] = {
    _SNAPSHOTS: ("CopySnapshot", "CreateSnapshot", "DeleteSnapshot", "DescribeSnapshots"),
    _USERS: (
        "CreateUser",
        "CreateUserGroup",
        "DeleteUser",
        "DeleteUserGroup",
        "DescribeUserGroups",
        "DescribeUsers",
        "ModifyUser",
        "ModifyUserGroup",
    ),
    _GLOBAL: (
        "CreateGlobalReplicationGroup",
        "DecreaseNodeGroupsInGlobalReplicationGroup",
        "DeleteGlobalReplicationGroup",
        "DescribeGlobalReplicationGroups",
        "DisassociateGlobalReplicationGroup",
        "FailoverGlobalReplicationGroup",
        "IncreaseNodeGroupsInGlobalReplicationGroup",
        "ModifyGlobalReplicationGroup",
        "RebalanceSlotsInGlobalReplicationGroup",
    ),
    _SERVERLESS: (
        "CopyServerlessCacheSnapshot",
        "CreateServerlessCache",
        "CreateServerlessCacheSnapshot",
        "DeleteServerlessCache",
        "DeleteServerlessCacheSnapshot",
        "DescribeServerlessCacheSnapshots",
        "DescribeServerlessCaches",
        "ExportServerlessCacheSnapshot",
        "ModifyServerlessCache",
    ),
    _MIGRATION: (
        "CompleteMigration",
        "PrepareMigration",
        "StartMigration",
        "StopMigration",
        "TestMigration",
    ),
}

#: Operation to reason.
REASONS: Mapping[str, str] = MappingProxyType(
    {operation: reason for reason, operations in _BY_REASON.items() for operation in operations}
)
