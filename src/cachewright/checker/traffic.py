"""Who writes and reads meanwhile? For each lane a writer and a reader, as `loops` has them.

Open loop: a request is due at its moment, whatever became of those before it; one that is late is
sent at once, and its delay counts. A number is sent once by us (its client may ask again), so what
was acknowledged has to be there, and what failed may be.

Whoever leaves the block of `running`, in whatever way, leaves no thread behind, and no key where it
could be removed.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

from cachewright.checker.clients import Client, Clients
from cachewright.checker.history import History, Lane, LaneHistory
from cachewright.checker.loops import Loop, PauseWatch, Reader, Writer

T = TypeVar("T")

#: Keys that are read back or removed at once.
_KEYS_AT_ONCE = 256
#: Answers after a moment that show that a lane is served.
_ENOUGH = 10
#: An answer that was on its way when its sender was killed arrives by then.
_ON_ITS_WAY_S = 0.02
_LOOK_AGAIN_S = 0.005
#: A request takes as long as its client tries: some connections of a second each.
_END_TIMEOUT_S = 60.0
#: In the end a shard may still be on its way back.
READ_BACK_TIMEOUT_S = 10.0
#: Who is interrupted does not want to wait.
_TIDY_TIMEOUT_S = 3.0
_TRY_AGAIN_S = 0.1
#: The default of 5 ms would let threads wait for each other as long as a good failover takes.
_SWITCH_S = 0.0005


class CheckFailed(Exception):
    """The check itself could not do its work; the text says why."""


class Traffic:
    """The writers and readers of all lanes, while they work."""

    def __init__(self, clients: Clients, lanes: Sequence[Lane]) -> None:
        self._clients = clients
        self._writers = {lane.name: Writer(clients, lane) for lane in lanes}
        self._readers = {name: Reader(clients, writer) for name, writer in self._writers.items()}
        self._watch = PauseWatch()
        self._has_keys = True
        self._left_keys: tuple[str, ...] = ()

    def start(self) -> None:
        """Begin."""
        for loop in self._loops():
            loop.start()

    def wait_until_served(
        self, timeout_s: float, *, since_s: float | None = None, names: Iterable[str] | None = None
    ) -> bool:
        """Tell whether lanes take writes and answer reads after a moment, within `timeout_s`.

        Args:
            timeout_s: How long to wait for that.
            since_s: The moment, now by default.
            names: Which lanes, all by default.
        """
        begin_s = _ON_ITS_WAY_S + (time.monotonic() if since_s is None else since_s)
        wanted = self._writers if names is None else tuple(names)
        loops = [loop for name in wanted for loop in (self._writers[name], self._readers[name])]
        deadline = time.monotonic() + timeout_s
        while not all(loop.answered_after(begin_s) >= _ENOUGH for loop in loops):
            self._raise_failure()
            if time.monotonic() > deadline:
                return False
            time.sleep(_LOOK_AGAIN_S)
        return True

    def wait_until_spread(self, timeout_s: float) -> bool:
        """Tell whether every key of every lane holds a number, within `timeout_s`."""
        deadline = time.monotonic() + timeout_s
        while any(len(writer.newest) < len(writer.lane.keys) for writer in self._writers.values()):
            self._raise_failure()
            if time.monotonic() > deadline:
                return False
            time.sleep(_LOOK_AGAIN_S)
        return True

    def so_far(self) -> History:
        """Return what was seen until now; nobody has looked what the keys hold."""
        return self._history({}, time.monotonic())

    def finish(self, *, timeout_s: float = READ_BACK_TIMEOUT_S) -> History:
        """Stop, read everything back, remove the keys, and return what was seen.

        Args:
            timeout_s: How long to try to reach shards that are not there at first.
        """
        until_s = time.monotonic()
        self.stop()
        deadline = time.monotonic() + timeout_s
        held: dict[str, tuple[int, ...] | None] = {}
        for writer in self._writers.values():
            # A client of its own for each lane: shards are lost one by one.
            with contextlib.closing(_Patient(self._clients, deadline)) as client:
                for keys in _parts(writer.lane.keys):
                    found = client.ask(_numbers_of(keys))
                    held |= dict.fromkeys(keys) if found is None else found
        self.remove_keys(timeout_s=_TIDY_TIMEOUT_S)
        return self._history(held, until_s)

    def stop(self) -> None:
        """End all threads, wait for them, and raise `CheckFailed` if one of them failed."""
        started = [loop for loop in self._loops() if loop.ident is not None]
        for loop in started:
            loop.halt.set()
        for loop in started:
            loop.join(_END_TIMEOUT_S)
            if loop.is_alive():
                raise CheckFailed(f"the {loop.name} does not end")
        self._raise_failure()

    def remove_keys(self, *, timeout_s: float) -> None:
        """Remove all keys once, as far as that is possible in time."""
        deadline = time.monotonic() + timeout_s
        left_keys: list[str] = []
        for writer in self._writers.values() if self._has_keys else ():
            with contextlib.closing(_Patient(self._clients, deadline)) as client:
                for keys in _parts(writer.lane.keys):
                    left_keys += keys if client.ask(_removal_of(keys)) is None else ()
        self._left_keys = tuple(left_keys)
        self._has_keys = False

    def _loops(self) -> tuple[Loop, ...]:
        return (*self._writers.values(), *self._readers.values(), self._watch)

    def _raise_failure(self) -> None:
        for loop in self._loops():
            if loop.failure is not None:
                raise CheckFailed(f"the {loop.name} failed: {loop.failure!r}") from loop.failure

    def _history(self, held: Mapping[str, tuple[int, ...] | None], until_s: float) -> History:
        return History(
            lanes=tuple(self._lane_history(name, held) for name in self._writers),
            until_s=until_s,
            own_pauses=self._watch.pauses(),
            left_keys=self._left_keys,
        )

    def _lane_history(self, name: str, held: Mapping[str, tuple[int, ...] | None]) -> LaneHistory:
        writer, reader = self._writers[name], self._readers[name]
        return LaneHistory(
            lane=writer.lane,
            writes=writer.requests(),
            acknowledged=writer.acknowledged(),
            sent=writer.sent,
            reads=reader.requests(),
            wrong_reads=reader.wrong_reads(),
            held={key: held.get(key) for key in writer.lane.keys},
        )


@contextlib.contextmanager
def running(clients: Clients, lanes: Sequence[Lane]) -> Iterator[Traffic]:
    """Let clients write and read in these lanes for the block, or until `Traffic.finish`."""
    traffic = Traffic(clients, lanes)
    before_s = sys.getswitchinterval()
    sys.setswitchinterval(_SWITCH_S)
    try:
        traffic.start()
        yield traffic
    finally:
        try:
            traffic.stop()
        finally:
            sys.setswitchinterval(before_s)
            traffic.remove_keys(timeout_s=_TIDY_TIMEOUT_S)


class _Patient:
    """A client that asks again, over new connections, and gives up for good when time is up."""

    def __init__(self, clients: Clients, deadline: float) -> None:
        self._clients = clients
        self._deadline = deadline
        self._failures = clients.failures()
        self._client: Client | None = None
        self._has_given_up = False

    def ask(self, question: Callable[[Client], T]) -> T | None:
        """Return the answer, `None` when there was none in time; each asks at least once."""
        while not self._has_given_up:
            try:
                self._client = self._client or self._clients.connect()
                return question(self._client)
            except self._failures:
                self.close()
            self._has_given_up = time.monotonic() + _TRY_AGAIN_S > self._deadline
            time.sleep(_TRY_AGAIN_S)
        return None

    def close(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None


def _parts(keys: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(keys), _KEYS_AT_ONCE):
        yield keys[start : start + _KEYS_AT_ONCE]


def _numbers_of(keys: Sequence[str]) -> Callable[[Client], dict[str, tuple[int, ...]]]:
    def ask(client: Client) -> dict[str, tuple[int, ...]]:
        found = client.lists(keys)
        return {key: tuple(map(int, texts)) for key, texts in zip(keys, found, strict=True)}

    return ask


def _removal_of(keys: Sequence[str]) -> Callable[[Client], bool]:
    def ask(client: Client) -> bool:
        client.unlink(keys)
        return True

    return ask
