"""Is the configuration endpoint an ordinary memcached to everybody but those who ask for nodes?

Against real nodes of every offered version: what passes through is what a node alone would say.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fault.agent_world import PATIENCE_S, free_address
from tests.integration.discovery_world import (
    MEMCACHED_PORT,
    Endpoint,
    World,
    plain_connection,
    read_until,
    say,
    wait_until,
)
from tests.unit.discovery.test_binary import request

_ASK = b"config get cluster\r\n"
_END = b"\n\r\nEND\r\n"
_VERSIONS = ("1.6.18", "1.6.38", "1.6.45")
_LATEST = _VERSIONS[1]


@pytest.fixture(params=_VERSIONS)
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    """Give a world of each version."""
    made = World(folder=tmp_path, version=request.param)
    yield made
    made.end()


@pytest.fixture
def one_world(tmp_path: Path) -> Iterator[World]:
    """Give a world of the version that matters little."""
    made = World(folder=tmp_path, version=_LATEST)
    yield made
    made.end()


def listed(*addresses: str, version: int = 1) -> bytes:
    """Return the answer for these nodes."""
    nodes = " ".join(f"{one}|{one}|{MEMCACHED_PORT}" for one in sorted(addresses))
    text = f"{version}\n{nodes}\n"
    return f"CONFIG cluster 0 {len(text)}\r\n{text}\r\nEND\r\n".encode()


def converse(address: str, stream: bytes, *, size: int = 65_536) -> bytes:
    """Send a stream in pieces of `size`, stop sending, and return everything until the close."""
    with plain_connection(address) as connection:
        sender = threading.Thread(target=_send, args=(connection, stream, size))
        sender.start()
        said = b""
        with contextlib.suppress(ConnectionResetError):  # by who closes without having read all
            while data := connection.recv(65_536):
                said += data
        sender.join(PATIENCE_S)
    return said


def _send(connection: socket.socket, stream: bytes, size: int) -> None:
    with contextlib.suppress(OSError):  # the other side may close first
        for at in range(0, len(stream), size):
            connection.sendall(stream[at : at + size])
        connection.shutdown(socket.SHUT_WR)


def test_answers_keep_the_order_of_what_was_asked(world: World) -> None:
    """Lists stand between the replies of a node, exactly where they were asked for."""
    node = world.node()
    endpoint = world.endpoint(node)
    there = listed(node)
    data = _ASK * 3
    stream = (
        _ASK
        + b"set a 0 0 %d\r\n" % len(data)
        + data
        + b"\r\n"
        + _ASK
        + _ASK
        + b"get a\nincr missing 1\r\nset b 0 0 2 noreply\r\nhi\r\n"
        + b"config get cluster\nmn\r\nconfig get other\r\nget b\r\nversion\r\n"
    )
    expected = (
        there
        + b"STORED\r\n"
        + there
        + there
        + b"VALUE a 0 60\r\n"
        + data
        + b"\r\nEND\r\nNOT_FOUND\r\n"
        + there
        + b"MN\r\nEND\r\n"
        + b"VALUE b 0 2\r\nhi\r\nEND\r\n"
        + f"VERSION {world.version}\r\n".encode()
    )
    for size in (1, 7, len(stream)):
        assert converse(endpoint.address, stream, size=size) == expected


def test_the_binary_protocol(world: World) -> None:
    node = world.node()
    endpoint = world.endpoint(node)
    ask = request(0x60, key=b"cluster")
    stored = request(0x01, key=b"a", extras=b"\0" * 8, value=ask + _ASK)
    stream = ask + stored + ask + request(0x0C, key=b"a") + request(0x64, key=b"cluster") + ask
    alone = converse(node, stored + request(0x0C, key=b"a"))
    set_reply, got = alone[:24], alone[24:]
    text = b"1\n%b|%b|11211\n" % (node.encode(), node.encode())
    there = struct.pack(">BBHBBHI4sQ", 0x81, 0x60, 0, 4, 0, 0, 4 + len(text), b"tag!", 0)
    there += b"\0\0\0\0" + text
    refused = struct.pack(">BBHBBHI4sQ", 0x81, 0x64, 0, 0, 0, 0x81, 15, b"tag!", 0)
    refused += b"Unknown command"
    for size in (1, 30, len(stream)):
        said = converse(endpoint.address, stream, size=size)
        # The cas of a set is a new one each time.
        assert said[: len(there)] == there
        assert said[len(there) : len(there) + 16] == set_reply[:16]
        rest = said[len(there) + 24 :]
        assert rest.startswith(there)
        assert len(rest) == 3 * len(there) + len(got) + len(refused) - len(there)
        assert rest.endswith(got[24:] + refused + there)


_LINES = st.sampled_from(
    [
        b"set a 0 0 5\r\nconfi\r\n",
        b"set b 0 0 20 noreply\r\nconfig get cluster\r\n\r\n",
        b"ms c 5\r\nhello\r\n",
        b"ms c 5 q\r\nhello\r\n",
        b"append a 0 0 2\r\n!!\r\n",
        b"set a 0 0 5\r\ntoo long for it\r\n",
        b"set a 0 0 50\r\nshort\r\n",
        b"set a x 0 7\r\nversion\r\n",
        b"set a 0 0 x\r\nversion\r\n",
        b"set " + b"k" * 251 + b" 0 0 7\r\nversion\r\n",
        b"  set a 0 0 7\r\nversion\r\n",
        b"set a 0 0 4294967303\r\nversion\r\n",
        b"ms a S7\r\nversion\r\n",
        b"ms a 7 " + b"k " * 30 + b"\r\nversion\r\n",
        b"cas a 0 0 7 x\r\nversion\r\n",
        b"set a 0 0 2000000\r\n" + b"x" * 2_000_000 + b"\r\n",
        b"get a b c\r\n",
        b"get " + b"a " * 20_000 + b"\r\n",
        b"mg a v\r\nmn\r\n",
        b"md a q\r\n",
        b"delete b\r\n",
        b"\r\n",
        b"nonsense\n",
        b"get a\0b\r\n",
        b"version\n",
        b"quit\r\n",
        b"flush_all\r\n",
    ]
)


def test_what_passes_through_is_what_a_node_alone_says(world: World) -> None:
    """Whatever is said, well-formed or not, in whatever pieces."""
    node, alone = world.node(), world.node()
    endpoint = world.endpoint(node)

    @settings(
        max_examples=25, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True
    )
    @given(st.lists(_LINES, max_size=8), st.sampled_from([3000, 100_000]))
    def compare(lines: list[bytes], size: int) -> None:
        for address in (node, alone):
            say(address, b"flush_all\r\n")
        stream = b"".join(lines) + b"mn\r\n"
        direct = converse(alone, stream, size=size)
        assert converse(endpoint.address, stream, size=size) == direct

    compare()


def test_the_list_is_found_after_everything_that_does_not_change_what_bytes_mean(
    world: World,
) -> None:
    """The list comes after the replies of a node even where these look like anything."""
    node, alone = world.node(), world.node()
    endpoint = world.endpoint(node)
    for lines in (
        b"stats\r\n",
        b"get a a a a\r\n",
        b"nonsense\r\n" * 50,
        b"set a 0 0 2000000\r\n" + b"x" * 2_000_000 + b"\r\n",
        b"mg a s v\r\nme a\r\n",
        b"set a 0 0 30 noreply\r\nNF kdiscovery-0123456789abcdef\r\n\r\nget a\r\n",
    ):
        direct, said = converse(alone, lines), converse(endpoint.address, lines + _ASK)
        assert said.endswith(listed(node))
        if not lines.startswith(b"stats"):  # which tells times
            assert said == direct + listed(node)


def test_a_long_line_is_refused_and_the_connection_ends(one_world: World) -> None:
    endpoint = one_world.endpoint(one_world.node())
    said = converse(endpoint.address, b"x" * 1_000_000)
    assert said in (b"CLIENT_ERROR line too long\r\n", b"")  # lost where a reset overtakes it
    assert say(endpoint.address, _ASK, end=_END)


def test_a_dump_of_keys_is_passed_on_to_its_end(world: World) -> None:
    """Memcached itself leaves alone what comes in one piece with this command."""
    node = world.node()
    endpoint = world.endpoint(node)
    say(node, b"set a 0 0 1\r\n1\r\n")
    with plain_connection(endpoint.address) as connection:
        connection.sendall(b"lru_crawler metadump all\r\n")
        assert b"key=a " in read_until(connection, b"END\r\n")
        connection.sendall(_ASK)
        assert read_until(connection, _END) == listed(node)


def test_a_watcher_sees_what_a_watcher_sees(one_world: World) -> None:
    node = one_world.node()
    endpoint = one_world.endpoint(node)
    with plain_connection(endpoint.address) as connection:
        connection.sendall(b"watch mutations\r\n")
        assert read_until(connection, b"\r\n") == b"OK\r\n"
        say(node, b"set a 0 0 1\r\n1\r\n")
        assert b"type=item_store key=a" in read_until(connection, b"\n")


def test_everybody_is_passed_on_to_the_same_node_and_past_a_dead_one(one_world: World) -> None:
    nodes = sorted((one_world.node(), one_world.node()))
    endpoint = one_world.endpoint(*reversed(nodes))
    for number in range(5):
        say(endpoint.address, b"set key-%d 0 0 1\r\n1\r\n" % number)
    assert b"key-4" in say(nodes[0], b"get key-4\r\n", end=b"END\r\n")
    assert say(nodes[1], b"get key-4\r\n", end=b"END\r\n") == b"END\r\n"

    first = next(one for one in one_world.ends if nodes[0] in one.args)  # type: ignore[operator]
    with plain_connection(endpoint.address) as connection:
        connection.sendall(b"get key-4\r\n")
        read_until(connection, b"END\r\n")
        first.kill()
        first.wait()
        assert connection.recv(100) == b""  # it may have owed something: the client asks again
    assert say(endpoint.address, b"set key-5 0 0 1\r\n1\r\n") == b"STORED\r\n"
    assert b"key-5" in say(nodes[1], b"get key-5\r\n", end=b"END\r\n")
    assert say(endpoint.address, _ASK, end=_END) == listed(*nodes)


def test_a_node_that_takes_no_connection_is_passed_over(one_world: World) -> None:
    """Its queue is full, as that of a host that is stuck: nobody says no, nobody says yes."""
    stuck, good = sorted((free_address(), free_address()))
    one_world.node(address=good)
    endpoint = one_world.endpoint(stuck, good)
    with contextlib.ExitStack() as held:
        listener = held.enter_context(socket.socket())
        listener.bind((stuck, MEMCACHED_PORT))
        listener.listen(0)
        for _ in range(4):
            waiting = held.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex((stuck, MEMCACHED_PORT))
        started = time.monotonic()
        assert say(endpoint.address, b"mn\r\n") == b"MN\r\n"
        assert time.monotonic() - started > 0.5, "the queue took it"


def test_a_client_that_was_owed_nothing_survives_its_node(one_world: World) -> None:
    """After a list everything is settled: the next command finds another node."""
    nodes = sorted((one_world.node(), one_world.node()))
    endpoint = one_world.endpoint(*nodes)
    with plain_connection(endpoint.address) as connection:
        connection.sendall(b"mn\r\n" + _ASK)
        read_until(connection, _END)
        first = next(one for one in one_world.ends if nodes[0] in one.args)  # type: ignore[operator]
        first.kill()
        first.wait()
        # When it answers this it has seen the end of the node as well: both lay ready for it.
        connection.sendall(_ASK)
        read_until(connection, _END)
        connection.sendall(b"mn\r\n")
        assert read_until(connection, b"\r\n") == b"MN\r\n"


def test_without_any_node_the_list_is_still_told(one_world: World) -> None:
    endpoint = one_world.endpoint()
    assert say(endpoint.address, _ASK, end=b"END\r\n") == b"CONFIG cluster 0 3\r\n1\n\n\r\nEND\r\n"
    no_node = b"SERVER_ERROR no node of this cluster can be reached\r\n"
    assert converse(endpoint.address, b"set a 0 0 20\r\n" + _ASK + b"\r\n" + _ASK) == no_node
    binary = converse(endpoint.address, request(0x0B))
    assert binary[:2] == b"\x81\x0b"
    assert binary[6:8] == b"\x00\x86"
    node = one_world.node()
    endpoint.tell(node, version=2)
    assert say(endpoint.address, b"mn\r\n" + _ASK, end=_END) == b"MN\r\n" + listed(node, version=2)


def test_a_file_that_makes_no_sense_changes_nothing(one_world: World) -> None:
    node = one_world.node()
    endpoint = one_world.endpoint(node)
    for content in (b"", b"{", b'{"listen": ["127.0.0.1", 1], "config_version": 0, "members": []}'):
        endpoint.file.write_bytes(content)
        endpoint.process.send_signal(1)
    log = endpoint.file.with_name("start.log")
    wait_until(lambda: log.read_text().count("the list stays as it was") > 0, wanted=True)
    assert say(endpoint.address, _ASK, end=_END) == listed(node)
    endpoint.tell(version=2)


def test_a_thousand_idle_connections_cost_little(one_world: World) -> None:
    """Clients that only ask for the list hold no connection to a node."""
    node = one_world.node()
    endpoint = one_world.endpoint(node)
    before_mb, before_files = endpoint.memory_mb(), endpoint.open_files()
    with contextlib.ExitStack() as held:
        connections = [held.enter_context(plain_connection(endpoint.address)) for _ in range(1000)]
        for connection in connections:
            connection.sendall(_ASK)
        for connection in connections:
            assert read_until(connection, _END) == listed(node)
        assert endpoint.open_files() <= before_files + 1000
        assert endpoint.memory_mb() - before_mb < 20  # 4 MB when it was written
        assert say(endpoint.address, b"mn\r\n") == b"MN\r\n"
    wait_until(lambda: endpoint.open_files() <= before_files, wanted=True)


def test_too_many_connections_are_refused_in_memcacheds_words(one_world: World) -> None:
    node = one_world.node()
    endpoint = one_world.endpoint(node, files=132)
    with contextlib.ExitStack() as held:
        for _ in range(50):
            connection = held.enter_context(plain_connection(endpoint.address))
            connection.sendall(b"mn\r\n")
            assert read_until(connection, b"\r\n") == b"MN\r\n"
        for _ in range(3):
            late = held.enter_context(plain_connection(endpoint.address))
            assert late.recv(100) == b"ERROR Too many open connections\r\n"
            assert late.recv(100) == b""
    wait_until(lambda: _asks(endpoint), wanted=True)


def _asks(endpoint: Endpoint) -> bool:
    with plain_connection(endpoint.address) as connection:
        connection.sendall(_ASK)
        return connection.recv(7) == b"CONFIG "


def fill(connection: socket.socket, data: bytes) -> None:
    """Send until nobody takes more; kernels take some ten megabytes for both sides."""
    connection.settimeout(0.5)
    with contextlib.suppress(TimeoutError):
        for _ in range(1000):
            connection.sendall(data)
        pytest.fail("somebody took it all")


def peak_memory_mb(endpoint: Endpoint) -> float:
    """Return the most memory that it has in the next two seconds: what would grow, grows."""
    deadline, peak = time.monotonic() + 2.0, 0.0
    while time.monotonic() < deadline:
        peak = max(peak, endpoint.memory_mb())
        time.sleep(0.02)
    return peak


@pytest.mark.parametrize("unit", [_ASK, b"get big\r\n"], ids=["lists", "values"])
def test_who_asks_and_never_reads_is_not_kept_in_memory(one_world: World, unit: bytes) -> None:
    """Gigabytes of answers are asked for; the endpoint stops reading, and serves others."""
    nodes = [one_world.node() for _ in range(3)]
    endpoint = one_world.endpoint(*nodes, *(f"127.3.0.{number}" for number in range(57)))
    say(endpoint.address, b"set big 0 0 1000000\r\n" + b"x" * 1_000_000 + b"\r\n")
    before_mb = endpoint.memory_mb()
    asked = unit * (65_536 // len(unit))
    with plain_connection(endpoint.address) as connection:
        fill(connection, asked)
        assert peak_memory_mb(endpoint) - before_mb < 20
        started = time.monotonic()
        assert say(endpoint.address, _ASK, end=_END)
        assert time.monotonic() - started < 5


def test_a_node_that_does_not_read_stops_its_client_alone(one_world: World) -> None:
    node = one_world.node()
    endpoint = one_world.endpoint(node)
    before_mb = endpoint.memory_mb()
    frozen = one_world.ends[0]
    with plain_connection(endpoint.address) as connection:
        connection.sendall(b"mn\r\n")
        read_until(connection, b"\r\n")
        frozen.send_signal(19)  # SIGSTOP
        try:
            connection.sendall(b"set a 0 0 100000000\r\n")
            fill(connection, b"x" * 65_536)
            assert peak_memory_mb(endpoint) - before_mb < 20
            assert say(endpoint.address, _ASK, end=_END) == listed(node)
        finally:
            frozen.send_signal(18)  # SIGCONT


def test_sigterm_ends_it_and_the_address_is_free_again(one_world: World) -> None:
    endpoint = one_world.endpoint()
    with plain_connection(endpoint.address) as connection:
        endpoint.process.terminate()
        assert endpoint.process.wait(PATIENCE_S) == 0
        assert connection.recv(10) == b""
    again = subprocess.Popen(endpoint.process.args)
    one_world.ends.append(again)
    wait_until(lambda: _is_there(endpoint.address), wanted=True)


def _is_there(address: str) -> bool:
    with contextlib.suppress(OSError):
        return say(address, _ASK, end=b"END\r\n").startswith(b"CONFIG")
    return False
