"""With what is a node started? Memory, settings, and for cluster mode the whole cluster's map.

Every start writes `nodes.conf` anew from what is known now, also of who owns which slot; an engine
never starts on the map it kept, because a returning primary could win back slots with old data
(valkey#974).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from cachewright.model.commands import Launch, Peer, node_key
from cachewright.model.facts import Observed
from cachewright.model.groups import Group, GroupPlacement
from cachewright.model.status import Role
from cachewright.plan import settings
from cachewright.plan.ownership import Ownership
from cachewright.plan.shard import Phase, ShardView, engine_of


def launch_of(
    group: Group,
    placement: GroupPlacement,
    node_id: str,
    views: Sequence[ShardView],
    seen: Observed,
    *,
    wanted: settings.Wanted,
    owned: Ownership | None,
) -> Launch:
    """Return everything a host needs to start `node_id` in the role that `views` give it."""
    spec = group.spec
    place = placement.of(node_id)
    node, fact = spec.node(node_id), seen.of(node_id)
    is_primary = any(view.primary_id == node_id for view in views)
    return Launch(
        key=node_key(spec.uid, node_id),
        engine=spec.engine,
        engine_version=spec.engine_version,
        address=place.address,
        port=place.port,
        maxmemory_bytes=wanted.maxmemory_bytes,
        maxclients=wanted.maxclients,
        settings=wanted.settings,
        restarts=node.restarts if node is not None else 0,
        admin_password=group.secret.admin_password,
        replication_password=group.secret.replication_password,
        peers=_peers(placement, views, seen, owned) if owned is not None else (),
        engine_id=place.engine_id,
        loads_saved_data=is_primary and fact.has_saved_data,
        # The snapshot of a graceful stop is the last that there was.
        loads_append_only_file=is_primary and fact.has_append_only_file and not fact.has_saved_data,
    )


def _peers(
    placement: GroupPlacement, views: Sequence[ShardView], seen: Observed, owned: Ownership
) -> tuple[Peer, ...]:
    peers: list[Peer] = []
    epochs = _epochs(views, seen)
    for view, epoch in zip(views, epochs, strict=True):
        primary_id = view.primary_id or view.shard.nodes[0].node_id
        primary_engine_id = placement.of(primary_id).engine_id
        for node in view.shard.nodes:
            place = placement.of(node.node_id)
            is_primary = node.node_id == primary_id
            peers.append(
                Peer(
                    engine_id=place.engine_id,
                    address=place.address,
                    port=place.port,
                    role=Role.PRIMARY if is_primary else Role.REPLICA,
                    primary_engine_id=None if is_primary else primary_engine_id,
                    slots=owned.of(view.shard.shard_id) if is_primary else (),
                    epoch=epoch if is_primary else 0,
                )
            )
    return tuple(peers)


def _epochs(views: Sequence[ShardView], seen: Observed) -> tuple[int, ...]:
    """Return the config epoch to write for each shard's primary, each its own.

    A primary that is started claims its slots with an epoch above all that live nodes know, or
    they would turn it into a replica of the slots' last owner. Of who lives its own word is
    written: Valkey 8.0 believes a former primary that comes back as a replica what it says of its
    successor's epoch, even the successor does, and who remembers a higher one denies the shard its
    votes. Of who is silent the lowest is guessed, which nobody believes.
    """
    newest = _newest_epoch(seen)
    known: dict[int, int] = {}
    for index, view in enumerate(views):
        epoch = newest + index + 1 if view.phase is Phase.DOWN else _said_epoch(view, seen)
        if epoch and epoch not in known.values():
            known[index] = epoch
    free = (epoch for epoch in itertools.count(1) if epoch not in known.values())
    return tuple(known[index] if index in known else next(free) for index in range(len(views)))


def _said_epoch(view: ShardView, seen: Observed) -> int:
    engine = engine_of(seen.of(view.primary_id)) if view.primary_id is not None else None
    if engine is None or engine.role is not Role.PRIMARY or engine.cluster is None:
        return 0
    return engine.cluster.config_epoch


def _newest_epoch(seen: Observed) -> int:
    epochs = [
        engine.cluster.current_epoch
        for fact in seen.nodes.values()
        if (engine := engine_of(fact)) is not None and engine.cluster is not None
    ]
    return max(epochs, default=0)
