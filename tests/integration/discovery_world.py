"""What do tests of the configuration endpoint need? Launches, members, a plain connection."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

from cachewright.model.commands import Launch, Member, Part
from cachewright.model.engines import EngineName
from tests.fault.agent_world import PATIENCE_S, free_address

MEMCACHED_PORT = 11211
DISCOVERY_KEY = "abcd1234.discovery"


def endpoint_launch(*members: Member, version: int = 1) -> Launch:
    """Return what starts a configuration endpoint."""
    return Launch(
        key=DISCOVERY_KEY,
        engine=EngineName.MEMCACHED,
        engine_version="1.6.38",
        address=free_address(),
        port=MEMCACHED_PORT,
        maxmemory_bytes=0,
        maxclients=0,
        settings=(),
        admin_password="p" * 64,
        replication_password="r" * 64,
        part=Part.DISCOVERY,
        members=members,
        config_version=version,
    )


def member(address: str) -> Member:
    """Return a node that clients are told of by its address."""
    return Member(name=address, address=address, port=MEMCACHED_PORT)


@contextlib.contextmanager
def plain_connection(address: str) -> Iterator[socket.socket]:
    """Connect as the plainest of clients."""
    with socket.create_connection((address, MEMCACHED_PORT), timeout=PATIENCE_S) as connection:
        yield connection


def read_until(connection: socket.socket, end: bytes) -> bytes:
    """Return what the server says up to `end`; fail where it says something else and closes."""
    said = b""
    while not said.endswith(end):
        data = connection.recv(65_536)
        assert data, f"closed after {said!r}"
        said += data
    return said


def say(address: str, request: bytes, *, end: bytes = b"\r\n") -> bytes:
    """Ask on a connection of its own."""
    with plain_connection(address) as connection:
        connection.sendall(request)
        return read_until(connection, end)
