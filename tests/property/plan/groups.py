"""Groups to plan for: specs of every shape that a caller may ask for."""

from __future__ import annotations

import datetime

from hypothesis import strategies as st

from cachewright.model.engines import EngineName
from cachewright.model.groups import Group, GroupSecret, GroupSpec, NodeSpec, ShardSpec
from cachewright.model.slots import split_evenly

CREATED_AT = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)


def make_group(
    *,
    shards: int,
    replicas: int,
    cluster_enabled: bool,
    failover: bool | None = None,
    line: tuple[EngineName, str] = (EngineName.VALKEY, "9.1"),
) -> Group:
    """Return a group as `service` would write it; `line`: what it runs."""
    engine, version = line
    slots = split_evenly(shards)
    shard_specs = tuple(
        ShardSpec(
            shard_id=f"{number:04d}",
            slots=slots[number - 1] if cluster_enabled else (),
            nodes=tuple(
                NodeSpec(node_id=_node_id(number, index, cluster_enabled), zone="us-east-1a")
                for index in range(1, replicas + 2)
            ),
        )
        for number in range(1, shards + 1)
    )
    spec = GroupSpec(
        uid="abcdefgh",
        name="demo",
        description="x",
        engine=engine,
        engine_version=version,
        node_type="cache.t4g.micro",
        port=6379,
        cluster_enabled=cluster_enabled,
        shards=shard_specs,
        parameter_group="default.valkey9",
        automatic_failover=cluster_enabled if failover is None else failover,
        multi_az=False,
        subnet_group="default",
        security_group_ids=(),
        maintenance_window="sun:05:00-sun:06:00",
        snapshot_window="03:00-04:00",
        snapshot_retention_days=0,
        snapshotting_node_id=None,
        notification=None,
        auto_minor_version_upgrade=True,
        created_at=CREATED_AT,
    )
    secret = GroupSecret(admin_password="a" * 64, replication_password="b" * 64)
    return Group(spec=spec, secret=secret, placement=None)


def _node_id(shard: int, index: int, cluster_enabled: bool) -> str:
    return f"demo-{shard:04d}-{index:03d}" if cluster_enabled else f"demo-{index:03d}"


#: What groups may run, each an upgrade of the one before.
LINES = (
    (EngineName.REDIS, "7.0"),
    (EngineName.VALKEY, "8.1"),
    (EngineName.VALKEY, "9.1"),
)


@st.composite
def groups(draw: st.DrawFn, *, replicas_min: int = 0) -> Group:
    """Draw a group with at most 4 shards and 3 nodes in each."""
    cluster_enabled = draw(st.booleans())
    return make_group(
        shards=draw(st.integers(1, 4)) if cluster_enabled else 1,
        replicas=draw(st.integers(replicas_min, 2)),
        cluster_enabled=cluster_enabled,
        failover=cluster_enabled or draw(st.booleans()),
        line=draw(st.sampled_from(LINES)),
    )
