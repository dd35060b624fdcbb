"""Does every engine still answer? A ping each half second, on a connection of its own.

There is one ping at a time: while one has no answer no other is sent, so that an engine that is
busy has no heap of them to work off. Time in which the agent itself did not run counts no more than
one interval, and makes the cause `STARVED`; answers that lie in a socket by then are read before,
for event loops look at their timers last. `BUSY` and refused connections are answers that go on
like silence, with causes of their own.

Pinged is who has answered after its start and was not told to end. Memcached and configuration
endpoints are not: nobody takes over from them, so no silence would ever be acted upon. Writes
`Node.silence` and tells whoever asked; decides nothing. It lives between `start` and `stop`.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import logging
from collections.abc import Callable, Mapping
from typing import Any

from cachewright.agent import diagnosis, process
from cachewright.agent.machine import State
from cachewright.agent.node import Node
from cachewright.engines.adapter import (
    Connection,
    EngineRefused,
    EngineSilent,
    EngineUnreachable,
    PingAnswer,
    Pinger,
)
from cachewright.model.facts import SilenceCause
from cachewright.rpc.agent import CommandFailed

_log = logging.getLogger(__name__)

#: Healthy engines answer in well under a millisecond; four intervals are the shortest patience.
BEAT_S = 0.5
#: A connection is waited for like an answer. After so long another one is begun, in case it was
#: the network's fault.
_CONNECT_TIMEOUT_S = 10.0
#: Intervals in vain that are worth a line in the log.
_TOLD_PROBES = 4


class _Last(enum.Enum):
    """What became of the last probe."""

    #: It has no answer yet.
    WAITING = "waiting"
    ANSWERED = "answered"
    BUSY = "busy"
    REFUSED = "refused"
    #: The connection was lost; whether the engine lets us in again is not known.
    LOST = "lost"


_AFTER = {
    PingAnswer.ALIVE: _Last.ANSWERED,
    PingAnswer.BUSY: _Last.BUSY,
    PingAnswer.REFUSED: _Last.REFUSED,
    PingAnswer.LOST: _Last.LOST,
}


class Pulse:
    """The pulse of one process."""

    def __init__(
        self, node: Node, running: process.Process, pinger: Pinger[Any], tell: Callable[[str], None]
    ) -> None:
        self.process = running
        self._node = node
        self._pinger = pinger
        self._tell = tell
        self._last = _Last.LOST
        self._connection: Connection | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._wait = diagnosis.NO_WAIT
        self._sample: diagnosis.Sample | None = None

    def beat(self, counted_s: float, elapsed_s: float, *, is_late: bool) -> None:
        """Count what was waited for in vain since the last beat, and ask again if it was answered.

        `counted_s` of the time that has passed is the engine's fault, `is_late` if we are as well.
        """
        cause = self._cause(elapsed_s, is_late=is_late)
        if cause is not None:
            self._wait = self._wait.after(counted_s, cause)
            self._node.silence = self._wait.silence()
            if self._wait.probes == _TOLD_PROBES:
                silence = self._node.silence
                _log.warning("event=silent key=%s cause=%s", self._node.key, silence.cause.value)
            self._tell(self._node.key)
        if self._last is not _Last.WAITING:
            self._ask()

    def end(self) -> None:
        """Close the connection, and forget what was waited for."""
        self._node.silence = None
        if self._connecting is not None:
            self._connecting.cancel()
        if self._connection is not None:
            self._connection.close()

    def _cause(self, elapsed_s: float, *, is_late: bool) -> SilenceCause | None:
        """Return why nothing useful was heard since the last beat, `None` if that is not so."""
        before, self._sample = self._sample, None
        match self._last:
            case _Last.BUSY:
                return SilenceCause.SCRIPT
            case _Last.REFUSED:
                return SilenceCause.REFUSING
            case _Last.WAITING:
                self._sample = diagnosis.take_sample(self.process.identity.pid)
                if is_late or self._sample is None:
                    return SilenceCause.STARVED
                return diagnosis.cause_of(before, self._sample, elapsed_s)
        return None

    def _ask(self) -> None:
        self._last = _Last.WAITING
        if self._connection is None or self._connection.is_closed:
            self._connecting = asyncio.create_task(self._connect())
        else:
            self._pinger.ping(self._connection, self._take)

    async def _connect(self) -> None:
        """Connect and ask; as long as nothing comes back the engine is silent."""
        try:
            while True:
                with contextlib.suppress(EngineSilent):
                    self._connection = await self._node.connect(timeout_s=_CONNECT_TIMEOUT_S)
                    self._pinger.ping(self._connection, self._take)
                    return
        except (EngineUnreachable, EngineRefused, CommandFailed) as error:
            _log.debug("event=not_let_in key=%s reason=%s", self._node.key, error)
            self._last = _Last.REFUSED
        except Exception:  # noqa: BLE001 a mistake of ours must not look like silence
            _log.exception("event=pulse_failed key=%s", self._node.key)
            self._last = _Last.REFUSED

    def _take(self, answer: PingAnswer) -> None:
        self._last = _AFTER[answer]
        if answer is PingAnswer.ALIVE and self._wait.probes:
            if self._wait.probes >= _TOLD_PROBES:
                _log.warning(
                    "event=answers_again key=%s after_s=%.1f", self._node.key, self._wait.seconds
                )
            self._wait = diagnosis.NO_WAIT
            self._node.silence = None
            self._tell(self._node.key)


class Pulses:
    """The pulses of a host's nodes."""

    def __init__(self, nodes: Mapping[str, Node], tell: Callable[[str], None]) -> None:
        self._nodes = nodes
        self._tell = tell
        self._pulses: dict[str, Pulse] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._last_s = 0.0

    def start(self) -> None:
        """Begin, in the event loop that runs."""
        loop = asyncio.get_running_loop()
        self._last_s = loop.time()
        self._timer = loop.call_later(0.0, self._beat)

    def stop(self) -> None:
        """Close every connection; nothing is left that would run later."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for pulse in self._pulses.values():
            pulse.end()
        self._pulses.clear()

    def _beat(self) -> None:
        loop = asyncio.get_running_loop()
        # First of all: whatever goes wrong below, the next one comes.
        self._timer = loop.call_later(BEAT_S, self._beat)
        elapsed_s = loop.time() - self._last_s
        self._last_s = loop.time()
        is_late = elapsed_s > 2 * BEAT_S
        for pulse in self._living():
            try:
                pulse.beat(min(elapsed_s, BEAT_S), elapsed_s, is_late=is_late)
            except Exception:  # noqa: BLE001 the pulses of the others go on
                _log.exception("event=pulse_failed pid=%d", pulse.process.identity.pid)

    def _living(self) -> list[Pulse]:
        """Return the pulse of everybody who has one now; the others end."""
        before, self._pulses = self._pulses, {}
        for key, node in self._nodes.items():
            running, pinger = node.process, _pinger_of(node)
            if running is None or pinger is None:
                continue
            pulse = before.get(key)
            if pulse is None or pulse.process is not running:
                pulse = Pulse(node, running, pinger, self._tell)
            else:
                del before[key]
            self._pulses[key] = pulse
        for gone in before.values():
            gone.end()
        return list(self._pulses.values())


def _pinger_of(node: Node) -> Pinger[Any] | None:
    """Return how a node is pinged; `None` while it starts or ends, or if it never is."""
    if node.record.state is not State.RUNNING or node.record.launch is None:
        return None
    return node.adapter.pinger
