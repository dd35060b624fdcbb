"""How long does it take to give a cluster another shard, and what do clients notice, beside tools?

Ours is `ModifyReplicationGroupShardConfiguration`, as a caller has it: from the call until the
group is `available` with its new node created and slots, keys and clients moved. Who has the tools
instead has to do the same: start an engine, `add-node`, wait until it serves, `rebalance`. Both
sides hold the same data and are watched by the same clients, one after the other in each round;
none of them has replicas.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from bench import delays, deployment, groups, resharding, world
from bench.deployment import Deployment
from bench.measure import Comparison, Figure, Sample, Skipped, Target, sample
from bench.processes import BenchFailed
from bench.resharding import Series, Took
from bench.world import World, say
from cachewright.engines.catalogue import Catalogue
from cachewright.model.builds import Build, InstallFailed
from cachewright.model.engines import EngineName

#: Holds a third of the data, and half of it as well.
NODE_TYPE = "cache.t4g.small"
LOAD_PER_S = 20_000.0
_ATOMIC = "--cluster-use-atomic-slot-migration"
_REDIS = "7.0"
_VALKEY_TOOL = "`valkey-cli --cluster add-node` and `rebalance`"
_RESHARD_TIMEOUT_S = 900.0
_POLL_S = 0.02
_STALL = Target(bound=250.0, is_minimum=False, share=1.0)


def measure_scaling(within: World) -> Iterator[Figure | Skipped]:
    """3 -> 4 shards of Valkey, idle and under load, and of Redis."""
    yield from _on(within, "")
    yield from _full(within)


def measure_scaling_delayed(within: World) -> Iterator[Figure | Skipped]:
    """The same where every packet is late."""
    _install()
    try:
        with delays.delayed_network(within.fresh_folder()) as network:
            for outcome in _on(within, f", {delays.DELAY_US} µs each way"):
                yield _noted(outcome, network.note())
    except delays.NoDelays as error:
        yield Skipped(
            key=f"scaling-3-4-{delays.DELAY_US}us",
            what=f"3 → 4 shards, {delays.DELAY_US} µs each way",
            reason=str(error),
        )


def _on(within: World, where: str) -> Iterator[Figure | Skipped]:
    yield from _valkey(within, where)
    yield from _redis(within, where)


def _valkey(within: World, where: str) -> Iterator[Figure]:
    idle, idle_tool = Series(), Series()
    ours, tool, atomic = Series(), Series(), Series()
    with _service(within) as api:
        for number in _rounds(within, where):
            idle.seen.append(_ours(within, api, 0))
            idle_tool.seen.append(_tool(within, within.build, 0))
            ours.seen.append(_ours(within, api, LOAD_PER_S))
            tool.seen.append(_tool(within, within.build, LOAD_PER_S))
            atomic.seen.append(_tool(within, within.build, LOAD_PER_S, _ATOMIC))
            everybody = (idle, idle_tool, ours, tool, atomic)
            say(f"  {number + 1}: {[f'{one.seconds()[-1]:.2f} s' for one in everybody]}")
    what = _what_of_valkey(within) + where
    load = f"under {LOAD_PER_S / 1000:g} k requests/s"
    name = _VALKEY_TOOL
    suffix = _suffix(where)
    under = Beside(f"{what}, {load}", ours, name, tool)
    atomically = Beside(under.what, ours, f"the same with `{_ATOMIC}`", atomic)
    yield Beside(f"{what}, idle", idle, name, idle_tool).duration(f"scaling-3-4-idle{suffix}", 0.15)
    yield under.duration(f"scaling-3-4-load{suffix}", 0.3)
    yield atomically.duration(f"scaling-3-4-load-atomic{suffix}", 1.0)
    yield atomically.moving(f"scaling-3-4-moving-atomic{suffix}", 1.0)
    yield under.stall(f"scaling-3-4-stall-load{suffix}")
    yield under.lost(f"scaling-3-4-lost-load{suffix}")
    yield atomically.lost(f"scaling-3-4-lost-load-atomic{suffix}")
    yield atomically.lost_in_all(f"scaling-3-4-lost-in-all-atomic{suffix}")


def _full(within: World) -> Iterator[Figure]:
    """Where clients ask as fast as they are answered, whatever takes long loses much."""
    ours, tool = Series(), Series()
    with _service(within) as api:
        for number in within.rounds(3, 1):
            ours.seen.append(_ours(within, api, math.inf))
            tool.seen.append(_tool(within, within.build, math.inf))
            say(f"  full {number + 1}: {[f'{one.seconds()[-1]:.2f} s' for one in (ours, tool)]}")
    what = f"{_what_of_valkey(within)}, under as much load as is answered"
    beside = Beside(what, ours, _VALKEY_TOOL, tool)
    yield beside.duration("scaling-3-4-full", 0.3)
    yield beside.lost_in_all("scaling-3-4-lost-in-all-full")


def _rounds(within: World, where: str) -> range:
    """Return the rounds to run; with delays, tools take minutes for one."""
    return within.rounds(1 if where else 3, 1)


def _what_of_valkey(within: World) -> str:
    size = f"{resharding.key_count(within) / 1e6:g} million values of 1 kB"
    return f"3 → 4 shards, {size}, Valkey {world.VERSION}"


def _redis(within: World, where: str) -> Iterator[Figure | Skipped]:
    what = f"3 → 4 shards, Redis OSS {_REDIS}{where}"
    suffix = _suffix(where)
    try:
        build = Catalogue().install(EngineName.REDIS, _REDIS, progress=say)
    except InstallFailed as error:
        key = f"scaling-3-4-redis{suffix}"
        yield Skipped(key=key, what=what, reason=f"no such engine: {error}")
        return
    ours, default, piped = Series(), Series(), Series()
    with _service(within) as api:
        for number in _rounds(within, where):
            engine = {"Engine": "redis", "EngineVersion": _REDIS}
            ours.seen.append(_ours(within, api, 0, **engine))
            default.seen.append(_tool(within, build, 0))
            piped.seen.append(_tool(within, build, 0, "--cluster-pipeline", "100"))
            everybody = (ours, default, piped)
            say(f"  redis {number + 1}: {[f'{one.seconds()[-1]:.2f} s' for one in everybody]}")
    name = "`redis-cli --cluster add-node` and `rebalance`"
    beside = Beside(what, ours, name, default)
    yield beside.duration(f"scaling-3-4-redis{suffix}", 0.3)
    faster = Beside(what, ours, f"{name} with `--cluster-pipeline 100`", piped)
    yield faster.duration(f"scaling-3-4-redis-100{suffix}", 0.6)
    yield beside.stall(f"scaling-3-4-stall-redis{suffix}")


@dataclass(frozen=True)
class Beside:
    """Ours beside a tool: makes rows of what was seen of both."""

    what: str
    ours: Series
    name: str
    theirs: Series

    def duration(self, key: str, bound: float) -> Figure:
        """Return how long it took."""
        return Figure(
            key=key,
            what=self.what,
            ours=sample("s", self.ours.seconds()),
            baseline_name=self.name,
            baseline=sample("s", self.theirs.seconds()),
            comparison=Comparison.RATIO,
            target=Target(bound=bound, is_minimum=False),
            broken=broken_of(self.ours),
            note=f"Until the new node serves: ours {_creating_s(self.ours):.1f} s of it, by hand "
            f"with `add-node` {_creating_s(self.theirs):.1f} s. Failed requests of stock clients: "
            f"{self.ours.failed()}, with the tool {self.theirs.failed()}.",
            details={
                "failed": self.ours.failed(),
                "baseline_failed": self.theirs.failed(),
                "creating_s": _creating_s(self.ours),
                "baseline_creating_s": _creating_s(self.theirs),
            },
        )

    def moving(self, key: str, bound: float) -> Figure:
        """Return how long it took once the new node was there."""
        return Figure(
            key=key,
            what=f"{self.what}, from when the new node serves",
            ours=sample("s", self.ours.moving_s()),
            baseline_name=self.name,
            baseline=sample("s", self.theirs.moving_s()),
            comparison=Comparison.RATIO,
            target=Target(bound=bound, is_minimum=False),
            broken=broken_of(self.ours),
        )

    def stall(self, key: str) -> Figure:
        """Return how long clients waited."""
        errors = self.theirs.errors()
        said = f"With the tool {self.theirs.failed()} requests failed: {errors}" if errors else ""
        return Figure(
            key=key,
            what=f"longest time that a stock client waited, {self.what}",
            ours=sample("ms", self.ours.stalls_ms()),
            baseline_name=self.name,
            baseline=sample("ms", self.theirs.stalls_ms()),
            target=_STALL,
            broken=broken_of(self.ours),
            note=said,
        )

    def lost(self, key: str) -> Figure:
        """Return which share of the throughput was lost."""
        return Figure(
            key=key,
            what=f"share of throughput lost while it runs, {self.what}",
            ours=_percent(self.ours),
            baseline_name=self.name,
            baseline=_percent(self.theirs),
            comparison=Comparison.RATIO,
            target=Target(bound=0.5, is_minimum=False),
            broken=broken_of(self.ours),
            note="Less than 0.1 % counts as 0.1 %.",
        )

    def lost_in_all(self, key: str) -> Figure:
        """Return how many requests were lost until it was done."""
        return Figure(
            key=key,
            what=f"requests lost until it is done, {self.what}",
            ours=sample("requests", self.ours.lost_in_all()),
            baseline_name=self.name,
            baseline=sample("requests", self.theirs.lost_in_all()),
            comparison=Comparison.RATIO,
            target=Target(bound=0.5, is_minimum=False),
            broken=broken_of(self.ours),
        )


def _creating_s(series: Series) -> float:
    pairs = zip(series.seconds(), series.moving_s(), strict=True)
    return statistics.median(whole - moving for whole, moving in pairs)


def broken_of(ours: Series) -> tuple[str, ...]:
    """Return what must not have happened to clients."""
    said = []
    if ours.failed():
        said.append(f"{ours.failed()} requests of stock clients failed: {ours.errors()}.")
    if ours.load_failed():
        said.append(f"{ours.load_failed()} requests of the load failed.")
    return tuple(said)


def reshard(api: Any, name: str, shards: int, **more: object) -> Took:
    """Give a group so many shards; return how long it took until it was `available` again."""
    begin_s = time.monotonic()
    api.modify_replication_group_shard_configuration(
        ReplicationGroupId=name, NodeGroupCount=shards, ApplyImmediately=True, **more
    )
    created_s = _wait_until_created(api, name, begin_s + _RESHARD_TIMEOUT_S)
    wait_until_available(api, name, begin_s + _RESHARD_TIMEOUT_S)
    took_s = time.monotonic() - begin_s
    found = shard_ids(api, name)
    if len(found) != shards:
        raise BenchFailed(f"{name} has the shards {found}, {shards} were asked for")
    return Took(took_s, created_s - begin_s)


def _wait_until_created(api: Any, name: str, deadline: float) -> float:
    """Return when no shard is `creating` any more."""
    while time.monotonic() < deadline:
        group = api.describe_replication_groups(ReplicationGroupId=name)["ReplicationGroups"][0]
        if all(shard["Status"] != "creating" for shard in group["NodeGroups"]):
            break
        time.sleep(_POLL_S)
    return time.monotonic()


def wait_until_available(api: Any, name: str, deadline: float) -> None:
    """Return when a group is `available`."""
    while world.statuses(api).get(name) != "available":
        if time.monotonic() > deadline:
            raise BenchFailed(f"{name} is {world.statuses(api).get(name)} for too long")
        time.sleep(_POLL_S)


def shard_ids(api: Any, name: str) -> Sequence[str]:
    """Return the shards of a group."""
    found = api.describe_replication_groups(ReplicationGroupId=name)["ReplicationGroups"][0]
    return [str(shard["NodeGroupId"]) for shard in found["NodeGroups"]]


@contextlib.contextmanager
def _service(within: World) -> Iterator[Any]:
    with world.running_server(within) as server, contextlib.closing(server.client()) as api:
        yield api


def _ours(within: World, api: Any, load_per_s: float, **engine: object) -> resharding.Seen:
    count = resharding.key_count(within)
    size = {"CacheNodeType": NODE_TYPE, "AutomaticFailoverEnabled": True}
    with groups.running(api, shards=3, replicas=0, further={**size, **engine}) as group:
        resharding.fill(group.engines, count)
        seen = resharding.observe(
            group.engines,
            lambda: reshard(api, group.name, 4),
            requests_per_s=load_per_s,
            keys_held=count,
        )
        with deployment.closing(deployment.deployment_of(api, group.name)) as after:
            _compare_keys(after, count)
        return seen


def _tool(within: World, build: Build, load_per_s: float, *options: str) -> resharding.Seen:
    count = resharding.key_count(within)
    with resharding.running_by_hand(within, build, owners=3) as by_hand:
        resharding.fill(by_hand.found, count)
        seen = resharding.observe(
            by_hand.found,
            lambda: by_hand.rebalance(*options),
            requests_per_s=load_per_s,
            keys_held=count,
        )
        _compare_keys(by_hand.found, count)
        return seen


def _compare_keys(found: Deployment, count: int) -> None:
    addresses = [shard.addresses[0] for shard in found.shards]
    held = [resharding.count_keys(found, [address]) for address in addresses]
    if sum(held) != count or min(held) == 0:
        raise BenchFailed(f"shards hold {held} keys, {count} were put into them")


def _noted(outcome: Figure | Skipped, note: str) -> Figure | Skipped:
    if isinstance(outcome, Skipped):
        return outcome
    return dataclasses.replace(outcome, note=f"{outcome.note} {note}".strip())


def _suffix(where: str) -> str:
    return f"-{delays.DELAY_US}us" if where else ""


def _percent(series: Series) -> Sample:
    return sample("%", series.lost_percent())


def _install() -> None:
    """Fetch engines while there is a way to them."""
    with contextlib.suppress(InstallFailed):
        Catalogue().install(EngineName.REDIS, _REDIS, progress=say)
