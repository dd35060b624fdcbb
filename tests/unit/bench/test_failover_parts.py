"""Do the parts that the figures of failover rest on count what they say they count?"""

from __future__ import annotations

import socket
import threading
from contextlib import closing

import hiredis
import pytest
from valkey.crc import key_slot

from bench import engines
from bench.alone import seeds
from bench.raw import Numbered, key_in, missing
from cachewright.model.slots import SlotRange, split_evenly


def test_what_was_taken_and_is_not_held_is_missing() -> None:
    assert missing([1, 2, 3], [b"1", b"3", b"9"]) == 1
    assert missing([], []) == 0
    assert missing([1, 2], hiredis.ReplyError("MOVED 1 127.0.0.1:6379")) == 2


def test_a_key_is_in_the_slots_that_were_asked_for() -> None:
    for (part,) in split_evenly(15):
        assert part.first <= key_slot(key_in((part,), "k").encode()) <= part.last
    assert key_in((SlotRange(0, 16_383),), "k") == "k-0"


def test_seeds_give_every_slot_to_one_primary_and_every_primary_a_replica() -> None:
    addresses = [f"127.40.0.{number}" for number in range(1, 7)]
    found = seeds(addresses, 3)
    assert set(found) == set(addresses)
    lines = found[addresses[4]]["nodes.conf"].decode().splitlines()
    assert [line.split()[-1] for line in lines[:3]] == ["0-5460", "5461-10921", "10922-16383"]
    assert lines[4].split()[2:4] == ["myself,slave", lines[1].split()[0]]
    assert lines[-1] == "vars currentEpoch 3 lastVoteEpoch 0"


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> socket.socket:
    """Return a socket on which a test plays the engine."""
    listener = socket.create_server(("127.0.0.1", 0))
    monkeypatch.setattr(engines, "PORT", listener.getsockname()[1])
    return listener


def test_only_numbers_that_the_engine_acknowledged_are_taken(engine: socket.socket) -> None:
    def answer() -> None:
        connection, _ = engine.accept()
        with connection:
            connection.recv(4096)
            connection.sendall(b":1\r\n-MOVED 1 127.0.0.1:1\r\n:2\r\n")

    with closing(engine):
        thread = threading.Thread(target=answer)
        thread.start()
        with closing(Numbered("127.0.0.1", "k")) as writer:
            writer.send(4)
            writer.receive(5.0)
            assert writer.taken == [1, 3]
        thread.join()
