"""How do many commands at once reach whoever owns their slots? A cluster client over plain sockets.

For load, where a stock client would be what is measured: commands are packed beforehand and sent as
pipelines, one to each owner. A command that is redirected was not carried out and is sent again to
where it was sent to; so is one that was on its way to a node that has ended, if its slot belongs to
another one by now. Everything else that goes wrong is the caller's to see.
"""

from __future__ import annotations

import contextlib
import itertools
import random
import select
import socket
import time
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import hiredis

from cachewright.model.slots import SLOT_COUNT

#: Between two tries, from the third on: a slot that moves is somewhere after the second.
_AGAIN_S = 0.01
_AT_ONCE = 3
_READ_BYTES = 262_144
#: Answers to "not here" and "not now"; all others are final.
_MOVED, _ASK = "MOVED", "ASK"
_SOON = ("TRYAGAIN", "CLUSTERDOWN", "LOADING")
_ASKING = b"*1\r\n$6\r\nASKING\r\n"


class Unreachable(Exception):
    """A command could not be brought to who owns its slot, or nobody knows what became of it."""


class Command(NamedTuple):
    """One command, as engines read it."""

    #: Of its keys.
    slot: int
    packed: bytes


class Place(NamedTuple):
    """Where a node listens."""

    host: str
    port: int


def packed(words: Sequence[str | int]) -> bytes:
    """Return a command as engines read it: an array of strings, each with its length."""
    texts = [str(word).encode() for word in words]
    return b"*%d\r\n" % len(texts) + b"".join(b"$%d\r\n%b\r\n" % (len(w), w) for w in texts)


def ask(place: Place, commands: Sequence[bytes], *, timeout_s: float) -> list[object]:
    """Ask one node over a connection of its own; `OSError` where not every answer comes."""
    line = _Line(place, timeout_s)
    with contextlib.closing(line.socket):
        line.socket.sendall(b"".join(commands))
        return [line.next_answer() for _ in commands]


class Router:
    """Sends commands to the primaries of a cluster, one pipeline at a time."""

    def __init__(self, host: str, port: int, *, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._seed = Place(host, port)
        self._lines: dict[Place, _Line] = {}
        self._owners: list[Place] = []
        #: Commands that were sent to where their slot was no more.
        self.redirected = 0
        if not self._look():
            raise Unreachable("nobody says who owns which slot")

    def owner_of(self, slot: int) -> Place:
        """Return who owns a slot, as far as this client knows."""
        return self._owners[slot]

    def request(self, commands: Sequence[Command]) -> list[object]:
        """Send commands and return their answers in order; errors of engines are values.

        Raises:
            Unreachable: some were not brought to anybody in time, or nobody knows what became of
                them; others may have been carried out.
        """
        answers: list[object] = [None] * len(commands)
        waiting: Sequence[int] = range(len(commands))
        deadline = time.monotonic() + self._timeout_s
        for tries in itertools.count(1):
            waiting = self._try(commands, waiting, answers, deadline)
            if not waiting:
                break
            if time.monotonic() > deadline:
                raise Unreachable(f"after {tries} tries, last answer {answers[waiting[0]]!r}")
            if tries >= _AT_ONCE:
                time.sleep(_AGAIN_S)
        return answers

    def close(self) -> None:
        """Hang up."""
        for place in list(self._lines):
            self._hang_up(place)

    def _try(
        self,
        commands: Sequence[Command],
        waiting: Iterable[int],
        answers: list[object],
        deadline: float,
    ) -> list[int]:
        """Send what waits; return what has to be sent again."""
        by_owner: dict[Place, list[int]] = {}
        for index in waiting:
            by_owner.setdefault(self._owners[commands[index].slot], []).append(index)
        unsent: list[int] = []
        sent: list[tuple[Place, list[int]]] = []
        for owner, indexes in by_owner.items():
            content = b"".join(commands[index].packed for index in indexes)
            if self._send(owner, content):
                sent.append((owner, indexes))
            else:
                unsent += indexes
        again: list[int] = []
        unknown: list[int] = []
        for owner, indexes in sent:
            found = self._receive(owner, len(indexes))
            unknown += indexes[len(found) :]
            for index, answer in zip(indexes, found, strict=False):
                answers[index] = answer
                if isinstance(answer, hiredis.ReplyError) and _is_not_here(answer):
                    again.append(index)
        # Asking comes when nobody owes an answer any more.
        again = [index for index in again if not self._follow(commands[index], index, answers)]
        if unsent or unknown:
            self._find_again(commands, unknown, deadline)
        return sorted([*again, *unsent, *unknown])

    def _follow(self, command: Command, index: int, answers: list[object]) -> bool:
        """Go where an answer leads; tell whether the command was carried out by that."""
        kind, _, rest = str(answers[index]).partition(" ")
        if kind in _SOON:
            return False
        self.redirected += 1
        host, _, port = rest.split(" ")[-1].rpartition(":")
        # Who does not know its own address leaves it out.
        place = Place(host.strip("[]") or self._owners[command.slot].host, int(port))
        if kind == _MOVED:
            self._owners[command.slot] = place
            return False
        if not self._send(place, _ASKING + command.packed):
            return False
        _, *said = self._receive(place, len((_ASKING, command.packed))) or (None,)
        if not said:
            raise Unreachable(f"{place.host} hung up when it was asked")
        answers[index] = said[0]
        return not (isinstance(said[0], hiredis.ReplyError) and _is_not_here(said[0]))

    def _find_again(
        self, commands: Sequence[Command], unknown: Iterable[int], deadline: float
    ) -> None:
        """Learn who owns what; what was sent to somebody that ended must be another's now."""
        before = {index: self._owners[commands[index].slot] for index in unknown}
        while not self._look():
            if time.monotonic() > deadline:
                raise Unreachable("nobody says who owns which slot")
            time.sleep(_AGAIN_S)
        stuck = [i for i, owner in before.items() if self._owners[commands[i].slot] == owner]
        if stuck:
            raise Unreachable(
                f"{before[stuck[0]].host} hung up on {len(stuck)} commands that nobody else has"
            )

    def _look(self) -> bool:
        """Ask anybody who owns what; tell whether somebody said it."""
        known = list(dict.fromkeys(self._owners))
        random.shuffle(known)
        for place in [*known, self._seed]:
            if not self._send(place, packed(("CLUSTER", "SLOTS"))):
                continue
            found = self._receive(place, 1)
            if found and isinstance(found[0], list) and self._learn(found[0], place):
                for gone in set(self._lines) - set(self._owners) - {self._seed}:
                    self._hang_up(gone)
                return True
        return False

    def _learn(self, shown: list[list[object]], teller: Place) -> bool:
        owners: list[Place | None] = [None] * SLOT_COUNT
        for row in shown:
            first, last, primary = row[0], row[1], row[2]
            assert isinstance(first, int)
            assert isinstance(last, int)
            assert isinstance(primary, list)
            place = Place((primary[0] or b"").decode() or teller.host, int(primary[1]))
            owners[first : last + 1] = [place] * (last + 1 - first)
        whole = [owner for owner in owners if owner is not None]
        if len(whole) == SLOT_COUNT:
            self._owners = whole
        return len(whole) == SLOT_COUNT

    def _send(self, place: Place, content: bytes) -> bool:
        """Send something; false where nothing can be sent."""
        try:
            if place in self._lines and self._lines[place].is_over():
                self._hang_up(place)
            if place not in self._lines:
                self._lines[place] = _Line(place, self._timeout_s)
            self._lines[place].socket.sendall(content)
        except OSError:
            self._hang_up(place)
            return False
        return True

    def _receive(self, place: Place, count: int) -> list[object]:
        """Return answers, fewer where the node hung up or is silent."""
        found: list[object] = []
        line = self._lines[place]
        try:
            while len(found) < count:
                found.append(line.next_answer())
        except OSError:
            self._hang_up(place)
        return found

    def _hang_up(self, place: Place) -> None:
        line = self._lines.pop(place, None)
        if line is not None:
            with contextlib.suppress(OSError):
                line.socket.close()


def _is_not_here(error: hiredis.ReplyError) -> bool:
    return str(error).startswith((_MOVED, _ASK, *_SOON))


class _Line:
    """A connection."""

    def __init__(self, place: Place, timeout_s: float) -> None:
        self.socket = socket.create_connection(place, timeout_s)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.reader = hiredis.Reader()

    def next_answer(self) -> object:
        """Wait for an answer; `OSError` where none comes."""
        while (answer := self.reader.gets()) is False:
            content = self.socket.recv(_READ_BYTES)
            if not content:
                raise ConnectionResetError
            self.reader.feed(content)
        return answer

    def is_over(self) -> bool:
        """Tell whether the other end has hung up; nothing else can come while nothing is asked."""
        return bool(select.select([self.socket], [], [], 0)[0])
