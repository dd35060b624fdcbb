"""What does a client get from a replica of a cluster that is not admitted yet? No connection."""

from __future__ import annotations

import contextlib
import dataclasses
import socket
from collections.abc import Callable, Iterator
from typing import Any

import glide_sync
import pytest
import redis
import valkey

from cachewright.engines.adapter import EngineRefused
from cachewright.engines.resp import AdminConnection
from cachewright.model.commands import Promotion
from cachewright.model.parameters import RENAME_COMMANDS
from cachewright.model.status import Role
from tests.contract.engine_lab import PORT, Client, Engine, Lab, wait_until

#: The address of a Unix socket has no room for more.
_SOCKET_PATH_MAX = 107
_TIMEOUT_S = 5.0

Get = Callable[[str], object]


def _held_replica(lab: Lab) -> tuple[Engine, Engine]:
    primary, replica = lab.cluster(1, 1)
    for engine in (primary, replica):
        engine.start()
    primary.admit()
    wait_until(replica.observe, lambda fact: fact.is_in_sync)
    assert replica.observe().is_held
    client = primary.client()
    wait_until(lambda: client("SET", "a", "1"), lambda reply: reply == b"OK")
    return primary, replica


def _is_closed(engine: Engine) -> bool:
    try:
        engine.client()
    except ConnectionRefusedError:
        return True
    return False


def _listed_replicas(client: Client) -> list[object]:
    slots = client("CLUSTER", "SLOTS")
    assert isinstance(slots, list)
    return list(slots[0][3:])


def test_nobody_can_connect_to_a_held_replica_of_a_cluster(lab: Lab) -> None:
    """Clients go elsewhere then; `NOAUTH` or `NOPERM` would have ended their requests."""
    primary, replica = _held_replica(lab)
    assert _is_closed(replica)
    replica.admit()
    assert not replica.observe().is_held
    wait_until(replica.observe, lambda fact: fact.keys == 1)
    client = replica.client()
    assert str(client("GET", "a")) == f"MOVED 15495 {primary.launch.address}:{PORT}"
    assert client("READONLY") == b"OK"
    assert client("GET", "a") == b"1"
    assert str(client("CONFIG", "GET", "*")).startswith("NOPERM")


def test_a_held_replica_is_known_by_the_port_that_it_will_have(lab: Lab) -> None:
    primary, replica = _held_replica(lab)
    place = f"{replica.launch.address}:{PORT}@".encode()
    told = primary.administer("CLUSTER", "NODES")
    assert isinstance(told, bytes)
    assert place in told
    replicas = primary.administer("INFO", "replication")
    assert isinstance(replicas, bytes)
    assert f"ip={replica.launch.address},port={PORT}".encode() in replicas


def test_an_admission_leaves_those_who_are_connected(lab: Lab) -> None:
    _, replica = _held_replica(lab)
    replica.admit()
    client = replica.client()
    replica.admit()
    assert client("PING") == b"PONG"


def test_a_replica_whose_port_is_taken_stays_held(lab: Lab) -> None:
    _, replica = _held_replica(lab)
    address = replica.launch.address
    with socket.create_server((address, PORT)):
        with pytest.raises(EngineRefused, match=rf"cannot listen on {address}: taken by another"):
            replica.admit()
        assert replica.observe().is_held
    replica.admit()
    assert replica.client()("PING") == b"PONG"


def test_a_held_replica_that_takes_over_is_closed_until_it_is_admitted(lab: Lab) -> None:
    primary, replica = _held_replica(lab)
    primary.end()
    replica.promote(Promotion.TAKEOVER)
    wait_until(replica.observe, lambda fact: fact.role is Role.PRIMARY)
    assert _is_closed(replica)
    replica.admit()
    client = replica.client()
    wait_until(lambda: client("SET", "a", "1"), lambda reply: reply == b"OK")


def test_the_administrator_comes_in_however_long_the_path_is(lab: Lab) -> None:
    primary, replica = lab.cluster(1, 1)
    folder = replica.folder / ("deep" * 40)
    folder.mkdir(mode=0o700)
    replica.folder = folder
    assert len(str(folder)) > _SOCKET_PATH_MAX
    for engine in (primary, replica):
        engine.start()
    primary.admit()
    assert wait_until(replica.observe, lambda fact: fact.is_in_sync).is_held


def test_settings_do_not_open_a_held_replica(lab: Lab) -> None:
    _, replica = _held_replica(lab)

    async def block(admin: AdminConnection) -> None:
        assert await replica.adapter.configure(admin, {RENAME_COMMANDS: "keys blocked"}) == ()

    replica.call(block)
    assert _is_closed(replica)
    assert replica.observe().is_held
    replica.admit()
    assert str(replica.client()("KEYS", "*")).startswith("NOPERM")


@contextlib.contextmanager
def _redis_py(address: str, *, reads_replicas: bool) -> Iterator[Get]:
    kind: Any = redis.RedisCluster
    balanced = {"load_balancing_strategy": redis.cluster.LoadBalancingStrategy.ROUND_ROBIN}
    options = balanced if reads_replicas else {}
    client = kind(host=address, port=PORT, socket_timeout=_TIMEOUT_S, **options)
    yield client.get
    client.close()


@contextlib.contextmanager
def _valkey_py(address: str, *, reads_replicas: bool) -> Iterator[Get]:
    kind: Any = valkey.ValkeyCluster
    options = {"read_from_replicas": reads_replicas}
    client = kind(host=address, port=PORT, socket_timeout=_TIMEOUT_S, **options)
    yield client.get
    client.close()


@contextlib.contextmanager
def _glide(address: str, *, reads_replicas: bool) -> Iterator[Get]:
    glide: Any = glide_sync
    glide.Logger.set_logger_config(glide.LogLevel.OFF)
    reads_from = glide.ReadFrom.PREFER_REPLICA if reads_replicas else glide.ReadFrom.PRIMARY
    client = glide.GlideClusterClient.create(
        glide.GlideClusterClientConfiguration(
            addresses=[glide.NodeAddress(address, PORT)],
            read_from=reads_from,
            request_timeout=round(1000 * _TIMEOUT_S),
        )
    )
    yield client.get
    client.close()


_CLIENTS = {"redis-py": _redis_py, "valkey-py": _valkey_py, "valkey-glide": _glide}
#: A client that takes turns comes to each node more than once.
_TURNS = 6


@pytest.mark.parametrize("kind", _CLIENTS)
def test_who_reads_from_replicas_reads_on_while_one_starts_again(lab: Lab, kind: str) -> None:
    primary, replica = _held_replica(lab)
    replica.admit()
    wait_until(lambda: _listed_replicas(primary.client()), lambda listed: len(listed) == 1)
    wait_until(replica.observe, lambda fact: fact.keys == 1)
    with _CLIENTS[kind](primary.launch.address, reads_replicas=True) as get:
        assert [get("a") for _ in range(_TURNS)] == [b"1"] * _TURNS
        replica.shutdown(saves=False)
        replica.start()
        assert replica.observe().is_held
        assert [get("a") for _ in range(_TURNS)] == [b"1"] * _TURNS
        wait_until(replica.observe, lambda fact: fact.is_in_sync and fact.keys == 1)
        assert [get("a") for _ in range(_TURNS)] == [b"1"] * _TURNS
        replica.admit()
        assert [get("a") for _ in range(_TURNS)] == [b"1"] * _TURNS


@pytest.mark.parametrize("kind", _CLIENTS)
def test_who_knew_a_held_replica_as_the_primary_finds_the_new_one(lab: Lab, kind: str) -> None:
    """Such a client has not come by since then: it learns it from nobody but who refuses it."""
    first, second = _held_replica(lab)
    second.admit()
    wait_until(second.observe, lambda fact: fact.keys == 1)
    with _CLIENTS[kind](second.launch.address, reads_replicas=False) as get:
        assert get("a") == b"1"
        second.call(second.adapter.roles.begin_hand_over)
        wait_until(first.observe, lambda fact: fact.role is Role.REPLICA)
        first.shutdown(saves=False)
        _start_as_replica_of(first, second)
        assert first.observe().is_held
        assert [get("a") for _ in range(_TURNS)] == [b"1"] * _TURNS


def _start_as_replica_of(engine: Engine, primary: Engine) -> None:
    """Start it on the map that is true by now, as an agent does."""
    peers = {peer.engine_id: peer for peer in engine.launch.peers}
    own, other = peers[engine.launch.engine_id], peers[primary.launch.engine_id]
    swapped = (
        dataclasses.replace(
            own, role=Role.REPLICA, primary_engine_id=other.engine_id, slots=(), epoch=0
        ),
        dataclasses.replace(
            other,
            role=Role.PRIMARY,
            primary_engine_id=None,
            slots=own.slots,
            epoch=primary.observe().cluster.config_epoch,  # type: ignore[union-attr] # a cluster's
        ),
    )
    engine.launch = dataclasses.replace(engine.launch, peers=swapped)
    engine.start()
