"""What does a change of size or version ask of the service, and how is it followed to its end?

A change is a call of the ElastiCache API, the same that any SDK makes: the service alone knows what
may be. Imported when a command runs.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from cachewright.cli import answers
from cachewright.cli.failures import Failed

#: So that a change of a second is seen, and a service is not kept busy.
LOOK_AGAIN_S = 0.2
#: In these a group stays until somebody does something.
_ENDS = frozenset({"available", "create-failed", "deleting", "incompatible-network"})
_GROUP, _SINGLE, _MEMCACHED = "replication-group", "single-node", "memcached"
#: Where there are no shards, by kind.
_OTHER_WAYS = {
    _GROUP: "--replicas and --node-type change its size",
    _SINGLE: "--node-type changes its size",
    _MEMCACHED: "--node-type changes its nodes, and ModifyCacheCluster of the API their number",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """A call, and what is so once it has come true."""

    action: str
    params: Mapping[str, str]
    #: What it is about, such as "5 shards instead of 3".
    text: str
    is_reached: Callable[[answers.Group], bool]


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """What became of a change: the document of `--output json`."""

    #: It has come true.
    ok: bool
    name: str
    change: str
    #: By the words of the API; "available" means that the change is over.
    status: str
    #: What is waited for, or what went wrong; empty when all is well.
    reason: str
    #: From the accepted call until now.
    seconds: float
    #: What has happened meanwhile, oldest first; the newest ones where it was much.
    events: tuple[str, ...]
    group: answers.Group

    @property
    def is_over(self) -> bool:
        """Whether nothing goes on any more."""
        return self.status in _ENDS


# What to ask


def shards(group: answers.Group, count: int | None, removed: Sequence[str]) -> Change:
    """Return the change to another number of shards, or to slots spread anew.

    Of too many shards the last ones go, where nobody says which.
    """
    if group.kind != _GROUP or not group.cluster_enabled:
        raise Failed(
            f"{group.name} has no cluster mode, and so always one shard",
            hint=_OTHER_WAYS[group.kind],
        )
    there = [shard.shard_id for shard in group.shards]
    wanted = len(there) - len(removed) if count is None else count
    gone = list(removed) or sorted(there)[max(wanted, 0) :]
    params = {
        "ReplicationGroupId": group.name,
        "NodeGroupCount": str(wanted),
        "ApplyImmediately": "true",
    }
    text = f"{_counted(wanted, 'shard')} instead of {len(there)}"
    if wanted < len(there) or removed:
        params |= _listed("NodeGroupsToRemove.NodeGroupToRemove", gone)
        text += f", without {', '.join(gone)}"
    if wanted == len(there):
        text = f"slots spread anew over {_counted(wanted, 'shard')}"
    return Change(
        action="ModifyReplicationGroupShardConfiguration",
        params=params,
        text=text,
        is_reached=lambda seen: len(seen.shards) == wanted,
    )


def replicas(group: answers.Group, count: int, shard_ids: Sequence[str]) -> Change:
    """Return the change to another number of replicas, in all shards or in some."""
    if group.kind != _GROUP:
        raise Failed(
            f"{group.name} is not a replication group and has no replicas",
            hint="`cachewright ls` shows what there is",
        )
    meant = frozenset(shard_ids)
    there = {
        shard.shard_id: len(shard.nodes) - 1
        for shard in group.shards
        if not meant or shard.shard_id in meant
    }
    fewer = [shard_id for shard_id, replicas in there.items() if replicas > count]
    more = [shard_id for shard_id, replicas in there.items() if replicas < count]
    if fewer and more:
        raise Failed(
            f"{', '.join(fewer)} of {group.name} would get fewer replicas and {', '.join(more)} "
            "more, which are two changes",
            hint=f"begin with {' '.join(f'--shard {shard_id}' for shard_id in more)}",
        )
    params = {"ReplicationGroupId": group.name, "ApplyImmediately": "true"}
    text = _counted(count, "replica")
    if shard_ids:
        for number, shard_id in enumerate(shard_ids, 1):
            path = f"ReplicaConfiguration.ConfigureShard.{number}"
            params[f"{path}.NodeGroupId"] = shard_id
            params[f"{path}.NewReplicaCount"] = str(count)
        text += f" in shard {', '.join(shard_ids)}"
    else:
        params["NewReplicaCount"] = str(count)
        text += " in each shard" if group.cluster_enabled else ""
    return Change(
        action="DecreaseReplicaCount" if fewer else "IncreaseReplicaCount",
        params=params,
        text=text,
        is_reached=lambda seen: all(
            len(shard.nodes) - 1 == count for shard in seen.shards if shard.shard_id in there
        ),
    )


def node_type(group: answers.Group, name: str) -> Change:
    """Return the change to another node type."""
    return Change(
        action=_modify_of(group),
        params={**_named(group), "CacheNodeType": name, "ApplyImmediately": "true"},
        text=f"nodes of {name} instead of {group.node_type}",
        is_reached=lambda seen: seen.node_type == name,
    )


def version(
    group: answers.Group, wanted: str, *, engine: str | None, parameter_group: str | None
) -> Change:
    """Return the change to another version, of the same engine or of another one."""
    params = {**_named(group), "EngineVersion": wanted, "ApplyImmediately": "true"}
    if engine is not None:
        params["Engine"] = engine
    if parameter_group is not None:
        params["CacheParameterGroupName"] = parameter_group

    def is_reached(seen: answers.Group) -> bool:
        running = (node.engine_version or "" for shard in seen.shards for node in shard.nodes)
        return seen.engine == (engine or group.engine) and all(
            version == wanted or version.startswith(f"{wanted}.") for version in running
        )

    return Change(
        action=_modify_of(group),
        params=params,
        text=f"{engine or group.engine} {wanted} instead of {group.engine} {group.engine_version}",
        is_reached=is_reached,
    )


def engine_for(group: answers.Group, wanted: str, engines: answers.Engines) -> str | None:
    """Return the engine that is meant by a version of which the present one has none."""
    named = {line.engine for line in engines.engines if line.api_version == wanted}
    is_meant = group.engine == "redis" and "redis" not in named and "valkey" in named
    return "valkey" if is_meant else None


def _modify_of(group: answers.Group) -> str:
    return "ModifyReplicationGroup" if group.kind == _GROUP else "ModifyCacheCluster"


def _named(group: answers.Group) -> dict[str, str]:
    member = "ReplicationGroupId" if group.kind == _GROUP else "CacheClusterId"
    return {member: group.name}


def _listed(path: str, values: Sequence[str]) -> dict[str, str]:
    return {f"{path}.{number}": value for number, value in enumerate(values, 1)}


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


# How it goes on


def follow(
    before: answers.Group,
    change: Change,
    look: Callable[[], answers.Group],
    *,
    timeout_s: float,
    show: Callable[[answers.Group, float], None],
) -> Report:
    """Look at a group until a change that was accepted is over, or for `timeout_s`.

    Args:
        before: The group as it was before the call.
        change: What was asked for.
        look: Returns the group as it is now.
        timeout_s: How long to look at most; 0 looks once.
        show: Is told each look, and for how long it has gone on.
    """
    begin_s = time.monotonic()
    while True:
        group = look()
        elapsed_s = time.monotonic() - begin_s
        show(group, elapsed_s)
        if group.status in _ENDS or elapsed_s >= timeout_s:
            break
        time.sleep(min(LOOK_AGAIN_S, max(0.0, timeout_s - elapsed_s)))
    known = set(before.events)
    return Report(
        ok=group.status == "available" and change.is_reached(group),
        name=group.name,
        change=change.text,
        status=group.status,
        reason=group.reason,
        seconds=round(elapsed_s, 3),
        events=tuple(event.message for event in group.events if event not in known),
        group=group,
    )
