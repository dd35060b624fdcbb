"""Do clients that read from replicas notice nothing while nodes start again or are new?

Real service, real engines, and stock clients that are told to read from replicas.
"""

from __future__ import annotations

import contextlib
import dataclasses
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis
import valkey

from tests import service_kit as kit

#: A download and an unpacking may come in between.
_INSTALL_S = 100.0
_KEYS = tuple(f"k{number}" for number in range(64))
#: What a replica copies takes it a moment.
_BIG_KEYS, _BIG_BYTES = 200, 100_000
_TIMEOUT_S = 2.0
#: The engines of the upgrade, in order.
_FIRST, *_LATER = (("redis", "7.0"), ("valkey", "8.0"), ("valkey", "9.1"))

Get = Callable[[str], object]


def _redis_py(host: str, port: int) -> Any:
    kind: Any = redis.RedisCluster
    strategy = redis.cluster.LoadBalancingStrategy.ROUND_ROBIN
    return kind(host=host, port=port, socket_timeout=_TIMEOUT_S, load_balancing_strategy=strategy)


def _valkey_py(host: str, port: int) -> Any:
    kind: Any = valkey.ValkeyCluster
    return kind(host=host, port=port, socket_timeout=_TIMEOUT_S, read_from_replicas=True)


#: Not all that they raise is an error of theirs by its class.
_REFUSALS = (
    *(redis.RedisError, redis.exceptions.RedisClusterException),
    *(valkey.ValkeyError, valkey.exceptions.ValkeyClusterException),
    OSError,
)
_CLIENTS = {"redis-py": _redis_py, "valkey-py": _valkey_py}


@dataclasses.dataclass
class _Traffic:
    reads: int = 0
    failures: list[str] = dataclasses.field(default_factory=list)


@contextlib.contextmanager
def _reading(kind: str, host: str, port: int) -> Iterator[_Traffic]:
    """Read all keys again and again, for the block."""
    seen, is_over = _Traffic(), threading.Event()

    def read() -> None:
        with _CLIENTS[kind](host, port) as client:
            while not is_over.is_set():
                for key in _KEYS:
                    seen.reads += 1
                    try:
                        found = client.get(key)
                    except _REFUSALS as error:
                        seen.failures.append(f"{type(error).__name__}: {error}")
                    else:
                        if found != b"v":
                            seen.failures.append(f"read {found!r}")

    thread = threading.Thread(target=read)
    thread.start()
    try:
        yield seen
    finally:
        is_over.set()
        thread.join()


@pytest.mark.parametrize("kind", _CLIENTS)
def test_who_reads_from_replicas_notices_no_change(api: Any, group_id: str, kind: str) -> None:
    engine, version = _FIRST
    if not api.describe_cache_engine_versions(Engine=engine, EngineVersion=version)[
        "CacheEngineVersions"
    ]:
        pytest.skip(f"{engine} {version} cannot be had on this machine")
    kit.create(api, group_id, shards=2, replicas=1, Engine=engine, EngineVersion=version)
    kit.wait_status(api, group_id, "available", timeout_s=_INSTALL_S)
    group = kit.describe(api, group_id)
    assert group is not None
    with kit.connect_cluster(group) as client:
        for key in _KEYS:
            client.set(key, "v")
        for number in range(_BIG_KEYS):
            client.set(f"big{number}", b"x" * _BIG_BYTES)
    with _reading(kind, *kit.place(group["ConfigurationEndpoint"])) as traffic:
        for engine, version in _LATER:
            api.modify_replication_group(
                ReplicationGroupId=group_id,
                Engine=engine,
                EngineVersion=version,
                ApplyImmediately=True,
            )
            kit.wait_status(api, group_id, "available", timeout_s=_INSTALL_S)
        api.increase_replica_count(
            ReplicationGroupId=group_id, NewReplicaCount=2, ApplyImmediately=True
        )
        kit.wait_status(api, group_id, "available")
    assert traffic.failures == []
    assert traffic.reads > len(_KEYS)
