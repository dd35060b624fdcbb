"""What do tests of `service` and `api` stand on? A real store, a clock that waits, no engine.

What the loop would write (placement, status) is written by `World.settle` in its place.
"""

from __future__ import annotations

import asyncio
import dataclasses
import datetime
import ipaddress
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

from cachewright.kit.clock import Clock, ManualClock
from cachewright.model.engines import EngineName, api_version_of
from cachewright.model.errors import ClientFault
from cachewright.model.facts import NodeFact, Observed
from cachewright.model.groups import (
    DISCOVERY_ID,
    Endpoints,
    GroupKind,
    GroupPlacement,
    GroupSpec,
    NodePlacement,
    NodeSpec,
    ShardSpec,
)
from cachewright.model.settings import Limits, Settings
from cachewright.model.status import Event, GroupState, GroupStatus, NodeState, NodeStatus, Role
from cachewright.rpc.agent import EngineOffer
from cachewright.service import cache_clusters, inputs, inputs_cache_clusters, replication_groups
from cachewright.service.context import Service
from cachewright.service.views import ClusterView, GroupView
from cachewright.store import records
from cachewright.store.sqlite import SqliteStore

T = TypeVar("T")

NOW = datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.UTC)
_NODE_STATES = {
    GroupState.CREATING: NodeState.CREATING,
    GroupState.AVAILABLE: NodeState.AVAILABLE,
    GroupState.MODIFYING: NodeState.MODIFYING,
    GroupState.DELETING: NodeState.DELETING,
    GroupState.CREATE_FAILED: NodeState.INCOMPATIBLE_NETWORK,
}


def offer(engine: EngineName, version: str, *, is_installed: bool = True) -> EngineOffer:
    """Return the offer of one line; `version` is a full version or major.minor."""
    return EngineOffer(
        engine=engine,
        api_version=api_version_of(engine, version),
        version=version if is_installed else None,
        is_installed=is_installed,
        source="embedded" if is_installed else "debian",
    )


OFFERS = (
    offer(EngineName.VALKEY, "9.1.2"),
    offer(EngineName.VALKEY, "8.1", is_installed=False),
    offer(EngineName.REDIS, "7.0.15"),
)
#: What the hosts of tests of cache clusters offer.
CLUSTER_OFFERS = (
    *OFFERS,
    offer(EngineName.MEMCACHED, "1.6.18", is_installed=False),
    offer(EngineName.MEMCACHED, "1.6.38"),
    offer(EngineName.MEMCACHED, "1.6.45", is_installed=False),
)


def wanted(**changes: object) -> inputs.CreateReplicationGroup:
    """Return a request for one small node named demo, with `changes`."""
    usual: dict[str, object] = {
        "replication_group_id": "demo",
        "replication_group_description": "a demo",
        "engine": "valkey",
        "cache_node_type": "cache.t4g.micro",
    }
    return inputs.CreateReplicationGroup(**{**usual, **changes})  # type: ignore[arg-type] # typed by msgspec at run time


def wanted_cluster(**changes: object) -> inputs_cache_clusters.CreateCacheCluster:
    """Return a request for a Memcached cluster named cache with three nodes, with `changes`."""
    usual: dict[str, object] = {
        "cache_cluster_id": "cache",
        "engine": "memcached",
        "engine_version": "1.6.38",
        "num_cache_nodes": 3,
        "cache_node_type": "cache.t4g.micro",
    }
    given = {name: value for name, value in {**usual, **changes}.items() if value is not None}
    return inputs_cache_clusters.CreateCacheCluster(**given)  # type: ignore[arg-type] # typed by msgspec at run time


async def no_look(uid: str) -> Observed:
    """There are no engines that could be asked."""
    return Observed()


@dataclasses.dataclass(frozen=True, kw_only=True)
class World:
    """A service, and what the loop would do to it."""

    service: Service
    clock: Clock
    woken: list[str]
    #: Bytes that engines use, by uid and node; a test fills it.
    usage: dict[str, dict[str, int]] = dataclasses.field(default_factory=dict)
    #: Bytes that engines would say if they were asked now.
    unseen: dict[str, dict[str, int]] = dataclasses.field(default_factory=dict)
    #: All that would be seen, by node; a test fills it.
    facts: dict[str, NodeFact] = dataclasses.field(default_factory=dict)

    @property
    def records(self) -> records.Records:
        """What is written down."""
        return self.service.records

    async def create(self, **changes: object) -> GroupView:
        """Create a group and return it."""
        return await replication_groups.create(self.service, wanted(**changes))

    async def create_available(self, **changes: object) -> GroupSpec:
        """Create a group, place it and let it be available."""
        spec = (await self.create(**changes)).spec
        await self.settle(spec)
        return spec

    async def create_cluster(self, **changes: object) -> ClusterView:
        """Create a cache cluster and return it."""
        return await cache_clusters.create(self.service, wanted_cluster(**changes))

    async def create_available_cluster(self, **changes: object) -> GroupSpec:
        """Create a cache cluster, place it and let it be available."""
        spec = (await self.create_cluster(**changes)).group.spec
        await self.settle(spec)
        return spec

    async def settle(
        self,
        spec: GroupSpec,
        state: GroupState = GroupState.AVAILABLE,
        *,
        was_available: bool = True,
        primary: str | None = None,
    ) -> None:
        """Write placement and status as the loop does once it has looked at the group."""
        changes = records.ChangeSet()
        changes.put(records.PLACEMENT + spec.uid, placement_of(spec))
        status = status_of(spec, state, was_available=was_available, primary=primary)
        changes.put(records.STATUS + spec.uid, status)
        await self.records.commit(changes)

    async def release(self, spec: GroupSpec, retained: str) -> None:
        """Do what the loop does when only the retained node of a deleted group is left."""
        changes = records.ChangeSet()
        whole = placement_of(spec)
        kept = tuple(node for node in whole.nodes if node.node_id == retained)
        changes.put(
            records.PLACEMENT + spec.uid,
            dataclasses.replace(whole, nodes=kept, endpoints=Endpoints()),
        )
        changes.delete(records.GROUP_NAME + spec.name)
        for node in spec.nodes():
            if node.node_id != retained:
                changes.delete(records.NODE_NAME + node.node_id)
        await self.records.commit(changes)

    async def forget(self, spec: GroupSpec) -> None:
        """Do what the loop does when nothing of a deleted group is left."""
        changes = records.ChangeSet()
        for prefix in (records.SPEC, records.SECRET, records.PLACEMENT, records.STATUS):
            changes.delete(prefix + spec.uid)
        for key in records.names_of(spec):
            changes.delete(key)
        await self.records.commit(changes)

    def events(self) -> list[Event]:
        """Return every event, oldest first."""
        now = self.clock.now()
        found = self.records.events(since=now - datetime.timedelta(days=1), until=now)
        return [event for _, event in found]


def placement_of(spec: GroupSpec) -> GroupPlacement:
    """Return addresses of their own for every node and endpoint."""
    first = ipaddress.IPv4Address("127.64.0.1")
    places = [(n.node_id, n.zone, shard.shard_id) for shard in spec.shards for n in shard.nodes]
    if spec.kind is GroupKind.MEMCACHED:
        places.append((DISCOVERY_ID, "", ""))
    nodes = tuple(
        NodePlacement(
            node_id=node_id,
            host="local",
            address=str(first + index),
            port=spec.port,
            engine_id=f"{index:040x}",
            zone=zone,
            shard_id=shard_id,
        )
        for index, (node_id, zone, shard_id) in enumerate(places)
    )
    if spec.kind is not GroupKind.REPLICATION_GROUP:
        return GroupPlacement(nodes=nodes, endpoints=Endpoints(), build_version="9.1.2")
    spare = [str(first + len(nodes) + extra) for extra in range(2)]
    endpoints = (
        Endpoints(configuration=spare[0])
        if spec.cluster_enabled
        else Endpoints(primary=spare[0], reader=spare[1])
    )
    return GroupPlacement(nodes=nodes, endpoints=endpoints, build_version="9.1.2")


def status_of(
    spec: GroupSpec,
    state: GroupState,
    *,
    was_available: bool = True,
    primary: str | None = None,
) -> GroupStatus:
    """Return a status in which every node does as the group does."""

    def role(shard: ShardSpec, node_id: str) -> Role | None:
        if spec.kind is GroupKind.MEMCACHED:
            return None
        first = primary or shard.nodes[0].node_id
        return Role.PRIMARY if node_id == first else Role.REPLICA

    is_memcached = spec.kind is GroupKind.MEMCACHED
    version = spec.engine_version if is_memcached else f"{spec.engine_version}.2"
    return GroupStatus(
        state=state,
        observed_generation=spec.generation,
        was_available=was_available,
        node_type=spec.node_type,
        nodes=tuple(
            NodeStatus(
                node_id=node.node_id,
                state=_NODE_STATES[state],
                role=role(shard, node.node_id),
                engine_version=version,
                restarts=node.restarts,
            )
            for shard in spec.shards
            for node in shard.nodes
        ),
    )


async def code_of(awaitable: Awaitable[object]) -> str:
    """Return the code with which a call is refused, "accepted" if it is not."""
    try:
        await awaitable
    except ClientFault as fault:
        return fault.code
    return "accepted"


def run(
    folder: Path,
    scenario: Callable[[World], Awaitable[T]],
    *,
    settings: Settings | None = None,
    limits: Limits | None = None,
    offers: tuple[EngineOffer, ...] = OFFERS,
    capacity: int = 10_000,
) -> T:
    """Run `scenario` against a fresh store in `folder`."""

    async def within() -> T:
        store = await SqliteStore.open(folder / "state" / "store.db")
        try:
            clock = ManualClock(NOW)
            woken: list[str] = []
            usage: dict[str, dict[str, int]] = {}
            unseen: dict[str, dict[str, int]] = {}

            facts: dict[str, NodeFact] = {}

            async def look(uid: str) -> Observed:
                usage.setdefault(uid, {}).update(unseen.pop(uid, {}))
                return Observed(nodes=facts)

            service = Service(
                records=records.Records(store),
                settings=settings or Settings(state_dir=folder, limits=limits or Limits()),
                clock=clock,
                offers=lambda: offers,
                address_capacity=lambda: capacity - len(store.list(records.ADDRESS)),
                usage=lambda uid: usage.get(uid, {}),
                look=look,
                wake=woken.append,
            )
            world = World(
                service=service,
                clock=clock,
                woken=woken,
                usage=usage,
                unseen=unseen,
                facts=facts,
            )
            return await scenario(world)
        finally:
            await store.close()

    return asyncio.run(within())


def memcached_spec(**changes: object) -> GroupSpec:
    """Return the spec of a Memcached cluster with one node, with `changes`, for pure rules."""
    node = NodeSpec(node_id="0001", zone="us-east-1a")
    usual: dict[str, object] = {
        "uid": "uid",
        "name": "cache",
        "kind": GroupKind.MEMCACHED,
        "description": "",
        "engine": EngineName.MEMCACHED,
        "engine_version": "1.6.38",
        "node_type": "cache.t4g.micro",
        "port": 11211,
        "cluster_enabled": False,
        "shards": (ShardSpec(shard_id="0001", slots=(), nodes=(node,)),),
        "parameter_group": "default.memcached1.6",
        "automatic_failover": False,
        "multi_az": False,
        "subnet_group": "default",
        "security_group_ids": (),
        "maintenance_window": "sun:05:00-sun:06:00",
        "snapshot_window": "",
        "snapshot_retention_days": 0,
        "snapshotting_node_id": None,
        "notification": None,
        "auto_minor_version_upgrade": True,
        "created_at": NOW,
    }
    return GroupSpec(**{**usual, **changes})  # type: ignore[arg-type] # typed by the dataclass
