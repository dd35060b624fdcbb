"""Clients that write to a replica are disconnected, and nobody else is."""

from __future__ import annotations

from collections.abc import Sequence

import hiredis
import pytest

from cachewright.engines import replica_writes
from cachewright.engines.adapter import AdminConnection
from cachewright.engines.resp import EngineRefused
from tests.contract.engine_lab import Client, Engine, Lab, wait_until

READONLY = "READONLY"
#: Commands with which a client can be told from one that only reads.
WRITES: tuple[Sequence[str | int], ...] = (
    ("SET", "k", "v"),
    ("DEL", "k"),
    ("XADD", "s", "*", "f", "v"),
    ("FLUSHALL",),
    ("GETDEL", "k"),
)


@pytest.fixture
def replica(lab: Lab) -> Engine:
    primary, replica = lab.started(), lab.started()
    primary.admit()
    place = (primary.launch.address, primary.launch.port)
    replica.call(lambda admin: replica.adapter.follow(admin, *place))
    wait_until(replica.observe, lambda seen: seen.is_in_sync)
    replica.admit()
    return replica


def is_connected(client: Client) -> bool:
    try:
        return isinstance(client("PING"), bytes)
    except OSError:
        return False


def write(client: Client, command: Sequence[str | int]) -> None:
    reply = client(*command)
    assert isinstance(reply, hiredis.ReplyError)
    assert str(reply).startswith(READONLY)


def test_writers_are_closed_and_readers_stay(replica: Engine) -> None:
    writers = [replica.client() for _ in WRITES]
    reader, silent, unknown = replica.client(), replica.client(), replica.client()

    async def scenario(admin: AdminConnection) -> None:
        adapter = replica.adapter
        write(writers[0], WRITES[0])
        # The first look only learns how many there have been.
        assert await adapter.close_writers(admin) == 0
        assert is_connected(writers[0])
        assert await adapter.close_writers(admin) == 0
        reader("GET", "k")
        unknown("NO-SUCH-COMMAND")
        for client, command in zip(writers, WRITES, strict=True):
            write(client, command)
        assert await adapter.close_writers(admin) == len(WRITES)
        assert not any(is_connected(client) for client in writers)
        assert all(is_connected(client) for client in (reader, silent, unknown))
        assert await adapter.close_writers(admin) == 0
        # The administrator's own connection stays, whatever it does.
        reply = await admin.pipeline([("SET", "k", "v")])
        assert isinstance(reply[0], EngineRefused)
        assert await adapter.close_writers(admin) == 0
        assert not admin.is_closed

    replica.call(scenario)


def test_a_primary_has_no_such_clients(lab: Lab) -> None:
    primary = lab.started()
    primary.admit()
    client = primary.client()

    async def scenario(admin: AdminConnection) -> None:
        for _ in range(2):
            assert client("SET", "k", "v") == b"OK"
            assert await primary.adapter.close_writers(admin) == 0
        assert is_connected(client)

    primary.call(scenario)


def test_looking_has_bounds(replica: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    writers = [replica.client() for _ in range(3)]

    async def scenario(admin: AdminConnection) -> None:
        close_writers = replica.adapter.close_writers
        assert await close_writers(admin) == 0
        monkeypatch.setattr(replica_writes, "CLIENTS_MAX", 2)
        write(writers[0], ("SET", "k", "v"))
        assert await close_writers(admin) == 0
        monkeypatch.undo()
        monkeypatch.setattr(replica_writes, "_CLOSED_MAX", 2)
        write(writers[1], ("SET", "k", "v"))
        write(writers[2], ("SET", "k", "v"))
        assert await close_writers(admin) == 2
        assert [is_connected(writer) for writer in writers].count(True) == 1

    replica.call(scenario)
