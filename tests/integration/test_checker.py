"""A checker notices what goes wrong with real engines, and is silent when all is well."""

from __future__ import annotations

import contextlib
import random
import secrets
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import valkey

from cachewright import testing
from cachewright.checker import clients, judge, keys, traffic
from cachewright.checker.history import Lane
from cachewright.engines import embedded
from cachewright.model.slots import parse_ranges
from tests import service_kit as kit

_PACE_S = 0.004
#: For tests that share two cores: a failover takes a hundredth of it.
_SERVED_WITHIN_S = 20.0
#: Longer than any request takes that nothing holds up, and shorter than a client waits for one.
_FROZEN_S = 0.3


class Engine:
    """One engine without cluster mode that a test may end and start again."""

    def __init__(self, folder: Path) -> None:
        second, third = 16 + secrets.randbelow(32), secrets.randbelow(256)
        self.address = f"127.{second}.{third}.{1 + secrets.randbelow(254)}"
        self.target = clients.Target(host=self.address, port=kit.PORT, is_cluster=False)
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        program = embedded.embedded_server()
        assert program is not None
        options = f"--bind {self.address} --port {kit.PORT} --save"
        self._process = subprocess.Popen(
            [str(program), *options.split(), ""], cwd=self._folder, stdout=subprocess.DEVNULL
        )
        kit.wait_until("the engine listens", self._listens)

    def signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def admin(self) -> Any:
        return valkey.Valkey(host=self.address, port=kit.PORT, socket_timeout=5.0)

    def set(self, name: str, value: object) -> None:
        with contextlib.closing(self.admin()) as admin:
            admin.config_set(name, value)

    def _listens(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection((self.address, kit.PORT), 1.0):
            return True
        return False


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    made = Engine(tmp_path)
    made.start()
    yield made
    made.kill()


@pytest.fixture
def lane() -> Lane:
    return Lane(name="all", keys=keys.keys_in((), secrets.token_hex(4), 3), pace_s=_PACE_S)


@contextlib.contextmanager
def watched(engine: Engine, lane: Lane) -> Iterator[traffic.Traffic]:
    """Traffic that is served already."""
    with traffic.running(engine.target, (lane,)) as running:
        assert running.wait_until_served(_SERVED_WITHIN_S)
        yield running


def wait_for(running: traffic.Traffic, what: str, is_it: Any) -> None:
    kit.wait_until(what, lambda: judge.judge(running.so_far(), 0.0).of("all"), is_it=is_it)


def assert_nothing_left(engine: Engine) -> None:
    with contextlib.closing(engine.admin()) as admin:
        assert admin.dbsize() == 0
    names = [thread.name for thread in threading.enumerate()]
    assert [name for name in names if name.startswith(("writer of", "reader of", "watch of"))] == []


def test_of_quiet_traffic_there_is_nothing_to_tell(engine: Engine, lane: Lane) -> None:
    begin_s = time.monotonic()
    with watched(engine, lane) as running:
        live = judge.judge(running.so_far(), begin_s).of("all")
        history = running.finish()
    found = judge.judge(history, begin_s)
    assert (found.lost, found.failed, found.left_keys) == (0, 0, ())
    assert found.keeps_everything
    assert found.is_served
    (only,) = found.lanes
    assert only.writes.answered >= live.writes.answered >= 10
    assert only.reads.answered >= 10
    assert (only.wrong_reads, only.doubled, only.foreign, only.errors) == (0, (), (), ())
    assert only.writes.slowest_s > 0
    # Nobody has looked what was held in the middle of it, so nothing is said to be kept.
    assert live.lost is None
    assert not live.keeps_everything
    assert_nothing_left(engine)


def test_refused_writes_are_failures_and_not_losses(engine: Engine, lane: Lane) -> None:
    with watched(engine, lane) as running:
        struck_s = time.monotonic()
        engine.set("min-replicas-to-write", 1)
        wait_for(running, "refused writes", lambda seen: seen.writes.failed >= 10)
        assert not running.wait_until_served(0.1)
        engine.set("min-replicas-to-write", 0)
        assert running.wait_until_served(_SERVED_WITHIN_S)
        found = judge.judge(running.finish(), struck_s)
    (only,) = found.lanes
    assert only.writes.failed >= 10
    assert only.reads.failed == 0
    assert "good replicas" in only.errors[0]
    assert only.writes.longest_gap_s > 9 * _PACE_S
    assert found.keeps_everything
    assert found.is_served


def test_an_engine_that_is_killed_is_a_gap_without_end_and_nobody_knows_what_is_lost(
    engine: Engine, lane: Lane
) -> None:
    with watched(engine, lane) as running:
        struck_s = time.monotonic()
        engine.kill()
        wait_for(running, "failed requests", lambda seen: seen.writes.failed and seen.reads.failed)
        assert not running.wait_until_served(0.3, since_s=struck_s)
        found = judge.judge(running.finish(timeout_s=0.5), struck_s)
    (only,) = found.lanes
    assert only.writes.longest_gap_s >= 0.25
    assert (found.lost, found.lost_at_least) == (None, 0)
    assert not found.keeps_everything
    assert found.left_keys == lane.keys
    assert "refused" in " ".join(only.errors).lower()
    engine.start()


def test_an_engine_that_comes_back_empty_has_lost_every_write(engine: Engine, lane: Lane) -> None:
    with watched(engine, lane) as running:
        struck_s = time.monotonic()
        engine.kill()
        engine.start()
        assert running.wait_until_served(_SERVED_WITHIN_S)
        history = running.finish()
    found = judge.judge(history, struck_s)
    before = [
        number
        for number, at_s in zip(
            history.lanes[0].acknowledged, history.lanes[0].writes.answered_s, strict=True
        )
        if at_s <= struck_s
    ]
    # Some more may have been acknowledged before the kill came.
    assert set(before) <= set(found.lanes[0].lost or ())
    assert (found.lost or 0) >= len(before) > 0
    assert not found.keeps_everything
    # It is served all the same.
    assert found.is_served
    assert_nothing_left(engine)


def test_who_reads_back_waits_for_an_engine_that_is_on_its_way(engine: Engine, lane: Lane) -> None:
    with watched(engine, lane) as running:
        engine.kill()
        back = threading.Timer(0.4, engine.start)
        back.start()
        try:
            found = judge.judge(running.finish(), 0.0)
        finally:
            back.join()
    assert (found.lost or 0) > 0
    assert found.left_keys == ()


def test_one_number_that_vanishes_is_named(engine: Engine, lane: Lane) -> None:
    with watched(engine, lane) as running, contextlib.closing(engine.admin()) as admin:
        assert admin.lrem(lane.key_of(7), 1, 7) == 1
        found = judge.judge(running.finish(), 0.0)
    assert found.lanes[0].lost == (7,)
    assert not found.keeps_everything


def test_a_number_twice_and_a_strange_one_are_told_apart(engine: Engine, lane: Lane) -> None:
    with watched(engine, lane) as running, contextlib.closing(engine.admin()) as admin:
        admin.rpush(lane.key_of(7), 7)
        admin.lpush(lane.key_of(7), 1_000_000_000)
        found = judge.judge(running.finish(), 0.0)
    assert found.lanes[0].doubled == (7,)
    assert found.lanes[0].foreign == (1_000_000_000,)
    assert found.lost == 0
    assert not found.keeps_everything


def test_a_read_that_lacks_an_acknowledged_write_is_wrong(engine: Engine, lane: Lane) -> None:
    with watched(engine, lane) as running, contextlib.closing(engine.admin()) as admin:
        # No write is taken any more, so that no newer number hides the loss.
        admin.config_set("maxmemory", 1)
        wait_for(running, "refused writes", lambda seen: seen.writes.failed >= 3)
        assert judge.judge(running.so_far(), 0.0).lanes[0].wrong_reads == 0
        admin.delete(*lane.keys)
        wait_for(running, "wrong reads", lambda seen: seen.wrong_reads >= 3)
        admin.config_set("maxmemory", 0)
        assert running.wait_until_served(_SERVED_WITHIN_S)
        found = judge.judge(running.finish(), 0.0)
    assert found.lanes[0].wrong_reads >= 3
    assert (found.lost or 0) > 0


def test_a_frozen_engine_is_slow_and_loses_nothing(engine: Engine, lane: Lane) -> None:
    """A request that is due meanwhile is late, although it was sent when the engine was back."""
    with watched(engine, lane) as running:
        struck_s = time.monotonic()
        engine.signal(signal.SIGSTOP)
        time.sleep(_FROZEN_S)
        engine.signal(signal.SIGCONT)
        assert running.wait_until_served(_SERVED_WITHIN_S)
        history = running.finish()
    found = judge.judge(history, struck_s)
    (only,) = found.lanes
    assert only.writes.longest_gap_s >= 0.25
    assert only.writes.slowest_s >= 0.25
    writes = history.lanes[0].writes
    slow = [a - d for d, a in zip(writes.due_s, writes.answered_s, strict=True) if a - d > 0.05]
    assert len(slow) >= 10
    assert found.keeps_everything


def test_a_pause_of_the_checker_is_told(engine: Engine, lane: Lane) -> None:
    with watched(engine, lane) as running:
        struck_s = time.monotonic()
        # One call that no other thread can interrupt.
        sorted(random.sample(range(1_500_000), 1_500_000))
        time.sleep(0.05)
        found = judge.judge(running.finish(), struck_s)
    assert found.own_pause_s > 0.1


def test_an_interrupt_leaves_no_key_and_no_thread(engine: Engine, lane: Lane) -> None:
    with contextlib.suppress(KeyboardInterrupt), watched(engine, lane):
        raise KeyboardInterrupt
    assert_nothing_left(engine)


def test_a_check_that_cannot_go_on_says_so(engine: Engine, lane: Lane) -> None:
    """Somebody put a text where only numbers are."""
    with contextlib.closing(engine.admin()) as admin, contextlib.ExitStack() as stack:
        running = stack.enter_context(watched(engine, lane))
        admin.rpush(lane.keys[0], "text")
        with pytest.raises(traffic.CheckFailed, match="reader of all failed: ValueError"):
            running.wait_until_served(_SERVED_WITHIN_S, since_s=time.monotonic() + 1.0)
        with pytest.raises(traffic.CheckFailed, match="reader of all failed: ValueError"):
            stack.close()
    assert_nothing_left(engine)


def kill_primary(service: testing.Service, group: dict[str, Any], shard: int) -> str:
    """Kill the primary of a shard with SIGKILL and return the shard's id."""
    found = group["NodeGroups"][shard]
    engines = kit.engines(service.state_dir)
    for member in found["NodeGroupMembers"]:
        with kit.admin(service.state_dir, member["CacheClusterId"]) as admin:
            is_primary = admin.info("replication")["role"] == "master"
        if is_primary:
            engines[member["CacheClusterId"]].kill()
            return str(found["NodeGroupId"])
    raise AssertionError("no primary")


def test_clients_of_a_cluster_see_a_primary_die_in_its_shard_only(
    service: testing.Service, api: Any, group_id: str
) -> None:
    group = kit.create_available(api, group_id, shards=2, replicas=1)
    host, port = kit.place(group["ConfigurationEndpoint"])
    target = clients.Target(host=host, port=port, is_cluster=True)
    lanes = [
        Lane(
            name=shard["NodeGroupId"],
            keys=keys.keys_in(parse_ranges(shard["Slots"]), secrets.token_hex(4), 20),
            pace_s=_PACE_S,
        )
        for shard in group["NodeGroups"]
    ]
    with traffic.running(target, lanes) as running:
        assert running.wait_until_served(_SERVED_WITHIN_S)
        heir = kit.engines(service.state_dir)[f"{group_id}-0002-002"]
        heir.kill(signal.SIGSTOP)  # so that somebody asks while nobody is there
        struck_s = time.monotonic()
        struck = kill_primary(service, group, 1)
        time.sleep(_FROZEN_S)
        heir.kill(signal.SIGCONT)
        assert running.wait_until_served(_SERVED_WITHIN_S, since_s=time.monotonic())
        found = judge.judge(running.finish(), struck_s)
    assert struck == "0002"
    assert found.keeps_everything
    assert found.is_served
    assert found.of("0001").writes.failed == 0
    assert found.of("0002").writes.longest_gap_s > 2 * _PACE_S
    assert found.of("0002").writes.longest_gap_s < _SERVED_WITHIN_S
    client: Any = valkey.ValkeyCluster(host=host, port=port)
    with contextlib.closing(client):
        assert client.dbsize(target_nodes="primaries") == 0


def test_clients_of_a_primary_endpoint_see_it_die_and_come_back(
    service: testing.Service, api: Any, group_id: str, lane: Lane
) -> None:
    group = kit.create_available(api, group_id, replicas=1)
    host, port = kit.primary_endpoint(group)
    target = clients.Target(host=host, port=port, is_cluster=False)
    with traffic.running(target, (lane,)) as running:
        assert running.wait_until_served(_SERVED_WITHIN_S)
        heir = kit.engines(service.state_dir)[group["MemberClusters"][1]]
        heir.kill(signal.SIGSTOP)  # so that somebody asks while nobody is there
        struck_s = time.monotonic()
        kill_primary(service, group, 0)
        time.sleep(_FROZEN_S)
        heir.kill(signal.SIGCONT)
        assert running.wait_until_served(_SERVED_WITHIN_S, since_s=struck_s)
        found = judge.judge(running.finish(), struck_s)
    assert found.keeps_everything
    assert found.is_served
    # Such a client does not ask again by itself, whatever it was about.
    assert found.lanes[0].writes.failed + found.lanes[0].reads.failed >= 1
    assert found.lanes[0].errors
