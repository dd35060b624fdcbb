"""Who holds packets back? `python -m bench.delayer US`: every one that arrives, for so many µs.

A process of its own, in the network namespace that it is started in, until it is ended; then
packets go on as if it had never been. It says `ready: ` once it holds them back. It goes before
all others (`SCHED_FIFO`), as the kernel's own delays would: what the engines do at the time shall
not make them longer.
"""

from __future__ import annotations

import collections
import os
import select
import socket
import sys
import time

from bench import netfilter

#: Timers of virtual machines are about this late: the last part is waited for awake.
_AWAKE_S = 0.000_03
#: Packets that are read before others go on.
_AT_ONCE = 256
_PRIORITY = 10


def main() -> None:
    """Hold packets back until the end of this process."""
    delay_s = int(sys.argv[1]) / 1e6
    try:
        queue = netfilter.open_queue()
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(_PRIORITY))
    except OSError as error:
        sys.exit(f"packets cannot be held back: {error.strerror}")
    sys.stdout.write("ready: \n")
    sys.stdout.flush()
    _hold_back(queue, delay_s)


def _hold_back(queue: socket.socket, delay_s: float) -> None:
    queue.setblocking(False)
    held: collections.deque[tuple[float, bytes]] = collections.deque()
    while True:
        wait_s = max(0.0, held[0][0] - time.perf_counter() - _AWAKE_S) if held else None
        if select.select([queue], [], [], wait_s)[0]:
            newest = _newest(queue)
            if newest is not None:
                held.append((time.perf_counter() + delay_s, newest))
        due, now_s = None, time.perf_counter()
        while held and held[0][0] <= now_s:
            due = held.popleft()[1]
        if due is not None:
            queue.send(netfilter.accept_up_to(due))


def _newest(queue: socket.socket) -> bytes | None:
    """Return the last of the packets that have arrived; their numbers ascend."""
    message = bytearray(netfilter.MESSAGE_BYTES)
    newest = None
    for _ in range(_AT_ONCE):
        try:
            queue.recv_into(message)
        except BlockingIOError:
            break
        newest = netfilter.packet_of(message) or newest
    return newest


if __name__ == "__main__":
    main()
