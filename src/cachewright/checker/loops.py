"""What does one writer do, and one reader? A request whenever one is due, until it is told to stop.

Each is a thread with a client of its own. What it notes is read by others while it goes on: lists
only grow, and an answer's moment is noted last.
"""

from __future__ import annotations

import abc
import itertools
import threading
import time
from array import array
from collections.abc import Sequence

from cachewright.checker import judge
from cachewright.checker.clients import Client, Clients
from cachewright.checker.history import Lane, Refusal, Requests, WrongRead

#: Due requests that are older than this are not made up for, seconds.
_BACKLOG_S_MAX = 1.0
#: A reader looks at the end of a list: more numbers than a frozen engine may have left to append.
_TAIL = 64
#: A pause of the checker itself that is as long as this is noted.
_PAUSE_S = 0.005
_ERROR_CHARS_MAX = 200


class Loop(threading.Thread, abc.ABC):
    """A thread that ends when `halt` is set; a failure of its own is kept in `failure`."""

    def __init__(self, name: str) -> None:
        super().__init__(name=name, daemon=True)
        self.halt = threading.Event()
        self.failure: BaseException | None = None

    def run(self) -> None:
        """Work until the end."""
        try:
            self.work()
        except BaseException as error:  # noqa: BLE001 who stops the thread raises it
            self.failure = error

    @abc.abstractmethod
    def work(self) -> None:
        """Do what this thread is for."""


class RequestLoop(Loop):
    """Sends requests of one kind."""

    def __init__(self, name: str, clients: Clients, lane: Lane, *, at_once: int = 0) -> None:
        super().__init__(name)
        self.lane = lane
        self._at_once = at_once
        self._clients = clients
        self._failures = clients.failures()
        self._due_s = array("d")
        self._answered_s = array("d")
        self._refused: list[Refusal] = []

    def requests(self) -> Requests:
        """Return what came of the requests so far."""
        answered_s = self._answered_s[:]
        return Requests(
            due_s=self._due_s[: len(answered_s)],
            answered_s=answered_s,
            refused=tuple(self._refused),
        )

    def answered_after(self, moment_s: float) -> int:
        """Return how many answers came after a moment."""
        count = 0
        for answered_s in reversed(self._answered_s[:]):
            if answered_s <= moment_s:
                break
            count += 1
        return count

    def work(self) -> None:
        """Send a request whenever one is due."""
        client: Client | None = None
        due_s = time.monotonic()
        try:
            for number in itertools.count(1):
                if self.halt.wait(max(0.0, due_s - time.monotonic())):
                    return
                try:
                    client = client or self._clients.connect()
                    self.ask(client, number)
                except self._failures as error:
                    text = f"{type(error).__name__}: {error}"[:_ERROR_CHARS_MAX]
                    self._refused.append(Refusal(time.monotonic(), text))
                    if client is not None and self._clients.is_worn_out(error):
                        client.close()
                        client = None
                else:
                    self._due_s.append(due_s)
                    self._answered_s.append(time.monotonic())
                due_s = self._next_due_s(number, due_s)
        finally:
            if client is not None:
                client.close()

    def _next_due_s(self, number: int, due_s: float) -> float:
        now_s = time.monotonic()
        if number < self._at_once:
            return now_s
        return max(due_s + self.lane.pace_s, now_s - _BACKLOG_S_MAX)

    @abc.abstractmethod
    def ask(self, client: Client, number: int) -> None:
        """Send one request and note its answer."""


class Writer(RequestLoop):
    """Appends the numbers 1, 2, 3, ... to the keys of a lane in turn."""

    def __init__(self, clients: Clients, lane: Lane) -> None:
        super().__init__(f"writer of {lane.name}", clients, lane, at_once=lane.at_once)
        self._acknowledged = array("q")
        #: The highest acknowledged number of each key.
        self.newest: dict[str, int] = {}
        self.sent = 0

    def ask(self, client: Client, number: int) -> None:
        """Append the number."""
        key = self.lane.key_of(number)
        self.sent = number
        client.rpush(key, number)
        self._acknowledged.append(number)
        self.newest[key] = number

    def acknowledged(self) -> Sequence[int]:
        """Return the acknowledged numbers so far."""
        return self._acknowledged[:]


class Reader(RequestLoop):
    """Asks whether the newest acknowledged number of each key is there."""

    def __init__(self, clients: Clients, writer: Writer) -> None:
        super().__init__(f"reader of {writer.lane.name}", clients, writer.lane)
        self._writer = writer
        self._wrong: list[WrongRead] = []

    def ask(self, client: Client, number: int) -> None:
        """Look at the end of a list."""
        key = self.lane.key_of(number)
        # Before the question: what is acknowledged while it is answered need not be in the answer.
        newest = self._writer.newest.get(key, 0)
        found = [int(text) for text in client.lrange(key, -_TAIL, -1)]
        if judge.lacks(newest, found):
            highest = max(found, default=0)
            self._wrong.append(
                WrongRead(at_s=time.monotonic(), key=key, acknowledged=newest, found=highest)
            )

    def wrong_reads(self) -> Sequence[WrongRead]:
        """Return the wrong answers so far."""
        return tuple(self._wrong)


class PauseWatch(Loop):
    """Notices when the checker itself does not get to run: a gap may be its own."""

    def __init__(self) -> None:
        super().__init__("watch of the checker")
        self._pauses: list[tuple[float, float]] = []

    def work(self) -> None:
        """Sleep shortly again and again, and note when that took long."""
        while True:
            begin_s = time.monotonic()
            if self.halt.wait(_PAUSE_S):
                return
            pause_s = time.monotonic() - begin_s - _PAUSE_S
            if pause_s >= _PAUSE_S:
                self._pauses.append((begin_s, pause_s))

    def pauses(self) -> Sequence[tuple[float, float]]:
        """Return the pauses so far: when, and how long."""
        return tuple(self._pauses)
