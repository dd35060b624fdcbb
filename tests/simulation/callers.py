"""What do callers ask for? Accepted calls, written as `service` writes them: spec and names."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from cachewright.model.engines import EngineName
from cachewright.model.groups import (
    Deletion,
    GroupKind,
    GroupSecret,
    GroupSpec,
    NodeSpec,
    RestartCause,
    ShardSpec,
)
from cachewright.model.parameters.groups import ParameterGroup
from cachewright.model.slots import split_evenly
from cachewright.model.status import GroupState, GroupStatus, Role
from cachewright.store import records
from cachewright.store.base import Conflict, StoreUnavailable

#: Sizes that callers ask for: shards and replicas of each, small ones more often.
_SHARDS = (1, 1, 2, 3, 3, 5)
_REPLICAS = (0, 1, 1, 2, 2, 3)
_NODES_MAX = 4
_SHARDS_MAX = 5
#: The parameter group of groups that keep what is written to them, and how many do.
_KEEPS = "keeps"
_KEEPS_SHARE = 0.3


@dataclass(frozen=True, kw_only=True, slots=True)
class Shape:
    """What a group looks like; `shards` is 0 where cluster mode is disabled."""

    shards: int
    replicas: int
    automatic_failover: bool = True
    #: It has an append-only file.
    keeps: bool = False


class Callers:
    """Everybody who calls the API, as one."""

    def __init__(
        self, random: Random, store: records.Records, now: Callable[[], datetime.datetime]
    ) -> None:
        self._random = random
        self._records = store
        self._now = now
        self._made = 0

    def uids(self) -> tuple[str, ...]:
        """Return every group that is there."""
        return self._records.uids()

    async def create(self, shape: Shape | None = None) -> str | None:
        """Create a group of a shape, or of any; return its uid."""
        self._made += 1
        spec = self._new_spec(f"g{self._made:07d}", shape or self._any_shape())
        changes = records.ChangeSet()
        if self._records.parameter_group(_KEEPS) is None:
            changes.create(records.PARAMETER_GROUP + _KEEPS, self._keeping())
        changes.create(records.SPEC + spec.uid, spec)
        secret = GroupSecret(admin_password="a" * 64, replication_password="b" * 64)
        changes.create(records.SECRET + spec.uid, secret)
        for key, value in records.names_of(spec).items():
            changes.create(key, value)
        return spec.uid if await self._commit(changes) else None

    async def delete(self, uid: str) -> bool:
        """Delete a group, sometimes but for its primary."""
        spec, status = self._spec(uid), self._status(uid)
        if spec is None or spec.deletion is not None:
            return False
        retained = None
        primaries = [n.node_id for n in (status.nodes if status else ()) if n.role is Role.PRIMARY]
        may_retain = not spec.cluster_enabled and spec.kind is GroupKind.REPLICATION_GROUP
        if may_retain and _is_available(status) and primaries and self._random.random() < 0.2:
            retained = primaries[0]
        deletion = Deletion(requested_at=self._now(), retained_node_id=retained)
        return await self._replace(spec, deletion=deletion)

    async def reboot(self, uid: str) -> bool:
        """Ask for a restart of some nodes."""
        spec = self._spec(uid)
        if spec is None or spec.deletion is not None:
            return False
        ids = [node.node_id for node in spec.nodes()]
        chosen = set(self._random.sample(ids, self._random.randint(1, len(ids))))
        return await self._restart(spec, chosen, RestartCause.REBOOT)

    async def test_failover(self, uid: str) -> bool:
        """Ask for a test of failover of one shard of a group that is available."""
        spec, status = self._spec(uid), self._status(uid)
        if spec is None or status is None or spec.deletion is not None:
            return False
        shard = self._random.choice(spec.shards)
        ids = {node.node_id for node in shard.nodes}
        primaries = {n.node_id for n in status.nodes if n.role is Role.PRIMARY} & ids
        if not _is_available(status) or len(ids) == 1 or not spec.automatic_failover:
            return False
        return await self._restart(spec, primaries, RestartCause.TEST_FAILOVER)

    async def wish_primary(self, uid: str) -> bool:
        """Say who shall be the primary, where nobody decides that by himself."""
        spec = self._spec(uid)
        if spec is None or spec.cluster_enabled or spec.automatic_failover or spec.deletion:
            return False
        node = self._random.choice([*spec.nodes()])
        return await self._replace(spec, primary_node_id=node.node_id)

    async def switch_failover(self, uid: str) -> bool:
        """Turn automatic failover on or off."""
        spec = self._spec(uid)
        is_alone = spec is not None and len(spec.shards[0].nodes) == 1
        if spec is None or spec.cluster_enabled or spec.deletion is not None or is_alone:
            return False
        turned = not spec.automatic_failover
        wish = None if turned else spec.primary_node_id
        return await self._replace(spec, automatic_failover=turned, primary_node_id=wish)

    async def resize(self, uid: str) -> bool:
        """Add a replica, or let one go."""
        spec, status = self._spec(uid), self._status(uid)
        if spec is None or spec.cluster_enabled or spec.deletion or not _is_available(status):
            return False
        assert status is not None
        (shard,) = spec.shards
        if len(shard.nodes) < _NODES_MAX and self._random.random() < 0.5:
            self._made += 1
            node = NodeSpec(node_id=f"{spec.name}-a{self._made}", zone="us-east-1b")
            return await self._change_nodes(spec, (*shard.nodes, node))
        replicas = {n.node_id for n in status.nodes if n.role is Role.REPLICA}
        going = [n for n in shard.nodes if n.node_id in replicas and n.node_id]
        if not going or len(shard.nodes) < (3 if spec.automatic_failover else 2):
            return False
        gone = self._random.choice(going)
        if gone.node_id == spec.primary_node_id:
            return False
        return await self._change_nodes(spec, tuple(n for n in shard.nodes if n is not gone))

    async def reshard(self, uid: str) -> bool:
        """Add shards to a cluster, let some go, or spread its slots anew."""
        spec, status = self._spec(uid), self._status(uid)
        if spec is None or not spec.cluster_enabled or spec.deletion or not _is_available(status):
            return False
        count = self._random.randint(1, _SHARDS_MAX)
        names = records.ChangeSet()
        shards = list(spec.shards)
        if count < len(shards):
            going = set(self._random.sample(range(len(shards)), len(shards) - count))
            shards = [dataclasses.replace(s, is_leaving=n in going) for n, s in enumerate(shards)]
        first = max(int(shard.shard_id) for shard in shards) + 1
        for number in range(first, first + count - len(shards)):
            nodes = tuple(
                NodeSpec(node_id=f"{spec.name}-{number:04d}-{i:03d}", zone="us-east-1a")
                for i in range(1, spec.replicas_least() + 2)
            )
            shards.append(ShardSpec(shard_id=f"{number:04d}", slots=(), nodes=nodes))
            for node in nodes:
                names.create(records.NODE_NAME + node.node_id, spec.uid)
        asked = spec.generation + 1
        return await self._replace(spec, names, shards=tuple(shards), resharding_generation=asked)

    def _keeping(self) -> ParameterGroup:
        return ParameterGroup(
            name=_KEEPS,
            family="valkey9",
            description="x",
            values={"appendonly": "yes"},
            created_at=self._now(),
        )

    def _any_shape(self) -> Shape:
        is_cluster = self._random.random() < 0.5
        shards = self._random.choice(_SHARDS) if is_cluster else 0
        replicas = self._random.choice(_REPLICAS)
        is_automatic = is_cluster or (replicas > 0 and self._random.random() < 0.6)
        return Shape(
            shards=shards,
            replicas=replicas,
            automatic_failover=is_automatic,
            keeps=self._random.random() < _KEEPS_SHARE,
        )

    def _new_spec(self, uid: str, shape: Shape) -> GroupSpec:
        is_cluster, shards, replicas = shape.shards > 0, max(1, shape.shards), shape.replicas
        slots = split_evenly(shards) if is_cluster else ((),)
        name = f"n{uid}"
        return GroupSpec(
            uid=uid,
            name=name,
            description="x",
            engine=EngineName.VALKEY,
            engine_version="9.1",
            node_type="cache.t4g.micro",
            port=6379,
            cluster_enabled=is_cluster,
            shards=tuple(
                ShardSpec(
                    shard_id=f"{number:04d}",
                    slots=slots[number - 1],
                    nodes=tuple(
                        NodeSpec(node_id=f"{name}-{number:04d}-{i:03d}", zone="us-east-1a")
                        for i in range(1, replicas + 2)
                    ),
                )
                for number in range(1, shards + 1)
            ),
            parameter_group=_KEEPS if shape.keeps else "default.valkey9",
            automatic_failover=shape.automatic_failover,
            multi_az=False,
            subnet_group="default",
            security_group_ids=(),
            maintenance_window="sun:05:00-sun:06:00",
            snapshot_window="03:00-04:00",
            snapshot_retention_days=0,
            snapshotting_node_id=None,
            notification=None,
            auto_minor_version_upgrade=True,
            created_at=self._now(),
        )

    async def _restart(self, spec: GroupSpec, ids: set[str], cause: RestartCause) -> bool:
        generation = spec.generation + 1
        shards = tuple(
            dataclasses.replace(
                shard,
                nodes=tuple(
                    dataclasses.replace(node, restarts=generation, restart_cause=cause)
                    if node.node_id in ids
                    else node
                    for node in shard.nodes
                ),
            )
            for shard in spec.shards
        )
        return await self._replace(spec, shards=shards)

    async def _change_nodes(self, spec: GroupSpec, nodes: tuple[NodeSpec, ...]) -> bool:
        (shard,) = spec.shards
        after = dataclasses.replace(spec, shards=(dataclasses.replace(shard, nodes=nodes),))
        changes = records.ChangeSet()
        known = {node.node_id for node in spec.nodes()}
        for node in nodes:
            if node.node_id not in known:
                changes.create(records.NODE_NAME + node.node_id, spec.uid)
        return await self._replace(spec, changes, shards=after.shards)

    async def _replace(
        self, spec: GroupSpec, changes: records.ChangeSet | None = None, **fields: object
    ) -> bool:
        changes = changes or records.ChangeSet()
        written = self._records.spec(spec.uid)
        if written is None:
            return False
        after = dataclasses.replace(spec, generation=spec.generation + 1, **fields)  # type: ignore[arg-type]
        changes.replace(records.SPEC + spec.uid, after, written.mod_revision)
        return await self._commit(changes)

    async def _commit(self, changes: records.ChangeSet) -> bool:
        try:
            await self._records.commit(changes)
        except (Conflict, StoreUnavailable):
            return False
        return True

    def _spec(self, uid: str) -> GroupSpec | None:
        written = self._records.spec(uid)
        return None if written is None else written.value

    def _status(self, uid: str) -> GroupStatus | None:
        written = self._records.status(uid)
        return None if written is None else written.value


def _is_available(status: GroupStatus | None) -> bool:
    return status is not None and status.state is GroupState.AVAILABLE
