"""What if nodes were on different machines? A network of our own in which every packet is late.

The main thread, and whatever it starts from then on, gets a network namespace whose loopback holds
each packet back (tc's netem), so that a question and its answer are late by twice as much. Needs
root, `ip` and `tc`, and a kernel that has netem.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from bench import processes
from bench.processes import BenchFailed

#: Each way, microseconds: two machines of one data centre.
DELAY_US = 150
#: Packets that are held back at once; more would be dropped.
_PACKETS = 1_000_000
_CLONE_NEWNET = 0x40000000
_COMMAND_TIMEOUT_S = 10.0
_LIBC = ctypes.CDLL(None, use_errno=True)


class NoDelays(Exception):
    """There can be no such network here; `str()` says why."""


@contextlib.contextmanager
def delayed_network() -> Iterator[None]:
    """Live in a network of our own for the block; call it from the main thread alone.

    Raises:
        NoDelays: it cannot be made here.
    """
    if missing := [name for name in ("ip", "tc") if shutil.which(name) is None]:
        raise NoDelays(f"{' and '.join(missing)} not found")
    if os.geteuid() != 0:
        raise NoDelays("a network of one's own needs root")
    before = os.open(Path("/proc/thread-self/ns/net"), os.O_RDONLY | os.O_CLOEXEC)
    try:
        if _LIBC.unshare(_CLONE_NEWNET):
            raise NoDelays(f"unshare: {os.strerror(ctypes.get_errno())}")
        try:
            _hold_back()
            yield
        finally:
            if _LIBC.setns(before, _CLONE_NEWNET):
                raise BenchFailed(f"setns: {os.strerror(ctypes.get_errno())}")
    finally:
        os.close(before)


def _hold_back() -> None:
    netem = f"netem delay {DELAY_US}us limit {_PACKETS}"
    try:
        for command in ("ip link set lo up", f"tc qdisc add dev lo root {netem}"):
            processes.run_to_end(command.split(), timeout_s=_COMMAND_TIMEOUT_S)
    except BenchFailed as error:
        raise NoDelays(str(error)) from error
