"""Who accepts writes, and who says that it is what? Direct looks at every node of every shard.

One thread speaks to each engine over a connection of its own, some hundred times a second: it asks
for the role and for the last number that the shard's writer has put there, and it *tries to
write*. What an engine does is a fact; what it says of itself is only what it says. Nobody else's
word is taken: which process answered is asked of the engine and its end is told by the kernel.
"""

from __future__ import annotations

import os
import selectors
import socket
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import hiredis

#: How often each node is asked, seconds.
EVERY_S = 0.01
#: After a connection that failed, seconds.
_CONNECT_AGAIN_S = 0.03
_READ_BYTES = 1 << 16
_JOIN_TIMEOUT_S = 10.0
#: Answers to one look: the role, the last number, the try to write.
_ANSWERS = 3


@dataclass(frozen=True, slots=True)
class Target:
    """A node to be asked."""

    shard_id: str
    node_id: str
    place: tuple[str, int]
    #: A key of the shard for tries to write, and the one of the shard's writer.
    probe_key: str
    writer_key: str


@dataclass(frozen=True, slots=True)
class Look:
    """What one node did when it was asked."""

    node_id: str
    #: Of the engine that answered; 0 when nobody did.
    pid: int
    sent_s: float
    received_s: float
    #: It took the write; a connection that broke or was refused is no acceptance.
    is_accepted: bool
    #: "master", "slave", or how it refused to say.
    role: str
    #: The last number of the shard's writer that is in it, -1 where it has none or does not say.
    number: int = -1
    #: What it answered to the write, or how the connection failed.
    said: str = ""


@dataclass(slots=True)
class _Line:
    """The connection to one target."""

    target: Target
    socket: socket.socket | None = None
    reader: Any = None
    pid: int = 0
    is_connecting: bool = False
    #: When the request was sent that is not answered; 0 while there is none.
    sent_s: float = 0.0
    answers: list[Any] = field(default_factory=list)
    next_s: float = 0.0


class Prober(threading.Thread):
    """Asks every target until it is stopped; what it saw is in `looks`, ends in `ended_s`."""

    def __init__(self, *, is_cluster: bool) -> None:
        super().__init__(name="prober", daemon=True)
        self._is_cluster = is_cluster
        self._selector = selectors.DefaultSelector()
        #: By node and shard.
        self._lines: dict[tuple[str, str], _Line] = {}
        self._incoming: dict[tuple[str, str], Target] = {}
        #: How often each target is asked, seconds.
        self.every_s = EVERY_S
        self._halt = threading.Event()
        self._count = 0
        #: Per shard, in the order in which answers came.
        self.looks: dict[str, list[Look]] = {}
        #: When a process that has once answered ended, by pid.
        self.ended_s: dict[int, float] = {}
        self._watched: dict[int, int] = {}
        #: The longest time in which this thread itself did not get round to looking, seconds.
        self.late_s = 0.0
        self.failure: BaseException | None = None

    def aim(self, targets: Iterable[Target]) -> None:
        """Begin to ask nodes; those that are asked already go on."""
        for target in targets:
            self._incoming.setdefault((target.node_id, target.shard_id), target)

    def stop(self) -> None:
        """End it, and fail if it failed."""
        self._halt.set()
        self.join(_JOIN_TIMEOUT_S)
        if self.failure is not None:
            raise self.failure

    def run(self) -> None:
        """Ask until the end."""
        try:
            self._loop()
        except BaseException as error:  # noqa: BLE001 `stop` raises it where it is seen
            self.failure = error
        finally:
            for line in self._lines.values():
                self._close(line)
            for descriptor in self._watched.values():
                os.close(descriptor)
            self._selector.close()

    def _loop(self) -> None:
        before_s = time.monotonic()
        while not self._halt.is_set():
            for key, _ in self._selector.select(EVERY_S / 2):
                if isinstance(key.data, _Line):
                    self._hear(key.data)
                else:
                    self._note_end(key.data)
            for name, target in list(self._incoming.items()):
                self._lines.setdefault(name, _Line(target))
            now_s = time.monotonic()
            self.late_s = max(self.late_s, now_s - before_s)
            before_s = now_s
            for line in self._lines.values():
                if now_s >= line.next_s and not line.sent_s:
                    self._ask(line, now_s)

    def _ask(self, line: _Line, now_s: float) -> None:
        line.next_s = now_s + self.every_s
        line.sent_s = now_s
        if line.socket is None:
            self._connect(line)
        elif not line.is_connecting:
            self._send(line)

    def _connect(self, line: _Line) -> None:
        line.socket = socket.socket()
        line.socket.setblocking(False)
        line.reader = hiredis.Reader(encoding="utf-8", errors="replace")
        line.is_connecting = True
        line.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        code = line.socket.connect_ex(line.target.place)
        self._selector.register(line.socket, selectors.EVENT_WRITE, line)
        if code not in {0, 115}:  # EINPROGRESS
            self._fail(line, os.strerror(code))

    def _send(self, line: _Line) -> None:
        self._count += 1
        target = line.target
        text = _packed("ROLE") + _packed("LINDEX", target.writer_key, "-1")
        text += _packed("SET", target.probe_key, f"{target.node_id}:{self._count}")
        assert line.socket is not None
        try:
            line.socket.sendall(text)
        except OSError as error:
            self._fail(line, repr(error))

    def _hear(self, line: _Line) -> None:
        assert line.socket is not None
        if line.is_connecting:
            self._begin(line)
            return
        try:
            content = line.socket.recv(_READ_BYTES)
        except BlockingIOError:
            return
        except OSError as error:
            self._fail(line, repr(error))
            return
        if not content:
            self._fail(line, "closed")
            return
        line.reader.feed(content)
        while line.socket is not None and (answer := line.reader.gets()) is not False:
            if line.pid == 0:
                self._learn_pid(line, answer)
            else:
                line.answers.append(answer)
        if len(line.answers) >= _ANSWERS:
            self._note(line)

    def _begin(self, line: _Line) -> None:
        assert line.socket is not None
        code = line.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            self._fail(line, os.strerror(code))
            return
        line.is_connecting = False
        self._selector.modify(line.socket, selectors.EVENT_READ, line)
        text = _packed("READONLY") if self._is_cluster else b""
        try:
            line.socket.sendall(text + _packed("INFO", "server"))
        except OSError as error:
            self._fail(line, repr(error))

    def _learn_pid(self, line: _Line, answer: Any) -> None:
        if isinstance(answer, hiredis.ReplyError):
            # Held: nobody is let in yet.
            self._fail(line, str(answer))
            return
        for row in str(answer).splitlines():
            if row.startswith("process_id:"):
                line.pid = int(row.partition(":")[2])
                self._watch(line.pid)
                self._send(line)

    def _watch(self, pid: int) -> None:
        if pid in self._watched or pid in self.ended_s:
            return
        try:
            descriptor = os.pidfd_open(pid)
        except ProcessLookupError:
            self.ended_s[pid] = time.monotonic()
            return
        self._watched[pid] = descriptor
        self._selector.register(descriptor, selectors.EVENT_READ, pid)

    def _note_end(self, pid: int) -> None:
        self.ended_s[pid] = time.monotonic()
        descriptor = self._watched.pop(pid)
        self._selector.unregister(descriptor)
        os.close(descriptor)

    def _note(self, line: _Line) -> None:
        role, number, written = line.answers[:_ANSWERS]
        line.answers.clear()
        refused = isinstance(written, hiredis.ReplyError)
        said = role if isinstance(role, hiredis.ReplyError) else role[0]
        self._keep(
            line,
            is_accepted=not refused,
            role=str(said),
            number=int(number) if isinstance(number, str) else -1,
            said=str(written),
        )

    def _fail(self, line: _Line, said: str) -> None:
        self._keep(line, is_accepted=False, role="", number=-1, said=said)
        line.next_s = time.monotonic() + _CONNECT_AGAIN_S
        self._close(line)

    def _keep(self, line: _Line, *, is_accepted: bool, role: str, number: int, said: str) -> None:
        now_s = time.monotonic()
        look = Look(
            node_id=line.target.node_id,
            pid=line.pid,
            sent_s=line.sent_s or now_s,
            received_s=now_s,
            is_accepted=is_accepted,
            role=role,
            number=number,
            said=said,
        )
        self.looks.setdefault(line.target.shard_id, []).append(look)
        line.sent_s = 0.0

    def _close(self, line: _Line) -> None:
        if line.socket is not None:
            self._selector.unregister(line.socket)
            line.socket.close()
        line.socket, line.pid, line.is_connecting, line.sent_s = None, 0, False, 0.0
        line.answers.clear()


def _packed(*words: str) -> bytes:
    parts = [f"${len(word)}\r\n{word}\r\n" for word in words]
    return f"*{len(words)}\r\n{''.join(parts)}".encode()
