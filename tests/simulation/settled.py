"""Is everything as callers want it? What must be true once faults have ceased for long enough."""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Sized

from cachewright.model.commands import node_key
from cachewright.model.groups import Group
from cachewright.model.status import GroupState, GroupStatus, NodeState, Role
from cachewright.store import records
from cachewright.store.base import list_all
from tests.simulation.engine import Engine, Tie
from tests.simulation.fabric import shard_of
from tests.simulation.host import Host
from tests.simulation.reign import Reign
from tests.simulation.slots import known_to

#: What a controller may remember besides one thing a node: its workers, and then some.
_SIZE_MAX = 80


def shards_of(group: Group | None) -> Iterator[str]:
    """Yield the simulation's names of the shards of a group."""
    for shard in group.spec.shards if group is not None else ():
        assert group is not None
        yield shard_of(group.spec.uid, shard.shard_id if group.spec.cluster_enabled else "")


def problems(group: Group, status: GroupStatus | None, host: Host) -> Iterator[str]:
    """Yield what keeps a group from being as its callers want it."""
    spec = group.spec
    if status is None:
        yield f"{spec.uid} has no status"
        return
    running = list(host.fabric.of_group(spec.uid))
    if spec.deletion is not None and spec.deletion.retained_node_id is None:
        yield f"{spec.uid} is not deleted yet: {status.reason}"
    elif status.state is GroupState.CREATE_FAILED:
        if running or not status.reason:
            yield f"{spec.uid} failed to be created, and {len(running)} nodes run"
    elif status.state is not GroupState.AVAILABLE or status.observed_generation != spec.generation:
        yield f"{spec.uid} is {status.state.value}: {status.reason}"
    else:
        yield from _untruths(group, status, host)
        yield from _structure(group, running)
        if spec.cluster_enabled:
            yield from _slots(group, running, host)


def _untruths(group: Group, status: GroupStatus, host: Host) -> Iterator[str]:
    spec = group.spec
    retained = spec.deletion.retained_node_id if spec.deletion is not None else None
    asked = {n.node_id for n in spec.nodes() if retained in {None, n.node_id}}
    if {n.node_id for n in status.nodes} != asked:
        yield f"{spec.uid} shows other nodes than were asked for"
    for node in status.nodes:
        engine = host.fabric.living.get(node_key(spec.uid, node.node_id))
        if node.state is not NodeState.AVAILABLE:
            yield f"{node.node_id} is {node.state.value}: {status.reason}"
        elif engine is None or not _serves(engine, host.fabric.now_s):
            yield f"{node.node_id} is called available and does not serve"
        elif engine.role is not node.role:
            yield f"{node.node_id} is called {node.role} and is {engine.role}"


def _serves(engine: Engine, now_s: float) -> bool:
    if engine.is_held or not engine.answers(now_s):
        return False
    return engine.role is Role.PRIMARY or engine.tie is Tie.UP


def _structure(group: Group, running: list[Engine]) -> Iterator[str]:
    spec = group.spec
    for shard in shards_of(group):
        primaries = [e.key for e in running if e.shard == shard and e.role is Role.PRIMARY]
        if len(primaries) != 1 and spec.deletion is None:
            yield f"{shard} has the primaries {primaries}"
    wanted = {node.node_id: node.restarts for node in spec.nodes()}
    for engine in running:
        if engine.launch.restarts < wanted.get(engine.name, 0):
            yield f"{engine.key} was not restarted"
    endpoints = group.placement.endpoints.addresses() if group.placement is not None else ()
    for address in endpoints:
        holders = [engine for engine in running if address in engine.bind]
        if len(holders) != 1:
            yield f"{len(holders)} nodes listen on the endpoint {address}"
    primary_endpoint = group.placement.endpoints.primary if group.placement else None
    for engine in running:
        if primary_endpoint in engine.bind and engine.role is not Role.PRIMARY:
            yield f"{engine.key} listens on the primary endpoint and is none"


def _slots(group: Group, running: list[Engine], host: Host) -> Iterator[str]:
    """Every slot is owned once, by a shard that was asked for, and all know each other alone."""
    spec, owned = group.spec, host.fabric.slots.all_of(group.spec.uid)
    yield from host.fabric.slots.problems(spec.uid)
    asked = set(shards_of(group))
    yield from (
        f"{shard} owns slots and nobody asks for it"
        for shard in owned
        if owned[shard] and shard not in asked
    )
    if any(shard.is_leaving for shard in spec.shards):
        yield f"shards of {spec.uid} are still to go"
    assert group.placement is not None
    everybody = {place.engine_id for place in group.placement.nodes}
    if len(everybody) != sum(1 for _ in spec.nodes()):
        yield f"{spec.uid} has places for nodes that nobody asks for"
    for engine in running:
        if engine.opened:
            yield f"slots of {engine.key} are open"
        if known_to(engine, running, host.fabric.now_s) != everybody:
            yield f"{engine.key} does not know all others, or others as well"


def is_orphaned(engines: Sequence[Engine], now_s: float) -> bool:
    """Tell whether a shard has no primary and an admitted replica, and all that live answer."""
    if not all(engine.answers(now_s) for engine in engines):
        return False
    if any(engine.role is Role.PRIMARY for engine in engines):
        return False
    return any(not e.is_held and now_s >= e.loads_until_s for e in engines)


def leftovers(uid: str, host: Host, store: records.Records) -> Iterator[str]:
    """Yield what is left of a group that is gone."""
    for key in host.folders:
        if key.partition(".")[0] == uid:
            yield f"law 7: {key} is left on the host"
    for entry in list_all(store.store, ""):
        is_event = entry.key.startswith(records.EVENT)
        if not is_event and (uid in entry.key or uid.encode() in entry.value):
            yield f"law 7: {entry.key} is left in the store"


def growth(reign: Reign, nodes: int) -> Iterator[str]:
    """Yield what a controller remembers too much of."""
    for owner in (reign.controller, reign.observer, reign.executor):
        for name, size in _sizes(owner, type(owner).__name__, 3):
            if size > _SIZE_MAX + 2 * nodes:
                yield f"{name} has grown to {size}"


def _sizes(owner: object, path: str, depth: int) -> Iterator[tuple[str, int]]:
    for name, value in getattr(owner, "__dict__", {}).items():
        if isinstance(value, Sized) and not isinstance(value, str | bytes):
            yield f"{path}.{name}", len(value)
        elif type(value).__module__.startswith("cachewright.control") or (
            type(value).__module__ == "cachewright.kit.queue" and depth
        ):
            yield from _sizes(value, f"{path}.{name}", depth - 1)
