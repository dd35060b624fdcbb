"""What if nodes were on different machines? A network of our own in which every packet is late.

The main thread, and whatever it starts from then on, gets a network namespace whose loopback holds
each packet back, so that a question and its answer are late by twice as much. Needs root and a
kernel that hands packets to processes (NFQUEUE, by a rule of nftables).

A process of ours holds them back, and not the kernel's `netem`: many kernels have none, and figures
of two machines are comparable only if both were made the same way. It costs more time of the
processor, which `Delays.note` tells, and both sides of a comparison bear it.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import signal
import socket
import statistics
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bench import processes
from bench.processes import BenchFailed

#: Each way, microseconds: two machines of one data centre.
DELAY_US = 150
_ROOT = Path(__file__).resolve().parent.parent
_CLONE_NEWNET = 0x40000000
_SET_FLAGS, _UP = 0x8914, 0x1
_START_TIMEOUT_S = 30.0
_ROUND_TRIPS = 300
#: A network that loses packets ends the benchmark instead of being waited for.
_ANSWER_TIMEOUT_S = 10.0
_LIBC = ctypes.CDLL(None, use_errno=True)


class NoDelays(Exception):
    """There can be no such network here; `str()` says why."""


@dataclass(frozen=True, kw_only=True)
class Delays:
    """A network in which packets are late; made by `delayed_network`."""

    #: Holds them back, since then on the monotonic clock.
    process: subprocess.Popen[bytes]
    since_s: float
    #: Of one byte and its answer, and what that takes where nothing is held back.
    round_trip_us: float
    undelayed_us: float

    def note(self) -> str:
        """Return what a reader of a figure must know.

        Raises:
            BenchFailed: packets are not held back any more.
        """
        self.check()
        busy = processes.cpu_s(self.process.pid) / (time.monotonic() - self.since_s)
        return (
            f"A byte and its answer take {self.round_trip_us:.0f} µs (else "
            f"{self.undelayed_us:.0f} µs); the process that holds packets back (NFQUEUE) takes "
            f"{100 * busy:.0f} % of a core on average."
        )

    def check(self) -> None:
        """Raise when packets are not held back any more."""
        if self.process.poll() is not None:
            raise BenchFailed(f"who holds packets back has ended: {self.process.returncode}")


@contextlib.contextmanager
def delayed_network(folder: Path) -> Iterator[Delays]:
    """Live in a network of our own for the block; call it from the main thread alone.

    Nothing of it is left afterwards, nor when we are killed: the namespace ends with the last
    process in it, and who holds packets back ends with us.

    Args:
        folder: For what the process that holds packets back has to say.

    Raises:
        NoDelays: it cannot be made here.
    """
    before = os.open(Path("/proc/thread-self/ns/net"), os.O_RDONLY | os.O_CLOEXEC)
    try:
        if _LIBC.unshare(_CLONE_NEWNET):
            raise NoDelays(f"a network of one's own: {os.strerror(ctypes.get_errno())}")
        try:
            _set_loopback_up()
            undelayed_us, since_s = round_trip_us(), time.monotonic()
            with _held_back(folder) as process:
                found = Delays(
                    process=process,
                    since_s=since_s,
                    round_trip_us=round_trip_us(),
                    undelayed_us=undelayed_us,
                )
                yield found
                found.check()
        finally:
            if _LIBC.setns(before, _CLONE_NEWNET):
                raise BenchFailed(f"setns: {os.strerror(ctypes.get_errno())}")
    finally:
        os.close(before)


def round_trip_us() -> float:
    """Return how long one byte and its answer take on loopback, microseconds: the median."""
    with contextlib.ExitStack() as held:
        listener = held.enter_context(socket.create_server(("127.0.0.1", 0)))
        asking = held.enter_context(
            socket.create_connection(listener.getsockname(), timeout=_ANSWER_TIMEOUT_S)
        )
        answering = held.enter_context(listener.accept()[0])
        answering.settimeout(_ANSWER_TIMEOUT_S)
        for one in (asking, answering):
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        took_s = []
        for _ in range(_ROUND_TRIPS):
            begin_s = time.perf_counter()
            asking.send(b"?")
            answering.send(answering.recv(1))
            asking.recv(1)
            took_s.append(time.perf_counter() - begin_s)
    return 1e6 * statistics.median(took_s)


@contextlib.contextmanager
def _held_back(folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    log = folder / "delayer"
    process = processes.spawn(
        [sys.executable, "-m", "bench.delayer", str(DELAY_US)],
        folder=_ROOT,
        output=log,
        has_pipe=True,
        death_signal=signal.SIGKILL,
    )
    try:
        try:
            processes.wait_for_line(process, b"ready: ", _START_TIMEOUT_S)
        except BenchFailed as error:
            said = log.read_text(encoding="utf-8").splitlines()
            raise NoDelays(said[-1] if said else str(error)) from error
        yield process
    finally:
        processes.stop(process)


def _set_loopback_up() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, _SET_FLAGS, struct.pack("16sH22x", b"lo", _UP))
