"""What traffic does about clients that fail in ways to which a test cannot bring an engine."""

from __future__ import annotations

import sys
import threading
from collections import defaultdict
from collections.abc import Sequence

import pytest
from valkey.exceptions import ConnectionError as Broken
from valkey.exceptions import ValkeyClusterException

from cachewright.checker import judge, loops, traffic
from cachewright.checker.clients import Client, Target
from cachewright.checker.history import Lane

LANE = Lane(name="all", keys=("a", "b"), pace_s=0.001)
_TIMEOUT_S = 20.0


class Memory:
    """Lists in memory; every client of it may be told to fail from now on."""

    def __init__(self, failure: Exception | None) -> None:
        self._failure = failure
        self._lock = threading.Lock()
        self._lists: dict[str, list[int]] = defaultdict(list)
        self._broken: set[int] = set()
        self.made = 0
        self.closed = 0

    def connect(self) -> Client:
        """Return a new client, which is whole."""
        with self._lock:
            self.made += 1
            return _Client(self, self.made)

    def failures(self) -> tuple[type[Exception], ...]:
        """Return what real clients raise."""
        return Target(host="", port=0, is_cluster=True).failures()

    def is_worn_out(self, error: Exception) -> bool:
        """Tell what is told of real clients."""
        return Target(host="", port=0, is_cluster=True).is_worn_out(error)

    def break_all(self) -> None:
        """Let all clients that there are fail for good."""
        with self._lock:
            self._broken |= set(range(1, self.made + 1))

    def list_of(self, number: int, key: str) -> list[int]:
        """Return a list for one client, or raise what it fails with."""
        with self._lock:
            if self._failure is not None and number in self._broken:
                raise self._failure
            return self._lists[key]


class _Client:
    def __init__(self, memory: Memory, number: int) -> None:
        self._memory, self._number = memory, number

    def rpush(self, key: str, number: int) -> object:
        self._memory.list_of(self._number, key).append(number)
        return None

    def lrange(self, key: str, first: int, last: int) -> list[bytes]:
        held = self._memory.list_of(self._number, key)[:]
        end = len(held) if last == -1 else last + 1
        return [b"%d" % number for number in held[first:end]]

    def lists(self, keys: Sequence[str]) -> list[list[bytes]]:
        return [self.lrange(key, 0, -1) for key in keys]

    def unlink(self, keys: Sequence[str]) -> object:
        for key in keys:
            self._memory.list_of(self._number, key).clear()
        return 1

    def close(self) -> None:
        self._memory.closed += 1


def test_a_client_that_has_crossed_out_every_node_is_made_anew() -> None:
    memory = Memory(ValkeyClusterException("no node is left"))
    with traffic.running(memory, (LANE,)) as running:
        assert running.wait_until_served(_TIMEOUT_S)
        memory.break_all()
        assert running.wait_until_served(_TIMEOUT_S)
        found = judge.judge(running.finish(), 0.0)
    assert found.keeps_everything
    # One for the writer, one for the reader.
    assert (found.of("all").writes.failed, found.of("all").reads.failed) == (1, 1)
    # Twice for both of them, one to read back, one to remove the keys; all were closed.
    assert memory.made == memory.closed == 6


def test_any_other_client_is_kept_as_people_keep_theirs() -> None:
    memory = Memory(Broken("for a moment"))
    with traffic.running(memory, (LANE,)) as running:
        assert running.wait_until_served(_TIMEOUT_S)
        memory.break_all()
        assert not running.wait_until_served(0.1)
        assert memory.made == 2
        found = judge.judge(running.finish(), 0.0)
    assert found.of("all").writes.failed > 1
    assert found.keeps_everything


def test_threads_take_turns_as_before_once_it_is_over() -> None:
    before_s = sys.getswitchinterval()
    with traffic.running(Memory(None), (LANE,)):
        assert sys.getswitchinterval() < before_s
    assert sys.getswitchinterval() == before_s


def test_keys_are_tried_to_be_removed_once() -> None:
    memory = Memory(None)
    with traffic.running(memory, (LANE,)) as running:
        assert running.wait_until_served(_TIMEOUT_S)
        running.finish()
        made = memory.made
    assert memory.made == made


def test_every_key_holds_a_number_long_before_its_turn_at_the_pace_would_come() -> None:
    memory = Memory(None)
    lane = Lane(name="all", keys=tuple("abcdefgh"), pace_s=_TIMEOUT_S, at_once=8)
    with traffic.running(memory, (lane,)) as running:
        assert running.wait_until_spread(_TIMEOUT_S)
        found = running.finish().lanes[0]
    assert found.held == {lane.key_of(number): (number,) for number in range(1, 9)}
    # Only the first of them were not paced.
    assert list(found.acknowledged) == list(range(1, 9))


def test_who_waits_for_keys_that_are_not_written_in_time_is_told() -> None:
    lane = Lane(name="all", keys=("a", "b"), pace_s=_TIMEOUT_S, at_once=1)
    with traffic.running(Memory(None), (lane,)) as running:
        assert not running.wait_until_spread(0.05)


class _Deaf(_Client):
    def rpush(self, key: str, number: int) -> object:
        super().rpush(key, number)
        raise Broken


def test_a_number_counts_as_sent_before_anybody_answers() -> None:
    """It may be there all the same, and is none that nobody sent."""
    memory = Memory(None)
    writer = loops.Writer(memory, LANE)
    with pytest.raises(Broken):
        writer.ask(_Deaf(memory, 1), 3)
    assert (writer.sent, list(writer.acknowledged())) == (3, [])


class _Hung(_Client):
    """Does not come back before `let_go`."""

    let_go = threading.Event()

    def rpush(self, key: str, number: int) -> object:
        self.let_go.wait(_TIMEOUT_S)
        return super().rpush(key, number)


class _Hanging(Memory):
    def connect(self) -> Client:
        return _Hung(self, 1)


def test_a_thread_that_does_not_end_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traffic, "_END_TIMEOUT_S", 0.1)
    running = traffic.Traffic(_Hanging(None), (LANE,))
    running.start()
    try:
        with pytest.raises(traffic.CheckFailed, match="the writer of all does not end"):
            running.stop()
    finally:
        _Hung.let_go.set()
    monkeypatch.undo()
    running.stop()
