"""What do callers ask for while a group serves? Shards, replicas, node types, versions; by boto3.

The parts of the operations of the table that change the size of a group: how each begins, and how
it is seen to have happened.
"""

from __future__ import annotations

import contextlib
import itertools
import random
from typing import Any

from botocore.exceptions import ConnectionClosedError
from valkey.exceptions import ValkeyError

from cachewright.checker import keys, pipes
from cachewright.checker.pipes import Command, Router
from cachewright.model.slots import SLOT_COUNT
from tests import service_kit as kit
from tests.fault.scenarios.scene import WHOLE_WITHIN_S, Scene
from tests.fault.scenarios.shapes import GROUP

#: So much that slots are on their way for a while.
_KEYS, _VALUE_CHARS = 40_000, 250
_AT_ONCE = 1_000
_OLDER, _NEWER = "8.1", "9.1"
_LARGER = "cache.t4g.small"
_ROUTER_TIMEOUT_S = 20.0


def fill(scene: Scene) -> None:
    """Put something into every slot, that cannot be compressed."""
    group = _described(scene)
    host, port = kit.place(group["ConfigurationEndpoint"])
    value = random.Random(0).randbytes(_VALUE_CHARS // 2).hex()  # noqa: S311 not a secret
    with contextlib.closing(Router(host, port, timeout_s=_ROUTER_TIMEOUT_S)) as router:
        for first in range(0, _KEYS, _AT_ONCE):
            names = [f"filled:{number}" for number in range(first, first + _AT_ONCE)]
            router.request(
                [Command(keys.slot_of(key), pipes.packed(("SET", key, value))) for key in names]
            )


def still_filled(scene: Scene) -> None:
    """Fail unless all of it is there, where nothing may be lost."""
    if scene.expected.may_lose_all:
        return
    group = _described(scene)
    host, port = kit.place(group["ConfigurationEndpoint"])
    with contextlib.closing(Router(host, port, timeout_s=_ROUTER_TIMEOUT_S)) as router:
        missing = 0
        for first in range(0, _KEYS, _AT_ONCE):
            names = [f"filled:{number}" for number in range(first, first + _AT_ONCE)]
            found = router.request(
                [Command(keys.slot_of(key), pipes.packed(("STRLEN", key))) for key in names]
            )
            missing += sum(answer != 2 * (_VALUE_CHARS // 2) for answer in found)
    assert missing == 0, f"{missing} of {_KEYS} keys are not there any more"


def scale_out(scene: Scene) -> None:
    """Ask for one shard more."""
    fill(scene)
    wanted = scene.shape.shards + 1
    scene.givers, scene.takers = scene.shape.shard_ids, (f"{wanted:04d}",)
    _reshard(scene, wanted)


def scale_in(scene: Scene) -> None:
    """Ask for one shard less, any of them."""
    fill(scene)
    goes = scene.dice.choice(scene.shape.shard_ids)
    scene.givers = (goes,)
    scene.takers = tuple(one for one in scene.shape.shard_ids if one != goes)
    _reshard(scene, scene.shape.shards - 1, NodeGroupsToRemove=[goes])


def make_uneven(scene: Scene) -> None:
    """Make shards of which the first has slots that are the last one's share."""
    shards = scene.shape.shards
    starts = [0, *(SLOT_COUNT * (3 * number + 1) // (3 * shards) for number in range(1, shards))]
    scene.create(
        NodeGroupConfiguration=[
            {
                "NodeGroupId": shard_id,
                "Slots": f"{first}-{after - 1}",
                "ReplicaCount": scene.shape.replicas,
            }
            for shard_id, (first, after) in zip(
                scene.shape.shard_ids, itertools.pairwise([*starts, SLOT_COUNT]), strict=True
            )
        ]
    )


def rebalance(scene: Scene) -> None:
    """Ask for the same number of shards."""
    fill(scene)
    scene.givers, scene.takers = scene.shape.shard_ids[:1], scene.shape.shard_ids[-1:]
    _reshard(scene, scene.shape.shards)


def check_shards(scene: Scene) -> None:
    """All slots belong to as many shards as were asked for, and everybody has a fair share."""
    _wait_available(scene)
    group = _described(scene)
    counts = {shard["NodeGroupId"]: _count(shard["Slots"]) for shard in group["NodeGroups"]}
    assert len(counts) == scene.shards_wanted
    assert sum(counts.values()) == SLOT_COUNT
    assert min(counts.values()) > SLOT_COUNT / len(counts) / 2, counts
    still_filled(scene)


def more_replicas(scene: Scene) -> None:
    """Ask for one replica more of every shard."""
    wanted = scene.shape.replicas + 1
    scene.nodes_wanted += max(1, scene.shape.shards)
    scene.ask(
        lambda api: api.increase_replica_count(
            ReplicationGroupId=GROUP, NewReplicaCount=wanted, ApplyImmediately=True
        )
    )


def fewer_replicas(scene: Scene) -> None:
    """Ask for one replica less of every shard."""
    wanted = scene.shape.replicas - 1
    scene.nodes_wanted -= max(1, scene.shape.shards)
    scene.ask(
        lambda api: api.decrease_replica_count(
            ReplicationGroupId=GROUP, NewReplicaCount=wanted, ApplyImmediately=True
        )
    )


def larger_nodes(scene: Scene) -> None:
    """Ask for nodes with more memory."""
    scene.ask(
        lambda api: api.modify_replication_group(
            ReplicationGroupId=GROUP, CacheNodeType=_LARGER, ApplyImmediately=True
        )
    )


def check_larger(scene: Scene) -> None:
    """Every engine has the memory of the new type, also those that were started meanwhile."""
    _wait_available(scene)
    assert _described(scene)["CacheNodeType"] == _LARGER

    def look() -> set[str]:
        return {_maxmemory(scene, node_id) for node_id in scene.engines()}

    kit.wait_until(
        "one and the same limit everywhere",
        look,
        is_it=lambda seen: len(seen) == 1 and int(min(seen)) > 1 << 30,
        timeout_s=WHOLE_WITHIN_S,
    )


def make_older(scene: Scene) -> None:
    """Make a group of an older version."""
    scene.create(EngineVersion=_OLDER)


def upgrade(scene: Scene) -> None:
    """Ask for a newer version."""
    if scene.shape.is_cluster:
        fill(scene)
    scene.ask(
        lambda api: api.modify_replication_group(
            ReplicationGroupId=GROUP, EngineVersion=_NEWER, ApplyImmediately=True
        )
    )


def check_version(scene: Scene) -> None:
    """Every engine is of the newer version, once all that were struck are back."""
    _wait_available(scene)

    def look() -> set[str]:
        return {_version(scene, node_id) for node_id in scene.engines()}

    kit.wait_until(
        "one and the same version everywhere",
        look,
        is_it=lambda seen: len(seen) == 1 and min(seen).startswith(f"{_NEWER}."),
        timeout_s=WHOLE_WITHIN_S,
    )
    if scene.shape.is_cluster:
        still_filled(scene)


def _reshard(scene: Scene, wanted: int, **more: object) -> None:
    scene.nodes_wanted += (wanted - scene.shards_wanted) * (1 + scene.shape.replicas)
    scene.shards_wanted = wanted
    scene.ask(
        lambda api: api.modify_replication_group_shard_configuration(
            ReplicationGroupId=GROUP, NodeGroupCount=wanted, ApplyImmediately=True, **more
        )
    )


def _wait_available(scene: Scene) -> None:
    """Wait until the change is over, and what was struck is there again: clients read next."""

    def look() -> str | None:
        try:
            return kit.status(scene.api, GROUP)
        except ConnectionClosedError as error:  # it was idle for too long in a server that slept
            return str(error)

    kit.wait_until(
        f"{GROUP} is available",
        look,
        is_it=lambda seen: seen == "available",
        timeout_s=scene.whole_within_s,
    )
    scene.wait_whole()


def _described(scene: Scene) -> dict[str, Any]:
    group = scene.ask(lambda api: kit.describe(api, GROUP))
    assert group is not None
    return group


def _maxmemory(scene: Scene, node_id: str) -> str:
    try:
        with kit.admin(scene.service.state_dir, node_id) as admin:
            return str(admin.info("memory")["maxmemory"])
    except (ValkeyError, OSError, KeyError):
        return "0"


def _version(scene: Scene, node_id: str) -> str:
    try:
        with kit.admin(scene.service.state_dir, node_id) as admin:
            return str(admin.info("server")["valkey_version"])
    except (ValkeyError, OSError, KeyError) as error:
        return repr(error)


def _count(ranges: str) -> int:
    parts = [part.partition("-") for part in ranges.split(",") if part]
    return sum(int(last or first) - int(first) + 1 for first, _, last in parts)
