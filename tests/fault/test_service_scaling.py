"""What callers and clients do at the worst moment: in the middle of shards that come and go.

Every one of these ends in a group that is available, with all slots owned and none open, and with
everything that was acknowledged.
"""

from __future__ import annotations

import contextlib
import itertools
import threading
import time
from collections.abc import Iterator
from typing import Any

import hiredis
import pytest
from valkey.exceptions import ValkeyError

from cachewright import testing
from cachewright.checker import keys, pipes
from cachewright.checker.pipes import Command, Router
from tests import service_kit as kit

#: Resharding of some megabytes takes seconds; four tests share two cores.
_DONE_WITHIN_S = 90.0
_MB = 1 << 20
_FILLED = 20_000
_TYPE = "cache.t4g.small"


@pytest.fixture(scope="module")
def service() -> Iterator[testing.Service]:
    with testing.service() as running:
        yield running


@pytest.fixture
def api(service: testing.Service) -> Any:
    return service.client()


def reshard(api: Any, group_id: str, count: int, **more: object) -> None:
    api.modify_replication_group_shard_configuration(
        ReplicationGroupId=group_id, NodeGroupCount=count, ApplyImmediately=True, **more
    )


def wait_done(api: Any, group_id: str) -> dict[str, int]:
    """Wait until a group is available and return how many slots each shard has."""
    kit.wait_status(api, group_id, "available", timeout_s=_DONE_WITHIN_S)
    group = kit.describe(api, group_id)
    assert group is not None
    return {shard["NodeGroupId"]: _count(shard["Slots"]) for shard in group["NodeGroups"]}


def _count(ranges: str) -> int:
    parts = [part.partition("-") for part in ranges.split(",") if part]
    return sum(int(last or first) - int(first) + 1 for first, _, last in parts)


def assert_closed(service: testing.Service, group_id: str) -> None:
    """Nobody has an open slot, or knows a node that is gone."""
    nodes = [name for name in kit.engines(service.state_dir) if name.startswith(f"{group_id}-")]
    for node_id in nodes:
        with kit.admin(service.state_dir, node_id) as admin:
            shown = str(admin.execute_command("CLUSTER", "NODES"))
            assert "->-" not in shown
            assert "-<-" not in shown
            # An introduction that was repeated on a busy machine is forgotten after a while.
            kit.wait_until(
                "nobody but them is known",
                lambda a=admin: str(a.execute_command("CLUSTER", "NODES")).strip().splitlines(),  # type: ignore[misc]
                is_it=lambda known: len(known) == len(nodes),
            )


def router(api: Any, group_id: str) -> Any:
    group = kit.describe(api, group_id)
    assert group is not None
    host, port = kit.place(group["ConfigurationEndpoint"])
    return contextlib.closing(Router(host, port, timeout_s=kit.PATIENCE_S))


def command(*words: str | int) -> Command:
    return Command(keys.slot_of(str(words[1])), pipes.packed(words))


def fill(api: Any, group_id: str, value: str = "v" * 200) -> None:
    with router(api, group_id) as made:
        for first in range(0, _FILLED, 1_000):
            made.request([command("SET", f"k:{n}", value) for n in range(first, first + 1_000)])


class Flood(threading.Thread):
    """Sets numbers as fast as it can, and remembers the last one that each key was given."""

    def __init__(self, made: Router) -> None:
        super().__init__(daemon=True)
        self._router = made
        self._halt = threading.Event()
        self.last: dict[str, int] = {}
        self.answered = 0
        self.wrong: list[object] = []
        self.begin_s = time.monotonic()

    def run(self) -> None:
        for number in itertools.count():
            if self._halt.is_set():
                return
            names = [f"f:{number % 50}:{n}" for n in range(200)]
            try:
                answers = self._router.request([command("SET", key, number) for key in names])
            except pipes.Unreachable as error:
                self.wrong.append(error)
                return
            self.wrong += [a for a in answers if isinstance(a, hiredis.ReplyError)]
            self.answered += len(answers)
            self.last |= dict.fromkeys(names, number)

    def stop(self) -> float:
        """End it and return how many a second were answered."""
        self._halt.set()
        self.join(kit.PATIENCE_S)
        return self.answered / (time.monotonic() - self.begin_s)


def test_a_flood_of_writes_loses_none_of_them(service: testing.Service, api: Any) -> None:
    kit.create_available(api, "flood", shards=2, replicas=1)
    fill(api, "flood")
    with router(api, "flood") as made, router(api, "flood") as reader:
        flood = Flood(made)
        flood.start()
        for count, more in ((4, {}), (1, {"NodeGroupsToRetain": ["0003"]})):
            reshard(api, "flood", count, **more)
            assert len(wait_done(api, "flood")) == count
        flood.stop()
        assert flood.wrong == []
        names = sorted(flood.last)
        held = reader.request([command("GET", key) for key in names])
        assert [int(value) for value in held] == [flood.last[key] for key in names]
        kept = reader.request([command("STRLEN", f"k:{n}") for n in range(_FILLED)])
    assert set(kept) == {200}
    assert_closed(service, "flood")
    kit.delete(api, "flood")


def test_who_flushes_everything_meanwhile_finds_nothing_old_and_all_that_is_new(
    service: testing.Service, api: Any
) -> None:
    group = kit.create_available(api, "flush", shards=2, replicas=1)
    fill(api, "flush", "v" * 1_000)
    reshard(api, "flush", 3)
    with kit.connect_cluster(group) as cluster:
        cluster.flushall(target_nodes="primaries")
        assert all(cluster.set(f"new:{n}", n) for n in range(500))
        counts = wait_done(api, "flush")
        assert (len(counts), sum(counts.values())) == (3, 16_384)
        assert [cluster.get(f"new:{n}") for n in range(500)] == [str(n) for n in range(500)]
    assert_closed(service, "flush")
    kit.delete(api, "flush")


def test_a_large_key_moves_and_one_that_is_too_large_stays_with_its_shard(
    service: testing.Service, api: Any
) -> None:
    group = kit.create_available(api, "large", shards=2, CacheNodeType=_TYPE)
    large = next(f"large:{n}" for n in range(100) if keys.slot_of(f"large:{n}") >= 8_192)
    with kit.connect_cluster(group) as cluster:
        assert cluster.setrange(large, 100 * _MB, "x") == 100 * _MB + 1
        reshard(api, "large", 1, NodeGroupsToRemove=["0002"])
        assert wait_done(api, "large") == {"0001": 16_384}
        assert cluster.strlen(large) == 100 * _MB + 1
        reshard(api, "large", 2)
        _, new = sorted(wait_done(api, "large"))
        there = next(f"huge:{n}" for n in range(1_000) if _owner(api, "large", f"huge:{n}") == new)
        assert cluster.unlink(large) == 1
        assert cluster.setrange(there, 300 * _MB, "x") == 300 * _MB + 1
        reshard(api, "large", 1, NodeGroupsToRemove=[new])
        # Only its slot stays; the shard is there as long as it owns that.
        assert wait_done(api, "large") == {"0001": 16_383, new: 1}
        assert cluster.strlen(there) == 300 * _MB + 1
        told = kit.messages(api, "large")
        slot = keys.slot_of(there)
        assert any(
            text.startswith(f"Slot {slot} stays on node group {new}: it holds a key")
            for text in told
        ), told[-6:]
    assert_closed(service, "large")
    kit.delete(api, "large")


def _owner(api: Any, group_id: str, key: str) -> str:
    group = kit.describe(api, group_id)
    assert group is not None
    for shard in group["NodeGroups"]:
        for part in shard["Slots"].split(","):
            first, _, last = part.partition("-")
            if int(first) <= keys.slot_of(key) <= int(last or first):
                return str(shard["NodeGroupId"])
    raise AssertionError(f"nobody owns {key}")


def test_what_does_not_fit_into_those_that_stay_is_not_begun(
    service: testing.Service, api: Any
) -> None:
    """Two shards that are two thirds full do not go into one."""
    kit.create_available(api, "full", shards=2, CacheNodeType="cache.t4g.micro")
    value = "v" * 10_000
    with router(api, "full") as made:
        for first in range(0, 44_000, 500):
            names = [f"k:{n}" for n in range(first, first + 500)]
            answers = made.request([command("SET", key, value) for key in names])
            assert set(answers) == {b"OK"}
        before = wait_done(api, "full")
        with contextlib.suppress(api.exceptions.InvalidParameterCombinationException):
            reshard(api, "full", 1, NodeGroupsToRemove=["0002"])
        assert wait_done(api, "full") == before
        held = made.request([command("STRLEN", f"k:{n}") for n in range(44_000)])
    assert set(held) == {10_000}
    assert_closed(service, "full")
    kit.delete(api, "full")


@pytest.mark.slow(25)
def test_it_ends_with_what_was_reached_when_the_target_is_full_and_goes_on_when_asked_again(
    service: testing.Service, api: Any
) -> None:
    """Neither the engines nor the host can move what has no room; no failure is remembered.

    A key in each slot: those without any would go on, one by one.
    """
    kit.create_available(api, "short", shards=2)
    names, value = keys.key_of_each_slot("k"), "v" * 2_000
    with router(api, "short") as made:
        for first in range(0, len(names), 500):
            made.request([command("SET", key, value) for key in names[first : first + 500]])
        reshard(api, "short", 3)
        kit.wait_until("a third primary", lambda: _set_memory(service, "short-0003-001", 6 * _MB))
        reached = wait_done(api, "short")
        assert sum(reached.values()) == 16_384
        assert 0 < reached["0003"] < 5_000
        assert any("given up" in text for text in kit.messages(api, "short"))
        assert_closed(service, "short")
        held = made.request([command("STRLEN", key) for key in names])
        assert set(held) == {len(value)}
        _set_memory(service, "short-0003-001", 100 * _MB)
        reshard(api, "short", 3)
        assert all(count > 5_000 for count in wait_done(api, "short").values())
        assert kit.messages(api, "short")[-1].endswith(" completed")
        held = made.request([command("STRLEN", key) for key in names])
    assert set(held) == {len(value)}
    assert_closed(service, "short")
    kit.delete(api, "short")


@pytest.mark.slow(50)
def test_a_slot_that_neither_goes_on_nor_comes_back_is_told_and_mended_once_there_is_memory(
    service: testing.Service, api: Any
) -> None:
    """Both are full while a large slot is cut. Clients find every key, and nothing goes on."""
    group = kit.create_available(api, "cut", shards=2, Engine="redis", EngineVersion="7.0")
    slot = keys.slot_of("k126")
    names, value = [f"{{k126}}{n}" for n in range(9_000)], "v" * 3_000
    giving, taking = "cut-0001-001", "cut-0002-001"
    with router(api, "cut") as made, kit.connect_cluster(group) as cluster:
        for first in range(0, len(names), 1_000):
            sets = [("SET", key, value) for key in names[first : first + 1_000]]
            made.request([Command(slot, pipes.packed(words)) for words in sets])
        assert _set_memory(service, taking, 12 * _MB)
        reshard(api, "cut", 1, NodeGroupsToRemove=["0001"])
        kit.wait_until("it is cut", lambda: _is_sent_on(service, giving, slot), every_s=0.01)
        assert _set_memory(service, giving, 6 * _MB)
        assert wait_done(api, "cut") == {"0001": 1, "0002": 16_383}
        texts = kit.messages(api, "cut")
        assert any("can neither go on nor back" in text for text in texts), texts[-4:]
        kit.wait_until("clients are sent on", lambda: _is_sent_on(service, giving, slot))
        assert {cluster.strlen(key) for key in names[::7]} == {len(value)}
        for node_id in (giving, taking):
            assert _set_memory(service, node_id, 100 * _MB)
        kit.wait_until("it is mended", lambda: not _is_sent_on(service, giving, slot))
        kit.wait_status(api, "cut", "available", timeout_s=_DONE_WITHIN_S)
        assert cluster.dbsize(target_nodes="primaries") == len(names)
    assert_closed(service, "cut")
    kit.delete(api, "cut")


def _is_sent_on(service: testing.Service, node_id: str, slot: int) -> bool:
    """Tell whether a node sends clients that ask for a slot's keys on to another one."""
    with kit.admin(service.state_dir, node_id) as admin:
        return f"[{slot}->-" in str(admin.execute_command("CLUSTER", "NODES"))


def _set_memory(service: testing.Service, node_id: str, limit_bytes: int) -> bool:
    """Let a node have so much memory, if it is there already."""
    try:
        with kit.admin(service.state_dir, node_id) as admin:
            return bool(
                admin.config_set("maxmemory", limit_bytes, "maxmemory-policy", "noeviction")
            )
    except (KeyError, OSError, ValkeyError):
        return False


def test_a_group_is_deleted_in_the_middle_or_when_it_is_done(
    service: testing.Service, api: Any
) -> None:
    kit.create_available(api, "gone", shards=2, replicas=1)
    fill(api, "gone", "v" * 1_000)
    reshard(api, "gone", 4)
    try:
        api.delete_replication_group(ReplicationGroupId="gone")
    except api.exceptions.InvalidReplicationGroupStateFault:
        assert len(wait_done(api, "gone")) == 4
        api.delete_replication_group(ReplicationGroupId="gone")
    kit.wait_status(api, "gone", "gone", timeout_s=_DONE_WITHIN_S)
    left = [name for name in kit.node_folders(service.state_dir) if name.startswith("gone-")]
    assert left == []
