"""kill -9 of the service at every step of a change of size: it goes on, and nothing is lost.

Every failpoint on the way of each change is tried, one after the other, on one group: the service
dies there, is started again without failpoints, and ends what was asked for. The way back is a
change as well. Which failpoints a change passes is written down here, so that one that nobody
passes any more is noticed.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import BotoCoreError

from cachewright.kit import failpoints
from tests import service_kit as kit

_GROUP = "changed"
_KEYS = 2_000
#: A change of a few keys takes a second or two, and much longer beside other tests.
_DONE_WITHIN_S = 90.0
_OLDER, _NEWER = "8.1", "9.1"
#: Of Redis: with Valkey 8 engines wait for replicas with every slot, long beside other tests.
_COPIED = "7.0"
_LARGER = "cache.t4g.small"
_ALWAYS = frozenset({
    "service.after_commit", "control.before_observe", "control.before_record",
    "control.after_record", "control.after_step",
})  # fmt: skip
_STARTS = frozenset({"agent.before_spawn", "agent.after_spawn", "agent.after_identity"})
_ENDS = frozenset({"agent.before_forget"})
_FUNCTIONS = frozenset({"agent.after_functions"})
_MOVES = frozenset({
    "agent.before_move", "agent.before_export", "agent.after_export", "agent.after_exports",
})  # fmt: skip
#: Those of keys that are copied, in small slots.
_COPIES = frozenset({
    "agent.before_move", "agent.after_import", "agent.after_copy", "agent.after_empty",
    "agent.after_claim", "agent.after_give",
})  # fmt: skip
#: Passed with large slots and with moves that were cut only: see `test_agent_move_kills`.
_CUT = frozenset({
    "agent.after_open", "agent.before_close", "agent.after_take_back", "agent.after_close",
})  # fmt: skip


#: A service looks at its group so often at most before it is asked for anything.
_LOOKS_MAX = 10


def _reshard(api: Any, count: int, **more: object) -> None:
    api.modify_replication_group_shard_configuration(
        ReplicationGroupId=_GROUP, NodeGroupCount=count, ApplyImmediately=True, **more
    )


def _out(api: Any) -> None:
    _reshard(api, 3)


def _in(api: Any) -> None:
    _reshard(api, 2, NodeGroupsToRemove=[max(_shard_ids(described(api)))])


def _more(api: Any) -> None:
    api.increase_replica_count(ReplicationGroupId=_GROUP, NewReplicaCount=2, ApplyImmediately=True)


def _fewer(api: Any) -> None:
    api.decrease_replica_count(ReplicationGroupId=_GROUP, NewReplicaCount=1, ApplyImmediately=True)


def _modify(api: Any, **more: object) -> None:
    api.modify_replication_group(ReplicationGroupId=_GROUP, ApplyImmediately=True, **more)


def _larger(api: Any) -> None:
    _modify(api, CacheNodeType=_LARGER)


def _smaller(api: Any) -> None:
    _modify(api, CacheNodeType=kit.NODE_TYPE)


def _upgrade(api: Any) -> None:
    _modify(api, EngineVersion=_NEWER)


def described(api: Any) -> dict[str, Any]:
    group = kit.describe(api, _GROUP)
    assert group is not None
    return group


def _shard_ids(group: dict[str, Any]) -> list[str]:
    return [shard["NodeGroupId"] for shard in group["NodeGroups"]]


def _shape(api: Any) -> tuple[int, int, str, str]:
    """Return what changes change: shards, nodes, node type and version."""
    group = described(api)
    members = group["MemberClusters"]
    node = api.describe_cache_clusters(CacheClusterId=members[0])["CacheClusters"][0]
    version = ".".join(node["EngineVersion"].split(".")[:2])
    return len(group["NodeGroups"]), len(members), group["CacheNodeType"], version


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """Something that callers ask for."""

    name: str
    ask: Callable[[Any], None]
    #: Every failpoint on its way.
    passes: frozenset[str]


@dataclass(frozen=True, kw_only=True, slots=True)
class Walk:
    """Changes of one group, one after the other: the last one leads back to where they begin.

    From a single one there is no way back: another group is made.
    """

    changes: tuple[Change, ...]
    engine: str = "valkey"
    version: str = _NEWER


_OUT = Change(name="scale-out", ask=_out, passes=_ALWAYS | _STARTS | _MOVES | _FUNCTIONS)
_IN = Change(name="scale-in", ask=_in, passes=_ALWAYS | _ENDS | _MOVES)
_COPY_OUT = Change(name="copy-out", ask=_out, passes=_ALWAYS | _STARTS | _COPIES | _FUNCTIONS)
_COPY_IN = Change(name="copy-in", ask=_in, passes=_ALWAYS | _ENDS | _COPIES)
_MORE = Change(name="more-replicas", ask=_more, passes=_ALWAYS | _STARTS)
_FEWER = Change(name="fewer-replicas", ask=_fewer, passes=_ALWAYS | _ENDS)
_UP = Change(name="larger-nodes", ask=_larger, passes=_ALWAYS)
_DOWN = Change(name="smaller-nodes", ask=_smaller, passes=_ALWAYS)
_UPGRADE = Change(name="upgrade", ask=_upgrade, passes=_ALWAYS | _STARTS)

WALKS = {
    "shards": Walk(changes=(_OUT, _IN)),
    "copies": Walk(changes=(_COPY_OUT, _COPY_IN), engine="redis", version=_COPIED),
    "replicas": Walk(changes=(_MORE, _FEWER)),
    "node-type": Walk(changes=(_UP, _DOWN)),
    "upgrade": Walk(changes=(_UPGRADE,), version=_OLDER),
}
#: Each walk is one of so many tests, which other workers take.
_PARTS = 2


@pytest.fixture
def service(tmp_path: Path) -> Iterator[kit.Up]:
    with kit.up(tmp_path, "--address-pool", kit.free_pool(26)) as running:
        yield running


def settle(service: kit.Up) -> None:
    kit.wait_status(service.api, _GROUP, "available", timeout_s=_DONE_WITHIN_S)


def make(service: kit.Up, walk: Walk) -> None:
    """Make the group that a walk begins with, with a key in most slots."""
    kit.create(
        service.api, _GROUP, shards=2, replicas=1, Engine=walk.engine, EngineVersion=walk.version
    )
    settle(service)
    with kit.connect_cluster(described(service.api)) as client:
        client.mset_nonatomic({f"k{number}": str(number) for number in range(_KEYS)})


def change_armed(service: kit.Up, change: Change, armed: str) -> bool:
    """Ask for a change with a failpoint armed; return whether the service died of it."""
    service.kill()
    service.launch(CACHEWRIGHT_FAILPOINTS=armed)
    if not service.wait_ready():
        return True
    with contextlib.suppress(BotoCoreError):
        change.ask(service.api)

    def look() -> str:
        if service.process.poll() is not None:
            return "died"
        try:
            return kit.status(service.api, _GROUP)
        except BotoCoreError:
            return "no answer"

    seen = kit.wait_until(
        f"{armed} or the end", look, is_it={"died", "available"}.__contains__,
        timeout_s=_DONE_WITHIN_S,
    )  # fmt: skip
    return seen == "died"


def die_in(service: kit.Up, change: Change, name: str) -> bool:
    """Let the service die at a failpoint of a change; afterwards it runs, and that has happened.

    Returns whether the change passes there. Before it is asked for, a service may pass there too.
    """
    before = _shape(service.api)
    for count in range(1, _LOOKS_MAX + 1):
        has_died = change_armed(service, change, f"{name}=kill:{count}")
        service.kill()
        service.start()
        settle(service)
        if _shape(service.api) != before:
            return has_died
    raise AssertionError(f"nobody could ask for {change.name}: it always died before, at {name}")


def check(service: kit.Up) -> None:
    """Every key is there once, no slot is open, and nothing is left of anybody."""
    group = described(service.api)
    members = set(group["MemberClusters"])
    kit.wait_until("its engines", lambda: set(service.engines()), is_it=members.__eq__)
    assert set(kit.node_folders(service.state_dir)) == members
    with kit.connect_cluster(group) as client:
        found = client.mget_nonatomic([f"k{number}" for number in range(_KEYS)])
        assert found == [str(number) for number in range(_KEYS)]
        assert client.dbsize(target_nodes="primaries") == _KEYS
    for node_id in members:
        with kit.admin(service.state_dir, node_id) as admin:
            shown = str(admin.execute_command("CLUSTER", "NODES"))
        assert "->-" not in shown, node_id
        assert "-<-" not in shown, node_id


def go_on(service: kit.Up, change: Change, name: str | None) -> bool:
    """Do a change, with a death at a failpoint if there is one; return whether it passes there."""
    if name is not None:
        return die_in(service, change, name)
    change.ask(service.api)
    settle(service)
    return True


@pytest.mark.slow(50)
@pytest.mark.timeout(600)
@pytest.mark.parametrize("part", range(_PARTS))
@pytest.mark.parametrize("name", WALKS)
def test_a_death_at_every_failpoint_of_a_change(service: kit.Up, name: str, part: int) -> None:
    walk = WALKS[name]
    tried = [sorted(change.passes)[part::_PARTS] for change in walk.changes]
    missed: list[tuple[str, str | None]] = []
    make(service, walk)
    for number, points in enumerate(itertools.zip_longest(*tried)):
        if number and len(walk.changes) == 1:
            kit.delete(service.api, _GROUP)
            make(service, walk)
        for change, point in zip(walk.changes, points, strict=True):
            if not go_on(service, change, point):
                missed.append((change.name, point))
            check(service)
    assert missed == []


def test_every_failpoint_of_a_change_is_tried() -> None:
    changes = [change for walk in WALKS.values() for change in walk.changes]
    tried = frozenset[str]().union(*(change.passes for change in changes))
    elsewhere = {*failpoints.OF_FAILOVER, *_CUT}
    assert tried | elsewhere == failpoints.NAMES.keys()
