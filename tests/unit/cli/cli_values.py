"""What does the service answer? Groups by hand, for tests of the command line."""

from __future__ import annotations

import dataclasses

from cachewright.cli import answers


def node(node_id: str, role: str | None, status: str = "available") -> answers.Node:
    return answers.Node(
        node_id=node_id,
        role=role,
        status=status,
        address="127.64.0.2",
        port=6379,
        zone="us-east-1a",
        engine_version="9.1.2",
    )


def shard(*nodes: answers.Node, shard_id: str = "0001") -> answers.Shard:
    return answers.Shard(shard_id=shard_id, slots="", nodes=nodes)


def group(*shards: answers.Shard, **changed: object) -> answers.Group:
    made = answers.Group(
        name="scores",
        status="available",
        reason="",
        description="",
        engine="valkey",
        engine_version="9.1",
        node_type="cache.t4g.small",
        cluster_enabled=True,
        endpoints=answers.Endpoints(),
        shards=shards,
        events=(),
        created_at="2026-01-01T00:00:00Z",
    )
    return dataclasses.replace(made, **changed)  # type: ignore[arg-type]
