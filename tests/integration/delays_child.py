"""A process that lives in a network with delays: `delays_child.py FOLDER MODE`.

Says in a line of JSON what it saw within and, unless it is to be killed there, in another one what
it saw afterwards. A network that cannot be made is told as `no_delays`.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import socket
import sys
import threading
from pathlib import Path

from bench import delays
from bench.processes import BenchFailed

_DROP_FROM_BOUNDING_SET, _NET_ADMIN = 24, 12
_BULK_BYTES = 32 << 20
_NOBODY = 65_534


def main(folder: Path, mode: str) -> None:
    if mode == "without-root" and os.geteuid() == 0:
        os.seteuid(_NOBODY)
    if mode == "without-rights":
        # What is started later on cannot have it.
        ctypes.CDLL(None).prctl(_DROP_FROM_BOUNDING_SET, _NET_ADMIN, 0, 0, 0)
    before, ended_by, holders = namespace(), "", []
    try:
        with delays.delayed_network(folder) as network:
            holders.append(Path(f"/proc/{network.process.pid}"))
            say(
                namespace=namespace(),
                round_trip_us=network.round_trip_us,
                note=network.note(),
                dropped=dropped(),
                is_whole=bulk_is_whole(),
            )
            act(mode, network)
    except delays.NoDelays as error:
        say(no_delays=str(error))
    except (BenchFailed, RuntimeError) as error:
        ended_by = f"{type(error).__name__}: {error}"
    is_as_before = namespace() == before and not any(holder.exists() for holder in holders)
    say(is_as_before=is_as_before, ended_by=ended_by)


def act(mode: str, network: delays.Delays) -> None:
    match mode:
        case "wait":
            sys.stdin.read()
        case "raise":
            raise RuntimeError("of the block")
        case "kill":
            network.process.kill()
            network.process.wait()
            # Nobody is at the queue: packets go on.
            delays.round_trip_us()
            if noted(network):
                raise RuntimeError("a figure comes of packets that were not late")


def noted(network: delays.Delays) -> bool:
    try:
        network.note()
    except BenchFailed:
        return False
    return True


def namespace() -> str:
    return str(Path("/proc/thread-self/ns/net").readlink())


def dropped() -> list[int]:
    """Return how many packets, and how many messages about packets, the queue has thrown away."""
    said = Path("/proc/thread-self/net/netfilter/nfnetlink_queue").read_text(encoding="ascii")
    return [int(word) for word in said.split()[5:7]]


def bulk_is_whole() -> bool:
    """Tell whether much data arrives as it was sent."""
    sent, arrived = os.urandom(_BULK_BYTES), hashlib.sha256()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        sending = socket.create_connection(listener.getsockname())
        receiving, _ = listener.accept()
    with receiving:

        def send() -> None:
            with sending:
                sending.sendall(sent)

        sender = threading.Thread(target=send)
        sender.start()
        while chunk := receiving.recv(1 << 16):
            arrived.update(chunk)
        sender.join()
    return arrived.digest() == hashlib.sha256(sent).digest()


def say(**facts: object) -> None:
    sys.stdout.write(json.dumps(facts) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
