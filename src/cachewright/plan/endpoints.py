"""Who listens on which endpoint address? An address follows a role and has one holder at most.

Primary: the primary. Reader: the first replica in sync, the primary where there is none.
Configuration: the node that holds it already, else the first admitted one. An address moves in
two rounds: the old holder lets go first, because two processes cannot listen on one address.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from cachewright.model.facts import Observed
from cachewright.model.groups import Endpoints, GroupPlacement
from cachewright.model.status import Role
from cachewright.plan.shard import ShardView, engine_of


def is_ready_replica(observed: Observed, node_id: str) -> bool:
    """Tell whether a node is a replica whose data may be read."""
    engine = engine_of(observed.of(node_id))
    return (
        engine is not None
        and engine.role is Role.REPLICA
        and engine.is_in_sync
        and not engine.is_loading
    )


def wanted_binds(
    placement: GroupPlacement,
    views: Sequence[ShardView],
    observed: Observed,
    *,
    leaving: frozenset[str],
    was_available: bool,
) -> dict[str, tuple[str, ...]]:
    """Return for each placed node the addresses it shall listen on, its own first.

    Nobody reads from nodes that are `leaving`, unless nobody else is there.
    """
    wanted = {node.node_id: [node.address] for node in placement.nodes}
    if not placement.shares_address:
        staying = tuple(_without(view, leaving) for view in views)
        staying = tuple(v for v in staying if not leaving.issuperset(_ids(v))) or staying
        holders = _holders(placement, staying, observed, was_available)
        for address, holder in holders.items():
            wanted[holder].append(address)
    return {node_id: tuple(addresses) for node_id, addresses in wanted.items()}


def possible_bind(
    node_id: str, wanted: Mapping[str, tuple[str, ...]], observed: Observed
) -> tuple[str, ...]:
    """Return a node's own address, and the wanted endpoints that nobody else listens on.

    Nodes may share their own address, and differ by port; endpoints have one holder.
    """
    held_elsewhere = {
        address
        for other, fact in observed.nodes.items()
        if other != node_id and (engine := engine_of(fact)) is not None
        for address in engine.bind
    }
    own, *endpoints = wanted[node_id]
    return (own, *(address for address in endpoints if address not in held_elsewhere))


def _holders(
    placement: GroupPlacement,
    views: Sequence[ShardView],
    observed: Observed,
    was_available: bool,
) -> dict[str, str]:
    holders: dict[str, str | None] = {}
    endpoints: Endpoints = placement.endpoints
    first = views[0]
    if endpoints.primary:
        holders[endpoints.primary] = first.primary_id
    if endpoints.reader:
        holders[endpoints.reader] = _reader(endpoints.reader, first, observed, was_available)
    if endpoints.configuration:
        nodes = [node.node_id for view in views for node in view.shard.nodes]
        # A primary that is about to end takes it along when it hands over.
        primaries = [view.primary_id for view in views if view.primary_id]
        holders[endpoints.configuration] = _current_holder(
            endpoints.configuration, [*nodes, *primaries], observed
        ) or next(iter(primaries), None)
    return {address: node_id for address, node_id in holders.items() if node_id}


def _ids(view: ShardView) -> set[str]:
    return {node.node_id for node in view.shard.nodes}


def _without(view: ShardView, leaving: frozenset[str]) -> ShardView:
    nodes = tuple(n for n in view.shard.nodes if n.node_id not in leaving)
    if not nodes or len(nodes) == len(view.shard.nodes):
        return view
    return dataclasses.replace(view, shard=dataclasses.replace(view.shard, nodes=nodes))


def _reader(address: str, view: ShardView, observed: Observed, was_available: bool) -> str | None:
    """Return who serves reads: nobody while the replicas of a fresh group are on their way.

    In a group that serves, whoever serves reads goes on until another one is admitted.
    """
    replicas = [n.node_id for n in view.shard.nodes if n.node_id != view.primary_id]
    ready = [node_id for node_id in replicas if is_ready_replica(observed, node_id)]
    if was_available:
        ready = [node_id for node_id in ready if not _is_held(observed, node_id)]
    if ready:
        return _current_holder(address, ready, observed) or ready[0]
    return view.primary_id if was_available or not replicas else None


def _is_held(observed: Observed, node_id: str) -> bool:
    engine = engine_of(observed.of(node_id))
    return engine is None or engine.is_held


def _current_holder(address: str, node_ids: Sequence[str], observed: Observed) -> str | None:
    for node_id in node_ids:
        engine = engine_of(observed.of(node_id))
        if engine is not None and not engine.is_held and address in engine.bind:
            return node_id
    return None
